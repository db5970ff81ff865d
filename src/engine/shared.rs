//! What the threads of one node share.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::claims::HeldClaims;
use super::config::{NodeConfig, Scope};
use super::control::Control;
use super::guard::Guard;
use super::lease::Lease;
use super::measures::Measures;
use super::pulse::{Pulses, Stall};
use super::running::Running;
use super::silence::Asked;
use super::turns::Turns;
use crate::command::Reason;
use crate::database::ConnectionSource;

/// How far a node has gone towards its end. Only ever rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// It claims and hands tasks on.
    Running = 0,
    /// It claims no more and gives claims back as soon as their task has ended.
    Draining = 1,
    /// Its commands are being ended.
    Interrupting = 2,
    /// Whatever can't be recorded by now is left to the takeover.
    GivingUp = 3,
}

pub(super) struct Shared {
    pub(super) node_id: String,
    pub(super) config: NodeConfig,
    pub(super) source: Arc<dyn ConnectionSource>,
    pub(super) claims: HeldClaims,
    pub(super) running: Running,
    pub(super) waiting: WaitingPriorities,
    pub(super) turns: Turns,
    pub(super) vitals: Arc<Vitals>,
    pub(super) lease: Lease,
    pub(super) asked: Asked,
    pub(super) control: Control,
    pub(super) guard: Option<Guard>,
    /// Told when results should wait for others no longer: few tasks wait for a turn, or a process of a higher priority
    /// waits for an executor.
    pub(super) hurry: Signal,
    phase: AtomicU8,
    interrupted: AtomicUsize,
    /// Results that were given up: they ended, and could not be recorded.
    given_up: AtomicUsize,
    /// A thread has panicked: some claims may never end by themselves.
    has_failed: AtomicBool,
    /// Something may be due that was not when the poller looked last.
    is_news: AtomicBool,
    /// Something may be due that looks at a part of the queue pass over.
    is_old_due: AtomicBool,
    wake_poller: Sender<()>,
}

impl Shared {
    pub(super) fn new(
        node_id: String,
        config: NodeConfig,
        source: Arc<dyn ConnectionSource>,
        running: Running,
        guard: Option<Guard>,
        wake_poller: Sender<()>,
    ) -> Self {
        Self {
            claims: HeldClaims::new(config.executors),
            waiting: WaitingPriorities::default(),
            turns: Turns::new(config.executors),
            vitals: Arc::new(Vitals::new(&node_id, &config)),
            lease: Lease::new(config.lease),
            asked: Asked::default(),
            // Who runs one process here has asked for that one.
            control: Control::new(config.scope == Scope::All),
            node_id,
            config,
            source,
            running,
            guard,
            hurry: Signal::default(),
            phase: AtomicU8::new(Phase::Running as u8),
            interrupted: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            has_failed: AtomicBool::new(false),
            is_news: AtomicBool::new(false),
            is_old_due: AtomicBool::new(false),
            wake_poller,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Running,
            1 => Phase::Draining,
            2 => Phase::Interrupting,
            _ => Phase::GivingUp,
        }
    }

    /// Goes on to `phase`, never back.
    pub(super) fn advance_to(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::SeqCst);
        self.vitals.is_stopping.store(self.phase() as u8, Ordering::SeqCst);
        self.wake_poller();
    }

    /// Ends every command that runs; asking again asks those that were asked already.
    pub(super) fn interrupt(&self) {
        self.advance_to(Phase::Interrupting);
        self.interrupted.fetch_max(self.running.interrupt_all(Reason::Stop), Ordering::SeqCst);
    }

    /// How many commands were ended by [`Shared::interrupt`].
    pub(super) fn interrupted(&self) -> usize {
        self.interrupted.load(Ordering::SeqCst)
    }

    pub(super) fn give_up(&self, results: usize) {
        self.given_up.fetch_add(results, Ordering::SeqCst);
    }

    /// Processes whose last result is not recorded and will not be by this node, once it has stopped.
    pub(super) fn unrecorded(&self) -> usize {
        self.given_up.load(Ordering::SeqCst) + self.claims.len()
    }

    pub(super) fn note_panic(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// There may be something due: the poller looks at once.
    pub(super) fn wake_poller(&self) {
        self.is_news.store(true, Ordering::SeqCst);
        self.tell_poller();
    }

    /// What has been due for long may be had now: the poller looks at the whole queue.
    pub(super) fn wake_poller_for_old(&self) {
        self.is_old_due.store(true, Ordering::SeqCst);
        self.wake_poller();
    }

    /// Whether that was said since this was asked last.
    pub(super) fn take_old_due(&self) -> bool {
        self.is_old_due.swap(false, Ordering::SeqCst)
    }

    /// Whether there may be something due since this was asked last.
    pub(super) fn take_news(&self) -> bool {
        self.is_news.swap(false, Ordering::SeqCst)
    }

    /// A claim has ended: the poller may fill its place, and need not do so at once.
    pub(super) fn tell_of_room(&self) {
        self.tell_poller();
    }

    /// The channel holds one wake-up: a second one before the poller has looked says nothing new.
    fn tell_poller(&self) {
        match self.wake_poller.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// A channel of one message, which says that something has happened since it was last waited for.
pub(super) struct Signal {
    tell: Sender<()>,
    told: Receiver<()>,
}

impl Default for Signal {
    fn default() -> Self {
        let (tell, told) = bounded(1);
        Self { tell, told }
    }
}

impl Signal {
    /// Costs next to nothing while nobody waits.
    pub(super) fn tell(&self) {
        // Full: it is told already. Both ends live as long as this does.
        let _ = self.tell.try_send(());
    }

    /// Waits until it is told, or until then; what was told before this call counts only if `is_so` says that it
    /// still holds.
    pub(super) fn wait_until(&self, deadline: Instant, is_so: impl Fn() -> bool) {
        while self.told.try_recv().is_ok() {}
        if !is_so() {
            let _ = self.told.recv_deadline(deadline);
        }
    }
}

/// The priorities of due processes that wait while every executor is taken, highest first: written by the poller,
/// used up by the recorder, which gives one claim back for each.
#[derive(Default)]
pub(super) struct WaitingPriorities {
    descending: Mutex<Vec<i32>>,
}

impl WaitingPriorities {
    pub(super) fn set(&self, descending: Vec<i32>) {
        *self.descending.lock().unwrap_or_else(PoisonError::into_inner) = descending;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.descending.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether a process of `priority` has to give way; each waiting one is answered for once.
    pub(super) fn takes_precedence_over(&self, priority: i32) -> bool {
        let mut waiting = self.descending.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.first() {
            Some(&first) if first > priority => {
                waiting.remove(0);
                true
            }
            _ => false,
        }
    }
}

/// A poll that is older than this many poll intervals means that the database does not answer.
const READY_INTERVALS_MAX: u32 = 5;

/// A node's own state, for its status endpoint: numbers only, no lock is taken to read them.
pub struct Vitals {
    node_id: String,
    node_name: String,
    executors: usize,
    poll_interval: Duration,
    began: Instant,
    pub(super) pulses: Pulses,
    lease: Duration,
    /// Milliseconds from `began` to the last time the poller reached the database, plus 1; 0 is never.
    last_poll: AtomicU64,
    is_stopping: AtomicU8,
    pub(super) busy: AtomicUsize,
    pub(super) executions: AtomicU64,
    pub(super) stale_results: AtomicU64,
    pub(super) database_errors: AtomicU64,
    pub(super) measures: Measures,
}

impl Vitals {
    fn new(node_id: &str, config: &NodeConfig) -> Self {
        Self {
            node_id: node_id.to_owned(),
            node_name: config.name.clone(),
            executors: config.executors,
            poll_interval: config.poll_interval,
            began: Instant::now(),
            pulses: Pulses::new(),
            lease: config.lease,
            last_poll: AtomicU64::new(0),
            is_stopping: AtomicU8::new(0),
            busy: AtomicUsize::new(0),
            executions: AtomicU64::new(0),
            stale_results: AtomicU64::new(0),
            database_errors: AtomicU64::new(0),
            measures: Measures::new(),
        }
    }

    pub(super) fn polled(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last_poll.store(millis + 1, Ordering::Relaxed);
    }

    /// The node's id, new at every start.
    pub fn node_id(&self) -> &str {
        &self.node_id
    }

    /// The name the operator gave it.
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// How many commands it can run at once.
    pub fn executors(&self) -> usize {
        self.executors
    }

    /// How many commands it runs.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// Executions recorded since it started.
    pub fn executions(&self) -> u64 {
        self.executions.load(Ordering::Relaxed)
    }

    /// Results that were not written because their claim had been taken.
    pub fn stale_results(&self) -> u64 {
        self.stale_results.load(Ordering::Relaxed)
    }

    /// Times the database failed a thread of the engine.
    pub fn database_errors(&self) -> u64 {
        self.database_errors.load(Ordering::Relaxed)
    }

    /// What it has measured of itself.
    pub fn measures(&self) -> &Measures {
        &self.measures
    }

    /// A thread the node depends on that has been at one thing for longer than `longest`. An answer of the
    /// database is waited for until the node would end its commands for want of a heartbeat: starting it anew
    /// does not help the database, and costs what runs.
    pub fn stall(&self, longest: Duration) -> Option<Stall> {
        self.pulses.stall(longest, self.lease * 2 / 3)
    }

    /// Whether it claims and reaches the database.
    pub fn is_ready(&self) -> bool {
        self.problem().is_none()
    }

    /// Why it is not ready, as a sentence.
    pub fn problem(&self) -> Option<String> {
        if self.is_stopping.load(Ordering::Relaxed) > 0 {
            return Some("the node is stopping".to_owned());
        }
        let last = self.last_poll.load(Ordering::Relaxed);
        if last == 0 {
            return Some("the node has not reached the database yet".to_owned());
        }
        let age = self.began.elapsed().saturating_sub(Duration::from_millis(last));
        let limit = (self.poll_interval * READY_INTERVALS_MAX).max(Duration::from_secs(5));
        (age > limit).then(|| format!("the node has not reached the database for {} s", age.as_secs()))
    }
}
