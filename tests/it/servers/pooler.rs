//! Everything through PgBouncer: in transaction mode without locks, LISTEN and prepared statements; in session mode
//! as without it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use process_orchestrator::database::{ConnectionManager, ConnectionSettings, ConnectionSource, Pooler};
use process_orchestrator::engine::{CommandRunners, Node, NodeConfig};
use process_orchestrator::store::Store;
use process_orchestrator::store::claims::ClaimRequest;
use process_orchestrator::store::membership::NodeIdentity;
use process_orchestrator::{
    ProcessInputData, ProcessOrchestrator, ProcessStatus, ProcessType, ProcessTypeRegistry, TaskDefinition,
};

use crate::common::{PATIENCE, TestDatabase, one_task, script, wait_until};
use crate::pgbouncer::PgBouncer;
use crate::program::{Bench, signal};

/// Enough for two nodes to wait for each other's sessions.
const POOL_SIZE: u32 = 4;

fn three_tasks() -> ProcessType {
    (0..3).fold(ProcessType::new("three", ""), |kind, i| {
        kind.add(TaskDefinition { max_retries: 0, ..TaskDefinition::new(format!("t{i}"), "true") })
    })
}

/// A node of the program whose messages go to a file in the folder.
struct Served {
    child: Child,
    log: std::path::PathBuf,
}

impl Served {
    fn start(bench: &Bench, url: &str, name: &str) -> Self {
        let log = bench.folder.join(format!("{name}.log"));
        let mut command = bench.command(&["serve", "--node-name", name, "--listen", "127.0.0.1:0"]);
        command.args(["--executors", "4", "--poll-interval", "100ms"]).env("DATABASE_URL", url);
        let child = command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let served = Self { child, log };
        wait_until("the node is ready", || served.log().contains(" ready: ").then_some(()));
        served
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn get(&self, path: &str) -> String {
        let log = self.log();
        let address = log.split("http://").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn stop(mut self) -> String {
        signal(&self.child, "-TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
        self.log()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Of a test that failed; otherwise it has ended, and neither is news.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for_all(database: &TestDatabase) {
    wait_until("every process has ended", || (database.count("scheduled_tasks") == 0).then_some(()));
    assert_eq!(database.count("processes WHERE status <> 'COMPLETED'"), 0);
}

/// Every task was executed to its end once, and begun as often as the audit trail says.
fn assert_each_once(database: &TestDatabase, tasks: i64) {
    assert_eq!(database.count("task_executions WHERE outcome = 'SUCCEEDED'"), tasks);
    let twice = "(SELECT FROM task_executions WHERE outcome = 'SUCCEEDED' GROUP BY process_id, task_index \
                 HAVING count(*) > 1) AS twice";
    assert_eq!(database.count(twice), 0);
    let uncounted = "tasks t WHERE attempt <> (SELECT count(*) FROM task_executions e \
                     WHERE e.process_id = t.process_id AND e.task_index = t.task_index)";
    assert_eq!(database.count(uncounted), 0);
}

#[test]
fn every_command_works_through_a_pooler_in_transaction_mode_and_leaves_nothing_on_its_sessions() {
    let Some(bouncer) = PgBouncer::start("all", "transaction", POOL_SIZE) else { return };
    let bench = Bench::new("pooler_all");
    let url = bouncer.url();
    let run = |words: &[&str]| crate::program::ended(bench.command(words).env("DATABASE_URL", &url));
    run(&["migrate"]).expect(0);
    run(&["types", "register", &bench.file(&three_tasks())]).expect(0);
    run(&["run", "three", "--process-id", "ran"]).expect(0);
    let nodes = [Served::start(&bench, &url, "a"), Served::start(&bench, &url, "b")];
    run(&["start", "three", "--process-id", "waited", "--wait"]).expect(0);
    let ids = bench.database.start_many("three", 200);
    wait_for_all(&bench.database);
    assert_each_once(&bench.database, 3 * 202);
    assert!(run(&["list", "--limit", "1000"]).expect(0).out.contains(&ids[199]));
    assert!(run(&["show", "ran"]).expect(0).out.contains("COMPLETED"));
    run(&["logs", "ran"]).expect(0);
    run(&["nodes"]).expect(0);
    for (path, part) in [("/status", "\"COMPLETED\""), ("/processes/ran", "\"ran\""), ("/readyz", "200 OK")] {
        let answer = nodes[0].get(path);
        assert!(answer.contains(part), "{path}: {answer}");
    }
    assert_eq!(bench.database.count("nodes WHERE state = 'RUNNING' AND lock_key IS NULL"), 2);
    for node in nodes {
        let log = node.stop();
        assert_eq!(log.matches("transaction mode").count(), 1, "{log}");
        assert!(!log.contains("query failed") && !log.contains("heartbeat failed"), "{log}");
    }
    assert_eq!(bouncer.traces(POOL_SIZE as usize), Vec::<String>::new());
}

#[test]
fn behind_a_pooler_a_killed_node_is_taken_over_and_a_killed_pooler_waited_for() {
    let Some(mut bouncer) = PgBouncer::start("kill", "transaction", POOL_SIZE) else { return };
    let bench = Bench::with_tables("pooler_kill");
    let database = &bench.database;
    database.register(&three_tasks());
    let url = bouncer.url();
    let mut killed = Served::start(&bench, &url, "killed");
    let left = Served::start(&bench, &url, "left");
    database.start_many("three", 300);
    let recorded = |more_than: i64| {
        let executions = "task_executions WHERE outcome = 'SUCCEEDED'";
        wait_until("executions are recorded", || (database.count(executions) > more_than).then_some(()));
    };
    recorded(50);
    bouncer.kill();
    bouncer.start_again();
    recorded(150);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    wait_for_all(database);
    assert_each_once(database, 900);
    assert_eq!(database.count("nodes WHERE name = 'killed' AND state = 'DEAD'"), 1, "{}", left.log());
    let log = left.stop();
    assert!(log.contains("database reached again"), "{log}");
}

/// A node through `source`.
fn node(source: &Arc<dyn ConnectionSource>, config: NodeConfig) -> Node {
    Node::start(Arc::clone(source), config, Arc::new(CommandRunners::new())).unwrap()
}

#[test]
fn behind_a_pooler_the_lease_alone_decides_who_is_dead() {
    let Some(bouncer) = PgBouncer::start("lease", "transaction", POOL_SIZE) else { return };
    let database = TestDatabase::new("pooler_lease");
    database.register(&one_task("true"));
    let id = database.start("one-task", ProcessInputData::new());
    let source: Arc<dyn ConnectionSource> = Arc::new(bouncer.settings());
    let mut dead = Store::open(&*source, "dead", &database.schema).unwrap();
    assert!(dead.borrows_sessions());
    let identity = NodeIdentity {
        lock_key: 0,
        node_id: "elsewhere".to_owned(),
        name: "elsewhere".to_owned(),
        host: "elsewhere".to_owned(),
        pid: 1,
        executors: 1,
        lease: Duration::from_secs(3),
        heartbeat: Duration::from_secs(2),
        dead_after: Duration::from_secs(10),
        place: None,
    };
    dead.register_node(&identity).unwrap();
    dead.claim_due("elsewhere", &ClaimRequest::of(1)).unwrap();
    let config = NodeConfig {
        heartbeat: Duration::from_millis(50),
        dead_after: Duration::from_millis(300),
        lease: Duration::from_secs(3),
        ..database.config()
    };
    let node = node(&source, config);
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    node.stop();
    let silence: f64 = database
        .sql()
        .query_one(
            "SELECT extract(epoch FROM e.completed_at - n.last_heartbeat)::float8 FROM nodes n, task_executions e \
             WHERE n.node_id = 'elsewhere' AND e.outcome = 'SUCCEEDED'",
            &[],
        )
        .unwrap()
        .get(0);
    assert!(silence > 3.0, "taken over after {silence} s, before the lease was over");
    assert_eq!(database.count("task_executions WHERE outcome = 'LOST' AND node_id = 'elsewhere'"), 1);
}

#[test]
fn in_session_mode_a_pooler_changes_nothing() {
    let Some(bouncer) = PgBouncer::start("session", "session", 20) else { return };
    let database = TestDatabase::new("pooler_session");
    database.register(&one_task("true"));
    let source: Arc<dyn ConnectionSource> = Arc::new(bouncer.settings());
    assert!(!Store::open(&*source, "test", &database.schema).unwrap().borrows_sessions());
    // Nothing but a notification makes it look before the test gives up.
    let node = node(&source, NodeConfig { poll_interval: Duration::from_secs(600), ..database.config() });
    let listening = "pg_stat_activity WHERE query LIKE 'LISTEN%' AND query LIKE '%pooler_session%'";
    wait_until("the node listens", || (database.count(listening) == 1).then_some(()));
    wait_until("the node holds its lock", || {
        (database.count("nodes WHERE lock_key IS NOT NULL") == 1).then_some(())
    });
    // Its first look at the queue may still be to come: the second process is what a notification has it find.
    for _ in 0..2 {
        let id = database.start("one-task", ProcessInputData::new());
        assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    }
    node.stop();
}

#[test]
fn what_the_user_says_of_a_pooler_goes_before_what_is_found() {
    let Some(bouncer) = PgBouncer::start("said", "session", 20) else { return };
    let database = TestDatabase::new("pooler_said");
    let borrows = |pooler: Pooler| {
        let settings = bouncer.settings().with_pooler(pooler);
        Store::open(&settings, "test", &database.schema).unwrap().borrows_sessions()
    };
    assert!(borrows(Pooler::Transaction));
    assert!(!borrows(Pooler::Session));
    assert!(!borrows(Pooler::None));
    assert!(!database.store().borrows_sessions());
    let direct = database.settings().clone().with_pooler(Pooler::Auto);
    assert!(!Store::open(&direct, "test", &database.schema).unwrap().borrows_sessions(), "found out");
}

#[test]
fn a_pool_of_connections_through_a_pooler_serves_the_library() {
    let Some(bouncer) = PgBouncer::start("r2d2", "transaction", POOL_SIZE) else { return };
    let database = TestDatabase::bare("pooler_r2d2");
    let mut registry = ProcessTypeRegistry::new();
    registry.register(three_tasks()).unwrap();
    let manager =
        r2d2_postgres::PostgresConnectionManager::new(bouncer.settings().config().clone(), postgres::NoTls);
    // A pool of anybody's; its connections don't even have a name.
    let foreign = r2d2::Pool::builder().max_size(6).min_idle(Some(0)).build(manager).unwrap();
    let ours = ConnectionManager::new(bouncer.settings(), "pool");
    let ours = r2d2::Pool::builder().max_size(6).min_idle(Some(0)).build(ours).unwrap();
    let config = NodeConfig { schema: database.schema.clone(), executors: 2, ..NodeConfig::default() };
    for orchestrator in
        [ProcessOrchestrator::new(foreign, registry.clone()), ProcessOrchestrator::new(ours, registry)]
    {
        let orchestrator = orchestrator.with_config(config.clone());
        orchestrator.start().unwrap();
        let id = orchestrator.start_process("three", ProcessInputData::new()).unwrap();
        let process = orchestrator.wait_for_process(&id, PATIENCE).unwrap();
        assert_eq!(process.status, ProcessStatus::Completed);
        assert_eq!(orchestrator.get_process_executions(&id).unwrap().len(), 3);
        orchestrator.stop();
    }
    assert_eq!(database.count("nodes WHERE lock_key IS NULL"), 2);
    assert_eq!(bouncer.traces(POOL_SIZE as usize), Vec::<String>::new());
}

#[test]
fn a_pooler_in_statement_mode_is_refused_with_what_to_set() {
    let Some(bouncer) = PgBouncer::start("statement", "statement", POOL_SIZE) else { return };
    let bench = Bench::with_tables("pooler_statement");
    let file = bench.file(&one_task("true"));
    for words in [&["run", &file][..], &["serve", "--no-http"], &["list"], &["migrate"]] {
        let refused = crate::program::ended(bench.command(words).env("DATABASE_URL", bouncer.url()));
        assert_ne!(refused.code, Some(0), "{refused:#?}");
        for part in ["pool_mode = statement", "set pool_mode = transaction or session"] {
            assert!(refused.err.contains(part), "{words:?}: {part:?} is not in {refused:#?}");
        }
    }
}

#[test]
fn a_commit_that_is_under_way_when_the_pooler_dies_is_waited_for() {
    let Some(mut bouncer) = PgBouncer::start("doubt", "transaction", 20) else { return };
    let database = TestDatabase::new("pooler_doubt");
    let gate = std::env::temp_dir().join(format!("po-doubt-{}", std::process::id()));
    let wait = format!("while [ ! -e {} ]; do sleep 0.01; done", gate.display());
    database.register(&ProcessType::new("two", "").add(script("first", &wait)).add(script("second", "true")));
    database.register(&ProcessType::new("one", "").add(script("only", &wait)));
    // Of a process that goes on the claim is still there after the commit, of one that has ended it is gone.
    let ids = [database.start_many("two", 2), database.start_many("one", 2)].concat();
    // Whoever records an execution waits, in its COMMIT, for the lock that the test has.
    let mut holder = database.sql();
    holder
        .batch_execute(
            "CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS \
             'BEGIN PERFORM pg_advisory_xact_lock_shared(hashtext(TG_TABLE_SCHEMA)); RETURN NULL; END'; \
             CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON executions DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION wait_at_commit(); \
             SELECT pg_advisory_lock(hashtext(current_schema()))",
        )
        .unwrap();
    let source: Arc<dyn ConnectionSource> = Arc::new(bouncer.settings());
    let node = node(&source, database.config());
    let health = node.health();
    wait_until("all commands run", || (health.busy() == 4).then_some(()));
    fs::write(&gate, "").unwrap();
    // Two keys: a turn's lock; one key: the test's.
    let waiting =
        |subid: i32| format!("pg_locks WHERE locktype = 'advisory' AND NOT granted AND objsubid = {subid}");
    let turn = format!("{} AND classid = {}", waiting(2), 0x504f_5431);
    let commit =
        format!("{} AND objid::bigint = (hashtext('{}')::bigint & 4294967295)", waiting(1), database.schema);
    wait_until("the commit waits", || (database.count(&commit) == 1).then_some(()));
    let errors = health.database_errors();
    bouncer.kill();
    bouncer.start_again();
    wait_until("the loss was noticed", || (health.database_errors() > errors).then_some(()));
    wait_until("the recorder waits for its turn", || (database.count(&turn) >= 1).then_some(()));
    assert_eq!(database.count(&commit), 1, "the server's side of the lost connection goes on");
    holder.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
    for id in &ids {
        assert_eq!(database.wait_for(id).status, ProcessStatus::Completed);
    }
    assert_eq!(health.stale_results(), 0);
    node.stop();
    fs::remove_file(&gate).unwrap();
    assert_each_once(&database, 6);
    assert_eq!(database.count("task_executions"), 6);
}

#[test]
fn behind_a_pooler_sessions_that_are_ended_again_and_again_lose_nothing_and_run_nothing_twice() {
    let Some(bouncer) = PgBouncer::start("ended", "transaction", POOL_SIZE) else { return };
    let database = TestDatabase::new("pooler_ended");
    database.register(&three_tasks());
    database.start_many("three", 100);
    // The name tells the test's own sessions from everybody else's; the pooler passes it on.
    let url = format!("{}&application_name={}", bouncer.url(), database.schema);
    let settings = ConnectionSettings::from_url("test", &url, &|_| None).unwrap();
    let source: Arc<dyn ConnectionSource> = Arc::new(settings);
    let node = node(&source, database.config());
    let health = node.health();
    let mut client = database.sql();
    for _ in 0..10 {
        let before = health.executions();
        client
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE $1",
                &[&format!("{} %", database.schema)],
            )
            .unwrap();
        wait_until("the node goes on", || {
            (health.executions() > before || health.executions() == 300).then_some(())
        });
    }
    wait_for_all(&database);
    node.stop();
    assert_each_once(&database, 300);
    assert_eq!(database.count("task_executions"), 300);
    assert_eq!(health.stale_results(), 0);
}

#[test]
fn one_session_behind_a_pooler_is_enough() {
    let Some(bouncer) = PgBouncer::start("one", "transaction", 1) else { return };
    let database = TestDatabase::new("pooler_one");
    database.register(&three_tasks());
    database.start_many("three", 20);
    let source: Arc<dyn ConnectionSource> = Arc::new(bouncer.settings());
    let node = node(&source, database.config());
    wait_for_all(&database);
    node.stop();
    assert_each_once(&database, 60);
    assert_eq!(bouncer.traces(1), Vec::<String>::new());
}

#[test]
fn a_pooler_without_its_server_is_a_database_that_cannot_be_reached() {
    let Some(bouncer) = PgBouncer::in_front_of("gone", "transaction", 1, "/nonexistent") else { return };
    let bench = Bench::new("pooler_gone");
    let listed = crate::program::ended(bench.command(&["list"]).env("DATABASE_URL", bouncer.url())).expect(4);
    assert!(listed.err.contains("check that the server runs"), "{listed:#?}");
}
