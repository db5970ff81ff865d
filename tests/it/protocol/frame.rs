//! Between the rows as they are and the model's, which are small: one process, as a statement of one node sees it.

use process_orchestrator::TaskStatus;

use super::ledger::{Process, Queued};
use super::rows::{self, Place};

/// In the model of one statement the node that it is about is this one, whoever else holds a claim the other; versions
/// and attempts count from these, tasks from the current one.
pub const ME: u8 = 0;
const OTHER: u8 = 1;
pub const VERSION: u8 = 10;
pub const ATTEMPT: u8 = 2;

/// A process as the model has it, for a statement of `node`.
pub fn modelled(rows: &Process, node: &str) -> rows::Process {
    let task = rows.tasks.get(rows.at);
    let left = u8::try_from(rows.tasks.len() - rows.at.min(rows.tasks.len())).unwrap();
    let retries = task.map_or(0, |task| u8::try_from(task.retries).unwrap());
    rows::Process {
        place: match rows.queue.as_ref().map(|queue| queue.node.as_deref()) {
            None => Place::Ended,
            Some(None) => Place::Ready,
            Some(Some(holder)) => Place::Claimed(if holder == node { ME } else { OTHER }),
        },
        version: VERSION,
        status: rows.status,
        attempt: ATTEMPT,
        is_in_progress: task.is_some_and(|task| task.status == TaskStatus::InProgress),
        retry_count: retries,
        is_cancel_requested: rows.queue.as_ref().is_some_and(|queue| queue.is_cancel_wanted),
        ..rows::Process::started(left.min(2), u8::MAX)
    }
}

/// The rows as the model's statement has moved them. How tasks ended it does not say.
pub fn moved(mut rows: Process, model: &rows::Process, node: &str) -> Process {
    rows.status = model.status;
    if model.task == 0 {
        if let Some(task) = rows.tasks.get_mut(rows.at) {
            task.attempt = task.attempt + u32::from(model.attempt) - u32::from(ATTEMPT);
        }
    } else {
        rows.at += 1;
        if let Some(task) = rows.tasks.get_mut(rows.at) {
            task.attempt += u32::from(model.attempt);
        }
    }
    rows.queue = rows.queue.filter(|_| model.place != Place::Ended).map(|queue| Queued {
        version: queue.version + i64::from(model.version) - i64::from(VERSION),
        node: (model.place == Place::Claimed(ME)).then(|| node.to_owned()),
        is_claimed: model.place == Place::Claimed(ME),
        ..queue
    });
    rows
}
