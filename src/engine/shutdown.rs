//! How a node ends: how far it has gone, and how long each part may take.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use log::warn;

use super::shared::Shared;

/// After the commands were ended: their grace, and time to record what came of them.
const WIND_UP: Duration = Duration::from_secs(15);
/// The same after a panic, once no command runs: the claim of the thread that panicked never ends.
const WIND_UP_FAILED: Duration = Duration::from_secs(1);
/// The last try of the recorder once the node gives up.
const LAST_RECORD: Duration = Duration::from_secs(6);

/// How often a stop looks for a second signal and for what has failed.
const LOOK: Duration = Duration::from_millis(100);

/// How long threads may take to end once they were told to, all together.
pub(super) const JOIN_MAX: Duration = Duration::from_secs(10);
/// And each of them, when the others have used that up.
const JOIN_EACH: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const JOIN_LOOK: Duration = Duration::from_millis(2);

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

/// Waits until every claim has ended; a second signal or a panic cuts it short.
pub(super) fn wait_for_commands(shared: &Shared, failed: &Receiver<String>) -> bool {
    let mut left = shared.config.drain_timeout;
    while shared.phase() < Phase::Interrupting && failed.is_empty() {
        if shared.claims.wait_until_none(left.min(LOOK)) {
            return true;
        }
        left = left.saturating_sub(LOOK);
        if left.is_zero() {
            return false;
        }
    }
    shared.claims.len() == 0
}

/// The commands were told to end: waits until what came of them is recorded, as long as that may take.
pub(super) fn wind_up(shared: &Shared) {
    let began = Instant::now();
    let mut idle_since = None;
    while !shared.claims.wait_until_none(LOOK) {
        let is_idle = shared.running.is_idle();
        idle_since = idle_since.filter(|_| is_idle).or_else(|| is_idle.then(Instant::now));
        let is_hopeless =
            shared.has_failed() && idle_since.is_some_and(|since| since.elapsed() >= WIND_UP_FAILED);
        if is_hopeless || began.elapsed() >= WIND_UP {
            shared.advance_to(Phase::GivingUp);
            // A recorder that lives would have recorded by now what it can.
            shared.claims.wait_until_none(if is_hopeless { WIND_UP_FAILED } else { LAST_RECORD });
            return;
        }
    }
}

/// Waits for threads to end, but not for ever: a server that accepts and never answers holds a query, and with it
/// the thread, for as long as it likes.
pub(super) struct Joining {
    pub(super) left: Duration,
}

impl Joining {
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
