//! The calls that change something: the token, what is refused, and what they do.

use std::path::PathBuf;
use std::sync::Arc;

use process_orchestrator::http::{Endpoint, TokenFile};
use serde_json::{Value, json};

use crate::http::{Client, Database, Reply, endpoint_alone_with, get_ok};

const TOKEN: &str = "0123456789abcdef-token";

/// An endpoint with a token file of its own.
pub struct Writable {
    pub database: Arc<Database>,
    pub endpoint: Endpoint,
    file: PathBuf,
}

impl Writable {
    pub fn new() -> Self {
        let database = Database::new();
        database.start_processes(1);
        let file = std::env::temp_dir().join(format!("{}-token", database.schema));
        std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
        let token = TokenFile::open(&file).unwrap();
        let (listen, schema) = ("127.0.0.1:0".parse().unwrap(), database.schema.clone());
        let endpoint =
            Endpoint::start(listen, Arc::clone(&database) as _, schema, None, Some(token)).unwrap();
        Self { database, endpoint, file }
    }

    /// With the token, as JSON.
    pub fn post(&self, target: &str, body: &str) -> Reply {
        self.post_with(
            target,
            &format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"),
            body,
        )
    }

    pub fn post_with(&self, target: &str, headers: &str, body: &str) -> Reply {
        let length = body.len();
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        Client::new(&self.endpoint).send(&request).reply(true)
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::fs::remove_file(&self.file).unwrap();
        }
    }
}

#[test]
fn a_process_is_started_once_whoever_asks_twice() {
    let writable = Writable::new();
    let start = json!({
        "process_type": "a", "input": {"user_id": "u", "metadata": {"order": 7}}, "process_id": "order/7",
        "start_at": "2099-01-01T00:00:00Z", "priority": 5
    });
    for (status, is_new) in [(201, true), (200, false)] {
        let reply = writable.post("/processes", &start.to_string());
        assert_eq!((reply.status, &reply.json()["is_new"]), (status, &json!(is_new)), "{reply:?}");
        assert!(reply.head.contains("\r\nLocation: /processes/order%2F7\r\n"), "{reply:?}");
        assert!(reply.head.contains("\r\nCache-Control: no-store\r\n"), "{reply:?}");
    }
    let process = get_ok(&writable.endpoint, "/processes/order%2F7");
    assert_eq!((&process["priority"], &process["input_data"]["metadata"]["order"]), (&json!(5), &json!("7")));
    assert_eq!(process["execution_time"], "2099-01-01T00:00:00Z");
    let other = json!({ "process_type": "a", "process_id": "order/7" });
    let reply = writable.post("/processes", &other.to_string());
    assert_eq!((reply.status, reply.code().as_str()), (409, "process_id_taken"), "{reply:?}");
    let made = writable.post("/processes", r#"{"process_type": "a"}"#).json();
    assert!(made["process_id"].as_str().unwrap().starts_with("a-"), "{made}");

    // As SQL takes it: numbers to the letter, objects by their paths, empty and null as if they were not there.
    let input =
        r#"{"config": {"n": 40028922250000000000123, "db": {"price": 19.90}, "x": null}, "user_id": ""}"#;
    let start = format!(r#"{{"process_type": "a", "process_id": "values", "input": {input}}}"#);
    assert_eq!(writable.post("/processes", &start).status, 201);
    let call = format!("SELECT start_process('a', '{input}', 'values')");
    writable.database.sql(&call);
    let process = get_ok(&writable.endpoint, "/processes/values");
    assert_eq!(
        process["input_data"],
        json!({"config": {"n": "40028922250000000000123", "db.price": "19.90"}})
    );
    let refused = writable.post("/processes", r#"{"process_type": "a", "input": {"config": {"n": 1e400}}}"#);
    assert_eq!(refused.status, 422, "{refused:?}");
}

#[test]
fn without_the_token_nothing_is_started() {
    let writable = Writable::new();
    let json_type = "Content-Type: application/json\r\n";
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for (headers, status, code) in [
        (json_type.to_owned(), 401, "unauthorized"),
        (format!("{json_type}Authorization: Bearer {TOKEN}x\r\n"), 401, "unauthorized"),
        (format!("{json_type}Authorization: Basic {TOKEN}\r\n"), 401, "unauthorized"),
        (format!("{json_type}{bearer}Origin: http://evil.example\r\n"), 403, "foreign_origin"),
        (bearer.clone(), 415, "unsupported_media_type"),
        (format!("{bearer}Content-Type: text/plain\r\n"), 415, "unsupported_media_type"),
        (
            format!("{bearer}Content-Type: application/x-www-form-urlencoded\r\n"),
            415,
            "unsupported_media_type",
        ),
    ] {
        let reply = writable.post_with("/processes", &headers, r#"{"process_type": "a"}"#);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{headers}: {reply:?}");
        assert_eq!(reply.head.contains("\r\nWWW-Authenticate: Bearer\r\n"), status == 401, "{reply:?}");
    }
    let request = format!("POST /processes HTTP/1.1\r\nHost: evil.example\r\n{bearer}{json_type}\r\n");
    let reply = Client::new(&writable.endpoint).send(&request).reply(true);
    assert_eq!((reply.status, reply.code().as_str()), (403, "foreign_host"), "{reply:?}");
    assert_eq!(get_ok(&writable.endpoint, "/processes")["processes"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_wrong_is_told_all_at_once() {
    let writable = Writable::new();
    for (body, status, code, says) in [
        ("", 400, "bad_document", "ends too early"),
        ("{", 400, "bad_document", "line 1"),
        ("[]", 422, "bad_document", "not a start"),
        (
            r#"{"process_type": "a", "input": {"user": 1}, "when": 1}"#,
            422,
            "bad_document",
            "input.user: unknown key",
        ),
        (r#"{"process_type": "nobody"}"#, 422, "unknown_process_type", "known are: a"),
        (r#"{"process_type": "a", "process_id": "x\ny"}"#, 422, "bad_document", "control character"),
    ] {
        let reply = writable.post("/processes", body);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{body}: {reply:?}");
        assert!(reply.message().contains(says), "{body}: {says} is missing in {reply:?}");
    }
    let reply = writable.post("/processes", r#"{"input": {"user": 1}, "when": 1}"#);
    let faults = reply.json()["error"]["faults"].clone();
    let paths: Vec<&str> = faults.as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["input.user", "when", "process_type"]);
    // A person reads no more of them, and an answer is bounded.
    let many: String = (0..2_000).map(|number| format!(r#""k{number}": 1, "#)).collect();
    let reply = writable.post("/processes", &format!(r#"{{{many}"process_type": "a"}}"#));
    assert!(reply.status == 422 && reply.body.len() < 64 * 1024, "{} bytes", reply.body.len());
    assert!(reply.message().ends_with("… and 1900 more"), "{}", reply.message());
}

#[test]
fn large_bodies_need_the_token_and_have_a_limit() {
    let writable = Writable::new();
    let body = json!({ "process_type": "a", "input": {"config": {"x": "y".repeat(900_000)}} }).to_string();
    assert_eq!(writable.post("/processes", &body).status, 201);
    let unknown = writable.post_with("/processes", "Content-Type: application/json\r\n", &"x".repeat(20_000));
    assert_eq!(unknown.status, 401, "{unknown:?}");
    let headers = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let request =
        format!("POST /processes HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: 2097153\r\n\r\n");
    let reply = Client::new(&writable.endpoint).send(&request).reply(true);
    assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"), "{reply:?}");
    let expect = format!(
        "POST /processes HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: 21\r\nExpect: 100-continue\r\n\r\n"
    );
    let mut client = Client::new(&writable.endpoint);
    let mut told = [0; 25];
    std::io::Read::read_exact(&mut client.send(&expect).0, &mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.send(r#"{"process_type": "a"}"#).reply(true).status, 201);
}

#[test]
fn processes_are_cancelled_and_go_again() {
    let writable = Writable::new();
    let cancelled = writable.post("/processes/a%2F1/cancel", r#"{"reason": "wrong input"}"#);
    assert_eq!((cancelled.status, &cancelled.json()["outcome"]), (200, &json!("CANCELLED")), "{cancelled:?}");
    let process = get_ok(&writable.endpoint, "/processes/a%2F1");
    assert_eq!(process["status"], "CANCELLED");
    assert!(process["error_message"].as_str().unwrap().contains("wrong input"), "{process}");
    let again = writable.post("/processes/a%2F1/retry", r#"{"input": {"user_id": "u2"}}"#);
    assert_eq!((again.status, &again.json()["from_task"]), (200, &json!("first")), "{again:?}");
    let process = get_ok(&writable.endpoint, "/processes/a%2F1");
    assert_eq!(
        (&process["status"], &process["input_data"]["user_id"]),
        (&json!("NOT_STARTED"), &json!("u2"))
    );
    let refused = writable.post("/processes/a%2F1/retry", "");
    assert_eq!((refused.status, refused.code().as_str()), (409, "not_retryable"), "{refused:?}");
    for target in ["/processes/nobody/cancel", "/processes/nobody/retry"] {
        let reply = writable.post(target, "{}");
        assert_eq!((reply.status, reply.code().as_str()), (404, "process_not_found"), "{target}: {reply:?}");
    }
    let reply = writable.post_with("/processes/a%2F1/cancel", "", "");
    assert_eq!(reply.status, 401, "{reply:?}");
}

/// Counts follow what happens: starts, ends, cancellations and retries.
#[test]
fn counts_are_exact_for_what_is_unfinished_or_has_just_ended() {
    let writable = Writable::new();
    writable.database.start_processes(5);
    let counts = |what: &str, expected: Value| {
        crate::common::wait_until(what, || {
            let status = get_ok(&writable.endpoint, "/status");
            let fits =
                expected.as_object().unwrap().iter().all(|(key, value)| status["processes"][key] == *value);
            fits.then_some(())
        });
    };
    counts("five wait", json!({ "NOT_STARTED": 5, "CANCELLED": 0 }));
    writable.post("/processes/a%2F2/cancel", "");
    counts("one was cancelled", json!({ "NOT_STARTED": 4, "CANCELLED": 1 }));
    writable
        .database
        .sql("UPDATE processes SET completed_at = now() - interval '1 hour' WHERE status = 'CANCELLED'");
    writable.post("/processes/a%2F3/cancel", "");
    writable.post("/processes/a%2F3/retry", "");
    counts("another goes again", json!({ "NOT_STARTED": 4 }));
}

/// It names host, port and user.
#[test]
fn why_the_database_cant_be_reached_is_told_to_who_shows_the_token() {
    let file = std::env::temp_dir().join(format!("token-told-{}", std::process::id()));
    std::fs::write(&file, TOKEN).unwrap();
    let (endpoint, _source) = endpoint_alone_with(TokenFile::open(&file).unwrap());
    for (headers, is_told) in [
        (String::new(), false),
        (format!("Authorization: Bearer {TOKEN}x\r\n"), false),
        (format!("Authorization: Bearer {TOKEN}\r\n"), true),
    ] {
        for target in ["/nodes", "/status", "/readyz", "/processes/p-1", "/processes?include=input"] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
            let reply = Client::new(&endpoint).send(&request).reply(true);
            assert_eq!((reply.status, reply.code().as_str()), (503, "database_unavailable"), "{reply:?}");
            let names_it =
                reply.message().contains("a test's database") && reply.message().contains("refused");
            assert_eq!(names_it, is_told, "{target} {headers}: {reply:?}");
        }
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_skip_has_to_be_said_and_a_lock_is_told() {
    let writable = Writable::new();
    let database = &writable.database;
    database.sql(
        "UPDATE process_types SET tasks = jsonb_set(tasks, '{1}', jsonb_set(jsonb_set(tasks -> 0, '{name}', '\"next\"'), \
         '{task_index}', '1'))",
    );
    let start = |id: &str| {
        let reply = writable.post("/processes", &format!(r#"{{"process_type": "a", "process_id": "{id}"}}"#));
        assert_eq!(reply.status, 201, "{reply:?}");
    };
    start("one");
    assert_eq!(writable.post("/processes/one/cancel", "").status, 200);
    let refused = writable.post("/processes/one/retry", r#"{"from_task": "next"}"#);
    assert_eq!((refused.status, refused.code().as_str()), (409, "would_skip"), "{refused:?}");
    let done = writable.post("/processes/one/retry", r#"{"from_task": "2", "skip": true}"#);
    assert_eq!((done.status, &done.json()["from_task"]), (200, &json!("next")), "{done:?}");
    assert_eq!(get_ok(&writable.endpoint, "/processes/one")["skipped_tasks"], 1);
    assert_eq!(get_ok(&writable.endpoint, "/processes/one/tasks")["tasks"][0]["status"], "SKIPPED");
    let faulty = writable.post("/processes/one/retry", r#"{"skip": "yes"}"#);
    assert_eq!(faulty.status, 422, "{faulty:?}");

    start("locked");
    let mut client = database.client();
    client.batch_execute("SET application_name = 'a stranger'").unwrap();
    client
        .batch_execute("BEGIN; UPDATE processes SET updated_at = now() WHERE process_id = 'locked'")
        .unwrap();
    for (path, body) in
        [("/processes/locked/cancel", ""), ("/processes/locked/retry", r#"{"from_task": "1"}"#)]
    {
        let reply = writable.post(path, body);
        let code = if path.ends_with("cancel") { "locked" } else { "not_retryable" };
        assert_eq!((reply.status, reply.code().as_str()), (409, code), "{reply:?}");
        assert_eq!(code == "locked", reply.json().to_string().contains("a stranger"), "{reply:?}");
    }
    client.batch_execute("ROLLBACK; BEGIN; SELECT start_process('a', '{}', 'coming')").unwrap();
    let reply = writable.post("/processes", r#"{"process_type": "a", "process_id": "coming"}"#);
    assert_eq!((reply.status, reply.code().as_str()), (409, "locked"), "{reply:?}");
    client.batch_execute("ROLLBACK").unwrap();
}
