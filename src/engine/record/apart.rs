//! What the recorder has set apart, because somebody has locked a row that it would write to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::run::runner::Work;
use crate::store::record::TaskResult;

/// The first pause until what is set apart is tried again, half as long again each time.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest: a lock that ends is noticed within this time. A try waits for nobody.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// So many that wait free the executors that ran them, if their output takes no more than these bytes; it is kept in memory
/// until the lock is gone. A stranger who locks one after the other must not stop the node before this.
const FREED_MAX: usize = 1000;
const FREED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A result that waits.
pub(super) struct Aside {
    pub(super) work: Work,
    pub(super) result: TaskResult,
    /// The lock is on no row that is there: only a try of its own tells whether it is gone.
    pub(super) is_hidden: bool,
}

/// Each has its claim, so there are no more of them than claims.
pub(crate) struct Apart {
    pub(super) results: Vec<Aside>,
    /// Claims to be given back, each with its process's priority.
    pub(super) claims: Vec<(Arc<str>, i64, i32)>,
    look_at: Option<Instant>,
    pause: Duration,
}

impl Default for Apart {
    fn default() -> Self {
        Self { results: Vec::new(), claims: Vec::new(), look_at: None, pause: PAUSE_MIN }
    }
}

impl Apart {
    pub(super) fn len(&self) -> usize {
        self.results.len() + self.claims.len()
    }

    /// Whether the next one's executor may take other work. As many as there are executors always free theirs.
    pub(super) fn frees_executor(&self, executors: usize) -> bool {
        let bytes = || self.results.iter().map(|it| it.result.output_bytes()).sum::<usize>();
        self.len() < executors || self.len() < FREED_MAX && bytes() < FREED_BYTES_MAX
    }

    pub(super) fn ids(&self) -> Vec<&str> {
        let results = self.results.iter().map(|it| &*it.result.process_id);
        results.chain(self.claims.iter().map(|it| &*it.0)).collect()
    }

    /// When to look at it again.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.look_at.is_some_and(|at| now >= at)
    }

    /// Something waits: it is looked at before long.
    pub(super) fn expect_look(&mut self, now: Instant) {
        if self.look_at.is_none() {
            self.pause = PAUSE_MIN;
            self.look_at = Some(now + self.pause);
        }
    }

    /// All was looked at; `waits`: not all is done. A node that is about to end looks often.
    pub(super) fn looked(&mut self, now: Instant, waits: bool, is_draining: bool) {
        self.pause = if is_draining { PAUSE_MIN } else { (self.pause * 3 / 2).min(PAUSE_MAX) };
        self.look_at = waits.then(|| now + self.pause);
    }
}
