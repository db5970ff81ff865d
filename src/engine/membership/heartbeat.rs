//! The heartbeat renews the node's lease. Its thread also ends commands whose claims were revoked, takes over what dead
//! nodes held, does what operators ask for, and restarts a guard that has died.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};
use log::{error, info, warn};

use super::failure_detector::FailureDetector;
use super::lease::Lease;
use super::node_lock::NodeLock;
use super::takeover::Takeover;
use crate::command::Reason;
use crate::engine::config::{NodeConfig, Scope};
use crate::engine::control::requests::{LOOK_AGAIN, Requests, Seen};
use crate::engine::guard::Guard;
use crate::engine::health::node_health::Health;
use crate::engine::holdings::Holdings;
use crate::engine::live_output::LiveOutputPublisher;
use crate::engine::session::Session;
use crate::engine::shutdown::Shutdown;
use crate::failpoint::{self, Point};
use crate::model::explain::blocker::named;
use crate::platform::time_since_boot;
use crate::store::StoreError;
use crate::store::membership::{NodeIdentity, NodeState};

/// How often a sweep looks for claims without a living node although none has died, in times of `dead_after` (30 s by
/// default): claims of a node that ended while the database was away, and our own that we have lost.
const SWEEP_DEAD_AFTERS: u32 = 3;
/// How long a node that was declared dead waits for its commands to die. The kernel can take longer with them, but then
/// they can't do anything any more.
const COMMANDS_END_MAX: Duration = Duration::from_secs(1);
/// A suspect is looked at again this soon.
const SUSPICION_PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct Heartbeat {
    pub(crate) session: Session,
    pub(crate) identity: NodeIdentity,
    pub(crate) config: Arc<NodeConfig>,
    pub(crate) lock: NodeLock,
    pub(crate) lease: Arc<Lease>,
    pub(crate) guard: Option<Arc<Guard>>,
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) failure_detector: FailureDetector,
    pub(crate) takeover: Takeover,
    pub(crate) row_lock: RowLock,
    pub(crate) live_output: LiveOutputPublisher,
    pub(crate) health: Arc<Health>,
    pub(crate) shutdown: Arc<Shutdown>,
}

/// A lock that lasts is told this often.
const ROW_LOCK_TOLD_EVERY: Duration = Duration::from_secs(10);

/// Somebody's lock on the node's own row, as the log tells of it.
#[derive(Default)]
pub(crate) struct RowLock {
    since: Option<Instant>,
    told: Option<Instant>,
}

impl RowLock {
    /// Whether it is to be told.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        self.since.get_or_insert(now);
        let is_due = self.told.is_none_or(|at| now.duration_since(at) >= ROW_LOCK_TOLD_EVERY);
        self.told = if is_due { Some(now) } else { self.told };
        is_due
    }

    fn end(&mut self) {
        if let Some(since) = self.since.take() {
            info!(
                "heartbeat goes on: the node's row was locked after_s={:.1}",
                since.elapsed().as_secs_f64()
            );
        }
        self.told = None;
    }
}

impl Heartbeat {
    /// Runs until `quit` is closed, which is the last thing at a stop.
    pub(crate) fn run(mut self, quit: &Receiver<()>) {
        loop {
            // Before the database, which may keep us waiting.
            self.guard.iter().for_each(|guard| guard.keep_alive());
            let beat = self.beat();
            self.note_lock();
            let pause = match beat {
                Ok(pause) => pause,
                Err(error) => {
                    if !error.is_transient() {
                        error!("heartbeat failed: failed to {error}");
                    }
                    self.session.pause().min(self.config.heartbeat)
                }
            };
            if !self.wait(pause, quit) {
                break;
            }
        }
        if let Err(error) = self.say_farewell() {
            warn!("the node's end was not recorded: failed to {error}");
        }
    }

    /// The node's row says that it has stopped; claims that a failed thread has left are due again at once.
    fn say_farewell(&mut self) -> Result<(), StoreError> {
        let node_id = &self.identity.node_id;
        let is_reserving = self.config.scope != Scope::All;
        // Should somebody have locked the node's row, the rest has to be done all the same; the others find the node dead.
        let said = self.session.write(|store| store.heartbeat(node_id, NodeState::Stopped, None, None));
        if let Err(error) = &said
            && !error.is_lock_conflict()
        {
            return said.map(drop);
        }
        self.session.write(|store| {
            if is_reserving {
                store.end_reservations(Some(node_id))?;
            }
            // A claim on a process that was cancelled may just have been released.
            store.end_cancelled().map(drop)
        })?;
        if self.shutdown.has_failed() || self.shutdown.unrecorded() > 0 {
            self.takeover.take_over(&mut self.session)?;
        }
        said.map(drop)
    }

    /// Waits for the next beat and meanwhile does what operators ask for; `false` when it is to quit.
    fn wait(&mut self, pause: Duration, quit: &Receiver<()>) -> bool {
        let next = Instant::now() + pause;
        let mut look_at = None;
        loop {
            self.session.rests();
            let deadline = look_at.map_or(next, |at: Instant| at.min(next));
            select! {
                recv(quit) -> _ => return false,
                recv(self.requests.signal.receiver()) -> _ => {}
                default(deadline.saturating_duration_since(Instant::now())) => {}
            }
            self.session.works();
            // However many requests come, the heartbeat does not wait for them.
            if Instant::now() >= next {
                return true;
            }
            // The next heartbeat tries again what fails here; the session has logged it.
            let is_open = self.session.is_open();
            let seen = if is_open { self.requests.look(&mut self.session) } else { Ok(Seen::Nothing) };
            look_at = match seen {
                Ok(Seen::MoreToCome) => Some(Instant::now() + LOOK_AGAIN),
                Ok(Seen::Nothing) | Err(_) => None,
            };
        }
    }

    /// One round; returns the pause until the next.
    fn beat(&mut self) -> Result<Duration, StoreError> {
        self.lock.take(&mut self.session, self.config.lease)?;
        failpoint::hit(Point::BeforeHeartbeat);
        match self.renew() {
            Ok(()) => self.row_lock.end(),
            // Whoever has locked the node's row keeps it from renewing its lease, and from nothing else.
            Err(error) if error.is_lock_conflict() => self.tell_of_row_lock(),
            Err(error) => return Err(error),
        }
        ignore_conflict(self.end_revoked_commands())?;
        let is_any_suspect = ignore_conflict(self.look_after_peers())?.unwrap_or(false);
        if ignore_conflict(self.requests.look(&mut self.session))? == Some(Seen::MoreToCome) {
            self.requests.signal.notify();
        }
        // Only a node that has had its connection for long enough may judge others by their silence.
        let is_settled = self.lock.connected_for() >= self.config.dead_after;
        if self.takeover.is_sweep_due(self.config.dead_after * SWEEP_DEAD_AFTERS) && is_settled {
            ignore_conflict(self.takeover.sweep(&mut self.session))?;
        }
        // The next heartbeat tries again what fails here; the session has logged it.
        _ = self.live_output.update(&mut self.session);
        let heartbeat = self.config.heartbeat;
        Ok(if is_any_suspect { heartbeat.min(SUSPICION_PAUSE) } else { heartbeat })
    }

    fn renew(&mut self) -> Result<(), StoreError> {
        let (identity, state, key) = (&self.identity, self.shutdown.node_state(), self.lock.key());
        let node_id = &identity.node_id;
        let notify_above = Some(self.holdings.claims.notify_above());
        let sent = time_since_boot();
        if self.session.write(|store| store.heartbeat(node_id, state, key, notify_above))? {
            failpoint::hit(Point::AfterHeartbeat);
            self.lock.announced();
            self.note_renewal(sent);
            self.health.metrics.note_heartbeat();
            return Ok(());
        }
        self.lease.declared_dead();
        // Before it goes on: what it had claimed is not begun then, wherever it waits or is on its way.
        self.holdings.claims.revoke_all();
        let ended = self.holdings.slots.interrupt_all(Reason::Fenced);
        warn!("this node was declared dead while it could not be heard; commands ended={ended}");
        // Others take over its claims, or it does so itself, before it goes on. It waits for its commands' end first: they
        // were killed, and it takes an executor no longer than that to see it.
        self.holdings.slots.wait_until_idle(COMMANDS_END_MAX);
        self.takeover.take_over(&mut self.session)?;
        let locked = &self.takeover.locked();
        if self
            .session
            .write(|store| Ok(store.rejoin(node_id, locked)? || store.register_again(identity)?))?
        {
            // An answer that was still on its way says nothing of the node as it is now.
            self.holdings.claims.revoke_all();
            self.lock.forgotten();
            self.note_renewal(sent);
            // The row names no session of this node yet: without one that the others know it claims nothing.
            let sent = time_since_boot();
            if self.session.write(|store| store.heartbeat(node_id, state, key, notify_above))? {
                self.lock.announced();
                self.note_renewal(sent);
            }
            info!("node goes on node_id={node_id}");
            self.holdings.wakeups.request_full_scan();
        }
        Ok(())
    }

    /// The lease runs out unless the lock ends: whoever holds it has to be known by then.
    fn tell_of_row_lock(&mut self) {
        let node_id = &self.identity.node_id;
        if !self.row_lock.is_due() {
            return;
        }
        // The session has logged what failed.
        let who = named(&self.session.query(|store| store.who_locks_node(node_id)).unwrap_or_default());
        let left = (self.config.lease * 2 / 3).saturating_sub(self.lease.age()).as_secs();
        warn!(
            "heartbeat waits for a lock: the node's row is locked by {who}; if that lasts for {left} s more, the node ends its \
             commands, as others may take over its processes"
        );
    }

    /// Without its lock the poller looks whether others have declared the node dead.
    fn note_lock(&self) {
        let (is_lost, was_lost) = (self.lock.is_lost(&self.session), self.lease.is_lock_lost());
        self.lease.note_lock(is_lost);
        if is_lost && !was_lost {
            self.holdings.wakeups.wake();
        }
    }

    fn note_renewal(&self, sent: Duration) {
        // The guard first: what it does not know to be over it ends, and with the lease commands begin.
        self.guard.iter().for_each(|guard| guard.renewed(sent));
        let was_expired = self.lease.is_expired();
        self.lease.renew(sent);
        self.note_lock();
        if was_expired {
            self.holdings.wakeups.wake();
        }
    }

    fn end_revoked_commands(&mut self) -> Result<(), StoreError> {
        let (node_id, mut held) = (&self.identity.node_id, self.holdings.claims.snapshot());
        // Of a process that was claimed anew, the claims have the new version only.
        held.extend(self.holdings.slots.running());
        held.sort_unstable();
        held.dedup();
        if held.is_empty() {
            return Ok(());
        }
        for (process_id, version) in self.session.query(|store| store.revoked_claims(node_id, &held))? {
            if self.holdings.slots.interrupt_claim(&process_id, version, Reason::Fenced) {
                warn!("command ended process_id={process_id:?} version={version}: its claim was revoked");
            }
        }
        Ok(())
    }

    /// Takes over what nodes held that have died; returns whether one may be dead soon.
    fn look_after_peers(&mut self) -> Result<bool, StoreError> {
        let findings = self.failure_detector.look(&mut self.session, self.lock.connected_for())?;
        if findings.has_declared {
            failpoint::hit(Point::BeforeTakeover);
            self.takeover.take_over(&mut self.session)?;
        }
        Ok(findings.is_any_suspect)
    }
}

/// Once the lease is renewed, somebody's lock on one table keeps us from what needs that table, and from nothing else;
/// nor does it bring the next heartbeat forward. The session has logged it.
fn ignore_conflict<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.leaves_connection_whole() => Ok(None),
        Err(error) => Err(error),
    }
}
