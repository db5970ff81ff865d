//! The journal of a chaos run, as tests/chaos/events.py writes it.

use process_orchestrator::{Outcome, ProcessStatus, TaskStatus};
use serde::{Deserialize, Deserializer};

/// One line. What an event does not have is empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Event {
    pub event: String,
    /// Seconds since the run began.
    pub t: f64,
    /// The number of its first change in the database, and its transaction there.
    pub n: u64,
    pub tx: u64,
    /// When its statement was asked for: what that saw is no older.
    pub asked: f64,
    pub session: String,
    pub node: String,
    pub process: String,
    pub task: usize,
    pub attempt: u32,
    pub outcome: String,
    pub code: Option<i32>,
    pub pid: u32,
    pub excuse: Option<String>,
    #[serde(rename = "type")]
    pub process_type: String,
    pub definitions: Vec<Definition>,
    /// The state of the queue's row before it moved.
    pub from: String,
    /// What changed in the process's rows; `Some(None)`: its row has left the queue.
    #[serde(deserialize_with = "present")]
    pub queue: Option<Option<QueueRow>>,
    pub status: Option<String>,
    pub at: Option<usize>,
    pub tasks: Vec<TaskRow>,
    /// Of a node that was declared dead, in seconds; `locked` is how old the session is that holds its lock.
    pub silence: f64,
    pub had_lock: bool,
    pub locked: Option<f64>,
    pub gone: bool,
    pub lease: f64,
    /// A node of the last release.
    pub is_old: bool,
    pub dead_after: f64,
    pub state: String,
    /// What was changed by no statement that is known.
    pub old: Option<serde_json::Value>,
    pub new: Option<serde_json::Value>,
    /// As it is written.
    #[serde(skip)]
    pub line: String,
    /// In the first line of a journal that is kept because it breaks a property: which.
    pub breaks: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Definition {
    pub max_retries: u32,
    pub on_crash: String,
    pub fatal: Option<Vec<i32>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct QueueRow {
    pub version: i64,
    pub node: Option<String>,
    pub state: Option<String>,
    pub held_by: Option<String>,
    pub due: f64,
    pub cancel: bool,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TaskRow {
    pub task: usize,
    #[serde(deserialize_with = "task_status")]
    pub status: TaskStatus,
    pub attempt: u32,
    pub retries: u32,
}

impl Event {
    pub fn process_status(&self) -> Option<ProcessStatus> {
        self.status.as_deref().map(|word| {
            ProcessStatus::parse(word)
                .unwrap_or_else(|| panic!("no status of a process: {word}: {}", self.line))
        })
    }

    pub fn outcome(&self) -> Outcome {
        Outcome::parse(&self.outcome).unwrap_or_else(|| panic!("no outcome: {}", self.line))
    }
}

/// Reads a journal; `text` has one object in each line.
pub fn read(text: &str) -> Vec<Event> {
    let event = |(at, line): (usize, &str)| {
        let event: Event =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("line {}: {e}: {line}", at + 1));
        Event { line: line.to_owned(), ..event }
    };
    text.lines().enumerate().map(event).collect()
}

/// Tells null from nothing.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<QueueRow>>, D::Error> {
    Option::deserialize(from).map(Some)
}

fn task_status<'de, D: Deserializer<'de>>(from: D) -> Result<TaskStatus, D::Error> {
    let word = String::deserialize(from)?;
    TaskStatus::parse(&word).ok_or_else(|| serde::de::Error::custom(format!("no status of a task: {word}")))
}
