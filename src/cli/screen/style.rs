//! Marks and colours of statuses.

use super::terminal::Face;
use crate::model::lifecycle::{ProcessStatus, TaskStatus};

/// How a status looks: a mark with and without Unicode, and a colour by its ANSI number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    unicode: &'static str,
    ascii: &'static str,
    color: u8,
}

const GREEN: u8 = 32;
const RED: u8 = 31;
const YELLOW: u8 = 33;
const MAGENTA: u8 = 35;
const CYAN: u8 = 36;
const DIM: u8 = 2;

impl Look {
    /// Of a task.
    pub const fn of_task(status: TaskStatus) -> Self {
        match status {
            TaskStatus::NotStarted => Self { unicode: "·", ascii: ".", color: DIM },
            TaskStatus::InProgress => Self { unicode: "●", ascii: "*", color: CYAN },
            TaskStatus::WaitingRetry => Self { unicode: "↻", ascii: "~", color: YELLOW },
            TaskStatus::Completed => Self { unicode: "✓", ascii: "+", color: GREEN },
            TaskStatus::Failed => Self { unicode: "✗", ascii: "x", color: RED },
            TaskStatus::Cancelled => Self { unicode: "−", ascii: "-", color: MAGENTA },
            TaskStatus::Skipped => Self { unicode: "»", ascii: ">", color: YELLOW },
        }
    }

    /// Of a process.
    pub const fn of_process(status: ProcessStatus) -> Self {
        Self::of_task(match status {
            ProcessStatus::NotStarted => TaskStatus::NotStarted,
            ProcessStatus::InProgress => TaskStatus::InProgress,
            ProcessStatus::Completed => TaskStatus::Completed,
            ProcessStatus::Failed => TaskStatus::Failed,
            ProcessStatus::Cancelled => TaskStatus::Cancelled,
        })
    }

    /// The mark, one column wide.
    pub const fn mark(self, face: Face) -> &'static str {
        if face.has_unicode { self.unicode } else { self.ascii }
    }

    /// `text` in the colour, where colours are welcome.
    pub fn paint(self, face: Face, text: &str) -> String {
        if face.has_color && !text.is_empty() {
            format!("\x1b[{}m{text}\x1b[0m", self.color)
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::text::width;

    #[test]
    fn every_mark_is_one_column_wide() {
        for &status in TaskStatus::ALL {
            let look = Look::of_task(status);
            assert_eq!((width(look.unicode), width(look.ascii)), (1, 1), "{status}");
            assert!(look.ascii.is_ascii(), "{status}");
        }
    }

    #[test]
    fn colour_is_only_for_those_who_want_it() {
        let face = Face { is_terminal: true, has_color: true, can_redraw: true, has_unicode: true };
        let look = Look::of_process(ProcessStatus::Failed);
        assert_eq!(look.paint(face, "FAILED"), "\x1b[31mFAILED\x1b[0m");
        assert_eq!(look.paint(Face { has_color: false, ..face }, "FAILED"), "FAILED");
    }
}
