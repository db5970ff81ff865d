//! What the history takes up, for `doctor`.

use super::Earlier;
use crate::store::row::get;
use crate::store::{Sql, Store, StoreError};

const HISTORY: Sql = Sql::new("measure the history", include_str!("../../../sql/eras/history.sql"));

/// The history's size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Bytes of all tables with their indexes.
    pub bytes: u64,
    /// Those of outputs of more than 1,024 bytes.
    pub output_bytes: u64,
    /// Processes, as the server estimates them.
    pub processes: u64,
    /// Sets of processes that can be forgotten as a whole.
    pub eras: u64,
    /// Those of which something runs, waits or may come.
    pub open_eras: u64,
    /// Those that are forgotten, and whose tables could not be dropped yet.
    pub emptied: u64,
    /// What was there before eras and is not sorted into them yet.
    pub earlier: Option<Earlier>,
}

impl Store {
    /// Measures the history.
    ///
    /// # Errors
    /// When the database fails.
    pub fn history(&mut self) -> Result<History, StoreError> {
        let row = self.query_one(&HISTORY, &[], "the history")?;
        let number = |column| get::<i64>(&row, column, "the history").map(i64::unsigned_abs);
        Ok(History {
            bytes: number("bytes")?,
            output_bytes: number("output_bytes")?,
            processes: number("processes")?,
            eras: number("eras")?,
            open_eras: number("open_eras")?,
            emptied: number("emptied")?,
            earlier: self.earlier_history()?,
        })
    }
}
