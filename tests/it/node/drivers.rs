//! The SQL functions take what drivers send: typed as text, json, bigint, smallint or timestamp, or not typed at all.

use process_orchestrator::ProcessInputData;

use crate::common::{TestDatabase, one_task, tool};

/// What a driver says of its parameters, and what it sends; nothing said is `unknown`.
type Sent<'s> = (&'s str, &'s str);

const INPUT: &str = r#"'{"user_id": "u", "config": {"n": 7}}'"#;
const TIME: &str = "'2030-01-01 00:00:00+00'";

fn place(number: usize) -> String {
    format!("${number}")
}

/// Prepares the call with the types, and executes it.
fn call(
    client: &mut postgres::Client,
    function: &str,
    sent: &[Sent<'_>],
) -> Result<Vec<String>, postgres::Error> {
    let types: Vec<&str> = sent.iter().map(|it| it.0).collect();
    let values: Vec<&str> = sent.iter().map(|it| it.1).collect();
    let places: Vec<String> = (1..=sent.len()).map(place).collect();
    client.batch_execute(&format!(
        "PREPARE call ({}) AS SELECT * FROM {function}({}) AS id",
        types.join(", "),
        places.join(", ")
    ))?;
    let rows = client.query(&format!("EXECUTE call ({})", values.join(", ")), &[]);
    client.batch_execute("DEALLOCATE call").unwrap();
    Ok(rows?.iter().map(|row| row.get(0)).collect())
}

#[test]
fn a_start_takes_what_drivers_send() {
    let database = TestDatabase::new("drivers");
    database.register(&one_task("true"));
    let mut client = database.sql();
    let mut number = 0;
    let mut expect = |client: &mut postgres::Client,
                      priority: Sent<'_>,
                      text: &str,
                      input: &str,
                      time: &str| {
        number += 1;
        let id = format!("p-{number}");
        let quoted = format!("'{id}'");
        let all = [
            (text, "'one-task'"),
            (input, INPUT),
            (text, &quoted),
            (time, TIME),
            priority,
            ("boolean", "true"),
        ];
        // As many as a caller gives.
        for given in [6, 5, 3] {
            let ids = call(client, "start_process", &all[..given]);
            assert_eq!(ids.unwrap_or_else(|error| panic!("{all:?}: {error:?}")), [id.as_str()], "{all:?}");
        }
        assert_eq!(call(client, "start_process", &all[..2]).unwrap().len(), 1);
        let array = format!("ARRAY[{INPUT}]::{}[]", if input == "unknown" { "jsonb" } else { input });
        let ids = format!("ARRAY['{id}']");
        let (inputs, texts) = (format!("{input}[]"), format!("{text}[]"));
        let typed = |name: &str, list: &str| {
            if name == "unknown" { "unknown".to_owned() } else { list.to_owned() }
        };
        let (inputs, texts) = (typed(input, &inputs), typed(text, &texts));
        let all = [
            (text, "'one-task'"),
            (&*inputs, &*array),
            (&*texts, &*ids),
            (time, TIME),
            priority,
            ("boolean", "true"),
        ];
        // With neither the inputs' type nor an integer there is no saying which.
        let most = if (input, priority.0) == ("unknown", "bigint") { 3 } else { 6 };
        for given in [most, most.min(5), 3] {
            let ids = call(client, "start_processes", &all[..given]);
            assert_eq!(ids.unwrap_or_else(|error| panic!("{all:?}: {error:?}")), [id.as_str()], "{all:?}");
        }
        let kept = "SELECT input_data::text, priority FROM processes WHERE process_id = $1";
        let row = client.query_one(kept, &[&id]).unwrap();
        let expected = (r#"{"config": {"n": "7"}, "user_id": "u"}"#.to_owned(), 5);
        assert_eq!((row.get::<_, String>(0), row.get::<_, i32>(1)), expected, "{all:?}");
    };
    for text in ["text", "varchar", "unknown"] {
        for input in ["jsonb", "json", "text", "varchar", "unknown"] {
            for priority in ["integer", "bigint", "smallint", "unknown"] {
                expect(&mut client, (priority, "'5'"), text, input, "timestamptz");
            }
        }
        for time in ["timestamp", "date", "unknown"] {
            expect(&mut client, ("integer", "5"), text, "json", time);
        }
    }
}

/// `PREPARE` needs a type that it knows; a parameter without one is what most drivers send.
#[test]
fn where_a_call_leaves_types_open_they_are_these() {
    let database = TestDatabase::new("open_types");
    let mut client = database.sql();
    let mut types = |call: &str| -> Vec<String> {
        let statement =
            client.prepare(&format!("SELECT {call}")).unwrap_or_else(|error| panic!("{call}: {error:?}"));
        statement.params().iter().map(|it| it.name().to_owned()).collect()
    };
    for (call, expected) in [
        ("start_process($1)", &["text"][..]),
        ("start_process($1, $2)", &["text", "text"]),
        ("start_process($1, $2::jsonb)", &["text", "jsonb"]),
        ("start_process($1, $2, $3, $4, $5, $6)", &["text", "text", "text", "timestamptz", "int4", "bool"]),
        ("start_process($1, start_at => $2, priority => $3)", &["text", "timestamptz", "int4"]),
        // Releases before this one send these two.
        ("start_processes($1, $2, $3, $4, $5)", &["text", "_jsonb", "_text", "timestamptz", "int4"]),
        ("retry_process($1, $2, $3)", &["text", "text", "jsonb"]),
        ("start_processes($1, $2)", &["text", "_jsonb"]),
        ("cancel_process($1, $2, $3)", &["text", "text", "text"]),
        ("pause_process_type($1, $2)", &["text", "text"]),
    ] {
        assert_eq!(types(call), expected, "{call}");
    }
}

#[test]
fn the_calls_of_the_guide_mean_one_function_each() {
    let database = TestDatabase::new("literals");
    database.register(&one_task("true"));
    let mut client = database.sql();
    for call in [
        "start_process('one-task')",
        "start_process('one-task', '{}')",
        "start_process('one-task', input => '{}', priority => 3)",
        "start_process('one-task', process_id => 'x')",
        "start_process(process_type => 'one-task', start_at => now(), notify => false)",
        "start_process('one-task', '{}', NULL, NULL, NULL, NULL)",
        "start_process('one-task', '{}', 'y', '2030-01-01', '4', 'false')",
        "start_process('one-task', jsonb_build_object('user_id', 'u'))",
        "start_process('one-task', json_build_object('user_id', 'u'), priority => 3000)",
        "start_process('one-task', (SELECT '{}'::text), priority => 30::bigint)",
        "start_processes('one-task', '{\"{}\"}')",
        "start_processes('one-task', ARRAY['{}', '{}'])",
        "start_processes('one-task', ARRAY(SELECT jsonb_build_object('user_id', n) - 'user_id' FROM generate_series(1, 3) AS n))",
        "start_processes('one-task', inputs => ARRAY['{}'::json], process_ids => ARRAY['z'])",
        "start_processes('one-task', ARRAY['{}'::jsonb], ARRAY[NULL])",
        "start_processes('one-task', ARRAY[]::text[])",
        "pause_process_type('one-task')",
        "resume_process_type('one-task')",
        "cancel_process('x', 'because')",
        "retry_process('x')",
        "cancel_process('x')",
        "retry_process('x', 'only', '{}')",
        "cancel_process('x', cancelled_by => 'me')",
        "retry_process('x', changes => '{}')",
        "cancel_process('x')",
        "retry_process('x', NULL, json_build_object('user_id', 'u'))",
    ] {
        let result = client.query(&format!("SELECT {call}"), &[]);
        result.unwrap_or_else(|error| panic!("{call}: {error:?}"));
    }
    let null = client.query("SELECT start_process('one-task', NULL)", &[]).unwrap_err();
    assert_eq!(null.code().map(|it| it.code()), Some("PO002"), "{null:?}");
}

/// What can't be read is refused as an input is, not as a value that PostgreSQL does not know.
#[test]
fn texts_that_are_no_inputs_are_refused_as_the_program_refuses_them() {
    let database = TestDatabase::new("bad_texts");
    database.register(&one_task("true"));
    let mut client = database.sql();
    let long = format!("{{\"user_id\": \"{}\"}}", "x".repeat(3 * 1024 * 1024));
    let nested = "[".repeat(100_000);
    for (text, part) in [
        ("", "invalid input: it is not JSON that can be kept: invalid input syntax for type json"),
        ("{\"user_id\": \"\\u0000\"}", "unsupported Unicode escape sequence"),
        ("{\"user_id\": \"\\ud800\"}", "invalid input syntax for type json"),
        ("{\"config\": {\"a\": 1e400000}}", "value overflows numeric format"),
        ("{\"config\": {\"a\": 1, \"b\": {\"c\": 1, \"c\": 2}}}", "config.b.c is given twice"),
        ("{\"user_id\": \"\\u0022\", \"user_id\": \"b\"}", "user_id is given twice"),
        (&nested, "stack depth limit exceeded"),
        (&long, "it has 3145743 bytes; at most 1048576 (1 MiB) are allowed"),
        ("[]", "it is of type array, not an object"),
    ] {
        let shown: String = text.chars().take(60).collect();
        for call in ["start_process('one-task', $1::text)", "start_processes('one-task', ARRAY[$1::text])"] {
            let error = client.query(&format!("SELECT {call}"), &[&text]).expect_err(&shown);
            let answer = error.as_db_error().unwrap_or_else(|| panic!("{shown}: {error}"));
            assert_eq!(answer.code().code(), "PO002", "{shown}: {answer:?}");
            assert!(answer.message().contains(part), "{shown}: {answer:?}");
        }
        assert!(ProcessInputData::from_json(text, "input").is_err(), "{shown}");
    }
    let many = client.query("SELECT start_processes('one-task', ARRAY['{}', '{'])", &[]).unwrap_err();
    assert!(
        many.as_db_error().unwrap().message().starts_with("invalid input number 2: it is not JSON"),
        "{many:?}"
    );
    let priority =
        client.query("SELECT start_process('one-task', '{}', priority => 3000000000)", &[]).unwrap_err();
    assert!(
        priority.as_db_error().unwrap().message().contains("invalid priority 3000000000"),
        "{priority:?}"
    );
    assert_eq!(database.count("processes"), 0);
}

/// A driver that writes values into the text of the statement.
#[test]
fn psycopg2_starts_processes_with_json_and_lists() {
    let Some(python) = tool("python3") else { return };
    let has_driver = std::process::Command::new(&python).args(["-c", "import psycopg2"]).output().unwrap();
    if !has_driver.status.success() {
        eprintln!("left out: python3-psycopg2 is not installed");
        return;
    }
    let database = TestDatabase::new("psycopg2");
    database.register(&one_task("true"));
    let directory: String = database.sql().query_one("SHOW unix_socket_directories", &[]).unwrap().get(0);
    let script = "
import datetime, sys, psycopg2
from psycopg2.extras import Json
connection = psycopg2.connect(host=sys.argv[1], user='postgres', dbname='postgres', options='-c search_path=' + sys.argv[2])
cursor = connection.cursor()
cursor.execute('SELECT start_process(%s, %s, %s, %s, %s)', ('one-task', Json({'user_id': 'u'}), 'p', datetime.datetime(2030, 1, 1), 2**20))
cursor.execute('SELECT start_processes(%s, %s, %s)', ('one-task', [Json({}), Json({'user_id': 'v'})], ['a', 'b']))
connection.commit()";
    let ended = std::process::Command::new(&python)
        .args(["-c", script, directory.trim_matches('"'), &database.schema])
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(database.count("processes"), 3);
}
