//! Values keep their text from every door to the command and the next task, and an input means the same through all of them.

use postgres::types::Json;
use process_orchestrator::model::jsonb::number_text;
use process_orchestrator::store::start::{StartOptions, StartRequest};
use process_orchestrator::{
    Outcome, ProcessInputData, ProcessStatus, ProcessType, TaskDefinition, TaskStatus,
};
use serde_json::{Number, Value};
use std::collections::BTreeSet;

use crate::common::{TestDatabase, script};
use crate::program::Bench;

/// Numbers whose text is easily lost, and objects whose order is.
const PASSED_ON: &str = r#"{"order": 40028922250000000000123, "price": 19.90, "much": 1e2, "deep": {"zeta": {"n": 1.50}, "a": [0.10]}}"#;

fn echo(text: &str) -> ProcessType {
    ProcessType::new("echo", "").add_task("echo", format!("echo {text}"), ".", 1.0, 0)
}

/// Starts a process of the type `echo` in SQL; its id.
fn start(database: &TestDatabase, input: &str) -> String {
    let call = "SELECT start_process('echo', $1::jsonb)";
    let input: Value = serde_json::from_str(input).unwrap();
    database.sql().query_one(call, &[&input]).unwrap().get(0)
}

/// What the start of a process of the type `echo` in SQL is refused with.
fn refused(database: &TestDatabase, input: &str) -> (String, String) {
    let error = database.sql().query(&format!("SELECT start_process('echo', '{input}')"), &[]).unwrap_err();
    let answer = error.as_db_error().unwrap_or_else(|| panic!("{error}"));
    (answer.code().code().to_owned(), answer.message().to_owned())
}

fn from_json(input: &str) -> ProcessInputData {
    ProcessInputData::from_json(input, "input").unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn numbers_that_a_task_passes_on_keep_their_text() {
    let database = TestDatabase::new("numbers_on");
    let shown = "${processContext.order} ${processContext.price} ${processContext.much} ${processContext.deep} \
                 ${processContext.deep.zeta.n} ${processContext.deep.a.0}";
    let expected = "40028922250000000000123 19.90 100 {\"a\":[0.10],\"zeta\":{\"n\":1.50}} 1.50 0.10\n";
    let kind = ProcessType::new("numbers", "")
        .add(script("write", &format!("printf '%s' '{PASSED_ON}' > \"$PROCESS_CONTEXT_FILE\"")))
        .add_task("same-claim", format!("printf '%s %s %s %s %s %s\\n' {shown}"), ".", 1.0, 0)
        .add(script("script", &format!("printf '%s %s %s %s %s %s\\n' {}", quoted(shown))));
    let finished = database.run(&kind, ProcessInputData::new());
    assert_eq!((finished.output(1), finished.output(2)), (expected, expected));
    // Another claim reads them from the database.
    let id = &finished.process.process_id;
    database.store().retry_process(id, &from_task("same-claim")).unwrap();
    let node = database.node();
    database.wait_for(id);
    node.stop();
    assert_eq!(database.store().tasks(id).unwrap().rows[1].output.as_deref(), Some(expected));
    let context =
        serde_json::to_string(&database.store().process(id).unwrap().unwrap().process_context).unwrap();
    assert!(context.contains("40028922250000000000123") && context.contains("19.90"), "{context}");
}

/// Each of the words in double quotes, as scripts need it.
fn quoted(words: &str) -> String {
    words.split(' ').map(|word| format!("\"{word}\" ")).collect()
}

fn from_task(name: &str) -> process_orchestrator::store::retry::RetryOptions {
    process_orchestrator::store::retry::RetryOptions {
        from_task: Some(name.to_owned()),
        ..Default::default()
    }
}

#[test]
fn an_input_is_the_same_process_whichever_door_it_came_through() {
    let database = TestDatabase::new("doors");
    database.register(&echo("${config.n:-none} ${config.db.host:-none} ${user_id:-nobody}"));
    for (number, (input, shown)) in [
        (r#"{"config": {"n": 7}}"#, "7 none nobody\n"),
        (
            r#"{"config": {"n": 40028922250000000000123}, "user_id": ""}"#,
            "40028922250000000000123 none nobody\n",
        ),
        (r#"{"config": {"n": 19.90, "db": {"host": "h", "none": null}}, "user_id": "u"}"#, "19.90 h u\n"),
        (r#"{"config": {"n": 1e2, "db.host": "h"}, "metadata": {}, "output_dir": null}"#, "100 h nobody\n"),
        (r#"{"config": {"n": true}, "metadata": null, "input_file": ""}"#, "true none nobody\n"),
        (r#"{"config": {"n": "", "db": {"host": 0.00}}}"#, "none 0.00 nobody\n"),
        (r#"{"config": {}}"#, "none none nobody\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("p-{number}");
        let from_sql = "SELECT start_process('echo', $1::text::jsonb, $2)";
        let sql = || -> String { database.sql().query_one(from_sql, &[&input, &id]).unwrap().get(0) };
        let program = || {
            let request = StartRequest { input: from_json(input), process_id: Some(id.clone()) };
            database
                .store()
                .start_processes("echo", &[request], StartOptions::default())
                .map(|ids| ids[0].clone())
        };
        // Either may be the first.
        let ids = if number % 2 == 0 { [sql(), program().unwrap()] } else { [program().unwrap(), sql()] };
        assert_eq!(ids, [id.clone(), id.clone()], "{input}");
        let node = database.node();
        database.wait_for(&id);
        node.stop();
        assert_eq!(database.store().tasks(&id).unwrap().rows[0].output.as_deref(), Some(shown), "{input}");
    }
}

#[test]
fn metadata_is_found_whatever_it_was_written_as() {
    let database = TestDatabase::new("metadata");
    database.register(&echo("x"));
    start(&database, r#"{"metadata": {"run": 7, "job": {"part": 1.50}}}"#);
    let text = |key: &str, value: &str| {
        format!("processes WHERE input_data -> 'metadata' @> '{{\"{key}\": \"{value}\"}}'")
    };
    assert_eq!((database.count(&text("run", "7")), database.count(&text("job.part", "1.50"))), (1, 1));
}

/// The command line's words, and what it shows.
#[test]
fn the_command_line_means_the_same_and_shows_numbers_whole() {
    let bench = Bench::with_tables("cli_values");
    bench.database.register(&echo("${config.n} ${config.db.host}"));
    let input = r#"{"config": {"n": 40028922250000000000123, "db": {"host": "h"}}, "metadata": {"run": 7}, "user_id": ""}"#;
    let call = "SELECT start_process('echo', $1::text::jsonb, 'same')";
    bench.database.sql().execute(call, &[&input]).unwrap();
    let again = bench.run(&["start", "echo", "--process-id", "same", "--input", input]).expect(0);
    assert_eq!(again.out, "same\n");
    let words = ["start", "echo", "--process-id", "same", "--config", "n=40028922250000000000123"];
    let words = [&words[..], &["--config", "db.host=h", "--metadata", "run=7", "--output-dir", ""]].concat();
    assert_eq!(bench.run(&words).expect(0).out, "same\n");
    std::fs::write(
        bench.folder.join("in.jsonl"),
        format!("{}\n", input.replacen('{', "{\"process_id\": \"same\", ", 1)),
    )
    .unwrap();
    assert_eq!(bench.run(&["start", "echo", "--inputs", "in.jsonl"]).expect(0).out, "same\n");
    let listed = bench.run(&["list", "--metadata", "run=7"]).expect(0);
    assert!(listed.out.contains("same"), "{listed:#?}");

    let context =
        "UPDATE processes SET process_context = '{\"order\": 40028922250000000000123, \"price\": 19.90}'";
    bench.database.sql().batch_execute(context).unwrap();
    for words in [&["show", "same"][..], &["show", "same", "--json"]] {
        let shown = bench.run(words).expect(0).out;
        assert!(shown.contains("40028922250000000000123") && shown.contains("19.90"), "{words:?}: {shown}");
    }
    let refused = bench.run(&["start", "echo", "--input", r#"{"config": {"n": 1e400}}"#]).expect(2);
    assert!(refused.err.contains("has more than 400 characters when it is written out"), "{refused:#?}");
}

/// What a release before has kept as numbers is found after the migration, and is the same process. What has ended is not
/// written again.
#[test]
fn inputs_that_are_there_get_the_normal_form_or_are_found_without() {
    let bench = Bench::new("old_inputs");
    let before = bench.command(&["migrate"]).env("PROCESS_ORCHESTRATOR_KNOWN_SCHEMA", "7").status().unwrap();
    assert!(before.success());
    let database = &bench.database;
    let task = r#"[{"task_index": 0, "name": "t", "command": "true", "shell": false, "environment": {}, "retry": {},
        "timeout_minutes": 1, "max_retries": 0, "on_crash": "rerun", "max_output_bytes": 1024}]"#;
    let types = "INSERT INTO process_types (name, definition, tasks, required_input) VALUES ('echo', '{}', $1::text::jsonb, '{}')";
    database.sql().execute(types, &[&task]).unwrap();
    let call = "SELECT start_process('echo', '{\"metadata\": {\"run\": 7}}', 'old')";
    let call_of_ended = call.replace("'old'", "'ended'").replace("7}", "7, \"dry\": true, \"by\": \"8\"}");
    database.sql().batch_execute(&format!("{call}; {call_of_ended}; {END}")).unwrap();
    const END: &str = "DELETE FROM scheduled_tasks WHERE task_instance = 'ended'; \
        UPDATE processes SET status = 'COMPLETED', completed_at = now() WHERE process_id = 'ended'";
    database.store().migrate(false).unwrap();
    let input_of = |id: &str| -> String {
        let query = "SELECT input_data::text FROM processes WHERE process_id = $1";
        database.sql().query_one(query, &[&id]).unwrap().get(0)
    };
    assert_eq!(input_of("old"), r#"{"metadata": {"run": "7"}}"#);
    assert_eq!(input_of("ended"), r#"{"metadata": {"by": "8", "dry": true, "run": 7}}"#);
    database.sql().batch_execute(&format!("{call}; {call_of_ended}")).unwrap();
    let listed = |words: &[&str]| {
        let found = bench.run(&[&["list", "--json"], words].concat()).expect(0).json();
        let ids = found["processes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["process_id"].as_str().unwrap().to_owned());
        ids.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(listed(&["--metadata", "run=7"]), ["ended", "old"]);
    assert_eq!(listed(&["--metadata", "run=7", "--metadata", "dry=true", "--metadata", "by=8"]), ["ended"]);
    assert_eq!(listed(&["--metadata", "run=7", "--search", "nde"]), ["ended"]);
    assert!(listed(&["--metadata", "run=8"]).is_empty());
}

#[test]
fn one_rule_refuses_what_is_too_large_at_every_door() {
    let database = TestDatabase::new("too_large");
    database.register(&echo("x"));
    let nested = format!("{{\"config\": {}1{}}}", "{\"a\": ".repeat(9), "}".repeat(9));
    let long = format!("{{\"config\": {{\"a\": {}}}}}", "9".repeat(401));
    let large = format!("{{\"config\": {{\"a\": \"{}\"}}}}", "x".repeat(1024 * 1024));
    // Its paths are what makes it large.
    let pairs: String = (0..9_000).map(|it| format!("\"{it}\": 1,")).collect();
    let spread = format!("{{\"config\": {{\"{}\": {{{pairs} \"x\": 1}}}}}}", "p".repeat(200));
    for (input, part) in [
        (r#"{"config": {"a": 1e400}}"#, "config.a has more than 400 characters when it is written out"),
        (r#"{"metadata": {"b": {"a": 1e-1000}}}"#, "metadata.b.a has more than 400 characters"),
        (r#"{"config": {"a": {"": 1}}}"#, "config.a. has an empty key"),
        (r#"{"config": {"": 1}}"#, "config. has an empty key"),
        (r#"{"config": {"a": {"b": 1}, "a.b": 2}}"#, "config.a.b is given twice"),
        (r#"{"config": {"a": [1]}}"#, "config.a is not a string, number or boolean"),
        (r#"{"config": {"a": ["x"]}}"#, "config.a is not a string, number or boolean"),
        (r#"{"config": {"a": {"b": []}}}"#, "config.a.b is not a string, number or boolean"),
        (r#"{"metadata": []}"#, "metadata is of type array, not an object"),
        (r#"{"config": {"a": {}}}"#, "config.a is not a string, number or boolean"),
        (&nested, "config.a.a.a.a.a.a.a.a is nested more than 8 levels deep"),
        (&long, "config.a has more than 400 characters"),
        (&large, "bytes; at most 1048576 (1 MiB) are allowed"),
        (&spread, "it has more than 1048576 bytes (1 MiB) when it is written out"),
    ] {
        let (state, message) = refused(&database, input);
        let shown: String = input.chars().take(80).collect();
        assert_eq!(state, "PO002", "{shown}: {message}");
        assert!(message.contains(part), "{shown}: {message}");
        assert!(ProcessInputData::from_json(input, "input").is_err(), "{shown}");
    }
    for input in [r#"{"config": {"a": 1e399}}"#, r#"{"config": {"a": -4.9406564584124654e-324}}"#] {
        start(&database, input);
        from_json(input);
    }
}

#[test]
fn an_empty_value_of_three_counts_as_missing_at_the_start() {
    let database = TestDatabase::new("empty");
    database.register(&echo("${output_dir}/x ${config.a}"));
    let (state, message) = refused(&database, r#"{"output_dir": "", "config": {"a": ""}}"#);
    assert_eq!(
        (&*state, &*message),
        ("PO003", "input lacks ${output_dir}, which process type \"echo\" needs")
    );
    let request =
        StartRequest { input: from_json(r#"{"output_dir": "", "config": {"a": ""}}"#), process_id: None };
    let error = database.store().start_processes("echo", &[request], StartOptions::default()).unwrap_err();
    assert!(error.to_string().contains("input lacks ${output_dir}"), "{error}");
    // So it does at a retry.
    let finished = {
        let id = start(&database, r#"{"output_dir": "/out", "config": {"a": ""}}"#);
        let node = database.node();
        database.wait_for(&id);
        node.stop();
        id
    };
    let changes = Some(ProcessInputData::new().output_dir(""));
    let options = process_orchestrator::store::retry::RetryOptions {
        from_task: Some("echo".to_owned()),
        skip: false,
        changes,
    };
    let error = database.store().retry_process(&finished, &options).unwrap_err();
    assert!(error.to_string().contains("${output_dir}"), "{error}");
}

#[test]
fn a_retry_merges_changes_by_their_paths() {
    let database = TestDatabase::new("merged");
    let changed = |input: &str, changes: &str| -> String {
        let call = "SELECT changed_input($1::text::jsonb, $2::text::jsonb)::text";
        database.sql().query_one(call, &[&input, &changes]).unwrap().get(0)
    };
    let input = r#"{"user_id": "u", "config": {"db.host": "old", "keep": "1", "gone": "2"}}"#;
    let changes = r#"{"user_id": null, "config": {"db": {"host": "new"}, "gone": null, "n": 19.90}}"#;
    assert_eq!(changed(input, changes), r#"{"config": {"n": "19.90", "keep": "1", "db.host": "new"}}"#);
    assert_eq!(changed(r#"{"config": {"a": "1"}}"#, r#"{"config": null}"#), r#"{"config": {"a": "1"}}"#);
    assert_eq!(
        changed(input, "{}"),
        r#"{"config": {"gone": "2", "keep": "1", "db.host": "old"}, "user_id": "u"}"#
    );
}

#[test]
fn a_default_after_a_dash_is_not_asked_for() {
    let database = TestDatabase::new("dash");
    database.register(&echo("${config.size-100} ${metadata.a-} ${user_id-me}"));
    let id = start(&database, "{}");
    let node = database.node();
    database.wait_for(&id);
    let options = process_orchestrator::store::retry::RetryOptions {
        changes: Some(ProcessInputData::new().add_config("size", "")),
        ..from_task("echo")
    };
    assert_eq!(database.store().tasks(&id).unwrap().rows[0].output.as_deref(), Some("100  me\n"));
    database.store().retry_process(&id, &options).unwrap();
    database.wait_for(&id);
    node.stop();
    assert_eq!(database.store().tasks(&id).unwrap().rows[0].output.as_deref(), Some("  me\n"));
    let missing = "SELECT missing_variables($1, 0, '{}')";
    for (variable, expected) in [
        ("${config.out-dir}", Some("${config.out-dir}")),
        ("${metadata.a-_x}", Some("${metadata.a-_x}")),
        ("${config.a-ü}", Some("${config.a-ü}")),
        ("${config.out-dir-10} ${config.d-/tmp} ${config.e-} ${config.n--x} ${output_dir-out}", None),
    ] {
        database
            .sql()
            .execute("UPDATE tasks SET command = $1 WHERE process_id = $2", &[&variable, &id])
            .unwrap();
        let told: Option<String> = database.sql().query_one(missing, &[&id]).unwrap().get(0);
        assert_eq!(told.as_deref(), expected, "{variable}");
    }
}

#[test]
fn a_faulty_context_file_and_a_null_fail_the_task_once() {
    let database = TestDatabase::new("faulty_context");
    let once = |script: TaskDefinition, part: &str| {
        let kind = ProcessType::new("faulty", "").add(TaskDefinition { max_retries: 3, ..script });
        let finished = database.run(&kind, ProcessInputData::new());
        assert_eq!(finished.process.status, ProcessStatus::Failed, "{finished:?}");
        assert!(finished.error().contains(part), "{}", finished.error());
        let executions = database.store().executions(&finished.process.process_id).unwrap();
        assert_eq!((executions.len(), executions[0].outcome), (1, Outcome::Failed), "{part}");
    };
    once(script("key", "printf 'a=1\\nb c=2\\n' > $PROCESS_CONTEXT_FILE"), "has in line 2 the key \"b c\"");
    once(script("syntax", "printf '{\\n\"a\": 1,,}' > $PROCESS_CONTEXT_FILE"), "at line 2 column 8");
    once(script("block", "printf 'a<<EOF\\ntext\\n' > $PROCESS_CONTEXT_FILE"), "begun in line 1");

    let kind = ProcessType::new("null", "")
        .add(script("write", "printf 'k<<EOF\\none\\ntwo\\nEOF\\n' > $PROCESS_CONTEXT_FILE"))
        .add(script("null", "printf '{\"n\": {\"x\": null}}' > $PROCESS_CONTEXT_FILE"))
        .add_task("lines", "printf '[%s]' ${processContext.k} ${processContext.n.x:-none}", ".", 1.0, 0)
        .add_task("read", "echo ${processContext.n.x}", ".", 1.0, 3);
    let finished = database.run(&kind, ProcessInputData::new());
    assert_eq!(finished.output(2), "[one\ntwo][none]");
    assert!(finished.error().contains("passed on null as processContext.n.x"), "{}", finished.error());
}

#[test]
fn numbers_are_written_as_postgresql_writes_them() {
    let database = TestDatabase::new("numbers");
    let mut client = database.sql();
    for mantissa in ["0", "-0", "7", "-12", "1.50", "0.0050", "100", "1234567890123456789012.000"] {
        for exponent in ["", "e0", "e1", "E+2", "e-1", "e-7", "e30", "e390"] {
            let text = format!("{mantissa}{exponent}");
            let number: Number = text.parse().unwrap();
            let Some(written) = number_text(&number) else {
                let length: i32 =
                    client.query_one("SELECT length(($1::text::jsonb) #>> '{}')", &[&text]).unwrap().get(0);
                assert!(length > 400, "{text} has {length} characters");
                continue;
            };
            let row = client
                .query_one("SELECT ($1::text::jsonb)::text, $2::jsonb", &[&text, &Json(&number)])
                .unwrap();
            assert_eq!(row.get::<_, String>(0), written, "{text}");
            assert_eq!(row.get::<_, Value>(1).to_string(), written, "{text}");
        }
    }
}

/// What both say of documents: whether they are inputs, and what is kept.
fn both_say(database: &TestDatabase, documents: &[String]) {
    let query = "SELECT input_problem(d.input::jsonb), normal_input(d.input::jsonb) \
        FROM unnest($1::text[]) WITH ORDINALITY AS d (input, n) ORDER BY d.n";
    let mut client = database.sql();
    let rows = client.query(query, &[&documents]).unwrap();
    assert_eq!(rows.len(), documents.len());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for (document, row) in documents.iter().zip(rows) {
        let problem: Option<String> = row.get(0);
        match ProcessInputData::from_json(document, "input") {
            Ok(input) => {
                assert_eq!(problem, None, "{document}");
                ours.push(input.to_value());
                theirs.push((document, row.get::<_, Value>(1)));
            }
            Err(faults) => assert!(problem.is_some(), "{document}: {faults}"),
        }
    }
    // An empty text goes at the start.
    let rows = client.query("SELECT normal_input(i) FROM unnest($1::jsonb[]) AS i", &[&ours]).unwrap();
    for ((document, theirs), row) in theirs.iter().zip(rows) {
        assert_eq!(row.get::<_, Value>(0), *theirs, "{document}");
    }
}

/// Two hands have written the rule, in Rust and in SQL: documents made by chance, most of them nearly right.
#[test]
fn the_rule_of_the_program_and_that_of_the_schema_are_one() {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::{Config, TestRng, TestRunner};

    let key = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "a.b", "n", "ü", "x y", "$", ".", "a.", "A"]).prop_map(str::to_owned),
        1 => Just(String::new()),
    ];
    let number = prop::sample::select(vec![
        "0",
        "-0",
        "7",
        "7.0",
        "7e0",
        "1e2",
        "-1.50",
        "1e399",
        "1e400",
        "-1e400",
        "1e-397",
        "1e-398",
        "1e-400",
        "18446744073709551616",
        "9223372036854775808",
        "-9223372036854775809",
        "0.10",
        "1E+2",
        "40028922250000000000123",
        "1.7976931348623157e309",
    ])
    .prop_map(str::to_owned);
    let text = prop::sample::select(vec![
        "\"\"",
        "\"x\"",
        "\"7\"",
        "\"a\\nb\"",
        "\"\\u00e4\"",
        "\"\\ud83d\\ude00\"",
        "\"\\\"\"",
    ]);
    let leaf = prop_oneof![
        4 => text.prop_map(str::to_owned),
        3 => number,
        2 => prop::sample::select(vec!["true", "false", "null", "[]", "{}", "[1]"]).prop_map(str::to_owned),
    ];
    // Keys of one object differ: what is given twice is told of texts only, jsonb has lost it.
    let object = |value: BoxedStrategy<String>, keys: BoxedStrategy<String>| {
        prop::collection::btree_map(keys, value, 0..4).prop_map(|pairs| {
            let pairs: Vec<String> =
                pairs.iter().map(|(key, value)| format!("{}: {value}", Value::from(key.as_str()))).collect();
            format!("{{{}}}", pairs.join(", "))
        })
    };
    let nested =
        leaf.clone().prop_recursive(9, 24, 3, move |inner| object(inner.boxed(), key.clone().boxed()));
    let keys = prop_oneof![
        12 => prop::sample::select(vec!["input_file", "output_dir", "user_id", "config", "metadata"]),
        1 => prop::sample::select(vec!["Config", "x", ""]),
    ]
    .prop_map(str::to_owned);
    let input = prop_oneof![
        20 => object(nested.clone().boxed(), keys.boxed()),
        1 => nested,
    ];
    let rng = TestRng::deterministic_rng(Config::default().rng_algorithm);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let documents: Vec<String> = (0..3_000).map(|_| input.new_tree(&mut runner).unwrap().current()).collect();
    let database = TestDatabase::new("one_rule");
    let good = documents.iter().filter(|it| ProcessInputData::from_json(it, "input").is_ok()).count();
    assert!((300..2_700).contains(&good), "{good} of 3,000 are inputs");
    both_say(&database, &documents);

    let deep =
        |levels: usize| format!("{{\"config\": {}1{}}}", "{\"a\": ".repeat(levels), "}".repeat(levels));
    let sized = |bytes: usize| format!("{{\"user_id\": \"{}\"}}", "x".repeat(bytes - 15));
    let limit = process_orchestrator::model::input::INPUT_BYTES_MAX;
    let named: Vec<String> =
        [1, 7, 8, 9, 50, 100].map(deep).into_iter().chain([sized(limit), sized(limit + 1)]).collect();
    both_say(&database, &named);
    assert!(ProcessInputData::from_json(&sized(limit), "input").is_ok());
}

/// The same for ids, whatever the locale: every character that is a control character or white space somewhere.
#[test]
fn ids_are_judged_alike_by_the_program_and_the_schema() {
    let database = TestDatabase::new("judged_ids");
    database.register(&echo("x"));
    let ranges = [1..=0x17f_u32, 0x1680..=0x1681, 0x1ff0..=0x2070, 0x2fff..=0x3001, 0xfeff..=0xfeff];
    let ids: BTreeSet<String> = ranges
        .into_iter()
        .flatten()
        .filter_map(char::from_u32)
        .flat_map(|it| [format!("{it}a"), format!("a{it}"), format!("a{it}a")])
        .chain(["x".repeat(255), "ü".repeat(255), "ü".repeat(256), String::new()])
        .collect();
    let mut client = database.sql();
    client
        .batch_execute(
            "CREATE FUNCTION is_taken(id text) RETURNS boolean LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM start_process('echo', '{}'::jsonb, id, now() + interval '1 year');
                RETURN true;
            EXCEPTION WHEN SQLSTATE 'PO005' THEN
                RETURN false;
            END $$",
        )
        .unwrap();
    let (bad, good): (Vec<String>, Vec<String>) =
        ids.into_iter().partition(|id| process_orchestrator::model::names::process_id_problem(id).is_some());
    assert!(bad.len() > 100 && good.len() > 1_000, "{} {}", bad.len(), good.len());
    let judged = "SELECT id FROM unnest($1::text[]) AS u (id) WHERE is_taken(id) ORDER BY 1";
    let rows = client.query(judged, &[&bad]).unwrap();
    let taken: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(taken, [""; 0], "the schema takes what the program refuses");
    let refused =
        "SELECT start_processes('echo', array_fill('{}'::jsonb, ARRAY[cardinality($1::text[])]), $1)";
    client.query(refused, &[&good]).unwrap();
    assert_eq!(database.count("processes"), good.len() as i64);
}

/// Each of them passes on less than a context file may hold; together they are more than a process may have.
#[test]
fn more_values_than_a_process_may_have_fail_the_task_that_brings_them() {
    let database = TestDatabase::new("many_values");
    let pass = |number: u32| {
        let text =
            "v=$(head -c 250000 /dev/zero | tr '\\0' x); echo \"$TASK_NAME=$v\" > \"$PROCESS_CONTEXT_FILE\"";
        script(&format!("pass-{number}"), text)
    };
    let pipeline = (1..=6).fold(ProcessType::new("many-values", ""), |type_, number| type_.add(pass(number)));
    let finished = database.run(&pipeline, ProcessInputData::new());
    assert_eq!((finished.process.status, finished.process.current_task_index), (ProcessStatus::Failed, 4));
    let error = finished.error();
    assert!(
        error.contains("at most 1048576 (1 MiB) are allowed") && error.contains("the name of a file"),
        "{error}"
    );
    assert_eq!(
        (finished.tasks[4].status, finished.tasks[4].attempt),
        (TaskStatus::Failed, 1),
        "not tried again"
    );
    let context = finished.process.process_context.as_object().unwrap();
    assert_eq!(context.keys().collect::<Vec<_>>(), ["pass-1", "pass-2", "pass-3", "pass-4"]);
}
