//! Rows made unreadable by hand: each is quarantined or told, and its neighbours run and are shown.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use process_orchestrator::http::Endpoint;
use process_orchestrator::store::claims::ClaimRequest;
use process_orchestrator::store::membership::NodeIdentity;
use process_orchestrator::{ProcessInputData, ProcessStatus};
use serde_json::Value;

use super::quick;
use crate::common::{TestDatabase, one_task, wait_until};
use crate::program::Bench;

/// Takes away what keeps nonsense out of the tables.
fn without_checks(database: &TestDatabase) {
    database
        .sql()
        .batch_execute(
            "DO $$ DECLARE c record; BEGIN \
             FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint \
                 WHERE contype = 'c' AND conrelid <> 0 AND connamespace = current_schema()::regnamespace \
             LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname); END LOOP; \
             FOR c IN SELECT contypid::regtype AS t, conname FROM pg_constraint \
                 WHERE contype = 'c' AND contypid <> 0 AND connamespace = current_schema()::regnamespace \
             LOOP EXECUTE format('ALTER DOMAIN %s DROP CONSTRAINT %I', c.t, c.conname); END LOOP; END $$",
        )
        .unwrap();
}

/// What the damage does, and what becomes of the process: a part of the message it fails with, or "" if it completes.
type Damage = (&'static str, &'static str);

const OF_PROCESSES: &[Damage] = &[
    ("processes SET status = 'NONSENSE'", ""),
    ("processes SET current_task_index = -1", "is missing"),
    ("processes SET current_task_index = 2147483647", "is missing"),
    ("processes SET total_tasks = -1", "column total_tasks is -1"),
    ("processes SET input_data = '[]'", "input_data"),
    ("processes SET input_data = '{\"config\": {\"a\": {}}}'", "config"),
    ("processes SET process_context = '[1]'", "column process_context is [1], not an object"),
    ("processes SET priority = -2147483648", ""),
];

const OF_TASKS: &[Damage] = &[
    ("tasks SET status = 'NONSENSE'", ""),
    ("tasks SET attempt = 2147483647", "integer out of range"),
    ("tasks SET attempt = -7", "column attempt is -6"),
    ("tasks SET retry_count = -1", "column retry_count is -1"),
    ("tasks SET max_retries = -1", "column max_retries is -1"),
    ("tasks SET timeout_minutes = 'NaN'", "column timeout_minutes is NaN"),
    ("tasks SET timeout_minutes = 'Infinity'", "column timeout_minutes is inf"),
    ("tasks SET timeout_minutes = -1", "column timeout_minutes is -1"),
    ("tasks SET timeout_minutes = 1.53e17", ""),
    ("tasks SET retry = '{\"a\": 1}'", "column retry"),
    ("tasks SET retry = '7'", "column retry"),
    ("tasks SET environment = '[1]'", "column environment"),
    ("tasks SET environment = '{\"A\": 1}'", "column environment"),
    ("tasks SET max_output_bytes = -1", "column max_output_bytes is -1"),
    ("tasks SET max_output_bytes = 9223372036854775807", ""),
    ("tasks SET started_at = 'infinity', updated_at = '290000-01-01'", ""),
    ("tasks SET on_crash = 'NONSENSE'", ""),
    ("tasks SET command = ''", "command"),
    ("tasks SET task_index = -5", "is missing"),
    ("tasks SET name = E'a\\nb'", ""),
];

const OF_THE_QUEUE: &[Damage] = &[
    ("scheduled_tasks SET version = 9223372036854775807", "bigint out of range"),
    ("scheduled_tasks SET version = -5", ""),
    ("scheduled_tasks SET execution_time = '-infinity'", ""),
    ("scheduled_tasks SET execution_time = '4713-01-01 BC'", ""),
    ("scheduled_tasks SET priority = 2147483647", ""),
    ("scheduled_tasks SET consecutive_failures = 2147483647", ""),
    ("scheduled_tasks SET task_name = 'no-such-type'", ""),
    ("scheduled_tasks SET picked = true", ""),
    ("scheduled_tasks SET picked_by = 'nobody'", ""),
    ("scheduled_tasks SET picked = true, picked_by = 'nobody'", "while its current task was \"NOT_STARTED\""),
];

fn key_of(damage: &str) -> &'static str {
    if damage.starts_with("scheduled_tasks") { "task_instance" } else { "process_id" }
}

/// The status and message of every process, read without the program's help.
fn ends(database: &TestDatabase) -> BTreeMap<String, (String, String)> {
    let query = "SELECT process_id, status, coalesce(error_message, '') FROM processes";
    let rows = database.sql().query(query, &[]).unwrap();
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}

#[test]
fn waiting_processes_with_damaged_rows_are_set_aside_one_by_one_and_all_others_run() {
    let database = TestDatabase::new("poison_waiting");
    without_checks(&database);
    database.register(&one_task("true"));
    let damages: Vec<_> = [OF_PROCESSES, OF_TASKS, OF_THE_QUEUE].concat();
    let ids = database.start_many("one-task", damages.len() + 10);
    let mut client = database.sql();
    for (id, (damage, _)) in ids.iter().zip(&damages) {
        let update = format!("UPDATE {damage} WHERE {} = $1", key_of(damage));
        assert_eq!(client.execute(&update, &[&id]).unwrap(), 1, "{damage}");
    }
    let node = database.node_with(quick(&database));
    wait_until(&format!("the queue is empty; it holds {:?}", damages.len()), || {
        (database.count("scheduled_tasks") == 0).then_some(())
    });
    let ends = ends(&database);
    for (number, id) in ids.iter().enumerate() {
        let (damage, part) = damages.get(number).copied().unwrap_or(("nothing", ""));
        let (status, message) = &ends[id];
        let expected = if part.is_empty() { "COMPLETED" } else { "FAILED" };
        assert_eq!(status, expected, "{damage}: {message}");
        assert!(message.contains(part), "{damage}: {message}");
    }
    node.stop();
}

/// Registers a node of another host that will never be heard of again.
fn dead(database: &TestDatabase, node_id: &str) {
    let identity = NodeIdentity {
        lock_key: 0,
        node_id: node_id.to_owned(),
        name: node_id.to_owned(),
        host: "elsewhere".to_owned(),
        pid: 1,
        executors: 1,
        lease: Duration::from_secs(300),
        heartbeat: Duration::from_secs(2),
        dead_after: Duration::from_secs(10),
        place: None,
    };
    database.store().register_node(&identity).unwrap();
    // It held its lock, which is nobody's now.
    let update = "UPDATE nodes SET lock_key = $2 WHERE node_id = $1";
    database.sql().execute(update, &[&node_id, &fastrand::i32(..)]).unwrap();
}

#[test]
fn damaged_rows_of_dead_nodes_and_of_their_claims_keep_nobody_from_taking_over() {
    let database = TestDatabase::new("poison_dead");
    without_checks(&database);
    database.register(&one_task("true"));
    let damages: &[Damage] = &[
        ("processes SET status = 'NONSENSE'", ""),
        ("processes SET total_tasks = -1", "column total_tasks is -1"),
        ("processes SET current_task_index = -3", "is missing"),
        ("tasks SET status = 'NONSENSE'", "while its current task was \"NONSENSE\""),
        ("tasks SET attempt = -5", "column attempt is -5"),
        ("tasks SET retry_count = -5", "column retry_count is -5"),
        ("tasks SET on_crash = 'NONSENSE'", "on_crash"),
        ("tasks SET started_at = 'infinity'", ""),
        ("tasks SET started_at = '-infinity'", ""),
        ("tasks SET started_at = '4714-12-01 BC'", ""),
        ("tasks SET started_at = '290000-01-01'", ""),
        ("scheduled_tasks SET version = 9223372036854775807", "bigint out of range"),
        ("scheduled_tasks SET picked_by = NULL", ""),
    ];
    let nodes = [
        ("dead-1", "state = state"),
        ("dead-2", "state = 'NONSENSE'"),
        ("dead-3", "last_heartbeat = 'infinity'"),
        ("dead-4", "last_heartbeat = '290000-01-01'"),
        ("dead-5", "lease_seconds = 'NaN', last_heartbeat = '-infinity'"),
        ("dead-6", "lease_seconds = -1, pid = -1, executors = -1"),
    ];
    let ids = database.start_many("one-task", damages.len() + nodes.len());
    for (node_id, _) in &nodes {
        dead(&database, node_id);
    }
    // The first has everything that is damaged, each of the others one process.
    assert_eq!(
        database.store().claim_due("dead-1", &ClaimRequest::of(damages.len() + 1)).unwrap().claimed.len(),
        damages.len() + 1
    );
    for (node_id, _) in &nodes[1..] {
        assert_eq!(database.store().claim_due(node_id, &ClaimRequest::of(1)).unwrap().claimed.len(), 1);
    }
    let mut client = database.sql();
    for (id, (damage, _)) in ids.iter().zip(damages) {
        let update = format!("UPDATE {damage} WHERE {} = $1", key_of(damage));
        assert_eq!(client.execute(&update, &[&id]).unwrap(), 1, "{damage}");
    }
    for (node_id, damage) in &nodes {
        client.execute(&format!("UPDATE nodes SET {damage} WHERE node_id = $1"), &[node_id]).unwrap();
    }
    let node = database.node_with(quick(&database));
    wait_until("everything has ended", || (database.count("scheduled_tasks") == 0).then_some(()));
    node.stop();
    let ends = ends(&database);
    for (number, id) in ids.iter().enumerate() {
        let (damage, part) = damages.get(number).copied().unwrap_or(("a node", ""));
        let (status, message) = &ends[id];
        assert_eq!(status, if part.is_empty() { "COMPLETED" } else { "FAILED" }, "{damage}: {message}");
        assert!(message.contains(part), "{damage}: {message}");
    }
    assert_eq!(database.count("nodes WHERE state = 'DEAD'"), 6);
}

/// The JSON that the endpoint answers.
fn get(endpoint: &Endpoint, path: &str) -> (String, Value) {
    let address = endpoint.address();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap())
}

#[test]
fn pages_with_unreadable_rows_show_the_others_and_say_what_is_wrong() {
    let bench = Bench::with_tables("poison_shown");
    let database = &bench.database;
    database.register(&one_task("true"));
    let good = database.run(&one_task("true"), ProcessInputData::new()).process.process_id;
    let ids = database.start_many("one-task", 4);
    dead(database, "odd-node");
    without_checks(database);
    let mut client = database.sql();
    for (id, damage) in ids.iter().zip([
        "processes SET status = 'NONSENSE'",
        "processes SET created_at = 'infinity'",
        "processes SET created_at = '20000-01-01'",
        "processes SET created_at = '-infinity'",
    ]) {
        client.execute(&format!("UPDATE {damage} WHERE process_id = $1"), &[id]).unwrap();
    }
    client
        .batch_execute(&format!(
            "UPDATE nodes SET last_heartbeat = 'infinity' WHERE node_id = 'odd-node'; \
             INSERT INTO process_types (name, definition, tasks, created_at) VALUES ('odd', '7', '[]', 'infinity'); \
             INSERT INTO task_executions SELECT process_id, task_index, 2, node_id, command, 'NONSENSE', exit_code, \
             signal, started_at, completed_at, 'Infinity', cpu_ms, peak_memory_bytes, output, output_bytes, \
             error_message FROM task_executions WHERE process_id = '{good}'; \
             INSERT INTO tasks SELECT task_id || 'x', process_id, 1, 'odd', command, shell, working_directory, \
             environment, timeout_minutes, max_retries, retry, on_crash, max_output_bytes, 'NONSENSE' \
             FROM tasks WHERE process_id = '{good}' AND task_index = 0"
        ))
        .unwrap();

    // A page at a time, one row each: an unreadable one does not end the list.
    let (mut seen, mut problems, mut after) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let page = bench.run(&[&["list", "--limit", "1", "--json"][..], &after].concat()).expect(0).json();
        let ids = page["processes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["process_id"].as_str().unwrap().to_owned());
        seen.extend(ids);
        problems.extend(page["unreadable"].as_array().into_iter().flatten().map(ToString::to_string));
        let Some(next) = page["next"].as_str() else { break };
        after = vec!["--after", Box::leak(next.to_owned().into_boxed_str())];
    }
    assert_eq!(seen, std::slice::from_ref(&good));
    assert_eq!(problems.len(), 4, "{problems:?}");
    for (id, part) in ids.iter().zip(["column status is", "created_at", "created_at", "created_at"]) {
        assert!(
            problems.iter().any(|it| it.contains(id.as_str()) && it.contains(part)),
            "{id}: {problems:?}"
        );
    }
    let list = bench.run(&["list"]).expect(0);
    assert!(list.out.contains(&good), "{list:#?}");
    let told = format!("failed to read process \"{}\": column status is \"NONSENSE\"", ids[0]);
    assert!(list.err.contains(&told), "{list:#?}");
    let show = bench.run(&["show", &ids[0]]).expect(1);
    assert!(show.err.contains(&told), "{show:#?}");

    for (words, part, problem) in [
        (&["show", &good][..], "only  COMPLETED", "column status is \"NONSENSE\""),
        (&["logs", &good], "", "column outcome is \"NONSENSE\""),
        (&["nodes"], "STOPPED", "node \"odd-node\": column last_heartbeat"),
        (&["types", "list"], "one-task", "process type \"odd\": column created_at"),
    ] {
        let shown = bench.run(words).expect(0);
        assert!(shown.out.contains(part) && shown.err.contains(problem), "{words:?}: {shown:#?}");
        let json = bench.run(&[words, &["--json"]].concat()).expect(0).json();
        let problems = json["unreadable"].to_string().replace("\\\"", "\"");
        assert!(problems.contains(problem), "{words:?}: {json}");
    }

    let schema = database.schema.clone();
    let endpoint =
        Endpoint::start("127.0.0.1:0".parse().unwrap(), Arc::clone(&database.source), schema, None, None)
            .unwrap();
    for (path, key) in [
        ("/processes".to_owned(), "processes"),
        (format!("/processes/{good}/tasks"), "tasks"),
        (format!("/processes/{good}/executions"), "executions"),
        ("/process-types".to_owned(), "process_types"),
        ("/nodes".to_owned(), "nodes"),
        ("/status".to_owned(), "processes"),
    ] {
        let (status, body) = get(&endpoint, &path);
        assert_eq!(status, "HTTP/1.1 200 OK", "{path}: {body}");
        let rows = body[key].as_array().map_or(1, Vec::len);
        assert!(rows == 1, "{path}: {body}");
        assert!(!body["unreadable"].as_array().unwrap().is_empty(), "{path}: {body}");
    }
    let (status, body) = get(&endpoint, &format!("/processes/{}", ids[0]));
    assert_eq!(status, "HTTP/1.1 500 Internal Server Error");
    assert!(body["error"]["message"].as_str().unwrap().contains("column status is \"NONSENSE\""), "{body}");
    endpoint.stop();
}

#[test]
fn damaged_process_types_and_migrations_are_told_and_processes_run_on() {
    let bench = Bench::with_tables("poison_types");
    let database = &bench.database;
    database.register(&one_task("true"));
    let id = database.start("one-task", ProcessInputData::new());
    without_checks(database);
    let set = |what: &str| database.sql().batch_execute(&format!("UPDATE process_types SET {what}")).unwrap();
    for tasks in ["7", "{}", "[7]", "[{\"task_index\": \"x\"}]"] {
        set(&format!("tasks = '{tasks}'"));
        let refused = bench.run(&["start", "one-task"]).expect(1);
        let told = "error: failed to read process type \"one-task\": its tasks are unusable: ";
        assert!(refused.err.contains(told), "{tasks}: {refused:#?}");
        assert!(refused.err.contains("; register it again"), "{tasks}: {refused:#?}");
    }
    set("definition = '7', max_concurrent = -1");
    let shown = bench.run(&["types", "show", "one-task"]).expect(1);
    assert!(shown.err.contains("one-task"), "{shown:#?}");
    bench.run(&["types", "list"]).expect(0);
    let node = database.node_with(quick(database));
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    node.stop();

    // A definition that is registered anew is whole again.
    let file = bench.file(&one_task("true"));
    bench.run(&["run", &file]).expect(0);
    for damage in [
        "ALTER COLUMN works_from TYPE text, ALTER COLUMN works_from SET DEFAULT 'x'",
        "ALTER COLUMN checksum DROP NOT NULL",
    ] {
        database.sql().batch_execute(&format!("ALTER TABLE schema_migrations {damage}")).unwrap();
    }
    for damage in ["works_from = 'abc'", "works_from = NULL, checksum = NULL"] {
        database.sql().batch_execute(&format!("UPDATE schema_migrations SET {damage}")).unwrap();
        let refused = bench.run(&["serve", "--no-http"]).expect(1);
        assert!(
            refused.err.contains("failed to read migration 1 in schema_migrations: column "),
            "{damage}: {refused:#?}"
        );
    }
}

#[test]
fn a_process_that_is_due_since_ever_keeps_nobody_from_looking_at_the_queue() {
    let database = TestDatabase::new("poison_since_ever");
    database.register(&one_task("true"));
    database.start_many("one-task", 2);
    let mut store = database.store();
    let damage = "UPDATE scheduled_tasks SET execution_time = '-infinity' WHERE task_instance LIKE '%-1'";
    assert_eq!(database.sql().execute(damage, &[]).unwrap(), 1);
    assert_eq!(store.next_due_of("one-task-1", true).unwrap(), Some(Duration::ZERO));
    let queue = store.counts().unwrap().queue;
    assert_eq!(queue["one-task"].due, 2);
    database.sql().execute("UPDATE scheduled_tasks SET state = 'SCHEDULED'", &[]).unwrap();
    let promotion = store.promote_due(None).unwrap();
    assert_eq!((promotion.promoted, promotion.next_due), (2, None));
    database.lives("node");
    assert_eq!(store.claim_due("node", &ClaimRequest::of(9)).unwrap().claimed.len(), 2);
}
