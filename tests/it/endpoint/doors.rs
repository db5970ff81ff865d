//! An input is taken or refused alike at every door: the command line, lines of a file, HTTP, the library, SQL with a text,
//! with a document, and with many.

use process_orchestrator::http::{Endpoint, TokenFile};
use process_orchestrator::{ProcessInputData, ProcessType};
use serde_json::Value;

use crate::http::Client;
use crate::program::Bench;

const TOKEN: &str = "0123456789abcdef-token";

/// The doors that take a document, each with an id of its own for it.
struct Doors {
    bench: Bench,
    endpoint: Endpoint,
    sql: postgres::Client,
    number: usize,
}

impl Doors {
    fn new(test: &str) -> Self {
        let bench = Bench::with_tables(test);
        bench.database.register(&ProcessType::new("echo", "").add_task("echo", "echo x", ".", 1.0, 0));
        let file = bench.folder.join("token");
        std::fs::write(&file, TOKEN).unwrap();
        let (source, schema) = (std::sync::Arc::clone(&bench.database.source), bench.database.schema.clone());
        let token = Some(TokenFile::open(&file).unwrap());
        let endpoint = Endpoint::start("127.0.0.1:0".parse().unwrap(), source, schema, None, token).unwrap();
        let sql = bench.database.sql();
        Self { bench, endpoint, sql, number: 0 }
    }

    fn post(&self, document: &str, id: &str) -> Result<(), String> {
        let body = format!("{{\"process_type\": \"echo\", \"process_id\": \"{id}\", \"input\": {document}}}");
        let head = format!(
            "POST /processes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        // One that is too large is answered before it is read.
        let sent = if body.len() > 2 << 20 { head } else { head + &body };
        let reply = Client::new(&self.endpoint).send(&sent).reply(true);
        if [200, 201].contains(&reply.status) { Ok(()) } else { Err(reply.body.to_string()) }
    }

    fn program(&self, words: &[&str]) -> Result<(), String> {
        let ended = self.bench.run(words);
        if ended.code == Some(0) { Ok(()) } else { Err(ended.err) }
    }

    /// What each door says of the document, with the door's name; a refusal as its message.
    fn ask(&mut self, document: &str) -> Vec<(&'static str, Result<(), String>)> {
        self.number += 1;
        let id = format!("p-{}", self.number);
        let one_line = document.replace('\n', " ");
        std::fs::write(self.bench.folder.join("one.json"), document).unwrap();
        // An object with its id besides, if it is one.
        let line = one_line.strip_prefix('{').map_or(one_line.clone(), |rest| {
            let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
            format!("{{\"process_id\": \"{id}\"{comma} {rest}")
        });
        std::fs::write(self.bench.folder.join("many.jsonl"), line).unwrap();
        let calls = [
            ("SQL, text", "SELECT start_process('echo', $1::text, $2)"),
            ("SQL, jsonb", "SELECT start_process('echo', $1::text::jsonb, $2)"),
            ("SQL, json", "SELECT start_process('echo', $1::text::json, $2)"),
            ("SQL, many texts", "SELECT start_processes('echo', ARRAY[$1::text], ARRAY[$2::text])"),
            (
                "SQL, many documents",
                "SELECT start_processes('echo', ARRAY[$1::text::jsonb], ARRAY[$2::text])",
            ),
        ];
        let mut told = vec![
            ("start --input", self.program(&["start", "echo", "--process-id", &id, "--input", "@one.json"])),
            ("start --inputs", self.program(&["start", "echo", "--inputs", "many.jsonl"])),
            ("POST", self.post(document, &id)),
            (
                "library",
                ProcessInputData::from_json(document, "input").map(drop).map_err(|faults| faults.to_string()),
            ),
        ];
        for (door, call) in calls {
            let result = self.sql.execute(call, &[&document, &id]).map(drop);
            told.push((door, result.map_err(|error| error.as_db_error().unwrap().message().to_owned())));
        }
        told
    }
}

/// The same id every time: each door finds the process that the first one has started, so they all mean the same.
#[test]
fn what_one_door_takes_all_take_and_mean_the_same_process() {
    let mut doors = Doors::new("doors_take");
    let long = format!("{{\"config\": {{\"a\": {}}}}}", "9".repeat(400));
    for document in [
        r#"{"config": {"b": 18446744073709551616, "a": -1e398, "c": 0.0000001}, "metadata": {"run": 7}}"#,
        r#"{"metadata": {"z": 1.0, "y": 1e0, "x": true, "w": null}, "user_id": "", "input_file": null}"#,
        r#"{"config": {"a.b": 1, "c": {"d": {"e": "\ud83d\ude00 \" \\ \u0001"}}}}"#,
        &long,
        "{}",
        "\n {\n}\n",
    ] {
        for (door, told) in doors.ask(document) {
            assert_eq!(told, Ok(()), "{door}: {document}");
        }
    }
    assert_eq!(
        doors.bench.database.count("processes"),
        6 + 1,
        "the lines of one document made an id of their own"
    );
    // The engine reads what the database holds.
    let rows = doors.sql.query("SELECT input_data FROM processes", &[]).unwrap();
    for row in rows {
        let kept: Value = row.get(0);
        let read =
            ProcessInputData::from_value(&kept, "input_data").unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(read.to_value(), kept);
    }
    let found = doors.bench.run(&["list", "--metadata", "run=7", "--metadata", "x=true", "--json"]).expect(0);
    assert_eq!(found.json()["processes"].as_array().unwrap().len(), 0);
    for filter in ["run=7", "x=true", "z=1.0", "y=1"] {
        let found = doors.bench.run(&["list", "--metadata", filter, "--json"]).expect(0);
        assert_eq!(found.json()["processes"].as_array().unwrap().len(), 1, "{filter}");
    }
}

#[test]
fn what_one_door_refuses_all_refuse() {
    let mut doors = Doors::new("doors_refuse");
    let text = |bytes: usize| format!("{{\"user_id\": \"{}\"}}", "x".repeat(bytes));
    let long = format!("{{\"config\": {{\"a\": {}}}}}", "9".repeat(401));
    let nested =
        |levels: usize| format!("{{\"config\": {}1{}}}", "{\"a\": ".repeat(levels), "}".repeat(levels));
    let arrays = format!("{{\"config\": {{\"a\": {}{}}}}}", "[".repeat(200), "]".repeat(200));
    let keyed = format!("{{\"config\": {{\"{}\": 1}}}}", "k".repeat(3 << 20));
    // With the figure, where it is the size.
    for (document, part) in [
        (text(3 << 20), "1048576"),
        (text(30 << 20), "1048576"),
        (keyed, "1048576"),
        (r#"{"config": {"a": 1e400}}"#.to_owned(), "400 characters"),
        (r#"{"config": {"a": -1e400}}"#.to_owned(), "400 characters"),
        (r#"{"metadata": {"a": 1e-400}}"#.to_owned(), "400 characters"),
        (r#"{"metadata": {"a": 1e999999999}}"#.to_owned(), ""),
        (long, "400 characters"),
        (r#"{"user_id": "a\u0000b"}"#.to_owned(), ""),
        (r#"{"config": {"a\u0000": 1}}"#.to_owned(), ""),
        (r#"{"user_id": "\ud800"}"#.to_owned(), ""),
        (r#"{"user_id": "\udc00x"}"#.to_owned(), ""),
        (nested(9), "8 levels"),
        (nested(1_000), ""),
        (arrays, ""),
        (r#"{"user_id": 7}"#.to_owned(), "user_id"),
        (r#"{"config": {"": 1}}"#.to_owned(), "empty"),
        (r#"{"config": {"a": [1]}}"#.to_owned(), "config.a"),
        (r#"{"config": []}"#.to_owned(), "config"),
        (r#"{"colour": 1}"#.to_owned(), "unknown key"),
        ("[]".to_owned(), "an array"),
        ("\"{}\"".to_owned(), ""),
        ("7".to_owned(), ""),
        ("{".to_owned(), ""),
        ("{\"user_id\": 'a'}".to_owned(), ""),
        ("{} {}".to_owned(), ""),
        ("{\"config\": {\"a\": NaN}}".to_owned(), ""),
        ("{\"config\": {\"a\": 01}}".to_owned(), ""),
    ] {
        let shown: String = document.chars().take(60).collect();
        for (door, told) in doors.ask(&document) {
            let message = told.expect_err(&format!("{door} takes {shown}"));
            let is_arrays = part == "an array" && message.contains("of type array");
            assert!(message.contains(part) || is_arrays, "{door}: {shown}: {message}");
        }
    }
    // A document of PostgreSQL's own type has lost the first of two by then.
    for document in [
        r#"{"user_id": "a", "user_id": "b"}"#,
        r#"{"config": {"a": {"b": 1, "b": 1}}}"#,
        r#"{"config": {"a": 1}, "config": {"b": 1}}"#,
        r#"{"config": {"a.b": 1, "a": {"b": 2}}}"#,
    ] {
        for (door, told) in doors.ask(document) {
            if door == "SQL, jsonb" || door == "SQL, many documents" {
                continue;
            }
            let message = told.expect_err(&format!("{door} takes {document}"));
            assert!(message.contains("twice"), "{door}: {document}: {message}");
        }
    }
    let left = "processes WHERE NOT process_id LIKE 'p-%'";
    assert_eq!(doors.bench.database.count(left), 0);
}
