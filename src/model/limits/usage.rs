//! A limit as it is used: what is taken of it, by whom, and who waits.

use jiff::Timestamp;
use serde::Serialize;

/// A limit with what is taken of it and what waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitUsage {
    /// A group's name, `type:TYPE`, `type:TYPE:KEY`, `batch:NAME` or `schedule:NAME`.
    pub name: String,
    /// The process type whose own it is.
    pub process_type: Option<String>,
    /// How many at once, for each value of its key where it has one; `None`: any number; 0: nothing more begins.
    pub max: Option<u32>,
    /// What the document says that was registered last.
    pub declared_max: Option<u32>,
    /// Whether `max` was set by hand.
    pub is_set: bool,
    /// Nothing of it goes on, not even what has begun.
    pub is_paused: bool,
    /// Who said so last.
    pub changed_by: Option<String>,
    /// When.
    pub changed_at: Timestamp,
    /// Slots that are taken, all keys together; counted up to [`COUNTED_MAX`].
    pub taken: u32,
    /// By whom: the first of them, [`NAMED_MAX`] at the most.
    pub taken_by: Vec<String>,
    /// Processes that wait for it; counted so far as well.
    pub waiting: u32,
    /// For how many different values of its key they wait, as far as was looked.
    pub keys_waiting: u32,
    /// Since when the first of them waits.
    pub waiting_since: Option<Timestamp>,
}

/// Processes that are named of those that have slots of a limit.
pub const NAMED_MAX: usize = 5;
/// Slots and waiting processes of one limit that are counted.
pub const COUNTED_MAX: u32 = 100_000;

impl LimitUsage {
    /// `max` in words.
    pub fn shown_max(&self) -> String {
        shown_max(self.max)
    }
}

/// A max in words.
pub fn shown_max(max: Option<u32>) -> String {
    max.map_or_else(|| "no bound".to_owned(), |max| max.to_string())
}

/// A process that has a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitHolder {
    /// The key's value, where the limit has a key.
    pub key: Option<String>,
    /// The process.
    pub process_id: String,
    /// Its type; `None` if it is gone.
    pub process_type: Option<String>,
    /// `process` or `task`: with what the slot goes.
    pub holds: &'static str,
    /// Its current task.
    pub task: Option<String>,
    /// Since when.
    pub taken_at: Timestamp,
    /// The node that runs it; `None` while it waits for a retry.
    pub node: Option<String>,
}

/// A process that waits for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitWaiter {
    /// The key's value, where the limit has a key.
    pub key: Option<String>,
    /// The process.
    pub process_id: String,
    /// Its type.
    pub process_type: String,
    /// Higher ones come first.
    pub priority: i32,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// A process type that makes a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitDeclaration {
    /// The type.
    pub process_type: String,
    /// The task that says so; `None`: the type as a whole.
    pub task: Option<String>,
    /// What it says; `None`: as others say.
    pub max: Option<u32>,
}

/// All of one limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitDetails {
    /// As lists have it.
    #[serde(flatten)]
    pub usage: LimitUsage,
    /// The only key that is shown, if one was asked for.
    pub key: Option<String>,
    /// Which process types make it.
    pub declared_by: Vec<LimitDeclaration>,
    /// Who has slots, those of longest first.
    pub holders: Vec<LimitHolder>,
    /// Who waits, in order; key by key.
    pub line: Vec<LimitWaiter>,
}

/// For which limit a process waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LimitWait {
    /// The limit, with the key's value where it has a key.
    pub entry: String,
    /// How many at once.
    pub max: Option<u32>,
    /// How many slots of the entry are taken.
    pub taken: u32,
    /// Whether it is held back as a whole.
    pub is_paused: bool,
}

impl LimitWait {
    /// As a phrase: `waits for limit gpu (2 of 2 taken)`.
    pub fn phrase(&self) -> String {
        let why = match self.max {
            _ if self.is_paused => "paused".to_owned(),
            Some(0) => "its max is 0".to_owned(),
            Some(max) => format!("{} of {max} taken", self.taken),
            None => format!("{} taken", self.taken),
        };
        format!("waits for limit {} ({why})", self.entry)
    }
}

/// Why a process waits for a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitFacts {
    /// For which, and who has its slots.
    pub blocked: Option<(LimitWait, LimitDetails)>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// How many wait for the same and come before it, up to a bound.
    pub ahead: i64,
    /// Limits of its type that do not count for it, as the key is missing or empty in its input.
    pub keyless: Vec<String>,
}

/// What is wrong with limits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitTroubles {
    /// Slots of processes that are gone: entry and process.
    pub leaked: Vec<(String, String)>,
    /// Who waits although there is room: entry and process.
    pub passed_over: Vec<(String, String)>,
    /// Groups whose max nobody says.
    pub unbounded: Vec<String>,
}

/// An entry as the queue has it, `gpu` or `warehouse=acme`: the limit and the key's value.
pub fn parse_entry(entry: &str) -> (&str, Option<&str>) {
    match entry.split_once('=') {
        Some((name, key)) => (name, Some(key)),
        None => (entry, None),
    }
}
