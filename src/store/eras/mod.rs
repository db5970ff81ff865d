//! Eras: sets of processes whose tasks, executions and outputs lie in tables of their own, so that they can be forgotten
//! by dropping these (see the sixteenth migration).
//!
//! Somebody has to begin new ones, close those that have ended, and move what does not belong where it is: small steps,
//! each a transaction of its own, that any node takes which comes to it. They never wait for long for a lock, since whoever
//! comes meanwhile waits behind them.

mod era;
mod forget;
mod measure;

use std::time::Duration;

use jiff::Timestamp;
use postgres::Row;

pub use self::era::{Done, ERA_SIZE, Earlier, Step};
use self::era::{Era, Kind, MOVE_BATCH, read_era};
pub use self::forget::{Ages, EraSpan};
pub use self::measure::EraMeasure;
use super::row::get;
use super::{Sql, Store, StoreError};

const ERAS: Sql = Sql::new("look at the eras", include_str!("../../../sql/eras/eras.sql"));
const ENDED: Sql = Sql::new("count what has ended", include_str!("../../../sql/eras/ended.sql"));
/// The same, whenever that was: of what was written by hand it may be before the era began. A scan of all processes.
const ENDED_EVER: Sql = Sql::new(
    "count what has ended",
    "SELECT count(*) AS how_many \
     FROM (SELECT FROM processes WHERE era = $1::int AND completed_at IS NOT NULL LIMIT $2) AS few",
);
const CHANGED: Sql = Sql::new("look for changed ends", include_str!("../../../sql/eras/changed.sql"));
const UNFINISHED: Sql =
    Sql::new("count what has not ended", include_str!("../../../sql/eras/unfinished.sql"));
const HOLD: Sql =
    Sql::new("hold processes to move them", include_str!("../../../sql/eras/hold_stragglers.sql"));
const MOVE_HELD: Sql =
    Sql::new("move waiting processes", include_str!("../../../sql/eras/move_stragglers.sql"));
const LET_GO: Sql =
    Sql::new("let moved processes go on", include_str!("../../../sql/eras/let_stragglers_go.sql"));
const MOVE_ENDED: Sql = Sql::new("move finished processes", include_str!("../../../sql/eras/move_ended.sql"));
const NOTE_MOVED: Sql = Sql::new("note what was moved", include_str!("../../../sql/eras/note_moved.sql"));
const MEASURE: Sql = Sql::new("measure an era", include_str!("../../../sql/eras/measure.sql"));
const ADD: Sql = Sql::new("begin an era", "SELECT add_era($1::text) AS era");
const USE: Sql = Sql::new("begin an era", "SELECT use_era($1::int) AS is_done");
const CLOSE: Sql = Sql::new("close an era", "SELECT close_era($1::int) AS is_done");
const DROP: Sql = Sql::new("drop the tables of an era", "SELECT drop_era($1::int) AS is_done");
const EMPTY: Sql = Sql::new(
    "give up an era",
    "UPDATE eras SET emptied_at = now() WHERE era = $1::int AND emptied_at IS NULL",
);
const IS_EMPTY: Sql = Sql::new(
    "see whether an era holds anything",
    "SELECT NOT EXISTS (SELECT FROM all_tasks WHERE era = $1::int) AND NOT EXISTS (SELECT FROM executions WHERE era = $1) \
     AS is_empty",
);
/// Of what was there before eras, what has been moved already is passed over.
const HAS_ENDED: Sql = Sql::new(
    "see whether processes are to be moved",
    "SELECT EXISTS (SELECT FROM processes WHERE era = $1::int AND completed_at < now() - interval '1 minute' \
     AND completed_at >= coalesce((SELECT moved_to FROM eras WHERE era = $1), '-infinity')) AS is_so",
);
const LEFT: Sql = Sql::new(
    "count what is to be moved",
    "SELECT count(*) AS how_many FROM processes WHERE era = $1::int AND completed_at >= coalesce($2::timestamptz, '-infinity')",
);
const TAKES: Sql = Sql::new(
    "see whether an era takes more",
    "SELECT EXISTS (SELECT FROM eras WHERE era = $1::int AND NOT is_full AND emptied_at IS NULL) AS is_so",
);
/// One scan of all processes: asked when all else says that there are none.
const HAS_NONE: Sql = Sql::new(
    "see whether any process belongs to an era",
    "SELECT NOT EXISTS (SELECT FROM processes WHERE era = $1::int) AS is_empty",
);
const BEGIN_AGAIN: Sql = Sql::new(
    "look through an era again",
    "UPDATE eras SET moved_to = NULL WHERE era = $1::int AND moved_to IS NOT NULL",
);
const TURN: Sql = Sql::new(
    "see whether another node keeps the eras",
    "SELECT pg_try_advisory_xact_lock($1, hashtext(current_schema())) AS is_ours",
);

/// Advisory lock of whoever takes a step; the second key is the schema's hash.
const LOCK_CLASS: i32 = 0x504f_4531;
/// How long a step waits for a lock. All others wait behind it meanwhile.
const LOCK_WAIT: Duration = Duration::from_millis(200);
/// So many processes that outlast their era are moved on; more are waited for.
const STRAGGLERS_MAX: i64 = 2_000;
/// An era that began so long ago is over with a quarter of the usual number, or with hardly any.
const AGE_OF_MANY: Duration = Duration::from_secs(24 * 3600);
const AGE_OF_FEW: Duration = Duration::from_secs(28 * 24 * 3600);
const FEW: i64 = 100;
/// The era of processes that outlast their own.
const LONG: i32 = 1;

impl Store {
    /// Takes the next step that there is to take. `size` is how many processes an era holds at the least.
    ///
    /// # Errors
    /// When the database fails.
    pub fn keep_eras(&mut self, size: u32) -> Result<Step, StoreError> {
        let eras = self.eras(size)?;
        for era in &eras {
            let step = match era.kind {
                _ if era.is_emptied => self.drop_emptied(era)?,
                Kind::Started if era.is_newest => self.begin_next(era, &ENDED)?,
                Kind::Started if !era.is_closed => self.close(era, &eras)?,
                Kind::Started | Kind::Ended if era.is_full && era.is_closed => self.tidy(era)?,
                Kind::Long => self.move_ended(era)?,
                Kind::Earlier if !era.is_closed => self.leave_earlier(era)?,
                _ => Step::Idle,
            };
            if step != Step::Idle {
                return Ok(step);
            }
        }
        Ok(Step::Idle)
    }

    /// Begins and closes eras as [`Store::keep_eras`] does, and moves nothing of the history: what can be closed now can be
    /// forgotten as a whole. [`Step::Busy`] also while a few processes of an era that is to be closed are running.
    ///
    /// # Errors
    /// When the database fails.
    pub fn close_eras(&mut self) -> Result<Step, StoreError> {
        let eras = self.eras(ERA_SIZE)?;
        let mut is_waiting = false;
        for era in eras.iter().filter(|it| it.kind == Kind::Started && !it.is_closed) {
            let step =
                if era.is_newest { self.begin_next(era, &ENDED_EVER)? } else { self.close(era, &eras)? };
            match step {
                Step::Did(_) => return Ok(step),
                Step::Busy => is_waiting = true,
                Step::Idle if era.is_newest => {}
                Step::Idle => {
                    let unfinished = self.count(&UNFINISHED, era.number, STRAGGLERS_MAX + 1)?;
                    is_waiting |= (1..=STRAGGLERS_MAX).contains(&unfinished);
                }
            }
        }
        Ok(if is_waiting { Step::Busy } else { Step::Idle })
    }

    /// Measures the closed eras anew of which something is older than `age`, although it was not when they were closed: of
    /// ends that were written by hand only the rows themselves tell. A scan of all that is so old.
    ///
    /// # Errors
    /// When the database fails.
    pub fn measure_changed_eras(&mut self, age: Duration) -> Result<(), StoreError> {
        for row in self.query(&CHANGED, &[&age.as_secs_f64()])? {
            let number = get(&row, "era", "an era")?;
            // Who moves something to it meanwhile notes that as well. Busy: the next time.
            self.step(|store| store.execute_one(&MEASURE, number).map(|_| None))?;
        }
        Ok(())
    }

    /// How far what was there before eras has been moved; `None` once all has.
    ///
    /// # Errors
    /// When the database fails.
    pub fn earlier_history(&mut self) -> Result<Option<Earlier>, StoreError> {
        let eras = self.eras(ERA_SIZE)?;
        let Some(era) = eras.iter().find(|it| it.kind == Kind::Earlier) else { return Ok(None) };
        let row = self.query_one(&LEFT, &[&era.number, &era.moved_to], "an era")?;
        let left = get::<i64>(&row, "how_many", "an era")?.unsigned_abs();
        Ok(Some(Earlier { moved: era.processes.unsigned_abs(), left, until: era.moved_to }))
    }

    fn eras(&mut self, size: u32) -> Result<Vec<Era>, StoreError> {
        self.query(&ERAS, &[&i64::from(size)])?.iter().map(read_era).collect()
    }

    /// One step, if nobody else is at one and no lock is in the way.
    fn step(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<Option<Done>, StoreError>,
    ) -> Result<Step, StoreError> {
        let tried = self.in_bounded_transaction("keep the eras", LOCK_WAIT, |store| {
            let is_ours = get(&store.query_one(&TURN, &[&LOCK_CLASS], "a lock")?, "is_ours", "a lock")?;
            if is_ours { work(store).map(|done| done.map_or(Step::Idle, Step::Did)) } else { Ok(Step::Busy) }
        });
        match tried {
            Err(error) if error.is_lock_conflict() => Ok(Step::Busy),
            other => other,
        }
    }

    fn is_so(&mut self, sql: &Sql, era: i32, column: &'static str) -> Result<bool, StoreError> {
        get(&self.query_one(sql, &[&era], "an era")?, column, "an era")
    }

    fn count(&mut self, sql: &Sql, era: i32, most: i64) -> Result<i64, StoreError> {
        get(&self.query_one(sql, &[&era, &most], "an era")?, "how_many", "an era")
    }

    fn drop_emptied(&mut self, era: &Era) -> Result<Step, StoreError> {
        let number = era.number;
        let step = self.step(|store| {
            let is_done = store.is_so(&DROP, number, "is_done")?;
            Ok(is_done.then_some(Done::Dropped(number)))
        })?;
        // A long look at the tables is no reason to leave all else undone.
        Ok(if step == Step::Busy { Step::Idle } else { step })
    }

    /// Begins a new era if enough of the newest has ended.
    fn begin_next(&mut self, newest: &Era, ended: &Sql) -> Result<Step, StoreError> {
        let age = Duration::try_from_secs_f64(newest.age_s).unwrap_or_default();
        let wanted = match age {
            age if age >= AGE_OF_FEW => FEW.min(newest.size),
            age if age >= AGE_OF_MANY => newest.size / 4,
            _ => newest.size,
        };
        if self.count(ended, newest.number, wanted.max(1))? < wanted.max(1) {
            return Ok(Step::Idle);
        }
        // Its tables are there for everybody before anything is put into them.
        let mut number = None;
        let made = self.step(|store| {
            number = Some(get(&store.query_one(&ADD, &[&"STARTED"], "an era")?, "era", "an era")?);
            Ok(None)
        })?;
        let Some(number) = number.filter(|_| made == Step::Idle) else { return Ok(made) };
        self.step(|store| Ok(store.is_so(&USE, number, "is_done")?.then_some(Done::Began(number))))
    }

    /// Closes an era if nothing of it runs or waits; what little waits is moved on.
    fn close(&mut self, era: &Era, eras: &[Era]) -> Result<Step, StoreError> {
        let number = era.number;
        match self.count(&UNFINISHED, number, STRAGGLERS_MAX + 1)? {
            0 => {
                let step = self.step(|store| {
                    Ok(store.is_so(&CLOSE, number, "is_done")?.then_some(Done::Closed(number)))
                })?;
                if matches!(step, Step::Did(_)) {
                    self.execute_one(&MEASURE, number)?;
                }
                Ok(step)
            }
            unfinished if unfinished <= STRAGGLERS_MAX && eras.iter().any(|it| it.kind == Kind::Long) => {
                self.move_stragglers(number)
            }
            _ => Ok(Step::Idle),
        }
    }

    fn move_stragglers(&mut self, from: i32) -> Result<Step, StoreError> {
        let held = self.step(|store| store.execute(&HOLD, &[&from, &MOVE_BATCH]).map(|_| None))?;
        if held != Step::Idle {
            return Ok(held);
        }
        let moved = self.step(|store| {
            let row = store.query_one(&MOVE_HELD, &[&from, &MOVE_BATCH, &LONG], "an era")?;
            let processes: i64 = get(&row, "how_many", "an era")?;
            store.execute(&LET_GO, &[&from])?;
            Ok((processes > 0).then_some(Done::Moved { processes: processes.unsigned_abs(), from }))
        })?;
        if moved == Step::Busy {
            // They are due where they are, and not to wait until the next look.
            let gone = self.in_bounded_transaction("let processes go on", LOCK_WAIT, |store| {
                store.execute(&LET_GO, &[&from])
            });
            gone.map(drop).or_else(|error| if error.is_lock_conflict() { Ok(()) } else { Err(error) })?;
        }
        Ok(moved)
    }

    /// Gives up a closed era of which all processes were deleted or moved one by one, and measures one that nobody has.
    fn tidy(&mut self, era: &Era) -> Result<Step, StoreError> {
        if era.ended_to.is_none() && era.processes == 0 {
            self.execute_one(&MEASURE, era.number)?;
        }
        if !self.is_so(&IS_EMPTY, era.number, "is_empty")?
            || !self.is_so(&HAS_NONE, era.number, "is_empty")?
        {
            return Ok(Step::Idle);
        }
        self.execute_one(&EMPTY, era.number)?;
        self.drop_emptied(era)
    }

    fn execute_one(&mut self, sql: &Sql, era: i32) -> Result<u64, StoreError> {
        self.execute(sql, &[&era])
    }

    /// Moves what has ended to an era of what has ended.
    fn move_ended(&mut self, from: &Era) -> Result<Step, StoreError> {
        let is_earlier = from.kind == Kind::Earlier;
        if !self.is_so(&HAS_ENDED, from.number, "is_so")? {
            return Ok(Step::Idle);
        }
        self.move_to_ended(from, &MOVE_ENDED, |store, sql, to| {
            store.query_one(sql, &[&from.number, &MOVE_BATCH, &to, &is_earlier], "an era")
        })
    }

    /// Moves what the statement gives into the last era of what has ended, and notes that.
    fn move_to_ended(
        &mut self,
        from: &Era,
        sql: &'static Sql,
        mut work: impl FnMut(&mut Self, &'static Sql, i32) -> Result<Row, StoreError>,
    ) -> Result<Step, StoreError> {
        let mut added = None;
        // In a transaction of its own: new tables keep locks that a long move must not.
        let made = self.step(|store| {
            added = Some(get(&store.query_one(&ADD, &[&"ENDED"], "an era")?, "era", "an era")?);
            Ok(None)
        })?;
        let Some(to): Option<i32> = added.filter(|_| made == Step::Idle) else { return Ok(made) };
        self.step(|store| {
            // Somebody else may have filled or forgotten it since.
            if !store.is_so(&TAKES, to, "is_so")? {
                return Ok(None);
            }
            let row = work(store, sql, to)?;
            let what = "what was moved";
            let (met, moved): (i64, i64) = (get(&row, "met", what)?, get(&row, "how_many", what)?);
            let met_to: Option<Timestamp> = get(&row, "met_to", what)?;
            let ended_from: Option<Timestamp> = get(&row, "ended_from", what)?;
            let ended_to: Option<Timestamp> = get(&row, "ended_to", what)?;
            if met == 0 {
                return Ok(None);
            }
            store.execute(
                &NOTE_MOVED,
                &[&from.number, &to, &moved, &met_to, &ended_from, &ended_to, &from.size],
            )?;
            // Locked by somebody they are met again: later, or others would never have their turn.
            Ok((moved > 0).then_some(Done::Moved { processes: moved.unsigned_abs(), from: from.number }))
        })
    }

    /// Empties the era of what was there before eras, and drops its tables once nothing is in it.
    fn leave_earlier(&mut self, era: &Era) -> Result<Step, StoreError> {
        let step = self.move_ended(era)?;
        if step != Step::Idle {
            return Ok(step);
        }
        let unfinished = self.count(&UNFINISHED, era.number, STRAGGLERS_MAX + 1)?;
        if unfinished > 0 {
            return if unfinished <= STRAGGLERS_MAX {
                self.move_stragglers(era.number)
            } else {
                Ok(Step::Idle)
            };
        }
        if !self.is_so(&HAS_NONE, era.number, "is_empty")? {
            // Somebody had locked them, or they were committed late.
            self.execute_one(&BEGIN_AGAIN, era.number)?;
            return Ok(Step::Idle);
        }
        let number = era.number;
        let step =
            self.step(|store| Ok(store.is_so(&CLOSE, number, "is_done")?.then_some(Done::Closed(number))))?;
        if matches!(step, Step::Did(_)) {
            self.execute_one(&EMPTY, number)?;
        }
        Ok(step)
    }
}
