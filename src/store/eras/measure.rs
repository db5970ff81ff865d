//! How many eras there are, for `doctor`.

use super::Earlier;
use crate::store::row::get;
use crate::store::{Sql, Store, StoreError};

const ALL: Sql = Sql::new("measure the eras", include_str!("../../../sql/eras/all.sql"));

/// The eras as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EraMeasure {
    /// Sets of processes that can be forgotten as a whole.
    pub eras: u64,
    /// Those of which something runs, waits or may come.
    pub open: u64,
    /// Those that are forgotten, and whose tables could not be dropped yet.
    pub emptied: u64,
    /// Bytes of outputs of more than 1,024 bytes.
    pub output_bytes: u64,
    /// What was there before eras and is not sorted into them yet.
    pub earlier: Option<Earlier>,
}

impl Store {
    /// Measures the eras.
    ///
    /// # Errors
    /// When the database fails.
    pub fn measure_eras(&mut self) -> Result<EraMeasure, StoreError> {
        let row = self.query_one(&ALL, &[], "the eras")?;
        let number = |column| get::<i64>(&row, column, "the eras").map(i64::unsigned_abs);
        Ok(EraMeasure {
            eras: number("eras")?,
            open: number("open")?,
            emptied: number("emptied")?,
            output_bytes: number("output_bytes")?,
            earlier: self.earlier_history()?,
        })
    }
}
