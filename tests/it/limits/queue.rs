//! Limits beside the rest of the queue: turns of types, others' locks, a long line, and processes that have none.

use postgres::SimpleQueryMessage;
use serde_json::{Value, json};

use super::{Gauge, all_end, limit, register, set_max, start};
use crate::common::{TestDatabase, wait_until};

fn names(how_many: usize) -> impl Iterator<Item = String> {
    (0..how_many).map(|n| format!("k{n}"))
}

fn gpu(max: u32) -> Value {
    json!([{"name": "gpu", "max": max, "holds": "process"}])
}

#[test]
fn types_that_take_turns_and_limits_do_not_keep_one_another() {
    let database = TestDatabase::new("limits_turns");
    for (name, tasks) in [("bound", 2), ("free", 2), ("other", 1)] {
        register(&database, name, tasks, 0);
    }
    limit(&database, "bound", &gpu(2));
    start(&database, "bound", names(300));
    start(&database, "free", names(150));
    start(&database, "other", names(100));
    let gauge = Gauge::new(5);
    let nodes: Vec<_> = (0..2).map(|_| gauge.node(&database, 4)).collect();
    let left = |name: &str| database.count(&format!("scheduled_tasks WHERE task_name = '{name}'"));
    wait_until("the others have ended", || (left("free") + left("other") == 0).then_some(()));
    assert!(left("bound") > 150, "they went beside the line of 300");
    set_max(&database, "gpu", Some(8));
    all_end(&database);
    for node in nodes {
        node.stop();
    }
    assert_eq!(gauge.most_processes("bound"), 8);
}

#[test]
fn somebodys_lock_on_a_limit_delays_only_what_it_bounds() {
    let database = TestDatabase::new("limits_locked");
    for name in ["bound", "second", "free"] {
        register(&database, name, 1, 0);
    }
    limit(&database, "bound", &gpu(2));
    limit(&database, "second", &json!([{"name": "type:second", "max": 2, "holds": "process"}]));
    let mut somebody = database.sql();
    somebody.batch_execute("BEGIN; SELECT set_limit('gpu', 3)").unwrap();
    start(&database, "bound", names(6));
    start(&database, "second", names(20));
    start(&database, "free", names(20));
    let gauge = Gauge::new(1);
    let node = gauge.node(&database, 4);
    wait_until("the others have ended", || {
        (database.count("scheduled_tasks WHERE task_name <> 'bound'") == 0).then_some(())
    });
    assert_eq!(gauge.begun().len(), 40, "nothing of the locked one");
    start(&database, "free", names(5));
    wait_until("new ones go as well", || (gauge.begun().len() == 45).then_some(()));
    somebody.batch_execute("COMMIT").unwrap();
    all_end(&database);
    node.stop();
    assert!(gauge.most_commands("bound") <= 3);
}

#[test]
fn somebodys_lock_on_a_row_of_one_that_waits_delays_that_one_alone() {
    let database = TestDatabase::new("limits_row");
    register(&database, "bound", 1, 0);
    limit(&database, "bound", &gpu(1));
    let ids = start(&database, "bound", names(6));
    let mut somebody = database.sql();
    somebody.batch_execute("BEGIN").unwrap();
    for (table, id) in [("processes", &ids[1]), ("scheduled_tasks", &ids[3])] {
        let column = if table == "processes" { "process_id" } else { "task_instance" };
        somebody.execute(&format!("SELECT FROM {table} WHERE {column} = $1 FOR UPDATE"), &[id]).unwrap();
    }
    let gauge = Gauge::new(1);
    let node = gauge.node(&database, 4);
    wait_until("the others have ended", || {
        (database.count("processes WHERE status = 'COMPLETED'") == 4).then_some(())
    });
    somebody.batch_execute("ROLLBACK").unwrap();
    all_end(&database);
    node.stop();
    assert_eq!(gauge.most_processes("bound"), 1);
}

#[test]
fn with_a_slot_free_the_next_one_begins_within_a_second_whatever_was_missed() {
    let database = TestDatabase::new("limits_missed");
    register(&database, "bound", 1, 0);
    limit(&database, "bound", &gpu(1));
    let gauge = Gauge::new(1);
    let node = gauge.node(&database, 2);
    // As if a claim had counted a slot that was being freed at that moment: nobody has them in mind.
    let mut sql = database.sql();
    for round in 0..3 {
        start(&database, "bound", names(3));
        let held = "UPDATE scheduled_tasks SET state = 'HELD', held_by = 'limit:gpu' WHERE state = 'READY'";
        sql.execute(held, &[]).unwrap();
        all_end(&database);
        assert_eq!(database.count("processes WHERE status = 'COMPLETED'"), 3 * (round + 1));
    }
    let late = "processes p JOIN task_executions e USING (process_id) WHERE e.started_at - p.created_at > interval '1.5 s'";
    assert_eq!(database.count(late), 0);
    node.stop();
}

/// What `Store::open_hot` sets, as far as plans depend on it.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; \
    SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";
const CLAIM: &str = include_str!("../../../sql/queue/claim.sql");

/// The plan of a claim of up to eight, with what it has read, and is rolled back.
fn claim(database: &TestDatabase) -> Value {
    let mut client = database.sql();
    client.batch_execute(SETTINGS).unwrap();
    client.batch_execute(&format!("PREPARE it AS {CLAIM}")).unwrap();
    let explain = "BEGIN; EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) \
         EXECUTE it ('node', 8, ARRAY[-2147483648], ARRAY[2147483647], ARRAY[NULL::float8], '{}', 8); ROLLBACK";
    // A session's first call reads the catalog as well.
    client.simple_query(explain).unwrap();
    let answers = client.simple_query(explain).unwrap();
    let lines = answers.iter().filter_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    serde_json::from_str::<Value>(&lines.collect::<Vec<_>>().join("\n")).unwrap()[0]["Plan"].clone()
}

fn buffers(plan: &Value) -> i64 {
    ["Shared Hit Blocks", "Shared Read Blocks"].iter().map(|it| plan[it].as_i64().unwrap()).sum()
}

/// How often a node of the plan on a function was executed.
fn calls(plan: &Value, function: &str) -> i64 {
    let here = if plan["Function Name"] == function { plan["Actual Loops"].as_i64().unwrap() } else { 0 };
    here + plan["Plans"].as_array().into_iter().flatten().map(|below| calls(below, function)).sum::<i64>()
}

#[test]
fn a_claim_beside_a_long_line_reads_no_more_and_without_limits_none_is_asked() {
    const LINE: i32 = 20_000;
    let database = TestDatabase::alone("limits_long");
    database.lives("node");
    for name in ["bound", "free"] {
        register(&database, name, 1, 0);
    }
    limit(
        &database,
        "bound",
        &json!([{"name": "gpu", "max": 1, "holds": "process"},
        {"name": "type:bound:config.customer", "max": 1, "holds": "process", "key": [{"variable": "config.customer"}]}]),
    );
    start(&database, "free", names(40));
    let plan = claim(&database);
    let without = buffers(&plan);
    assert_eq!(calls(&plan, "admit_processes"), 0, "{plan:#}");
    let many = "SELECT start_processes('bound', array_agg(jsonb_build_object('config', jsonb_build_object('customer', n % 500))), \
        NULL, NULL, 5) FROM generate_series(1, $1) AS n";
    let mut sql = database.sql();
    sql.query(many, &[&LINE]).unwrap();
    // One has the only slot; the others are held in bulk, as the poller does it.
    let mut store = database.store();
    let batch = store.claim_due("node", &process_orchestrator::store::claims::ClaimRequest::of(4)).unwrap();
    assert_eq!((batch.claimed.len(), batch.blocked), (1, 3));
    let held = "scheduled_tasks WHERE state = 'HELD'";
    while store.hold_blocked().unwrap() {}
    assert_eq!(database.count(held), i64::from(LINE) - 1);
    sql.batch_execute("VACUUM scheduled_tasks").unwrap();
    let plan = claim(&database);
    assert!(buffers(&plan) <= 2 * without, "{} in place of {without}: {plan:#}", buffers(&plan));
    assert_eq!(calls(&plan, "admit_processes"), 0, "nothing of it is met");
    // One ends: the next one goes, and is met alone.
    let update = "DELETE FROM scheduled_tasks WHERE picked";
    sql.execute(update, &[]).unwrap();
    assert_eq!(database.count(held), i64::from(LINE) - 2);
    let plan = claim(&database);
    assert_eq!(calls(&plan, "admit_processes"), 1);
    assert!(buffers(&plan) <= without + 800, "{} in place of {without}: {plan:#}", buffers(&plan));
}
