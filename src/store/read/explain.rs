//! Why a process runs, waits, or has ended.

use postgres::Row;

use crate::model::explain::{Explanation, Facts, Holder, Queued, TaskFacts, explain};
use crate::model::lifecycle::{ProcessStatus, TaskStatus};
use crate::store::row::{count, get, time, word};
use crate::store::{Sql, Store, StoreError};

const EXPLAIN: Sql = Sql::new("look into a process", include_str!("../../../sql/read/explain.sql"));

/// Processes before it that are counted; beyond that "many" says as much.
pub const AHEAD_MAX: i64 = 10_000;

impl Store {
    /// Why a process is where it is; `None` when there is no such process.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn explain(&mut self, process_id: &str) -> Result<Option<Explanation>, StoreError> {
        let row = self.query_opt(&EXPLAIN, &[&process_id, &AHEAD_MAX])?;
        let Some(row) = row else { return Ok(None) };
        let mut facts = read_facts(&row)?;
        facts.schedule = self.schedule_of(process_id)?;
        if facts.queued.is_some() {
            facts.batch = self.held_batch(process_id)?;
            facts.limits = self.limit_facts(process_id, AHEAD_MAX)?;
            facts.lockers = self.who_holds_up(process_id)?;
        }
        if facts.is_node_missed() {
            facts.node_lockers = self.who_locks_silent_nodes()?;
        }
        Ok(Some(explain(facts)))
    }
}

fn read_facts(row: &Row) -> Result<Facts, StoreError> {
    let process_id: String = get(row, "process_id", "a process")?;
    let what = format!("process {process_id:?}");
    let is_paused: bool = get(row, "is_paused", &what)?;
    Ok(Facts {
        process_type: get(row, "process_type", &what)?,
        status: word(row, "status", &what, ProcessStatus::parse)?,
        total_tasks: count(row, "total_tasks", &what)?,
        completed_at: get(row, "completed_at", &what)?,
        error_message: get(row, "error_message", &what)?,
        queued: read_queued(row, &what)?,
        task: read_task(row, &what)?,
        skipped_tasks: get(row, "skipped", &what)?,
        paused: match is_paused {
            true => Some((get(row, "paused_at", &what)?, get(row, "pause_reason", &what)?)),
            false => None,
        },
        batch: None,
        schedule: None,
        limits: None,
        lockers: Vec::new(),
        node_lockers: Vec::new(),
        nodes: get(row, "nodes", &what)?,
        executors: get(row, "executors", &what)?,
        busy: get(row, "busy", &what)?,
        now: time(row, "now", &what)?,
        process_id,
    })
}

fn read_queued(row: &Row, what: &str) -> Result<Option<Queued>, StoreError> {
    if !get::<bool>(row, "is_queued", what)? {
        return Ok(None);
    }
    let node: Option<String> = get(row, "picked_by", what)?;
    let state: Option<String> = get(row, "node_state", what)?;
    let (heartbeat, dead_after): (Option<_>, Option<_>) =
        (get(row, "node_heartbeat", what)?, get(row, "node_dead_after", what)?);
    let known = state.zip(heartbeat).zip(dead_after);
    let known = known.map(|((state, last_heartbeat), dead_after_seconds)| Holder {
        state,
        last_heartbeat,
        dead_after_seconds,
    });
    let cancel_reason: Option<String> = get(row, "cancel_reason", what)?;
    let cancelled_at = get::<Option<_>>(row, "cancel_requested_at", what)?;
    Ok(Some(Queued {
        execution_time: get(row, "execution_time", what)?,
        is_due: get(row, "is_due", what)?,
        ahead: get(row, "ahead", what)?,
        claimed_by: node.map(|node| (node, known)),
        reserved_for: get(row, "reserved_for", what)?,
        is_moving: get(row, "is_moving", what)?,
        cancel_requested: cancelled_at.map(|at| (at, cancel_reason)),
    }))
}

fn read_task(row: &Row, what: &str) -> Result<Option<TaskFacts>, StoreError> {
    if get::<Option<i32>>(row, "task_index", what)?.is_none() {
        return Ok(None);
    }
    Ok(Some(TaskFacts {
        index: count(row, "task_index", what)?,
        name: get(row, "task", what)?,
        status: word(row, "task_status", what, TaskStatus::parse)?,
        attempt: count(row, "attempt", what)?,
        retry_count: count(row, "retry_count", what)?,
        max_retries: count(row, "max_retries", what)?,
        error_message: get(row, "task_error", what)?,
        started_at: get(row, "task_started_at", what)?,
        printed_at: get(row, "printed_at", what)?,
    }))
}
