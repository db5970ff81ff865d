//! Results that are recorded by one transaction.

use crate::engine::run::runner::Work;
use crate::store::record::TaskResult;

/// Results, each with the work it came of at the same place, which the next task goes on from.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) works: Vec<Work>,
    pub(super) results: Vec<TaskResult>,
    /// The only result is what takes the place of one that the database has refused.
    pub(super) is_stripped: bool,
}

impl Batch {
    pub(super) fn push(&mut self, work: Work, result: TaskResult) {
        self.works.push(work);
        self.results.push(result);
    }

    pub(super) fn of(work: Work, result: TaskResult) -> Self {
        Self { works: vec![work], results: vec![result], is_stripped: false }
    }

    /// The latter half.
    pub(super) fn split_off_half(&mut self) -> Self {
        let at = self.works.len() / 2;
        Self { works: self.works.split_off(at), results: self.results.split_off(at), is_stripped: false }
    }

    pub(super) fn into_pairs(self) -> impl Iterator<Item = (Work, TaskResult)> {
        self.works.into_iter().zip(self.results)
    }
}
