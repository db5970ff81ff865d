//! Pages of processes, newest first, whatever the filter and however long the history.

use super::cursor::Cursor;
use super::filter::ProcessFilter;
use super::look::PageRows;
use super::values::ProcessText;
use crate::model::records::ProcessData;
use crate::store::row::problem_of;
use crate::store::{Store, StoreError};

/// One page of a list whose values are texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TextPage {
    /// Newest first.
    pub processes: Vec<ProcessText>,
    /// What is wrong with rows, as in [`Page`].
    pub unreadable: Vec<String>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Cursor>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Newest first.
    pub processes: Vec<ProcessData>,
    /// What is wrong with each of the page's rows that can't be read: a sentence that names the process.
    pub unreadable: Vec<String>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Cursor>,
}

impl Store {
    /// A page of processes, newest first.
    pub fn processes(&mut self, filter: &ProcessFilter) -> Result<Page, StoreError> {
        let rows = self.page_rows(filter)?;
        let TextPage { processes: texts, mut unreadable, next } = self.with_values(rows, u32::MAX)?;
        let mut processes = Vec::with_capacity(texts.len());
        for text in texts {
            match text.parsed() {
                Ok(process) => processes.push(process),
                Err(error) => unreadable.push(problem_of(&error)),
            }
        }
        Ok(Page { processes, unreadable, next })
    }

    /// Reads the values of a page's rows, as far as they fit: the page ends before the first that does not. A value of more
    /// bytes than `value_bytes_max` is left out.
    ///
    /// # Errors
    /// When the database fails.
    pub fn with_values(&mut self, rows: PageRows, value_bytes_max: u32) -> Result<TextPage, StoreError> {
        let PageRows { mut found, mut next, include } = rows;
        let mut values = Vec::new();
        if !include.is_nothing() && !found.is_empty() {
            let ids: Vec<&str> = found.iter().map(|it| &*it.place.process_id).collect();
            values = self.values_of(&ids, include, value_bytes_max)?;
            if values.len() < found.len() {
                found.truncate(values.len());
                next = found.last().map(|it| it.place.clone());
            }
        }
        let mut page = TextPage { processes: Vec::with_capacity(found.len()), unreadable: Vec::new(), next };
        let mut values = values.into_iter();
        for one in found {
            let (input, context) = values.next().unwrap_or_default();
            match one.process {
                Ok(process) => page.processes.push(ProcessText { process, input, context }),
                Err(problem) => page.unreadable.push(problem),
            }
        }
        Ok(page)
    }

    /// A text that changes when a page of these rows would: one of them has changed, or others are there.
    ///
    /// # Errors
    /// When the database fails.
    pub fn version_of(&mut self, rows: &PageRows) -> Result<String, StoreError> {
        let ids: Vec<&str> = rows.found.iter().map(|it| &*it.place.process_id).collect();
        let next = rows.next.as_ref().map(Cursor::to_string).unwrap_or_default();
        Ok(format!("{ids:?} {next} {}", self.versions_of(&ids)?))
    }
}
