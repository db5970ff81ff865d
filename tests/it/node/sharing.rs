//! What one node has claimed and another would begin at once: two real nodes that poll once an hour.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use process_orchestrator::ProcessType;
use process_orchestrator::command::{Interrupt, Lasting, Live};
use process_orchestrator::engine::{Node, NodeConfig, NoopRunners, RunReport, Runner, Runners, Work};
use process_orchestrator::store::claims::ClaimRequest;

use crate::common::{TestDatabase, wait_until};

/// Runs nothing; tasks named `long` take until the gate is open, those named `mid-` some milliseconds.
#[derive(Clone, Default)]
struct Gated(Arc<(Mutex<Gate>, Condvar)>);

#[derive(Default)]
struct Gate {
    is_open: bool,
    waiting: usize,
}

impl Gated {
    fn open(&self) {
        self.0.0.lock().unwrap().is_open = true;
        self.0.1.notify_all();
    }

    /// Waits until so many long ones run.
    fn wait_for(&self, waiting: usize) {
        wait_until(&format!("{waiting} long ones run"), || {
            (self.0.0.lock().unwrap().waiting == waiting).then_some(())
        });
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
        if work.task.name.starts_with("mid-") {
            std::thread::sleep(Duration::from_millis(15));
        }
        if work.task.name == "long" {
            (lasting.0)();
            let (gate, opened) = &*self.0;
            let mut gate = gate.lock().unwrap();
            gate.waiting += 1;
            drop(opened.wait_while(gate, |gate| !gate.is_open).unwrap());
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
    let (database, gates) = (with_types("ahead_late"), [Gated::default(), Gated::default()]);
    start_short_and_then_long(&database, 8);
    let first = node(&database, 2, &gates[0]);
    gates[0].wait_for(2);
    let second = node(&database, 8, &gates[1]);
    gates[1].wait_for(6);
    gates.iter().for_each(Gated::open);
    wait_until("all have ended", || (database.count("scheduled_tasks") == 0).then_some(()));
    for node in [first, second] {
        node.stop();
    }
    assert_eq!(database.count("task_executions"), 1008);
}

#[test]
fn what_one_node_cannot_begin_does_not_wait_there_while_the_other_is_idle() {
    let (database, gate) = (with_types("ahead_idle"), Gated::default());
    let nodes = [node(&database, 2, &gate), node(&database, 8, &gate)];
    start_short_and_then_long(&database, 10);
    gate.wait_for(10);
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

/// The first node has no room, so that no claim tells it of the other's.
#[test]
fn a_node_without_room_looks_for_room_elsewhere_for_what_waits_there() {
    let (database, gate) = (with_types("ahead_mid"), Gated::default());
    register(&database, "mid", 400);
    database.start_many("short", 500);
    database.start_many("mid", 6);
    let first = node(&database, 2, &gate);
    wait_until("short ones have ended", || {
        (database.count("scheduled_tasks WHERE task_name = 'short'") == 0).then_some(())
    });
    let second = node(&database, 4, &gate);
    let of_first = format!("scheduled_tasks WHERE picked_by = '{}'", first.health().node_id());
    wait_until("the first has no more than it runs", || {
        let held = database.count(&of_first);
        assert_eq!(database.count("scheduled_tasks"), 6, "{held} were kept until some had ended");
        (held <= 2).then_some(())
    });
    for node in [first, second] {
        node.stop();
    }
}

#[test]
fn a_claim_leaves_what_would_wait_here_to_a_node_with_room() {
    let database = TestDatabase::new("ahead_limit");
    register(&database, "short", 1);
    database.start_many("short", 9);
    let mut other = database.store();
    database.lives("node");
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
