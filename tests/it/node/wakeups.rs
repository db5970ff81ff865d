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
        let kind = two_tasks(database, name, &gate);
        database.register(&kind);
        let (node, source) = node(database, name, 1, heartbeat, Arc::new(CommandRunners::new()));
        let first_beat = format!("nodes WHERE node_id = '{}' AND notify_above = 0", node.health().node_id());
        wait_until("the first heartbeat", || (database.count(&first_beat) == 1).then_some(()));
        let low = start(database, name, priority);
        let full = Self { database, source, node, gate, low };
        wait_until("the poller rests", || full.last_look());
        full
    }

    fn last_look(&self) -> Option<SystemTime> {
        last_look(self.database, &self.source)
    }

    /// The poller rests, and looks again after the event.
    fn is_woken_by(&self, event: impl FnOnce()) {
        let before = wait_until("the poller rests", || self.last_look());
        event();
        wait_until("the poller looks again", || self.last_look().filter(|at| *at > before));
    }

    /// Lets the low one's task end: the high one comes before its second.
    fn runs_next(self, high: &str) {
        finish_look(self.database, &self.source);
        self.gate.open();
        for id in [high, &self.low] {
            assert_eq!(self.database.wait_for(id).status, ProcessStatus::Completed, "{id}");
        }
        self.node.stop();
    }
}

/// What processes of `one-task` leave.
fn ran(database: &TestDatabase) -> String {
    format!("{}/{}-ran", env!("CARGO_TARGET_TMPDIR"), database.schema)
}

/// Waits for the gate; its second task fails if no process of `one-task`, where there is that type, has run before.
fn two_tasks(database: &TestDatabase, name: &str, gate: &Gate) -> ProcessType {
    let is_alone = database.count("process_types WHERE name = 'one-task'") == 0;
    let after = if is_alone { "true".to_owned() } else { format!("test -e {}", ran(database)) };
    ProcessType::new(name, "").add(script("wait", &gate.wait())).add(script("after", &after))
}

/// When the node's poller has looked above, if it has done nothing since.
fn last_look(database: &TestDatabase, source: &Source) -> Option<SystemTime> {
    let query = "SELECT query_start FROM pg_stat_activity WHERE application_name = $1 AND state = 'idle' \
        AND query LIKE '-- The priorities of READY processes%'";
    let name = format!("{}/poller", source.name);
    database.sql().query_opt(query, &[&name]).unwrap().map(|row| row.get(0))
}

/// Waits until the poller has done what follows its last look: it does one thing after the other.
fn finish_look(database: &TestDatabase, source: &Source) {
    let before = wait_until("the poller rests", || last_look(database, source));
    database.sql().batch_execute(&format!("NOTIFY \"{}\"", database.schema)).unwrap();
    wait_until("the poller looks once more", || last_look(database, source).filter(|at| *at > before));
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
    database.register(&one_task(&format!("touch {}", ran(&database))));
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

/// Beside a transaction that holds back vacuum, scans of the whole queue are rare.
#[test]
fn what_has_yielded_is_found_behind_what_was_claimed_since() {
    let database = with_one_task("wake_behind");
    let [gate, fill] = ["old", "fill"].map(|name| Gate::new(&format!("{}-{name}", database.schema)));
    database.register(&two_tasks(&database, "old", &gate));
    database.register(&ProcessType::new("fill", "").add(script("wait", &fill.wait())));
    let old = start(&database, "old", 0);
    let long_ago = "UPDATE scheduled_tasks SET execution_time = now() - interval '1 hour'";
    database.sql().batch_execute(long_ago).unwrap();
    let (node, source) = node(&database, "node", 5, ONCE, Arc::new(CommandRunners::new()));
    let health = node.health();
    wait_until("the old one runs", || (health.busy() == 1).then_some(()));
    // Two claims in a row that take long, none of which fills the node: the next scan of the whole queue is a hundred times as far away.
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.7); RETURN NEW; END'; \
        CREATE TRIGGER slow BEFORE UPDATE ON scheduled_tasks FOR EACH ROW \
        WHEN (OLD.state = 'READY' AND NEW.state = 'CLAIMED') EXECUTE FUNCTION slow()";
    database.sql().batch_execute(slow).unwrap();
    let first = start(&database, "one-task", 0);
    let claiming = format!(
        "pg_stat_activity WHERE application_name = '{}/poller' AND wait_event = 'PgSleep'",
        source.name
    );
    wait_until("it is being claimed", || (database.count(&claiming) == 1).then_some(()));
    for id in [start(&database, "one-task", 0), first] {
        assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    }
    database.sql().batch_execute("DROP TRIGGER slow ON scheduled_tasks").unwrap();
    std::fs::remove_file(ran(&database)).unwrap();
    database.start_many("fill", 4);
    wait_until("no executor is free", || (health.busy() == 5).then_some(()));
    let before = wait_until("the poller rests", || last_look(&database, &source));
    let high = start(&database, "one-task", 5);
    wait_until("the poller has seen it", || last_look(&database, &source).filter(|at| *at > before));
    finish_look(&database, &source);
    gate.open();
    for id in [&high, &old] {
        assert_eq!(database.wait_for(id).status, ProcessStatus::Completed);
    }
    fill.open();
    node.stop();
}
