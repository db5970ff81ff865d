//! What operators ask of batches, by the schema's own functions.

use serde::Serialize;

use crate::model::batch::data::BatchState;
use crate::store::row::{get, unreadable};
use crate::store::{Sql, Store, StoreError};

const PAUSE: Sql = Sql::new("pause a batch", "SELECT pause_batch($1, $2) AS state");
const RESUME: Sql = Sql::new("resume a batch", "SELECT resume_batch($1) AS state");
const CANCEL: Sql = Sql::new("cancel a batch", "SELECT cancel_batch($1, $2, $3) AS cancelled");
const RETRY: Sql = Sql::new("retry a batch", "SELECT last_id, retried, refused FROM retry_batch($1, $2, $3)");

/// Processes that go again in one transaction.
const RETRY_MAX: i32 = 500;

/// What a retry of the failed processes of a batch has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BatchRetry {
    /// How many go again.
    pub retried: u64,
    /// How many can't.
    pub refused: u64,
}

impl Store {
    /// Holds a batch back: nothing of it is claimed, and what runs stops before its next task. Returns the state it is in.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such batch; otherwise when the database fails.
    pub fn pause_batch(&mut self, name: &str, reason: Option<&str>) -> Result<BatchState, StoreError> {
        let row = self.query_one(&PAUSE, &[&name, &reason], "a batch")?;
        state(&get::<String>(&row, "state", "a batch")?, name)
    }

    /// Lets a batch go on that is paused or halted; its halt counts anew. Returns the state it is in.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such batch; otherwise when the database fails.
    pub fn resume_batch(&mut self, name: &str) -> Result<BatchState, StoreError> {
        let row = self.query_one(&RESUME, &[&name], "a batch")?;
        state(&get::<String>(&row, "state", "a batch")?, name)
    }

    /// Cancels what of a batch has not ended: nothing more of it starts, and what runs is ended by its nodes. Returns how many
    /// were cancelled, or told to end.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such batch; otherwise when the database fails.
    pub fn cancel_batch(
        &mut self,
        name: &str,
        reason: Option<&str>,
        by: Option<&str>,
    ) -> Result<u64, StoreError> {
        let mut cancelled = 0;
        loop {
            match self.begin_to_cancel_batch(name, reason, by)? {
                0 => return Ok(cancelled),
                more => cancelled += more,
            }
        }
    }

    /// The same, but that no more than a thousand are cancelled here: nodes go on with the rest. For whoever can't wait long.
    ///
    /// # Errors
    /// As [`Store::cancel_batch`].
    pub fn begin_to_cancel_batch(
        &mut self,
        name: &str,
        reason: Option<&str>,
        by: Option<&str>,
    ) -> Result<u64, StoreError> {
        let row = self.query_one(&CANCEL, &[&name, &reason, &by], "a batch")?;
        get::<i64>(&row, "cancelled", "a batch").map(i64::unsigned_abs)
    }

    /// Has the failed processes of a batch go again, each from the task that failed, some in each transaction.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such batch; otherwise when the database fails: what was retried before stays so.
    pub fn retry_batch(&mut self, name: &str) -> Result<BatchRetry, StoreError> {
        let (mut done, mut after) = (BatchRetry::default(), String::new());
        loop {
            let row = self.query_one(&RETRY, &[&name, &after, &RETRY_MAX], "a batch")?;
            let count = |column| get::<i64>(&row, column, "a batch").map(i64::unsigned_abs);
            done.retried += count("retried")?;
            done.refused += count("refused")?;
            match get::<Option<String>>(&row, "last_id", "a batch")? {
                None => return Ok(done),
                Some(last) => after = last,
            }
        }
    }
}

pub(super) fn state(word: &str, name: &str) -> Result<BatchState, StoreError> {
    BatchState::parse(word)
        .ok_or_else(|| unreadable(&format!("batch {name:?}"), format!("column state is {word:?}")))
}
