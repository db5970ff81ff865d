//! Forgetting finished processes, with their tasks and executions.

use std::time::Duration;

use jiff::Timestamp;
use postgres::types::ToSql;

use super::connection::Lockable;
use super::row::get;
use super::{Sql, Store, StoreError};
use crate::model::lifecycle::ProcessStatus;

const PRUNE: Sql = Sql::new("delete finished processes", include_str!("../../sql/control/prune.sql"));
const PRUNABLE: Sql = Sql::new("count finished processes", include_str!("../../sql/control/prunable.sql"));
const TURN: Sql = Sql::new(
    "see whether another node prunes",
    "SELECT pg_try_advisory_xact_lock($1, hashtext(current_schema())) AS is_ours",
);

/// Advisory lock of the node that prunes by itself; the second key is the schema's hash.
const LOCK_CLASS: i32 = 0x504f_5031;

/// Processes deleted in one transaction. With ten tasks and a few executions each that is some thousand rows: tenths
/// of a second, and locks on nothing that runs.
pub const PRUNE_BATCH: u32 = 200;

/// How long a batch waits for a lock before it leaves out what is locked.
const LOCK_WAIT: Duration = Duration::from_millis(500);

/// Locked processes of a batch of which it is told who has locked them.
const TOLD_MAX: usize = 3;

/// Which finished processes are to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneFilter {
    /// Those that ended longer ago than this.
    pub older_than: Duration,
    /// Only those in one of these final statuses; empty is all of them.
    pub statuses: Vec<ProcessStatus>,
    /// Only those of this type.
    pub process_type: Option<String>,
}

/// The end and id of the last process of a batch: the next one begins behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlace {
    completed_at: Timestamp,
    process_id: String,
}

/// What one batch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Processes deleted.
    pub processes: u64,
    /// Those that stay, as somebody has locked them: the next time, maybe.
    pub locked: Vec<String>,
    /// Where the next batch begins; `None` when nothing is left.
    pub next: Option<PrunePlace>,
}

/// What there is to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prunable {
    /// How many processes.
    pub processes: u64,
    /// When the oldest of them ended.
    pub oldest: Option<Timestamp>,
}

impl PruneFilter {
    /// The statuses as the statements take them.
    fn words(&self) -> Option<Vec<&'static str>> {
        (!self.statuses.is_empty()).then(|| self.statuses.iter().map(|it| it.as_str()).collect())
    }
}

impl Store {
    /// Deletes up to [`PRUNE_BATCH`] finished processes behind `after`, the oldest first, in one transaction. Those that
    /// somebody has locked stay.
    ///
    /// # Errors
    /// When the database fails; nothing is deleted then.
    pub fn prune(&mut self, filter: &PruneFilter, after: Option<&PrunePlace>) -> Result<Pruned, StoreError> {
        let pruned = self.prune_if(filter, after, false)?;
        Ok(pruned.unwrap_or_default())
    }

    /// Whose transactions have locked these processes, one sentence for each.
    ///
    /// # Errors
    /// When the database fails.
    pub fn who_keeps(&mut self, locked: &[String]) -> Result<Vec<String>, StoreError> {
        let first = &locked[..locked.len().min(TOLD_MAX)];
        let holders = self.holders_of(first, LOCK_WAIT)?;
        Ok(holders.into_iter().map(|(id, holder)| format!("process {id:?} is locked by {holder}")).collect())
    }

    /// `None`: another session is at it, and `alone` was asked for.
    fn prune_if(
        &mut self,
        filter: &PruneFilter,
        after: Option<&PrunePlace>,
        alone: bool,
    ) -> Result<Option<Pruned>, StoreError> {
        let mut batch = |is_careful| {
            self.in_bounded_transaction("prune", LOCK_WAIT, |store| {
                let is_ours =
                    !alone || get(&store.query_one(&TURN, &[&LOCK_CLASS], "a lock")?, "is_ours", "a lock")?;
                if is_ours { store.prune_batch(filter, after, is_careful).map(Some) } else { Ok(None) }
            })
        };
        match batch(false) {
            Err(error) if error.is_lock_conflict() => match batch(true) {
                // The rows were left out: it is the tables.
                Err(error) if error.is_lock_conflict() => Err(self.locked(Lockable::Finished)?),
                other => other,
            },
            other => other,
        }
    }

    fn prune_batch(
        &mut self,
        filter: &PruneFilter,
        after: Option<&PrunePlace>,
        is_careful: bool,
    ) -> Result<Pruned, StoreError> {
        let (seconds, words) = (filter.older_than.as_secs_f64(), filter.words());
        let (time, id) = (after.map(|it| it.completed_at), after.map(|it| it.process_id.as_str()));
        let limit = i64::from(PRUNE_BATCH);
        let params: [&(dyn ToSql + Sync); 7] =
            [&seconds, &words, &filter.process_type, &time, &id, &limit, &is_careful];
        let Some(row) = self.query_opt(&PRUNE, &params)? else { return Ok(Pruned::default()) };
        let what = "a deleted process";
        let processes = u64::try_from(get::<i64>(&row, "how_many", what)?).unwrap_or(0);
        let met: i64 = get(&row, "met", what)?;
        let next = PrunePlace {
            completed_at: get(&row, "completed_at", what)?,
            process_id: get(&row, "process_id", what)?,
        };
        let locked = get(&row, "left_ids", what)?;
        Ok(Pruned { processes, locked, next: (met >= limit).then_some(next) })
    }

    /// The same, if no other session is at it in this way: `None` then.
    ///
    /// # Errors
    /// As [`Store::prune`].
    pub fn prune_alone(
        &mut self,
        filter: &PruneFilter,
        after: Option<&PrunePlace>,
    ) -> Result<Option<Pruned>, StoreError> {
        self.prune_if(filter, after, true)
    }

    /// How much [`Store::prune`] would delete in all.
    pub fn prunable(&mut self, filter: &PruneFilter) -> Result<Prunable, StoreError> {
        let (seconds, words) = (filter.older_than.as_secs_f64(), filter.words());
        let row = self.query_one(&PRUNABLE, &[&seconds, &words, &filter.process_type], "a count")?;
        Ok(Prunable {
            processes: u64::try_from(get::<i64>(&row, "how_many", "a count")?).unwrap_or(0),
            oldest: get(&row, "oldest", "a count")?,
        })
    }
}
