//! Which finished processes are old enough to be forgotten.

use postgres::types::ToSql;

use crate::store::prune::{PruneFilter, PrunePlace};
use crate::store::row::get;
use crate::store::{Sql, Store, StoreError};

const PAGE: Sql =
    Sql::new("list finished processes", include_str!("../../../sql/control/forget/finished_page.sql"));

const TAKE: Sql = Sql::new(
    "see whether another node archives",
    "SELECT pg_try_advisory_lock($1, hashtext(current_schema())) AS is_ours",
);
const GIVE: Sql = Sql::new(
    "let other nodes archive",
    "SELECT pg_advisory_unlock($1, hashtext(current_schema())) AS is_ours",
);

/// Advisory lock of the node that archives by itself; the second key is the schema's hash.
const LOCK_CLASS: i32 = 0x504f_4131;

/// Processes on one page: they are archived and then deleted by so many.
pub const FINISHED_PAGE: u32 = 200;

/// A page of ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FinishedPage {
    /// The oldest first.
    pub ids: Vec<String>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<PrunePlace>,
}

impl Store {
    /// Takes the lock of nodes that archive by themselves, until [`Store::give_sweep`] or the end of this connection; false
    /// if another has it. Through a pooler that lends sessions for one transaction nobody can hold it: true then.
    ///
    /// # Errors
    /// When the database fails.
    pub fn take_sweep(&mut self) -> Result<bool, StoreError> {
        if self.borrows_sessions() {
            return Ok(true);
        }
        get(&self.query_one(&TAKE, &[&LOCK_CLASS], "a lock")?, "is_ours", "a lock")
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When the database fails.
    pub fn give_sweep(&mut self) -> Result<(), StoreError> {
        if self.borrows_sessions() {
            return Ok(());
        }
        self.query_one(&GIVE, &[&LOCK_CLASS], "a lock").map(drop)
    }

    /// Up to [`FINISHED_PAGE`] processes behind `after` that [`Store::prune`] would delete, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn finished_page(
        &mut self,
        filter: &PruneFilter,
        after: Option<&PrunePlace>,
    ) -> Result<FinishedPage, StoreError> {
        let (seconds, words, except) = (filter.older_than.as_secs_f64(), filter.words(), filter.left_out());
        let (time, id) = (after.map(|it| it.completed_at), after.map(|it| it.process_id.as_str()));
        let limit = i64::from(FINISHED_PAGE);
        let params: [&(dyn ToSql + Sync); 7] =
            [&seconds, &words, &filter.process_type, &time, &id, &limit, &except];
        let rows = self.query(&PAGE, &params)?;
        let what = "a finished process";
        let ids: Vec<String> =
            rows.iter().map(|row| get(row, "process_id", what)).collect::<Result<_, _>>()?;
        let last = rows.last().filter(|_| rows.len() >= FINISHED_PAGE as usize);
        let next = last.map(|row| {
            Ok::<_, StoreError>(PrunePlace {
                completed_at: get(row, "completed_at", what)?,
                process_id: get(row, "process_id", what)?,
            })
        });
        Ok(FinishedPage { ids, next: next.transpose()? })
    }
}
