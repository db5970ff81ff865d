//! The claims this node holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::claims::Claim;

/// Every claim between its commit and its end. Touched once for each claim and once for each end of one, never
/// for a task that is handed on.
#[derive(Default)]
pub(crate) struct HeldClaims {
    held: Mutex<Claims>,
    changed: Condvar,
    /// Starts of a higher priority than this wake the node even while it has no room, as the database knows. A node begins
    /// with the priority that processes have by default.
    notify_above: AtomicI32,
    /// Counts the begins and ends of each claimer's requests; odd: not all that has come of one is known here.
    requests: [AtomicU64; 2],
}

/// Who asks for claims; each has one request under way at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimer {
    /// For what is ready.
    Poller,
    /// For what a limit lets go when it records a process's end.
    Recorder,
}

/// How many begins and ends of requests there were, of each claimer.
pub(crate) type Requests = [u64; 2];

/// Passes each time that the node learns that it was declared dead: what was claimed in one is not begun in the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Epoch(u64);

/// Whether what was asked for when the counts were `then` has been answered by `now`.
pub(crate) fn is_request_over(then: Requests, now: Requests) -> bool {
    then.into_iter().zip(now).all(|(then, now)| then.is_multiple_of(2) || now > then)
}

#[derive(Default)]
struct Claims {
    epoch: Epoch,
    by_process: HashMap<Arc<str>, Held>,
    /// Those that need no executor any more.
    finishing: usize,
}

struct Held {
    /// Unknown of a claim that nobody here has heard of.
    process_type: Option<Arc<str>>,
    version: i64,
    priority: i32,
    /// The command of its last task has ended: its result is with the recorder, and no task will follow here.
    is_finishing: bool,
    /// The node was declared dead while it held it: no command begins under it any more. It stays until whoever has it (a
    /// channel, an executor, the recorder) is done with it, so that nobody takes a command that has begun for one that
    /// has not.
    is_revoked: bool,
}

impl Claims {
    fn remove(&mut self, process_id: &str) {
        let removed = self.by_process.remove(process_id);
        self.finishing -= usize::from(removed.is_some_and(|held| held.is_finishing));
    }
}

impl HeldClaims {
    /// A panic while the lock is held ends the node; what others read until then is still whole.
    fn lock(&self) -> MutexGuard<'_, Claims> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be asked before a claim is made.
    pub(crate) fn epoch(&self) -> Epoch {
        self.lock().epoch
    }

    /// A request for claims begins, or all that came of it is known here.
    pub(crate) fn note_request(&self, claimer: Claimer, is_claim: bool) {
        self.requests[claimer as usize].fetch_add(u64::from(is_claim), Ordering::SeqCst);
    }

    /// Tells one request for claims from the next, see [`is_request_over`].
    pub(crate) fn requests(&self) -> Requests {
        self.requests.each_ref().map(|it| it.load(Ordering::SeqCst))
    }

    /// `epoch` is what it was when the claim was asked for.
    pub(crate) fn insert(&self, claim: &Claim, epoch: Epoch) {
        let Claim { version, priority, .. } = *claim;
        let process_type = Some(Arc::clone(&claim.process_type));
        let mut claims = self.lock();
        let is_revoked = claims.epoch != epoch;
        let held = Held { process_type, version, priority, is_finishing: false, is_revoked };
        claims.remove(&claim.process_id);
        claims.by_process.insert(Arc::clone(&claim.process_id), held);
    }

    /// The node was declared dead: no command begins under a claim of before. One may have been taken over by now, and
    /// its process claimed anew by whomever.
    pub(crate) fn revoke_all(&self) {
        let mut claims = self.lock();
        claims.epoch.0 += 1;
        claims.by_process.values_mut().for_each(|held| held.is_revoked = true);
    }

    /// Whether a command may begin under this claim, as far as the node has heard.
    pub(crate) fn is_current(&self, claim: &Claim) -> bool {
        let claims = self.lock();
        claims
            .by_process
            .get(&claim.process_id)
            .is_some_and(|it| it.version == claim.version && !it.is_revoked)
    }

    /// The command of the claim's last task has ended.
    pub(crate) fn note_finishing(&self, process_id: &str, version: i64) {
        self.set_finishing(process_id, version, true);
    }

    /// Whether the claim needs no executor any more.
    pub(crate) fn set_finishing(&self, process_id: &str, version: i64, is_finishing: bool) {
        let mut claims = self.lock();
        let claims = &mut *claims;
        if let Some(held) = claims.by_process.get_mut(process_id)
            && held.version == version
            && std::mem::replace(&mut held.is_finishing, is_finishing) != is_finishing
        {
            if is_finishing { claims.finishing += 1 } else { claims.finishing -= 1 }
        }
    }

    /// A claim that the database knows as ours and that nobody here has heard of: it is to be given back.
    pub(crate) fn insert_unheard(&self, process_id: &Arc<str>, version: i64) {
        let (priority, is_finishing) = (i32::MAX, true);
        let held = Held { process_type: None, version, priority, is_finishing, is_revoked: true };
        let mut claims = self.lock();
        if !claims.by_process.contains_key(process_id) {
            claims.by_process.insert(Arc::clone(process_id), held);
            claims.finishing += 1;
        }
    }

    /// Whether nobody here has heard of that claim since.
    pub(crate) fn is_unheard(&self, process_id: &str, version: i64) -> bool {
        let claims = self.lock();
        claims.by_process.get(process_id).is_some_and(|it| it.version == version && it.process_type.is_none())
    }

    /// Whether a command may still run, or begin, under the claim of this version.
    pub(crate) fn is_running(&self, process_id: &str, version: i64) -> bool {
        self.lock().by_process.get(process_id).is_some_and(|it| it.version == version && !it.is_finishing)
    }

    /// How many need an executor, now or once their last result is recorded.
    pub(crate) fn occupying(&self) -> usize {
        let claims = self.lock();
        claims.by_process.len() - claims.finishing
    }

    /// The claim of this version has ended or was released; its executor is free. The process may have been
    /// claimed anew before we heard of the end: that claim stays.
    pub(crate) fn remove(&self, process_id: &str, version: i64) {
        let mut claims = self.lock();
        if claims.by_process.get(process_id).is_some_and(|held| held.version == version) {
            claims.remove(process_id);
        }
        self.changed.notify_all();
    }

    pub(crate) fn version_of(&self, process_id: &str) -> Option<i64> {
        self.lock().by_process.get(process_id).map(|held| held.version)
    }

    pub(crate) fn lowest_priority(&self) -> Option<i32> {
        self.lock().by_process.values().map(|held| held.priority).min()
    }

    /// The same once at least so many are held.
    pub(crate) fn lowest_priority_of(&self, at_least: usize) -> Option<i32> {
        let claims = self.lock();
        let priorities = claims.by_process.values().map(|held| held.priority);
        if claims.by_process.len() >= at_least { priorities.min() } else { None }
    }

    /// The types of what needs an executor and has no higher priority than this, and how many there are of each.
    pub(crate) fn types_up_to(&self, priority: i32) -> HashMap<Arc<str>, usize> {
        let claims = self.lock();
        let mut types = HashMap::new();
        for held in claims.by_process.values().filter(|it| it.priority <= priority && !it.is_finishing) {
            if let Some(process_type) = &held.process_type {
                *types.entry(Arc::clone(process_type)).or_default() += 1;
            }
        }
        types
    }

    /// For the heartbeat: the lowest priority that is held, or was last.
    pub(crate) fn notify_above(&self) -> i32 {
        if let Some(lowest) = self.lowest_priority() {
            self.notify_above.store(lowest, Ordering::Relaxed);
        }
        self.notify_above.load(Ordering::Relaxed)
    }

    /// Whether the database is to know, before the next heartbeat, that this is held.
    pub(crate) fn lower_notify_above(&self, priority: i32) -> bool {
        self.notify_above.fetch_min(priority, Ordering::Relaxed) > priority
    }

    pub(crate) fn snapshot(&self) -> Vec<(Arc<str>, i64)> {
        self.lock().by_process.iter().map(|(id, held)| (Arc::clone(id), held.version)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().by_process.len()
    }

    /// Waits until no claim is held; `false` when `timeout` came first.
    pub(crate) fn wait_until_none(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut claims = self.lock();
        while !claims.by_process.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            claims = self.changed.wait_timeout(claims, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(id: &str, version: i64) -> Claim {
        Claim {
            process_id: id.into(),
            process_type: "t".into(),
            version,
            priority: 0,
            total_tasks: 1,
            input: Arc::default(),
            context: Arc::default(),
            due_ago: Duration::ZERO,
            queue_delay: Duration::ZERO,
            limits: None,
        }
    }

    #[test]
    fn a_claim_whose_last_command_has_ended_needs_no_executor_and_is_held_all_the_same() {
        let claims = HeldClaims::default();
        [claim("a", 1), claim("b", 1)].iter().for_each(|it| claims.insert(it, Epoch::default()));
        claims.note_finishing("a", 1);
        claims.note_finishing("a", 1);
        claims.note_finishing("b", 2);
        claims.note_finishing("c", 1);
        assert_eq!((claims.len(), claims.occupying()), (2, 1));
        claims.remove("a", 2);
        assert_eq!((claims.len(), claims.occupying()), (2, 1), "another version");
        claims.insert(&claim("a", 3), Epoch::default());
        assert_eq!((claims.len(), claims.occupying()), (2, 2), "claimed anew");
        claims.note_finishing("a", 3);
        claims.remove("a", 3);
        assert_eq!((claims.len(), claims.occupying()), (1, 1));
    }

    #[test]
    fn the_database_is_told_of_a_lower_priority_once() {
        let claims = HeldClaims::default();
        assert_eq!(claims.notify_above(), 0);
        assert!(!claims.lower_notify_above(0) && !claims.lower_notify_above(1));
        assert!(claims.lower_notify_above(-5) && !claims.lower_notify_above(-5));
        assert_eq!(claims.notify_above(), -5, "as the last time, while nothing is held");
        claims.insert(&Claim { priority: 2, ..claim("a", 1) }, Epoch::default());
        claims.insert(&claim("b", 1), Epoch::default());
        assert_eq!(claims.notify_above(), 0);
        claims.remove("b", 1);
        assert_eq!(claims.notify_above(), 2);
    }

    #[test]
    fn nothing_begins_under_claims_of_before_the_node_was_declared_dead() {
        let (claims, before) = (HeldClaims::default(), HeldClaims::default().epoch());
        claims.insert(&claim("a", 1), before);
        assert!(claims.is_current(&claim("a", 1)) && !claims.is_current(&claim("a", 2)));
        assert!(!claims.is_current(&claim("b", 1)));
        claims.revoke_all();
        assert!(!claims.is_current(&claim("a", 1)));
        assert_eq!(claims.version_of("a"), Some(1), "its command may run");
        claims.insert(&claim("b", 1), before);
        assert!(!claims.is_current(&claim("b", 1)), "its answer came late");
        claims.insert(&claim("a", 3), claims.epoch());
        claims.remove("a", 1);
        assert!(claims.is_current(&claim("a", 3)), "claimed anew");
    }
}
