//! Schedules as the tables have them.

use jiff::Timestamp;
use postgres::Row;
use serde::Serialize;
use serde_json::Value;

use crate::model::schedule::definition::Schedule;
use crate::store::StoreError;
use crate::store::row::{get, unreadable};

/// A schedule with its state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScheduleData {
    /// Its name.
    pub name: String,
    /// Of what type its processes are.
    pub process_type: String,
    /// What it says, as a document.
    pub definition: Value,
    /// The process type in whose document it stands; `None`: it was made by hand.
    pub source: Option<String>,
    /// Whether it is held back.
    pub paused: bool,
    /// Since when.
    pub paused_at: Option<Timestamp>,
    /// By whom.
    pub paused_by: Option<String>,
    /// Why.
    pub pause_reason: Option<String>,
    /// Its next time; `None` until a node has computed it, and when there is no more.
    pub next_at: Option<Timestamp>,
    /// When that is due, with jitter; later while it can't be started.
    pub due_at: Option<Timestamp>,
    /// There is no more time.
    pub is_over: bool,
    /// The time of its last process.
    pub last_at: Option<Timestamp>,
    /// The id of that.
    pub last_process_id: Option<String>,
    /// How long after it was due that was started; `None` for one that was made up for.
    pub last_lateness_ms: Option<i64>,
    /// Its processes that have not ended.
    pub unfinished: Vec<String>,
    /// Processes it has started.
    pub fired: i64,
    /// Times that were skipped because nobody was there in time.
    pub skipped_missed: i64,
    /// Times that were skipped because the process before had not ended.
    pub skipped_overlap: i64,
    /// Times that were skipped because another process has the id.
    pub skipped_taken: i64,
    /// Why it can't be started.
    pub problem: Option<String>,
    /// Since when.
    pub problem_since: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: Option<String>,
    /// The time by the clock of the database.
    #[serde(skip)]
    pub now: Timestamp,
}

impl ScheduleData {
    /// What it says.
    ///
    /// # Errors
    /// Everything that is wrong with it, by this machine's knowledge of zones.
    pub fn schedule(&self) -> Result<Schedule, crate::model::faults::Faults> {
        Schedule::from_value(&self.definition, &format!("schedule {:?}", self.name))
    }

    /// All that was skipped.
    pub fn skipped(&self) -> i64 {
        self.skipped_missed + self.skipped_overlap + self.skipped_taken
    }
}

/// What became of a time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScheduleFiring {
    /// The time.
    pub scheduled_at: Timestamp,
    /// `FIRED` or `SKIPPED`.
    pub outcome: String,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// How many times this stands for, this one being the last.
    pub how_many: i64,
    /// The process.
    pub process_id: Option<String>,
    /// How long after it was due that was started.
    pub lateness_ms: Option<i64>,
    /// When this was noted.
    pub noted_at: Timestamp,
}

/// Schedules in sums.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ScheduleSummary {
    /// All there are.
    pub schedules: i64,
    /// Those that are held back.
    pub paused: i64,
    /// Those that can't be started.
    pub with_problem: i64,
    /// Processes that were started.
    pub fired: i64,
    /// Times that were skipped because nobody was there in time.
    pub missed: i64,
    /// Because the process before had not ended.
    pub overlap: i64,
    /// Because another process has the id.
    pub taken: i64,
    /// The greatest lateness of the last five minutes, in seconds.
    pub lateness_seconds: f64,
    /// How long the oldest time has not been fired, in seconds.
    pub overdue_seconds: f64,
    /// The next time of all.
    pub next_at: Option<Timestamp>,
}

pub(super) fn read(row: &Row) -> Result<ScheduleData, StoreError> {
    let name: String = get(row, "name", "a schedule")?;
    let what = format!("schedule \"{name}\"");
    let what = what.as_str();
    let document: &str = get(row, "document", what)?;
    let paused_at = get(row, "paused_at", what)?;
    Ok(ScheduleData {
        process_type: get(row, "process_type", what)?,
        definition: serde_json::from_str(document).map_err(|cause| unreadable(what, cause.to_string()))?,
        source: get(row, "source", what)?,
        paused: Option::is_some(&paused_at),
        paused_at,
        paused_by: get(row, "paused_by", what)?,
        pause_reason: get(row, "pause_reason", what)?,
        next_at: get(row, "next_at", what)?,
        due_at: get(row, "due_at", what)?,
        is_over: get(row, "is_over", what)?,
        last_at: get(row, "last_at", what)?,
        last_process_id: get(row, "last_process_id", what)?,
        last_lateness_ms: get(row, "last_lateness_ms", what)?,
        unfinished: get(row, "unfinished", what)?,
        fired: get(row, "fired", what)?,
        skipped_missed: get(row, "skipped_missed", what)?,
        skipped_overlap: get(row, "skipped_overlap", what)?,
        skipped_taken: get(row, "skipped_taken", what)?,
        problem: get(row, "problem", what)?,
        problem_since: get(row, "problem_since", what)?,
        created_at: get(row, "created_at", what)?,
        changed_at: get(row, "changed_at", what)?,
        changed_by: get(row, "changed_by", what)?,
        now: get(row, "now", what)?,
        name,
    })
}

pub(super) fn read_firing(row: &Row) -> Result<ScheduleFiring, StoreError> {
    let what = "a time of a schedule";
    Ok(ScheduleFiring {
        scheduled_at: get(row, "scheduled_at", what)?,
        outcome: get(row, "outcome", what)?,
        reason: get(row, "reason", what)?,
        how_many: get(row, "how_many", what)?,
        process_id: get(row, "process_id", what)?,
        lateness_ms: get(row, "lateness_ms", what)?,
        noted_at: get(row, "noted_at", what)?,
    })
}

pub(super) fn read_summary(row: &Row) -> Result<ScheduleSummary, StoreError> {
    let what = "the schedules";
    Ok(ScheduleSummary {
        schedules: get(row, "schedules", what)?,
        paused: get(row, "paused", what)?,
        with_problem: get(row, "with_problem", what)?,
        fired: get(row, "fired", what)?,
        missed: get(row, "missed", what)?,
        overlap: get(row, "overlap", what)?,
        taken: get(row, "taken", what)?,
        lateness_seconds: get(row, "lateness", what)?,
        overdue_seconds: get(row, "overdue", what)?,
        next_at: get(row, "next_at", what)?,
    })
}
