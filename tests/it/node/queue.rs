//! The queue's states: what a look reads whatever waits, who keeps his place, what a pause holds.

use std::time::{Duration, Instant};

use postgres::{Client, SimpleQueryMessage};
use process_orchestrator::engine::NodeConfig;
use process_orchestrator::model::retry::RetryPolicy;
use process_orchestrator::store::claims::{ClaimRequest, Claimed};
use process_orchestrator::store::promote::Released;
use process_orchestrator::store::start::{StartOptions, StartRequest};
use process_orchestrator::{ProcessStatus, ProcessType, TaskDefinition};
use serde_json::Value;

use crate::common::{TestDatabase, one_task, wait_until};

/// What `Store::open_hot` sets, as far as plans depend on it.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; \
    SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";

/// A tenth of a large queue: future starts, each with one of 2,000 priorities, rows of a paused type at its front, and
/// ready ones, of which only the rows are there that a claim reads.
const FILL: &str = "
    INSERT INTO process_types (name, definition, tasks, paused)
        SELECT name, '{}', '[{}]', name = 'paused' FROM unnest(ARRAY['future', 'paused', 'ready']) AS name;
    INSERT INTO processes (process_id, process_type, total_tasks)
        SELECT kind || n, kind, 1 FROM generate_series(1, 10000) AS n, unnest(ARRAY['paused', 'ready']) AS kind;
    INSERT INTO tasks (task_id, process_id, task_index, name, command, shell, timeout_minutes, max_retries, on_crash,
        max_output_bytes)
        SELECT process_id, process_id, 0, 'only', 'true', false, 1, 0, 'rerun', 1 FROM processes;
    INSERT INTO scheduled_tasks (task_name, task_instance, execution_time, priority)
        SELECT 'future', 'future' || n, now() + n * interval '1 minute', n % 2000 FROM generate_series(1, 100000) AS n
        UNION ALL
        SELECT process_type, process_id, now() - interval '1 hour', (random() * 2000)::int FROM processes;";

/// Buffers that a statement of the engine's touches, its arguments as SQL; what it changes is taken back.
fn buffers(client: &mut Client, name: &str, arguments: &str) -> i64 {
    let text =
        std::fs::read_to_string(format!("{}/sql/queue/{name}.sql", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let script = format!(
        "PREPARE it AS {text}; BEGIN; EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE it ({arguments}); ROLLBACK; DEALLOCATE it"
    );
    let answers = client.simple_query(&script).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    let lines = answers.iter().filter_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: Value = serde_json::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap();
    let plan = &plan[0]["Plan"];
    plan["Shared Hit Blocks"].as_i64().unwrap() + plan["Shared Read Blocks"].as_i64().unwrap()
}

const WHOLE: &str = "'{-2147483648}', '{2147483647}', '{null}'";

#[test]
fn no_look_walks_priorities_future_starts_or_held_rows() {
    let database = TestDatabase::new("queue_buffers");
    let mut client = database.sql();
    client.batch_execute(FILL).unwrap();
    for table in ["scheduled_tasks", "processes", "tasks"] {
        client.batch_execute(&format!("VACUUM (ANALYZE) {table}")).unwrap();
    }
    client.batch_execute(SETTINGS).unwrap();
    database.lives("node");
    let claim = |client: &mut Client| buffers(client, "claim", &format!("'node', 256, {WHOLE}, '{{}}', 256"));
    let met = claim(&mut client);
    assert!(met <= 12_000, "a claim that meets paused rows read {met} buffers");
    while database.store().hold_paused().unwrap() {}
    database.sql().batch_execute("VACUUM scheduled_tasks").unwrap();
    let claimed = claim(&mut client);
    assert!((256..=12_000).contains(&claimed), "a claim read {claimed} buffers");
    let above = "'{2001}', '{2147483647}', '{null}'";
    for (name, arguments) in [
        ("promote", "NULL, 2000"),
        ("waiting_priorities", &*format!("32, {above}")),
        ("release_held", "2000"),
    ] {
        let read = buffers(&mut client, name, arguments);
        assert!(read <= 10, "{name} with nothing to do read {read} buffers");
    }
}

fn claim_ids(database: &TestDatabase, node: &str, limit: usize) -> Vec<(String, i64)> {
    database.lives(node);
    let batch = database.store().claim_due(node, &ClaimRequest::of(limit)).unwrap();
    database.forget(node);
    let id = |one| match one {
        Claimed::Ready(claim, _) => (claim.process_id.to_string(), claim.version),
        Claimed::Unreadable { error, .. } => panic!("{error}"),
    };
    batch.claimed.into_iter().map(id).collect()
}

#[test]
fn what_was_given_back_or_lost_goes_on_before_what_is_new() {
    let database = TestDatabase::new("queue_place");
    database.register(&one_task("true"));
    let ids = database.start_many("one-task", 3);
    let claimed = claim_ids(&database, "node-a", 2);
    let released = [(claimed[1].0.clone().into(), claimed[1].1)];
    database.store().release("node-a", &released).unwrap();
    assert_eq!(claim_ids(&database, "node-b", 9).into_iter().map(|it| it.0).collect::<Vec<_>>(), ids[1..]);

    // The node of the first one dies; what it had keeps its place too.
    let new = database.start_many("one-task", 1).remove(0);
    let sql = "UPDATE tasks SET started_at = now() WHERE process_id = $1";
    database.sql().execute(sql, &[&ids[0]]).unwrap();
    let node = database.node_with(NodeConfig { executors: 1, ..database.config() });
    let ended = |id: &str| database.wait_for(id).completed_at.unwrap();
    wait_until("it was lost", || {
        (database.count("task_executions WHERE outcome = 'LOST'") > 0).then_some(())
    });
    assert_eq!(database.wait_for(&ids[0]).status, ProcessStatus::Completed);
    ended(&new);
    node.stop();
    let lost = "SELECT min(execution_time) < (SELECT created_at FROM processes WHERE process_id = $1) FROM scheduled_tasks";
    assert_eq!(
        database.sql().query_one(lost, &[&new]).unwrap().get::<_, Option<bool>>(0),
        None,
        "all have ended"
    );
}

#[test]
fn a_lost_execution_keeps_its_time_and_says_since_when_it_waits() {
    let database = TestDatabase::new("queue_waiting_since");
    database.register(&one_task("true"));
    let id = database.start_many("one-task", 1).remove(0);
    let long_ago = "UPDATE scheduled_tasks SET execution_time = now() - interval '1 hour'";
    database.sql().batch_execute(long_ago).unwrap();
    let claimed = claim_ids(&database, "node-a", 1);
    database.store().release("node-a", &[(id.as_str().into(), claimed[0].1)]).unwrap();
    let row = "state = 'READY' AND execution_time < now() - interval '59 minutes' AND waiting_since > now() - interval '1 minute'";
    assert_eq!(database.count(&format!("scheduled_tasks WHERE {row}")), 1);
    database.lives("node-b");
    let batch = database.store().claim_due("node-b", &ClaimRequest::of(1)).unwrap();
    let Claimed::Ready(claim, _) = &batch.claimed[0] else { panic!("{batch:?}") };
    assert!(
        claim.due_ago > Duration::from_secs(3500) && claim.queue_delay < Duration::from_secs(60),
        "{claim:?}"
    );
}

#[test]
fn what_is_started_for_a_time_that_has_passed_waits_from_its_start_on() {
    let database = TestDatabase::new("queue_past_start");
    database.register(&one_task("true"));
    let options = StartOptions { start_at: "2020-01-01T00:00:00Z".parse().ok(), ..StartOptions::default() };
    let mut store = database.store();
    store.start_processes("one-task", &[StartRequest::default()], options).unwrap();
    let status = store.status().unwrap();
    assert_eq!(status.due, 1);
    assert!(status.oldest_due_age_seconds.is_some_and(|age| age < 60.0), "{status:?}");
    database.lives("node-a");
    let batch = store.claim_due("node-a", &ClaimRequest::of(1)).unwrap();
    let Claimed::Ready(claim, _) = &batch.claimed[0] else { panic!("{batch:?}") };
    assert!(claim.queue_delay < Duration::from_secs(60), "{claim:?}");
    // Its place among the others is that of its time.
    assert!(claim.due_ago > Duration::from_secs(86_400), "{claim:?}");
}

/// Rows of one type by their state.
fn states(database: &TestDatabase, process_type: &str) -> String {
    let query = "SELECT coalesce(string_agg(state || ' ' || n, ', ' ORDER BY state), '') FROM \
        (SELECT state, count(*) AS n FROM scheduled_tasks WHERE task_name = $1 GROUP BY state) AS counted";
    database.sql().query_one(query, &[&process_type]).unwrap().get(0)
}

fn named(name: &str) -> ProcessType {
    ProcessType::new(name, "").add_task("only", "true", ".", 1.0, 0)
}

#[test]
fn pausing_and_resuming_much_that_waits_returns_at_once_and_stalls_nobody() {
    const WAITING: usize = 5_000;
    let database = TestDatabase::new("queue_pause");
    for name in ["many", "other"] {
        database.register(&named(name));
    }
    database.start_many("many", WAITING);
    let node_settings = || NodeConfig { poll_interval: Duration::from_secs(60), ..database.config() };
    let mut store = database.store();
    store.pause_process_type("many", None).unwrap();
    assert_eq!(
        states(&database, "many"),
        format!("READY {WAITING}"),
        "nothing was moved by the pause itself"
    );
    let node = database.node_with(node_settings());
    let other = database.start_many("other", 20);
    other.iter().for_each(|id| assert_eq!(database.wait_for(id).status, ProcessStatus::Completed));
    wait_until("claims and what follows them have held them all", || {
        (states(&database, "many") == format!("HELD {WAITING}")).then_some(())
    });
    let held = "scheduled_tasks WHERE held_by = 'pause:many' AND state = 'HELD'";
    assert_eq!(database.count(held), WAITING as i64);
    // What is started meanwhile is held from the beginning.
    database.start_many("many", 1);
    assert_eq!(database.count(held), WAITING as i64 + 1);
    store.resume_process_type("many").unwrap();
    assert!(database.count("scheduled_tasks") > 0, "resuming waits for nobody");
    wait_until("all have ended", || (database.count("scheduled_tasks") == 0).then_some(()));
    node.stop();
    assert_eq!(database.count("processes WHERE status = 'COMPLETED'"), WAITING as i64 + 21);
}

#[test]
fn a_row_that_became_held_after_its_type_was_resumed_is_let_go() {
    let database = TestDatabase::new("queue_race");
    database.register(&one_task("true"));
    let id = database.start_many("one-task", 1).remove(0);
    let late = "UPDATE scheduled_tasks SET state = 'HELD', held_by = 'pause:one-task'";
    database.sql().batch_execute(late).unwrap();
    assert_eq!(database.store().release_held().unwrap(), Released::All);
    assert_eq!(database.store().release_held().unwrap(), Released::Nothing);
    database.sql().batch_execute(late).unwrap();
    let node = database.node();
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    node.stop();
}

#[test]
fn whoever_writes_no_state_has_it_derived() {
    let database = TestDatabase::new("queue_trigger");
    database.register(&one_task("true"));
    database.start_many("one-task", 1);
    let states = |write: &str| {
        database.sql().batch_execute(&format!("UPDATE scheduled_tasks SET {write}")).unwrap();
        let row = "SELECT state::text, coalesce(held_by, '') FROM scheduled_tasks";
        let row = database.sql().query_one(row, &[]).unwrap();
        format!("{} {}", row.get::<_, String>(0), row.get::<_, String>(1)).trim().to_owned()
    };
    for (write, expected) in [
        // As the release before claims, gives back, retries and reserves.
        ("picked = true, picked_by = 'old', version = version + 1", "CLAIMED"),
        ("picked = false, picked_by = NULL, execution_time = now()", "READY"),
        ("execution_time = now() + interval '1 minute'", "SCHEDULED"),
        ("picked = true, picked_by = 'old'", "CLAIMED"),
        ("picked = false, picked_by = NULL", "SCHEDULED"),
        ("execution_time = now() - interval '1 minute'", "READY"),
        ("reserved_for = 'one'", "HELD node:one"),
        ("execution_time = now() + interval '1 minute'", "HELD node:one"),
        ("picked = true, picked_by = 'one'", "CLAIMED"),
        ("picked = false, picked_by = NULL", "HELD node:one"),
        ("reserved_for = NULL, execution_time = now()", "READY"),
        ("state = 'HELD', held_by = 'pause:one-task'", "HELD pause:one-task"),
        ("execution_time = now() + interval '1 minute'", "HELD pause:one-task"),
        ("picked = true, picked_by = 'old'", "CLAIMED"),
        ("cancel_requested_at = now()", "CLAIMED"),
    ] {
        assert_eq!(states(write), expected, "after {write}");
    }
    let insert = "INSERT INTO scheduled_tasks (task_name, task_instance, execution_time) VALUES ('one-task', 'hand', now())";
    database.sql().batch_execute(insert).unwrap();
    assert_eq!(database.count("scheduled_tasks WHERE task_instance = 'hand' AND state = 'READY'"), 1);
}

/// Whether what the work commits notifies.
fn notifies(database: &TestDatabase, work: impl FnOnce()) -> bool {
    use postgres::fallible_iterator::FallibleIterator;
    let mut listener = database.sql();
    listener.batch_execute(&format!("LISTEN \"{}\"", database.schema)).unwrap();
    work();
    // The end of what is to come: notifications arrive in the order of their commits.
    database.sql().batch_execute(&format!("NOTIFY \"{}\", 'end'", database.schema)).unwrap();
    let mut heard = listener.notifications();
    let first = heard.timeout_iter(Duration::from_secs(60)).next().unwrap().unwrap();
    first.payload() != "end"
}

fn start(database: &TestDatabase, priority: i32) {
    let options = StartOptions { priority, ..StartOptions::default() };
    database.store().start_processes("one-task", &[StartRequest::default()], options).unwrap();
}

#[test]
fn a_start_notifies_only_where_a_node_would_use_it_and_can_be_prepared_otherwise() {
    let database = TestDatabase::new("queue_notify");
    database.register(&one_task("true"));
    assert!(!notifies(&database, || start(&database, 0)), "nobody is there");
    let mut node = database.store();
    assert!(node.announce_room().unwrap());
    assert!(!node.is_room_elsewhere().unwrap(), "only here");
    assert!(database.store().is_room_elsewhere().unwrap());
    assert!(notifies(&database, || start(&database, 0)), "a node has room");
    let quietly = "SELECT start_process('one-task', notify => false)";
    assert!(!notifies(&database, || database.sql().batch_execute(quietly).unwrap()));
    let prepared = |text: &str| {
        let mut client = database.sql();
        let done = client.batch_execute(&format!("BEGIN; {text}; PREPARE TRANSACTION '{}'", database.schema));
        let rest = if done.is_ok() {
            format!("ROLLBACK PREPARED '{}'", database.schema)
        } else {
            "ROLLBACK".to_owned()
        };
        client.batch_execute(&rest).unwrap();
        done.is_ok()
    };
    assert!(prepared(quietly), "whatever nodes do");
    assert!(!prepared("SELECT start_process('one-task')"), "a node has room");
    node.withdraw_room().unwrap();
    assert!(!notifies(&database, || start(&database, 0)));
    assert!(prepared("SELECT start_process('one-task')"), "all nodes are busy");

    // A full node hears of what has precedence over something that it holds; one of the release before of all.
    let nodes = "INSERT INTO nodes (node_id, name, host, pid, version, executors, lease_seconds, notify_above) \
        VALUES ('full', 'full', '', 1, '', 1, 300, 2)";
    database.sql().batch_execute(nodes).unwrap();
    assert!(!notifies(&database, || start(&database, 2)));
    assert!(notifies(&database, || start(&database, 3)));
    database.sql().batch_execute("UPDATE nodes SET notify_above = DEFAULT").unwrap();
    assert!(notifies(&database, || start(&database, -9)));
    database.sql().batch_execute("UPDATE nodes SET state = 'STOPPED'").unwrap();
    assert!(!notifies(&database, || start(&database, 3)));
}

/// Whoever notifies holds the lock of the 50 ms in which it began.
#[test]
fn a_start_leaves_it_to_one_that_will_notify_unless_that_is_under_way_for_long() {
    let database = TestDatabase::new("queue_slices");
    database.register(&one_task("true"));
    let mut node = database.store();
    assert!(node.announce_room().unwrap());
    let under_way = |since_ms: i64, until_ms: i64, every_ms: i64| {
        let mut client = database.sql();
        let locks = "SELECT count(pg_advisory_lock(1347376945, \
            ((hashtext(current_schema()) + (extract(epoch FROM clock_timestamp()) * 20)::bigint + n / 50) % 2147483647)::integer)) \
            FROM generate_series($1::bigint, $2::bigint, $3::bigint) AS n";
        client.query_one(locks, &[&since_ms, &until_ms, &every_ms]).unwrap();
        client
    };
    // Longer than the test lasts.
    let mut others = under_way(-1000, 60_000, 100);
    for _ in 0..10 {
        let what = "one that began in these 50 ms or in those before will notify";
        assert!(!notifies(&database, || start(&database, 0)), "{what}");
    }
    others.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
    let _long = under_way(-60_000, -150, 50);
    assert!(notifies(&database, || start(&database, 0)), "nobody relies on one that may last");
}

/// Polling would hide a wake-up that is missing: it comes once a minute.
#[test]
fn what_is_started_or_tried_again_begins_without_a_poll() {
    let database = TestDatabase::new("queue_wakeups");
    database.register(&one_task("true"));
    let retry = RetryPolicy { initial_delay: Duration::from_millis(300), ..RetryPolicy::default() };
    let fails = TaskDefinition { max_retries: 1, retry, ..TaskDefinition::new("only", "false") };
    database.register(&ProcessType::new("fails-twice", "").add(fails));
    let config = NodeConfig { poll_interval: Duration::from_secs(60), ..database.config() };
    let node = database.node_with(config);
    let began = Instant::now();
    for _ in 0..20 {
        let id = database.start_many("one-task", 1).remove(0);
        assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    }
    let id = database.start_many("fails-twice", 1).remove(0);
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Failed, "its retry had a time of its own");
    assert!(began.elapsed() < Duration::from_secs(50), "each waited for a poll");
    node.stop();
}
