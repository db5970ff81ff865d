//! The rows of a journal as the rules move them: a function for each statement says what the rows are afterwards, or which
//! property it would break. The rules are those of the model ([`super::rows`]); here are the rows as wide as they are, the
//! nodes by their names, and the commands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use process_orchestrator::Outcome;
use process_orchestrator::model::lifecycle::{
    ClaimMove, Ending, TaskPosition, Transition, after_execution, after_loss,
};
use process_orchestrator::model::liveness::{Liveness, Observer, Signs, judge};
use process_orchestrator::{OnCrash, ProcessStatus, TaskStatus};

use super::rows::{self, NodeRow, Place, Recorded, Rules};

/// A property, in the words in which it is broken.
pub type Property = &'static str;

pub const DEAD_CLAIMS: Property = "a node claims that does not live";
pub const TWO_HOLDERS: Property = "a claim is taken while another node holds it";
pub const SAME_VERSION: Property = "a claim changes without a new version";
pub const STALE_WRITE: Property = "a stale claim is written for";
pub const TOO_EARLY: Property = "a process is claimed before its time";
pub const CANCEL_IGNORED: Property = "a cancelled process is claimed";
pub const OUT_OF_ORDER: Property = "a task begins before its predecessor is committed";
pub const BEGUN_TWICE: Property = "an attempt begins twice";
pub const BEGUN_WITHOUT_CLAIM: Property = "a command begins without its claim";
pub const GIVEN_BACK_BEGUN: Property = "a claim is given back whose command has begun";
pub const TWO_ALIVE: Property = "two commands of one process are alive";
pub const OTHERWISE_ENDED: Property = "an execution is recorded otherwise than it ended";
pub const RECORDED_TWICE: Property = "an execution is in the trail twice";
pub const NOT_IN_TRAIL: Property = "a begun execution is not in the trail";
pub const LIVING_LOST: Property = "an execution of a living node is lost";
pub const LIVING_DECLARED: Property = "a living node is declared dead";
pub const REJOINED_HOLDING: Property = "a node rejoins while claims of its death are left";
pub const NOT_AS_DECIDED: Property = "a row is not what the rule makes of it";
pub const NO_STATEMENT: Property = "a change that no statement makes";
pub const STUCK: Property = "something is stuck at the end";

/// What a statement may not have seen of another row: its snapshot is so old when it commits, at most.
const SNAPSHOT_S: f64 = 1.0;
/// From the last look at a claim to the first line of its command.
const SPAWN_S: f64 = 0.1;

#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub status: TaskStatus,
    pub attempt: u32,
    pub retries: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    pub version: i64,
    pub node: Option<String>,
    pub is_cancel_wanted: bool,
    /// Whether its state says so, too.
    pub is_claimed: bool,
    /// When it is due; waits are by chance.
    pub due: f64,
}

/// A process's rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    pub status: ProcessStatus,
    pub at: usize,
    pub tasks: Vec<Task>,
    pub queue: Option<Queued>,
}

/// What a start fixes of a task.
#[derive(Debug, Clone)]
pub struct Rule {
    pub max_retries: u32,
    pub on_crash: OnCrash,
    pub fatal_exit_codes: Vec<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    Stopping,
    Stopped,
    Dead,
}

#[derive(Debug, Clone)]
struct Node {
    state: State,
    lease: f64,
    /// When it came into this state, and from which.
    since: f64,
    before: Option<State>,
}

impl Node {
    fn was(&self, t: f64, wanted: impl Fn(State) -> bool) -> bool {
        wanted(self.state) || t - self.since < SNAPSHOT_S && self.before.is_some_and(wanted)
    }
}

/// How an execution ended, as its record says.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub task: usize,
    pub attempt: u32,
    pub outcome: Outcome,
    pub code: Option<i32>,
    /// Whether the claim was given back where it would have been kept.
    pub is_yielding: bool,
}

/// What is known of a node that is declared dead.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    pub silence: f64,
    pub had_lock: bool,
    /// How old the session is that holds its lock.
    pub locked: Option<f64>,
    pub is_gone: bool,
}

/// A process, a task, an attempt.
type Execution = (String, usize, u32);

#[derive(Debug, Default)]
pub struct Rows {
    pub processes: BTreeMap<String, Process>,
    pub dead_after: f64,
    rules: BTreeMap<String, Vec<Rule>>,
    nodes: BTreeMap<String, Node>,
    /// The last node of each name.
    last_of: BTreeMap<String, String>,
    versions: BTreeMap<String, i64>,
    trail: BTreeMap<Execution, Outcome>,
    /// Commands that have begun: on which node, as which pid; and with which code they have ended.
    begun: BTreeMap<Execution, (String, u32)>,
    ended: BTreeMap<Execution, i32>,
}

type Step = Result<(), Property>;

impl Rows {
    // Nodes.

    pub fn join(&mut self, node: &str, lease: f64, t: f64) -> Step {
        self.last_of.insert(node.rsplitn(3, '-').last().unwrap_or(node).to_owned(), node.to_owned());
        let joined = Node { state: State::Running, lease, since: t, before: None };
        none_else(self.nodes.insert(node.to_owned(), joined), NO_STATEMENT)
    }

    pub fn forget(&mut self, node: &str) -> Step {
        match self.nodes.remove(node) {
            Some(Node { state: State::Stopped | State::Dead, .. }) => Ok(()),
            _ => Err(NO_STATEMENT),
        }
    }

    pub fn stop(&mut self, node: &str, to: State, t: f64) -> Step {
        self.turn(node, &[State::Running, State::Stopping], to, t)
    }

    pub fn declare_dead(&mut self, node: &str, seen: &Silence, t: f64) -> Step {
        let lease = self.nodes.get(node).ok_or(NO_STATEMENT)?.lease;
        let signs = Signs {
            // The observer cannot have seen it for longer than it was.
            unchanged_for: Duration::from_secs_f64(seen.silence.max(0.0)),
            lease: Duration::from_secs_f64(lease),
            had_lock: seen.had_lock,
            // One that came back while it was judged had not been seen.
            is_locked: seen.locked.is_some_and(|age| age > SNAPSHOT_S),
            is_process_gone: seen.is_gone,
        };
        let dead_after = Duration::from_secs_f64(self.dead_after);
        match judge(&signs, &Observer { connected_for: Duration::MAX, dead_after }) {
            Liveness::Dead(_) => self.turn(node, &[State::Running, State::Stopping], State::Dead, t),
            Liveness::Alive | Liveness::Suspect => Err(LIVING_DECLARED),
        }
    }

    pub fn rejoin(&mut self, node: &str, t: f64) -> Step {
        let is_held = |it: &&Process| it.queue.as_ref().is_some_and(|row| row.node.as_deref() == Some(node));
        if self.processes.values().any(|it| is_held(&it)) {
            return Err(REJOINED_HOLDING);
        }
        self.turn(node, &[State::Dead], State::Running, t)
    }

    fn turn(&mut self, node: &str, from: &[State], to: State, t: f64) -> Step {
        let row = self.nodes.get_mut(node).filter(|row| from.contains(&row.state)).ok_or(NO_STATEMENT)?;
        *row = Node { state: to, since: t, before: Some(row.state), lease: row.lease };
        Ok(())
    }

    fn was(&self, node: &str, t: f64, wanted: impl Fn(State) -> bool) -> bool {
        self.nodes.get(node).is_some_and(|row| row.was(t, wanted))
    }

    /// What a statement that was committed at `t` may have seen of a node's row.
    fn row_of(&self, node: &str, t: f64) -> NodeRow {
        match self.nodes.get(node).map(|row| row.state) {
            _ if self.was(node, t, is_alive) => NodeRow::Running,
            Some(State::Dead) => NodeRow::Dead,
            Some(_) => NodeRow::Stopped,
            None => NodeRow::Absent,
        }
    }

    // Processes.

    pub fn start(&mut self, process: &str, rules: Vec<Rule>, version: i64, due: f64) -> Step {
        let fresh = Task { status: TaskStatus::NotStarted, attempt: 0, retries: 0 };
        let queue = Queued { version, node: None, is_cancel_wanted: false, is_claimed: false, due };
        let tasks = vec![fresh; rules.len()];
        let rows = Process { status: ProcessStatus::NotStarted, at: 0, tasks, queue: Some(queue) };
        self.rules.insert(process.to_owned(), rules);
        self.versions.insert(process.to_owned(), version);
        none_else(self.processes.insert(process.to_owned(), rows), NO_STATEMENT)
    }

    pub fn claim(&mut self, process: &str, node: &str, t: f64) -> Step {
        let (mut rows, queue) = self.queued(process)?;
        let (row, at) = (self.row_of(node, t), rows.at);
        let mut model = modelled(&rows, node);
        if model.claim(ME, row, false, &Rules::default()).is_none() {
            return Err(match () {
                () if row != NodeRow::Running => DEAD_CLAIMS,
                () if queue.node.is_some() => TWO_HOLDERS,
                () if queue.is_cancel_wanted => CANCEL_IGNORED,
                () => NO_STATEMENT,
            });
        }
        if queue.due > t {
            return Err(TOO_EARLY);
        }
        rows.tasks.get_mut(at).ok_or(NO_STATEMENT)?.status = TaskStatus::InProgress;
        self.put(process, moved(rows, &model, node))
    }

    /// A claim that was never begun goes back.
    pub fn release(&mut self, process: &str, node: &str) -> Step {
        let (mut rows, _) = self.queued(process).map_err(|_| STALE_WRITE)?;
        let mut model = modelled(&rows, node);
        if !model.release(ME, VERSION, &Rules::default()) {
            return Err(STALE_WRITE);
        }
        let at = rows.at;
        let execution = (process.to_owned(), at, rows.tasks[at].attempt);
        if self.begun.contains_key(&execution) && !self.trail.contains_key(&execution) {
            return Err(GIVEN_BACK_BEGUN);
        }
        let is_retry = rows.tasks[at].retries > 0;
        rows.tasks[at].status = if is_retry { TaskStatus::WaitingRetry } else { TaskStatus::NotStarted };
        let mut rows = moved(rows, &model, node);
        if at == 0 && rows.tasks[0].attempt == 0 {
            rows.status = ProcessStatus::NotStarted;
        }
        self.put(process, rows)
    }

    /// A result of the node that ran the command.
    pub fn record(&mut self, process: &str, node: &str, record: &Record, t: f64) -> Step {
        let execution = (process.to_owned(), record.task, record.attempt);
        let ended = self.ended.get(&execution).copied();
        let is_told = match record.outcome {
            Outcome::Succeeded => ended == Some(0),
            Outcome::Failed => record.code.is_none() || ended.is_none() || ended == record.code,
            Outcome::SpawnFailed => !self.begun.contains_key(&execution),
            _ => true,
        };
        if self.begun.get(&execution).is_some_and(|(on, _)| on != node) {
            return Err(STALE_WRITE);
        }
        let step = self.recorded(process, node, record, t);
        step.and(if is_told { Ok(()) } else { Err(OTHERWISE_ENDED) })
    }

    /// A claim whose node is dead; `by` is the session that ends it: a node may end one that it has lost sight of itself.
    pub fn record_lost(&mut self, process: &str, node: &str, record: &Record, by: &str, t: f64) -> Step {
        let is_known = self.nodes.contains_key(node);
        let is_dead = self.was(node, t, |state| matches!(state, State::Dead | State::Stopped));
        let is_own =
            by.split(' ').nth(1).and_then(|name| self.last_of.get(name)).is_some_and(|it| it == node);
        if is_known && !is_dead && !is_own {
            return Err(LIVING_LOST);
        }
        self.recorded(process, node, record, t)
    }

    fn recorded(&mut self, process: &str, node: &str, record: &Record, now: f64) -> Step {
        let execution = (process.to_owned(), record.task, record.attempt);
        let (mut rows, queue) = match self.queued(process) {
            Err(_) if self.trail.contains_key(&execution) => return Err(RECORDED_TWICE),
            other => other.map_err(|_| STALE_WRITE)?,
        };
        let mut model = modelled(&rows, node);
        let at = rows.at;
        let is_current = rows.tasks.get(at).is_some_and(|task| {
            (at, task.attempt, task.status) == (record.task, record.attempt, TaskStatus::InProgress)
        });
        if self.trail.contains_key(&execution) {
            return Err(RECORDED_TWICE);
        }
        if !is_current {
            return Err(STALE_WRITE);
        }
        let t = self.decide(process, record, rows.tasks[at].retries, rows.tasks.len());
        let row = self.row_of(node, now);
        if t.claim == ClaimMove::Keep && row != NodeRow::Running {
            return Err(DEAD_CLAIMS);
        }
        let claim = rows::Claim { version: VERSION, task: 0, attempt: ATTEMPT };
        match model.record((ME, row), claim, record.outcome, t, &Rules::default()) {
            Ok(Recorded::Written(_)) => {}
            Ok(Recorded::Already) => return Err(RECORDED_TWICE),
            Ok(Recorded::Stale) | Err(_) => return Err(STALE_WRITE),
        }
        self.trail.insert(execution, record.outcome);
        let is_cancelled = queue.is_cancel_wanted && model.status == ProcessStatus::Cancelled;
        (rows.tasks[at].status, rows.tasks[at].retries) = (t.task, t.retry_count);
        if is_cancelled {
            // The model does not move on in a process that ends so.
            rows.at += usize::from(t.advance);
            let first = at + usize::from(t.task == TaskStatus::Completed);
            rows.tasks[first..].iter_mut().for_each(|task| task.status = TaskStatus::Cancelled);
        } else if t.claim == ClaimMove::Keep {
            rows.tasks[at + 1].status = TaskStatus::InProgress;
        }
        self.put(process, moved(rows, &model, node))
    }

    fn decide(&self, process: &str, record: &Record, retry_count: u32, tasks: usize) -> Transition {
        let rule = &self.rules[process][record.task];
        let has_next = record.task + 1 < tasks;
        let position = TaskPosition { has_next, retry_count, max_retries: rule.max_retries };
        let t = if record.outcome == Outcome::Lost {
            let range = (process.to_owned(), record.task, 0)..=(process.to_owned(), record.task, u32::MAX);
            let times = self.trail.range(range).filter(|it| *it.1 == Outcome::Lost).count();
            after_loss(position, u32::try_from(times).unwrap(), rule.on_crash).transition
        } else {
            let fatal = record.outcome == Outcome::SpawnFailed
                || record.code.is_some_and(|code| rule.fatal_exit_codes.contains(&code));
            after_execution(position, Ending { outcome: record.outcome, fatal })
        };
        if record.is_yielding { t.yielding() } else { t }
    }

    pub fn cancel(&mut self, process: &str) -> Step {
        let (mut rows, queue) = self.queued(process)?;
        rows.queue = Some(Queued { is_cancel_wanted: true, ..queue });
        self.put(process, rows)
    }

    /// A cancelled process that no node holds ends.
    pub fn end_cancelled(&mut self, process: &str) -> Step {
        let (mut rows, _) = self.queued(process)?;
        let mut model = modelled(&rows, "");
        model.end_cancelled();
        if model.place != Place::Ended {
            return Err(NO_STATEMENT);
        }
        let at = rows.at;
        for task in rows.tasks[at..].iter_mut().filter(|task| !task.status.is_final()) {
            task.status = TaskStatus::Cancelled;
        }
        self.put(process, moved(rows, &model, ""))
    }

    /// A finished process goes again from a task on.
    pub fn retry(&mut self, process: &str, from: usize, version: i64, due: f64) -> Step {
        let mut rows = self.processes.get(process).cloned().ok_or(NO_STATEMENT)?;
        if rows.queue.is_some() || !rows.status.is_final() || from > rows.at {
            return Err(NO_STATEMENT);
        }
        if version <= self.versions[process] {
            return Err(SAME_VERSION);
        }
        for task in &mut rows.tasks[from..] {
            (task.status, task.retries) = (TaskStatus::NotStarted, 0);
        }
        rows.status = if from == 0 { ProcessStatus::NotStarted } else { ProcessStatus::InProgress };
        rows.at = from;
        rows.queue = Some(Queued { version, node: None, is_cancel_wanted: false, is_claimed: false, due });
        self.put(process, rows)
    }

    // Commands.

    /// `is_excused`: its node was kept from learning that its claim had been taken. It has learned of it when it rejoins.
    pub fn begin(&mut self, execution: Execution, node: &str, pid: u32, is_excused: bool, t: f64) -> Step {
        let (process, task, attempt) = &execution;
        let rows = self.processes.get(process).ok_or(BEGUN_WITHOUT_CLAIM)?;
        let is_ignorant = is_excused
            && self.nodes.get(node).is_some_and(|row| row.state == State::Dead || t - row.since < SPAWN_S);
        let begun = self.begun.contains_key(&execution);
        let is_in_order = *task == 0 || rows.tasks[task - 1].status == TaskStatus::Completed;
        let is_current = rows.at == *task
            && rows.tasks[*task].attempt == *attempt
            && rows.tasks[*task].status == TaskStatus::InProgress
            && rows.queue.as_ref().is_some_and(|row| row.node.as_deref() == Some(node));
        self.begun.insert(execution, (node.to_owned(), pid));
        match () {
            () if begun => Err(BEGUN_TWICE),
            () if !is_in_order => Err(OUT_OF_ORDER),
            () if !is_current && !is_ignorant => Err(BEGUN_WITHOUT_CLAIM),
            () => Ok(()),
        }
    }

    pub fn end(&mut self, execution: Execution, node: &str, pid: u32, code: i32) -> Step {
        if self.begun.get(&execution) != Some(&(node.to_owned(), pid)) {
            return Err(OTHERWISE_ENDED);
        }
        none_else(self.ended.insert(execution, code), OTHERWISE_ENDED)
    }

    /// All nodes have ended: nothing is left to do, and all that was begun is in the trail.
    pub fn finish(&self) -> Result<(), (Property, String)> {
        let open = self.processes.iter().find(|(_, it)| it.queue.is_some() || !it.status.is_final());
        if let Some((process, rows)) = open {
            return Err((STUCK, format!("{process}: {rows:?}")));
        }
        let recorded: BTreeSet<&Execution> = self.trail.keys().collect();
        match self.begun.keys().find(|it| !recorded.contains(it)) {
            Some(execution) => Err((NOT_IN_TRAIL, format!("{execution:?}"))),
            None => Ok(()),
        }
    }

    fn queued(&self, process: &str) -> Result<(Process, Queued), Property> {
        let rows = self.processes.get(process).cloned().ok_or(NO_STATEMENT)?;
        let queue = rows.queue.clone().ok_or(NO_STATEMENT)?;
        Ok((rows, queue))
    }

    fn put(&mut self, process: &str, rows: Process) -> Step {
        if let Some(queue) = &rows.queue {
            self.versions.insert(process.to_owned(), queue.version);
        }
        self.processes.insert(process.to_owned(), rows);
        Ok(())
    }
}

/// Whether a node's row says that it lives.
fn is_alive(state: State) -> bool {
    matches!(state, State::Running | State::Stopping)
}

/// In the model of one statement the node that it is about is this one, whoever else holds a claim the other; versions
/// and attempts count from these, tasks from the current one.
const ME: u8 = 0;
const OTHER: u8 = 1;
const VERSION: u8 = 10;
const ATTEMPT: u8 = 2;

/// A process as the model has it, for a statement of `node`.
fn modelled(rows: &Process, node: &str) -> rows::Process {
    let task = rows.tasks.get(rows.at);
    let left = u8::try_from(rows.tasks.len() - rows.at.min(rows.tasks.len())).unwrap();
    let retries = task.map_or(0, |task| u8::try_from(task.retries).unwrap());
    rows::Process {
        place: match rows.queue.as_ref().map(|queue| queue.node.as_deref()) {
            None => Place::Ended,
            Some(None) => Place::Ready,
            Some(Some(holder)) => Place::Claimed(if holder == node { ME } else { OTHER }),
        },
        version: VERSION,
        status: rows.status,
        attempt: ATTEMPT,
        is_in_progress: task.is_some_and(|task| task.status == TaskStatus::InProgress),
        retry_count: retries,
        is_cancel_requested: rows.queue.as_ref().is_some_and(|queue| queue.is_cancel_wanted),
        ..rows::Process::started(left.min(2), u8::MAX)
    }
}

/// The rows as the model's statement has moved them. How tasks ended it does not say.
fn moved(mut rows: Process, model: &rows::Process, node: &str) -> Process {
    rows.status = model.status;
    if model.task == 0 {
        if let Some(task) = rows.tasks.get_mut(rows.at) {
            task.attempt = task.attempt + u32::from(model.attempt) - u32::from(ATTEMPT);
        }
    } else {
        rows.at += 1;
        if let Some(task) = rows.tasks.get_mut(rows.at) {
            task.attempt += u32::from(model.attempt);
        }
    }
    rows.queue = rows.queue.filter(|_| model.place != Place::Ended).map(|queue| Queued {
        version: queue.version + i64::from(model.version) - i64::from(VERSION),
        node: (model.place == Place::Claimed(ME)).then(|| node.to_owned()),
        is_claimed: model.place == Place::Claimed(ME),
        ..queue
    });
    rows
}

fn none_else<T>(before: Option<T>, property: Property) -> Step {
    if before.is_none() { Ok(()) } else { Err(property) }
}
