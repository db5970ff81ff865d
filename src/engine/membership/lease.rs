//! The node's lease, as its threads share it. What it means is decided in [`crate::model::lease`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::health::answers::Answers;
use crate::model::lease::{Expiry, LeaseView, expiry};
use crate::platform::time_since_boot;

/// Counts from the last heartbeat that reached the database, by a clock that goes on while the machine sleeps. Times are
/// milliseconds since boot; 0 is never.
pub(crate) struct Lease {
    length: Duration,
    dead_after: Duration,
    /// When the last successful heartbeat was sent.
    renewed_ms: AtomicU64,
    /// Another node has declared this one dead, and it has not rejoined.
    is_dead: AtomicBool,
    /// When it was renewed late.
    lapsed_ms: AtomicU64,
    is_lock_lost: AtomicBool,
    /// It has let go because of that, and was not renewed since.
    is_fenced_for_lock: AtomicBool,
    /// What the other threads hear from the database.
    answers: Arc<Answers>,
}

impl Lease {
    /// A lease that begins now.
    pub(crate) fn new(length: Duration, dead_after: Duration, answers: Arc<Answers>) -> Self {
        Self {
            length,
            dead_after,
            renewed_ms: AtomicU64::new(millis(time_since_boot())),
            is_dead: AtomicBool::new(false),
            lapsed_ms: AtomicU64::new(0),
            is_lock_lost: AtomicBool::new(false),
            is_fenced_for_lock: AtomicBool::new(false),
            answers,
        }
    }

    /// A heartbeat that was sent at `sent` has arrived; its answer's way does not count.
    pub(crate) fn renew(&self, sent: Duration) {
        if self.is_expired() {
            self.lapsed_ms.store(millis(time_since_boot()), Ordering::SeqCst);
        }
        self.renewed_ms.store(millis(sent), Ordering::SeqCst);
        self.is_dead.store(false, Ordering::SeqCst);
        self.is_fenced_for_lock.store(false, Ordering::SeqCst);
    }

    pub(crate) fn declared_dead(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
    }

    /// Whether the session that held the node's lock is gone, and no other holds it yet.
    pub(crate) fn note_lock(&self, is_lost: bool) {
        self.is_lock_lost.store(is_lost, Ordering::SeqCst);
    }

    pub(crate) fn is_lock_lost(&self) -> bool {
        self.is_lock_lost.load(Ordering::SeqCst)
    }

    /// Whether the node has to let go of everything, and why.
    pub(crate) fn expiry(&self) -> Option<Expiry> {
        let expiry = expiry(&LeaseView {
            length: self.length,
            dead_after: self.dead_after,
            age: self.age(),
            is_declared_dead: self.is_dead.load(Ordering::SeqCst),
            is_lock_lost: self.is_lock_lost(),
            is_fenced_for_lock: self.is_fenced_for_lock.load(Ordering::SeqCst),
            answered_for: self.answers.lasting(self.dead_after),
        });
        if expiry == Some(Expiry::LockLost) {
            self.is_fenced_for_lock.store(true, Ordering::SeqCst);
        }
        expiry
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.expiry().is_some()
    }

    /// Whether it has expired, or had at some time after `since`, a time since boot.
    pub(crate) fn was_expired_since(&self, since: Duration) -> bool {
        self.is_expired() || self.lapsed_ms.load(Ordering::SeqCst) >= millis(since).max(1)
    }

    pub(crate) fn age(&self) -> Duration {
        time_since_boot().saturating_sub(self.renewed())
    }

    /// When the last heartbeat that arrived was sent, since boot.
    pub(crate) fn renewed(&self) -> Duration {
        Duration::from_millis(self.renewed_ms.load(Ordering::SeqCst))
    }

    /// How often it has to be looked at so that little of the time that it leaves goes by.
    pub(crate) fn look_every(&self) -> Duration {
        LOOK_MAX.min(self.dead_after / 20)
    }
}

/// Far below the third of a lease that is left when it counts as expired.
const LOOK_MAX: Duration = Duration::from_millis(250);

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::health::thread_watchdog::CoreThread;

    #[test]
    fn a_lease_is_expired_after_two_thirds_or_when_the_node_is_declared_dead() {
        let lease = Lease::new(Duration::from_secs(300), Duration::from_secs(10), Arc::default());
        assert!(!lease.is_expired());
        lease.renew(time_since_boot().saturating_sub(Duration::from_secs(199)));
        assert!(!lease.is_expired());
        lease.renew(time_since_boot().saturating_sub(Duration::from_secs(201)));
        assert_eq!(lease.is_expired(), time_since_boot() > Duration::from_secs(201));
        lease.renew(time_since_boot());
        lease.declared_dead();
        assert!(lease.is_expired());
        lease.renew(time_since_boot());
        assert!(!lease.is_expired());
    }

    #[test]
    fn a_lapse_is_remembered_for_what_ran_through_it() {
        let lease = Lease::new(Duration::from_secs(300), Duration::from_secs(10), Arc::default());
        let before = time_since_boot();
        lease.renew(time_since_boot());
        assert!(!lease.was_expired_since(before));
        lease.declared_dead();
        assert!(lease.was_expired_since(before));
        lease.renew(time_since_boot());
        assert!(!lease.is_expired());
        assert!(lease.was_expired_since(before), "it ran after the lease had expired");
        assert!(!lease.was_expired_since(time_since_boot() + Duration::from_secs(1)));
    }

    #[test]
    fn a_node_without_its_lock_is_fenced_while_the_database_answers_its_other_threads_and_stays_so() {
        let (ms, dead_after) = (Duration::from_millis, Duration::from_millis(60));
        let answers = Arc::<Answers>::default();
        let lease = Lease::new(Duration::from_secs(300), dead_after, Arc::clone(&answers));
        let answer = |is_answer| answers.note(CoreThread::Poller, is_answer);
        answer(true);
        std::thread::park_timeout(ms(70));
        answer(true);
        assert_eq!(lease.expiry(), None, "its lock is there");
        lease.note_lock(true);
        answer(false);
        assert_eq!(lease.expiry(), None, "the database answers nobody");
        answer(true);
        assert_eq!(lease.expiry(), None, "it has just come back");
        std::thread::park_timeout(ms(40));
        answer(true);
        assert_eq!(lease.expiry(), Some(Expiry::LockLost));
        answer(false);
        lease.note_lock(false);
        assert_eq!(lease.expiry(), Some(Expiry::LockLost), "until it has beaten");
        lease.renew(time_since_boot());
        assert_eq!(lease.expiry(), None);
    }
}
