//! What is claimed, and when.

use self::ahead::AHEAD_MAX;
use self::next_step::urgent_max;

mod ahead;
pub(super) mod held;
mod next_step;
pub(super) mod poller;
pub(super) mod preemption;
pub(crate) mod scan_cursor;
mod turns;
pub(super) mod wakeups;

/// The most claims that a node with so many executors holds.
pub(super) const fn claims_max(executors: usize) -> usize {
    executors + AHEAD_MAX + urgent_max(executors)
}
