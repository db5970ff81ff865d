//! `/openapi.json` held against the real answers: every route, parameter, status and schema.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::http::{Client, Reply, get, get_ok};
use crate::http_writes::Writable;

/// Asks, and holds every answer against the document.
struct Holder {
    writable: Writable,
    document: Value,
    /// Method, path and status of what was answered.
    seen: BTreeSet<(String, String, String)>,
}

impl Holder {
    fn new() -> Self {
        let writable = Writable::new();
        let document = get_ok(&writable.endpoint, "/openapi.json");
        Self { writable, document, seen: BTreeSet::new() }
    }

    fn get(&mut self, path: &str, target: &str, headers: &str) -> Reply {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        let reply = Client::new(&self.writable.endpoint).send(&request).reply(true);
        self.hold("get", path, &reply);
        reply
    }

    fn post(&mut self, path: &str, target: &str, body: &str) -> Reply {
        let reply = self.writable.post(target, body);
        self.hold("post", path, &reply);
        reply
    }

    fn post_with(&mut self, path: &str, headers: &str) {
        let reply = self.writable.post_with(&target_of(path), headers, "{}");
        self.hold("post", path, &reply);
    }

    fn hold(&mut self, method: &str, path: &str, reply: &Reply) {
        let status = reply.status.to_string();
        let at = format!("{method} {path} {status}");
        let operation = &self.document["paths"][path][method];
        let mut response = &operation["responses"][&status];
        if let Some(name) = response["$ref"].as_str() {
            response = self.document.pointer(name.trim_start_matches('#')).unwrap();
        }
        assert!(response.is_object(), "{at} is not described: {reply:?}");
        for (name, header) in response["headers"].as_object().into_iter().flatten() {
            assert!(
                reply.head.contains(&format!("\r\n{name}: ")),
                "{at} has no {name} ({header}): {reply:?}"
            );
        }
        let kinds = response["content"].as_object().filter(|it| !it.is_empty());
        let Some(kinds) = kinds else {
            assert!(reply.body.is_empty(), "{at} has a body: {reply:?}");
            self.seen.insert((method.to_owned(), path.to_owned(), status));
            return;
        };
        let is_it = |kind: &str| reply.head.contains(&format!("\r\nContent-Type: {kind};"));
        let found = kinds.iter().find(|(kind, _)| is_it(kind));
        let (kind, content) = found.unwrap_or_else(|| panic!("{at} is none of {kinds:?}: {reply:?}"));
        let value = if kind == "application/json" { reply.json() } else { json!(reply.body) };
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": self.document["components"], "allOf": [content["schema"]]
        });
        let validator = jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{at}: {error}"));
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|it| format!("{}: {it}", it.instance_path)).collect();
        assert!(errors.is_empty(), "{at} is not as described: {errors:#?} in {value:#}");
        self.seen.insert((method.to_owned(), path.to_owned(), status));
    }
}

/// The path of what [`FILL`] has made.
fn target_of(path: &str) -> String {
    path.replace("{id}", "a%2F1").replace("/batches/{name}", "/batches/b").replace("{name}", "gpu")
}

/// Executions and ends, so that no column is empty everywhere.
const FILL: &str = "
    INSERT INTO task_executions (process_id, task_index, attempt, node_id, command, outcome, exit_code, signal, started_at,
        completed_at, duration_ms, cpu_ms, peak_memory_bytes, output, output_bytes, error_message)
    VALUES ('a/1', 0, 1, 'n-1', 'true', 'FAILED', 1, NULL, now(), now(), 1.5, 1, 1000, 'x', 1, 'why'),
        ('a/1', 0, 2, 'n-1', NULL, 'LOST', NULL, 9, now(), now(), 1.5, NULL, NULL, NULL, 0, NULL);
    INSERT INTO nodes (node_id, name, host, pid, version, executors, lease_seconds) VALUES ('n-1', 'here', 'h', 1, '0', 4, 300);
    INSERT INTO limits (name, max, declared_max, changed_by) VALUES ('gpu', 1, 1, 'a'), ('disk', NULL, NULL, NULL);
    INSERT INTO limit_slots (limit_name, slot_key, process_id, of_task) VALUES ('gpu', '', 'a/1', false), ('gpu', 'k', 'x', true);
    INSERT INTO process_types (name, definition, tasks, required_input, concurrency)
    SELECT 'b', definition, tasks, required_input, '[{\"name\": \"gpu\", \"max\": 1, \"holds\": \"process\"}]' FROM process_types;
    UPDATE scheduled_tasks SET state = 'HELD', held_by = 'limit:gpu' WHERE task_instance = 'a/3';
    UPDATE processes SET started_at = now(), process_context = '{\"rows\": 7}' WHERE process_id = 'a/1';
    UPDATE tasks SET started_at = now(), exit_code = 1, output = 'x', environment = '{\"A\": \"b\"}' WHERE process_id = 'a/1'";

/// A batch, of which one has failed.
const BATCH: &str = "
    SELECT start_batch('b', 'a', ARRAY['{}', '{\"user_id\": \"u\"}']::jsonb[]);
    UPDATE processes SET status = 'FAILED', error_message = 'why', started_at = now(), completed_at = now()
    WHERE process_id = (SELECT min(process_id) FROM processes WHERE batch = 'b');
    UPDATE tasks SET status = 'FAILED' WHERE process_id = (SELECT min(process_id) FROM processes WHERE batch = 'b');
    DELETE FROM scheduled_tasks WHERE task_instance = (SELECT min(process_id) FROM processes WHERE batch = 'b')";

/// A schedule that has a process, one that was skipped, and a pause.
const SCHEDULE: &str = "
    SELECT add_schedule('{\"name\": \"a/1\", \"process_type\": \"a\", \"every\": \"1h\", \"from\": \"2026-01-01T00:00:00Z\"}');
    SELECT pause_schedule('a/1', 'down');
    INSERT INTO schedule_firings (schedule, scheduled_at, outcome, reason, how_many, process_id, lateness_ms)
    VALUES ('a/1', now(), 'FIRED', NULL, 1, 'a/1@x', 5), ('a/1', now(), 'SKIPPED', 'missed', 7, NULL, NULL)";

/// A command that runs and shows what it prints.
const LIVE: &str = "
    UPDATE scheduled_tasks SET picked = true, picked_by = 'n-1' WHERE task_instance = 'a/2';
    INSERT INTO live_output (process_id, task_index, attempt, node_id, started_at, updated_at, output_bytes, tail, cpu_ms)
    VALUES ('a/2', 0, 1, 'n-1', now(), now(), 2, 'ab', 0.5)";

#[test]
fn the_document_says_what_is_answered() {
    let mut holder = Holder::new();
    holder.writable.database.start_processes(3);
    holder.writable.database.sql(FILL);
    holder.writable.database.sql(BATCH);
    holder.writable.database.sql(SCHEDULE);
    let paths: Vec<String> = holder.document["paths"].as_object().unwrap().keys().cloned().collect();
    for path in &paths {
        let target = target_of(path);
        if holder.document["paths"][path]["get"].is_object() {
            let first = holder.get(path, &target, "");
            assert_eq!(first.status, 200, "{path}: {first:?}");
            holder.get(path, &format!("{target}?nonsense=1"), "");
            holder.get(path, &target, "Origin: http://evil.example\r\n");
            if path.contains('{') {
                holder.get(path, &path.replace("{id}", "nobody").replace("{name}", "nobody"), "");
                for output in ["false", "true"].into_iter().filter(|_| path.contains("{id}")) {
                    holder.get(path, &format!("{target}?output={output}"), "");
                }
            }
            let tag = first.head.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
            if !["/status", "/metrics"].contains(&path.as_str()) {
                holder.get(path, &target, &format!("If-None-Match: {tag}\r\n"));
            }
        }
    }
    holder.get("/processes", "/processes?node=nobody", "");
    holder.get("/processes", "/processes?include=input,context", "");
    holder.get("/processes/{id}/executions", "/processes/a%2F1/executions?task=0&attempt=1", "");
    holder.get("/processes/{id}/tasks", "/processes/a%2F1/tasks?task=0", "");
    let page = holder.get("/", "/", "Accept: text/html\r\n");
    assert!(page.body.starts_with("<!DOCTYPE html>"), "{page:?}");
    holder.writable.database.sql(LIVE);
    assert!(holder.get("/processes/{id}/live", "/processes/a%2F2/live", "").json()["live"].is_object());
    write(&mut holder);
    let described: BTreeSet<(String, String, String)> = paths
        .iter()
        .flat_map(|path| holder.document["paths"][path].as_object().unwrap().iter().map(move |it| (path, it)))
        .flat_map(|(path, (method, operation))| {
            let statuses = operation["responses"].as_object().unwrap().keys();
            statuses.map(move |status| (method.clone(), path.clone(), status.clone()))
        })
        // These need a database that fails or bodies without a length: tests of their own see to them.
        .filter(|(_, path, status)| !["411", "413", "500", "503"].contains(&status.as_str()) && path != "*")
        .filter(|(_, path, status)| !(["/status", "/metrics"].contains(&path.as_str()) && status == "304"))
        .collect();
    let missing: Vec<_> = described.difference(&holder.seen).collect();
    // A process that a node runs is needed for a request to cancel that is not done at once.
    let running = ("post".to_owned(), "/processes/{id}/cancel".to_owned(), "202".to_owned());
    // And one that is locked; a test of its own sees to it.
    let locked = ("post".to_owned(), "/processes/{id}/cancel".to_owned(), "409".to_owned());
    assert_eq!(missing, [&running, &locked], "described, but not seen");
}

fn write(holder: &mut Holder) {
    let start = r#"{"process_type": "a", "process_id": "p", "input": {"config": {"n": 1}}}"#;
    for _ in 0..2 {
        holder.post("/processes", "/processes", start);
    }
    for body in [r#"{"process_type": "a", "process_id": "p"}"#, "{", r#"{"process_type": "nobody"}"#, "{}"] {
        holder.post("/processes", "/processes", body);
    }
    for path in ["/processes/{id}/cancel", "/processes/{id}/retry"] {
        for (id, body) in [("p", "{"), ("p", r#"{"x": 1}"#), ("nobody", ""), ("p", ""), ("p", "")] {
            holder.post(path, &path.replace("{id}", id), body);
        }
    }
    let batch = r#"{"name": "n", "process_type": "a", "inputs": [{}]}"#;
    for body in [
        batch,
        batch,
        "{",
        "{}",
        r#"{"name": "n", "process_type": "nobody", "inputs": [{}]}"#,
        r#"{"name": "m", "process_type": "a", "inputs": [{"process_id": "p"}]}"#,
    ] {
        holder.post("/batches", "/batches", body);
    }
    let batch_verbs = ["pause", "resume", "retry", "cancel"].map(|verb| format!("/batches/{{name}}/{verb}"));
    for path in &batch_verbs {
        for (name, body) in [("b", "{"), ("b", r#"{"x": 1}"#), ("nobody", ""), ("b", "")] {
            holder.post(path, &path.replace("{name}", name), body);
        }
    }
    for (name, body) in
        [("gpu", r#"{"max": 4}"#), ("gpu", "{"), ("gpu", r#"{"max": -1}"#), ("nobody", r#"{"max": 1}"#)]
    {
        holder.post("/limits/{name}", &format!("/limits/{name}"), body);
    }
    let schedule = r#"{"name": "s", "process_type": "a", "cron": "@daily"}"#;
    for body in [schedule, schedule, "{", r#"{"name": "s"}"#] {
        holder.post("/schedules", "/schedules", body);
    }
    for verb in ["pause", "resume", "run-now", "remove"] {
        let path = format!("/schedules/{{id}}/{verb}");
        for (name, body) in [("s", "{"), ("s", r#"{"x": 1}"#), ("nobody", ""), ("s", "")] {
            holder.post(&path, &path.replace("{id}", name), body);
        }
    }
    let verbs = ["pause", "resume", "run-now", "remove"].map(|verb| format!("/schedules/{{id}}/{verb}"));
    let paths =
        ["/processes", "/processes/{id}/cancel", "/processes/{id}/retry", "/limits/{name}", "/schedules"];
    for path in
        paths.into_iter().chain(verbs.iter().chain(&batch_verbs).map(String::as_str)).chain(["/batches"])
    {
        holder.post_with(path, "Content-Type: application/json\r\n");
        let token = "Authorization: Bearer 0123456789abcdef-token\r\n";
        holder.post_with(path, &format!("{token}Content-Type: text/plain\r\n"));
        holder.post_with(path, &format!("{token}Origin: http://evil.example\r\n"));
    }
}

/// What the document offers is taken, and what it does not name is refused.
#[test]
fn the_parameters_are_those_of_the_document() {
    let holder = Holder::new();
    holder.writable.database.start_processes(1);
    holder.writable.database.sql(BATCH);
    for (path, operations) in holder.document["paths"].as_object().unwrap() {
        let target = target_of(path);
        for parameter in operations["get"]["parameters"].as_array().into_iter().flatten() {
            let parameter = match parameter["$ref"].as_str() {
                Some(name) => holder.document.pointer(name.trim_start_matches('#')).unwrap(),
                None => parameter,
            };
            if parameter["in"] != "query" {
                continue;
            }
            let name = parameter["name"].as_str().unwrap();
            let schema = &parameter["schema"];
            let value = match name {
                "after" if path == "/processes" => "1700000000000000.p".to_owned(),
                // A place in one output says nothing of several.
                "offset" => {
                    format!("7&task=0{}", if path.ends_with("executions") { "&attempt=1" } else { "" })
                }
                "status" => "FAILED,CANCELLED".to_owned(),
                _ if schema["examples"].is_array() => schema["examples"][0].as_str().unwrap().to_owned(),
                _ if schema["maximum"].is_number() => schema["maximum"].to_string(),
                _ if schema["type"] == "boolean" => "true".to_owned(),
                _ => "a".to_owned(),
            };
            let reply = get(&holder.writable.endpoint, &format!("{target}?{name}={value}"));
            assert!(reply.status == 200 || reply.code() == "node_not_found", "{path} {name}: {reply:?}");
        }
    }
    let reply = get(&holder.writable.endpoint, "/processes?nonsense=1");
    let message = reply.message();
    let known: BTreeSet<&str> = message.split("known are: ").nth(1).unwrap().split(", ").collect();
    let listed = holder.document["paths"]["/processes"]["get"]["parameters"].as_array().unwrap();
    let mut described: BTreeSet<&str> = listed.iter().filter_map(|it| it["name"].as_str()).collect();
    described.insert("metadata.KEY");
    assert_eq!(known, described);
}
