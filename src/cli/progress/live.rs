//! One process on a terminal, redrawn in place: a line for each task, as many as fit.

use std::time::Instant;

use super::snapshot::Snapshot;
use crate::cli::screen::style::Look;
use crate::cli::screen::terminal::{Canvas, Face, Size};
use crate::cli::screen::text::{self, cut, escape, width};
use crate::model::lifecycle::TaskStatus;
use crate::store::progress::TaskProgress;

/// Lines that stay free: one for the cursor, one for the shell's prompt that was there before.
const FREE_ROWS: usize = 2;
/// The heading, and the two lines that stand for tasks that don't fit.
const OTHER_ROWS: usize = 3;
/// The widest status.
const STATUS_COLUMNS: usize = 13;
/// Room for the longest time, `59 min 59 s`.
const TIME_COLUMNS: usize = 11;

pub(super) struct Live {
    canvas: Canvas,
    face: Face,
}

impl Live {
    pub fn new(face: Face) -> Self {
        Self { canvas: Canvas::begin(), face }
    }

    pub fn show(&mut self, snapshot: &Snapshot) {
        self.canvas.draw(&frame(snapshot, Size::of_stderr(), self.face, Instant::now()));
    }

    /// Removes the picture.
    pub fn vanish(&mut self) {
        self.canvas.draw(&[]);
    }
}

/// The picture: never more lines than the terminal has, none wider than it is.
fn frame(seen: &Snapshot, size: Size, face: Face, now: Instant) -> Vec<String> {
    // A line that reaches the last column makes some terminals begin a new one.
    let columns = size.columns.saturating_sub(1).max(1);
    let rows = size.rows.saturating_sub(FREE_ROWS + OTHER_ROWS).max(1);
    let window = window(&seen.tasks, rows);
    let shown = &seen.tasks[window.clone()];
    let name_columns = shown.iter().map(|it| width(&escape(&it.name))).max().unwrap_or(0).min(columns / 3);
    let mut lines = vec![heading(seen, columns, face, now)];
    if window.start > 0 {
        lines.push(cut(&format!("    {} tasks before", window.start), columns).into_owned());
    }
    lines.extend(shown.iter().map(|task| task_line(seen, task, name_columns, columns, face, now)));
    if window.end < seen.tasks.len() {
        lines
            .push(cut(&format!("    {} tasks to come", seen.tasks.len() - window.end), columns).into_owned());
    }
    lines
}

/// The tasks to show: all of them if they fit, else those around the first that is not completed.
fn window(tasks: &[TaskProgress], rows: usize) -> std::ops::Range<usize> {
    // Without the two lines about what is left out there is room for two tasks more.
    if tasks.len() <= rows + 2 {
        return 0..tasks.len();
    }
    let current = tasks.iter().position(|task| !is_done(task)).unwrap_or(tasks.len());
    let start = current.saturating_sub(rows / 2).min(tasks.len() - rows);
    start..start + rows
}

/// Whether the process has gone on behind it.
fn is_done(task: &TaskProgress) -> bool {
    matches!(task.status, TaskStatus::Completed | TaskStatus::Skipped)
}

fn heading(seen: &Snapshot, columns: usize, face: Face, now: Instant) -> String {
    let process = &seen.process;
    let look = Look::of_process(process.status);
    let done = seen.tasks.iter().filter(|task| is_done(task)).count();
    let time = seen.process_time(now).map(|time| format!("  {}", text::duration(time))).unwrap_or_default();
    let tail = format!("  {done}/{} tasks{time}", seen.tasks.len());
    let status = process.status.as_str();
    let room = columns.saturating_sub(width(status) + width(&tail) + 4);
    let id = escape(&process.process_id);
    let id = cut(&id, room);
    if room == 0 {
        return cut(&format!("{status}{tail}"), columns).into_owned();
    }
    format!("{} {id}  {}{tail}", look.paint(face, look.mark(face)), look.paint(face, status))
}

fn task_line(
    seen: &Snapshot,
    task: &TaskProgress,
    name_columns: usize,
    columns: usize,
    face: Face,
    now: Instant,
) -> String {
    let look = Look::of_task(task.status);
    let name = escape(&task.name);
    let name = cut(&name, name_columns);
    let name_pad = " ".repeat(name_columns - width(&name));
    let is_waiting = task.status == TaskStatus::NotStarted;
    let status = if is_waiting { "" } else { task.status.as_str() };
    let time = seen.task_time(task, now).map(text::duration).unwrap_or_default();
    let rest = format!("{time:>TIME_COLUMNS$}  {}", seen.remark(task, now));
    let used = 4 + name_columns + 2 + STATUS_COLUMNS + 1;
    if used >= columns {
        return cut(&format!("  {} {name}{name_pad}  {status}", look.mark(face)), columns).into_owned();
    }
    let status_pad = " ".repeat(STATUS_COLUMNS - status.len());
    let line = format!(
        "  {} {name}{name_pad}  {}{status_pad} {}",
        look.paint(face, look.mark(face)),
        look.paint(face, status),
        cut(rest.trim_end(), columns - used)
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::progress::samples::{process, task};

    const PLAIN: Face = Face { is_terminal: true, has_color: false, can_redraw: true, has_unicode: true };

    fn lines(seen: &Snapshot, columns: usize, rows: usize) -> Vec<String> {
        frame(seen, Size { columns, rows }, PLAIN, seen.read)
    }

    #[test]
    fn each_task_has_its_line() {
        let mut seen = process(&["load", "process", "generate"]);
        task(&mut seen, 0, TaskStatus::Completed, 100, Some(101));
        task(&mut seen, 1, TaskStatus::InProgress, 190, None);
        assert_eq!(
            lines(&seen, 80, 24),
            [
                "● p-1  IN_PROGRESS  1/3 tasks  1 min 40 s",
                "  ✓ load      COMPLETED           1.0 s",
                "  ● process   IN_PROGRESS        10.0 s",
                "  · generate",
            ]
        );
    }

    #[test]
    fn a_failed_task_says_why_as_far_as_there_is_room() {
        let mut seen = process(&["load"]);
        task(&mut seen, 0, TaskStatus::Failed, 100, Some(101));
        seen.tasks[0].error_message = Some("exit code 3; the input\nholds no rows".to_owned());
        assert_eq!(lines(&seen, 60, 24)[1], "  ✗ load  FAILED              1.0 s  exit code 3; the inpu…");
    }

    #[test]
    fn forty_tasks_fit_any_terminal_and_the_current_one_is_shown() {
        let names: Vec<String> =
            (0..40).map(|n| format!("task-{n}-of-a-long-process-with-a-long-name")).collect();
        let mut seen = process(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for current in [0, 1, 20, 38, 39] {
            for (columns, rows) in [(80, 24), (20, 10), (200, 60), (5, 3), (1, 1)] {
                for done in 0..current {
                    task(&mut seen, done, TaskStatus::Completed, 100, Some(101));
                }
                task(&mut seen, current, TaskStatus::InProgress, 150, None);
                let lines = lines(&seen, columns, rows);
                assert!(lines.len() < rows.max(7), "{columns}x{rows}: {lines:#?}");
                assert!(
                    lines.iter().all(|line| width(line) < columns.max(2)),
                    "{columns}x{rows}: {lines:#?}"
                );
                let is_shown = lines.iter().any(|line| line.starts_with(&format!("  ● task-{current}")));
                assert!(is_shown || columns < 40, "{columns}x{rows}, task {current}: {lines:#?}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let names: Vec<String> = (0..40).map(|n| format!("t{n}")).collect();
        let mut seen = process(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for done in 0..20 {
            task(&mut seen, done, TaskStatus::Completed, 100, Some(101));
        }
        let lines = lines(&seen, 80, 24);
        assert_eq!(lines.len(), 22);
        assert_eq!(lines[1], "    11 tasks before");
        assert_eq!(lines[21], "    10 tasks to come");
    }

    #[test]
    fn names_from_the_database_cannot_move_the_cursor() {
        let mut seen = process(&["a\x1b[2Jb"]);
        seen.process.process_id = "p\n1".to_owned();
        let text = lines(&seen, 80, 24).concat();
        assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
    }

    #[test]
    fn colours_wrap_the_mark_and_the_status_only() {
        let mut seen = process(&["load"]);
        task(&mut seen, 0, TaskStatus::Completed, 100, Some(101));
        let color = Face { has_color: true, ..PLAIN };
        let lines = frame(&seen, Size { columns: 80, rows: 24 }, color, seen.read);
        assert_eq!(lines[1], "  \x1b[32m✓\x1b[0m load  \x1b[32mCOMPLETED\x1b[0m           1.0 s");
    }
}
