//! Why a process is where it is: from the facts that the tables hold to the reasons, without a database.

pub mod blocker;

use jiff::Timestamp;
use serde::Serialize;

use self::blocker::Blocker;
use super::batch::data::BatchState;
use super::lifecycle::{ProcessStatus, TaskStatus};
use super::limits::usage::{LimitFacts, LimitHolder, parse_entry};
use super::liveness::is_silent;

/// What a schedule has to do with a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScheduleFacts {
    /// Its name.
    pub name: String,
    /// For which of its times.
    pub scheduled_at: Timestamp,
    /// How long after it was due the process was started.
    pub lateness_ms: Option<i64>,
    /// Why then: `made up`, `by hand`, `backfill`; `None`: it was its time.
    pub reason: Option<String>,
}

/// What the tables say of a process and its surroundings at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Its id.
    pub process_id: String,
    /// Its type.
    pub process_type: String,
    /// Its status.
    pub status: ProcessStatus,
    /// How many tasks it has.
    pub total_tasks: u32,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Why it failed or was cancelled.
    pub error_message: Option<String>,
    /// Its place in the queue; `None` once it has ended.
    pub queued: Option<Queued>,
    /// The task that runs or comes next; `None` when all are done.
    pub task: Option<TaskFacts>,
    /// The names of the tasks that a retry has passed over.
    pub skipped_tasks: Vec<String>,
    /// Since when its type is paused, where that is known, and why.
    pub paused: Option<(Option<Timestamp>, Option<String>)>,
    /// Its batch, if that is paused or halted.
    pub batch: Option<BatchFacts>,
    /// The schedule that has started it.
    pub schedule: Option<ScheduleFacts>,
    /// What limits have to do with it; `None` once it has ended.
    pub limits: Option<LimitFacts>,
    /// The sessions whose locks on its rows are in the way.
    pub lockers: Vec<Blocker>,
    /// The sessions that have locked the rows of nodes which are not heard of.
    pub node_lockers: Vec<Blocker>,
    /// Nodes that live and claim.
    pub nodes: i64,
    /// How many commands they can run at once.
    pub executors: i64,
    /// How many processes they hold.
    pub busy: i64,
    /// The database's time.
    pub now: Timestamp,
}

/// A batch that is held back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchFacts {
    /// Its name.
    pub batch: String,
    /// PAUSED or HALTED.
    pub state: BatchState,
    /// Why.
    pub message: Option<String>,
    /// When.
    pub since: Option<Timestamp>,
}

/// A process's place in the queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    /// When it is due; `None` is never.
    pub execution_time: Option<Timestamp>,
    /// Whether that time has come.
    pub is_due: bool,
    /// Due processes that are claimed before it.
    pub ahead: i64,
    /// The node that has claimed it, and what is known of that.
    pub claimed_by: Option<(String, Option<Holder>)>,
    /// The node that alone may claim it.
    pub reserved_for: Option<String>,
    /// Whether it is held to be moved to the tables of another era.
    pub is_moving: bool,
    /// When somebody asked to cancel it, and what becomes its error message.
    pub cancel_requested: Option<(Timestamp, Option<String>)>,
}

/// A node that has claimed a process, as its row says.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// Its state.
    pub state: String,
    /// When it last renewed its lease.
    pub last_heartbeat: Timestamp,
    /// After which time without that it counts as silent.
    pub dead_after_seconds: f64,
}

/// The current task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskFacts {
    /// Its place, from 0.
    #[serde(rename = "task_index")]
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: TaskStatus,
    /// Executions begun.
    pub attempt: u32,
    /// Retries spent.
    pub retry_count: u32,
    /// Retries allowed.
    pub max_retries: u32,
    /// Why the latest execution failed.
    pub error_message: Option<String>,
    /// When the latest execution was begun.
    pub started_at: Option<Timestamp>,
    /// When the command that runs printed last, or began; `None` where that is not known (yet).
    pub printed_at: Option<Timestamp>,
}

/// One thing that keeps a process where it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// It has ended.
    Finished {
        /// When.
        completed_at: Option<Timestamp>,
        /// Why, unless it completed.
        error_message: Option<String>,
    },
    /// Its batch is paused or halted.
    Batch(BatchFacts),
    /// Somebody has locked rows of it: no node goes on with it until that is over.
    Locked {
        /// The sessions that have.
        by: Vec<Blocker>,
    },
    /// Somebody has cancelled it, and its node has not ended it yet.
    CancelRequested {
        /// When.
        since: Timestamp,
        /// By whom and why.
        message: Option<String>,
    },
    /// A node holds it and runs its task.
    Claimed {
        /// The node.
        node: String,
        /// The node's state; `None` if the node is not known any more.
        node_state: Option<String>,
        /// The node's last heartbeat.
        last_heartbeat: Option<Timestamp>,
        /// When the task was begun.
        since: Option<Timestamp>,
        /// Since when the command has printed nothing, if that is long.
        silent_since: Option<Timestamp>,
    },
    /// The node that holds it is not heard of.
    NodeSilent {
        /// The node.
        node: String,
        /// Its last heartbeat.
        last_heartbeat: Option<Timestamp>,
    },
    /// Its task has failed and waits for the next attempt.
    WaitingRetry {
        /// When that is due.
        until: Option<Timestamp>,
        /// Retries spent, the coming one included.
        retry: u32,
        /// Retries allowed.
        max_retries: u32,
        /// Why the last attempt failed.
        error_message: Option<String>,
    },
    /// It was started for later.
    NotDue {
        /// When; `None` is never.
        until: Option<Timestamp>,
    },
    /// Its type is paused.
    Paused {
        /// Since when, where that is known.
        since: Option<Timestamp>,
        /// Why, where somebody has said it.
        message: Option<String>,
    },
    /// It waits for a limit.
    Limit {
        /// The limit's name.
        limit: String,
        /// The value of its key.
        key: Option<String>,
        /// How many at once.
        max: Option<u32>,
        /// Whether somebody has set that by hand, or a document says it.
        is_set: bool,
        /// Who said so last.
        changed_by: Option<String>,
        /// Whether the limit is held back as a whole.
        is_paused: bool,
        /// How many slots are taken.
        taken: u32,
        /// Who has them, those of longest first; some of them.
        holders: Vec<LimitHolder>,
        /// Since when it waits.
        since: Option<Timestamp>,
        /// How many wait for the same and come before it.
        ahead: i64,
    },
    /// One node alone may claim it.
    Reserved {
        /// The node.
        node: String,
    },
    /// It is held until it is moved to the tables of another era.
    Moving,
    /// Somebody has locked the row of a node, which can't say that it lives until that is over.
    NodeLocked {
        /// The sessions that have.
        by: Vec<Blocker>,
    },
    /// Nobody is there to claim it.
    NoNode,
    /// All executors of all nodes are taken.
    ExecutorsFull {
        /// How many are taken.
        busy: i64,
        /// How many there are.
        executors: i64,
        /// On how many nodes.
        nodes: i64,
        /// Due processes that come before it.
        ahead: i64,
    },
    /// It is due, and nothing is known to stand in its way.
    AboutToRun {
        /// Since when.
        since: Option<Timestamp>,
        /// Due processes that come before it.
        ahead: i64,
    },
}

/// Why a process is where it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Its id.
    pub process_id: String,
    /// Its type.
    pub process_type: String,
    /// Its status.
    pub status: ProcessStatus,
    /// How many tasks it has.
    pub total_tasks: u32,
    /// The task that runs or comes next.
    pub task: Option<TaskFacts>,
    /// The names of the tasks that a retry has passed over.
    pub skipped_tasks: Vec<String>,
    /// The schedule that has started it.
    pub schedule: Option<ScheduleFacts>,
    /// Limits of its type that do not count for it, as their key is missing or empty in its input.
    pub keyless_limits: Vec<String>,
    /// All the reasons there are, the one to look at first first; never empty.
    pub reasons: Vec<Reason>,
    /// The database's time, which all others are to be compared with.
    pub now: Timestamp,
}

/// A command that has printed nothing for this many seconds may hold back what it prints.
pub const SILENT_OUTPUT_SECONDS: f64 = 30.0;

/// Finds the reasons.
pub fn explain(facts: Facts) -> Explanation {
    let mut reasons = match &facts.queued {
        None => vec![Reason::Finished {
            completed_at: facts.completed_at,
            error_message: facts.error_message.clone(),
        }],
        Some(queued) => match &queued.claimed_by {
            Some((node, known)) => claimed(&facts, queued, node, known.as_ref()),
            None => waiting(&facts, queued),
        },
    };
    if !facts.node_lockers.is_empty() {
        // It most likely runs: whoever started another one would find that out too late.
        let at = reasons.iter().position(|it| matches!(it, Reason::NoNode | Reason::NodeSilent { .. }));
        reasons.insert(at.unwrap_or(reasons.len()), Reason::NodeLocked { by: facts.node_lockers });
        reasons.retain(|it| !matches!(it, Reason::NoNode));
    }
    if !facts.lockers.is_empty() {
        reasons.retain(|it| !matches!(it, Reason::AboutToRun { .. }));
        reasons.insert(0, Reason::Locked { by: facts.lockers });
    }
    Explanation {
        process_id: facts.process_id,
        process_type: facts.process_type,
        status: facts.status,
        total_tasks: facts.total_tasks,
        task: facts.task,
        skipped_tasks: facts.skipped_tasks,
        schedule: facts.schedule,
        keyless_limits: facts.limits.map(|it| it.keyless).unwrap_or_default(),
        reasons,
        now: facts.now,
    }
}

impl Facts {
    /// Whether a node that matters to it is not heard of: the one that holds it or, if none does, all of them.
    pub fn is_node_missed(&self) -> bool {
        match self.queued.as_ref().map(|it| &it.claimed_by) {
            Some(Some((_, known))) => known.as_ref().is_none_or(|it| it.is_silent(self.now)),
            Some(None) => self.nodes == 0,
            None => false,
        }
    }
}

impl Holder {
    fn is_silent(&self, now: Timestamp) -> bool {
        let silence = now.duration_since(self.last_heartbeat).as_secs_f64();
        matches!(self.state.as_str(), "DEAD" | "STOPPED") || is_silent(silence, self.dead_after_seconds)
    }
}

fn claimed(facts: &Facts, queued: &Queued, node: &str, known: Option<&Holder>) -> Vec<Reason> {
    let mut reasons = cancel_reason(queued);
    if known.is_none_or(|it| it.is_silent(facts.now)) {
        let last_heartbeat = known.map(|it| it.last_heartbeat);
        reasons.push(Reason::NodeSilent { node: node.to_owned(), last_heartbeat });
        return reasons;
    }
    reasons.push(Reason::Claimed {
        node: node.to_owned(),
        node_state: known.map(|it| it.state.clone()),
        last_heartbeat: known.map(|it| it.last_heartbeat),
        since: facts.task.as_ref().and_then(|task| task.started_at),
        silent_since: facts
            .task
            .as_ref()
            .and_then(|task| task.printed_at)
            .filter(|printed| facts.now.duration_since(*printed).as_secs_f64() >= SILENT_OUTPUT_SECONDS),
    });
    // Its command goes on; the next one will not.
    reasons.extend(pause_reason(facts));
    reasons.extend(facts.batch.clone().filter(|it| it.state == BatchState::Paused).map(Reason::Batch));
    reasons
}

fn limit_reason(facts: &Facts) -> Option<Reason> {
    let limits = facts.limits.as_ref()?;
    let (wait, details) = limits.blocked.as_ref()?;
    let (limit, key) = parse_entry(&wait.entry);
    Some(Reason::Limit {
        limit: limit.to_owned(),
        key: key.map(str::to_owned),
        max: wait.max,
        is_set: details.usage.is_set,
        changed_by: details.usage.changed_by.clone(),
        is_paused: wait.is_paused,
        taken: wait.taken,
        holders: details.holders.clone(),
        since: limits.since,
        ahead: limits.ahead,
    })
}

fn waiting(facts: &Facts, queued: &Queued) -> Vec<Reason> {
    let mut reasons = cancel_reason(queued);
    reasons.extend(pause_reason(facts));
    let batch = facts
        .batch
        .clone()
        .filter(|it| it.state == BatchState::Paused || facts.status == ProcessStatus::NotStarted);
    // That limit is how a batch is held: its state says more.
    let is_told = |it: &Reason| {
        batch.is_some() && matches!(it, Reason::Limit { limit, .. } if limit.starts_with("batch:"))
    };
    reasons.extend(limit_reason(facts).filter(|it| !is_told(it)));
    let is_held = batch.is_some();
    reasons.extend(batch.map(Reason::Batch));
    if is_held && queued.is_due {
        return reasons;
    }
    if !queued.is_due {
        let retried = facts.task.as_ref().filter(|task| task.status == TaskStatus::WaitingRetry);
        reasons.push(match retried {
            Some(task) => Reason::WaitingRetry {
                until: queued.execution_time,
                retry: task.retry_count,
                max_retries: task.max_retries,
                error_message: task.error_message.clone(),
            },
            None => Reason::NotDue { until: queued.execution_time },
        });
    }
    reasons.extend(queued.reserved_for.clone().map(|node| Reason::Reserved { node }));
    reasons.extend(queued.is_moving.then_some(Reason::Moving));
    let is_kept_for_one = queued.reserved_for.is_some();
    if facts.nodes == 0 && !is_kept_for_one {
        reasons.push(Reason::NoNode);
    } else if reasons.is_empty() {
        reasons.push(if facts.busy >= facts.executors {
            Reason::ExecutorsFull {
                busy: facts.busy,
                executors: facts.executors,
                nodes: facts.nodes,
                ahead: queued.ahead,
            }
        } else {
            Reason::AboutToRun { since: queued.execution_time, ahead: queued.ahead }
        });
    }
    reasons
}

fn cancel_reason(queued: &Queued) -> Vec<Reason> {
    let asked = queued.cancel_requested.clone();
    asked.map(|(since, message)| Reason::CancelRequested { since, message }).into_iter().collect()
}

fn pause_reason(facts: &Facts) -> Option<Reason> {
    facts.paused.clone().map(|(since, message)| Reason::Paused { since, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::usage::{LimitDetails, LimitUsage, LimitWait};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000_000 + second).expect("a time")
    }

    fn facts() -> Facts {
        Facts {
            process_id: "p-1".to_owned(),
            process_type: "sample".to_owned(),
            status: ProcessStatus::InProgress,
            total_tasks: 3,
            completed_at: None,
            error_message: None,
            queued: Some(Queued {
                execution_time: Some(at(0)),
                is_due: true,
                ahead: 7,
                claimed_by: None,
                reserved_for: None,
                is_moving: false,
                cancel_requested: None,
            }),
            task: Some(TaskFacts {
                index: 1,
                name: "load".to_owned(),
                status: TaskStatus::NotStarted,
                attempt: 1,
                retry_count: 1,
                max_retries: 3,
                error_message: Some("exit code 3".to_owned()),
                started_at: Some(at(5)),
                printed_at: None,
            }),
            skipped_tasks: Vec::new(),
            paused: None,
            schedule: None,
            limits: None,
            batch: None,
            lockers: Vec::new(),
            node_lockers: Vec::new(),
            nodes: 2,
            executors: 8,
            busy: 8,
            now: at(100),
        }
    }

    fn queued(change: impl FnOnce(&mut Queued)) -> Facts {
        let mut facts = facts();
        if let Some(queued) = &mut facts.queued {
            change(queued);
        }
        facts
    }

    fn codes(facts: Facts) -> Vec<String> {
        let explanation = serde_json::to_value(explain(facts)).expect("JSON");
        let reasons = explanation["reasons"].as_array().expect("a list");
        reasons.iter().map(|it| it["reason"].as_str().expect("a text").to_owned()).collect()
    }

    #[test]
    fn a_process_that_waits_is_told_what_it_waits_for() {
        assert_eq!(codes(facts()), ["EXECUTORS_FULL"]);
        assert_eq!(codes(Facts { busy: 7, ..facts() }), ["ABOUT_TO_RUN"]);
        assert_eq!(codes(Facts { nodes: 0, executors: 0, busy: 0, ..facts() }), ["NO_NODE"]);
        assert_eq!(codes(Facts { paused: Some((None, None)), ..facts() }), ["PAUSED"]);
        assert_eq!(codes(queued(|it| it.is_due = false)), ["NOT_DUE"]);
        assert_eq!(codes(queued(|it| it.reserved_for = Some("n-1".to_owned()))), ["RESERVED"]);
        assert_eq!(codes(queued(|it| it.is_moving = true)), ["MOVING"]);
        let mut retried = queued(|it| it.is_due = false);
        retried.task.iter_mut().for_each(|task| task.status = TaskStatus::WaitingRetry);
        assert_eq!(codes(retried), ["WAITING_RETRY"]);
    }

    #[test]
    fn a_process_that_waits_for_a_limit_is_told_which_and_where_it_stands() {
        let usage = LimitUsage {
            taken_by: Vec::new(),
            name: "gpu".to_owned(),
            process_type: None,
            max: Some(2),
            declared_max: Some(1),
            is_set: true,
            is_paused: false,
            changed_by: Some("ann".to_owned()),
            changed_at: at(0),
            taken: 2,
            waiting: 5,
            keys_waiting: 1,
            waiting_since: None,
        };
        let details = LimitDetails { usage, key: None, declared_by: vec![], holders: vec![], line: vec![] };
        let wait = LimitWait { entry: "gpu=acme=x".to_owned(), max: Some(2), taken: 2, is_paused: false };
        let limits = LimitFacts {
            blocked: Some((wait, details)),
            since: Some(at(1)),
            ahead: 3,
            keyless: vec!["k".to_owned()],
        };
        let explanation = explain(Facts { limits: Some(limits.clone()), ..facts() });
        assert_eq!(explanation.keyless_limits, ["k"]);
        let Reason::Limit { limit, key, ahead, is_set, .. } = &explanation.reasons[0] else {
            panic!("{explanation:?}")
        };
        assert_eq!((limit.as_str(), key.as_deref(), *ahead, *is_set), ("gpu", Some("acme=x"), 3, true));
        assert_eq!(explanation.reasons.len(), 1, "that executors are full is not why");
        let paused = Facts { paused: Some((None, None)), limits: Some(limits), ..facts() };
        assert_eq!(codes(paused), ["PAUSED", "LIMIT"]);
    }

    #[test]
    fn all_reasons_are_told() {
        let mut facts = queued(|it| it.is_due = false);
        facts.paused = Some((Some(at(1)), Some("broken".to_owned())));
        facts.nodes = 0;
        assert_eq!(codes(facts), ["PAUSED", "NOT_DUE", "NO_NODE"]);
    }

    #[test]
    fn a_node_that_cannot_say_that_it_lives_is_told_from_none() {
        let by = |facts: Facts| {
            let one = Blocker {
                place: Some("nodes".to_owned()),
                pid: Some(7),
                prepared: None,
                application: None,
                user: None,
                client: None,
                state: None,
                since: None,
                age: None,
                query: None,
            };
            assert!(facts.is_node_missed());
            codes(Facts { node_lockers: vec![one], ..facts })
        };
        assert_eq!(by(Facts { nodes: 0, ..facts() }), ["NODE_LOCKED"]);
        let held = queued(|it| it.claimed_by = Some(("n-1".to_owned(), None)));
        assert_eq!(by(held), ["NODE_LOCKED", "NODE_SILENT"]);
        let later = queued(|it| it.is_due = false);
        assert_eq!(by(Facts { nodes: 0, ..later }), ["NOT_DUE", "NODE_LOCKED"]);
        assert!(!facts().is_node_missed());
    }

    #[test]
    fn a_claimed_process_is_told_whether_its_node_lives() {
        let by = |state: &str, heartbeat| {
            let holder =
                Holder { state: state.to_owned(), last_heartbeat: at(heartbeat), dead_after_seconds: 15.0 };
            queued(|it| it.claimed_by = Some(("n-1".to_owned(), Some(holder))))
        };
        assert_eq!(codes(by("RUNNING", 99)), ["CLAIMED"]);
        assert_eq!(codes(by("STOPPING", 99)), ["CLAIMED"]);
        assert_eq!(codes(by("RUNNING", 80)), ["NODE_SILENT"]);
        assert_eq!(codes(by("DEAD", 99)), ["NODE_SILENT"]);
        assert_eq!(codes(queued(|it| it.claimed_by = Some(("n-1".to_owned(), None)))), ["NODE_SILENT"]);
        let silent = |printed| {
            let mut facts = by("RUNNING", 99);
            facts.task.iter_mut().for_each(|task| task.printed_at = Some(at(printed)));
            match explain(facts).reasons.remove(0) {
                Reason::Claimed { silent_since, .. } => silent_since,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((silent(70), silent(71)), (Some(at(70)), None));
        let mut cancelled = by("RUNNING", 99);
        cancelled.queued.iter_mut().for_each(|it| it.cancel_requested = Some((at(98), None)));
        assert_eq!(codes(cancelled), ["CANCEL_REQUESTED", "CLAIMED"]);
    }

    #[test]
    fn a_process_that_has_ended_says_so() {
        assert_eq!(codes(Facts { queued: None, ..facts() }), ["FINISHED"]);
    }
}
