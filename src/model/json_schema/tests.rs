//! Holds the schema against the parser.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::document::{LIMIT_KEYS, PROCESS_TYPE_KEYS, RETRY_KEYS, TASK_KEYS, TASK_LIMIT_KEYS};
use crate::model::limits::definition::Concurrency;
use crate::model::process_type::{ProcessType, TaskDefinition};

/// Compiled once: a property test asks it hundreds of times.
static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema = process_type_schema();
    jsonschema::draft202012::meta::validate(&schema).expect("the schema is a valid schema");
    jsonschema::draft202012::new(&schema).expect("the schema compiles")
});

/// A document whose only task has `settings` beside a name and a command.
fn with(settings: Value) -> Value {
    let mut task = json!({"name": "load", "command": "load-data"});
    for (key, value) in settings.as_object().expect("an object") {
        task[key] = value.clone();
    }
    json!({"name": "nightly", "tasks": [task]})
}

fn named(name: &str) -> Value {
    json!({"name": name, "tasks": [{"name": "load", "command": "load-data"}]})
}

/// A document with this beside its name and task.
fn limited(concurrency: Value) -> Value {
    json!({"name": "n", "concurrency": concurrency, "tasks": [{"name": "load", "command": "load-data"}]})
}

fn tasks(count: usize) -> Value {
    let task = |n| json!({"name": format!("t{n}"), "command": "true"});
    json!({"name": "n", "tasks": (0..count).map(task).collect::<Vec<_>>()})
}

fn valid() -> Vec<Value> {
    vec![
        named("nightly"),
        named("Übersicht 2"),
        named(&"x".repeat(200)),
        json!({"$schema": "https://example.org/schema.json", "name": "n", "description": "What\nfor",
               "tasks": [{"name": "a", "command": "true"}]}),
        tasks(1_000),
        with(json!({"command": "sort 'a b' \"${config.x:-a b}\" # comment"})),
        with(json!({"command": ["sort", "", "it's", "${input_file}"]})),
        with(json!({"command": "sort < \"${input_file}\" | head\n", "shell": true})),
        with(json!({"shell": false, "command": ["true"]})),
        with(json!({"working_directory": "${output_dir}/x"})),
        with(json!({"timeout_minutes": 0.001})),
        with(json!({"timeout_minutes": 525_600})),
        with(json!({"max_retries": 0})),
        with(json!({"max_retries": 1_000})),
        with(json!({"max_retries": 3.0})),
        with(json!({"environment": {}})),
        with(json!({"environment": {"A b.c": "", "LANG": "${config.lang:-C}"}})),
        with(json!({"retry": {}})),
        with(json!({"retry": {"initial_delay": 0, "max_delay": 2_592_000, "multiplier": 1}})),
        with(json!({"retry": {"initial_delay": "500ms", "max_delay": "1.5h", "multiplier": 100}})),
        with(json!({"retry": {"fatal_exit_codes": [1, 255]}})),
        with(json!({"on_crash": "fail"})),
        with(json!({"on_crash": "rerun"})),
        with(json!({"max_output_bytes": 1})),
        with(json!({"max_output_bytes": 67_108_864})),
        limited(json!([])),
        limited(json!({"max": 1})),
        limited(
            json!([{"max": 1_000_000, "key": "${config.customer}/${user_id:-x}"}, {"group": "gpu", "holds": "task"}]),
        ),
        limited(
            json!([{"group": "a.B-9_", "max": 2, "holds": "process", "key": "ü ${metadata.a.b}"}, {"max": 3}]),
        ),
        with(json!({"concurrency": {"group": "gpu"}})),
        with(
            json!({"concurrency": [{"group": "gpu", "max": 2, "key": "${input_file}"}, {"group": "licence"}]}),
        ),
    ]
}

fn invalid() -> Vec<Value> {
    vec![
        json!(null),
        json!([]),
        json!({}),
        json!({"name": "n"}),
        json!({"name": "n", "tasks": {}}),
        json!({"name": "n", "tasks": [7]}),
        json!({"name": "n", "tasks": [{}]}),
        json!({"name": "n", "tasks": [{"name": "a"}]}),
        json!({"name": "n", "tasks": [{"name": "a", "command": "true"}], "task": []}),
        json!({"name": "n", "description": 7, "tasks": [{"name": "a", "command": "true"}]}),
        json!({"name": "n", "description": "\0", "tasks": [{"name": "a", "command": "true"}]}),
        json!({"name": "n", "$schema": 7, "tasks": [{"name": "a", "command": "true"}]}),
        tasks(0),
        tasks(1_001),
        named(""),
        named(" "),
        named(" x"),
        named("x\u{a0}"),
        named("a\nb"),
        named("a\u{85}b"),
        named("\n"),
        named("x\n"),
        named(&"x".repeat(201)),
        with(json!({"name": 7})),
        with(json!({"name": "a\u{0}b"})),
        with(json!({"comand": "x"})),
        with(json!({"command": null})),
        with(json!({"command": 7})),
        with(json!({"command": ""})),
        with(json!({"command": " \n"})),
        with(json!({"command": "a\u{0}b"})),
        with(json!({"command": []})),
        with(json!({"command": [""]})),
        with(json!({"command": ["a", 7]})),
        with(json!({"command": ["a", "\u{0}"]})),
        with(json!({"command": ["true"], "shell": true})),
        with(json!({"command": ["true"], "shell": "bash"})),
        with(json!({"shell": "True"})),
        with(json!({"shell": ""})),
        with(json!({"shell": "bash -c"})),
        with(json!({"shell": "${config.shell}"})),
        with(json!({"shell": []})),
        with(json!({"shell": [""]})),
        with(json!({"shell": ["bash", 7]})),
        with(json!({"shell": ["bash", "${config.option}"]})),
        with(json!({"shell": 7})),
        with(json!({"unsafe_interpolation": "true"})),
        with(json!({"working_directory": ""})),
        with(json!({"working_directory": "a\u{0}"})),
        with(json!({"working_directory": null})),
        with(json!({"timeout_minutes": 0})),
        with(json!({"timeout_minutes": -5})),
        with(json!({"timeout_minutes": 525_600.5})),
        with(json!({"timeout_minutes": "30"})),
        with(json!({"timeout_minutes": null})),
        with(json!({"max_retries": -1})),
        with(json!({"max_retries": 1_001})),
        with(json!({"max_retries": 1.5})),
        with(json!({"max_retries": u64::MAX})),
        with(json!({"environment": []})),
        with(json!({"environment": {"A": 7}})),
        with(json!({"environment": {"A": true}})),
        with(json!({"environment": {"A": "\u{0}"}})),
        with(json!({"environment": {"": "x"}})),
        with(json!({"environment": {"A=B": "x"}})),
        with(json!({"environment": {"A\u{0}": "x"}})),
        with(json!({"retry": 3})),
        with(json!({"retry": {"delay": 1}})),
        with(json!({"retry": {"initial_delay": -1}})),
        with(json!({"retry": {"initial_delay": "5 m"}})),
        with(json!({"retry": {"initial_delay": "5"}})),
        with(json!({"retry": {"max_delay": 2_592_001}})),
        with(json!({"retry": {"max_delay": true}})),
        with(json!({"retry": {"multiplier": 0.5}})),
        with(json!({"retry": {"multiplier": 101}})),
        with(json!({"retry": {"fatal_exit_codes": 2}})),
        with(json!({"retry": {"fatal_exit_codes": [0]}})),
        with(json!({"retry": {"fatal_exit_codes": [256]}})),
        with(json!({"retry": {"fatal_exit_codes": ["2"]}})),
        with(json!({"on_crash": "retry"})),
        with(json!({"on_crash": false})),
        with(json!({"max_output_bytes": 0})),
        with(json!({"max_output_bytes": 67_108_865})),
        with(json!({"max_output_bytes": 0.5})),
        limited(json!(2)),
        limited(json!(null)),
        limited(json!({})),
        limited(json!([{"key": "${user_id}"}])),
        limited(json!({"max": 0})),
        limited(json!({"max": 1.5})),
        limited(json!({"max": "1"})),
        limited(json!({"max": 1_000_001})),
        limited(json!({"max": 1, "maximum": 2})),
        limited(json!({"max": 1, "holds": "tasks"})),
        limited(json!({"max": 1, "group": ""})),
        limited(json!({"max": 1, "group": "a b"})),
        limited(json!({"max": 1, "group": "ü"})),
        limited(json!({"max": 1, "group": "x".repeat(101)})),
        limited(json!({"max": 1, "key": ""})),
        limited(json!({"max": 1, "key": "customer"})),
        limited(json!({"max": 1, "key": "a=${user_id}"})),
        limited(json!({"max": 1, "key": "a\n${user_id}"})),
        limited(json!({"max": 1, "key": format!("${{user_id}}{}", "x".repeat(200))})),
        limited(json!(vec![json!({"max": 1}); 21])),
        with(json!({"concurrency": {"max": 1}})),
        with(json!({"concurrency": [{"group": "gpu", "max": 2, "holds": "task"}]})),
        with(json!({"concurrency": "gpu"})),
    ]
}

/// The rules that a JSON Schema cannot express; only the parser knows them. A key that is given
/// twice belongs here too, but no `Value` can hold it.
fn invalid_beyond_the_schema() -> Vec<(&'static str, Value)> {
    let twice = json!({"name": "n", "tasks": [{"name": "a", "command": "x"}, {"name": "a", "command": "x"}]});
    vec![
        ("is named \"a\" already", twice),
        ("unbalanced quote", with(json!({"command": "echo 'x"}))),
        ("is not closed", with(json!({"command": "echo ${input_file"}))),
        ("splits the variable", with(json!({"command": "echo ${config.a:-b c}"}))),
        ("unknown variable", with(json!({"command": "echo ${colour}"}))),
        ("unknown variable", with(json!({"working_directory": "${colour}"}))),
        ("unknown variable", with(json!({"environment": {"A": "${colour}"}}))),
        ("has no key", with(json!({"command": ["echo", "${config.}"]}))),
        ("can't hold another", with(json!({"command": ["echo", "${config.a:-${config.b}}"]}))),
        ("names no program", with(json!({"command": "# nothing"}))),
        ("the program is empty", with(json!({"command": "'' x"}))),
        ("only a shell understands", with(json!({"command": "ls | wc"}))),
        ("only a shell understands", with(json!({"working_directory": "~"}))),
        ("is set for every command", with(json!({"environment": {"TASK_NAME": "x"}}))),
        ("single quotes", with(json!({"command": "echo '${config.a}'", "shell": true}))),
        ("code that bash reads", with(json!({"command": ["bash", "-c", "${config.a}"]}))),
        ("would not take the script", with(json!({"shell": ["bash", "-eu"]}))),
        ("no command is given it", with(json!({"command": "echo ${env.PGPASSWORD}"}))),
        ("is shorter than", with(json!({"retry": {"initial_delay": "2s", "max_delay": "1s"}}))),
        ("not known when a process starts", limited(json!({"max": 1, "key": "${processContext.a}"}))),
        ("holds no variable", limited(json!({"max": 1, "key": "$${user_id}"}))),
        ("makes the limit", limited(json!([{"max": 1}, {"max": 2, "holds": "task"}]))),
        ("longer than 30 days", with(json!({"retry": {"max_delay": "31d"}}))),
    ]
}

#[test]
fn schema_and_parser_accept_the_same_documents() {
    let schema = &*VALIDATOR;
    for document in valid() {
        let problem = schema.validate(&document).err().map(|it| it.to_string());
        assert_eq!(problem, None, "the schema on {document}");
        let faults = ProcessType::from_value(&document, "test").err().map(|it| it.to_string());
        assert_eq!(faults, None, "the parser on {document}");
    }
}

#[test]
fn schema_and_parser_refuse_the_same_documents() {
    let schema = &*VALIDATOR;
    for document in invalid() {
        assert!(!schema.is_valid(&document), "the schema accepts {document}");
        assert!(ProcessType::from_value(&document, "test").is_err(), "the parser accepts {document}");
    }
}

#[test]
fn what_the_schema_cannot_say_the_parser_does() {
    let schema = &*VALIDATOR;
    for (part, document) in invalid_beyond_the_schema() {
        assert!(schema.is_valid(&document), "the schema now refuses {document}: move it to `invalid`");
        let faults = ProcessType::from_value(&document, "test").expect_err(part).to_string();
        assert!(faults.contains(part), "{document} gave {faults}");
    }
}

#[test]
fn the_schema_names_just_the_parsers_keys() {
    let schema = process_type_schema();
    let defs = &schema["$defs"];
    for (object, keys) in [
        (&schema, PROCESS_TYPE_KEYS),
        (&defs["task"], TASK_KEYS),
        (&defs["retry"], RETRY_KEYS),
        (&defs["limit"], LIMIT_KEYS),
        (&defs["task_limit"], TASK_LIMIT_KEYS),
    ] {
        let properties = object["properties"].as_object().expect("properties");
        let named: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(named, keys.iter().copied().collect());
    }
}

#[test]
fn the_schemas_defaults_are_the_parsers() {
    let schema = process_type_schema();
    let read = ProcessType::from_value(&named("n"), "test").expect("valid").to_value();
    let task = &schema["$defs"]["task"]["properties"];
    for key in ["timeout_minutes", "max_retries", "environment", "shell", "on_crash", "max_output_bytes"] {
        assert_eq!(task[key]["default"], read["tasks"][0][key], "{key}");
    }
    for key in RETRY_KEYS {
        let default = &schema["$defs"]["retry"]["properties"][*key]["default"];
        assert_eq!(*default, read["tasks"][0]["retry"][*key], "{key}");
    }
}

fn any_name() -> impl Strategy<Value = String> {
    "[a-zA-Zäß0-9]([a-z ./:-]{0,10}[a-z0-9])?"
}

/// Text that may hold variables and everything shells find special.
fn any_text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "a",
        " ",
        "'",
        "\"",
        "\\",
        "\n",
        "$",
        "$HOME",
        "$${",
        "${input_file}",
        "${config.k:-a b}",
        "}",
        "#",
        "ü",
        ";",
    ]);
    prop::collection::vec(pieces, 1..8).prop_map(|pieces| pieces.join(" "))
}

/// The same where what only a shell understands, or its quotes, would be refused.
fn any_plain_text() -> impl Strategy<Value = String> {
    any_text().prop_map(|text| format!("a{}", text.replace("$HOME", "HOME").replace(['\'', '\\'], "")))
}

prop_compose! {
    fn any_retry()(
        initial_ms in 0..1_000_000u64,
        longer_ms in 0..1_000_000u64,
        multiplier in 1.0..=100.0f64,
        fatal_exit_codes in prop::collection::vec(1..=255i32, 0..4),
    ) -> RetryPolicy {
        RetryPolicy {
            initial_delay: Duration::from_millis(initial_ms),
            multiplier,
            max_delay: Duration::from_millis(initial_ms + longer_ms),
            fatal_exit_codes,
        }
    }
}

prop_compose! {
    fn any_limit()(
        max in 1..=1_000_000u32,
        key in prop::option::of("[a ü%:/]{0,4}\\$\\{(config\\.[a-z.]{1,5}|user_id:-[a-z ]{0,3})\\}"),
        group in prop::option::of("[A-Za-z0-9_.-]{1,10}x"),
        holds in prop::sample::select(vec![Holds::Process, Holds::Task]),
    ) -> Concurrency {
        Concurrency { max: Some(max), key, group, holds }
    }
}

prop_compose! {
    fn any_task()(
        name in any_name(),
        command in prop_oneof![
            // No shell's word comes first.
            prop::collection::vec(any_text(), 1..4).prop_map(|words| (false, format!("a{}", shell_words::join(words)))),
            any_plain_text().prop_filter("not blank", |it| !it.trim().is_empty()).prop_map(|script| (true, script)),
        ],
        working_directory in prop::option::of(any_plain_text()),
        timeout_minutes in prop_oneof![0.0001..525_600.0f64, (1..=525_600u32).prop_map(f64::from)],
        max_retries in 0..=1_000u32,
        environment in prop::collection::btree_map("[^=\0]{1,8}", any_plain_text(), 0..3),
        retry in any_retry(),
        fails in any::<bool>(),
        kills in any::<bool>(),
        max_output_bytes in 1..=67_108_864u64,
        limit in prop::option::of(any_limit()),
    ) -> TaskDefinition {
        let (shell, command) = command;
        let on_crash = if fails { OnCrash::Fail } else { OnCrash::Rerun };
        TaskDefinition {
            name, command, shell, working_directory, timeout_minutes, max_retries, environment, retry, on_crash,
            max_output_bytes,
            // A group of its own: those of one document must agree.
            concurrency: limit.map(|it| it.group("of-task").while_a_command_runs()).map(|it| Concurrency { max: None, ..it }).into_iter().collect(),
            leftovers: if kills { Leftovers::Kill } else { Leftovers::Keep },
            ..TaskDefinition::new("", "")
        }
    }
}

prop_compose! {
    fn any_process_type()(
        name in any_name(),
        description in "[^\0]{0,30}",
        tasks in prop::collection::vec(any_task(), 1..5),
        limit in prop::option::of(any_limit()),
    ) -> ProcessType {
        // Of tasks with one name the last stays.
        let tasks: BTreeMap<String, TaskDefinition> =
            tasks.into_iter().map(|task| (task.name.clone(), task)).collect();
        ProcessType { name, description, concurrency: limit.into_iter().collect(), tasks: tasks.into_values().collect(), schedules: Vec::new() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn valid_types_pass_both_and_come_back(process_type in any_process_type()) {
        let document = process_type.to_value();
        let problem = VALIDATOR.validate(&document).err().map(|it| it.to_string());
        prop_assert_eq!(problem, None);
        prop_assert_eq!(ProcessType::from_value(&document, "test"), Ok(process_type.clone()));
        prop_assert_eq!(ProcessType::from_json(&document.to_string(), "test"), Ok(process_type));
    }
}
