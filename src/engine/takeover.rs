//! Who is dead, and what becomes of what it held: both are decided here, without a database.

use std::time::{Duration, Instant};

use crate::model::lifecycle::{ClaimMove, Ending, Outcome, TaskPosition, after_execution};
use crate::model::process_type::OnCrash;
use crate::store::abandoned::AbandonedClaim;
use crate::store::membership::{Peer, Place};
use crate::store::record::{ExecutionResult, TaskResult};

/// A task under which this many nodes have died is not run again: it may be what kills them.
pub(super) const TIMES_LOST_MAX: u32 = 5;

/// Why a node is held to be dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// Its process is gone from this host.
    ProcessGone,
    /// Its lock is gone and it is silent.
    LockGone,
    /// Its lease has run out.
    LeaseOver,
}

impl Death {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ProcessGone => "its process is gone",
            Self::LockGone => "its session ended and its heartbeats stopped",
            Self::LeaseOver => "its lease has run out",
        }
    }
}

/// What the node that looks knows of itself.
pub(super) struct Viewer<'a> {
    /// Where it lives.
    pub(super) place: Option<&'a Place>,
    /// How long it has had its connection: after a restart of the database everybody's lock is gone at first.
    pub(super) connected_for: Duration,
    /// Silence that, with the lock gone, means death.
    pub(super) dead_after: Duration,
}

/// Whether a peer is dead. `has_ended` says whether a process of this host, by pid and start, is gone.
pub(super) fn death_of(
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

/// What is recorded for a task whose node has died under it.
pub(super) fn lost_result(claim: &AbandonedClaim) -> TaskResult {
    let times_lost = claim.times_lost + 1;
    let is_poison = times_lost >= TIMES_LOST_MAX;
    let at = TaskPosition {
        has_next: claim.task_index + 1 < claim.total_tasks,
        retry_count: claim.retry_count,
        max_retries: claim.max_retries,
    };
    let fatal = is_poison || claim.on_crash == OnCrash::Fail;
    let transition = after_execution(at, Ending { outcome: Outcome::Lost, fatal });
    let mut message = format!("node {} died while the command ran", claim.node_id);
    if is_poison {
        message.push_str(&format!("; {times_lost} nodes have died under this task, it is not run again"));
    } else if fatal {
        message.push_str("; on_crash is \"fail\", so it is not run again");
    }
    let process_error = (transition.claim == ClaimMove::End).then(|| {
        format!(
            "task \"{}\" ({} of {}) failed: {message}",
            claim.task_name,
            claim.task_index + 1,
            claim.total_tasks
        )
    });
    TaskResult {
        process_id: claim.process_id.as_str().into(),
        version: claim.version,
        task_index: claim.task_index,
        attempt: claim.attempt,
        transition,
        wait: Duration::ZERO,
        execution: ExecutionResult {
            command: None,
            outcome: Outcome::Lost,
            exit_code: None,
            signal: None,
            ended: Instant::now(),
            duration: claim.running,
            cpu: None,
            peak_memory_bytes: None,
            output: None,
            output_bytes: 0,
            error_message: Some(message),
        },
        process_error,
        context: None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::lifecycle::{ProcessStatus, TaskStatus};

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

    fn claim(times_lost: u32, on_crash: OnCrash) -> AbandonedClaim {
        AbandonedClaim {
            process_id: "p".to_owned(),
            node_id: "n-1".to_owned(),
            version: 3,
            total_tasks: 2,
            task_index: 0,
            task_name: "load".to_owned(),
            attempt: 4,
            retry_count: 1,
            max_retries: 1,
            on_crash,
            running: Duration::from_secs(5),
            times_lost,
        }
    }

    #[test]
    fn a_lost_task_is_due_again_and_spends_no_retry() {
        let result = lost_result(&claim(0, OnCrash::Rerun));
        assert_eq!(result.transition.task, TaskStatus::NotStarted);
        assert_eq!(result.transition.retry_count, 1);
        assert_eq!(result.process_error, None);
    }

    #[test]
    fn on_crash_fail_and_the_fifth_crash_fail_the_process_and_say_so() {
        let failed = lost_result(&claim(0, OnCrash::Fail));
        assert_eq!(failed.transition.process, ProcessStatus::Failed);
        assert!(failed.process_error.unwrap_or_default().contains("on_crash is \"fail\""));
        assert_eq!(lost_result(&claim(3, OnCrash::Rerun)).transition.process, ProcessStatus::InProgress);
        let poison = lost_result(&claim(4, OnCrash::Rerun));
        assert_eq!(poison.transition.process, ProcessStatus::Failed);
        assert!(poison.process_error.unwrap_or_default().contains("5 nodes have died under this task"));
    }
}
