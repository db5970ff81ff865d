//! Who is dead: decided without a database.

use std::time::Duration;

use crate::store::membership::{Peer, Place};

/// Why a node is held to be dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Its process is gone from this host.
    ProcessGone,
    /// Its lock is gone and it is silent.
    LockGone,
    /// Its lease has run out.
    LeaseOver,
}

impl Death {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ProcessGone => "its process is gone",
            Self::LockGone => "its session ended and its heartbeats stopped",
            Self::LeaseOver => "its lease has run out",
        }
    }
}

/// What the node that looks knows of itself.
pub(crate) struct Viewer<'a> {
    /// Where it lives.
    pub(crate) place: Option<&'a Place>,
    /// How long it has had its connection: after a restart of the database everybody's lock is gone at first.
    pub(crate) connected_for: Duration,
    /// Silence that, with the lock gone, means death.
    pub(crate) dead_after: Duration,
}

/// Whether a peer is dead. `has_ended` says whether a process of this host, by pid and start, is gone.
pub(crate) fn death_of(
    peer: &Peer,
    viewer: &Viewer<'_>,
    has_ended: impl Fn(i32, Option<i64>) -> bool,
) -> Option<Death> {
    let is_neighbour = viewer.place.zip(peer.place.as_ref()).is_some_and(|(ours, theirs)| {
        ours.boot_id == theirs.boot_id && ours.pid_namespace == theirs.pid_namespace
    });
    if is_neighbour && has_ended(peer.pid, peer.place.as_ref().and_then(|it| it.pid_started)) {
        return Some(Death::ProcessGone);
    }
    if viewer.connected_for < viewer.dead_after {
        return None;
    }
    if peer.silence > peer.lease {
        return Some(Death::LeaseOver);
    }
    let has_lost_its_lock = peer.had_lock && !peer.is_locked;
    (has_lost_its_lock && peer.silence > viewer.dead_after).then_some(Death::LockGone)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn place(boot_id: &str) -> Place {
        Place { boot_id: boot_id.to_owned(), pid_namespace: "pid:[1]".to_owned(), pid_started: Some(7) }
    }

    fn peer(silence_s: u64, had_lock: bool, is_locked: bool) -> Peer {
        Peer {
            node_id: "n-1".to_owned(),
            name: "n".to_owned(),
            pid: 42,
            place: Some(place("other")),
            lease: Duration::from_secs(300),
            last_heartbeat: Timestamp::UNIX_EPOCH,
            silence: Duration::from_secs(silence_s),
            had_lock,
            is_locked,
        }
    }

    fn death(peer: &Peer, connected_s: u64, has_ended: bool) -> Option<Death> {
        let here = place("here");
        let viewer = Viewer {
            place: Some(&here),
            connected_for: Duration::from_secs(connected_s),
            dead_after: Duration::from_secs(10),
        };
        death_of(peer, &viewer, |_, _| has_ended)
    }

    #[test]
    fn two_clocks_decide_who_is_dead() {
        for (silence, had_lock, is_locked, expected, why) in [
            (1, true, true, None, "it lives"),
            (11, true, false, Some(Death::LockGone), "crashed: the kernel closed its session"),
            (9, true, false, None, "its session may be a moment from coming back"),
            (200, true, true, None, "cut off: the server keeps its session, it keeps its claims"),
            (301, true, true, Some(Death::LeaseOver), "by now it has fenced itself"),
            (200, false, false, None, "a pooler allows no lock: the lease alone decides"),
            (301, false, false, Some(Death::LeaseOver), "and it has run out"),
        ] {
            assert_eq!(death(&peer(silence, had_lock, is_locked), 60, false), expected, "{why}");
        }
    }

    #[test]
    fn who_has_just_regained_the_database_declares_nobody_dead() {
        assert_eq!(death(&peer(1000, true, false), 9, false), None);
    }

    #[test]
    fn a_process_that_is_gone_is_dead_at_once_but_only_on_our_own_host() {
        assert_eq!(death(&peer(0, true, true), 0, true), None, "another host's pid says nothing");
        let neighbour = Peer { place: Some(place("here")), ..peer(0, true, true) };
        assert_eq!(death(&neighbour, 0, true), Some(Death::ProcessGone));
        assert_eq!(death(&neighbour, 60, false), None);
    }
}
