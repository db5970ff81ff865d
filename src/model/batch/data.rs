//! A batch as the faces and the library's users read it.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::pace::{Tick, eta_s, rate};
use super::reason::FailureGroup;

/// How many processes of a batch are in each status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// None of their tasks has begun.
    pub not_started: u64,
    /// They run, or wait between tasks.
    pub in_progress: u64,
    /// All their tasks are done.
    pub completed: u64,
    /// They have failed for good.
    pub failed: u64,
    /// Somebody has ended them.
    pub cancelled: u64,
}

impl Counts {
    /// How many there are.
    pub const fn total(&self) -> u64 {
        self.not_started + self.in_progress + self.ended()
    }

    /// How many have ended, however.
    pub const fn ended(&self) -> u64 {
        self.completed + self.failed + self.cancelled
    }

    /// How a batch has ended that has nothing left to run; `None` while it has, or has nothing at all.
    pub const fn verdict(&self) -> Option<BatchState> {
        match self {
            _ if self.ended() == 0 || self.ended() < self.total() => None,
            Self { failed: 1.., .. } => Some(BatchState::Failed),
            Self { cancelled: 1.., .. } => Some(BatchState::Cancelled),
            _ => Some(BatchState::Completed),
        }
    }
}

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BatchState {
    /// Its processes run as there is room.
    Running,
    /// Somebody has paused it.
    Paused,
    /// Its halt was reached: nothing more of it starts until it is resumed.
    Halted,
    /// All of it has completed.
    Completed,
    /// All of it has ended, and some has failed.
    Failed,
    /// All of it has ended, none has failed, and some was cancelled.
    Cancelled,
}

impl BatchState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Paused, Self::Halted, Self::Completed, Self::Failed, Self::Cancelled];

    /// As it is written in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Halted => "HALTED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The state that is written so.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }

    /// Whether everything of it has ended.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for BatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchData {
    /// Its name.
    pub name: String,
    /// Of which type its processes are.
    pub process_type: String,
    /// Where it is.
    pub state: BatchState,
    /// Why it is halted or paused, where that is known.
    pub reason: Option<String>,
    /// How many processes it has, or will have once its start is through.
    pub total: u64,
    /// How many are in each status.
    #[serde(flatten)]
    pub counts: Counts,
    /// How many have ended.
    pub ended: u64,
    /// Processes that end in a second, by the last minute, while it runs.
    pub rate_per_s: Option<f64>,
    /// Seconds until the rest will have ended at this rate.
    pub eta_s: Option<f64>,
    /// Under which condition it halts.
    pub halt: Option<String>,
    /// How many of it may run at once.
    pub max: Option<u32>,
    /// The type of the process that is started when it has ended.
    pub then_type: Option<String>,
    /// That process's id, once it was started.
    pub then_id: Option<String>,
    /// Why it could not be started.
    pub then_problem: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was paused or halted.
    pub held_at: Option<Timestamp>,
    /// When all of it had ended.
    pub ended_at: Option<Timestamp>,
    /// Failures by reason, the most frequent first.
    pub failures: Vec<FailureGroup>,
}

impl BatchData {
    /// Says how fast it goes and how long it will take, if it runs.
    pub fn set_pace(&mut self, ticks: &[Tick], now_s: f64) {
        self.rate_per_s = match self.state {
            BatchState::Running => rate(ticks, now_s, self.ended),
            _ => None,
        };
        self.eta_s = self.rate_per_s.and_then(|it| eta_s(it, self.total.saturating_sub(self.ended)));
    }

    /// Hundredths of it that have ended.
    pub fn percent(&self) -> f64 {
        if self.total == 0 { 0.0 } else { 100.0 * self.ended as f64 / self.total as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_the_worst_of_all() {
        let counts = |not_started, completed, failed, cancelled| Counts {
            not_started,
            in_progress: 0,
            completed,
            failed,
            cancelled,
        };
        for (counts, verdict) in [
            (counts(0, 0, 0, 0), None),
            (counts(1, 5, 1, 0), None),
            (counts(0, 5, 0, 0), Some(BatchState::Completed)),
            (counts(0, 5, 1, 1), Some(BatchState::Failed)),
            (counts(0, 5, 0, 1), Some(BatchState::Cancelled)),
        ] {
            assert_eq!(counts.verdict(), verdict, "{counts:?}");
        }
        assert_eq!(Counts { in_progress: 1, completed: 1, ..Counts::default() }.verdict(), None);
    }

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in BatchState::ALL {
            assert_eq!(BatchState::parse(state.as_str()), Some(state));
        }
        assert_eq!(BatchState::parse("DONE"), None);
    }
}
