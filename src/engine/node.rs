//! The node as its owner holds it: it starts the threads and stops them, in one order.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{debug, info, warn};

use super::config::{EXECUTORS_MAX, INTERVAL_MAX, INTERVAL_MIN, NodeConfig};
use super::guard::{self, Guard};
use super::health::node_health::Vitals;
use super::shared::Shared;
use super::shutdown::{JOIN_MAX, Joining, Phase, wait_for_commands, wind_up};
use super::{control::listener, health::stuck_sessions, run::executor, run::job_queue, threads};
use crate::database::ConnectionSource;
use crate::engine::claim::poller::Poller;
use crate::engine::membership::heartbeat::{self, Keeper};
use crate::engine::record::recorder::Recorder;
use crate::engine::run::runner::Runners;
use crate::engine::run::slots::Running;
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
    shared: Arc<Shared>,
    threads: Threads,
    failed: Receiver<String>,
}

/// In the order in which they end.
struct Threads {
    poller: JoinHandle<()>,
    executors: Vec<JoinHandle<()>>,
    quit_executors: Sender<()>,
    recorder: JoinHandle<()>,
    listener: JoinHandle<()>,
    keeper: JoinHandle<()>,
    lease: JoinHandle<()>,
    silence: JoinHandle<()>,
    quit_keeper: Sender<()>,
}

/// Stops a node from another thread, such as the one that hears signals.
#[derive(Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
}

impl Stopper {
    /// The node claims no more; commands run on, and each process is given back when its task has ended.
    pub fn stop_claiming(&self) {
        self.shared.advance_to(Phase::Draining);
    }

    /// Ends every command now; their executions are recorded as interrupted and spend no retry.
    pub fn interrupt(&self) {
        self.shared.interrupt();
    }

    /// How many processes the node still holds.
    pub fn held(&self) -> usize {
        self.shared.claims.len()
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
        let running = Running::new(config.executors)?;
        let (wake_poller, wake) = bounded(1);
        let guard = start_guard(&identity.node_id, &config)?;
        let runners = runners.of_node(&identity.node_id);
        let node_id = identity.node_id.clone();
        let shared = Arc::new(Shared::new(node_id, config, source, running, guard, wake_poller));
        let (report_failure, failed) = bounded(1);
        let threads = Threads::start(&shared, &runners, identity, wake, &report_failure)?;
        info!(
            "node started node_id={} name={:?} executors={}",
            shared.node_id, shared.config.name, shared.config.executors
        );
        Ok(Self { shared, threads, failed })
    }

    /// The node's own state, for its status endpoint.
    pub fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.shared.vitals)
    }

    /// Gets one message if a thread has panicked: the node is to be stopped and the program to fail.
    pub fn failed(&self) -> &Receiver<String> {
        &self.failed
    }

    /// A handle that stops the node from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper { shared: Arc::clone(&self.shared) }
    }

    /// Stops in this order: the poller; the commands, by themselves within the drain timeout or else ended; the
    /// executors; the recorder, when everything is recorded; the listener; and last the keeper, so that the node
    /// is known to live until the end. A thread that is stuck in the database is left behind after a while: at the
    /// worst, with results that nobody takes and a server that never answers, it is over 40 s after the drain timeout.
    pub fn stop(self) -> StopReport {
        let Self { shared, threads, failed } = self;
        shared.advance_to(Phase::Draining);
        let mut joining = Joining { left: JOIN_MAX };
        let mut is_whole = joining.join(threads.poller);
        let has_drained = wait_for_commands(&shared, &failed);
        shared.advance_to(Phase::Interrupting);
        if !has_drained {
            shared.interrupt();
            wind_up(&shared);
        }
        drop(threads.quit_executors);
        let has_ended = shared.claims.len() == 0;
        if has_ended {
            is_whole &= threads.executors.into_iter().all(|it| joining.join(it));
            is_whole &= joining.join(threads.recorder);
        }
        is_whole &= joining.join(threads.listener);
        if let Some(guard) = &shared.guard {
            // What a claim is held for may still run. It ends before the keeper makes it due again.
            if has_ended { guard.dismiss() } else { guard.end_commands() }
        }
        let unrecorded = shared.unrecorded();
        drop(threads.quit_keeper);
        is_whole &=
            joining.join(threads.keeper) & joining.join(threads.lease) & joining.join(threads.silence);
        let report = StopReport { interrupted: shared.interrupted(), unrecorded };
        info!(
            "node stopped node_id={} interrupted={} unrecorded={}{}",
            shared.node_id,
            report.interrupted,
            report.unrecorded,
            if is_whole { "" } else { " (not all of its threads have ended)" }
        );
        report
    }
}

impl Threads {
    fn start(
        shared: &Arc<Shared>,
        runners: &Arc<dyn Runners>,
        identity: NodeIdentity,
        wake: Receiver<()>,
        failed: &Sender<String>,
    ) -> io::Result<Self> {
        // None of them can hold more than one message for each claim, and there is a claim for each executor at most.
        let claims_max = shared.config.executors;
        let (jobs, take_jobs) = job_queue::jobs(claims_max);
        let (done, take_done) = bounded(claims_max);
        let (quit_executors, executors_quit) = bounded(0);
        let (quit_keeper, keeper_quit) = bounded(0);
        let thread = |name: &str, body: Box<dyn FnOnce() + Send>| {
            let (failed, shared) = (failed.clone(), Arc::clone(shared));
            let on_panic = move |message| {
                shared.note_panic();
                // The channel holds one message; whoever reads it stops the node: a second one says nothing new.
                let _ = failed.try_send(message);
            };
            threads::spawn(name.to_owned(), STACK_BYTES, on_panic, body)
        };
        let executors = (0..shared.config.executors)
            .map(|index| {
                let (shared, runners) = (Arc::clone(shared), Arc::clone(runners));
                let (jobs, done, quit) = (take_jobs.clone(), done.clone(), executors_quit.clone());
                let body = move || executor::run(index, &shared, &runners, &jobs, &done, &quit);
                thread(&format!("executor-{index}"), Box::new(body))
            })
            .collect::<io::Result<_>>()?;
        let recorder = Recorder::new(Arc::clone(shared), take_done, jobs.clone());
        let poller = Poller::new(Arc::clone(shared), jobs, wake);
        let keeper = Keeper::new(Arc::clone(shared), identity);
        let (for_listener, for_lease) = (Arc::clone(shared), Arc::clone(shared));
        let for_silence = Arc::clone(shared);
        let (lease_quit, silence_quit) = (keeper_quit.clone(), keeper_quit.clone());
        Ok(Self {
            executors,
            quit_executors,
            recorder: thread("recorder", Box::new(move || recorder.run()))?,
            poller: thread("poller", Box::new(move || poller.run()))?,
            listener: thread("listener", Box::new(move || listener::run(&for_listener)))?,
            keeper: thread("keeper", Box::new(move || keeper.run(&keeper_quit)))?,
            lease: thread("lease", Box::new(move || heartbeat::watch_lease(&for_lease, &lease_quit)))?,
            silence: thread("silence", Box::new(move || stuck_sessions::watch(&for_silence, &silence_quit)))?,
            quit_keeper,
        })
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
    match open_files_max() {
        Some(limit) if limit < needed => warn!(
            "this process may have {limit} files open and may need {FILES_BASE} + {FILES_EACH} x {executors} \
             executors = {needed}: commands may have to wait for each other; raise the limit (ulimit -n {needed}, \
             LimitNOFILE={needed} in a systemd unit) or lower --executors"
        ),
        _ => {}
    }
}

fn start_guard(node_id: &str, config: &NodeConfig) -> Result<Option<Guard>, StartError> {
    match &config.guard {
        Some(program) if guard::IS_AVAILABLE => {
            let failed = |error| {
                StartError::Setting(format!(
                    "failed to start {} as the node's guard: {error}",
                    program.display()
                ))
            };
            Ok(Some(Guard::start(program, node_id, config.lease).map_err(failed)?))
        }
        _ => {
            debug!("no guard: if this node is killed its commands run on");
            Ok(None)
        }
    }
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
        place: pid_space().map(|space| Place {
            boot_id: space.boot_id,
            pid_namespace: space.namespace,
            pid_started: process_started(pid),
        }),
    }
}
