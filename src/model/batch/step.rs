//! What is to be done with a batch after some of its processes have changed. Pure; `store::batches` does it.

use super::data::{BatchState, Counts};
use super::halt::{Halt, When};

/// A batch as it stands, with everything added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where it is.
    pub state: BatchState,
    /// How many are in each status.
    pub counts: Counts,
    /// How many it is to have, while they are still being started.
    pub announced: Option<u64>,
    /// More are about to be started.
    pub is_filling: bool,
    /// Its end was noted.
    pub has_ended: bool,
    /// All of it is to be cancelled.
    pub is_cancelled: bool,
    /// When it halts.
    pub halt: Option<Halt>,
    /// What had ended when counting for the halt began.
    pub halt_base: Counts,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// Some of what had ended goes again.
    Reopen,
    /// Nothing more of it starts, for this reason; what runs is cancelled if so `now`.
    Halt {
        /// Why.
        reason: String,
        /// Whether what runs is cancelled.
        now: bool,
    },
    /// All of it has ended, and how.
    End(BatchState),
}

impl Standing {
    /// What is to be done. An end comes before a halt: nothing is left that could be held.
    pub fn step(&self) -> Step {
        let verdict = self.counts.verdict();
        if self.has_ended {
            return if verdict.is_none() && self.counts.total() > 0 { Step::Reopen } else { Step::Stay };
        }
        // What was cancelled before it had any processes has nothing that could end.
        let verdict =
            verdict.or((self.is_cancelled && self.counts.total() == 0).then_some(BatchState::Cancelled));
        if let Some(verdict) = verdict.filter(|_| !self.is_filling) {
            return Step::End(verdict);
        }
        if self.state != BatchState::Running || self.is_cancelled {
            return Step::Stay;
        }
        let total = self.counts.total().max(self.announced.filter(|_| self.is_filling).unwrap_or_default());
        let halt = self.halt.and_then(|it| Some((it, it.is_reached(&self.counts, &self.halt_base, total)?)));
        match halt {
            Some((halt, reason)) => Step::Halt { reason, now: halt.when == When::Now },
            None => Step::Stay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(not_started: u64, completed: u64, failed: u64) -> Standing {
        Standing {
            state: BatchState::Running,
            counts: Counts { not_started, completed, failed, ..Counts::default() },
            announced: None,
            is_filling: false,
            has_ended: false,
            is_cancelled: false,
            halt: Halt::parse("now,fail=2").expect("a halt"),
            halt_base: Counts::default(),
        }
    }

    #[test]
    fn it_halts_once_and_only_while_it_runs() {
        let reached = standing(5, 0, 2);
        assert!(matches!(reached.step(), Step::Halt { now: true, .. }));
        assert_eq!(Standing { state: BatchState::Halted, ..reached.clone() }.step(), Step::Stay);
        assert_eq!(Standing { state: BatchState::Paused, ..reached.clone() }.step(), Step::Stay);
        assert_eq!(Standing { is_cancelled: true, ..reached.clone() }.step(), Step::Stay);
        assert_eq!(Standing { halt_base: reached.counts, ..reached }.step(), Step::Stay);
    }

    #[test]
    fn it_ends_when_nothing_is_left_and_nothing_comes() {
        assert_eq!(standing(0, 3, 2).step(), Step::End(BatchState::Failed));
        assert_eq!(standing(0, 3, 0).step(), Step::End(BatchState::Completed));
        assert_eq!(Standing { is_filling: true, ..standing(0, 3, 0) }.step(), Step::Stay);
        let none = standing(0, 0, 0);
        assert_eq!(none.step(), Step::Stay, "nothing was started yet");
        assert_eq!(Standing { is_cancelled: true, ..none }.step(), Step::End(BatchState::Cancelled));
        assert_eq!(
            Standing { state: BatchState::Halted, ..standing(0, 3, 2) }.step(),
            Step::End(BatchState::Failed)
        );
    }

    #[test]
    fn a_retry_opens_it_again() {
        let ended = Standing { has_ended: true, state: BatchState::Failed, ..standing(1, 3, 1) };
        assert_eq!(ended.step(), Step::Reopen);
        assert_eq!(Standing { counts: standing(0, 3, 2).counts, ..ended }.step(), Step::Stay);
    }

    #[test]
    fn a_percentage_is_of_what_was_announced() {
        let halt = Halt::parse("soon,fail=10%").expect("a halt");
        let some = Standing { halt, announced: Some(1_000), is_filling: true, ..standing(90, 0, 10) };
        assert_eq!(some.step(), Step::Stay);
        assert!(matches!(Standing { is_filling: false, ..some }.step(), Step::Halt { now: false, .. }));
    }
}
