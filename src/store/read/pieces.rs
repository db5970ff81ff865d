//! What is longer than anybody wants in memory at once, piece by piece. No transaction is open while a piece is used.

use super::{ExecutionFilter, PageSize};
use crate::model::records::ProcessData;
use crate::store::row::{get, unreadable};
use crate::store::{Sql, Store, StoreError};

const INPUT: Sql = Sql::new(
    "read an input",
    "SELECT substr(input_data::text, $2, $3) AS piece, xmin::text AS version FROM processes WHERE process_id = $1",
);
const CONTEXT: Sql = Sql::new(
    "read a context",
    "SELECT substr(process_context::text, $2, $3) AS piece, xmin::text AS version FROM processes WHERE process_id = $1",
);

/// Characters of a piece. For each of them the server writes the whole value out.
const PIECE_CHARS: u32 = 2 * 1024 * 1024;
/// Most bytes of a row's error message, and of values that come with it and are thrown away.
const ROW_TEXT_BYTES_MAX: u32 = 64 * 1024;

/// A value of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LongValue {
    /// What it was started with.
    Input,
    /// What its tasks passed on.
    Context,
}

/// Whose output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputOf {
    /// That of the latest execution of the task at this index, which has had so many attempts.
    Task(u32, u32),
    /// That of this attempt of the task at this index.
    Execution(u32, u32),
}

impl Store {
    /// One process without its input and context, which may be megabytes.
    ///
    /// # Errors
    /// When the database fails or the row can't be read.
    pub fn process_row(&mut self, process_id: &str) -> Result<Option<ProcessData>, StoreError> {
        Ok(self.process_text(process_id, ROW_TEXT_BYTES_MAX)?.map(|it| it.process))
    }

    /// Gives a value to `take` as JSON text, piece by piece; false if there is none.
    ///
    /// # Errors
    /// Those of `take`; when the database fails, or the process has changed meanwhile.
    pub fn value_in_pieces<E: From<StoreError>>(
        &mut self,
        process_id: &str,
        value: LongValue,
        take: &mut dyn FnMut(&str) -> Result<(), E>,
    ) -> Result<bool, E> {
        let (sql, what) = match value {
            LongValue::Input => (&INPUT, "input"),
            LongValue::Context => (&CONTEXT, "context"),
        };
        let what = format!("the {what} of process \"{process_id}\"");
        let chars = PIECE_CHARS.cast_signed();
        let (mut from, mut version) = (1_i32, None);
        loop {
            let row = self.query_opt(sql, &[&process_id, &from, &chars])?;
            let found = row.as_ref().map(|row| get::<String>(row, "version", &what)).transpose()?;
            if version.is_some() && version != found {
                return Err(changed(&what).into());
            }
            let piece =
                row.as_ref().map(|row| get::<Option<&str>>(row, "piece", &what)).transpose()?.flatten();
            let Some(piece) = piece else { return Ok(false) };
            take(piece)?;
            if piece.len() < PIECE_CHARS as usize || piece.chars().count() < PIECE_CHARS as usize {
                return Ok(true);
            }
            (from, version) = (from.saturating_add(chars), found);
        }
    }

    /// Gives the output to `take`, from a character on, piece by piece.
    ///
    /// # Errors
    /// Those of `take`; when the database fails, or what is read has gone or changed meanwhile.
    pub fn output_in_pieces<E: From<StoreError>>(
        &mut self,
        process_id: &str,
        of: OutputOf,
        from: u32,
        take: &mut dyn FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let what = format!("the output of process \"{process_id}\"");
        let mut from = Some(from);
        while let Some(output_from) = from {
            let size = PageSize { rows: 1, output_from, output_chars: PIECE_CHARS, ..PageSize::WHOLE_ROWS };
            let (output, next) = match of {
                OutputOf::Task(index, attempt) => {
                    let page = self.tasks_page(process_id, Some(index), true, None, size)?;
                    let part = page.rows.into_iter().find(|it| it.row.attempt == attempt);
                    part.map(|it| (it.row.output, it.output_next))
                }
                OutputOf::Execution(index, attempt) => {
                    let filter =
                        ExecutionFilter { task_index: Some(index), attempt: Some(attempt), output: true };
                    let page = self.executions_page(process_id, filter, None, size)?;
                    page.rows.into_iter().next().map(|it| (it.row.output, it.output_next))
                }
            }
            .ok_or_else(|| changed(&what))?;
            output.map_or(Ok(()), |output| take(&output))?;
            from = next;
        }
        Ok(())
    }
}

fn changed(what: &str) -> StoreError {
    unreadable(what, "it has changed while it was read; ask again")
}
