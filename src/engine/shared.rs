//! What the threads of one node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use crossbeam_channel::{Sender, TrySendError};

use super::config::{NodeConfig, Scope};
use super::guard::Guard;
use super::shutdown::Phase;
use super::signal::Signal;
use crate::command::Reason;
use crate::database::ConnectionSource;
use crate::engine::claim::held::HeldClaims;
use crate::engine::claim::preemption::WaitingPriorities;
use crate::engine::control::requests::Control;
use crate::engine::health::node_health::Vitals;
use crate::engine::health::stuck_sessions::Asked;
use crate::engine::membership::lease::Lease;
use crate::engine::run::permits::Turns;
use crate::engine::run::slots::Running;

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
