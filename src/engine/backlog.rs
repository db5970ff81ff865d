//! Where the next claim begins in a queue that is longer than the node has room for.
//!
//! Each claim leaves dead entries at the front of the queue's index. Vacuum takes them away, and scans do in passing,
//! but neither may while a transaction anywhere in the server could still see them: then a claim from the front reads
//! the entry of every claim there was since. So while looks claim as many as they ask for, the next one begins, in
//! each priority, about where the one before has ended. What that leaves behind (a start whose transaction committed
//! late, rows that somebody else had locked) is found by a look from the front, made whenever fewer were claimed than
//! asked for, and once in a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::store::claims::{Claim, Claimed};

/// How much earlier than the last claim the next one begins: longer than a transaction that starts processes usually
/// takes from its begin, which is when they are due, to its commit.
const MARGIN: Duration = Duration::from_millis(100);
/// A look from the front is followed by others for this many times as long as it took: where it takes long it costs a
/// twentieth of the poller's time.
const LOOKS_FROM_THE_FRONT_RARER_THAN: u32 = 20;

/// But for no longer than this many intervals.
const INTERVALS_MAX: u32 = 20;

/// How far each priority's part of the queue is claimed.
pub(crate) struct Backlog {
    /// Shortest time from one look from the front to the next.
    interval: Duration,
    /// When the last process was due that was claimed of a priority: by our clock, if anything too early.
    claimed_to: BTreeMap<i32, Instant>,
    /// When it is time to look from the front; `None`: now.
    front_at: Option<Instant>,
}

impl Backlog {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, claimed_to: BTreeMap::new(), front_at: None }
    }

    /// For each priority that is known: for how long what is looked at may have been due. Empty: look from the front.
    pub(crate) fn within(&mut self, now: Instant) -> Vec<(i32, Duration)> {
        if self.front_at.is_none_or(|at| at <= now) {
            self.front_at = None;
            self.claimed_to.clear();
        }
        let ago =
            |(priority, due): (&i32, &Instant)| (*priority, now.saturating_duration_since(*due) + MARGIN);
        self.claimed_to.iter().map(ago).collect()
    }

    /// The next look is one from the front.
    pub(crate) fn reset(&mut self) {
        self.front_at = None;
    }

    /// A look that began at `began` has claimed these, of `wanted`.
    pub(crate) fn note(&mut self, claimed: &[Claimed], wanted: usize, began: Instant) {
        let took = began.elapsed();
        self.plan(claimed.len() == wanted, began, took);
        claimed.iter().filter_map(ready).for_each(|claim| self.advance(claim.priority, claim.late, began));
    }

    fn plan(&mut self, is_full: bool, began: Instant, took: Duration) {
        if !is_full {
            self.front_at = None;
        } else if self.front_at.is_none() {
            // One that took long for another reason, such as a lock, says little of the next.
            let pause = (took * LOOKS_FROM_THE_FRONT_RARER_THAN).min(self.interval * INTERVALS_MAX);
            self.front_at = Some(began + pause.max(self.interval));
        }
    }

    fn advance(&mut self, priority: i32, late: Duration, began: Instant) {
        // Not late at all: due since ever, or the clock was put back.
        if late.is_zero() {
            return;
        }
        // The database read its clock after `began`: the process was due no earlier than this.
        if let Some(due) = began.checked_sub(late) {
            let last = self.claimed_to.entry(priority).or_insert(due);
            *last = due.max(*last);
        }
    }
}

fn ready(claimed: &Claimed) -> Option<&Claim> {
    match claimed {
        Claimed::Ready(claim, _) => Some(claim),
        Claimed::Unreadable { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_look_begins_where_the_last_one_has_ended_until_one_is_not_full() {
        let began = Instant::now() + SECOND * 100;
        let mut backlog = Backlog::new(SECOND);
        assert_eq!(backlog.within(began), [], "the first look is from the front");
        backlog.plan(true, began, SECOND / 1000);
        backlog.advance(7, SECOND * 30, began);
        backlog.advance(7, SECOND * 20, began);
        backlog.advance(7, SECOND * 25, began);
        backlog.advance(-1, SECOND, began);
        backlog.advance(3, Duration::ZERO, began);
        let half = began + SECOND / 2;
        let expected = [(-1, SECOND * 3 / 2 + MARGIN), (7, SECOND * 41 / 2 + MARGIN)];
        assert_eq!(backlog.within(half), expected);
        assert_eq!(backlog.within(began + SECOND), [], "its time is over");
        backlog.plan(true, began, SECOND / 1000);
        backlog.advance(7, SECOND, began);
        backlog.plan(false, half, SECOND / 1000);
        assert_eq!(backlog.within(half), [], "there was less than asked for");
    }

    #[test]
    fn looks_from_the_front_that_take_long_are_rare() {
        let began = Instant::now() + SECOND * 100;
        let mut backlog = Backlog::new(SECOND);
        backlog.plan(true, began, SECOND);
        backlog.advance(0, SECOND, began);
        assert_eq!(backlog.within(began + SECOND * 19).len(), 1);
        assert_eq!(backlog.within(began + SECOND * 20), []);
    }
}
