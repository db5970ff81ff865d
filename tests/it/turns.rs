//! Process types of one priority share what room there is: whatever makes thousands of one type ready, another type's
//! process begins while nearly all of them wait.

use std::sync::Arc;
use std::time::Duration;

use postgres::SimpleQueryMessage;
use process_orchestrator::command::{Interrupt, Lasting, Live};
use process_orchestrator::engine::{Node, NodeConfig, NoopRunners, RunReport, Runner, Runners, Work};
use process_orchestrator::store::claims::{Claimed, QueuePart, SharedPart, TypeShare};
use process_orchestrator::store::locks::Beside;
use process_orchestrator::store::start::{StartOptions, StartRequest};
use process_orchestrator::{ProcessInputData, ProcessStatus, ProcessType};
use serde_json::Value;

use crate::common::{TestDatabase, wait_until};

/// Commands of some milliseconds that cost no processor.
#[derive(Clone)]
struct Short;

impl Runners for Short {
    fn of_node(&self, _node_id: &str) -> Arc<dyn Runners> {
        Arc::new(Self)
    }

    fn runner(&self, _executor: usize) -> Box<dyn Runner> {
        Box::new(Self)
    }
}

impl Runner for Short {
    fn run(&mut self, work: &Work, interrupt: &Interrupt, live: &Live, lasting: Lasting<'_>) -> RunReport {
        std::thread::park_timeout(Duration::from_millis(4));
        NoopRunners.runner(0).run(work, interrupt, live, lasting)
    }
}

fn node(database: &TestDatabase, executors: usize) -> Node {
    let config = NodeConfig { executors, ..database.config() };
    Node::start(Arc::clone(&database.source), config, Arc::new(Short)).unwrap()
}

fn with_types(test: &str, names: &[&str]) -> TestDatabase {
    let database = TestDatabase::new(test);
    names.iter().for_each(|name| register(&database, name, 1));
    database
}

fn register(database: &TestDatabase, name: &str, tasks: usize) {
    let kind = (0..tasks)
        .fold(ProcessType::new(name, ""), |kind, n| kind.add_task(format!("task-{n}"), "true", ".", 1.0, 0));
    database.register(&kind);
}

const MANY: usize = 4_000;

/// Another type's process begins, and ends, while most of the many wait.
fn another_has_its_turn(database: &TestDatabase, what: &str) {
    let waiting = || database.count("scheduled_tasks WHERE task_name = 'many' AND NOT picked");
    wait_until("the node has begun", || (waiting() < MANY as i64).then_some(()));
    let before = waiting();
    let id = database.start("other", ProcessInputData::new());
    database.wait_for(&id);
    let left = waiting();
    assert!(left > before / 2, "{what}: {left} of {before} waited when the other one had ended");
}

/// How many become ready.
const BURSTS: [(&str, &str); 6] = [
    ("started", ""),
    (
        "resumed",
        "UPDATE scheduled_tasks SET state = 'HELD', held_by = 'pause:many'; \
         UPDATE process_types SET paused = true WHERE name = 'many'; SELECT set_paused('many', false, NULL)",
    ),
    (
        "promoted",
        "UPDATE scheduled_tasks SET state = 'SCHEDULED', execution_time = now() + interval '300 milliseconds'",
    ),
    (
        "retried",
        "UPDATE processes SET status = 'FAILED', completed_at = now(), error_message = 'x'; \
         UPDATE tasks SET status = 'FAILED', error_message = 'x'; DELETE FROM scheduled_tasks; \
         SELECT count(*) FROM retry_processes(ARRAY(SELECT process_id FROM processes))",
    ),
    (
        "reserved for a node that has ended",
        "UPDATE scheduled_tasks SET state = 'HELD', held_by = 'node:gone', reserved_for = 'gone'; \
         INSERT INTO nodes (node_id, name, host, pid, version, executors, lease_seconds, state) \
             VALUES ('gone', 'gone', 'elsewhere', 1, '0', 1, 1, 'DEAD')",
    ),
    ("due for long", "UPDATE scheduled_tasks SET execution_time = execution_time - interval '1 year'"),
];

#[test]
fn another_type_has_its_turn_however_many_of_one_became_ready() {
    for (n, (what, script)) in BURSTS.into_iter().enumerate() {
        let database = with_types(&format!("turns_burst_{n}"), &["many", "other"]);
        database.start_many("many", MANY);
        database.sql().batch_execute(script).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let node = node(&database, 2);
        another_has_its_turn(&database, what);
        node.stop();
    }
}

#[test]
fn another_type_has_its_turn_on_several_nodes_and_beside_locked_rows() {
    let database = with_types("turns_nodes", &["many", "other"]);
    let ids = database.start_many("many", MANY);
    let mut locker = database.sql();
    let mut open = locker.transaction().unwrap();
    open.execute("SELECT FROM processes WHERE process_id = ANY ($1) FOR UPDATE", &[&&ids[..40]]).unwrap();
    let nodes = [node(&database, 2), node(&database, 2)];
    another_has_its_turn(&database, "beside locks");
    drop(open);
    another_has_its_turn(&database, "on two nodes");
    nodes.into_iter().for_each(|node| _ = node.stop());
}

/// Its attempt can't be counted up: what refuses a claim of several stops none of the others.
#[test]
fn a_row_that_refuses_its_claim_stops_no_turns() {
    let database = with_types("turns_refused", &["many", "other"]);
    database.start_many("many", MANY);
    let bad = database.start("other", ProcessInputData::new());
    let sql = "UPDATE tasks SET attempt = 2147483647 WHERE process_id = $1";
    assert_eq!(database.sql().execute(sql, &[&bad]).unwrap(), 1);
    let node = node(&database, 2);
    assert_eq!(database.wait_for(&bad).status, ProcessStatus::Failed);
    another_has_its_turn(&database, "after it");
    node.stop();
}

/// All executors are taken by processes of many tasks: one of them yields.
#[test]
fn another_type_s_first_process_begins_before_any_of_many_tasks_has_ended() {
    for executors in [1, 3] {
        let database = TestDatabase::new(&format!("turns_yield_{executors}"));
        register(&database, "many", 600);
        register(&database, "other", 1);
        database.start_many("many", 20);
        let node = node(&database, executors);
        wait_until("the node is busy", || (node.health().busy() >= executors).then_some(()));
        let id = database.start("other", ProcessInputData::new());
        database.wait_for(&id);
        assert_eq!(database.count("processes WHERE process_type = 'many' AND status = 'COMPLETED'"), 0);
        node.stop();
    }
}

/// A type is not worse off for its processes being short: what is shared is executors.
#[test]
fn short_processes_go_on_beside_ones_of_many_tasks_that_would_take_every_executor() {
    let database = TestDatabase::new("turns_short");
    register(&database, "long", 600);
    register(&database, "short", 1);
    database.start_many("long", 20);
    let ids = database.start_many("short", 300);
    let node = node(&database, 2);
    ids.iter().for_each(|id| _ = database.wait_for(id));
    let ended = database.count("processes WHERE process_type = 'long' AND status = 'COMPLETED'");
    assert!(ended <= 8, "{ended} long ones have ended before the last short one");
    node.stop();
}

#[test]
fn types_that_wait_together_end_together_and_a_higher_priority_comes_before_them_all() {
    let database = with_types("turns_equal", &["a", "b", "c", "urgent"]);
    for name in ["a", "b", "c"] {
        database.start_many(name, 900);
    }
    let node = node(&database, 2);
    let ended = |name: &str| {
        database.count(&format!("processes WHERE process_type = '{name}' AND status = 'COMPLETED'"))
    };
    // The first third is that of the first type until the node has seen who else waits.
    wait_until("one has ended", || (ended("a") + ended("b") + ended("c") > 1200).then_some(()));
    let options = StartOptions { priority: 1, ..StartOptions::default() };
    let requests = vec![StartRequest::default(); 50];
    let urgent = database.store().start_processes("urgent", &requests, options).unwrap();
    let before = [ended("a"), ended("b"), ended("c")];
    urgent.iter().for_each(|id| _ = database.wait_for(id));
    node.stop();
    assert!(before.iter().all(|&count| count > 150), "{before:?}");
    // What a node has claimed already goes on.
    let beside = database.count(
        "processes, (SELECT min(started_at) AS first, max(started_at) AS last FROM processes \
         WHERE process_type = 'urgent') AS urgent WHERE priority = 0 AND started_at > first AND started_at < last",
    );
    assert!(beside < 50, "{beside} others began between the urgent ones");
}

fn names(claimed: &[Claimed]) -> Vec<String> {
    let name = |one: &Claimed| match one {
        Claimed::Ready(claim, _) => format!("{} {}", claim.process_type, claim.priority),
        Claimed::Unreadable { error, .. } => panic!("{error}"),
    };
    let mut names: Vec<_> = claimed.iter().map(name).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_shared_claim_takes_what_is_higher_then_each_one_s_turns_then_what_room_is_left() {
    let database = with_types("turns_claim", &["many", "few", "held"]);
    database.start_many("many", 9);
    database.start_many("few", 2);
    database.start_many("held", 3);
    let mut store = database.store();
    let options = StartOptions { priority: 4, ..StartOptions::default() };
    store.start_processes("few", &[StartRequest::default()], options).unwrap();
    database.sql().batch_execute("UPDATE process_types SET paused = true WHERE name = 'held'").unwrap();
    let types = store.waiting_types(0, None, 9).unwrap();
    let found: Vec<_> = types.iter().map(|it| (it.name.as_str(), it.is_paused)).collect();
    assert_eq!(found, [("many", false), ("held", true), ("few", false)]);
    assert_eq!(store.waiting_types(0, Some("many"), 1).unwrap()[0].name, "held");
    assert_eq!(store.waiting_types(0, Some("few"), 9).unwrap(), []);
    assert_eq!(store.waiting_types(1, None, 9).unwrap(), []);

    database.lives("node");
    let share = |name: &str, most| TypeShare { process_type: name.into(), most, within: None };
    let shared =
        SharedPart { priority: 0, shares: vec![share("few", 1), share("none", 1), share("many", 1)] };
    let above = [QueuePart { lowest: 1, ..QueuePart::WHOLE }];
    let mut claim = |limit, passed_over: &[String]| {
        let beside =
            store.claim_beside_locks("node", limit, &above, Some(&shared), passed_over, false).unwrap();
        let Beside::Done { done, .. } = beside else { panic!("{beside:?}") };
        names(&done.claimed)
    };
    assert_eq!(claim(3, &[]), ["few 0", "few 4", "many 0"]);
    assert_eq!(claim(5, &[]), ["few 0", "many 0", "many 0", "many 0", "many 0"]);
    assert_eq!(claim(9, &[]), vec!["many 0"; 4], "and nothing of types that are not named");
    database.start_many("many", 3);
    database.start_many("few", 3);
    assert_eq!(claim(4, &["many".to_owned()]), vec!["few 0"; 3]);
    let sql = "UPDATE process_types SET paused = true WHERE name = 'many'";
    database.sql().batch_execute(sql).unwrap();
    assert_eq!(claim(2, &[]), Vec::<String>::new(), "while it is paused");
}

#[test]
fn explain_says_how_many_come_before_a_process_as_types_take_turns() {
    let database = with_types("turns_explain", &["many", "other", "high"]);
    let many = database.start_many("many", 50);
    let other = database.start_many("other", 3);
    let options = StartOptions { priority: 1, ..StartOptions::default() };
    database.store().start_processes("high", &vec![StartRequest::default(); 2], options).unwrap();
    database.lives("node");
    let ahead = |id: &str| -> i64 {
        let explanation = database.store().explain(id).unwrap().unwrap();
        let value = serde_json::to_value(&explanation).unwrap();
        find(&value, "ahead").unwrap_or_else(|| panic!("{value:#}")).as_i64().unwrap()
    };
    assert_eq!(ahead(&other[0]), 2 + 1);
    assert_eq!(ahead(&other[2]), 2 + 2 + 3);
    assert_eq!(ahead(&many[0]), 2 + 1);
    assert_eq!(ahead(&many[40]), 2 + 40 + 3);
}

fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => {
            members.get(key).or_else(|| members.values().find_map(|value| find(value, key)))
        }
        Value::Array(items) => items.iter().find_map(|value| find(value, key)),
        _ => None,
    }
}

/// What `Store::open_hot` sets, as far as plans depend on it.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; \
    SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";

/// Buffers that a statement touches; what it changes is taken back.
fn buffers(client: &mut postgres::Client, text: &str, arguments: &str) -> i64 {
    let script = format!(
        "PREPARE it AS {text}; BEGIN; EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE it ({arguments}); ROLLBACK; DEALLOCATE it"
    );
    let answers = client.simple_query(&script).unwrap_or_else(|error| panic!("{error:?}"));
    let lines = answers.iter().filter_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: Value = serde_json::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap();
    let plan = &plan[0]["Plan"];
    plan["Shared Hit Blocks"].as_i64().unwrap() + plan["Shared Read Blocks"].as_i64().unwrap()
}

/// Types with as many processes each, and one with 20,000; only the rows are there that a claim reads.
fn fill(types: usize, each: usize) -> String {
    format!(
        "INSERT INTO process_types (name, definition, tasks) \
             SELECT name, '{{}}', '[{{}}]' FROM (SELECT 'type-' || n AS name FROM generate_series(1, {types}) AS n \
             UNION ALL SELECT 'many') AS names; \
         INSERT INTO processes (process_id, process_type, total_tasks) \
             SELECT t.name || ':' || n, t.name, 1 FROM process_types t, \
                 generate_series(1, CASE t.name WHEN 'many' THEN 20000 ELSE {each} END) AS n; \
         INSERT INTO tasks (task_id, process_id, task_index, name, command, shell, timeout_minutes, max_retries, \
             on_crash, max_output_bytes) \
             SELECT process_id, process_id, 0, 'only', 'true', false, 1, 0, 'rerun', 1 FROM processes; \
         INSERT INTO scheduled_tasks (task_name, task_instance, execution_time) \
             SELECT process_type, process_id, now() - interval '1 hour' FROM processes"
    )
}

#[test]
fn looks_and_shared_claims_read_in_proportion_to_the_types_they_name_whatever_the_statistics_know() {
    for (test, is_analyzed, types, each) in [
        ("turns_read_1", true, 10_000, 1),
        ("turns_read_2", false, 10_000, 1),
        ("turns_read_3", false, 3, 2_000),
    ] {
        let database = TestDatabase::bare(test);
        database.store().migrate(false).unwrap();
        let mut client = database.sql();
        client.batch_execute("ANALYZE processes, tasks, scheduled_tasks, process_types").unwrap();
        client.batch_execute(&fill(types, each)).unwrap();
        if is_analyzed {
            client.batch_execute("ANALYZE processes, tasks, scheduled_tasks, process_types").unwrap();
        }
        client.batch_execute(SETTINGS).unwrap();
        let known = types.min(255);
        let look = buffers(&mut client, include_str!("../../sql/queue/waiting_types.sql"), "0, NULL, 256");
        assert!(look <= 6 * known as i64 + 50, "{test}: a look read {look}");
        let claim = |client: &mut postgres::Client, limit: usize, parts: &str| {
            let arguments = format!("{limit}, {parts}");
            buffers(client, include_str!("../../sql/queue/claimable.sql"), &arguments)
        };
        let plain =
            claim(&mut client, 64, "'{-2147483648}', '{2147483647}', '{null}', '{}', '{}', '{}', '{}'");
        // 32 of the type with many, and one of each of 32 others; or as many as there are.
        let named: Vec<String> =
            (1..=32.min(types)).map(|n| format!("type-{n}")).chain(["many".into()]).collect();
        let list = |value: &str| format!("'{{{}}}'", vec![value; named.len()].join(","));
        let most = format!("'{{{},32}}'", vec!["1"; named.len() - 1].join(","));
        let of_types = format!("'{{{}}}'", named.join(","));
        let shared = format!(
            "{zeros}, {zeros}, {nulls}, '{{}}', {of_types}, {most}, {zeros}",
            zeros = list("0"),
            nulls = list("null"),
        );
        let shared = claim(&mut client, 64, &shared);
        assert!(shared <= plain + 6 * named.len() as i64 + 50, "{test}: {shared} beside {plain}");
    }
}
