//! The rows of the database as the rules move them: one function for each statement, which says what the rows are
//! afterwards, or which property it would break.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use process_orchestrator::Outcome;
use process_orchestrator::model::lifecycle::{ClaimMove, Ending, TaskPosition, Transition, after_execution};
use process_orchestrator::model::liveness::{Liveness, Observer, Signs, judge};
use process_orchestrator::{ProcessStatus, TaskStatus};

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

/// A task under which so many nodes have died is not run again (engine/membership/record_lost.rs).
const TIMES_LOST_MAX: usize = 5;
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
    pub is_crash_fatal: bool,
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
            silence: Duration::from_secs_f64(seen.silence.max(0.0)),
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
        if !self.was(node, t, is_alive) {
            return Err(DEAD_CLAIMS);
        }
        let (rows, queue) = self.queued(process)?;
        if queue.node.is_some() {
            return Err(TWO_HOLDERS);
        }
        if queue.is_cancel_wanted {
            return Err(CANCEL_IGNORED);
        }
        if queue.due > t {
            return Err(TOO_EARLY);
        }
        let rows = claimed(rows, queue, node)?;
        self.put(process, rows)
    }

    /// A claim that was never begun goes back.
    pub fn release(&mut self, process: &str, node: &str) -> Step {
        let (mut rows, queue) = self.held(process, node)?;
        let at = rows.at;
        let task = &mut rows.tasks[at];
        let is_begun = self.begun.contains_key(&(process.to_owned(), at, task.attempt));
        if is_begun && !self.trail.contains_key(&(process.to_owned(), at, task.attempt)) {
            return Err(GIVEN_BACK_BEGUN);
        }
        task.status = if task.retries > 0 { TaskStatus::WaitingRetry } else { TaskStatus::NotStarted };
        task.attempt -= 1;
        if at == 0 && task.attempt == 0 {
            rows.status = ProcessStatus::NotStarted;
        }
        rows.queue = Some(given_back(queue));
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
        let name = node.rsplitn(3, '-').last().unwrap_or(node);
        let is_own = by.split(' ').nth(1) == Some(name);
        if is_known && !is_dead && !is_own {
            return Err(LIVING_LOST);
        }
        self.recorded(process, node, record, t)
    }

    fn recorded(&mut self, process: &str, node: &str, record: &Record, now: f64) -> Step {
        let execution = (process.to_owned(), record.task, record.attempt);
        if self.trail.contains_key(&execution) {
            return Err(RECORDED_TWICE);
        }
        let (mut rows, queue) = self.held(process, node)?;
        let task = rows.tasks.get(record.task).ok_or(STALE_WRITE)?;
        if (rows.at, task.attempt, task.status) != (record.task, record.attempt, TaskStatus::InProgress) {
            return Err(STALE_WRITE);
        }
        let t = self.decide(process, record, task.retries, rows.tasks.len());
        if t.claim == ClaimMove::Keep && !self.was(node, now, is_alive) {
            return Err(DEAD_CLAIMS);
        }
        self.trail.insert(execution, record.outcome);
        let is_cancelled =
            queue.is_cancel_wanted && (t.claim != ClaimMove::End || record.outcome == Outcome::Cancelled);
        let task = &mut rows.tasks[record.task];
        (task.status, task.retries) = (t.task, t.retry_count);
        rows.status = t.process;
        rows.at += usize::from(t.advance);
        if is_cancelled {
            rows.status = ProcessStatus::Cancelled;
            let first = record.task + usize::from(t.task == TaskStatus::Completed);
            rows.tasks[first..].iter_mut().for_each(|task| task.status = TaskStatus::Cancelled);
            rows.queue = None;
            return self.put(process, rows);
        }
        match t.claim {
            ClaimMove::End => rows.queue = None,
            ClaimMove::Release(_) => rows.queue = Some(given_back(queue)),
            ClaimMove::Keep => {
                let next = &mut rows.tasks[record.task + 1];
                (next.status, next.attempt) = (TaskStatus::InProgress, next.attempt + 1);
            }
        }
        self.put(process, rows)
    }

    fn decide(&self, process: &str, record: &Record, retry_count: u32, tasks: usize) -> Transition {
        let rule = &self.rules[process][record.task];
        let fatal = match record.outcome {
            Outcome::SpawnFailed => true,
            Outcome::Lost => {
                let range =
                    (process.to_owned(), record.task, 0)..=(process.to_owned(), record.task, u32::MAX);
                let lost = self.trail.range(range).filter(|it| *it.1 == Outcome::Lost).count();
                rule.is_crash_fatal || lost + 1 >= TIMES_LOST_MAX
            }
            _ => record.code.is_some_and(|code| rule.fatal_exit_codes.contains(&code)),
        };
        let has_next = record.task + 1 < tasks;
        let position = TaskPosition { has_next, retry_count, max_retries: rule.max_retries };
        let t = after_execution(position, Ending { outcome: record.outcome, fatal });
        if record.is_yielding { t.yielding() } else { t }
    }

    pub fn cancel(&mut self, process: &str) -> Step {
        let (mut rows, queue) = self.queued(process)?;
        rows.queue = Some(Queued { is_cancel_wanted: true, ..queue });
        self.put(process, rows)
    }

    /// A cancelled process that no node holds ends.
    pub fn end_cancelled(&mut self, process: &str) -> Step {
        let (mut rows, queue) = self.queued(process)?;
        if queue.node.is_some() || !queue.is_cancel_wanted {
            return Err(NO_STATEMENT);
        }
        let at = rows.at;
        for task in rows.tasks[at..].iter_mut().filter(|task| !task.status.is_final()) {
            task.status = TaskStatus::Cancelled;
        }
        (rows.status, rows.queue) = (ProcessStatus::Cancelled, None);
        self.put(process, rows)
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

    fn held(&self, process: &str, node: &str) -> Result<(Process, Queued), Property> {
        let (rows, queue) = self.queued(process).map_err(|_| STALE_WRITE)?;
        if queue.node.as_deref() == Some(node) { Ok((rows, queue)) } else { Err(STALE_WRITE) }
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

fn claimed(mut rows: Process, queue: Queued, node: &str) -> Result<Process, Property> {
    let at = rows.at;
    let task = rows.tasks.get_mut(at).ok_or(NO_STATEMENT)?;
    (task.status, task.attempt) = (TaskStatus::InProgress, task.attempt + 1);
    rows.status = ProcessStatus::InProgress;
    rows.queue =
        Some(Queued { version: queue.version + 1, node: Some(node.to_owned()), is_claimed: true, ..queue });
    Ok(rows)
}

fn given_back(queue: Queued) -> Queued {
    Queued { version: queue.version + 1, node: None, is_claimed: false, ..queue }
}

fn none_else<T>(before: Option<T>, property: Property) -> Step {
    if before.is_none() { Ok(()) } else { Err(property) }
}
