//! Progress where nothing can be redrawn: a line for every change.

use std::time::Instant;

use jiff::Timestamp;

use super::snapshot::Snapshot;
use crate::cli::screen::terminal::message;
use crate::cli::screen::text::{self, Clock};
use crate::model::lifecycle::TaskStatus;

/// What was told last.
pub(super) struct Lines {
    told: Vec<(TaskStatus, u32)>,
}

impl Lines {
    pub fn new() -> Self {
        Self { told: Vec::new() }
    }

    pub fn show(&mut self, snapshot: &Snapshot) {
        let clock = Clock::system();
        self.changes(snapshot, &|at| clock.time_of_day(at)).iter().for_each(message);
    }

    /// The lines for what has changed since the last call.
    fn changes(&mut self, snapshot: &Snapshot, time: &dyn Fn(Timestamp) -> String) -> Vec<String> {
        let now = Instant::now();
        let states: Vec<(TaskStatus, u32)> =
            snapshot.tasks.iter().map(|it| (it.status, it.attempt)).collect();
        let told = std::mem::replace(&mut self.told, states);
        let mut lines = Vec::new();
        for (at, task) in snapshot.tasks.iter().enumerate() {
            let before = told.get(at).copied().unwrap_or((TaskStatus::NotStarted, 0));
            if before == (task.status, task.attempt) {
                continue;
            }
            let when = match task.status {
                TaskStatus::InProgress => task.started_at,
                _ => task.completed_at,
            };
            let mut line =
                format!("{} {} {}", time(when.unwrap_or(task.now)), text::escape(&task.name), task.status);
            if task.status != TaskStatus::InProgress {
                append_time(&mut line, snapshot.task_time(task, now));
            }
            append(&mut line, &snapshot.remark(task, now));
            lines.push(line);
        }
        let process = &snapshot.process;
        if process.status.is_final() {
            let when = process.completed_at.unwrap_or(process.updated_at);
            let mut line = format!("{} {} {}", time(when), text::escape(&process.process_id), process.status);
            append_time(&mut line, snapshot.process_time(now));
            append(&mut line, &text::escape(process.error_message.as_deref().unwrap_or_default()));
            lines.push(line);
        }
        lines
    }
}

fn append_time(line: &mut String, time: Option<std::time::Duration>) {
    if let Some(time) = time {
        line.push(' ');
        line.push_str(&text::duration(time));
    }
}

fn append(line: &mut String, remark: &str) {
    if !remark.is_empty() {
        line.push_str(": ");
        line.push_str(remark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::progress::samples::{process, task};
    use crate::model::lifecycle::ProcessStatus;

    fn told(lines: &mut Lines, snapshot: &Snapshot) -> Vec<String> {
        lines.changes(snapshot, &|at| format!("<{}>", at.as_second()))
    }

    #[test]
    fn every_change_is_told_once() {
        let mut lines = Lines::new();
        let mut seen = process(&["load", "send"]);
        assert_eq!(told(&mut lines, &seen), Vec::<String>::new());
        task(&mut seen, 0, TaskStatus::InProgress, 100, None);
        assert_eq!(told(&mut lines, &seen), ["<100> load IN_PROGRESS"]);
        assert_eq!(told(&mut lines, &seen), Vec::<String>::new());
        task(&mut seen, 0, TaskStatus::Completed, 100, Some(102));
        task(&mut seen, 1, TaskStatus::InProgress, 102, None);
        assert_eq!(told(&mut lines, &seen), ["<102> load COMPLETED 2.0 s", "<102> send IN_PROGRESS"]);
    }

    #[test]
    fn a_retry_says_which_and_when_and_why() {
        let mut lines = Lines::new();
        let mut seen = process(&["load"]);
        task(&mut seen, 0, TaskStatus::WaitingRetry, 100, None);
        seen.tasks[0].retry_count = 1;
        seen.tasks[0].error_message = Some("exit code 7\nand more".to_owned());
        assert_eq!(
            told(&mut lines, &seen),
            ["<200> load WAITING_RETRY: retry 1 of 3: exit code 7\\nand more"]
        );
        task(&mut seen, 0, TaskStatus::InProgress, 130, None);
        seen.tasks[0].attempt = 2;
        assert_eq!(told(&mut lines, &seen), ["<130> load IN_PROGRESS: attempt 2"]);
    }

    #[test]
    fn the_end_is_told_with_its_reason() {
        let mut lines = Lines::new();
        let mut seen = process(&["load"]);
        task(&mut seen, 0, TaskStatus::Failed, 100, Some(101));
        seen.process.status = ProcessStatus::Failed;
        seen.process.completed_at = Some(Timestamp::from_second(101).expect("a time"));
        seen.process.error_message = Some("task \"load\" failed".to_owned());
        assert_eq!(
            told(&mut lines, &seen),
            ["<101> load FAILED 1.0 s", "<101> p-1 FAILED 1.0 s: task \"load\" failed"]
        );
    }
}
