//! The node as its owner holds it: it starts the threads and stops them, in one order.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{debug, info, warn};

use super::claim::claims_max;
use super::claim::poller::{Poller, PollerParts};
use super::claim::preemption::PreemptionRequests;
use super::config::{EXECUTORS_MAX, INTERVAL_MAX, INTERVAL_MIN, NodeConfig, Scope};
use super::control::listener::Listener;
use super::control::requests::{Paused, Requests};
use super::guard::{self, Guard};
use super::health::node_health::Health;
use super::health::stuck_sessions::StuckSessions;
use super::health::thread_watchdog::CoreThread;
use super::holdings::Holdings;
use super::live_output::LiveOutputPublisher;
use super::locked::caution::Caution;
use super::locked::stories::LockStories;
use super::membership::failure_detector::FailureDetector;
use super::membership::fence::watch_lease;
use super::membership::heartbeat::{Heartbeat, RowLock};
use super::membership::lease::Lease;
use super::membership::node_lock::NodeLock;
use super::membership::takeover::Takeover;
use super::record::apart::Apart;
use super::record::freed::Freed;
use super::record::pace::Pace;
use super::record::recorder::Recorder;
use super::run::executor::Executor;
use super::run::job_queue::JobQueue;
use super::run::output_room::RoomOwner;
use super::run::permits::RunPermits;
use super::run::runner::Runners;
use super::session::{Session, Sessions};
use super::shutdown::{Joining, Phase, Shutdown};
use super::signal::Signal;
use super::threads;
use crate::database::ConnectionSource;
use crate::platform::{host_name, open_files_max, pid_space, process_started, remedy_of_limit};
use crate::store::membership::{NodeIdentity, Place};
use crate::store::{Store, StoreError};

/// What a thread of ours needs of stack: no recursion, buffers are on the heap.
const STACK_BYTES: usize = 512 * 1024;

/// Why a node could not start.
#[derive(Debug)]
pub enum StartError {
    /// The database.
    Store(StoreError),
    /// No threads or file descriptors.
    Resources(io::Error),
    /// A setting that makes no sense, as a sentence.
    Setting(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Resources(error) => {
                write!(f, "start the node's threads: {error}")?;
                match remedy_of_limit(error) {
                    Some(remedy) => write!(f, "; {remedy}"),
                    None => Ok(()),
                }
            }
            Self::Setting(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for StartError {}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Resources(error)
    }
}

/// A running orchestrator. Dropping it without [`Node::stop`] leaves its threads running.
pub struct Node {
    node_id: Arc<str>,
    drain_timeout: Duration,
    shutdown: Arc<Shutdown>,
    health: Arc<Health>,
    guard: Option<Arc<Guard>>,
    threads: Threads,
    failed: Receiver<String>,
    batches: Receiver<()>,
}

/// In the order in which they end.
struct Threads {
    poller: JoinHandle<()>,
    executors: Vec<JoinHandle<()>>,
    quit_executors: Sender<()>,
    recorder: JoinHandle<()>,
    listener: JoinHandle<()>,
    /// The heartbeat, the watch over its lease, and the one over its session.
    membership: [JoinHandle<()>; 3],
    quit_membership: Sender<()>,
}

/// Stops a node from another thread, such as the one that hears signals.
#[derive(Clone)]
pub struct Stopper {
    shutdown: Arc<Shutdown>,
}

impl Stopper {
    /// The node claims no more; commands run on, and the claim on each process is released when its task has ended.
    pub fn stop_claiming(&self) {
        self.shutdown.advance_to(Phase::Draining);
    }

    /// Ends every command now; their executions are recorded as interrupted and spend no retry.
    pub fn interrupt(&self) {
        self.shutdown.interrupt();
    }

    /// How many processes the node still holds.
    pub fn held(&self) -> usize {
        self.shutdown.held()
    }
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopReport {
    /// Commands that had to be ended.
    pub interrupted: usize,
    /// Processes whose last result could not be recorded; a takeover will find them lost.
    pub unrecorded: usize,
}

impl Node {
    /// Registers the node and starts its threads. The schema has to be at this binary's version.
    ///
    /// # Errors
    /// When a setting is out of range, the database fails, or the system has no threads left.
    pub fn start(
        source: Arc<dyn ConnectionSource>,
        config: NodeConfig,
        runners: Arc<dyn Runners>,
    ) -> Result<Self, StartError> {
        check(&config)?;
        warn_of_few_files(config.executors);
        let identity = identify(&config);
        let mut store = Store::open(&*source, "start", &config.schema)?;
        store.register_node(&identity)?;
        if store.borrows_sessions() {
            tell_of_pooler(&config);
        }
        drop(store);
        let holdings = Arc::new(Holdings::new(&identity.node_id, config.executors)?);
        let guard = start_guard(&identity.node_id, &config)?;
        Ok(Self::assemble(source, config, identity, holdings, guard, runners)?)
    }

    /// Makes the parts, gives each thread those that it uses, and starts the threads.
    fn assemble(
        source: Arc<dyn ConnectionSource>,
        config: NodeConfig,
        identity: NodeIdentity,
        holdings: Arc<Holdings>,
        guard: Option<Arc<Guard>>,
        runners: Arc<dyn Runners>,
    ) -> io::Result<Self> {
        let node_id = Arc::clone(&holdings.node_id);
        let (drain_timeout, executors, config) = (config.drain_timeout, config.executors, Arc::new(config));
        let (permits, preemption) =
            (Arc::new(RunPermits::new(executors)), Arc::<PreemptionRequests>::default());
        let woken = holdings.wakeups.of_batches();
        let shutdown = Arc::new(Shutdown::new(Arc::clone(&holdings)));
        let health = Arc::new(Health::new(&holdings.node_id, &config, Arc::clone(&shutdown)));
        let sessions = Arc::new(Sessions {
            source,
            schema: config.schema.clone(),
            statement_timeout: config.statement_timeout,
            health: Arc::clone(&health),
        });
        let lease = Arc::new(Lease::new(config.lease, config.dead_after, Arc::clone(&health.answers)));
        let requests = Arc::new(Requests {
            holdings: Arc::clone(&holdings),
            // An operator who runs one process here has asked for that one.
            paused: Paused::new(config.heeds_pauses),
            signal: Signal::default(),
        });
        // Neither can hold more than one message for each claim.
        let jobs = JobQueue::new(claims_max(executors));
        let (done, take_done) = bounded(claims_max(executors));
        let room = RoomOwner::default();
        let executor = Executor {
            permits: Arc::clone(&permits),
            holdings: Arc::clone(&holdings),
            lease: Arc::clone(&lease),
            shutdown: Arc::clone(&shutdown),
            health: Arc::clone(&health),
            jobs: jobs.clone(),
            done: done.clone(),
            room: Arc::clone(&room.0),
        };
        let recorder = Recorder {
            session: Session::new(&sessions, CoreThread::Recorder),
            holdings: Arc::clone(&holdings),
            done: take_done,
            room,
            freed: Freed::default(),
            jobs: jobs.clone(),
            permits: Arc::clone(&permits),
            preemption: Arc::clone(&preemption),
            requests: Arc::clone(&requests),
            shutdown: Arc::clone(&shutdown),
            health: Arc::clone(&health),
            pace: Pace::default(),
            may_claim: config.scope == Scope::All && config.heeds_pauses,
            is_let_go_left: true,
            quarantines: Vec::new(),
            apart: Apart::default(),
            caution: Caution::default(),
            stories: LockStories::new(CoreThread::Recorder, &health),
        };
        let claiming = PollerParts {
            holdings: Arc::clone(&holdings),
            config: Arc::clone(&config),
            permits,
            preemption,
            jobs,
            done,
            lease: Arc::clone(&lease),
            shutdown: Arc::clone(&shutdown),
            health: Arc::clone(&health),
        };
        let poller = Poller::new(Session::new(&sessions, CoreThread::Poller), claiming);
        let listener = Listener {
            sessions: Arc::clone(&sessions),
            requests: Arc::clone(&requests),
            shutdown: Arc::clone(&shutdown),
        };
        let heartbeat = Heartbeat {
            session: Session::new(&sessions, CoreThread::Heartbeat),
            failure_detector: FailureDetector::new(&identity, config.dead_after),
            takeover: Takeover::new(&config, Arc::clone(&holdings), Arc::clone(&health)),
            row_lock: RowLock::default(),
            live_output: LiveOutputPublisher::new(Arc::clone(&holdings)),
            lock: NodeLock::new(identity.lock_key),
            lease: Arc::clone(&lease),
            guard: guard.clone(),
            health: Arc::clone(&health),
            shutdown: Arc::clone(&shutdown),
            holdings: Arc::clone(&holdings),
            identity,
            config,
            requests,
        };
        let stuck_sessions =
            StuckSessions { node_id: Arc::clone(&node_id), sessions, shutdown: Arc::clone(&shutdown) };

        let (report_failure, failed) = bounded(1);
        let thread = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let (failed, shutdown) = (report_failure.clone(), Arc::clone(&shutdown));
            let on_panic = move |message| {
                shutdown.note_panic();
                // The channel holds one message; whoever reads it stops the node: a second one says nothing new.
                let _ = failed.try_send(message);
            };
            threads::spawn(name.to_owned(), STACK_BYTES, on_panic, body)
        };
        let (quit_executors, executors_quit) = bounded(0);
        let (quit_membership, membership_quit) = bounded(0);
        let (lease_quit, sessions_quit) = (membership_quit.clone(), membership_quit.clone());
        let runners = runners.of_node(&node_id);
        let start_executor = |index| {
            let (executor, runners, quit) = (executor.clone(), Arc::clone(&runners), executors_quit.clone());
            let body = move || executor.run(index, runners.runner(index), &quit);
            thread(&format!("executor-{index}"), Box::new(body))
        };
        let threads = Threads {
            executors: (0..executors).map(start_executor).collect::<io::Result<_>>()?,
            quit_executors,
            recorder: thread("recorder", Box::new(move || recorder.run()))?,
            poller: thread("poller", Box::new(move || poller.run()))?,
            listener: thread("listener", Box::new(move || listener.run()))?,
            membership: [
                thread("keeper", Box::new(move || heartbeat.run(&membership_quit)))?,
                thread("lease", Box::new(move || watch_lease(&lease, &holdings.slots, &lease_quit)))?,
                thread("silence", Box::new(move || stuck_sessions.run(&sessions_quit)))?,
            ],
            quit_membership,
        };
        info!("node started node_id={node_id} name={:?} executors={executors}", health.node_name());
        Ok(Self { node_id, drain_timeout, shutdown, health, guard, threads, failed, batches: woken })
    }

    /// The node's own state, for its status endpoint.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Gets one message if a thread has panicked: the node is to be stopped and the program to fail.
    pub fn failed(&self) -> &Receiver<String> {
        &self.failed
    }

    /// Gets a message when something of a batch was claimed or has ended, for [`BatchKeeper`](super::BatchKeeper).
    pub fn batches(&self) -> &Receiver<()> {
        &self.batches
    }

    /// A handle that stops the node from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper { shutdown: Arc::clone(&self.shutdown) }
    }

    /// Stops in this order: the poller; the commands, by themselves within the drain timeout or else ended; the
    /// executors; the recorder, when everything is recorded; the listener; and last the heartbeat, so that the others
    /// see the node live until the end. A thread that is stuck in the database is left behind after a while: at the
    /// worst, with results that nobody takes and a server that never answers, it is over 40 s after the drain timeout.
    pub fn stop(self) -> StopReport {
        let Self { shutdown, threads, .. } = self;
        shutdown.advance_to(Phase::Draining);
        let mut joining = Joining::new();
        let mut is_whole = joining.join(threads.poller);
        let has_drained = shutdown.wait_for_commands(self.drain_timeout, &self.failed);
        shutdown.advance_to(Phase::Interrupting);
        if !has_drained {
            shutdown.interrupt();
            shutdown.wind_up();
        }
        drop(threads.quit_executors);
        let has_ended = shutdown.held() == 0;
        if has_ended {
            is_whole &= threads.executors.into_iter().all(|it| joining.join(it));
            is_whole &= joining.join(threads.recorder);
        }
        is_whole &= joining.join(threads.listener);
        if let Some(guard) = &self.guard {
            // Commands of claims that are still held may run. They end before the heartbeat makes the claims due again.
            if has_ended { guard.dismiss() } else { guard.end_commands() }
        }
        let report = StopReport { interrupted: shutdown.interrupted(), unrecorded: shutdown.unrecorded() };
        drop(threads.quit_membership);
        is_whole &= threads.membership.map(|it| joining.join(it)) == [true; 3];
        info!(
            "node stopped node_id={} interrupted={} unrecorded={}{}",
            self.node_id,
            report.interrupted,
            report.unrecorded,
            if is_whole { "" } else { " (not all of its threads have ended)" }
        );
        report
    }
}

/// Whether a node can run with these settings: what [`Node::start`] asks first of all, before it has a database.
///
/// # Errors
/// [`StartError::Setting`] with the setting, its value and what it may be.
pub(crate) fn check(config: &NodeConfig) -> Result<(), StartError> {
    let setting = |text: String| Err(StartError::Setting(text));
    if !(1..=EXECUTORS_MAX).contains(&config.executors) {
        return setting(format!("executors is {}; it must be 1 to {EXECUTORS_MAX}", config.executors));
    }
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&config.poll_interval) {
        return setting(format!(
            "the poll interval is {:?}; it must be 10 ms to 1 hour",
            config.poll_interval
        ));
    }
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&config.heartbeat) {
        return setting(format!("the heartbeat is {:?}; it must be 10 ms to 1 hour", config.heartbeat));
    }
    if config.heartbeat * 3 > config.dead_after || config.dead_after * 3 > config.lease {
        return setting(format!(
            "heartbeat {:?}, dead_after {:?} and lease {:?} have to be at least three times one another: a node \
             must be able to miss a heartbeat or two",
            config.heartbeat, config.dead_after, config.lease
        ));
    }
    if let Some(problem) = crate::model::names::name_problem(&config.name) {
        return setting(format!("the node name {problem}"));
    }
    Ok(())
}

/// Files that are open whatever the node does: standard streams, the threads' connections, the guard's pipe, signals,
/// the status endpoint with its connections, time zones.
const FILES_BASE: u64 = 192;
/// Of one executor: the two ends of its ear; of its command the pipe, for a moment its other end, and its exit.
const FILES_EACH: u64 = 5;

/// A node that runs out of files goes on, waiting for some at each command; that should not surprise anybody.
fn warn_of_few_files(executors: usize) {
    let needed = FILES_BASE + FILES_EACH * executors as u64;
    if let Some(limit) = open_files_max().filter(|limit| *limit < needed) {
        warn!(
            "this process may have {limit} files open and may need {FILES_BASE} + {FILES_EACH} x {executors} \
             executors = {needed}: commands may have to wait for each other; raise the limit (ulimit -n {needed}, \
             LimitNOFILE={needed} in a systemd unit) or lower --executors"
        );
    }
}

fn start_guard(node_id: &str, config: &NodeConfig) -> Result<Option<Arc<Guard>>, StartError> {
    let Some(program) = config.guard.as_ref().filter(|_| guard::IS_AVAILABLE) else {
        debug!("no guard: if this node is killed its commands run on");
        return Ok(None);
    };
    let failed = |error| {
        let program = program.display();
        StartError::Setting(format!("failed to start {program} as the node's guard: {error}"))
    };
    Ok(Some(Arc::new(Guard::start(program, node_id, config.lease).map_err(failed)?)))
}

fn tell_of_pooler(config: &NodeConfig) {
    warn!(
        "a pooler gives sessions to others between transactions (PgBouncer's transaction mode): no session lock and          no LISTEN; the queue is looked at every {:?}, and a node that dies on another host is taken over when its          lease of {} s is over; if the pooler keeps sessions, say --pooler session",
        config.poll_interval,
        config.lease.as_secs_f32()
    );
}

/// An id for one start of a node. The random part tells two starts apart that share name and pid, as in containers.
pub fn new_node_id(name: &str) -> String {
    format!("{name}-{}-{:08x}", std::process::id(), fastrand::u32(..))
}

fn identify(config: &NodeConfig) -> NodeIdentity {
    let pid = std::process::id();
    NodeIdentity {
        node_id: config.node_id.clone().unwrap_or_else(|| new_node_id(&config.name)),
        name: config.name.clone(),
        host: host_name(),
        pid: i32::try_from(pid).unwrap_or(0),
        executors: i32::try_from(config.executors).unwrap_or(i32::MAX),
        lease: config.lease,
        heartbeat: config.heartbeat,
        dead_after: config.dead_after,
        lock_key: fastrand::i32(..),
        place: pid_space().map(|space| Place {
            boot_id: space.boot_id,
            pid_namespace: space.namespace,
            pid_started: process_started(pid),
        }),
    }
}
