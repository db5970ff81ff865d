//! Nodes that die, are thought dead, or lose their claims.

use std::sync::Arc;
use std::time::{Duration, Instant};

use process_orchestrator::database::{ConnectError, ConnectFailure, Connection, ConnectionSource};
use process_orchestrator::engine::{CommandRunners, Node, NodeConfig};
use process_orchestrator::platform::{pid_space, process_started};
use process_orchestrator::store::claims::ClaimRequest;
use process_orchestrator::store::membership::{NodeIdentity, NodeState, Place};
use process_orchestrator::{OnCrash, Outcome, ProcessInputData, ProcessStatus, ProcessType, TaskDefinition};

use crate::common::{TestDatabase, one_task, script, settings, wait_until};

/// A node that says it is the process `pid` of this host.
fn neighbour(node_id: &str, pid: u32, pid_started: Option<i64>) -> NodeIdentity {
    let space = pid_space().unwrap();
    NodeIdentity {
        node_id: node_id.to_owned(),
        name: node_id.to_owned(),
        host: "here".to_owned(),
        pid: i32::try_from(pid).unwrap(),
        executors: 1,
        lease: Duration::from_secs(300),
        heartbeat: Duration::from_secs(2),
        dead_after: Duration::from_secs(10),
        lock_key: fastrand::i32(..),
        place: Some(Place { boot_id: space.boot_id, pid_namespace: space.namespace, pid_started }),
    }
}

/// A node of another host, whose process nobody here can look at.
fn stranger(node_id: &str) -> NodeIdentity {
    NodeIdentity { place: None, ..neighbour(node_id, 1, None) }
}

/// The id of a process that has ended.
fn ended_pid() -> u32 {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    pid
}

fn quick(database: &TestDatabase) -> NodeConfig {
    NodeConfig {
        heartbeat: Duration::from_millis(50),
        dead_after: Duration::from_millis(300),
        lease: Duration::from_secs(60),
        ..database.config()
    }
}

#[test]
fn a_predecessor_whose_process_is_gone_is_taken_over_at_once() {
    let database = TestDatabase::new("predecessor");
    database.register(&one_task("true"));
    let id = database.start("one-task", ProcessInputData::new());
    let mut store = database.store();
    store.register_node(&neighbour("dead-1", ended_pid(), None)).unwrap();
    assert_eq!(store.claim_due("dead-1", &ClaimRequest::of(5)).unwrap().claimed.len(), 1);
    // Default settings: neither its lease nor its silence would tell for a long time.
    let node = database.node();
    let process = database.wait_for(&id);
    node.stop();
    assert_eq!(process.status, ProcessStatus::Completed);
    let executions = store.executions(&id).unwrap();
    let seen: Vec<_> = executions.iter().map(|it| (it.attempt, it.outcome, it.node == "dead-1")).collect();
    assert_eq!(seen, [(1, Outcome::Lost, true), (2, Outcome::Succeeded, false)]);
    assert_eq!(store.tasks(&id).unwrap()[0].retry_count, 0);
    assert_eq!(database.count("nodes WHERE node_id = 'dead-1' AND state = 'DEAD'"), 1);
}

#[test]
fn a_pid_that_belongs_to_another_process_by_now_does_not_keep_a_node_alive() {
    let database = TestDatabase::new("reused_pid");
    database.register(&one_task("true"));
    let id = database.start("one-task", ProcessInputData::new());
    let ours = std::process::id();
    let before = process_started(ours).unwrap() - 1;
    database.store().register_node(&neighbour("dead-1", ours, Some(before))).unwrap();
    database.store().claim_due("dead-1", &ClaimRequest::of(5)).unwrap();
    let node = database.node();
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    node.stop();
}

#[test]
fn a_silent_node_without_its_lock_is_taken_over_one_with_it_is_not() {
    let database = TestDatabase::new("silence");
    database.register(&one_task("true"));
    let ids = database.start_many("one-task", 2);
    let mut crashed = database.store();
    crashed.register_node(&stranger("crashed")).unwrap();
    crashed.claim_due("crashed", &ClaimRequest::of(1)).unwrap();
    let mut cut_off = database.store();
    cut_off.register_node(&stranger("cut-off")).unwrap();
    cut_off.claim_due("cut-off", &ClaimRequest::of(1)).unwrap();
    let key = fastrand::i32(..);
    assert!(cut_off.take_node_lock(key).unwrap());
    database
        .sql()
        .execute(
            "UPDATE nodes SET lock_key = CASE node_id WHEN 'cut-off' THEN $1 ELSE $1 + 1 END, \
             last_heartbeat = now() - interval '20 seconds'",
            &[&key],
        )
        .unwrap();
    let node = database.node_with(quick(&database));
    let of = |node: &str| {
        let row = database.sql().query_opt("SELECT 1 FROM scheduled_tasks WHERE picked_by = $1", &[&node]);
        row.unwrap().is_some()
    };
    wait_until("the crashed node is taken over", || (!of("crashed")).then_some(()));
    assert!(of("cut-off"), "its session lives: it keeps its claim until its lease is over");
    // The server ends its session: the lock goes, and with it the claim.
    drop(cut_off);
    for id in &ids {
        assert_eq!(database.wait_for(id).status, ProcessStatus::Completed);
    }
    node.stop();
}

/// A session of a role that may connect, and nothing else. The first key is that of the nodes' locks.
fn nobody_in_particular(database: &TestDatabase) -> postgres::Client {
    let mut client = database.sql();
    let role = format!("{}_nobody", database.schema);
    client.batch_execute(&format!("CREATE ROLE \"{role}\"")).unwrap();
    client.batch_execute(&format!("SET SESSION AUTHORIZATION \"{role}\"")).unwrap();
    client
}

fn drop_nobody(database: &TestDatabase, client: postgres::Client) {
    drop(client);
    database.sql().batch_execute(&format!("DROP ROLE \"{}_nobody\"", database.schema)).unwrap();
}

const NODE_LOCKS: i32 = 0x504f_4e31;

#[test]
fn a_stranger_who_waits_for_a_nodes_lock_does_not_keep_it_alive() {
    let database = TestDatabase::new("waited_for");
    database.register(&one_task("true"));
    let id = database.start("one-task", ProcessInputData::new());
    let mut crashed = database.store();
    let key = fastrand::i32(..);
    crashed.register_node(&NodeIdentity { lock_key: key, ..stranger("crashed") }).unwrap();
    assert!(crashed.take_node_lock(key).unwrap() && crashed.sees_node_lock(key).unwrap());
    assert!(crashed.heartbeat("crashed", NodeState::Running, Some(key), None).unwrap());
    crashed.claim_due("crashed", &ClaimRequest::of(1)).unwrap();
    let is_locked = || database.store().peers("other").unwrap()[0].is_locked;
    assert!(is_locked());
    let mut nobody = nobody_in_particular(&database);
    let waits = std::thread::spawn(move || {
        nobody.execute("SELECT pg_advisory_lock($1, $2)", &[&NODE_LOCKS, &key]).unwrap();
        nobody
    });
    let waiting = format!("pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = {}", key as u32);
    wait_until("it waits", || (database.count(&waiting) == 1).then_some(()));
    assert!(is_locked());
    drop(crashed);
    let nobody = waits.join().unwrap();
    assert!(!is_locked(), "the stranger has it now, and is not that node");
    let node = database.node_with(quick(&database));
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    node.stop();
    drop_nobody(&database, nobody);
}

#[test]
fn a_node_whose_key_a_stranger_holds_takes_another() {
    let database = TestDatabase::new("held_key");
    database.register(&one_task("true"));
    // What the node draws is the same both times.
    let start = || {
        fastrand::seed(20_261_129);
        let node = database.node_with(quick(&database));
        let announced =
            "SELECT lock_key, lock_pid FROM nodes WHERE state = 'RUNNING' AND lock_pid IS NOT NULL";
        let row = wait_until("it has its lock", || database.sql().query_opt(announced, &[]).unwrap());
        (node, row.get::<_, i32>(0), row.get::<_, i32>(1))
    };
    let (node, key, _) = start();
    node.stop();
    let mut nobody = nobody_in_particular(&database);
    nobody.execute("SELECT pg_advisory_lock($1, $2)", &[&NODE_LOCKS, &key]).unwrap();
    let (node, other, pid) = start();
    assert_ne!(other, key);
    let held = format!(
        "pg_locks WHERE locktype = 'advisory' AND granted AND pid = {pid} AND objid = {}",
        other as u32
    );
    assert_eq!(database.count(&held), 1);
    assert!(database.store().peers("other").unwrap()[0].is_locked);
    let id = database.start("one-task", ProcessInputData::new());
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    node.stop();
    drop_nobody(&database, nobody);
}

/// 'POR1': see wake_nodes in the seventh migration.
const ROOM: i32 = 1_347_375_665;

#[test]
fn a_stranger_who_holds_the_lock_of_room_holds_nobody_up() {
    let database = TestDatabase::new("held_room");
    database.register(&one_task("true"));
    let mut nobody = nobody_in_particular(&database);
    for take in ["pg_advisory_lock", "pg_advisory_lock_shared"] {
        let row = nobody.execute(&format!("SELECT {take}($1, hashtext($2))"), &[&ROOM, &database.schema]);
        row.unwrap();
        let node = database.node();
        let ids = database.start_many("one-task", 50);
        for id in &ids {
            assert_eq!(database.wait_for(id).status, ProcessStatus::Completed);
        }
        // Nobody has given back and taken again what it could have run.
        let claims: i64 = database.count("task_executions");
        assert!(claims >= 50, "{claims}");
        node.stop();
        nobody.execute("SELECT pg_advisory_unlock_all()", &[]).unwrap();
    }
    drop_nobody(&database, nobody);
}

#[test]
fn a_node_is_judged_by_what_its_own_row_says_of_it() {
    let database = TestDatabase::new("own_pace");
    database.register(&one_task("true"));
    let ids = database.start_many("one-task", 2);
    let mut store = database.store();
    for (node, dead_after) in [("quick", Duration::from_millis(300)), ("slow", Duration::from_secs(600))] {
        store.register_node(&NodeIdentity { dead_after, lease: dead_after * 10, ..stranger(node) }).unwrap();
        assert!(store.heartbeat(node, NodeState::Running, Some(fastrand::i32(..)), None).unwrap());
        assert_eq!(store.claim_due(node, &ClaimRequest::of(1)).unwrap().claimed.len(), 1);
    }
    let held_by = |node: &str| database.count(&format!("scheduled_tasks WHERE picked_by = '{node}'"));
    let node = database.node_with(quick(&database));
    wait_until("the quick one is taken over", || (held_by("quick") == 0).then_some(()));
    assert_eq!(held_by("slow"), 1, "it beats more seldom than those that look at it");
    // What would have been enough for a node of the observer's own pace: its lock is gone, too.
    let state = |node: &str| database.count(&format!("nodes WHERE node_id = '{node}' AND state = 'DEAD'"));
    wait_until("the quick one is dead", || (state("quick") == 1).then_some(()));
    assert_eq!(state("slow"), 0);
    database.sql().execute("UPDATE nodes SET dead_after_seconds = 0.3 WHERE node_id = 'slow'", &[]).unwrap();
    for id in &ids {
        assert_eq!(database.wait_for(id).status, ProcessStatus::Completed);
    }
    node.stop();
}

#[test]
fn a_lease_that_has_run_out_counts_whatever_the_lock_says() {
    let database = TestDatabase::new("lease_over");
    database.register(&one_task("true"));
    let id = database.start("one-task", ProcessInputData::new());
    let mut stuck = database.store();
    let key = fastrand::i32(..);
    assert!(stuck.take_node_lock(key).unwrap());
    stuck.register_node(&stranger("stuck")).unwrap();
    stuck.claim_due("stuck", &ClaimRequest::of(1)).unwrap();
    // Its heartbeat looks as old as can be: the others go by how long they have seen it so.
    database
        .sql()
        .execute(
            "UPDATE nodes SET lock_key = $1, lease_seconds = 2, last_heartbeat = now() - interval '301 seconds'",
            &[&key],
        )
        .unwrap();
    let began = Instant::now();
    let node = database.node_with(quick(&database));
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    node.stop();
}

#[test]
fn a_node_that_others_took_for_dead_ends_its_commands_and_goes_on() {
    let database = TestDatabase::new("rejoin");
    let text = "if [ $TASK_ATTEMPT = 1 ]; then sleep 600; fi";
    database.register(&ProcessType::new("once-slow", "").add(script("slow", text)));
    let id = database.start("once-slow", ProcessInputData::new());
    let node = database.node_with(quick(&database));
    let health = node.health();
    wait_until("the command runs", || (health.busy() == 1).then_some(()));
    database.sql().execute("UPDATE nodes SET state = 'DEAD'", &[]).unwrap();
    let process = database.wait_for(&id);
    assert_eq!(process.status, ProcessStatus::Completed);
    assert_eq!(database.count("nodes WHERE state = 'RUNNING'"), 1, "it goes on as a healthy node");
    node.stop();
    let outcomes: Vec<_> = database.store().executions(&id).unwrap().iter().map(|it| it.outcome).collect();
    // Whoever is first records the end of the first: the takeover, or the node whose claim is not taken yet.
    assert!(
        matches!(outcomes[..], [Outcome::Lost | Outcome::Interrupted, Outcome::Succeeded]),
        "{outcomes:?}"
    );
}

#[test]
fn a_command_whose_claim_was_taken_is_ended_and_its_result_dropped() {
    let database = TestDatabase::new("taken");
    database.register(&one_task("sleep 600"));
    let id = database.start("one-task", ProcessInputData::new());
    let node = database.node_with(quick(&database));
    let health = node.health();
    wait_until("the command runs", || (health.busy() == 1).then_some(()));
    database
        .sql()
        .execute(
            "UPDATE scheduled_tasks SET picked = false, picked_by = NULL, version = version + 1, \
             execution_time = 'infinity'",
            &[],
        )
        .unwrap();
    wait_until("the command has ended", || (health.busy() == 0).then_some(()));
    wait_until("the result was dropped", || (health.stale_results() == 1).then_some(()));
    node.stop();
    assert!(database.store().executions(&id).unwrap().is_empty());
}

#[test]
fn claims_of_a_node_that_nobody_knows_are_taken_over_once_the_own_connection_has_lasted() {
    let database = TestDatabase::new("settles");
    database.register(&one_task("true"));
    let id = database.start("one-task", ProcessInputData::new());
    database.lives("unknown");
    assert_eq!(database.store().claim_due("unknown", &ClaimRequest::of(1)).unwrap().claimed.len(), 1);
    database.forget("unknown");
    let config = NodeConfig { dead_after: Duration::from_secs(1), ..quick(&database) };
    let (began, dead_after) = (Instant::now(), config.dead_after);
    let node = database.node_with(config);
    let lost = "task_executions WHERE outcome = 'LOST'";
    wait_until("it is taken over", || (database.count(lost) == 1).then_some(()));
    let took = began.elapsed();
    assert!(took >= dead_after, "taken over {took:?} after the node's start");
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    node.stop();
}

#[test]
fn on_crash_fail_and_the_fifth_crash_fail_the_process() {
    let database = TestDatabase::new("poison");
    let fail = TaskDefinition { on_crash: OnCrash::Fail, ..TaskDefinition::new("only", "true") };
    database.register(&ProcessType::new("not-twice", "").add(fail));
    database.register(&one_task("true"));
    let not_twice = database.start("not-twice", ProcessInputData::new());
    let poison = database.start("one-task", ProcessInputData::new());
    let mut store = database.store();
    store.register_node(&neighbour("dead-1", ended_pid(), None)).unwrap();
    store.claim_due("dead-1", &ClaimRequest::of(5)).unwrap();
    database
        .sql()
        .execute(
            "INSERT INTO task_executions (process_id, task_index, attempt, node_id, outcome, started_at, \
             completed_at, duration_ms, output_bytes) SELECT $1, 0, n - 4, 'x', 'LOST', now(), now(), 0, 0 \
             FROM generate_series(1, 4) AS n",
            &[&poison],
        )
        .unwrap();
    let node = database.node();
    let (not_twice, poison) = (database.wait_for(&not_twice), database.wait_for(&poison));
    node.stop();
    for (process, part) in
        [(not_twice, "on_crash is \"fail\""), (poison, "5 nodes have died under this task")]
    {
        assert_eq!(process.status, ProcessStatus::Failed);
        let message = process.error_message.unwrap_or_default();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_row_that_cannot_be_read_ends_its_own_process_and_no_other() {
    let database = TestDatabase::new("unreadable");
    database.register(&one_task("true"));
    let ids = database.start_many("one-task", 3);
    let mut client = database.sql();
    client
        .execute("UPDATE processes SET input_data = '{\"config\": 7}' WHERE process_id = $1", &[&ids[0]])
        .unwrap();
    client.execute("DELETE FROM processes WHERE process_id = $1", &[&ids[1]]).unwrap();
    let node = database.node();
    let bad = database.wait_for(&ids[0]);
    assert_eq!(database.wait_for(&ids[2]).status, ProcessStatus::Completed);
    wait_until("nothing is left in the queue", || (database.count("scheduled_tasks") == 0).then_some(()));
    node.stop();
    assert_eq!(bad.status, ProcessStatus::Failed);
    let message = bad.error_message.unwrap_or_default();
    assert!(message.contains("input_data") && message.contains("config"), "{message}");
}

#[test]
fn a_claim_that_its_own_node_does_not_know_is_made_due_again() {
    let database = TestDatabase::new("strays");
    database.register(&one_task("true"));
    database.sql().execute("UPDATE process_types SET paused = true", &[]).unwrap();
    let id = database.start("one-task", ProcessInputData::new());
    let config = NodeConfig { node_id: Some("forgetful".to_owned()), ..quick(&database) };
    let node = database.node_with(config);
    // As if the answer to this claim had never arrived; the pause keeps the node itself from claiming it first.
    assert!(database.store().claim_one("forgetful", &id).unwrap().is_some());
    wait_until("it is due again", || (database.count("scheduled_tasks WHERE NOT picked") == 1).then_some(()));
    database.sql().execute("UPDATE process_types SET paused = false", &[]).unwrap();
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    node.stop();
    let outcomes: Vec<_> = database.store().executions(&id).unwrap().iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, [Outcome::Lost, Outcome::Succeeded]);
}

/// Connections that bear the test's name, so that it can end its own and nobody else's.
struct Named(String);

impl ConnectionSource for Named {
    fn connect(&self, role: &str) -> Result<Connection, ConnectError> {
        let mut config = settings().config().clone();
        config.application_name(&format!("{}/{role}", self.0));
        config.connect(postgres::NoTls).map(Connection::from).map_err(|error| ConnectError {
            target: settings().shown(),
            failure: ConnectFailure::Unreachable { cause: error.to_string() },
        })
    }

    fn shown(&self) -> String {
        settings().shown()
    }
}

#[test]
fn sessions_that_are_ended_again_and_again_lose_nothing_and_run_nothing_twice() {
    let database = TestDatabase::new("terminated");
    let kind =
        (0..3).fold(ProcessType::new("three", ""), |kind, i| kind.add(script(&format!("t{i}"), "true")));
    database.register(&kind);
    let ids = database.start_many("three", 100);
    let source = Arc::new(Named(database.schema.clone()));
    let node = Node::start(source, database.config(), Arc::new(CommandRunners::new())).unwrap();
    let health = node.health();
    let mut client = database.sql();
    for _ in 0..10 {
        let before = health.executions();
        client
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE $1",
                &[&format!("{}/%", database.schema)],
            )
            .unwrap();
        wait_until("the node goes on", || {
            (health.executions() > before || health.executions() == 300).then_some(())
        });
    }
    for id in &ids {
        assert_eq!(database.wait_for(id).status, ProcessStatus::Completed);
    }
    node.stop();
    assert!(health.database_errors() > 0, "no session was ended");
    assert_eq!(database.count("task_executions"), 300);
    assert_eq!(database.count("task_executions WHERE outcome = 'SUCCEEDED'"), 300);
}

#[test]
fn trouble_with_the_schema_for_a_while_loses_no_result() {
    let database = TestDatabase::new("trouble");
    let gate = std::env::temp_dir().join(format!("po-trouble-{}", std::process::id()));
    let wait = format!("while [ ! -e {} ]; do sleep 0.01; done", gate.display());
    database.register(&ProcessType::new("wait", "").add(script("wait", &wait)));
    let ids = database.start_many("wait", 4);
    let node = database.node();
    let health = node.health();
    wait_until("all commands run", || (health.busy() == 4).then_some(()));
    database.sql().batch_execute("ALTER TABLE executions RENAME TO elsewhere").unwrap();
    let errors = health.database_errors();
    std::fs::write(&gate, "").unwrap();
    wait_until("the recorder has failed twice", || (health.database_errors() >= errors + 2).then_some(()));
    database.sql().batch_execute("ALTER TABLE elsewhere RENAME TO executions").unwrap();
    for id in &ids {
        assert_eq!(database.wait_for(id).status, ProcessStatus::Completed);
    }
    node.stop();
    std::fs::remove_file(&gate).unwrap();
    assert_eq!(database.count("task_executions WHERE outcome = 'SUCCEEDED' AND attempt = 1"), 4);
}
