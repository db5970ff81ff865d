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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneFilter {
    /// Those that ended longer ago than this.
    pub older_than: Duration,
    /// Only those in one of these final statuses; empty is all of them.
    pub statuses: Vec<ProcessStatus>,
    /// Only those of this type.
    pub process_type: Option<String>,
    /// None of these types.
    pub except: Vec<String>,
    /// None of these eras: they go as a whole, now or soon.
    pub except_eras: Vec<i32>,
}

/// The end and id of the last process of a batch: the next one begins behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlace {
    /// When it ended.
    pub completed_at: Timestamp,
    /// Its id.
    pub process_id: String,
}

/// What one batch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Processes deleted.
    pub processes: u64,
    /// Those that stay, as somebody has locked them: the next time, maybe.
    pub locked: Vec<String>,
    /// Those that stay, as they are not what was archived any more.
    pub changed: Vec<String>,
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
    pub(in crate::store) fn words(&self) -> Option<Vec<&'static str>> {
        (!self.statuses.is_empty()).then(|| self.statuses.iter().map(|it| it.as_str()).collect())
    }

    /// The types that are left out, so too.
    pub(in crate::store) fn left_out(&self) -> Option<&Vec<String>> {
        (!self.except.is_empty()).then_some(&self.except)
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

    fn prune_if(
        &mut self,
        filter: &PruneFilter,
        after: Option<&PrunePlace>,
        alone: bool,
    ) -> Result<Option<Pruned>, StoreError> {
        self.in_turn(alone, |store, is_careful| store.prune_batch(filter, after, is_careful))
    }

    /// Does `work` in one transaction; when that waits for a lock, once more with the word that it is careful: it then
    /// leaves out what is locked. `None`: another session is at it, and `alone` was asked for.
    pub(in crate::store) fn in_turn<T>(
        &mut self,
        alone: bool,
        mut work: impl FnMut(&mut Self, bool) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut batch = |is_careful| {
            self.in_bounded_transaction("prune", LOCK_WAIT, |store| {
                let is_ours =
                    !alone || get(&store.query_one(&TURN, &[&LOCK_CLASS], "a lock")?, "is_ours", "a lock")?;
                if is_ours { work(store, is_careful).map(Some) } else { Ok(None) }
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
        let (seconds, words, except) = (filter.older_than.as_secs_f64(), filter.words(), filter.left_out());
        let (time, id) = (after.map(|it| it.completed_at), after.map(|it| it.process_id.as_str()));
        let limit = i64::from(PRUNE_BATCH);
        let params: [&(dyn ToSql + Sync); 9] = [
            &seconds,
            &words,
            &filter.process_type,
            &time,
            &id,
            &limit,
            &is_careful,
            &except,
            &filter.except_eras,
        ];
        let Some(row) = self.query_opt(&PRUNE, &params)? else { return Ok(Pruned::default()) };
        let what = "a deleted process";
        let processes = u64::try_from(get::<i64>(&row, "how_many", what)?).unwrap_or(0);
        let met: i64 = get(&row, "met", what)?;
        let next = PrunePlace {
            completed_at: get(&row, "completed_at", what)?,
            process_id: get(&row, "process_id", what)?,
        };
        let locked = get(&row, "left_ids", what)?;
        Ok(Pruned { processes, locked, changed: Vec::new(), next: (met >= limit).then_some(next) })
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
        let (seconds, words, except) = (filter.older_than.as_secs_f64(), filter.words(), filter.left_out());
        let row = self.query_one(&PRUNABLE, &[&seconds, &words, &filter.process_type, &except], "a count")?;
        Ok(Prunable {
            processes: u64::try_from(get::<i64>(&row, "how_many", "a count")?).unwrap_or(0),
            oldest: get(&row, "oldest", "a count")?,
        })
    }
}
