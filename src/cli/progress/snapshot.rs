//! A process as it was at one moment.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::cli::screen::text;
use crate::model::lifecycle::{ProcessStatus, TaskStatus};
use crate::model::records::ProcessData;
use crate::store::progress::TaskProgress;
use crate::store::{Store, StoreError};

/// A process as it was at one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub process: ProcessData,
    pub tasks: Vec<TaskProgress>,
    /// When it was read, by our own clock.
    pub read: Instant,
}

impl Snapshot {
    /// Time from `since` to now by the database's clock, which goes on as ours does.
    pub fn elapsed(&self, since: Timestamp, now: Instant) -> Duration {
        let read = self.tasks.first().map_or(self.process.updated_at, |task| task.now);
        text::between(since, read) + now.saturating_duration_since(self.read)
    }

    /// How long the task's latest execution has taken so far, or took.
    pub fn task_time(&self, task: &TaskProgress, now: Instant) -> Option<Duration> {
        let since = task.started_at?;
        match task.status {
            TaskStatus::InProgress => Some(self.elapsed(since, now)),
            TaskStatus::NotStarted | TaskStatus::WaitingRetry => None,
            _ => Some(text::between(since, task.completed_at?)),
        }
    }

    /// How long the process has taken so far, or took.
    pub fn process_time(&self, now: Instant) -> Option<Duration> {
        let since = self.process.started_at?;
        Some(match self.process.completed_at {
            Some(end) => text::between(since, end),
            None => self.elapsed(since, now),
        })
    }

    /// What there is to say of a task beside its status: the retry it waits for, or why it failed.
    pub fn remark(&self, task: &TaskProgress, now: Instant) -> String {
        let error = task.error_message.as_deref().map(text::escape).unwrap_or_default();
        match task.status {
            TaskStatus::WaitingRetry => {
                let due = self.process.execution_time.map(|due| {
                    let read = task.now.max(self.process.updated_at);
                    text::between(read, due).saturating_sub(now.saturating_duration_since(self.read))
                });
                let wait = match due {
                    Some(wait) if wait > Duration::ZERO => format!(" in {}", text::duration(wait)),
                    _ => String::new(),
                };
                format!("retry {} of {}{wait}: {error}", task.retry_count, task.max_retries)
            }
            TaskStatus::Failed | TaskStatus::Cancelled | TaskStatus::Skipped => error.into_owned(),
            TaskStatus::InProgress if task.attempt > 1 => format!("attempt {}", task.attempt),
            _ => String::new(),
        }
    }

    /// What tells one moment from the next.
    pub fn state(&self) -> (ProcessStatus, Vec<(TaskStatus, u32)>) {
        (self.process.status, self.tasks.iter().map(|task| (task.status, task.attempt)).collect())
    }
}

/// Two queries. The process is read first: a process that has ended has tasks that have.
pub(super) fn read(store: &mut Store, process_id: &str) -> Result<Option<Snapshot>, StoreError> {
    let Some(process) = store.process_row(process_id)? else { return Ok(None) };
    let tasks = store.task_progress(process_id)?;
    Ok(Some(Snapshot { process, tasks, read: Instant::now() }))
}
