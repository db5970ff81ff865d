//! The node's lease: how long it may believe that its claims are its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::platform::time_since_boot;

/// Counts from the last heartbeat that reached the database, by a clock that goes on while the machine sleeps.
pub(crate) struct Lease {
    length: Duration,
    /// Milliseconds since boot at which the last successful heartbeat was sent.
    renewed_ms: AtomicU64,
    /// Somebody has declared this node dead, and it has not rejoined.
    is_dead: AtomicBool,
    /// Milliseconds since boot at which it was renewed late; 0 is never.
    lapsed_ms: AtomicU64,
}

impl Lease {
    /// A lease that begins now.
    pub(crate) fn new(length: Duration) -> Self {
        let lease = Self {
            length,
            renewed_ms: AtomicU64::new(0),
            is_dead: AtomicBool::new(false),
            lapsed_ms: AtomicU64::new(0),
        };
        lease.renewed_ms.store(millis(time_since_boot()), Ordering::SeqCst);
        lease
    }

    /// A heartbeat that was sent at `sent` has arrived; its answer's way does not count.
    pub(crate) fn renew(&self, sent: Duration) {
        if self.is_void() {
            self.lapsed_ms.store(millis(time_since_boot()), Ordering::SeqCst);
        }
        self.renewed_ms.store(millis(sent), Ordering::SeqCst);
        self.is_dead.store(false, Ordering::SeqCst);
    }

    pub(crate) fn declared_dead(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
    }

    /// Whether the node has to let go of everything: others may take its claims from now on, or have. A third of
    /// the lease is left for commands to die and for clocks that run apart.
    pub(crate) fn is_void(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst) || self.age() > self.length * 2 / 3
    }

    /// Whether it is void, or was at some time after `since`, a time since boot.
    pub(crate) fn was_void_since(&self, since: Duration) -> bool {
        self.is_void() || self.lapsed_ms.load(Ordering::SeqCst) >= millis(since).max(1)
    }

    pub(crate) fn age(&self) -> Duration {
        let renewed = Duration::from_millis(self.renewed_ms.load(Ordering::SeqCst));
        time_since_boot().saturating_sub(renewed)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_void_after_two_thirds_or_when_the_node_is_declared_dead() {
        let lease = Lease::new(Duration::from_secs(300));
        assert!(!lease.is_void());
        lease.renew(time_since_boot().saturating_sub(Duration::from_secs(199)));
        assert!(!lease.is_void());
        lease.renew(time_since_boot().saturating_sub(Duration::from_secs(201)));
        assert_eq!(lease.is_void(), time_since_boot() > Duration::from_secs(201));
        lease.renew(time_since_boot());
        lease.declared_dead();
        assert!(lease.is_void());
        lease.renew(time_since_boot());
        assert!(!lease.is_void());
    }

    #[test]
    fn a_lapse_is_remembered_for_what_ran_through_it() {
        let lease = Lease::new(Duration::from_secs(300));
        let before = time_since_boot();
        lease.renew(time_since_boot());
        assert!(!lease.was_void_since(before));
        lease.declared_dead();
        assert!(lease.was_void_since(before));
        lease.renew(time_since_boot());
        assert!(!lease.is_void());
        assert!(lease.was_void_since(before), "it ran while the lease was void");
        assert!(!lease.was_void_since(time_since_boot() + Duration::from_secs(1)));
    }
}
