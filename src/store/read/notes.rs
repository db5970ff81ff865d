//! What is to be said of the processes of a page beside their rows: cancelled, held back, waiting for a retry.

use std::collections::HashMap;

use crate::model::limits::usage::LimitWait;
use crate::model::records::ProcessData;
use crate::store::row::get;
use crate::store::{Sql, Store, StoreError};

const NOTES: Sql = Sql::new("see what processes wait for", include_str!("../../../sql/read/list_notes.sql"));

/// What keeps an unfinished process, as far as one word says it; [`Store::explain`] knows all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    /// Somebody has cancelled it, and its node has not ended it yet.
    pub is_cancelling: bool,
    /// Its type is paused.
    pub is_paused: bool,
    /// Its task has failed and waits for the next attempt.
    pub is_waiting_retry: bool,
    /// It waits for a limit.
    pub limit: Option<LimitWait>,
}

impl Store {
    /// Notes on those of the processes that have any, by their ids.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn notes(&mut self, processes: &[ProcessData]) -> Result<HashMap<String, Note>, StoreError> {
        let unfinished = processes.iter().filter(|process| !process.status.is_final());
        let ids: Vec<&str> = unfinished.map(|process| process.process_id.as_str()).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let read = |row: &postgres::Row| {
            let process_id: String = get(row, "process_id", "a process")?;
            let what = format!("process {process_id:?}");
            let note = Note {
                is_cancelling: get(row, "is_cancelling", &what)?,
                is_paused: get(row, "is_paused", &what)?,
                is_waiting_retry: get(row, "is_waiting_retry", &what)?,
                limit: None,
            };
            Ok((process_id, note))
        };
        let mut notes: HashMap<String, Note> =
            self.query(&NOTES, &[&ids])?.iter().map(read).collect::<Result<_, StoreError>>()?;
        for (process_id, wait) in self.limit_waits(&ids, false)? {
            notes.entry(process_id).or_default().limit = Some(wait);
        }
        Ok(notes)
    }
}
