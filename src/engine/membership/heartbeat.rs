//! The keeper renews the node's lease, ends commands whose claims were taken, takes over what dead nodes held, and
//! sees to it that the guard lives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, select};
use log::{debug, error, info, warn};

use super::failure_detector::{Death, Viewer, death_of};
use super::takeover::Heir;
use crate::command::Reason;
use crate::engine::config::Scope;
use crate::engine::control::requests::{self, Seen};
use crate::engine::guard::{self, Guard};
use crate::engine::health::thread_watchdog::CoreThread;
use crate::engine::live_output::Window;
use crate::engine::session::Link;
use crate::engine::shared::Shared;
use crate::engine::shutdown::Phase;
use crate::failpoint::{self, Point};
use crate::platform::processes::is_alive;
use crate::platform::{process_started, time_since_boot};
use crate::store::StoreError;
use crate::store::membership::{NodeIdentity, NodeState};

/// How often claims without a living node are looked for when nobody has died, in times of `dead_after` (30 s by
/// default): those of a node that ended while the database was away, and our own that we have lost sight of.
const SWEEP_DEAD_AFTERS: u32 = 3;
/// A suspected death is looked at again this soon.
const SUSPICION_PAUSE: Duration = Duration::from_millis(500);
/// Seconds beyond the lease for which the server is asked to keep the lock's session.
const OUTLAST_MARGIN: Duration = Duration::from_secs(30);

pub(crate) struct Keeper {
    shared: Arc<Shared>,
    link: Link,
    identity: NodeIdentity,
    lock_key: i32,
    lock: Lock,
    connected_since: Option<Instant>,
    heir: Heir,
    window: Window,
}

/// The session lock that tells others we live, as far as the present connection goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lock {
    /// Not asked for on this connection.
    Untried,
    /// This connection holds it.
    Held,
    /// A session of ours that the server still keeps holds it.
    Elsewhere,
    /// A pooler lends us sessions for a transaction each: there is no lock to be had, the lease alone decides.
    Unavailable,
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, identity: NodeIdentity) -> Self {
        let link = Link::new(Arc::clone(&shared), CoreThread::Keeper);
        let heir = Heir::new(Arc::clone(&shared));
        Self {
            shared,
            link,
            identity,
            lock_key: fastrand::i32(..),
            lock: Lock::Untried,
            connected_since: None,
            heir,
            window: Window::default(),
        }
    }

    /// Runs until `quit` is closed, which is the last thing at a stop.
    pub(crate) fn run(mut self, quit: &Receiver<()>) {
        loop {
            // Before the database, which may keep us waiting.
            self.shared.guard.iter().for_each(Guard::keep_alive);
            let pause = match self.beat() {
                Ok(pause) => pause,
                Err(error) => {
                    if !error.is_transient() {
                        error!("heartbeat failed: failed to {error}");
                    }
                    self.link.pause().min(self.shared.config.heartbeat)
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
        let shared = Arc::clone(&self.shared);
        let is_reserving = shared.config.scope != Scope::All;
        self.link.run(|store| {
            store.heartbeat(&shared.node_id, NodeState::Stopped, None)?;
            if is_reserving {
                store.end_reservations(Some(&shared.node_id))?;
            }
            // A claim may just have been given back whose process was cancelled.
            store.end_cancelled().map(drop)
        })?;
        if shared.has_failed() || shared.unrecorded() > 0 {
            self.heir.take_over(&mut self.link)?;
        }
        Ok(())
    }

    /// Waits for the next round and meanwhile does what operators ask for; `false` when it is to quit.
    fn wait(&mut self, pause: Duration, quit: &Receiver<()>) -> bool {
        let next = Instant::now() + pause;
        let mut look_at = None;
        loop {
            self.link.rests();
            let deadline = look_at.map_or(next, |at: Instant| at.min(next));
            select! {
                recv(quit) -> _ => return false,
                recv(self.shared.control.woken()) -> _ => {}
                default(deadline.saturating_duration_since(Instant::now())) => {}
            }
            self.link.works();
            // However many wake-ups come, the heartbeat does not wait for them.
            if Instant::now() >= next {
                return true;
            }
            // What fails here is done at the next heartbeat; the link has logged it.
            let is_open = self.link.is_open();
            let seen = if is_open { requests::look(&self.shared, &mut self.link) } else { Ok(Seen::Nothing) };
            look_at = match seen {
                Ok(Seen::MoreToCome) => Some(Instant::now() + requests::LOOK_AGAIN),
                Ok(Seen::Nothing) | Err(_) => None,
            };
        }
    }

    /// One round; returns the pause until the next.
    fn beat(&mut self) -> Result<Duration, StoreError> {
        self.notice_new_connection();
        self.take_lock()?;
        failpoint::hit(Point::BeforeHeartbeat);
        self.renew()?;
        unless_in_the_way(self.end_lost_commands())?;
        let is_anybody_suspect = unless_in_the_way(self.look_after_peers())?.unwrap_or(false);
        if unless_in_the_way(requests::look(&self.shared, &mut self.link))? == Some(Seen::MoreToCome) {
            self.shared.control.wake();
        }
        let sweep_every = self.shared.config.dead_after * SWEEP_DEAD_AFTERS;
        if self.heir.is_sweep_due(sweep_every) && self.is_settled() {
            unless_in_the_way(self.heir.sweep(&mut self.link))?;
        }
        // What fails here is tried again at the next heartbeat; the link has logged it.
        _ = self.window.update(&self.shared, &mut self.link);
        let heartbeat = self.shared.config.heartbeat;
        Ok(if is_anybody_suspect { heartbeat.min(SUSPICION_PAUSE) } else { heartbeat })
    }

    fn notice_new_connection(&mut self) {
        if !self.link.is_open() {
            self.lock = Lock::Untried;
            self.connected_since = None;
        }
    }

    /// Whether we have had the connection long enough to judge others by their silence.
    fn is_settled(&self) -> bool {
        self.connected_since.is_some_and(|at| at.elapsed() >= self.shared.config.dead_after)
    }

    fn take_lock(&mut self) -> Result<(), StoreError> {
        if matches!(self.lock, Lock::Held | Lock::Unavailable) {
            return Ok(());
        }
        let (key, lease) = (self.lock_key, self.shared.config.lease);
        let was_untried = self.lock == Lock::Untried;
        self.lock = self.link.look(|store| {
            if was_untried {
                store.outlast(lease + OUTLAST_MARGIN)?;
            }
            if store.borrows_sessions() {
                return Ok(Lock::Unavailable);
            }
            Ok(if store.take_node_lock(key)? { Lock::Held } else { Lock::Elsewhere })
        })?;
        self.connected_since.get_or_insert_with(Instant::now);
        if self.lock == Lock::Elsewhere && was_untried {
            debug!("the node's lock is held by a session of ours that the server has not ended yet");
        }
        Ok(())
    }

    fn renew(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let state = if shared.phase() >= Phase::Draining { NodeState::Stopping } else { NodeState::Running };
        let sent = time_since_boot();
        let key = (self.lock != Lock::Unavailable).then_some(self.lock_key);
        if self.link.run(|store| store.heartbeat(&shared.node_id, state, key))? {
            shared.lease.renew(sent);
            shared.guard.iter().for_each(Guard::renewed);
            shared.vitals.measures.beat();
            return Ok(());
        }
        shared.lease.declared_dead();
        let ended = shared.running.interrupt_all(Reason::Fenced);
        warn!("this node was declared dead while it could not be heard; commands ended={ended}");
        // Its claims are taken over by others, or by ourselves, before it goes on.
        self.heir.take_over(&mut self.link)?;
        let identity = &self.identity;
        if self.link.run(|store| Ok(store.rejoin(&shared.node_id)? || store.register_again(identity)?))? {
            shared.lease.renew(sent);
            shared.guard.iter().for_each(Guard::renewed);
            info!("node goes on node_id={}", shared.node_id);
            shared.wake_poller_for_old();
        }
        Ok(())
    }

    fn end_lost_commands(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let held = shared.claims.snapshot();
        if held.is_empty() {
            return Ok(());
        }
        for (process_id, version) in self.link.look(|store| store.lost_claims(&shared.node_id, &held))? {
            if shared.running.interrupt_claim(&process_id, version, Reason::Fenced) {
                warn!("command ended process_id={process_id:?} version={version}: its claim was taken");
            }
        }
        Ok(())
    }

    /// Declares the dead dead and takes over what they held; says whether somebody may be.
    fn look_after_peers(&mut self) -> Result<bool, StoreError> {
        let shared = Arc::clone(&self.shared);
        let peers = self.link.look(|store| store.peers(&shared.node_id))?;
        let viewer = Viewer {
            place: self.identity.place.as_ref(),
            connected_for: self.connected_since.map_or(Duration::ZERO, |at| at.elapsed()),
            dead_after: shared.config.dead_after,
        };
        let mut deaths = Vec::new();
        let mut is_anybody_suspect = false;
        for peer in &peers {
            match death_of(peer, &viewer, has_ended) {
                Some(death) => deaths.push((peer, death)),
                None => is_anybody_suspect |= peer.had_lock && !peer.is_locked,
            }
        }
        let mut has_declared = false;
        for (peer, death) in deaths {
            if self.link.run(|store| store.declare_dead(peer))? {
                has_declared = true;
                if death == Death::ProcessGone {
                    end_commands_of(&peer.node_id);
                }
                warn!(
                    "node declared dead node_id={} silent_s={:.1}: {}",
                    peer.node_id,
                    peer.silence.as_secs_f64(),
                    death.as_str()
                );
            }
        }
        if has_declared {
            failpoint::hit(Point::BeforeTakeover);
            self.heir.take_over(&mut self.link)?;
        }
        Ok(is_anybody_suspect)
    }
}

/// Once the lease is renewed, somebody's lock on one table keeps us from what needs that table, and from nothing else;
/// nor is the next heartbeat the sooner for it. The link has logged it.
fn unless_in_the_way<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.leaves_connection_whole() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A predecessor on this host has left commands running if its guard was killed with it.
fn end_commands_of(node_id: &str) {
    if !guard::IS_AVAILABLE {
        return;
    }
    match guard::kill_commands_of(&[node_id.to_owned()]) {
        Ok(swept) if swept.killed > 0 || swept.left > 0 => {
            warn!(
                "commands of a dead node killed node_id={node_id} killed={} left={}",
                swept.killed, swept.left
            );
        }
        Ok(_) => {}
        Err(error) => warn!("commands of dead node {node_id} may still run: {error}"),
    }
}

/// Whether the process that a neighbour says it is has ended; its id may be another's by now.
fn has_ended(pid: i32, started: Option<i64>) -> bool {
    let Ok(pid) = u32::try_from(pid) else { return false };
    let is_another = started.is_some() && process_started(pid).is_some_and(|now| Some(now) != started);
    is_another || !is_alive(pid)
}

/// Fences the node when its lease runs out although the keeper is stuck: in a query that is never answered, for
/// one. Needs no database. Runs until `quit` is closed.
pub(crate) fn watch_lease(shared: &Arc<Shared>, quit: &Receiver<()>) {
    /// Far below the third of a lease that is left when it is void.
    const LOOK: Duration = Duration::from_millis(250);
    let mut is_fenced = false;
    while quit.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        failpoint::hit(Point::WatchingLease);
        if !shared.lease.is_void() {
            is_fenced = false;
            continue;
        }
        // Again at each look: a command may have begun just before.
        let ended = shared.running.interrupt_all(Reason::Fenced);
        if !is_fenced || ended > 0 {
            warn!(
                "lease not renewed for {:.1} s: the node claims nothing and has ended its commands ended={ended}",
                shared.lease.age().as_secs_f64()
            );
        }
        is_fenced = true;
    }
}
