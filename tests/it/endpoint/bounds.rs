//! Every answer is bounded in bytes, and everything can be had in parts.

use process_orchestrator::http::Endpoint;
use serde_json::{Value, json};

use crate::http::{Client, Database, Reply, endpoint_on, get, get_ok, ids};

/// No page is larger: a megabyte, a last row beyond it, and what JSON adds.
const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// All rows of a list under `key`, page by page, and how many pages they took.
fn all_pages(endpoint: &Endpoint, target: &str, key: &str) -> (Vec<Value>, usize) {
    let (mut rows, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let reply = get(endpoint, &format!("{target}{after}"));
        assert_eq!(reply.status, 200, "{target}{after}: {}", reply.head);
        assert!(reply.body.len() < PAGE_BYTES_MAX, "{target}{after}: {} bytes", reply.body.len());
        let page = reply.json();
        rows.extend(page[key].as_array().unwrap().clone());
        pages += 1;
        let Some(next) = page["next"].as_str() else { return (rows, pages) };
        let sign = if target.contains('?') { '&' } else { '?' };
        after = format!("{sign}after={}", next.replace('/', "%2F"));
    }
}

/// The first task of `a/1` has been tried so many times and has printed a mebibyte each time.
fn fill_trail(database: &Database, attempts: usize) {
    database.sql(&format!(
        "UPDATE tasks SET output = repeat('x', 1048576), attempt = 1;
         INSERT INTO task_executions (process_id, task_index, attempt, node_id, outcome, started_at, completed_at, \
             duration_ms, output, output_bytes)
         SELECT 'a/1', 0, n, 'n-1', 'FAILED', now(), now(), 1, repeat('y', 1048576), 1048576
         FROM generate_series(1, {attempts}) AS n"
    ));
}

#[test]
fn a_list_holds_inputs_and_contexts_only_when_asked_and_ends_earlier_then() {
    let database = Database::new();
    database.start_processes(12);
    database.sql(
        "UPDATE processes SET process_context = jsonb_build_object('k', repeat('c', 100000)),
            input_data = jsonb_build_object('config', jsonb_build_object('x', repeat('i', 500000)))",
    );
    let endpoint = endpoint_on(&database);
    let reply = get(&endpoint, "/processes");
    assert!(reply.body.len() < 12 * 1024, "{} bytes", reply.body.len());
    let list = reply.json();
    let names = ids(&list).join(" ");
    for row in list["processes"].as_array().unwrap() {
        assert!(row.get("input_data").is_none() && row.get("process_context").is_none(), "{row}");
    }
    for (include, has_input, has_context, pages_min) in
        [("input", true, false, 4), ("context", false, true, 2), ("input,context", true, true, 5)]
    {
        let (rows, pages) = all_pages(&endpoint, &format!("/processes?include={include}"), "processes");
        let found: Vec<&str> = rows.iter().map(|it| it["process_id"].as_str().unwrap()).collect();
        assert_eq!(found.join(" "), names, "{include}");
        assert!(pages >= pages_min, "{include}: {pages} pages");
        for row in &rows {
            let length = |value: &Value| value.as_str().map(str::len);
            assert_eq!(length(&row["input_data"]["config"]["x"]), has_input.then_some(500_000));
            assert_eq!(length(&row["process_context"]["k"]), has_context.then_some(100_000));
        }
    }
}

#[test]
fn a_trail_of_a_gigabyte_is_a_small_answer_and_each_output_can_be_had() {
    let database = Database::new();
    database.start_processes(1);
    fill_trail(&database, 1000);
    let endpoint = endpoint_on(&database);
    let reply = get(&endpoint, "/processes/a%2F1/executions");
    assert!(reply.body.len() < 1024 * 1024, "{} bytes", reply.body.len());
    let trail = reply.json();
    assert_eq!((trail["executions"].as_array().unwrap().len(), &trail["next"]), (1000, &Value::Null));
    let last = &trail["executions"][999];
    assert!(last.get("output").is_none(), "{last}");
    let one = get_ok(&endpoint, last["output_path"].as_str().unwrap());
    assert_eq!(one["executions"][0]["attempt"], 1000);
    assert_eq!(one["executions"][0]["output"].as_str().map(str::len), Some(1_048_576), "whole");
    assert!(one["executions"][0].get("output_next").is_none());
    let (rows, pages) = all_pages(&endpoint, "/processes/a%2F1/executions?limit=300", "executions");
    assert_eq!((rows.len(), pages), (1000, 4));

    let tasks = get_ok(&endpoint, "/processes/a%2F1/tasks");
    assert!(tasks["tasks"][1].get("output").is_none(), "{tasks}");
    let task = get_ok(&endpoint, tasks["tasks"][1]["output_path"].as_str().unwrap());
    assert_eq!(task["tasks"][0]["output"].as_str().map(str::len), Some(1_048_576));
    for (target, key, count) in [("tasks", "tasks", 2), ("executions?attempt=3", "executions", 1)] {
        let sign = if target.contains('?') { '&' } else { '?' };
        let (rows, pages) = all_pages(&endpoint, &format!("/processes/a%2F1/{target}{sign}output=true"), key);
        assert_eq!((rows.len(), pages), (count, count));
        assert!(rows.iter().all(|it| it["output"].as_str().unwrap().len() == 1_048_576));
    }
    // What was deleted is not what never was.
    database.sql("UPDATE tasks SET output = NULL; UPDATE task_executions SET output = NULL");
    for (target, key) in [("executions?attempt=3", "executions"), ("tasks?task=0&output=false", "tasks")] {
        let row = get_ok(&endpoint, &format!("/processes/a%2F1/{target}"))[key][0].take();
        assert_eq!((row.get("output_deleted"), row.get("output_path")), (Some(&json!(true)), None), "{row}");
    }
    let row = get_ok(&endpoint, "/processes/a%2F1/executions?task=0&attempt=3")["executions"][0].take();
    assert_eq!((&row["output"], &row["output_deleted"]), (&Value::Null, &json!(true)));
}

#[test]
fn an_output_of_megabytes_comes_in_parts_that_fit_together() {
    let database = Database::new();
    database.start_processes(1);
    fill_trail(&database, 1);
    // Characters of one to four bytes.
    let line = "ab\u{e9}\u{20ac}\u{1f600}\n";
    database.sql(&format!("UPDATE task_executions SET output = repeat('{line}', 500000)"));
    let endpoint = endpoint_on(&database);
    let (mut whole, mut offset, mut parts) = (String::new(), 0, 0);
    loop {
        let target = format!("/processes/a%2F1/executions?task=0&attempt=1&offset={offset}");
        let reply = get(&endpoint, &target);
        assert!(reply.body.len() < 2 * PAGE_BYTES_MAX, "{} bytes", reply.body.len());
        let part = reply.json();
        whole.push_str(part["executions"][0]["output"].as_str().unwrap());
        parts += 1;
        let Some(next) = part["executions"][0]["output_next"].as_u64() else { break };
        offset = next;
    }
    assert_eq!(parts, 3);
    assert!(whole == line.repeat(500_000), "{} bytes", whole.len());
}

#[test]
fn what_is_larger_than_an_answer_is_named_and_left_out() {
    let database = Database::new();
    database.start_processes(2);
    database.sql(
        "UPDATE processes SET process_context = jsonb_build_object('k', repeat('c', 15000000)) WHERE process_id = 'a/1';
         UPDATE processes SET error_message = repeat('e', 10000000) WHERE process_id = 'a/2';
         UPDATE tasks SET command = repeat('true ', 1000000), error_message = repeat('e', 1000000);
         UPDATE process_types SET definition = jsonb_set(definition, '{description}', to_jsonb(repeat('d', 5000000)))",
    );
    let endpoint = endpoint_on(&database);
    let process = get_ok(&endpoint, "/processes/a%2F1");
    assert_eq!(process["left_out"], json!(["process_context"]));
    assert!(process.get("process_context").is_none() && process["input_data"].is_object(), "{process}");
    let list = get_ok(&endpoint, "/processes?include=context");
    assert_eq!(list["processes"][1]["left_out"], json!(["process_context"]));
    assert_eq!(get_ok(&endpoint, "/process-types")["process_types"][0]["left_out"], json!(["definition"]));
    for (target, bytes_max) in [
        ("/processes", 10_000),
        ("/processes/a%2F1", 10_000),
        ("/processes/a%2F2", 100_000),
        ("/processes?include=input,context", 100_000),
        ("/processes/a%2F1/tasks", 200_000),
        ("/process-types", 10_000),
    ] {
        let reply = get(&endpoint, target);
        assert_eq!(reply.status, 200, "{target}: {}", reply.head);
        assert!(reply.body.len() < bytes_max, "{target}: {} bytes", reply.body.len());
    }
}

#[test]
fn process_types_come_in_pages() {
    let database = Database::new();
    database.start_processes(1);
    database.sql(
        "INSERT INTO process_types (name, definition, tasks, required_input)
         SELECT 't-' || n, jsonb_build_object('description', repeat('d', 400000)), tasks, '{}'
         FROM process_types, generate_series(1, 9) AS n",
    );
    let endpoint = endpoint_on(&database);
    let (types, pages) = all_pages(&endpoint, "/process-types", "process_types");
    let names: Vec<&str> = types.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "t-1", "t-2", "t-3", "t-4", "t-5", "t-6", "t-7", "t-8", "t-9"]);
    assert!(pages >= 3, "{pages} pages");
    assert_eq!(types[9]["definition"]["description"].as_str().map(str::len), Some(400_000));
}

fn tag(reply: &Reply) -> &str {
    reply.head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap()
}

/// Their tags are known without reading them; whatever changes them changes the tag.
#[test]
fn large_answers_that_a_client_has_are_not_sent_again() {
    let database = Database::new();
    database.start_processes(3);
    fill_trail(&database, 3);
    database.sql(
        "UPDATE processes SET process_context = jsonb_build_object('k', repeat('c', 100000));
         UPDATE process_types SET definition = jsonb_set(definition, '{description}', to_jsonb(repeat('d', 100000)))",
    );
    let endpoint = endpoint_on(&database);
    let mut client = Client::new(&endpoint);
    for (target, change) in [
        (
            "/processes/a%2F1",
            "UPDATE processes SET process_context = jsonb_build_object('k', repeat('d', 100000))",
        ),
        ("/processes?include=input,context", "UPDATE processes SET input_data = '{\"user_id\": \"x\"}'"),
        (
            "/processes?include=context",
            "UPDATE scheduled_tasks SET execution_time = execution_time + interval '1 hour' WHERE task_instance = 'a/1'",
        ),
        (
            "/processes/a%2F1/executions?task=0&attempt=2",
            "UPDATE task_executions SET output = repeat('z', 1048576) WHERE attempt = 2",
        ),
        ("/processes/a%2F1/executions?output=true", "DELETE FROM task_executions WHERE attempt = 1"),
        ("/processes/a%2F1/tasks?task=1", "UPDATE tasks SET output = repeat('z', 1048576)"),
        ("/process-types", "UPDATE process_types SET definition = definition || '{\"x\": 1}'"),
    ] {
        let first = client.get(target);
        assert_eq!(first.status, 200, "{target}: {}", first.head);
        assert!(first.body.len() > 64 * 1024, "{target} is large");
        let ask =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {}\r\n\r\n", tag(&first));
        let again = client.send(&ask).reply(true);
        assert_eq!((again.status, tag(&again)), (304, tag(&first)), "{target}");
        database.sql(change);
        let changed = client.send(&ask).reply(true);
        assert_eq!(changed.status, 200, "{target}: it has changed");
        assert_ne!(changed.body, first.body, "{target}");
    }
}
