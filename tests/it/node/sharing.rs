//! What one node has claimed and another would begin at once: two real nodes that poll once an hour.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use process_orchestrator::ProcessType;
use process_orchestrator::command::{Interrupt, Lasting, Live};
use process_orchestrator::engine::{Node, NodeConfig, NoopRunners, RunReport, Runner, Runners, Work};
use process_orchestrator::store::claims::ClaimRequest;

use crate::common::{TestDatabase, wait_until};

/// Runs nothing; tasks named `long` take until the gate is open.
#[derive(Clone, Default)]
struct Gated(Arc<(Mutex<bool>, Condvar)>);

impl Gated {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

impl Runners for Gated {
    fn of_node(&self, _node_id: &str) -> Arc<dyn Runners> {
        Arc::new(self.clone())
    }

    fn runner(&self, _executor: usize) -> Box<dyn Runner> {
        Box::new(self.clone())
    }
}

impl Runner for Gated {
    fn run(&mut self, work: &Work, interrupt: &Interrupt, live: &Live, lasting: Lasting<'_>) -> RunReport {
        if work.task.name == "long" {
            (lasting.0)();
            let (is_open, opened) = &*self.0;
            drop(opened.wait_while(is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
        }
        NoopRunners.runner(0).run(work, interrupt, live, lasting)
    }
}

fn node(database: &TestDatabase, executors: usize, runners: &Gated) -> Node {
    let config = NodeConfig { executors, poll_interval: Duration::from_secs(3600), ..database.config() };
    Node::start(Arc::clone(&database.source), config, Arc::new(runners.clone())).unwrap()
}

fn register(database: &TestDatabase, name: &str, tasks: usize) {
    let kind = (0..tasks).fold(ProcessType::new(name, ""), |kind, n| {
        let task = if tasks == 1 { name.to_owned() } else { format!("{name}-{n}") };
        kind.add_task(task, "true", ".", 1.0, 0)
    });
    database.register(&kind);
}

fn with_types(test: &str) -> TestDatabase {
    let database = TestDatabase::new(test);
    register(&database, "short", 1);
    register(&database, "long", 1);
    database
}

/// Short commands at a high rate, and then long ones.
fn start_short_and_then_long(database: &TestDatabase, long: usize) {
    database.start_many("short", 1000);
    database.start_many("long", long);
}

#[test]
fn what_was_claimed_ahead_of_commands_that_turn_out_long_begins_elsewhere() {
    let (database, gate) = (with_types("ahead_late"), Gated::default());
    start_short_and_then_long(&database, 8);
    let first = node(&database, 2, &gate);
    wait_until("it comes to the long ones", || {
        (first.health().executions() == 1000 && first.health().busy() == 2).then_some(())
    });
    let second = node(&database, 8, &gate);
    wait_until("all long ones run", || (second.health().busy() == 6).then_some(()));
    gate.open();
    wait_until("all have ended", || (database.count("scheduled_tasks") == 0).then_some(()));
    for node in [first, second] {
        node.stop();
    }
    assert_eq!(database.count("task_executions"), 1008);
}

#[test]
fn nothing_is_claimed_ahead_while_another_node_is_idle() {
    let (database, gate) = (with_types("ahead_idle"), Gated::default());
    let nodes = [node(&database, 2, &gate), node(&database, 8, &gate)];
    start_short_and_then_long(&database, 10);
    wait_until("all long ones run", || {
        (nodes.iter().map(|node| node.health().busy()).sum::<usize>() == 10).then_some(())
    });
    gate.open();
    wait_until("all have ended", || (database.count("scheduled_tasks") == 0).then_some(()));
    for node in nodes {
        node.stop();
    }
    assert_eq!(database.count("task_executions"), 1010);
}

#[test]
fn processes_that_would_wait_between_two_tasks_go_on_where_there_is_room() {
    const TASKS: usize = 1000;
    let database = TestDatabase::new("ahead_many");
    register(&database, "many", TASKS);
    let gate = Gated::default();
    let first = node(&database, 2, &gate);
    database.start_many("many", 6);
    wait_until("it has claimed them all", || {
        (database.count("scheduled_tasks WHERE state <> 'CLAIMED'") == 0).then_some(())
    });
    let second = node(&database, 4, &gate);
    wait_until("the second has some", || {
        let has_some = second.health().executions() > 0;
        assert!(
            has_some || database.count("scheduled_tasks") > 0,
            "the first kept what waited there to the end"
        );
        has_some.then_some(())
    });
    for node in [first, second] {
        node.stop();
    }
    assert_eq!(database.count("task_executions WHERE attempt > 1"), 0);
}

#[test]
fn a_claim_leaves_what_would_wait_here_to_a_node_with_room() {
    let database = TestDatabase::new("ahead_limit");
    register(&database, "short", 1);
    database.start_many("short", 9);
    let mut other = database.store();
    let claim = |limit, limit_beside_room| {
        let request = ClaimRequest { limit_beside_room, ..ClaimRequest::of(limit) };
        let batch = database.store().claim_due("node", &request).unwrap();
        (batch.claimed.len(), batch.is_room_elsewhere)
    };
    assert_eq!(claim(3, 1), (3, false));
    assert!(other.announce_room().unwrap());
    assert_eq!(claim(3, 1), (1, true));
    other.withdraw_room().unwrap();
    assert_eq!(claim(9, 1), (5, false));
}
