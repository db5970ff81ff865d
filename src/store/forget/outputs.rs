//! Deleting what commands have printed, while all else that is recorded of them stays.

use jiff::Timestamp;
use postgres::types::ToSql;

use crate::store::prune::{PRUNE_BATCH, Prunable, PruneFilter, PrunePlace};
use crate::store::row::get;
use crate::store::{Sql, Store, StoreError};

const OUTPUTS: Sql = Sql::new("delete old outputs", include_str!("../../../sql/control/forget/outputs.sql"));
const COUNTABLE: Sql =
    Sql::new("count old outputs", include_str!("../../../sql/control/forget/countable_outputs.sql"));
const PLACE: Sql = Sql::new(
    "see how far old outputs are deleted",
    "SELECT completed_at, process_id FROM forgotten_outputs WHERE rule = $1 AND began_at > now() - interval '1 day'",
);
const KEEP_PLACE: Sql = Sql::new(
    "keep the place up to which old outputs are deleted",
    "INSERT INTO forgotten_outputs (rule, completed_at, process_id) VALUES ($1, $2, $3) \
     ON CONFLICT (rule) DO UPDATE SET completed_at = excluded.completed_at, process_id = excluded.process_id, \
         began_at = CASE WHEN $4 THEN now() ELSE forgotten_outputs.began_at END",
);

/// What one batch of outputs came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForgottenOutputs {
    /// Processes of which outputs were deleted.
    pub processes: u64,
    /// Bytes that these outputs had.
    pub bytes: u64,
    /// Those of which some stay, as somebody has locked their rows.
    pub locked: Vec<String>,
    /// The last process that was seen to.
    pub last: Option<PrunePlace>,
    /// Whether there are more behind it.
    pub has_more: bool,
}

impl Store {
    /// Deletes the outputs of up to [`PRUNE_BATCH`] finished processes behind `after`, the oldest first, in one
    /// transaction. `alone`: if no other session is at it in this way, `None` then.
    ///
    /// # Errors
    /// When the database fails; nothing is deleted then.
    pub fn forget_outputs(
        &mut self,
        filter: &PruneFilter,
        after: Option<&PrunePlace>,
        alone: bool,
    ) -> Result<Option<ForgottenOutputs>, StoreError> {
        let (seconds, words, except) = (filter.older_than.as_secs_f64(), filter.words(), filter.left_out());
        let (time, id) = (after.map(|it| it.completed_at), after.map(|it| it.process_id.as_str()));
        let limit = i64::from(PRUNE_BATCH);
        self.in_turn(alone, |store, _| {
            let params: [&(dyn ToSql + Sync); 8] =
                [&seconds, &words, &filter.process_type, &time, &id, &limit, &except, &filter.except_eras];
            let Some(row) = store.query_opt(&OUTPUTS, &params)? else {
                return Ok(ForgottenOutputs::default());
            };
            let what = "a deleted output";
            let number =
                |column| Ok::<_, StoreError>(u64::try_from(get::<i64>(&row, column, what)?).unwrap_or(0));
            Ok(ForgottenOutputs {
                processes: number("how_many")?,
                bytes: number("bytes")?,
                locked: get(&row, "left_ids", what)?,
                last: Some(PrunePlace {
                    completed_at: get::<Timestamp>(&row, "completed_at", what)?,
                    process_id: get(&row, "process_id", what)?,
                }),
                has_more: number("met")? >= u64::from(PRUNE_BATCH),
            })
        })
    }

    /// Of how many processes outputs would be deleted in all, and how many bytes these have.
    ///
    /// # Errors
    /// When the database fails.
    pub fn old_outputs(&mut self, filter: &PruneFilter) -> Result<(Prunable, u64), StoreError> {
        let (seconds, words, except) = (filter.older_than.as_secs_f64(), filter.words(), filter.left_out());
        let row =
            self.query_one(&COUNTABLE, &[&seconds, &words, &filter.process_type, &except], "a count")?;
        let number =
            |column| Ok::<_, StoreError>(u64::try_from(get::<i64>(&row, column, "a count")?).unwrap_or(0));
        let prunable = Prunable { processes: number("how_many")?, oldest: get(&row, "oldest", "a count")? };
        Ok((prunable, number("bytes")?))
    }

    /// Up to where `rule` was followed, if that was begun within a day.
    ///
    /// # Errors
    /// When the database fails.
    pub fn outputs_place(&mut self, rule: &str) -> Result<Option<PrunePlace>, StoreError> {
        let Some(row) = self.query_opt(&PLACE, &[&rule])? else { return Ok(None) };
        let what = "a place";
        Ok(Some(PrunePlace {
            completed_at: get(&row, "completed_at", what)?,
            process_id: get(&row, "process_id", what)?,
        }))
    }

    /// Keeps that place, for this node's next look and for every other's.
    ///
    /// # Errors
    /// When the database fails.
    pub fn keep_outputs_place(
        &mut self,
        rule: &str,
        place: &PrunePlace,
        begins: bool,
    ) -> Result<(), StoreError> {
        self.execute(&KEEP_PLACE, &[&rule, &place.completed_at, &place.process_id, &begins])?;
        Ok(())
    }
}
