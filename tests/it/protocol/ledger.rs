//! The rows of a journal as the rules move them: a function for each statement says what the rows are afterwards, or which
//! property it would break. The rules are those of the model ([`super::rows`]); here are the rows as wide as they are, the
//! nodes by their names, and the commands.

use std::collections::BTreeMap;

use process_orchestrator::model::lifecycle::{
    ClaimMove, Ending, TaskPosition, Transition, after_execution, after_loss,
};
use process_orchestrator::{OnCrash, Outcome, ProcessStatus, TaskStatus};

use super::breaches::{Breach, Step};
use super::frame::{ATTEMPT, ME, VERSION, modelled, moved};
use super::members::Members;
use super::rows::{self, NodeRow, Place, Recorded, Rules};

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

/// A process, a task, an attempt.
type Execution = (String, usize, u32);

#[derive(Debug, Default)]
pub struct Rows {
    pub processes: BTreeMap<String, Process>,
    pub members: Members,
    rules: BTreeMap<String, Vec<Rule>>,
    versions: BTreeMap<String, i64>,
    trail: BTreeMap<Execution, Outcome>,
    /// Commands that have begun: on which node, as which pid; and with which code they have ended.
    begun: BTreeMap<Execution, (String, u32)>,
    ended: BTreeMap<Execution, i32>,
}

impl Rows {
    /// Once nothing is left of the claims that it had when it was declared dead.
    pub fn rejoin(&mut self, node: &str, t: f64) -> Step {
        let is_held = |it: &&Process| it.queue.as_ref().is_some_and(|row| row.node.as_deref() == Some(node));
        if self.processes.values().any(|it| is_held(&it)) {
            return Err(Breach::RejoinedHolding);
        }
        self.members.rejoin(node, t)
    }

    pub fn start(&mut self, process: &str, rules: Vec<Rule>, version: i64, due: f64) -> Step {
        let fresh = Task { status: TaskStatus::NotStarted, attempt: 0, retries: 0 };
        let queue = Queued { version, node: None, is_cancel_wanted: false, is_claimed: false, due };
        let tasks = vec![fresh; rules.len()];
        let rows = Process { status: ProcessStatus::NotStarted, at: 0, tasks, queue: Some(queue) };
        self.rules.insert(process.to_owned(), rules);
        self.versions.insert(process.to_owned(), version);
        if self.processes.insert(process.to_owned(), rows).is_none() {
            Ok(())
        } else {
            Err(Breach::NoStatement)
        }
    }

    pub fn claim(&mut self, process: &str, node: &str, asked: f64, t: f64) -> Step {
        let (mut rows, queue) = self.queued(process)?;
        let (row, at) = (self.members.row_of(node, asked), rows.at);
        let mut model = modelled(&rows, node);
        if model.claim(ME, row, false, &Rules::default()).is_none() {
            return Err(match () {
                () if row != NodeRow::Running => Breach::DeadClaims,
                () if queue.node.is_some() => Breach::TwoHolders,
                () if queue.is_cancel_wanted => Breach::CancelIgnored,
                () => Breach::NoStatement,
            });
        }
        if queue.due > t {
            return Err(Breach::TooEarly);
        }
        rows.tasks.get_mut(at).ok_or(Breach::NoStatement)?.status = TaskStatus::InProgress;
        self.put(process, moved(rows, &model, node))
    }

    /// A claim that was never begun goes back.
    pub fn release(&mut self, process: &str, node: &str) -> Step {
        let (mut rows, _) = self.queued(process).map_err(|_| Breach::StaleWrite)?;
        let mut model = modelled(&rows, node);
        if !model.release(ME, VERSION, &Rules::default()) {
            return Err(Breach::StaleWrite);
        }
        let at = rows.at;
        let execution = (process.to_owned(), at, rows.tasks[at].attempt);
        if self.begun.contains_key(&execution) && !self.trail.contains_key(&execution) {
            return Err(Breach::GivenBackBegun);
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
    pub fn record(&mut self, process: &str, node: &str, record: &Record, asked: f64) -> Step {
        let execution = (process.to_owned(), record.task, record.attempt);
        let ended = self.ended.get(&execution).copied();
        let is_told = match record.outcome {
            Outcome::Succeeded => ended == Some(0),
            Outcome::Failed => record.code.is_none() || ended.is_none() || ended == record.code,
            Outcome::SpawnFailed => !self.begun.contains_key(&execution),
            _ => true,
        };
        if self.begun.get(&execution).is_some_and(|(on, _)| on != node) {
            return Err(Breach::StaleWrite);
        }
        let step = self.recorded(process, node, record, asked);
        step.and(if is_told { Ok(()) } else { Err(Breach::OtherwiseEnded) })
    }

    /// A claim whose node is dead; `by` is the session that ends it: a node may end one that it has lost sight of itself.
    pub fn record_lost(&mut self, process: &str, node: &str, record: &Record, by: &str, asked: f64) -> Step {
        if self.members.may_live(node, asked) && !self.members.is_session_of(by, node) {
            return Err(Breach::LivingLost);
        }
        self.recorded(process, node, record, asked)
    }

    fn recorded(&mut self, process: &str, node: &str, record: &Record, asked: f64) -> Step {
        let execution = (process.to_owned(), record.task, record.attempt);
        let (mut rows, queue) = match self.queued(process) {
            Err(_) if self.trail.contains_key(&execution) => return Err(Breach::RecordedTwice),
            other => other.map_err(|_| Breach::StaleWrite)?,
        };
        let mut model = modelled(&rows, node);
        let at = rows.at;
        let is_current = rows.tasks.get(at).is_some_and(|task| {
            (at, task.attempt, task.status) == (record.task, record.attempt, TaskStatus::InProgress)
        });
        if self.trail.contains_key(&execution) {
            return Err(Breach::RecordedTwice);
        }
        if !is_current {
            return Err(Breach::StaleWrite);
        }
        let t = self.decide(process, record, rows.tasks[at].retries, rows.tasks.len());
        let row = self.members.row_of(node, asked);
        if t.claim == ClaimMove::Keep && row != NodeRow::Running && !queue.is_cancel_wanted {
            return Err(Breach::DeadClaims);
        }
        let claim = rows::Claim { version: VERSION, task: 0, attempt: ATTEMPT };
        match model.record((ME, row), claim, record.outcome, t, &Rules::default()) {
            Ok(Recorded::Written(_)) => {}
            Ok(Recorded::Already) => return Err(Breach::RecordedTwice),
            Ok(Recorded::Stale) | Err(_) => return Err(Breach::StaleWrite),
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
            return Err(Breach::NoStatement);
        }
        let at = rows.at;
        for task in rows.tasks[at..].iter_mut().filter(|task| !task.status.is_final()) {
            task.status = TaskStatus::Cancelled;
        }
        self.put(process, moved(rows, &model, ""))
    }

    /// A finished process goes again from a task on.
    pub fn retry(&mut self, process: &str, from: usize, version: i64, due: f64) -> Step {
        let mut rows = self.processes.get(process).cloned().ok_or(Breach::NoStatement)?;
        if rows.queue.is_some() || !rows.status.is_final() || from > rows.at {
            return Err(Breach::NoStatement);
        }
        if version <= self.versions[process] {
            return Err(Breach::SameVersion);
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
        let rows = self.processes.get(process).ok_or(Breach::BegunWithoutClaim)?;
        let is_ignorant = is_excused && self.members.is_ignorant(node, t);
        let begun = self.begun.contains_key(&execution);
        let is_in_order = *task == 0 || rows.tasks[task - 1].status == TaskStatus::Completed;
        let is_current = rows.at == *task
            && rows.tasks[*task].attempt == *attempt
            && rows.tasks[*task].status == TaskStatus::InProgress
            && rows.queue.as_ref().is_some_and(|row| row.node.as_deref() == Some(node));
        self.begun.insert(execution, (node.to_owned(), pid));
        match () {
            () if begun => Err(Breach::BegunTwice),
            () if !is_in_order => Err(Breach::OutOfOrder),
            () if !is_current && !is_ignorant => Err(Breach::BegunWithoutClaim),
            () => Ok(()),
        }
    }

    pub fn end(&mut self, execution: Execution, node: &str, pid: u32, code: i32) -> Step {
        if self.begun.get(&execution) != Some(&(node.to_owned(), pid)) {
            return Err(Breach::OtherwiseEnded);
        }
        if self.ended.insert(execution, code).is_none() { Ok(()) } else { Err(Breach::OtherwiseEnded) }
    }

    /// All nodes have ended: nothing is left to do, and all that was begun is in the trail.
    pub fn finish(&self) -> Result<(), (Breach, String)> {
        let open = self.processes.iter().find(|(_, it)| it.queue.is_some() || !it.status.is_final());
        if let Some((process, rows)) = open {
            return Err((Breach::Stuck, format!("{process}: {rows:?}")));
        }
        match self.begun.keys().find(|it| !self.trail.contains_key(it)) {
            Some(execution) => Err((Breach::NotInTrail, format!("{execution:?}"))),
            None => Ok(()),
        }
    }

    fn queued(&self, process: &str) -> Result<(Process, Queued), Breach> {
        let rows = self.processes.get(process).cloned().ok_or(Breach::NoStatement)?;
        let queue = rows.queue.clone().ok_or(Breach::NoStatement)?;
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
