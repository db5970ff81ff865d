//! Watching processes until they end: redrawn in place on a terminal, a line for every change elsewhere.

mod lines;
mod live;
mod many;
mod wait;

use std::time::{Duration, Instant};

use jiff::Timestamp;

use self::lines::Lines;
use self::live::Live;
use super::error::CliError;
use super::session::Session;
use super::terminal::Face;
use super::text;
use crate::model::lifecycle::{ProcessStatus, TaskStatus};
use crate::model::records::ProcessData;
use crate::store::StoreError;
use crate::store::progress::TaskProgress;

pub use many::until_all_end;
pub use wait::{Alarms, LookError, Seen, Wake, watch};

/// How often elapsed times tick on a terminal.
const TICK: Duration = Duration::from_millis(100);

/// A process as it was at one moment.
#[derive(Debug, Clone)]
struct Snapshot {
    process: ProcessData,
    tasks: Vec<TaskProgress>,
    /// When it was read, by our own clock.
    read: Instant,
}

impl Snapshot {
    /// Time from `since` to now by the database's clock, which goes on as ours does.
    fn elapsed(&self, since: Timestamp, now: Instant) -> Duration {
        let read = self.tasks.first().map_or(self.process.updated_at, |task| task.now);
        text::between(since, read) + now.saturating_duration_since(self.read)
    }

    /// How long the task's latest execution has taken so far, or took.
    fn task_time(&self, task: &TaskProgress, now: Instant) -> Option<Duration> {
        let since = task.started_at?;
        match task.status {
            TaskStatus::InProgress => Some(self.elapsed(since, now)),
            TaskStatus::NotStarted | TaskStatus::WaitingRetry => None,
            _ => Some(text::between(since, task.completed_at?)),
        }
    }

    /// How long the process has taken so far, or took.
    fn process_time(&self, now: Instant) -> Option<Duration> {
        let since = self.process.started_at?;
        Some(match self.process.completed_at {
            Some(end) => text::between(since, end),
            None => self.elapsed(since, now),
        })
    }

    /// What there is to say of a task beside its status: the retry it waits for, or why it failed.
    fn remark(&self, task: &TaskProgress, now: Instant) -> String {
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
            TaskStatus::Failed | TaskStatus::Cancelled => error.into_owned(),
            TaskStatus::InProgress if task.attempt > 1 => format!("attempt {}", task.attempt),
            _ => String::new(),
        }
    }

    /// What tells one moment from the next.
    fn state(&self) -> (ProcessStatus, Vec<(TaskStatus, u32)>) {
        (self.process.status, self.tasks.iter().map(|task| (task.status, task.attempt)).collect())
    }
}

enum View {
    Live(Live),
    Lines(Lines),
}

impl View {
    fn new() -> Self {
        let face = Face::stderr();
        if face.can_redraw { Self::Live(Live::new(face)) } else { Self::Lines(Lines::new()) }
    }

    fn show(&mut self, snapshot: &Snapshot) {
        match self {
            Self::Live(live) => live.show(snapshot),
            Self::Lines(lines) => lines.show(snapshot),
        }
    }
}

/// Shows a process on standard error until it ends, a signal comes, or the node fails. With `is_replaced` the live
/// view vanishes at the end of the process, because a report takes its place.
///
/// # Errors
/// When the process is not there (any more), or the database fails for good.
pub fn until_end(
    session: &Session,
    process_id: &str,
    alarms: &Alarms,
    is_replaced: bool,
) -> Result<Wake<ProcessStatus>, CliError> {
    let mut view = View::new();
    let mut latest: Option<Snapshot> = None;
    let tick = matches!(view, View::Live(_)).then_some(TICK);
    let result = wait::watch(session, alarms, tick, |store| {
        let Some(store) = store else {
            if let Some(snapshot) = &latest {
                view.show(snapshot);
            }
            return Ok(wait::Seen::Same);
        };
        let Some(snapshot) = read(store, process_id)? else {
            return Err(CliError::NotFound(format!(
                "process {process_id:?} is gone: somebody has deleted it"
            ))
            .into());
        };
        view.show(&snapshot);
        let status = snapshot.process.status;
        let is_same = latest.as_ref().is_some_and(|it| it.state() == snapshot.state());
        latest = Some(snapshot);
        Ok(match (status.is_final(), is_same) {
            (true, _) => wait::Seen::Ended(status),
            (false, true) => wait::Seen::Same,
            (false, false) => wait::Seen::Changed,
        })
    });
    if let (View::Live(live), Ok(Wake::Ended(_)), true) = (&mut view, &result, is_replaced) {
        live.vanish();
    }
    result
}

/// Two queries. The process is read first: a process that has ended has tasks that have.
fn read(store: &mut crate::store::Store, process_id: &str) -> Result<Option<Snapshot>, StoreError> {
    let Some(process) = store.process(process_id)? else { return Ok(None) };
    let tasks = store.task_progress(process_id)?;
    Ok(Some(Snapshot { process, tasks, read: Instant::now() }))
}

#[cfg(test)]
mod samples;
