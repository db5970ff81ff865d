//! The one judgement of a node: does it live, and if not, why. No database and no clock.
//!
//! Whoever judges goes by its own clock: how long it has seen the same heartbeat. What the database's clock says would make
//! nodes that beat look silent when that clock is set forward, and dead ones alive when it is set back.

use std::time::Duration;

/// What is known of a node that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signs {
    /// How long its last heartbeat has been seen unchanged, by the observer's clock ([`Sighting`]).
    pub unchanged_for: Duration,
    /// Silence after which it has fenced itself.
    pub lease: Duration,
    /// Silence that means death if its lock is gone, as its own row says: it may beat more seldom than the observer.
    pub dead_after: Duration,
    /// Whether it held its session lock at its last heartbeat.
    pub had_lock: bool,
    /// Whether its session lock is held.
    pub is_locked: bool,
    /// How long that lock has been seen gone, by the observer's clock.
    pub unlocked_for: Duration,
    /// Its process ran on the observer's host and has ended.
    pub is_process_gone: bool,
}

/// What the node that judges knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observer {
    /// How long it has had its connection: after a restart of the database all locks are gone at first.
    pub connected_for: Duration,
    /// For how long that has to be before it may judge others by their silence.
    pub dead_after: Duration,
}

/// Whether a node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It lives as far as anybody can tell.
    Alive,
    /// Its lock is gone: it may be dead, or about to connect again.
    Suspect,
    /// It is dead.
    Dead(Death),
}

/// Why a node is judged to be dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Its process is gone from this host.
    ProcessGone,
    /// Its lock is gone and it is silent.
    LockGone,
    /// Its lease has expired.
    LeaseExpired,
}

impl Death {
    /// The reason as a phrase.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProcessGone => "its process is gone",
            Self::LockGone => "its session ended and its heartbeats stopped",
            Self::LeaseExpired => "its lease has expired",
        }
    }
}

/// A heartbeat as an observer has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sighting<T> {
    /// What the node's row said.
    pub heartbeat: T,
    /// How long it has said that, as far as the observer has looked.
    pub unchanged_for: Duration,
    /// Whether the node's lock was held.
    pub is_locked: bool,
    /// How long that has been gone, in the same way.
    pub unlocked_for: Duration,
    /// When it was looked last, on the observer's clock.
    pub at: Duration,
}

/// What a look at `now` makes of the one before. A pause between two looks counts as a third of `dead_after` at the most: an
/// observer that was frozen itself, perhaps with everything around it, has not seen that nothing came.
pub fn sight<T: PartialEq>(
    before: Option<&Sighting<T>>,
    heartbeat: T,
    is_locked: bool,
    now: Duration,
    dead_after: Duration,
) -> Sighting<T> {
    let since = |at: Duration| now.saturating_sub(at).min(dead_after / 3);
    let unchanged_for = match before {
        Some(before) if before.heartbeat == heartbeat => before.unchanged_for + since(before.at),
        _ => Duration::ZERO,
    };
    let unlocked_for = match before {
        Some(before) if !before.is_locked && !is_locked => before.unlocked_for + since(before.at),
        _ => Duration::ZERO,
    };
    Sighting { heartbeat, unchanged_for, is_locked, unlocked_for, at: now }
}

/// Whether a node that was heard of so long ago is silent, for people who look at its row: it may still live, and nobody should
/// rely on it. `dead_after` is its own.
pub fn is_silent(silence_seconds: f64, dead_after_seconds: f64) -> bool {
    silence_seconds > dead_after_seconds
}

/// Judges a node by two limits: for how long it has been silent against its lease, and, once its lock is gone, against the
/// shorter `dead_after`. That it is gone must have been seen for a while: a node that was cut off for long and is killed when it
/// is heard again has an old heartbeat, and its guard needs a moment to end its commands.
pub fn judge(signs: &Signs, observer: &Observer) -> Liveness {
    let has_lost_lock = signs.had_lock && !signs.is_locked;
    let is_settled = observer.connected_for >= observer.dead_after.max(signs.dead_after);
    if signs.is_process_gone {
        Liveness::Dead(Death::ProcessGone)
    } else if is_settled && signs.unchanged_for > signs.lease {
        Liveness::Dead(Death::LeaseExpired)
    } else if is_settled
        && has_lost_lock
        && signs.unlocked_for > signs.dead_after / 10
        && signs.unchanged_for > signs.dead_after
    {
        Liveness::Dead(Death::LockGone)
    } else if has_lost_lock {
        Liveness::Suspect
    } else {
        Liveness::Alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(silence_s: u64, had_lock: bool, is_locked: bool) -> Signs {
        let (unchanged_for, lease) = (Duration::from_secs(silence_s), Duration::from_secs(300));
        let unlocked_for = if is_locked { Duration::ZERO } else { unchanged_for };
        Signs {
            unchanged_for,
            lease,
            dead_after: Duration::from_secs(10),
            had_lock,
            is_locked,
            unlocked_for,
            is_process_gone: false,
        }
    }

    fn judged(signs: Signs, connected_s: u64) -> Liveness {
        let connected_for = Duration::from_secs(connected_s);
        judge(&signs, &Observer { connected_for, dead_after: Duration::from_secs(10) })
    }

    #[test]
    fn two_clocks_decide_which_node_is_dead() {
        use Liveness::{Alive, Dead, Suspect};
        for (silence, had_lock, is_locked, expected, why) in [
            (1, true, true, Alive, "it beats"),
            (11, true, false, Dead(Death::LockGone), "crashed: the kernel closed its session"),
            (9, true, false, Suspect, "its session may come back in a moment"),
            (200, true, true, Alive, "cut off: the server keeps its session, it keeps its claims"),
            (301, true, true, Dead(Death::LeaseExpired), "by now it has fenced itself"),
            (200, false, false, Alive, "a pooler allows no lock: only the lease decides"),
            (301, false, false, Dead(Death::LeaseExpired), "and it has expired"),
        ] {
            assert_eq!(judged(signs(silence, had_lock, is_locked), 60), expected, "{why}");
        }
    }

    #[test]
    fn a_lock_that_has_just_gone_is_not_enough() {
        let unlocked_for =
            |time| Signs { unlocked_for: Duration::from_millis(time), ..signs(11, true, false) };
        assert_eq!(judged(unlocked_for(0), 60), Liveness::Suspect);
        assert_eq!(judged(unlocked_for(1000), 60), Liveness::Suspect);
        assert_eq!(judged(unlocked_for(1001), 60), Liveness::Dead(Death::LockGone));
    }

    #[test]
    fn an_observer_that_has_just_regained_the_database_declares_no_node_dead() {
        assert_eq!(judged(signs(1000, true, false), 9), Liveness::Suspect);
        assert_eq!(judged(signs(1000, true, true), 9), Liveness::Alive);
    }

    #[test]
    fn a_node_is_judged_by_its_own_row_whatever_the_observer_is_told_for_itself() {
        let slow = |silence| Signs { dead_after: Duration::from_secs(60), ..signs(silence, true, false) };
        assert_eq!(judged(slow(59), 1000), Liveness::Suspect);
        assert_eq!(judged(slow(61), 1000), Liveness::Dead(Death::LockGone));
        assert_eq!(judged(slow(61), 59), Liveness::Suspect, "it has not had the time to connect again");
        let quick = Signs { dead_after: Duration::from_secs(3), ..signs(4, true, false) };
        assert_eq!(judged(quick, 1000), Liveness::Dead(Death::LockGone));
    }

    #[test]
    fn a_process_that_is_gone_is_dead_at_once() {
        let gone = Signs { is_process_gone: true, ..signs(0, true, true) };
        assert_eq!(judged(gone, 0), Liveness::Dead(Death::ProcessGone));
    }

    #[test]
    fn a_heartbeat_ages_by_the_looks_at_it() {
        let s = Duration::from_secs;
        let look = |before: &Sighting<u8>, heartbeat, at| sight(Some(before), heartbeat, true, s(at), s(12));
        let first = sight(None, 7, true, s(100), s(12));
        assert_eq!(first.unchanged_for, s(0), "whatever it was before");
        let second = look(&first, 7, 103);
        assert_eq!(second.unchanged_for, s(3));
        assert_eq!(look(&second, 8, 105).unchanged_for, s(0), "it came");
        assert_eq!(look(&second, 6, 105).unchanged_for, s(0), "the database's clock was set back");
        assert_eq!(look(&second, 7, 1000).unchanged_for, s(3 + 4), "the observer did not look for long");
    }

    #[test]
    fn a_lock_is_gone_from_the_first_look_that_misses_it() {
        let s = Duration::from_secs;
        let look = |before: &Sighting<u8>, is_locked, at| sight(Some(before), 7, is_locked, s(at), s(12));
        let held = sight(None, 7, true, s(100), s(12));
        let missed = look(&held, false, 102);
        assert_eq!(missed.unlocked_for, s(0));
        assert_eq!(look(&missed, false, 103).unlocked_for, s(1));
        assert_eq!(look(&missed, true, 103).unlocked_for, s(0));
        assert_eq!(look(&missed, false, 1000).unlocked_for, s(4), "the observer did not look for long");
    }
}
