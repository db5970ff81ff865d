//! Inputs and contexts, which may be a megabyte each: read when they are asked for, as the texts they are.
//!
//! A value that is parsed takes up to thirty times its text. Who only passes it on keeps the text.

use serde_json::Value;

use crate::model::records::ProcessData;
use crate::store::row::{get, unreadable};
use crate::store::{Sql, Store, StoreError};

const VALUES: Sql =
    Sql::new("read inputs and contexts", include_str!("../../../sql/read/values/list_values.sql"));
const VERSIONS: Sql = Sql::new(
    "see whether processes have changed",
    include_str!("../../../sql/read/values/list_versions.sql"),
);

/// Inputs and contexts on one page end it after so many bytes; the last value may go beyond.
const PAGE_VALUES_BYTES_MAX: i64 = 1024 * 1024;

/// What a list holds of each process beside its row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Include {
    /// What it was started with.
    pub input: bool,
    /// What its tasks passed on.
    pub context: bool,
}

impl Include {
    /// Both.
    pub const ALL: Self = Self { input: true, context: true };

    pub(super) const fn is_nothing(self) -> bool {
        !self.input && !self.context
    }
}

/// A process whose values are JSON texts, as the database writes them.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessText {
    /// The process without its values.
    pub process: ProcessData,
    /// What it was started with; `None` where it was not asked for or is too large.
    pub input: Option<String>,
    /// What its tasks passed on, so too.
    pub context: Option<String>,
}

impl ProcessText {
    /// With the values in it.
    ///
    /// # Errors
    /// When a value can't be read.
    pub fn parsed(self) -> Result<ProcessData, StoreError> {
        let Self { mut process, input, context } = self;
        let read = |column: &str, text: Option<String>| {
            let what = || format!("process \"{}\"", process.process_id);
            let text = text.as_deref().unwrap_or("null");
            serde_json::from_str::<Value>(text)
                .map_err(|cause| unreadable(&what(), format!("column {column}: {cause}")))
                .and_then(|value| match column {
                    "process_context" if !value.is_object() && !value.is_null() => {
                        Err(unreadable(&what(), format!("column {column} is {value}, not an object")))
                    }
                    _ => Ok(value),
                })
        };
        let values = (read("input_data", input)?, read("process_context", context)?);
        (process.input_data, process.process_context) = values;
        Ok(process)
    }
}

/// Input and context, each as far as it is there.
type Values = (Option<String>, Option<String>);

impl Store {
    /// Input and context of these processes in their order, as far as a page of values goes: of the first ones, at least
    /// one. A value of more bytes than `value_bytes_max` is left out.
    pub(super) fn values_of(
        &mut self,
        process_ids: &[&str],
        include: Include,
        value_bytes_max: u32,
    ) -> Result<Vec<Values>, StoreError> {
        let rows = self.query(
            &VALUES,
            &[
                &process_ids,
                &include.input,
                &include.context,
                &i64::from(value_bytes_max),
                &PAGE_VALUES_BYTES_MAX,
            ],
        )?;
        let what = "the values of a process";
        let read = |row| Ok((get(row, "input_text", what)?, get(row, "context_text", what)?));
        rows.iter().map(read).collect()
    }

    /// A text that changes when one of these processes does.
    ///
    /// # Errors
    /// When the database fails.
    pub fn versions_of(&mut self, process_ids: &[&str]) -> Result<String, StoreError> {
        get(&self.query_one(&VERSIONS, &[&process_ids], "the processes")?, "version", "the processes")
    }
}
