use super::*;
use crate::model::process_type::{Leftovers, OnCrash};
use std::time::Duration;

/// The lines a person sees, without the file's name.
fn faults(text: &str) -> Vec<String> {
    let faults = ProcessType::from_json(text, "p.json").expect_err(text);
    let shown = faults.to_string();
    shown.lines().map(|line| line.strip_prefix("p.json: ").expect("the file is named").to_owned()).collect()
}

/// The only message about a document whose only task has this beside its name and command.
fn fault_of(settings: &str) -> String {
    let text =
        format!("{{\"name\": \"p\", \"tasks\": [{{\"name\": \"a\", \"command\": \"true\", {settings}}}]}}");
    let mut faults = faults(&text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

fn fault_of_command(command: &str) -> String {
    let text = format!("{{\"name\": \"p\", \"tasks\": [{{\"name\": \"a\", \"command\": {command}}}]}}");
    let mut faults = faults(&text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

const COMMAND_HELP: &str =
    "write the program and its arguments, such as \"sort ${input_file}\" or [\"sort\", \"${input_file}\"]";
const NAME_HELP: &str = "write 1 to 200 characters without control characters, such as \"load\"";
const TIMEOUT_HELP: &str = "write minutes, such as 30, or 0.5 for thirty seconds";
const RETRIES_HELP: &str = "write how many attempts may follow the first, 0 for none";

#[test]
fn every_key_is_read() {
    let text = r#"{
        "$schema": "process-type.schema.json", "name": "nightly", "description": "Fetch",
        "tasks": [
            {"name": "fetch", "command": "fetch"},
            {"command": ["sort", "a b", "${input_file}"], "name": "sort", "working_directory": "/data",
             "timeout_minutes": 0.5, "max_retries": 2, "environment": {"LANG": "C"}, "on_crash": "fail",
             "retry": {"initial_delay": "500ms", "max_delay": 60, "multiplier": 1.5, "fatal_exit_codes": [2]},
             "max_output_bytes": 10},
            {"name": "script", "command": "cat \"${input_file}\" | wc -l", "shell": true}
        ]}"#;
    let process_type = ProcessType::from_json(text, "p.json").expect("valid");
    assert_eq!((process_type.name.as_str(), process_type.description.as_str()), ("nightly", "Fetch"));
    assert_eq!(process_type.tasks[0], TaskDefinition::new("fetch", "fetch"));
    let sort = &process_type.tasks[1];
    assert_eq!(sort.command, "sort 'a b' '${input_file}'");
    assert_eq!(sort.working_directory.as_deref(), Some("/data"));
    assert_eq!((sort.timeout_minutes, sort.max_retries, sort.max_output_bytes), (0.5, 2, 10));
    assert_eq!(sort.environment["LANG"], "C");
    assert_eq!(sort.on_crash, OnCrash::Fail);
    assert_eq!(sort.retry.initial_delay, Duration::from_millis(500));
    assert_eq!(sort.retry.max_delay, Duration::from_secs(60));
    assert_eq!((sort.retry.multiplier, sort.retry.fatal_exit_codes.as_slice()), (1.5, [2].as_slice()));
    assert!(process_type.tasks[2].shell);
}

#[test]
fn the_document_says_every_setting() {
    let process_type = ProcessType::new("p", "").add(TaskDefinition::new("a", "true"));
    assert_eq!(
        process_type.to_value(),
        json!({"name": "p", "tasks": [{
            "name": "a", "command": "true", "shell": false, "timeout_minutes": 60, "max_retries": 3, "environment": {},
            "retry": {"initial_delay": 1, "multiplier": 2, "max_delay": 300, "fatal_exit_codes": []},
            "on_crash": "rerun", "max_output_bytes": 1_048_576,
        }]})
    );
    let task = TaskDefinition { leftovers: Leftovers::Kill, ..TaskDefinition::new("a", "true") };
    assert_eq!(ProcessType::new("p", "").add(task).to_value()["tasks"][0]["leftovers"], "kill");
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_document() {
    let text = r#"{
        "tasks": [
            {"name": "a", "command": "x ${colour} ${input_file", "timeoutMinutes": 5},
            {"name": "a", "timeout_minutes": -5, "max_retries": "2", "environment": {"N": 7, "N": "x"}},
            "x"
        ],
        "description": null
    }"#;
    let found = faults(text);
    let paths: Vec<&str> = found.iter().map(|line| line.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(
        paths,
        [
            "tasks[0].command",
            "tasks[0].command",
            "tasks[0].timeoutMinutes",
            "tasks[1].timeout_minutes",
            "tasks[1].max_retries",
            "tasks[1].environment.N",
            "tasks[1].environment.N",
            "tasks[1].command",
            "tasks[1].name",
            "tasks[2]",
            "description",
            "name"
        ],
        "{found:#?}"
    );
}

#[test]
fn malformed_json_names_line_and_column() {
    for (text, expected) in [
        (
            "{\n  \"name\": \"p\",\n}",
            "malformed JSON at line 3, column 1: trailing comma; remove the comma before the closing bracket",
        ),
        (
            "{\"name\": \"p\" \"tasks\": []}",
            "malformed JSON at line 1, column 14: expected `,` or `}`; correct the JSON there",
        ),
        (
            "{\"name\":\n [1, 2",
            "malformed JSON at line 2, column 6: the text ends too early; close what is \
             still open",
        ),
        (
            "{} x",
            "malformed JSON at line 1, column 4: trailing characters; one file holds one document: remove what follows it",
        ),
        (
            "{name: 1}",
            "malformed JSON at line 1, column 2: key must be a string; put the key in double quotes",
        ),
        (
            "{\"a\": 'x'}",
            "malformed JSON at line 1, column 7: expected value; write a value: text in double quotes, a number, true, \
             false, [ ] or { }",
        ),
        (
            "{\"a\": \"x\ny\"}",
            "malformed JSON at line 2, column 0: a control character within a text; write \
             a line break in a text as \\n and a tab as \\t",
        ),
        (
            "",
            "malformed JSON at line 1, column 0: the text ends too early; close what is \
             still open",
        ),
    ] {
        assert_eq!(faults(text), [expected], "{text}");
    }
    let deep = "[".repeat(1_000);
    assert!(faults(&deep)[0].contains("brackets within brackets, too many"), "{:?}", faults(&deep));
}

#[test]
fn a_byte_order_mark_is_no_fault() {
    let text = "\u{feff}{\"name\": \"p\", \"tasks\": [{\"name\": \"a\", \"command\": \"true\"}]}";
    assert!(ProcessType::from_json(text, "p.json").is_ok());
}

#[test]
fn what_is_no_process_type_is_told_what_one_looks_like() {
    assert_eq!(
        faults("[]"),
        [
            "an array is not a process type; write an object such as {\"name\": \"nightly\", \"tasks\": [{\"name\": \
          \"load\", \"command\": \"load-data\"}]}"
        ]
    );
    assert_eq!(
        faults("{}"),
        [
            format!("name: is missing; {NAME_HELP}"),
            "tasks: is missing; write at least one task, such as [{\"name\": \"load\", \"command\": \"load-data\"}]"
                .to_owned()
        ]
    );
}

#[test]
fn an_empty_task_list_and_too_many_tasks_are_faults() {
    assert_eq!(
        faults("{\"name\": \"p\", \"tasks\": []}"),
        [
            "tasks: is empty; write at least one task, such as [{\"name\": \"load\", \"command\": \"load-data\"}]"
        ]
    );
    let many = vec!["{}"; 1_001].join(",");
    assert_eq!(
        faults(&format!("{{\"name\": \"p\", \"tasks\": [{many}]}}")),
        ["tasks: has 1001 tasks; at most 1000 are allowed; split the process type into several"]
    );
}

#[test]
fn duplicate_task_names_are_a_fault() {
    let task = "{\"name\": \"load\", \"command\": \"true\"}";
    assert_eq!(
        faults(&format!("{{\"name\": \"p\", \"tasks\": [{task}, {task}]}}")),
        ["tasks[1].name: tasks[0] is named \"load\" already; give each task of a process type its own name"]
    );
}

#[test]
fn a_key_given_twice_is_a_fault() {
    assert_eq!(
        fault_of("\"max_retries\": 1, \"max_retries\": 2"),
        "tasks[0].max_retries: the key \"max_retries\" is given twice; keep one of them"
    );
    assert_eq!(
        fault_of("\"retry\": {\"multiplier\": 1, \"multiplier\": 1}"),
        "tasks[0].retry.multiplier: the key \"multiplier\" is given twice; keep one of them"
    );
}

#[test]
fn an_unknown_key_comes_with_a_suggestion() {
    for (settings, expected) in [
        ("\"timeoutMinutes\": 5", "tasks[0].timeoutMinutes: unknown key; did you mean \"timeout_minutes\"?"),
        ("\"env\": {}", "tasks[0].env: unknown key; did you mean \"environment\"?"),
        (
            "\"colour\": 5",
            "tasks[0].colour: unknown key; the keys of a task are name, command, working_directory, timeout_minutes, \
             max_retries, environment, shell, unsafe_interpolation, retry, on_crash, max_output_bytes, leftovers, \
             concurrency",
        ),
        ("\"retry\": {\"maxdelay\": 1}", "tasks[0].retry.maxdelay: unknown key; did you mean \"max_delay\"?"),
        (
            "\"a b\\n\": 1",
            "tasks[0][\"a b\\n\"]: unknown key; the keys of a task are name, command, working_directory, \
             timeout_minutes, max_retries, environment, shell, unsafe_interpolation, retry, on_crash, max_output_bytes, leftovers, \
             concurrency",
        ),
    ] {
        assert_eq!(fault_of(settings), expected);
    }
}

#[test]
fn bad_names_are_faults() {
    for (name, problem) in [
        ("\"\"", "name: is empty".to_owned()),
        ("\"a\\nb\"", "name: \"a\\nb\" holds the control character '\\n'".to_owned()),
        ("\" a\"", "name: \" a\" begins or ends with white space".to_owned()),
        (
            &format!("{:?}", "x".repeat(201)),
            "name: is 201 characters long; at most 200 are allowed".to_owned(),
        ),
        ("[]", "name: an array is not a text".to_owned()),
    ] {
        let text = format!("{{\"name\": {name}, \"tasks\": [{{\"name\": \"a\", \"command\": \"true\"}}]}}");
        assert_eq!(faults(&text), [format!("{problem}; {NAME_HELP}")]);
        let text = format!("{{\"name\": \"p\", \"tasks\": [{{\"name\": {name}, \"command\": \"true\"}}]}}");
        assert_eq!(faults(&text), [format!("tasks[0].{problem}; {NAME_HELP}")]);
    }
}

#[test]
fn bad_timeouts_are_faults() {
    let rule = "a number from 0.0001 to 525600";
    for (value, remedy) in [
        ("0", TIMEOUT_HELP),
        ("-5", TIMEOUT_HELP),
        ("525601", TIMEOUT_HELP),
        ("1e300", TIMEOUT_HELP),
        ("null", TIMEOUT_HELP),
        ("\"30\"", "remove the quotes"),
        ("\"soon\"", TIMEOUT_HELP),
    ] {
        let shown = if value == "1e300" { "1e+300" } else { value };
        assert_eq!(
            fault_of(&format!("\"timeout_minutes\": {value}")),
            format!("tasks[0].timeout_minutes: {shown} is not {rule}; {remedy}")
        );
    }
}

#[test]
fn bad_retries_are_faults() {
    for value in ["-1", "1001", "1.5", "99999999999999999999", "true"] {
        assert_eq!(
            fault_of(&format!("\"max_retries\": {value}")),
            format!("tasks[0].max_retries: {value} is not an integer from 0 to 1000; {RETRIES_HELP}")
        );
    }
}

#[test]
fn bad_commands_are_faults() {
    for (command, expected) in [
        ("\"\"", format!("is empty; {COMMAND_HELP}")),
        ("\" \\n\"", format!("is empty; {COMMAND_HELP}")),
        ("[]", format!("is empty; {COMMAND_HELP}")),
        ("{}", format!("an object is not a text; {COMMAND_HELP}")),
        ("7", "7 is not a text; quote it: \"7\"".to_owned()),
        ("\"# x\"", format!("\"# x\" names no program; {COMMAND_HELP}")),
        ("\"'' x\"", format!("the program is empty; {COMMAND_HELP}")),
        ("\"echo 'x\"", "\"echo 'x\" has an unbalanced quote; close it, or escape it with \\ (in JSON \\\\)".to_owned()),
        (
            "\"a\\u0000b\"",
            "\"a\\0b\" holds a NUL character; remove the \\u0000: neither commands nor PostgreSQL can hold it".to_owned(),
        ),
        (
            "\"echo ${input_file\"",
            "the variable ${input_file is not closed; close it with }, or write $${ for the text ${ itself".to_owned(),
        ),
        ("\"echo ${inputFile}\"", "unknown variable ${inputFile}; did you mean ${input_file}?".to_owned()),
        (
            "\"echo ${config.a:-b c}\"",
            "a space splits the variable ${config.a:-b into several arguments; put that argument in quotes, such as \
             \"${config.title:-no title}\""
                .to_owned(),
        ),
    ] {
        assert_eq!(fault_of_command(command), format!("tasks[0].command: {expected}"));
    }
}

#[test]
fn bad_arguments_of_an_array_are_named_by_their_place() {
    assert_eq!(
        fault_of_command("[\"\"]"),
        format!("tasks[0].command[0]: the program is empty; {COMMAND_HELP}")
    );
    assert_eq!(fault_of_command("[\"a\", 7]"), "tasks[0].command[1]: 7 is not a text; quote it: \"7\"");
    assert_eq!(
        fault_of_command("[\"a\", \"${config.}\"]"),
        "tasks[0].command[1]: the variable ${config.} has no key; write the key after the dot, such as \
         ${config.batch_size}"
    );
    let text = r#"{"name": "p", "tasks": [{"name": "a", "command": ["x"], "shell": true}]}"#;
    assert_eq!(
        faults(text),
        [
            "tasks[0].command: an array is no script, and \"shell\" is true; write the script as one text, or leave \
          \"shell\" out"
        ]
    );
}

#[test]
fn a_script_is_not_split_but_its_variables_are_checked() {
    let script = |command: &str| {
        let text = format!(
            "{{\"name\": \"p\", \"tasks\": [{{\"name\": \"a\", \"command\": {command}, \"shell\": true}}]}}"
        );
        ProcessType::from_json(&text, "p.json").map_err(|it| it.to_string())
    };
    assert_eq!(
        script("\"echo 'it is' # it's ${config.a:-b c}\\necho $HOME $${HOME} ${config.a:-b c}\"").err(),
        None
    );
    assert_eq!(
        script("\"echo ${HOME}\""),
        Err("p.json: tasks[0].command: unknown variable ${HOME}; for the node's own variable write ${env.HOME}, for the \
             shell's own variable write $HOME or $${HOME}, with \"shell\": true"
            .to_owned())
    );
}

#[test]
fn bad_directories_and_environments_are_faults() {
    for (settings, expected) in [
        (
            "\"working_directory\": \"\"",
            "working_directory: is empty; write a directory such as \"/data\", or leave the key out",
        ),
        (
            "\"working_directory\": null",
            "working_directory: null is not a text; write a directory such as \"/data\", or leave the key out",
        ),
        (
            "\"working_directory\": \"/a\\u0000\"",
            "working_directory: \"/a\\0\" holds a NUL character; remove the \\u0000: neither commands nor PostgreSQL can \
             hold it",
        ),
        (
            "\"environment\": []",
            "environment: an array is not an environment; write an object such as {\"LANG\": \"C\"}",
        ),
        ("\"environment\": {\"N\": 7}", "environment.N: a number is not a text; put it in quotes"),
        ("\"environment\": {\"N\": true}", "environment.N: true is not a text; quote it: \"true\""),
        (
            "\"environment\": {\"A=B\": \"\"}",
            "environment[\"A=B\"]: \"A=B\" can't be the name of an environment variable; write a name without = and NUL, \
             such as \"LANG\"",
        ),
        (
            "\"environment\": {\"\": \"\"}",
            "environment[\"\"]: \"\" can't be the name of an environment variable; write a name without = and NUL, such \
             as \"LANG\"",
        ),
        (
            "\"environment\": {\"A\": \"${user}\"}",
            "environment.A: unknown variable ${user}; did you mean ${user_id}?",
        ),
    ] {
        assert_eq!(fault_of(settings), format!("tasks[0].{expected}"));
    }
}

#[test]
fn bad_retry_policies_are_faults() {
    let delay_help =
        "write seconds, such as 2 or 0.5, or a text such as \"500ms\", \"5m\" or \"1h\", up to 30 days";
    for (policy, expected) in [
        ("3", "retry: 3 is not a retry policy; write an object such as {\"initial_delay\": \"1s\", \"multiplier\": 2, \"max_delay\": \"5m\"}".to_owned()),
        ("{\"initial_delay\": -1}", format!("retry.initial_delay: -1 is not a number from 0 to 2592000; {delay_help}")),
        ("{\"initial_delay\": \"5 m\"}", format!("retry.initial_delay: \"5 m\" is not a length of time; {delay_help}")),
        ("{\"max_delay\": \"31d\"}", format!("retry.max_delay: \"31d\" is longer than 30 days; {delay_help}")),
        (
            "{\"multiplier\": 0.5}",
            "retry.multiplier: 0.5 is not a number from 1 to 100; write 1 for equal waits, 2 to double each".to_owned(),
        ),
        (
            "{\"fatal_exit_codes\": [1, 0]}",
            "retry.fatal_exit_codes[1]: 0 is not an integer from 1 to 255; write the exit codes as integers, such as \
             [2, 64]"
                .to_owned(),
        ),
        (
            "{\"initial_delay\": \"2s\", \"max_delay\": \"500ms\"}",
            "retry.max_delay: max_delay 500ms is shorter than initial_delay 2s; write a max_delay of at least 2s, or an \
             initial_delay of at most 500ms"
                .to_owned(),
        ),
        (
            "{\"initial_delay\": \"10m\"}",
            "retry.max_delay: max_delay 5m (its default) is shorter than initial_delay 10m; write a max_delay of at \
             least 10m, or an initial_delay of at most 5m"
                .to_owned(),
        ),
    ] {
        assert_eq!(fault_of(&format!("\"retry\": {policy}")), format!("tasks[0].{expected}"));
    }
}

#[test]
fn other_bad_settings_are_faults() {
    for (settings, expected) in [
        ("\"shell\": \"true\"", "shell: \"true\" is neither true nor false; write true or false, unquoted"),
        (
            "\"on_crash\": \"re-run\"",
            "on_crash: \"re-run\" is neither \"rerun\" nor \"fail\"; did you mean \"rerun\"?",
        ),
        (
            "\"on_crash\": false",
            "on_crash: false is neither \"rerun\" nor \"fail\"; write \"rerun\" to run the command again when its node \
             has died, \"fail\" to fail it",
        ),
        (
            "\"leftovers\": \"stop\"",
            "leftovers: \"stop\" is neither \"keep\" nor \"kill\"; write \"keep\" to let what a successful command has \
             left running live on, \"kill\" to end it",
        ),
        (
            "\"max_output_bytes\": 67108865",
            "max_output_bytes: 67108865 is not an integer from 1 to 67108864; write bytes, such as 1048576 for 1 MiB; \
             more than 64 MiB belongs in a file",
        ),
    ] {
        assert_eq!(fault_of(settings), format!("tasks[0].{expected}"));
    }
}

/// Documents that can be read and can't mean what they say.
mod sense;

mod limits;

#[test]
fn a_long_value_is_shortened() {
    let message = fault_of(&format!("\"on_crash\": \"{}\"", "é".repeat(500)));
    assert!(message.chars().count() < 220, "{message}");
    assert!(message.contains("…"), "{message}");
}
