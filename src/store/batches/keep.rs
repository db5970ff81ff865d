//! Adding up what has changed, and noting what follows from it: a batch has ended, halts, or goes again.

use std::collections::BTreeMap;

use postgres::Row;
use serde_json::Value;

use super::control::state;
use super::read::counts;
use crate::failpoint::{self, Point};
use crate::model::batch::data::Counts;
use crate::model::batch::halt::Halt;
use crate::model::batch::pace::{Tick, ticked};
use crate::model::batch::reason::{Groups, OTHER_REASONS, REASONS_MAX};
use crate::model::batch::step::{Standing, Step};
use crate::store::row::{get, unreadable};
use crate::store::{Sql, Store, StoreError};

const TURN: Sql = Sql::new(
    "see whether somebody else adds up batches",
    "SELECT pg_try_advisory_xact_lock($1, hashtext(current_schema())) AS is_ours",
);
const IS_ANY: Sql = Sql::new(
    "see whether there are batches to add up",
    "SELECT EXISTS (SELECT FROM batch_changes) OR EXISTS (SELECT FROM batches \
     WHERE ended_at IS NULL OR then_type IS NOT NULL AND then_id IS NULL AND NOT was_cancelled) AS is_any",
);
const OPEN: Sql = Sql::new("see which batches have changed", include_str!("../../../sql/batches/open.sql"));
const TAKE: Sql =
    Sql::new("see what of batches has changed", include_str!("../../../sql/batches/take_changes.sql"));
const ADD_UP: Sql = Sql::new("add up batches", include_str!("../../../sql/batches/add_up.sql"));
const ADD_REASONS: Sql = Sql::new(
    "add up why processes of a batch have failed",
    include_str!("../../../sql/batches/add_reasons.sql"),
);
const END: Sql = Sql::new("note that a batch has ended", "SELECT end_batch($1, $2) AS is_so");
const HALT: Sql = Sql::new("halt a batch", "SELECT halt_batch($1, $2, $3) AS is_so");
const REOPEN: Sql = Sql::new("note that a batch goes again", "SELECT reopen_batch($1) AS is_so");
const FOLLOW: Sql = Sql::new("start what follows a batch", "SELECT follow_batch($1) IS NOT NULL AS is_so");
const RELEASE_BEGUN: Sql = Sql::new("let a batch go on", "SELECT release_begun_of_batch($1) AS how_many");
const CANCEL_REST: Sql = Sql::new("cancel a batch", "SELECT cancel_of_batch($1, $2) AS how_many");
const CANCEL_RUNNING: Sql = Sql::new(
    "cancel what of a batch runs",
    "SELECT cancel_running_of_batch(b.name, 'batch ' || quote_ident(b.name) || ' halted: ' || b.reason) AS how_many \
     FROM batches b WHERE b.name = $1 AND b.state = 'HALTED' AND b.halts_now",
);
const FORGET: Sql = Sql::new("forget old batches", include_str!("../../../sql/batches/forget.sql"));

/// Advisory lock of whoever adds up; the second key is the schema's hash.
const LOCK_CLASS: i32 = 0x504f_4250;
/// Changes that are added up at once: a tenth of a second's work.
const CHANGES_MAX: i64 = 10_000;
/// Processes of a batch that are cancelled in one transaction.
const CANCEL_MAX: i32 = 1_000;
/// Batches are kept so long after their ends, also when their processes are gone.
const KEEP_DAYS: i32 = 7;

/// What a round has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Somebody else was at it.
    pub is_busy: bool,
    /// There may be more to add up at once.
    pub is_full: bool,
    /// Something has changed.
    pub has_changed: bool,
    /// What was noted, as sentences for a log.
    pub noted: Vec<String>,
}

/// A batch's row, and what has been added to it.
struct Open {
    name: String,
    standing: Standing,
    sums: [i64; 5],
    ticks: Vec<Tick>,
    now_s: f64,
    halts_now: bool,
    is_to_follow: bool,
    is_changed: bool,
    groups: Groups,
}

const STATUSES: [&str; 5] = ["NOT_STARTED", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED"];

impl Store {
    /// Whether there are batches that are to be looked at.
    ///
    /// # Errors
    /// When the database fails.
    pub fn has_open_batches(&mut self) -> Result<bool, StoreError> {
        get(&self.query_one(&IS_ANY, &[], "batches")?, "is_any", "batches")
    }

    /// Adds up what has changed and notes what follows from it, all in one transaction; one node at a time. With `looks_at_all` it also
    /// looks at batches of which nothing has changed: starts that were broken off, ends that nobody has noted.
    ///
    /// # Errors
    /// When the database fails.
    pub fn keep_batches(&mut self, looks_at_all: bool) -> Result<Kept, StoreError> {
        let (mut kept, actions) = self.in_transaction("add up batches", |store| {
            let turn = store.query_one(&TURN, &[&LOCK_CLASS], "a lock")?;
            if !get::<bool>(&turn, "is_ours", "a lock")? {
                return Ok((Kept { is_busy: true, ..Kept::default() }, Vec::new()));
            }
            store.add_up(looks_at_all)
        })?;
        for (name, action) in actions {
            let how_many: i64 = match action {
                Action::CancelRest => {
                    let row = self.query_one(&CANCEL_REST, &[&name, &CANCEL_MAX], "a batch")?;
                    get(&row, "how_many", "a batch")?
                }
                Action::CancelRunning => match self.query_opt(&CANCEL_RUNNING, &[&name])? {
                    Some(row) => get(&row, "how_many", "a batch")?,
                    None => 0,
                },
                Action::ReleaseBegun => {
                    self.query_one(&RELEASE_BEGUN, &[&name], "a batch")?;
                    0
                }
                Action::Follow => {
                    let is_so: bool =
                        get(&self.query_one(&FOLLOW, &[&name], "a batch")?, "is_so", "a batch")?;
                    if is_so {
                        kept.noted.push(format!("batch {name:?}: what follows it is started"));
                    }
                    0
                }
            };
            kept.is_full |= how_many > 0;
            if how_many > 0 {
                kept.noted.push(format!("batch {name:?}: {how_many} of its processes are cancelled"));
            }
        }
        Ok(kept)
    }

    fn add_up(&mut self, looks_at_all: bool) -> Result<(Kept, Vec<(String, Action)>), StoreError> {
        let rows = self.query(&OPEN, &[&looks_at_all])?;
        let mut open = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let places: BTreeMap<String, usize> =
            open.iter().enumerate().map(|(at, it)| (it.name.clone(), at)).collect();
        let names: Vec<&str> = open.iter().map(|it| it.name.as_str()).collect();
        let changes = self.query(&TAKE, &[&names, &CHANGES_MAX])?;
        let mut taken = 0;
        for row in &changes {
            taken += 1;
            let batch: String = get(row, "batch", "a change of a batch")?;
            if let Some(batch) = places.get(&batch).and_then(|at| open.get_mut(*at)) {
                batch.add(row)?;
            }
        }
        open.iter_mut().filter(|it| it.is_changed).for_each(Open::settle);
        self.write(open.iter().filter(|it| it.is_changed))?;
        let mut kept =
            Kept { has_changed: taken > 0, is_full: taken as i64 >= CHANGES_MAX, ..Kept::default() };
        let mut actions = Vec::new();
        for batch in open {
            let name = &batch.name;
            let (sql, words): (&Sql, Option<String>) = match batch.standing.step() {
                Step::Stay => {
                    let action = match () {
                        () if batch.standing.is_cancelled && !batch.standing.has_ended => {
                            Some(Action::CancelRest)
                        }
                        () if batch.halts_now => Some(Action::CancelRunning),
                        () if looks_at_all && !batch.standing.has_ended => Some(Action::ReleaseBegun),
                        () if batch.is_to_follow && looks_at_all => Some(Action::Follow),
                        () => None,
                    };
                    actions.extend(action.map(|it| (name.clone(), it)));
                    self.add_reasons(name, batch.groups)?;
                    continue;
                }
                Step::Reopen => (&REOPEN, Some("goes again".to_owned())),
                Step::Halt { reason, now } => {
                    let row = self.query_one(&HALT, &[&name, &reason, &now], "a batch")?;
                    if get(&row, "is_so", "a batch")? {
                        kept.noted.push(format!("batch {name:?} halts: {reason}"));
                        actions.extend(now.then(|| (name.clone(), Action::CancelRunning)));
                    }
                    self.add_reasons(name, batch.groups)?;
                    continue;
                }
                Step::End(verdict) => {
                    let row = self.query_one(&END, &[&name, &verdict.as_str()], "a batch")?;
                    failpoint::hit(Point::BatchEnd);
                    if get(&row, "is_so", "a batch")? {
                        kept.noted.push(format!("batch {name:?} has ended: {verdict}"));
                    }
                    self.add_reasons(name, batch.groups)?;
                    continue;
                }
            };
            let row = self.query_one(sql, &[&name], "a batch")?;
            if get(&row, "is_so", "a batch")? {
                kept.noted.extend(words.map(|it| format!("batch {name:?} {it}")));
            }
            self.add_reasons(name, batch.groups)?;
        }
        Ok((kept, actions))
    }

    fn write<'o>(&mut self, batches: impl Iterator<Item = &'o Open>) -> Result<(), StoreError> {
        let (mut names, mut ticks, mut sums) = (Vec::new(), Vec::new(), [const { Vec::new() }; 5]);
        for batch in batches {
            names.push(batch.name.as_str());
            sums.iter_mut().zip(batch.sums).for_each(|(sums, sum)| sums.push(sum));
            let written = serde_json::to_value(&batch.ticks);
            ticks.push(written.map_err(|cause| unreadable("a batch", format!("its ticks: {cause}")))?);
        }
        if names.is_empty() {
            return Ok(());
        }
        let [not_started, in_progress, completed, failed, cancelled] = &sums;
        self.execute(&ADD_UP, &[&names, not_started, in_progress, completed, failed, cancelled, &ticks])?;
        Ok(())
    }

    fn add_reasons(&mut self, name: &str, groups: Groups) -> Result<(), StoreError> {
        let changes = groups.into_changes();
        if changes.is_empty() {
            return Ok(());
        }
        let reasons: Vec<&str> = changes.iter().map(|it| it.0.as_str()).collect();
        let how_many: Vec<i64> = changes.iter().map(|it| it.1).collect();
        let ids: Vec<&str> = changes.iter().map(|it| it.2.as_str()).collect();
        let examples: Vec<&str> = changes.iter().map(|it| it.3.as_str()).collect();
        let most = REASONS_MAX as i64;
        self.execute(&ADD_REASONS, &[&name, &reasons, &how_many, &ids, &examples, &most, &OTHER_REASONS])?;
        Ok(())
    }

    /// Forgets batches that have ended days ago and of which no process is left. Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget_batches(&mut self) -> Result<u64, StoreError> {
        self.execute(&FORGET, &[&KEEP_DAYS])
    }
}

/// What is done in a transaction of its own, which locks many rows or may be refused.
enum Action {
    CancelRest,
    CancelRunning,
    /// What a claim has held for a pause in the moment in which that ended.
    ReleaseBegun,
    Follow,
}

impl Open {
    fn add(&mut self, row: &Row) -> Result<(), StoreError> {
        const WHAT: &str = "a change of a batch";
        let how_many: i64 = get(row, "how_many", WHAT)?;
        let (was, now): (Option<String>, String) = (get(row, "was", WHAT)?, get(row, "now", WHAT)?);
        let at = |status: &str| STATUSES.iter().position(|it| *it == status);
        if let Some(sum) = was.as_deref().and_then(at).and_then(|at| self.sums.get_mut(at)) {
            *sum -= how_many;
        }
        if let Some(sum) = at(&now).and_then(|at| self.sums.get_mut(at)) {
            *sum += how_many;
        }
        if let Some(process_id) = get::<Option<String>>(row, "process_id", WHAT)? {
            let message: Option<String> = get(row, "message", WHAT)?;
            let sign = if now == "FAILED" { how_many } else { -how_many };
            self.groups.add(sign, &process_id, message.as_deref().unwrap_or_default());
        }
        self.is_changed = true;
        Ok(())
    }

    /// The sums are complete.
    fn settle(&mut self) {
        let [not_started, in_progress, completed, failed, cancelled] =
            self.sums.map(|it| u64::try_from(it).unwrap_or_default());
        let counts = Counts { not_started, in_progress, completed, failed, cancelled };
        let base = &mut self.standing.halt_base;
        base.completed = base.completed.min(completed);
        base.failed = base.failed.min(failed);
        base.cancelled = base.cancelled.min(cancelled);
        self.ticks = ticked(std::mem::take(&mut self.ticks), self.now_s, counts.ended());
        self.standing.counts = counts;
    }
}

fn read(row: &Row) -> Result<Open, StoreError> {
    let name: String = get(row, "name", "a batch")?;
    let what = format!("batch {name:?}");
    let word: String = get(row, "state", &what)?;
    let halt: Option<String> = get(row, "halt", &what)?;
    let halt = match halt.map(|it| Halt::parse(&it)).transpose() {
        Ok(halt) => halt.flatten(),
        Err(problem) => return Err(unreadable(&what, problem)),
    };
    let base: Vec<i64> = get(row, "halt_base", &what)?;
    let base = |at: usize| base.get(at).copied().unwrap_or_default().unsigned_abs();
    let mut sums = [0; 5];
    for (sum, column) in
        sums.iter_mut().zip(["not_started", "in_progress", "completed", "failed", "cancelled"])
    {
        *sum = get(row, column, &what)?;
    }
    let ticks: Value = get(row, "ticks", &what)?;
    Ok(Open {
        standing: Standing {
            state: state(&word, &name)?,
            counts: counts(row, &what)?,
            announced: get::<Option<i64>>(row, "announced", &what)?.map(i64::unsigned_abs),
            is_filling: get(row, "is_filling", &what)?,
            has_ended: get(row, "has_ended", &what)?,
            is_cancelled: get(row, "is_cancelled", &what)?,
            halt,
            halt_base: Counts {
                completed: base(0),
                failed: base(1),
                cancelled: base(2),
                ..Counts::default()
            },
        },
        sums,
        ticks: serde_json::from_value(ticks).unwrap_or_default(),
        now_s: get(row, "now_s", &what)?,
        halts_now: get(row, "halts_now", &what)?,
        is_to_follow: get(row, "is_to_follow", &what)?,
        is_changed: false,
        groups: Groups::default(),
        name,
    })
}
