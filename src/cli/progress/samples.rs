//! Snapshots for the tests of this module.

use std::time::Instant;

use jiff::Timestamp;
use serde_json::json;

use super::snapshot::Snapshot;
use crate::model::lifecycle::{ProcessStatus, TaskStatus};
use crate::model::records::ProcessData;
use crate::store::progress::TaskProgress;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// A process `p-1`, in progress since second 100 and read at second 200.
pub(super) fn process(tasks: &[&str]) -> Snapshot {
    let task = |name: &&str| TaskProgress {
        name: (*name).to_owned(),
        status: TaskStatus::NotStarted,
        attempt: 0,
        retry_count: 0,
        max_retries: 3,
        started_at: None,
        completed_at: None,
        error_message: None,
        now: at(200),
    };
    Snapshot {
        process: ProcessData {
            process_id: "p-1".to_owned(),
            process_type: "sample".to_owned(),
            status: ProcessStatus::InProgress,
            current_task_index: 0,
            total_tasks: u32::try_from(tasks.len()).expect("few"),
            skipped_tasks: 0,
            priority: 0,
            started_at: Some(at(100)),
            completed_at: None,
            error_message: None,
            input_data: json!({}),
            process_context: json!({}),
            created_at: at(99),
            updated_at: at(100),
            execution_time: None,
            picked_by: None,
            waits_for_limit: None,
        },
        tasks: tasks.iter().map(task).collect(),
        read: Instant::now(),
    }
}

/// Puts a task into a status, begun and ended at these seconds.
pub(super) fn task(seen: &mut Snapshot, index: usize, status: TaskStatus, begun: i64, ended: Option<i64>) {
    let task = &mut seen.tasks[index];
    (task.status, task.attempt) = (status, 1);
    (task.started_at, task.completed_at) = (Some(at(begun)), ended.map(at));
}
