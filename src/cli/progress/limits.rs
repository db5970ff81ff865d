//! Whoever waits for processes hears for which limits these wait.

use std::collections::BTreeMap;

use crate::cli::screen::terminal::message;
use crate::cli::screen::text;
use crate::model::limits::usage::{LimitWait, parse_entry};
use crate::store::{Store, StoreError};

/// Processes that are looked at: of many waiting ones some say enough.
const LOOKED_AT_MAX: usize = 1_000;

/// What was told of limits.
pub struct Limits {
    program: String,
    /// What waited at the last look and was not told yet: a wait of a moment is no news.
    seen: Vec<String>,
    told: Vec<String>,
}

impl Limits {
    /// `program` is the program as it has to be called.
    pub fn new(program: String) -> Self {
        Self { program, seen: Vec::new(), told: Vec::new() }
    }

    /// Looks, and tells of each limit for which some of these wait, once.
    ///
    /// # Errors
    /// When the database fails.
    pub fn look(&mut self, store: &mut Store, process_ids: &[String]) -> Result<(), StoreError> {
        let ids: Vec<&str> = process_ids.iter().take(LOOKED_AT_MAX).map(String::as_str).collect();
        let mut by_limit: BTreeMap<String, Vec<(String, LimitWait)>> = BTreeMap::new();
        for (id, wait) in store.limit_waits(&ids, false)? {
            by_limit.entry(parse_entry(&wait.entry).0.to_owned()).or_default().push((id, wait));
        }
        for (limit, waiting) in &by_limit {
            if self.seen.contains(limit) && !self.told.contains(limit) {
                message(sentence(waiting, process_ids.len(), &self.program));
                self.told.push(limit.clone());
            }
        }
        self.seen = by_limit.into_keys().collect();
        Ok(())
    }
}

/// That processes wait for a limit, and what shows more of it.
pub fn sentence(waiting: &[(String, LimitWait)], of: usize, program: &str) -> String {
    let Some((id, wait)) = waiting.first() else { return String::new() };
    let limit = parse_entry(&wait.entry).0;
    let (who, what, entry) = match (of, waiting.len()) {
        (1, _) => (format!("process {id}"), wait.phrase(), wait.entry.as_str()),
        (_, 1) => (format!("process {id}"), wait.phrase(), wait.entry.as_str()),
        (_, many) => (format!("{many} processes"), format!("wait for limit {limit}"), limit),
    };
    text::escape(&format!("{who} {what}; see {program} limits show {}", shell_words::quote(entry)))
        .into_owned()
}
