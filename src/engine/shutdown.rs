//! How a node ends: how far it has gone, what it leaves behind, and how long each part may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use log::warn;

use super::holdings::Holdings;
use crate::command::Reason;
use crate::store::membership::NodeState;

/// After the commands were told to end: their grace, and time to record their results.
const WIND_UP: Duration = Duration::from_secs(15);
/// The same after a panic, once no command runs: the claim of the thread that panicked never ends.
const WIND_UP_FAILED: Duration = Duration::from_secs(1);
/// The same when all that is left waits for somebody's lock on its rows: it may last for as long as it likes.
const WIND_UP_LOCKED: Duration = Duration::from_secs(5);
/// The last try of the recorder once the node gives up.
const LAST_RECORD: Duration = Duration::from_secs(6);
/// How often a stop looks for a second signal and for a thread that has failed.
const LOOK: Duration = Duration::from_millis(100);

/// How long threads may take to end once they were told to, all together.
const JOIN_MAX: Duration = Duration::from_secs(10);
/// And each of them, when the others have used that up.
const JOIN_EACH: Duration = Duration::from_secs(2);
/// How often a join looks whether the thread has ended.
const JOIN_LOOK: Duration = Duration::from_millis(2);

/// How far a node has gone towards its end. Only ever rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// It claims and hands tasks on.
    Running = 0,
    /// It claims no more and releases each claim as soon as its task has ended.
    Draining = 1,
    /// It ends its commands.
    Interrupting = 2,
    /// It leaves to the takeover what it could not record by now.
    GivingUp = 3,
}

pub(super) struct Shutdown {
    phase: AtomicU8,
    interrupted: AtomicUsize,
    /// Results of commands that ended and could not be recorded.
    given_up: AtomicUsize,
    /// Claims that wait for somebody's lock.
    locked: AtomicUsize,
    /// A thread has panicked: some claims may never end by themselves.
    has_failed: AtomicBool,
    holdings: Arc<Holdings>,
}

impl Shutdown {
    pub(super) fn new(holdings: Arc<Holdings>) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Running as u8),
            interrupted: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            locked: AtomicUsize::new(0),
            has_failed: AtomicBool::new(false),
            holdings,
        }
    }

    /// How many processes the node still holds.
    pub(super) fn held(&self) -> usize {
        self.holdings.claims.len()
    }

    /// How many commands run.
    pub(super) fn running(&self) -> usize {
        self.holdings.slots.busy()
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Running,
            1 => Phase::Draining,
            2 => Phase::Interrupting,
            _ => Phase::GivingUp,
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// What a heartbeat says of the node.
    pub(super) fn node_state(&self) -> NodeState {
        if self.is_draining() { NodeState::Stopping } else { NodeState::Running }
    }

    /// Goes on to `phase`, never back.
    pub(super) fn advance_to(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
        self.holdings.wakeups.wake();
    }

    /// Ends every command that runs; a second call asks those again that were asked already.
    pub(super) fn interrupt(&self) {
        self.advance_to(Phase::Interrupting);
        self.interrupted.fetch_max(self.holdings.slots.interrupt_all(Reason::Stop), Ordering::SeqCst);
    }

    /// How many commands [`Shutdown::interrupt`] has ended.
    pub(super) fn interrupted(&self) -> usize {
        self.interrupted.load(Ordering::SeqCst)
    }

    pub(super) fn give_up(&self, results: usize) {
        self.given_up.fetch_add(results, Ordering::SeqCst);
    }

    /// So many claims wait for somebody's lock.
    pub(super) fn note_locked(&self, claims: usize) {
        self.locked.store(claims, Ordering::SeqCst);
    }

    /// Processes whose last result is not recorded and, once the node has stopped, will not be by this node.
    pub(super) fn unrecorded(&self) -> usize {
        self.given_up.load(Ordering::SeqCst) + self.held()
    }

    pub(super) fn note_panic(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    /// Waits until every claim has ended; a second signal or a panic cuts it short.
    pub(super) fn wait_for_commands(&self, timeout: Duration, failed: &Receiver<String>) -> bool {
        let mut left = timeout;
        while self.phase() < Phase::Interrupting && failed.is_empty() {
            if self.holdings.claims.wait_until_none(left.min(LOOK)) {
                return true;
            }
            left = left.saturating_sub(LOOK);
            if left.is_zero() {
                return false;
            }
        }
        self.held() == 0
    }

    /// The commands were told to end: waits until their results are recorded, as long as that may take.
    pub(super) fn wind_up(&self) {
        let began = Instant::now();
        let mut idle_since = None;
        while !self.holdings.claims.wait_until_none(LOOK) {
            let is_idle = self.holdings.slots.busy() == 0;
            idle_since = idle_since.filter(|_| is_idle).or_else(|| is_idle.then(Instant::now));
            let is_idle_for = |time| idle_since.is_some_and(|since| since.elapsed() >= time);
            let is_hopeless = self.has_failed() && is_idle_for(WIND_UP_FAILED);
            let is_locked = self.locked.load(Ordering::SeqCst) >= self.held() && is_idle_for(WIND_UP_LOCKED);
            if is_hopeless || is_locked || began.elapsed() >= WIND_UP {
                self.advance_to(Phase::GivingUp);
                // A recorder that lives would have recorded by now what it can.
                self.holdings.claims.wait_until_none(if is_hopeless { WIND_UP_FAILED } else { LAST_RECORD });
                return;
            }
        }
    }
}

/// Waits for threads to end, but not for ever: a server that accepts a query and never answers holds the thread that
/// asked for as long as it likes.
pub(super) struct Joining {
    left: Duration,
}

impl Joining {
    pub(super) fn new() -> Self {
        Self { left: JOIN_MAX }
    }

    /// Whether the thread has ended, and well. A panic was reported when it happened.
    pub(super) fn join(&mut self, thread: JoinHandle<()>) -> bool {
        let began = Instant::now();
        while !thread.is_finished() {
            if began.elapsed() >= self.left.max(JOIN_EACH) {
                warn!("thread {} does not end", thread.thread().name().unwrap_or("without a name"));
                self.left = Duration::ZERO;
                return false;
            }
            std::thread::park_timeout(JOIN_LOOK);
        }
        self.left = self.left.saturating_sub(began.elapsed());
        thread.join().is_ok()
    }
}
