//! The one truth of how a task, its process and its claim move.
//!
//! [`after_execution`] is the only place that decides a transition. The statements of the store apply
//! what it returns, under the condition that the claim is still ours; the domains of the tables'
//! columns know the same words.

use serde::Serialize;

use super::process_type::OnCrash;

/// An enumeration whose values are words in tables and JSON.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in tables and JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Reads the word; letter case does not matter.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.as_str().eq_ignore_ascii_case(word))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(crate) use words;

words! {
    /// Where a process is in its lifecycle.
    ProcessStatus {
        /// No task has been claimed yet.
        NotStarted = "NOT_STARTED",
        /// From the first claim to the last result, waits for a retry included.
        InProgress = "IN_PROGRESS",
        /// All tasks have completed.
        Completed = "COMPLETED",
        /// A task has failed for good.
        Failed = "FAILED",
        /// Somebody has cancelled it.
        Cancelled = "CANCELLED",
    }
}

words! {
    /// Where a task is in its lifecycle.
    TaskStatus {
        /// Its turn has not come, or it was interrupted and is due again.
        NotStarted = "NOT_STARTED",
        /// A node has claimed it and runs its command.
        InProgress = "IN_PROGRESS",
        /// It failed and waits for its next attempt.
        WaitingRetry = "WAITING_RETRY",
        /// Its command succeeded.
        Completed = "COMPLETED",
        /// It has failed for good.
        Failed = "FAILED",
        /// Its process was cancelled before it ended.
        Cancelled = "CANCELLED",
        /// A retry went on behind it, although it had not completed.
        Skipped = "SKIPPED",
    }
}

words! {
    /// How one execution ended.
    Outcome {
        /// Exit code 0.
        Succeeded = "SUCCEEDED",
        /// Another exit code, a signal, or a fault of its own (a context file that can't be read).
        Failed = "FAILED",
        /// The timeout came first.
        TimedOut = "TIMED_OUT",
        /// The command could not be started.
        SpawnFailed = "SPAWN_FAILED",
        /// Ended because the process was cancelled.
        Cancelled = "CANCELLED",
        /// Ended because the node stops.
        Interrupted = "INTERRUPTED",
        /// The node died; nobody knows how the command ended.
        Lost = "LOST",
    }
}

impl ProcessStatus {
    /// Whether nothing will move it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl TaskStatus {
    /// Whether nothing will move it any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Skipped)
    }
}

/// What the decision needs to know of the task whose execution has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskPosition {
    /// Whether another task follows in the process.
    pub has_next: bool,
    /// Retries spent before this execution.
    pub retry_count: u32,
    /// Retries allowed.
    pub max_retries: u32,
}

/// How an execution ended, as far as the decision cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The outcome.
    pub outcome: Outcome,
    /// A failure that no further attempt can heal.
    pub fatal: bool,
}

/// What becomes of the process's claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimMove {
    /// Kept: the next task starts under the same claim.
    Keep,
    /// Given back, due again after the wait.
    Release(Wait),
    /// The process has ended, its row leaves the queue.
    End,
}

/// How long a released process waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Due at once.
    None,
    /// The backoff before retry number `retry`.
    Backoff {
        /// 1 is the first retry.
        retry: u32,
    },
}

/// What an ended execution does to its task, its process and the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The task's new status.
    pub task: TaskStatus,
    /// Retries spent from now on.
    pub retry_count: u32,
    /// The process's new status.
    pub process: ProcessStatus,
    /// Tasks to go forward by.
    pub advance: bool,
    /// What becomes of the claim.
    pub claim: ClaimMove,
}

impl Transition {
    /// The same, but with the claim released where it would be kept: the next task waits in the queue until a node
    /// claims it, because this node stops or a process of higher priority is due.
    #[must_use]
    pub const fn yielding(self) -> Self {
        match self.claim {
            ClaimMove::Keep => Self { claim: ClaimMove::Release(Wait::None), ..self },
            ClaimMove::Release(_) | ClaimMove::End => self,
        }
    }
}

/// Decides what an ended execution does: the whole lifecycle is in this function.
///
/// A request to cancel that comes while an execution ends by itself is not known here: the statement that records the
/// result sees it and ends the process as CANCELLED where it would have gone on (`sql/queue/record.sql`).
pub const fn after_execution(at: TaskPosition, ending: Ending) -> Transition {
    match ending.outcome {
        Outcome::Succeeded if at.has_next => Transition {
            task: TaskStatus::Completed,
            retry_count: at.retry_count,
            process: ProcessStatus::InProgress,
            advance: true,
            claim: ClaimMove::Keep,
        },
        Outcome::Succeeded => Transition {
            task: TaskStatus::Completed,
            retry_count: at.retry_count,
            process: ProcessStatus::Completed,
            advance: true,
            claim: ClaimMove::End,
        },
        Outcome::Failed | Outcome::TimedOut | Outcome::SpawnFailed
            if !ending.fatal && at.retry_count < at.max_retries =>
        {
            Transition {
                task: TaskStatus::WaitingRetry,
                retry_count: at.retry_count + 1,
                process: ProcessStatus::InProgress,
                advance: false,
                claim: ClaimMove::Release(Wait::Backoff { retry: at.retry_count + 1 }),
            }
        }
        Outcome::Interrupted | Outcome::Lost if !ending.fatal => Transition {
            task: TaskStatus::NotStarted,
            retry_count: at.retry_count,
            process: ProcessStatus::InProgress,
            advance: false,
            claim: ClaimMove::Release(Wait::None),
        },
        Outcome::Cancelled => Transition {
            task: TaskStatus::Cancelled,
            retry_count: at.retry_count,
            process: ProcessStatus::Cancelled,
            advance: false,
            claim: ClaimMove::End,
        },
        Outcome::Failed | Outcome::TimedOut | Outcome::SpawnFailed | Outcome::Interrupted | Outcome::Lost => {
            Transition {
                task: TaskStatus::Failed,
                retry_count: at.retry_count,
                process: ProcessStatus::Failed,
                advance: false,
                claim: ClaimMove::End,
            }
        }
    }
}

/// A task under which this many nodes have died is not run again: it may be what kills them.
pub const TIMES_LOST_MAX: u32 = 5;

/// What the death of its node does to an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// How the task moves.
    pub transition: Transition,
    /// Too many nodes have died under the task.
    pub is_poison: bool,
}

/// Decides what becomes of an execution whose node has died. `times_lost` counts those of the task before this one.
pub fn after_loss(at: TaskPosition, times_lost: u32, on_crash: OnCrash) -> Loss {
    let is_poison = times_lost + 1 >= TIMES_LOST_MAX;
    let fatal = is_poison || on_crash == OnCrash::Fail;
    Loss { transition: after_execution(at, Ending { outcome: Outcome::Lost, fatal }), is_poison }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every position times every ending: the properties that hold for all of them.
    #[test]
    fn every_transition_keeps_the_rules() {
        for &outcome in Outcome::ALL {
            for has_next in [false, true] {
                for fatal in [false, true] {
                    for retry_count in 0..3 {
                        let at = TaskPosition { has_next, retry_count, max_retries: 2 };
                        let t = after_execution(at, Ending { outcome, fatal });
                        let shown = format!("{at:?} {outcome:?} fatal={fatal} -> {t:?}");
                        assert_eq!(t.process.is_final(), t.claim == ClaimMove::End, "{shown}");
                        assert_eq!(t.claim == ClaimMove::Keep, t.advance && has_next, "{shown}");
                        assert_eq!(t.advance, outcome == Outcome::Succeeded, "{shown}");
                        assert_eq!(t.advance, t.task == TaskStatus::Completed, "{shown}");
                        assert_eq!(
                            t.retry_count > retry_count,
                            t.task == TaskStatus::WaitingRetry,
                            "{shown}"
                        );
                        assert!(t.retry_count <= at.max_retries, "{shown}");
                        let is_failure =
                            matches!(outcome, Outcome::Failed | Outcome::TimedOut | Outcome::SpawnFailed);
                        assert!(is_failure || t.retry_count == retry_count, "{shown}");
                        if fatal && outcome != Outcome::Succeeded {
                            assert!(t.process.is_final(), "{shown}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_last_retry_is_used_and_no_more() {
        let ending = Ending { outcome: Outcome::Failed, fatal: false };
        let at = |retry_count| TaskPosition { has_next: true, retry_count, max_retries: 2 };
        assert_eq!(after_execution(at(1), ending).claim, ClaimMove::Release(Wait::Backoff { retry: 2 }));
        assert_eq!(after_execution(at(2), ending).process, ProcessStatus::Failed);
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for &status in TaskStatus::ALL {
            assert_eq!(TaskStatus::parse(status.as_str()), Some(status));
        }
        assert_eq!(ProcessStatus::parse("in_progress"), Some(ProcessStatus::InProgress));
        assert_eq!(ProcessStatus::parse("RUNNING"), None);
    }
}
