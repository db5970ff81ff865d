//! The library's front door: register process types, run a node, start processes, read what became of them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::warn;

use crate::database::ConnectionSource;
use crate::engine::{BatchKeeper, CommandRunners, Node, NodeConfig, Scheduler, StartError, StopReport};
use crate::model::batch::data::{BatchData, BatchState};
use crate::model::explain::Explanation;
use crate::model::faults::Faults;
use crate::model::input::ProcessInputData;
use crate::model::lifecycle::ProcessStatus;
use crate::model::limits::usage::LimitUsage;
use crate::model::process_type::ProcessType;
use crate::model::records::{ProcessData, TaskData, TaskExecution};
use crate::model::registry::ProcessTypeRegistry;
use crate::model::schedule::definition::Schedule;
use crate::store::batches::{BatchFilter, BatchOptions, BatchPage, BatchRetry};
use crate::store::cancel::{CancelOutcome, CancelReason};
use crate::store::limits::usage::LimitFilter;
use crate::store::read::{Cursor, Include, ProcessFilter};
use crate::store::retry::RetryOptions;
use crate::store::schedules::{Added, ScheduleData};
use crate::store::start::{StartOptions, StartRequest};
use crate::store::types::Registered;
use crate::store::{RefusalReason, Store, StoreError};

/// Rows that one query of a list brings: a page, not the history.
const PAGE_ROWS: u32 = 200;
/// The first pause between two looks of [`ProcessOrchestrator::wait_for_process`]; it doubles.
const WAIT_PAUSE_MIN: Duration = Duration::from_millis(10);
/// The longest pause between two looks.
const WAIT_PAUSE_MAX: Duration = Duration::from_millis(500);

/// What can go wrong in a call of the library.
#[derive(Debug)]
pub enum OrchestratorError {
    /// The database, or a refusal of the schema's functions.
    Store(StoreError),
    /// The node could not start.
    Start(StartError),
    /// Input that is not valid, each fault with its place, value and remedy.
    Input(Faults),
    /// There is no process of this id.
    NotFound(String),
    /// The process had not ended when the time was over.
    StillRunning {
        /// The process.
        process_id: String,
        /// How long was waited.
        waited: Duration,
    },
    /// A thread of the node has panicked; the node has to be stopped.
    NodeFailed(String),
}

impl fmt::Display for OrchestratorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "failed to {error}"),
            Self::Start(error) => write!(f, "failed to {error}"),
            Self::Input(faults) => faults.fmt(f),
            Self::NotFound(id) => write!(f, "there is no process \"{id}\""),
            Self::StillRunning { process_id, waited } => {
                write!(f, "process \"{process_id}\" has not ended within {:.1} s", waited.as_secs_f64())
            }
            Self::NodeFailed(message) => write!(f, "the node has failed: {message}"),
        }
    }
}

impl std::error::Error for OrchestratorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::Start(error) => Some(error),
            Self::Input(faults) => Some(faults),
            Self::NotFound(_) | Self::StillRunning { .. } | Self::NodeFailed(_) => None,
        }
    }
}

impl From<StoreError> for OrchestratorError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<StartError> for OrchestratorError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

/// Runs process types on a PostgreSQL that the caller's pool leads to.
///
/// A started orchestrator holds four connections (poller, recorder, listener, keeper) and each call needs one
/// more: a pool of at least five.
pub struct ProcessOrchestrator {
    source: Arc<dyn ConnectionSource>,
    registry: ProcessTypeRegistry,
    config: NodeConfig,
    replaces_types: bool,
    node: Mutex<Option<(Node, Scheduler)>>,
    /// Adds up batches beside the node.
    batches: Mutex<Option<BatchKeeper>>,
    /// The connection of the last call, with its prepared statements, for the next one.
    spare: Mutex<Option<Store>>,
}

impl ProcessOrchestrator {
    /// An orchestrator with default settings; nothing is done yet. `source` is an r2d2 pool of `postgres`
    /// clients or the crate's own [`crate::database::ConnectionSettings`].
    pub fn new(source: impl ConnectionSource + 'static, registry: ProcessTypeRegistry) -> Self {
        Self {
            source: Arc::new(source),
            registry,
            config: NodeConfig::default(),
            replaces_types: false,
            node: Mutex::new(None),
            batches: Mutex::new(None),
            spare: Mutex::new(None),
        }
    }

    /// The same with other settings.
    #[must_use]
    pub fn with_config(mut self, config: NodeConfig) -> Self {
        self.config = config;
        self
    }

    /// The same, but that [`start`](Self::start) also replaces process types that somebody has registered later than the
    /// registry's: usually a program that is older leaves them as they are, and warns.
    #[must_use]
    pub fn replacing_types(mut self) -> Self {
        self.replaces_types = true;
        self
    }

    /// Brings the schema up to date, registers the process types, and starts a node that runs due processes.
    /// Without it the other calls still work on what other nodes run. Does nothing when it is started already.
    ///
    /// # Errors
    /// When the database fails, the schema is newer than this crate, or the system has no threads left.
    pub fn start(&self) -> Result<(), OrchestratorError> {
        let mut node = lock(&self.node);
        if node.is_some() {
            return Ok(());
        }
        crate::platform::make_children_waitable()
            .map_err(|error| OrchestratorError::Start(StartError::Resources(error)))?;
        self.with_store(|store| {
            store.migrate(false)?;
            self.registry.iter().try_for_each(|kind| self.register(store, kind))
        })?;
        let runners = Arc::new(CommandRunners::new());
        let started = Node::start(Arc::clone(&self.source), self.config.clone(), runners)?;
        // A panic of these threads is logged; what is due stays due.
        let (failed, _) = crossbeam_channel::bounded(1);
        let woken = started.batches().clone();
        match BatchKeeper::start(Arc::clone(&self.source), self.config.schema.clone(), woken, &failed) {
            Ok(keeper) => *lock(&self.batches) = Some(keeper),
            Err(error) => warn!("batches are left to other nodes: failed to start a thread: {error}"),
        }
        match Scheduler::start(Arc::clone(&self.source), self.config.schema.clone(), &failed) {
            Ok(scheduler) => *node = Some((started, scheduler)),
            Err(error) => {
                started.stop();
                return Err(OrchestratorError::Start(StartError::Resources(error)));
            }
        }
        Ok(())
    }

    fn register(&self, store: &mut Store, kind: &ProcessType) -> Result<(), StoreError> {
        let by = format!("the library, node {}", self.config.name);
        let done = match self.replaces_types {
            true => store.register_as(kind, Some(&by))?,
            false => store.register_unless_superseded(kind, Some(&by))?,
        };
        if let Registered::Superseded(it) = done {
            warn!("{it}; processes run the later one. To replace it: ProcessOrchestrator::replacing_types");
        }
        Ok(())
    }

    /// Stops the node: claims no more, waits for running commands up to the drain timeout, ends the rest, records
    /// everything. `None` when it was not started.
    pub fn stop(&self) -> Option<StopReport> {
        let (node, scheduler) = lock(&self.node).take()?;
        scheduler.stop();
        let report = node.stop();
        if let Some(keeper) = lock(&self.batches).take() {
            keeper.stop();
        }
        Some(report)
    }

    /// Starts a process and returns its id, such as `data-processing-pipeline-42`.
    ///
    /// # Errors
    /// When the input is not valid, the process type is unknown, a variable is missing, or the database fails.
    pub fn start_process(
        &self,
        process_type: &str,
        input: ProcessInputData,
    ) -> Result<String, OrchestratorError> {
        let request = StartRequest { input, process_id: None };
        let ids = self.start_processes(process_type, &[request], StartOptions::default())?;
        ids.into_iter().next().ok_or_else(|| OrchestratorError::NotFound(process_type.to_owned()))
    }

    /// Starts many processes of one type in one statement, with ids of the caller's own where given: all of them
    /// or none. An id that is there already with the same input gives back that process.
    ///
    /// # Errors
    /// As [`ProcessOrchestrator::start_process`], and when an id is taken by a process with other input.
    pub fn start_processes(
        &self,
        process_type: &str,
        requests: &[StartRequest],
        options: StartOptions,
    ) -> Result<Vec<String>, OrchestratorError> {
        for (i, request) in requests.iter().enumerate() {
            let source = if requests.len() == 1 { "input".to_owned() } else { format!("input {}", i + 1) };
            request.input.validate(&source).map_err(OrchestratorError::Input)?;
        }
        self.with_store(|store| store.start_processes(process_type, requests, options))
    }

    /// Cancels a process. One that waits has ended when this returns; of one that runs its node ends the command,
    /// within seconds: [`ProcessOrchestrator::wait_for_process`]. One that has ended before stays as it is. The
    /// reason becomes part of its error message.
    ///
    /// # Errors
    /// When there is no such process, or the database fails.
    pub fn cancel_process(
        &self,
        process_id: &str,
        reason: Option<&str>,
    ) -> Result<CancelOutcome, OrchestratorError> {
        let why = CancelReason { reason, by: None };
        self.with_store(|store| store.cancel_process(process_id, why))
            .map(|it| it.outcome)
            .map_err(known_by_id(process_id))
    }

    /// Has a process that has ended go again: from the task that failed or was cancelled, or from the one that the
    /// options name, with its input or with changes to it. What the tasks from there on had passed on is forgotten. Returns the name of the task it goes on from.
    ///
    /// # Errors
    /// When there is no such process or task, when it has not ended, when it is COMPLETED and no task is named, when a task
    /// would be skipped and the options do not say so, when somebody has locked it for seconds, when the changed input is not valid or lacks a variable, or when the database fails.
    pub fn retry_process(
        &self,
        process_id: &str,
        options: &RetryOptions,
    ) -> Result<String, OrchestratorError> {
        if let Some(changes) = &options.changes {
            changes.validate("input").map_err(OrchestratorError::Input)?;
        }
        self.with_store(|store| store.retry_process(process_id, options)).map_err(known_by_id(process_id))
    }

    /// Holds the processes of a type back: none is claimed, and one that runs stops before its next task. Returns
    /// whether it was not paused before.
    ///
    /// # Errors
    /// When the type is unknown, or the database fails.
    pub fn pause_process_type(&self, name: &str, reason: Option<&str>) -> Result<bool, OrchestratorError> {
        self.with_store(|store| store.pause_process_type(name, reason))
    }

    /// Lets the processes of a paused type go on. Returns whether it was paused.
    ///
    /// # Errors
    /// When the type is unknown, or the database fails.
    pub fn resume_process_type(&self, name: &str) -> Result<bool, OrchestratorError> {
        self.with_store(|store| store.resume_process_type(name))
    }

    /// Adds a schedule, or gives the one of its name what this one says. Every started node fires schedules.
    ///
    /// # Errors
    /// When it is not valid, its process type is unknown, its input lacks a variable, it stands in a process type's document, or
    /// the database fails.
    pub fn add_schedule(&self, schedule: &Schedule) -> Result<Added, OrchestratorError> {
        schedule.validate(&format!("schedule {:?}", schedule.name)).map_err(OrchestratorError::Input)?;
        self.with_store(|store| store.add_schedule(schedule, None))
    }

    /// Removes a schedule; its processes stay.
    ///
    /// # Errors
    /// When there is none of that name, it stands in a process type's document, or the database fails.
    pub fn remove_schedule(&self, name: &str) -> Result<(), OrchestratorError> {
        self.with_store(|store| store.remove_schedule(name))
    }

    /// All schedules with their states, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub fn schedules(&self) -> Result<Vec<ScheduleData>, OrchestratorError> {
        let mut all: Vec<ScheduleData> = Vec::new();
        loop {
            let after = all.last().map(|it| it.name.clone());
            let page = self.with_store(|store| store.schedules(after.as_deref(), PAGE_ROWS)?.whole())?;
            let is_last = page.len() < usize::try_from(PAGE_ROWS).unwrap_or(usize::MAX);
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Holds a schedule back: times that come meanwhile are not made up for. Returns whether it was not paused before.
    ///
    /// # Errors
    /// When there is none of that name, or the database fails.
    pub fn pause_schedule(&self, name: &str, reason: Option<&str>) -> Result<bool, OrchestratorError> {
        self.with_store(|store| store.pause_schedule(name, reason, None))
    }

    /// Lets a schedule go on, from its next time. Returns whether it was paused.
    ///
    /// # Errors
    /// As [`ProcessOrchestrator::pause_schedule`].
    pub fn resume_schedule(&self, name: &str) -> Result<bool, OrchestratorError> {
        self.with_store(|store| store.resume_schedule(name))
    }

    /// Starts a process of a schedule now, and returns its id.
    ///
    /// # Errors
    /// When there is none of that name, its process can't be started, or the database fails.
    pub fn run_schedule_now(&self, name: &str) -> Result<String, OrchestratorError> {
        self.with_store(|store| store.run_schedule_now(name))
    }

    /// The limits on how many processes or commands run at once, with what is taken of them and what waits, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub fn limits(&self) -> Result<Vec<LimitUsage>, OrchestratorError> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|it: &LimitUsage| it.name.clone());
            let filter = LimitFilter { after: after.as_deref(), with_idle: true, ..LimitFilter::default() };
            let page = self.with_store(|store| store.limits(filter)?.whole())?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Changes the max of a limit by hand, for good: raised, those that wait begin; lowered, what runs goes on; 0: nothing more
    /// begins; `None`: what the documents say counts again. Returns the one that counts now; `None` is no bound.
    ///
    /// # Errors
    /// When there is no limit of this name, or the database fails.
    pub fn set_limit(&self, name: &str, max: Option<u32>) -> Result<Option<u32>, OrchestratorError> {
        let by = format!("the library, node {}", self.config.name);
        self.with_store(|store| store.set_limit(name, max, Some(&by)))
    }

    /// Starts processes as a batch, all of them or none: watched, halted, paused and judged as one. Requests without an id get one
    /// by what they hold, so that the same call again starts only what is missing. Returns the ids in the order of the requests,
    /// and how many are new. Nodes that `serve` runs, and those of this library, keep the batch.
    ///
    /// # Errors
    /// As [`ProcessOrchestrator::start_processes`], and when the batch is of another type or an option makes no sense.
    pub fn start_batch(
        &self,
        name: &str,
        process_type: &str,
        requests: &[StartRequest],
        options: &BatchOptions,
    ) -> Result<(Vec<String>, u64), OrchestratorError> {
        for (i, request) in requests.iter().enumerate() {
            request.input.validate(&format!("input {}", i + 1)).map_err(OrchestratorError::Input)?;
        }
        self.with_store(|store| {
            store.start_batch(name, process_type, requests, StartOptions::default(), options)
        })
    }

    /// One batch with its failures by reason, or `None` if there is none of this name.
    ///
    /// # Errors
    /// When the database fails.
    pub fn batch(&self, name: &str) -> Result<Option<BatchData>, OrchestratorError> {
        self.with_store(|store| store.batch(name))
    }

    /// A page of the batches, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn batches(&self, filter: &BatchFilter) -> Result<BatchPage, OrchestratorError> {
        self.with_store(|store| store.batches(filter))
    }

    /// Holds a batch back: nothing of it is claimed, and what runs stops before its next task. Returns its state.
    ///
    /// # Errors
    /// When there is no such batch, or the database fails; so for the others.
    pub fn pause_batch(&self, name: &str, reason: Option<&str>) -> Result<BatchState, OrchestratorError> {
        self.with_store(|store| store.pause_batch(name, reason))
    }

    /// Lets a batch go on that is paused or halted; its halt counts anew. Returns its state.
    pub fn resume_batch(&self, name: &str) -> Result<BatchState, OrchestratorError> {
        self.with_store(|store| store.resume_batch(name))
    }

    /// Cancels what of a batch has not ended. Returns how many were cancelled or told to end.
    pub fn cancel_batch(&self, name: &str, reason: Option<&str>) -> Result<u64, OrchestratorError> {
        self.with_store(|store| store.cancel_batch(name, reason, None))
    }

    /// Has the failed processes of a batch go again, each from the task that failed.
    pub fn retry_batch(&self, name: &str) -> Result<BatchRetry, OrchestratorError> {
        self.with_store(|store| store.retry_batch(name))
    }

    /// Why a process runs, waits, or has ended; `None` if there is none of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn explain_process(&self, process_id: &str) -> Result<Option<Explanation>, OrchestratorError> {
        self.with_store(|store| store.explain(process_id))
    }

    /// One process, or `None` if there is none of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn get_process(&self, process_id: &str) -> Result<Option<ProcessData>, OrchestratorError> {
        self.with_store(|store| store.process(process_id))
    }

    /// The tasks of a process in their order; empty if there is none of this id.
    ///
    /// # Errors
    /// When the database fails.
    pub fn get_process_tasks(&self, process_id: &str) -> Result<Vec<TaskData>, OrchestratorError> {
        self.with_store(|store| store.tasks(process_id)?.whole())
    }

    /// The audit trail of a process: one entry for every execution.
    ///
    /// # Errors
    /// When the database fails.
    pub fn get_process_executions(&self, process_id: &str) -> Result<Vec<TaskExecution>, OrchestratorError> {
        self.with_store(|store| store.executions(process_id)?.whole())
    }

    /// All processes, newest first, read a page at a time as the iterator goes: a history of millions is never
    /// in memory.
    pub fn get_all_processes(&self) -> Processes<'_> {
        self.list(ProcessFilter::default())
    }

    /// The processes in one status, newest first, read a page at a time.
    pub fn get_processes_by_status(&self, status: ProcessStatus) -> Processes<'_> {
        self.list(ProcessFilter { statuses: vec![status], ..ProcessFilter::default() })
    }

    fn list(&self, filter: ProcessFilter) -> Processes<'_> {
        let filter = ProcessFilter { limit: PAGE_ROWS, include: Include::ALL, ..filter };
        Processes { orchestrator: self, filter, page: VecDeque::new(), is_last: false }
    }

    /// Waits until a process has ended and returns it, however it ended.
    ///
    /// # Errors
    /// When there is no such process, when it still runs after `timeout`, when this orchestrator's node fails, or
    /// when the database fails for good; short outages are waited out.
    pub fn wait_for_process(
        &self,
        process_id: &str,
        timeout: Duration,
    ) -> Result<ProcessData, OrchestratorError> {
        let began = Instant::now();
        let mut pause = WAIT_PAUSE_MIN;
        loop {
            match self.get_process(process_id) {
                Ok(Some(process)) if process.status.is_final() => return Ok(process),
                Ok(Some(_)) => {}
                Ok(None) => return Err(OrchestratorError::NotFound(process_id.to_owned())),
                Err(OrchestratorError::Store(error)) if error.is_transient() => {
                    warn!("waiting for process_id={process_id:?}: failed to {error}");
                }
                Err(error) => return Err(error),
            }
            let waited = began.elapsed();
            if waited >= timeout {
                return Err(OrchestratorError::StillRunning { process_id: process_id.to_owned(), waited });
            }
            self.pause(pause.min(timeout - waited))?;
            pause = (pause * 2).min(WAIT_PAUSE_MAX);
        }
    }

    /// Waits, and fails if a thread of our node has panicked. The message stays for whoever stops the node.
    fn pause(&self, time: Duration) -> Result<(), OrchestratorError> {
        std::thread::park_timeout(time);
        let has_failed = lock(&self.node).as_ref().is_some_and(|(node, _)| !node.failed().is_empty());
        if has_failed {
            let message = "a thread has panicked, see the log; stop the node".to_owned();
            return Err(OrchestratorError::NodeFailed(message));
        }
        Ok(())
    }

    /// Does `work` on the spare connection or a new one, and keeps it for the next call unless it failed.
    fn with_store<T>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, OrchestratorError> {
        let spare = lock(&self.spare).take();
        let mut store = match spare {
            Some(store) if !store.is_closed() => store,
            _ => Store::open(&*self.source, "library", &self.config.schema)?,
        };
        let result = work(&mut store)?;
        *lock(&self.spare) = Some(store);
        Ok(result)
    }
}

/// An id that nothing has is [`OrchestratorError::NotFound`], whoever finds out.
fn known_by_id(process_id: &str) -> impl Fn(OrchestratorError) -> OrchestratorError {
    move |error| match error {
        OrchestratorError::Store(StoreError::Refused(refusal))
            if refusal.reason == RefusalReason::UnknownProcess =>
        {
            OrchestratorError::NotFound(process_id.to_owned())
        }
        other => other,
    }
}

/// A panic elsewhere leaves these values whole: they are only taken and put.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A list of processes that reads one page after the other.
pub struct Processes<'a> {
    orchestrator: &'a ProcessOrchestrator,
    filter: ProcessFilter,
    /// A process that can't be read is an error in its place, and the others follow.
    page: VecDeque<Result<ProcessData, OrchestratorError>>,
    is_last: bool,
}

impl Processes<'_> {
    fn read_page(&mut self) -> Result<(), OrchestratorError> {
        let page = self.orchestrator.with_store(|store| store.processes(&self.filter))?;
        let unreadable = page.unreadable.into_iter().map(|row| Err(StoreError::UnreadableRow(row).into()));
        self.page = unreadable.chain(page.processes.into_iter().map(Ok)).collect();
        let next: Option<Cursor> = page.next;
        self.is_last = next.is_none();
        self.filter.after = next;
        Ok(())
    }
}

impl Iterator for Processes<'_> {
    type Item = Result<ProcessData, OrchestratorError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && !self.is_last
            && let Err(error) = self.read_page()
        {
            self.is_last = true;
            return Some(Err(error));
        }
        self.page.pop_front()
    }
}
