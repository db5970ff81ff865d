//! Who is woken, and by what. The poll interval is an hour, so that no poll hides a wake-up that is missing, and the node
//! is full, so that it looks at nothing by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use process_orchestrator::database::{ConnectError, ConnectFailure, Connection, ConnectionSource};
use process_orchestrator::engine::{CommandRunners, Node, NodeConfig, Runners};
use process_orchestrator::store::start::{StartOptions, StartRequest};
use process_orchestrator::{ProcessStatus, ProcessType};

use super::control::Gate;
use super::engine::StuckRunners;
use crate::common::{TestDatabase, one_task, script, settings, wait_until};

const POLL: Duration = Duration::from_secs(3600);

/// Connections that bear the node's name, and a door in front of the listener's.
struct Source {
    name: String,
    door: Mutex<()>,
    is_listener_at_door: AtomicBool,
}

impl ConnectionSource for Source {
    fn connect(&self, role: &str) -> Result<Connection, ConnectError> {
        if role == "listener" {
            self.is_listener_at_door.store(true, Ordering::SeqCst);
            drop(self.door.lock().unwrap());
            self.is_listener_at_door.store(false, Ordering::SeqCst);
        }
        let mut config = settings().config().clone();
        config.application_name(&format!("{}/{role}", self.name));
        config.connect(postgres::NoTls).map(Connection::from).map_err(|error| ConnectError {
            target: self.shown(),
            failure: ConnectFailure::Unreachable { cause: error.to_string() },
        })
    }

    fn shown(&self) -> String {
        settings().shown()
    }
}

/// A node whose one executor runs the first task of a process until the gate is open.
struct Full<'a> {
    database: &'a TestDatabase,
    source: Arc<Source>,
    node: Node,
    gate: Gate,
    low: String,
}

impl<'a> Full<'a> {
    fn new(database: &'a TestDatabase, name: &str, priority: i32, heartbeat: Duration) -> Self {
        let gate = Gate::new(&format!("{}-{name}", database.schema));
        let kind = ProcessType::new(name, "").add(script("wait", &gate.wait())).add(script("after", "true"));
        database.register(&kind);
        let (node, source) = node(database, name, 1, heartbeat, Arc::new(CommandRunners::new()));
        let first_beat = format!("nodes WHERE node_id = '{}' AND notify_above = 0", node.health().node_id());
        wait_until("the first heartbeat", || (database.count(&first_beat) == 1).then_some(()));
        let low = start(database, name, priority);
        let full = Self { database, source, node, gate, low };
        wait_until("the poller rests", || full.last_look());
        full
    }

    /// When the poller has looked above, if it has done nothing since.
    fn last_look(&self) -> Option<SystemTime> {
        let query = "SELECT query_start FROM pg_stat_activity WHERE application_name = $1 AND state = 'idle' \
            AND query LIKE '-- The priorities of READY processes above%'";
        let name = format!("{}/poller", self.source.name);
        self.database.sql().query_opt(query, &[&name]).unwrap().map(|row| row.get(0))
    }

    /// The poller rests, and looks again after the event.
    fn is_woken_by(&self, event: impl FnOnce()) {
        let before = wait_until("the poller rests", || self.last_look());
        event();
        wait_until("the poller looks again", || self.last_look().filter(|at| *at > before));
    }

    /// Lets the low one's task end: the high one comes before its second.
    fn runs_next(self, high: &str) {
        self.gate.open();
        let [low, high] = [&*self.low, high].map(|id| {
            assert_eq!(self.database.wait_for(id).status, ProcessStatus::Completed);
            self.database.store().executions(id).unwrap()
        });
        assert!(high[0].completed_at <= low[1].started_at, "{high:?} ran after {low:?}");
        self.node.stop();
    }
}

fn node(
    database: &TestDatabase,
    name: &str,
    executors: usize,
    heartbeat: Duration,
    runners: Arc<dyn Runners>,
) -> (Node, Arc<Source>) {
    let name = format!("{}-{name}", database.schema);
    let source = Arc::new(Source { name, door: Mutex::new(()), is_listener_at_door: AtomicBool::new(false) });
    let (dead_after, lease) = (heartbeat * 20, heartbeat * 200);
    let config =
        NodeConfig { executors, poll_interval: POLL, heartbeat, dead_after, lease, ..database.config() };
    (Node::start(Arc::clone(&source) as _, config, runners).unwrap(), source)
}

fn start(database: &TestDatabase, process_type: &str, priority: i32) -> String {
    let options = StartOptions { priority, ..StartOptions::default() };
    database.store().start_processes(process_type, &[StartRequest::default()], options).unwrap().remove(0)
}

/// Starts one of priority 5 and tells nobody.
fn start_quietly(database: &TestDatabase, and: &str) -> String {
    let mut client = database.sql();
    let mut transaction = client.transaction().unwrap();
    let quietly = "SELECT start_process('one-task', priority => 5, notify => false)";
    let id: String = transaction.query_one(quietly, &[]).unwrap().get(0);
    let and = format!("UPDATE scheduled_tasks SET {and} WHERE task_instance = $1");
    assert_eq!(transaction.execute(&and, &[&id]).unwrap(), 1);
    transaction.commit().unwrap();
    id
}

fn with_one_task(test: &str) -> TestDatabase {
    let database = TestDatabase::new(test);
    database.register(&one_task("true"));
    database
}

const OFTEN: Duration = Duration::from_millis(50);
/// No second heartbeat comes during a test.
const ONCE: Duration = Duration::from_secs(100);

#[test]
fn what_has_precedence_over_a_long_task_is_next_when_that_ends() {
    let database = with_one_task("wake_priority");
    let full = Full::new(&database, "full", 0, ONCE);
    let mut high = String::new();
    full.is_woken_by(|| high = start(&database, "one-task", 5));
    full.runs_next(&high);
}

#[test]
fn a_node_hears_of_what_has_precedence_over_all_that_it_has_claimed_since_its_last_heartbeat() {
    let database = with_one_task("wake_above");
    let full = Full::new(&database, "full", -5, ONCE);
    let mut high = String::new();
    full.is_woken_by(|| high = start(&database, "one-task", -3));
    full.runs_next(&high);
}

#[test]
fn the_end_of_a_pause_wakes_a_node_for_what_no_claim_has_met() {
    let database = with_one_task("wake_resume");
    let full = Full::new(&database, "full", 0, OFTEN);
    let mut store = database.store();
    store.pause_process_type("one-task", None).unwrap();
    let heartbeat = || -> jiff::Timestamp {
        database.sql().query_one("SELECT last_heartbeat FROM nodes", &[]).unwrap().get(0)
    };
    // The second from now has begun after the pause, and the node has looked for pauses at its end.
    for _ in 0..3 {
        let before = heartbeat();
        wait_until("another heartbeat", || (heartbeat() > before).then_some(()));
    }
    let high = start_quietly(&database, "state = 'READY', held_by = NULL");
    full.is_woken_by(|| assert!(store.resume_process_type("one-task").unwrap()));
    full.runs_next(&high);
}

#[test]
fn what_a_heartbeat_lets_go_wakes_the_node() {
    let database = with_one_task("wake_let_go");
    let full = Full::new(&database, "full", 0, OFTEN);
    let mut high = String::new();
    full.is_woken_by(|| high = start_quietly(&database, "state = 'HELD', held_by = 'pause:one-task'"));
    full.runs_next(&high);
}

#[test]
fn what_is_started_while_nobody_listens_is_found_when_the_node_listens_again() {
    let database = with_one_task("wake_listen");
    let full = Full::new(&database, "full", 0, ONCE);
    let door = full.source.door.lock().unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
    let listener = format!("{}/listener", full.source.name);
    assert_eq!(database.sql().execute(end, &[&listener]).unwrap(), 1);
    let is_at_door = || full.source.is_listener_at_door.load(Ordering::SeqCst).then_some(());
    wait_until("the listener is at the door", is_at_door);
    let high = start(&database, "one-task", 5);
    full.is_woken_by(|| drop(door));
    full.runs_next(&high);
}

#[test]
fn what_yields_at_a_stop_wakes_another_node() {
    let database = TestDatabase::new("wake_yield");
    let stops = Full::new(&database, "stops", 0, ONCE);
    let other = Full::new(&database, "other", -9, ONCE);
    stops.node.stopper().stop_claiming();
    other.is_woken_by(|| stops.gate.open());
    other.gate.open();
    assert_eq!(database.wait_for(&stops.low).status, ProcessStatus::Completed);
    stops.node.stop();
    other.node.stop();
    let nodes: Vec<_> =
        database.store().executions(&stops.low).unwrap().into_iter().map(|it| it.node).collect();
    assert_ne!(nodes[0], nodes[1]);
}

#[test]
fn what_waits_for_an_executor_at_a_stop_is_given_back_and_wakes_another_node() {
    let database = TestDatabase::new("wake_give_back");
    database.register(&ProcessType::new("stuck", "").add_task("stuck", "true", ".", 1.0, 0));
    let other = Full::new(&database, "other", -9, ONCE);
    // As many hang before their command as there are permits: the others wait.
    let at_once = 2 * std::thread::available_parallelism().unwrap().get();
    let held = Arc::new(Mutex::new(()));
    let hangs = held.lock().unwrap();
    let stuck = Arc::new(StuckRunners(Arc::clone(&held)));
    let (stops, _) = node(&database, "stops", at_once + 2, ONCE, stuck);
    database.start_many("stuck", at_once + 2);
    wait_until("all that can hang do", || (stops.health().busy() == at_once).then_some(()));
    let claimed = || database.count("scheduled_tasks WHERE picked AND task_name = 'stuck'");
    wait_until("the others wait behind them", || (claimed() == at_once as i64 + 2).then_some(()));
    other.is_woken_by(|| stops.stopper().stop_claiming());
    assert_eq!(claimed(), at_once as i64);
    other.gate.open();
    wait_until("they have run elsewhere", || {
        (database.count("processes WHERE process_type = 'stuck' AND status = 'COMPLETED'") == 2).then_some(())
    });
    assert_eq!(stops.health().busy(), at_once, "those that were begun are let end");
    drop(hangs);
    assert_eq!(stops.stop().interrupted, 0);
    other.node.stop();
    assert_eq!(database.count("task_executions WHERE attempt > 1"), 0);
}
