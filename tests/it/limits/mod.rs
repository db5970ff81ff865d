//! Limits: never more at once than there may be, none waits while there is room, whoever comes, goes, dies or is changed.

mod admission;
mod changes;
#[cfg(target_os = "linux")]
mod crash;
mod holds;
mod queue;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postgres::types::Json;
use process_orchestrator::command::{Interrupt, Lasting, Live};
use process_orchestrator::engine::{Node, NodeConfig, NoopRunners, RunReport, Runner, Runners, Work};
use process_orchestrator::model::retry::RetryPolicy;
use process_orchestrator::store::start::{StartOptions, StartRequest};
use process_orchestrator::{Outcome, ProcessInputData, ProcessType, TaskDefinition};
use serde_json::Value;

use crate::common::{TestDatabase, wait_until};

/// Gives a type limits, as its document would: `[{"name", "max", "holds", "key"}]`.
pub fn limit(database: &TestDatabase, process_type: &str, concurrency: &Value) {
    let sql = "UPDATE process_types SET concurrency = $2 WHERE name = $1";
    assert_eq!(database.sql().execute(sql, &[&process_type, &Json(concurrency)]).unwrap(), 1);
}

pub fn set_max(database: &TestDatabase, name: &str, max: Option<i32>) {
    database.sql().execute("SELECT set_limit($1, $2)", &[&name, &max]).unwrap();
}

/// A type of tasks that only the gauge runs.
pub fn register(database: &TestDatabase, name: &str, tasks: usize, retries: u32) {
    let kind = (0..tasks).fold(ProcessType::new(name, ""), |kind, n| {
        let retry = RetryPolicy { initial_delay: Duration::from_millis(40), ..RetryPolicy::default() };
        kind.add(TaskDefinition {
            max_retries: retries,
            retry,
            ..TaskDefinition::new(format!("task-{n}"), "true")
        })
    });
    database.register(&kind);
}

/// Starts one process for each of these keys.
pub fn start(
    database: &TestDatabase,
    process_type: &str,
    keys: impl IntoIterator<Item = String>,
) -> Vec<String> {
    let request = |key: String| StartRequest {
        input: ProcessInputData::new().add_config("customer", key),
        process_id: None,
    };
    let requests: Vec<StartRequest> = keys.into_iter().map(request).collect();
    database.store().start_processes(process_type, &requests, StartOptions::default()).unwrap()
}

/// What of it runs, by the commands' own word: commands, and processes from their first command to the end of their last.
#[derive(Default)]
pub struct Gauge {
    seen: Mutex<Seen>,
    /// How long a command takes.
    pub takes: Duration,
    /// How a command ends, by process and task; success if nothing is said.
    pub fails: Mutex<BTreeMap<(String, u32), u32>>,
}

#[derive(Default)]
struct Seen {
    /// By what is counted: how many at once now, and at the most.
    commands: BTreeMap<String, (usize, usize)>,
    processes: BTreeMap<String, BTreeMap<String, ()>>,
    processes_most: BTreeMap<String, usize>,
    begun: Vec<(Instant, String, u32)>,
}

impl Gauge {
    pub fn new(takes_ms: u64) -> Arc<Self> {
        Arc::new(Self { takes: Duration::from_millis(takes_ms), ..Self::default() })
    }

    pub fn node(self: &Arc<Self>, database: &TestDatabase, executors: usize) -> Node {
        let config = NodeConfig { executors, heartbeat: Duration::from_millis(200), ..database.config() };
        Node::start(Arc::clone(&database.source), config, Arc::new(Gauged(Arc::clone(self)))).unwrap()
    }

    /// The most commands that ran at once of a type, or of a type and a key: `invoice`, `invoice=acme`.
    pub fn most_commands(&self, what: &str) -> usize {
        self.seen.lock().unwrap().commands.get(what).map_or(0, |it| it.1)
    }

    pub fn most_processes(&self, what: &str) -> usize {
        self.seen.lock().unwrap().processes_most.get(what).copied().unwrap_or(0)
    }

    pub fn running(&self, what: &str) -> usize {
        self.seen.lock().unwrap().commands.get(what).map_or(0, |it| it.0)
    }

    /// From now on the most is counted anew.
    pub fn forget_most(&self) {
        let mut seen = self.seen.lock().unwrap();
        seen.commands.values_mut().for_each(|it| it.1 = it.0);
        let now: BTreeMap<_, _> = seen.processes.iter().map(|(name, of)| (name.clone(), of.len())).collect();
        seen.processes_most = now;
    }

    /// The commands that have begun, in order: process and task.
    pub fn begun(&self) -> Vec<(String, u32)> {
        self.seen.lock().unwrap().begun.iter().map(|it| (it.1.clone(), it.2)).collect()
    }

    fn names(work: &Work) -> Vec<String> {
        let kind = work.claim.process_type.to_string();
        let input = work.claim.input.to_value();
        let key = input["config"]["customer"].as_str().unwrap_or_default();
        vec!["all".to_owned(), format!("{kind}={key}"), kind, format!("={key}")]
    }

    fn begins(&self, work: &Work) {
        let mut seen = self.seen.lock().unwrap();
        seen.begun.push((Instant::now(), work.claim.process_id.to_string(), work.task.index));
        for name in Self::names(work) {
            let count = seen.commands.entry(name.clone()).or_default();
            count.0 += 1;
            count.1 = count.1.max(count.0);
            let processes = seen.processes.entry(name.clone()).or_default();
            processes.insert(work.claim.process_id.to_string(), ());
            let now = processes.len();
            let most = seen.processes_most.entry(name).or_default();
            *most = (*most).max(now);
        }
    }

    fn ends(&self, work: &Work, is_last: bool) {
        let mut seen = self.seen.lock().unwrap();
        for name in Self::names(work) {
            seen.commands.get_mut(&name).unwrap().0 -= 1;
            if is_last {
                seen.processes.get_mut(&name).unwrap().remove(&*work.claim.process_id);
            }
        }
    }
}

#[derive(Clone)]
struct Gauged(Arc<Gauge>);

impl Runners for Gauged {
    fn of_node(&self, _node_id: &str) -> Arc<dyn Runners> {
        Arc::new(self.clone())
    }

    fn runner(&self, _executor: usize) -> Box<dyn Runner> {
        Box::new(self.clone())
    }
}

impl Runner for Gauged {
    fn run(&mut self, work: &Work, interrupt: &Interrupt, live: &Live, lasting: Lasting<'_>) -> RunReport {
        self.0.begins(work);
        (lasting.0)();
        std::thread::park_timeout(self.0.takes);
        let mut run = NoopRunners.runner(0).run(work, interrupt, live, lasting);
        let key = (work.claim.process_id.to_string(), work.task.index);
        let mut fails = self.0.fails.lock().unwrap();
        let is_failure = fails.get_mut(&key).is_some_and(|left| {
            let fails = *left > 0;
            *left = left.saturating_sub(1);
            fails
        });
        drop(fails);
        if is_failure {
            run.report.outcome = Outcome::Failed;
            run.report.exit_code = Some(1);
            run.report.error_message = Some("exit code 1".to_owned());
        }
        let is_last = match is_failure {
            true => work.task.retry_count >= work.task.max_retries,
            false => work.task.index + 1 == work.claim.total_tasks,
        };
        self.0.ends(work, is_last);
        run.report.context.clear();
        run.ended = Instant::now();
        run
    }
}

/// Waits until nothing is in the queue, and sees that no slot is left.
pub fn all_end(database: &TestDatabase) {
    wait_until("all have ended", || (database.count("scheduled_tasks") == 0).then_some(()));
    assert_eq!(database.count("limit_slots"), 0, "slots are left");
}
