//! Claiming due processes, giving claims back, and seeing what waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use postgres::Row;
use postgres::types::ToSql;
use serde_json::{Map, Value};

use super::locks::{Beside, Rows};
use super::row::{count, get, object, unreadable};
use super::{Sql, Store, StoreError, types};
use crate::model::input::ProcessInputData;
use crate::model::lifecycle::Outcome;
use crate::model::process_type::Leftovers;
use crate::model::retry::RetryPolicy;

const CLAIM: Sql = Sql::new("claim due processes", include_str!("../../sql/queue/claim.sql"));
const CLAIM_ONE: Sql = Sql::new("claim a process", include_str!("../../sql/queue/claim_one.sql"));
const RELEASE: Sql = Sql::new("give claims back", include_str!("../../sql/queue/release.sql"));
const NEXT_DUE_OF: Sql = Sql::new(
    "see when a process is due",
    "SELECT extract(epoch FROM greatest(execution_time, 'epoch') - clock_timestamp())::float8 * 1000 AS wait_ms \
     FROM scheduled_tasks WHERE task_instance = $1 AND picked IS NOT TRUE \
     AND NOT ($2 AND EXISTS (SELECT FROM process_types k WHERE k.name = task_name AND k.paused))",
);
const WAITING: Sql =
    Sql::new("see which priorities wait", include_str!("../../sql/queue/waiting_priorities.sql"));
const HELD: Sql = Sql::new(
    "read this node's claims",
    "SELECT task_instance, version FROM scheduled_tasks WHERE picked_by = $1",
);

const REVOKED: Sql =
    Sql::new("look after this node's claims", include_str!("../../sql/queue/revoked_claims.sql"));

const WAITING_TYPES: Sql =
    Sql::new("see which types wait", include_str!("../../sql/queue/waiting_types.sql"));

const CLAIMABLE: Sql =
    Sql::new("look for due processes beside locks", include_str!("../../sql/queue/claimable.sql"));
const HOLD_OF_LOCKED: Sql =
    Sql::new("hold processes of locked limits", include_str!("../../sql/limits/beside_locks.sql"));
const DUE: Sql = Sql::new("see which processes are due", include_str!("../../sql/queue/due.sql"));
const QUARANTINE_UNCLAIMED: Sql =
    Sql::new("set a process aside", include_str!("../../sql/queue/quarantine_unclaimed.sql"));
const QUARANTINE: Sql =
    Sql::new("set an unreadable process aside", include_str!("../../sql/queue/quarantine.sql"));
const HAS_TASK: Sql = Sql::new(
    "look again at a process",
    "SELECT EXISTS (SELECT FROM processes p JOIN open_tasks t ON t.era = p.era AND t.process_id = p.process_id \
     AND t.task_index = p.current_task_index WHERE p.process_id = $1 AND t.status <> 'IN_PROGRESS') AS has_task",
);

/// A node's exclusive right to advance a process, with what the process brings along.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The process.
    pub process_id: Arc<str>,
    /// Its type.
    pub process_type: Arc<str>,
    /// With the node's id, the fence of every write.
    pub version: i64,
    /// The process's priority.
    pub priority: i32,
    /// How many tasks it has.
    pub total_tasks: u32,
    /// What it was started with.
    pub input: Arc<ProcessInputData>,
    /// What its tasks have passed on so far.
    pub context: Arc<Map<String, Value>>,
    /// How long ago it was due when it was claimed, by the database's clock: its place in the queue.
    pub due_ago: Duration,
    /// How long it had waited to be claimed. Less than that for one that was given back and has kept its place.
    pub queue_delay: Duration,
    /// The limits that it holds slots of; `None`: it has none at all, of its tasks neither.
    pub limits: Option<Arc<[String]>>,
}

/// A task that is in progress under a claim and whose command is to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedTask {
    /// Its place in the process.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The command before substitution.
    pub command: String,
    /// Whether `sh -c` runs it.
    pub shell: bool,
    /// Where it runs, before substitution.
    pub working_directory: Option<String>,
    /// Extra environment, before substitution.
    pub environment: BTreeMap<String, String>,
    /// When its command is ended.
    pub timeout: Duration,
    /// Attempts after the first.
    pub max_retries: u32,
    /// Retries spent.
    pub retry_count: u32,
    /// The execution that is about to begin; 1 is the first.
    pub attempt: u32,
    /// The waits between attempts.
    pub retry: RetryPolicy,
    /// What becomes of what its command has left running when it succeeds.
    pub leftovers: Leftovers,
    /// Bytes of output that are kept.
    pub max_output_bytes: u64,
}

/// A part of the queue: a range of priorities, and of those what became due lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuePart {
    /// The lowest priority.
    pub lowest: i32,
    /// The highest one.
    pub highest: i32,
    /// Only what has been due for no longer than this; `None`: all.
    pub within: Option<Duration>,
}

impl QueuePart {
    /// All of it.
    pub const WHOLE: Self = Self { lowest: i32::MIN, highest: i32::MAX, within: None };
}

/// What a claim takes of one priority that types share: first of each what its turn is, then more if there is room left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPart {
    /// The priority.
    pub priority: i32,
    /// The types, in the order of their turns.
    pub shares: Vec<TypeShare>,
}

/// A type's share of one claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeShare {
    /// The type.
    pub process_type: Arc<str>,
    /// How many are claimed of it before it is the next one's turn; 0: it stands by.
    pub most: usize,
    /// As in [`QueuePart`].
    pub within: Option<Duration>,
}

/// A type that processes of some priority wait of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingType {
    /// Its name.
    pub name: String,
    /// Whether it is paused: its processes are to be held.
    pub is_paused: bool,
}

/// Parts of the queue as parameters of the statements that claim, one element for each.
#[derive(Default)]
struct PartColumns<'a> {
    lowest: Vec<i32>,
    highest: Vec<i32>,
    due_ago_s: Vec<Option<f64>>,
    of_type: Vec<Option<&'a str>>,
    most: Vec<Option<i64>>,
    skipped: Vec<Option<i64>>,
}

impl<'a> PartColumns<'a> {
    /// What is shared comes last.
    fn new(parts: &[QueuePart], shared: Option<&'a SharedPart>, limit: usize) -> Self {
        let mut columns = Self::default();
        parts.iter().for_each(|part| columns.push(part, None));
        let Some(SharedPart { priority, shares }) = shared else { return columns };
        for is_rest in [false, true] {
            for TypeShare { process_type, most, within } in shares.iter().filter(|it| is_rest || it.most > 0)
            {
                let part = QueuePart { lowest: *priority, highest: *priority, within: *within };
                let (most, skipped) = if is_rest { (limit, *most) } else { (*most, 0) };
                columns.push(&part, Some((process_type, most, skipped)));
            }
        }
        columns
    }

    fn push(&mut self, part: &QueuePart, of_type: Option<(&'a str, usize, usize)>) {
        self.lowest.push(part.lowest);
        self.highest.push(part.highest);
        self.due_ago_s.push(part.within.map(|time| time.as_secs_f64()));
        self.of_type.push(of_type.map(|it| it.0));
        self.most.push(of_type.map(|it| bigint(it.1)));
        self.skipped.push(of_type.map(|it| bigint(it.2)));
    }
}

/// How many processes to claim, and where in the queue.
#[derive(Debug, Clone, Copy)]
pub struct ClaimRequest<'a> {
    /// How many at the most.
    pub limit: usize,
    /// The same while another node has room.
    pub limit_beside_room: usize,
    /// The parts to look at, highest first.
    pub parts: &'a [QueuePart],
    /// Types that are passed over.
    pub passed_over: &'a [String],
}

impl ClaimRequest<'_> {
    /// Up to `limit`, from all of the queue.
    pub const fn of(limit: usize) -> Self {
        Self { limit, limit_beside_room: limit, parts: &[QueuePart::WHOLE], passed_over: &[] }
    }
}

/// What one statement has claimed, and what it has met on the way.
#[derive(Debug, Default)]
pub struct ClaimedBatch {
    /// The claims, highest priority first, then the one that has been due longest.
    pub claimed: Vec<Claimed>,
    /// Paused types that were met; what was met of them is HELD now.
    pub held_types: Vec<String>,
    /// Whether another node has room.
    pub is_room_elsewhere: bool,
    /// The node's row does not say that it lives: it got no claims.
    pub is_node_dead: bool,
    /// How many were met that a limit has no room for; they are HELD now.
    pub blocked: usize,
}

/// What became of a process that is to end because its rows can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quarantined {
    /// It has ended.
    Ended,
    /// We no longer hold its claim.
    NotOurs,
    /// Somebody has locked a row of it.
    Locked,
    /// It was moved to another era while it was claimed, and is due again: the claim saw its task in neither place.
    GivenBack,
}

/// What a claim brought for one process.
#[derive(Debug)]
pub enum Claimed {
    /// Its task can be run.
    Ready(Claim, ClaimedTask),
    /// Its rows can't be read; the claim is held all the same.
    Unreadable {
        /// The process.
        process_id: String,
        /// The version it was claimed with.
        version: i64,
        /// Why.
        error: StoreError,
    },
}

impl Store {
    /// Claims due processes for `node` in one statement, highest priority first.
    ///
    /// # Errors
    /// When the database fails; nothing is claimed then, unless the connection was lost at the commit.
    pub fn claim_due(&mut self, node: &str, request: &ClaimRequest<'_>) -> Result<ClaimedBatch, StoreError> {
        let (limit, beside_room) = (bigint(request.limit), bigint(request.limit_beside_room));
        let PartColumns { lowest, highest, due_ago_s, .. } = PartColumns::new(request.parts, None, 0);
        let rows = self.query(
            &CLAIM,
            &[&node, &limit, &lowest, &highest, &due_ago_s, &request.passed_over, &beside_room],
        )?;
        read_batch(&rows)
    }

    /// The same beside others' locks: processes of which somebody has locked a row are passed over, and nobody is waited
    /// for. Types that are paused are passed over too, and nothing is said of other nodes' room. Also what types share is
    /// claimed so, after the parts: the usual claim is not to pay for what it does not need. A limit whose row somebody has
    /// locked is waited for unless `skips_limits`: then its processes are held, out of the others' way.
    ///
    /// # Errors
    /// As [`Store::claim_due`].
    pub fn claim_beside_locks(
        &mut self,
        node: &str,
        limit: usize,
        parts: &[QueuePart],
        shared: Option<&SharedPart>,
        passed_over: &[String],
        skips_limits: bool,
    ) -> Result<Beside<ClaimedBatch>, StoreError> {
        self.with_tables(|store| {
            let mut ids = store.claimable(limit, parts, shared, passed_over)?;
            let mut held = Vec::new();
            if skips_limits {
                held = store.query_column::<String>(&HOLD_OF_LOCKED, &[&ids], "task_instance", "a limit")?;
                ids.retain(|id| !held.contains(id));
            }
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let mut batch = store.claim_these(node, &ids, true)?;
            batch.blocked += held.len();
            batch.claimed.sort_by_key(|it| match it {
                Claimed::Ready(claim, _) => (Reverse(claim.priority), Reverse(claim.due_ago)),
                Claimed::Unreadable { .. } => (Reverse(i32::MIN), Reverse(Duration::ZERO)),
            });
            Ok((batch, HashSet::new()))
        })
    }

    /// The processes that [`Store::claim_beside_locks`] would claim, their rows locked until the transaction's end.
    ///
    /// # Errors
    /// When the database fails.
    pub fn claimable(
        &mut self,
        limit: usize,
        parts: &[QueuePart],
        shared: Option<&SharedPart>,
        passed_over: &[String],
    ) -> Result<Vec<String>, StoreError> {
        let PartColumns { lowest, highest, due_ago_s, of_type, most, skipped } =
            PartColumns::new(parts, shared, limit);
        let params: [&(dyn ToSql + Sync); 8] =
            [&bigint(limit), &lowest, &highest, &due_ago_s, &passed_over, &of_type, &most, &skipped];
        self.query_column(&CLAIMABLE, &params, "task_instance", "the queue")
    }

    /// Claims one process if it is due and not picked, even while its type is paused.
    ///
    /// # Errors
    /// When the database fails.
    pub fn claim_one(&mut self, node: &str, process_id: &str) -> Result<Option<Claimed>, StoreError> {
        Ok(self.claim_this(node, process_id, false)?.claimed.pop())
    }

    /// The same, but not while its type is paused if pauses are heeded.
    ///
    /// # Errors
    /// When the database fails.
    pub fn claim_this(
        &mut self,
        node: &str,
        process_id: &str,
        heeds_pauses: bool,
    ) -> Result<ClaimedBatch, StoreError> {
        self.claim_these(node, &[process_id], heeds_pauses)
    }

    /// The same unless somebody has locked a row of it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn claim_this_beside_locks(
        &mut self,
        node: &str,
        process_id: &str,
        heeds_pauses: bool,
    ) -> Result<Beside<ClaimedBatch>, StoreError> {
        self.beside_locks(&[Rows::of_process(process_id)], |store, free| {
            store.claim_these(node, free, heeds_pauses)
        })
    }

    /// Claims those of these processes that are due and not picked, as far as their limits have room.
    pub(super) fn claim_these(
        &mut self,
        node: &str,
        ids: &[&str],
        heeds_pauses: bool,
    ) -> Result<ClaimedBatch, StoreError> {
        let mut batch = ClaimedBatch::default();
        for row in &self.query(&CLAIM_ONE, &[&node, &ids, &heeds_pauses])? {
            match get::<Option<&str>>(row, "task_instance", "a claim")? {
                Some(_) => batch.claimed.push(read_claimed(row)?),
                None => batch.blocked = count_of(get(row, "version", "a claim")?),
            }
        }
        Ok(batch)
    }

    /// Gives back claims whose task was never begun; the ones that are no longer ours stay as they are.
    ///
    /// # Errors
    /// When the database fails; nothing is given back then.
    pub fn release(&mut self, node: &str, claims: &[(Arc<str>, i64)]) -> Result<u64, StoreError> {
        // In the order in which cancelling locks too.
        let mut claims: Vec<_> = claims.iter().collect();
        claims.sort_unstable();
        let ids: Vec<&str> = claims.iter().map(|it| &*it.0).collect();
        let versions: Vec<i64> = claims.iter().map(|it| it.1).collect();
        self.execute(&RELEASE, &[&node, &ids, &versions])
    }

    /// The same beside others' locks: those of processes of which somebody has locked a row are kept.
    ///
    /// # Errors
    /// When the database fails; nothing is given back then.
    pub fn release_beside_locks(
        &mut self,
        node: &str,
        claims: &[(Arc<str>, i64)],
    ) -> Result<Beside<u64>, StoreError> {
        let rows: Vec<Rows<'_>> = claims.iter().map(|it| Rows::of_process(&it.0)).collect();
        self.beside_locks(&rows, |store, free| {
            let free: HashSet<&str> = free.iter().copied().collect();
            let free: Vec<_> = claims.iter().filter(|it| free.contains(&*it.0)).cloned().collect();
            store.release(node, &free)
        })
    }

    /// Ends a process whose rows can't be read as FAILED with the reason. The trail says of its execution what is
    /// `under_way`; `None` if no command was begun. A row that somebody else has locked is not waited for.
    ///
    /// # Errors
    /// When the database fails.
    pub fn quarantine(
        &mut self,
        node: &str,
        process_id: &str,
        version: i64,
        reason: &str,
        under_way: Option<Outcome>,
    ) -> Result<Quarantined, StoreError> {
        let mut end = |outcome: Option<&str>| {
            let beside = self.beside_locks(&[Rows::of_process(process_id)], |store, free| {
                if free.is_empty() {
                    return Ok(Quarantined::NotOurs);
                }
                let is_moved = under_way.is_none()
                    && get(
                        &store.query_one(&HAS_TASK, &[&process_id], "a process")?,
                        "has_task",
                        "a process",
                    )?;
                if is_moved {
                    let released = store.release(node, &[(process_id.into(), version)])?;
                    return Ok(if released > 0 { Quarantined::GivenBack } else { Quarantined::NotOurs });
                }
                let ended =
                    store.query_opt(&QUARANTINE, &[&node, &process_id, &version, &reason, &outcome])?;
                Ok(ended.map_or(Quarantined::NotOurs, |_| Quarantined::Ended))
            })?;
            Ok(match beside {
                Beside::Done { locked, .. } if !locked.is_empty() => Quarantined::Locked,
                Beside::Done { done, .. } => done,
                Beside::Locked(_) => Quarantined::Locked,
                Beside::TableLocked(error) => return Err(error),
            })
        };
        match end(under_way.map(Outcome::as_str)) {
            // The trail may be what refuses; the process has to leave the queue all the same.
            Err(error) if error.is_refused_value() && under_way.is_some() => end(None),
            other => other,
        }
    }

    /// The processes that [`Store::claim_due`] would claim, those of a higher priority than `above` only; none of them is
    /// claimed.
    ///
    /// # Errors
    /// When the database fails.
    pub fn due(&mut self, limit: usize, above: Option<i32>) -> Result<Vec<String>, StoreError> {
        self.query(&DUE, &[&bigint(limit), &above])?
            .iter()
            .map(|row| get(row, "task_instance", "the queue"))
            .collect()
    }

    /// Ends a process that can't be claimed as FAILED with the reason; `false` if somebody has claimed it since.
    ///
    /// # Errors
    /// When the database fails.
    pub fn quarantine_unclaimed(&mut self, process_id: &str, reason: &str) -> Result<bool, StoreError> {
        Ok(self.query_opt(&QUARANTINE_UNCLAIMED, &[&process_id, &reason])?.is_some())
    }

    /// The time until one process is due; `None` when it is picked or has ended, or is held by a pause that is heeded.
    ///
    /// # Errors
    /// When the database fails.
    pub fn next_due_of(
        &mut self,
        process_id: &str,
        heeds_pauses: bool,
    ) -> Result<Option<Duration>, StoreError> {
        self.query_opt(&NEXT_DUE_OF, &[&process_id, &heeds_pauses])?.as_ref().map_or(Ok(None), read_wait)
    }

    /// The priorities of due processes that wait in those parts of the queue, highest first, at most `limit` of them; and
    /// whether there were processes of paused types in between.
    ///
    /// # Errors
    /// When the database fails.
    pub fn waiting_priorities(
        &mut self,
        parts: &[QueuePart],
        limit: usize,
    ) -> Result<(Vec<i32>, bool), StoreError> {
        let PartColumns { lowest, highest, due_ago_s, .. } = PartColumns::new(parts, None, 0);
        let rows = self.query(&WAITING, &[&bigint(limit), &lowest, &highest, &due_ago_s])?;
        let (mut priorities, mut has_paused) = (Vec::with_capacity(rows.len()), false);
        for row in &rows {
            match get(row, "is_paused", "the queue")? {
                true => has_paused = true,
                false => priorities.push(get(row, "priority", "the queue")?),
            }
        }
        Ok((priorities, has_paused))
    }

    /// The types of which processes of `priority` are ready, at most `limit` of them, by name and the last one first; only
    /// those before `before`, if there is one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn waiting_types(
        &mut self,
        priority: i32,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<WaitingType>, StoreError> {
        let rows = self.query(&WAITING_TYPES, &[&priority, &before, &bigint(limit)])?;
        let read = |row: &Row| {
            let name = get(row, "task_name", "the queue")?;
            Ok(WaitingType { name, is_paused: get(row, "is_paused", "the queue")? })
        };
        rows.iter().map(read).collect()
    }

    /// Which of `claims` the node no longer holds, because they ended or were taken.
    ///
    /// # Errors
    /// When the database fails.
    pub fn revoked_claims(
        &mut self,
        node: &str,
        claims: &[(Arc<str>, i64)],
    ) -> Result<Vec<(String, i64)>, StoreError> {
        let ids: Vec<&str> = claims.iter().map(|it| &*it.0).collect();
        let versions: Vec<i64> = claims.iter().map(|it| it.1).collect();
        self.query(&REVOKED, &[&node, &ids, &versions])?
            .iter()
            .map(|row| Ok((get(row, "process_id", "a claim")?, get(row, "version", "a claim")?)))
            .collect()
    }

    /// All claims the database knows `node` to hold, with their versions.
    ///
    /// # Errors
    /// When the database fails.
    pub fn held_claims(&mut self, node: &str) -> Result<Vec<(String, i64)>, StoreError> {
        self.query(&HELD, &[&node])?
            .iter()
            .map(|row| Ok((get(row, "task_instance", "a claim")?, get(row, "version", "a claim")?)))
            .collect()
    }
}

/// A start in the far future is as good as a day: the poller looks again long before.
pub(super) fn read_wait(row: &Row) -> Result<Option<Duration>, StoreError> {
    let millis: Option<f64> = get(row, "wait_ms", "the queue")?;
    Ok(millis.map(|ms| Duration::from_secs_f64((ms / 1000.0).clamp(0.0, 86_400.0))))
}

fn count_of(count: i64) -> usize {
    usize::try_from(count).unwrap_or_default()
}

pub(super) fn bigint(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Every claim has a row of its own, and a second one with its task unless a row is missing.
fn read_batch(rows: &[Row]) -> Result<ClaimedBatch, StoreError> {
    let mut batch = ClaimedBatch::default();
    let mut fullest: HashMap<&str, (usize, &Row)> = HashMap::with_capacity(rows.len());
    for (place, row) in rows.iter().enumerate() {
        let Some(id) = get::<Option<&str>>(row, "task_instance", "a claim")? else {
            match get(row, "task_name", "a claim")? {
                Some(held) => batch.held_types.push(held),
                None => match get::<Option<i64>>(row, "version", "a claim")? {
                    None => batch.is_room_elsewhere = true,
                    Some(-1) => batch.is_node_dead = true,
                    Some(blocked) => batch.blocked = count_of(blocked),
                },
            }
            continue;
        };
        let has_task = get::<Option<i32>>(row, "task_index", "a claim")?.is_some();
        let (_, best) = fullest.entry(id).or_insert((place, row));
        if has_task {
            *best = row;
        }
    }
    let mut ordered: Vec<_> = fullest
        .into_values()
        .map(|(place, row)| {
            // One that can't be read comes last: it is quarantined when it is read as a whole.
            let priority = get::<i32>(row, "priority", "a claim").unwrap_or(i32::MIN);
            let due = get::<SystemTime>(row, "execution_time", "a claim").ok();
            // What one statement started is due at one time: it goes in the order of the scan.
            (Reverse(priority), due.is_none(), due, place, row)
        })
        .collect();
    ordered.sort_by_key(|&(priority, is_odd, due, place, _)| (priority, is_odd, due, place));
    batch.claimed = ordered.into_iter().map(|(.., row)| read_claimed(row)).collect::<Result<_, _>>()?;
    Ok(batch)
}

/// Seconds; of one that is due since ever they say nothing.
fn read_age(row: &Row, column: &str, what: &str) -> Result<Duration, StoreError> {
    let seconds = get::<Option<f64>>(row, column, what)?;
    Ok(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default())
}

fn read_claimed(row: &Row) -> Result<Claimed, StoreError> {
    let process_id: &str = get(row, "task_instance", "a claim")?;
    let version: i64 = get(row, "version", "a claim")?;
    match read_ready(row, process_id, version) {
        Ok((claim, task)) => Ok(Claimed::Ready(claim, task)),
        Err(error) => Ok(Claimed::Unreadable { process_id: process_id.to_owned(), version, error }),
    }
}

fn read_ready(row: &Row, process_id: &str, version: i64) -> Result<(Claim, ClaimedTask), StoreError> {
    let what = format!("process \"{process_id}\"");
    if get::<Option<i32>>(row, "total_tasks", &what)?.is_none() {
        return Err(unreadable(
            &what,
            "it is scheduled, but its row in processes or that of its task is missing",
        ));
    }
    let input: Value = get(row, "input_data", &what)?;
    let input = ProcessInputData::from_value(&input, "input_data")
        .map_err(|faults| unreadable(&what, faults.to_string()))?;
    let claim = Claim {
        process_id: process_id.into(),
        process_type: get::<&str>(row, "task_name", &what)?.into(),
        version,
        priority: get(row, "priority", &what)?,
        total_tasks: count(row, "total_tasks", &what)?,
        input: Arc::new(input),
        context: Arc::new(object(row, "process_context", &what)?),
        due_ago: read_age(row, "due_ago_s", &what)?,
        queue_delay: read_age(row, "queue_delay_s", &what)?,
        limits: get::<Option<Vec<String>>>(row, "limits", &what)?.map(Into::into),
    };
    match read_task(row, &what)? {
        Some(task) => Ok((claim, task)),
        None => Err(unreadable(&what, "the row of its current task is missing")),
    }
}

/// The task columns of a claim or of a hand-off; `None` where the join found no task.
pub(super) fn read_task(row: &Row, what: &str) -> Result<Option<ClaimedTask>, StoreError> {
    if get::<Option<i32>>(row, "task_index", what)?.is_none() {
        return Ok(None);
    }
    let minutes: f64 = get(row, "timeout_minutes", what)?;
    let timeout = Duration::try_from_secs_f64(minutes * 60.0)
        .map_err(|_| unreadable(what, format!("column timeout_minutes is {minutes}")))?;
    let max_output: i64 = get(row, "max_output_bytes", what)?;
    let (retry, leftovers) = types::retry_of(row, what)?;
    Ok(Some(ClaimedTask {
        index: count(row, "task_index", what)?,
        name: get(row, "name", what)?,
        command: get(row, "command", what)?,
        shell: get(row, "shell", what)?,
        working_directory: get(row, "working_directory", what)?,
        environment: types::environment_of(row, what)?,
        timeout,
        max_retries: count(row, "max_retries", what)?,
        retry_count: count(row, "retry_count", what)?,
        attempt: count(row, "attempt", what)?,
        retry,
        leftovers,
        max_output_bytes: u64::try_from(max_output)
            .map_err(|_| unreadable(what, format!("column max_output_bytes is {max_output}")))?,
    }))
}
