//! How long a node may believe that its claims are its own. No clock: times are passed in.

use std::time::Duration;

/// What a node knows of its lease at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseView {
    /// The lease's length.
    pub length: Duration,
    /// After this long without a heartbeat others declare the node dead once its lock is gone.
    pub dead_after: Duration,
    /// How long ago the last heartbeat was *sent* that arrived; its answer's way does not count.
    pub age: Duration,
    /// Another node has declared this one dead, and it has not rejoined.
    pub is_declared_dead: bool,
    /// The session that held the node's lock is gone, and no other holds it yet.
    pub is_lock_lost: bool,
    /// It has let go for that reason since the last heartbeat that arrived: whatever it hears, others may be at it.
    pub is_fenced_for_lock: bool,
    /// For how long the database has answered one of the node's other threads without a failure; `None` when it answers
    /// none of them at the moment.
    pub answered_for: Option<Duration>,
}

/// Why a node has to let go of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Others have declared it dead and take over its claims.
    DeclaredDead,
    /// Its lease was not renewed for two thirds of its length.
    NotRenewed,
    /// Its lock is gone and only its heartbeat can't reach the database: others are about to declare it dead.
    LockLost,
}

/// Whether a node has to let go of everything, and why: others may take its claims from now on, or have. A third of the
/// lease is left for commands to die and for clocks that run apart.
///
/// While the database answers no thread of the node, it is taken for away, and then nobody can be declared dead by a lock that
/// is gone: the whole lease counts. When it is back, the heartbeat has half of `dead_after` to reach it; others that had lost
/// it too judge nobody for the whole of that.
pub fn expiry(view: &LeaseView) -> Option<Expiry> {
    let is_about_to_die = view.age > view.dead_after * 5 / 6;
    let is_answered = view.answered_for.is_some_and(|time| time > view.dead_after / 2);
    if view.is_declared_dead {
        Some(Expiry::DeclaredDead)
    } else if view.age > view.length * 2 / 3 {
        Some(Expiry::NotRenewed)
    } else if view.is_fenced_for_lock || view.is_lock_lost && is_about_to_die && is_answered {
        Some(Expiry::LockLost)
    } else {
        None
    }
}

/// How long after the sending of the last heartbeat that arrived the guard ends the commands of a node that is frozen: the
/// node fences itself at two thirds of its lease; what it could not end is ended here, before the lease is over.
pub fn guard_patience(lease: Duration) -> Duration {
    lease * 5 / 6
}

/// What an executor knows when it is about to begin a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeginView {
    /// The node stops.
    pub is_draining: bool,
    /// The node has to let go of everything.
    pub is_lease_expired: bool,
    /// The node holds the claim, at this version, and has not been declared dead since.
    pub is_claim_current: bool,
}

/// Whether a command may begin; otherwise its claim is released.
pub const fn may_begin(view: BeginView) -> bool {
    !view.is_draining && !view.is_lease_expired && view.is_claim_current
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(age_s: u64) -> LeaseView {
        LeaseView {
            length: Duration::from_secs(300),
            dead_after: Duration::from_secs(12),
            age: Duration::from_secs(age_s),
            is_declared_dead: false,
            is_lock_lost: false,
            is_fenced_for_lock: false,
            answered_for: Some(Duration::from_secs(1000)),
        }
    }

    #[test]
    fn a_lease_expires_after_two_thirds_or_when_the_node_is_declared_dead() {
        assert_eq!(expiry(&view(200)), None);
        assert_eq!(expiry(&view(201)), Some(Expiry::NotRenewed));
        assert_eq!(expiry(&LeaseView { is_declared_dead: true, ..view(0) }), Some(Expiry::DeclaredDead));
    }

    #[test]
    fn without_its_lock_a_node_is_fenced_before_others_declare_it_dead() {
        let lost = |age_s, answered_s: Option<u64>| {
            let answered_for = answered_s.map(Duration::from_secs);
            expiry(&LeaseView { is_lock_lost: true, answered_for, ..view(age_s) })
        };
        assert_eq!(lost(10, Some(1000)), None, "others wait for 12 s");
        assert_eq!(lost(11, Some(1000)), Some(Expiry::LockLost));
        assert_eq!(lost(11, None), None, "the database answers nobody");
        assert_eq!(lost(100, Some(6)), None, "it has just come back");
        assert_eq!(lost(100, Some(7)), Some(Expiry::LockLost));
        let fenced = LeaseView { is_fenced_for_lock: true, answered_for: None, ..view(11) };
        assert_eq!(expiry(&fenced), Some(Expiry::LockLost), "until it has beaten");
    }

    #[test]
    fn a_guard_acts_between_the_fence_and_the_end_of_the_lease() {
        let lease = Duration::from_secs(300);
        assert!(lease * 2 / 3 < guard_patience(lease) && guard_patience(lease) < lease);
    }

    #[test]
    fn a_command_begins_under_a_current_claim_of_a_living_node_only() {
        let yes = BeginView { is_draining: false, is_lease_expired: false, is_claim_current: true };
        assert!(may_begin(yes));
        assert!(!may_begin(BeginView { is_draining: true, ..yes }));
        assert!(!may_begin(BeginView { is_lease_expired: true, ..yes }));
        assert!(!may_begin(BeginView { is_claim_current: false, ..yes }));
    }
}
