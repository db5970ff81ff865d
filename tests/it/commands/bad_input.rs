//! What a person reads who gives the program bad files, options or input, and that any other input reaches
//! commands unchanged.

use std::fs;
use std::os::unix::ffi::OsStringExt;

use process_orchestrator::{ProcessType, TaskDefinition};
use serde_json::{Value, json};

use crate::common::one_task;
use crate::program::{Bench, ended};

const COMMAND_REMEDY: &str =
    "write the program and its arguments, such as \"sort ${input_file}\" or [\"sort\", \"${input_file}\"]";
const TIMEOUT_RULE: &str =
    "is not a number from 0.0001 to 525600; write minutes, such as 30, or 0.5 for thirty seconds";
const RETRIES_RULE: &str =
    "is not an integer from 0 to 1000; write how many attempts may follow the first, 0 for none";
const NAME_REMEDY: &str = "write 1 to 200 characters without control characters, such as \"load\"";

fn document(tasks: &str) -> String {
    format!(r#"{{"name": "x", "tasks": [{tasks}]}}"#)
}

/// A document whose tasks all have a name and a command, and one more setting each.
fn settings(settings: &[&str]) -> String {
    let tasks: Vec<String> = settings
        .iter()
        .enumerate()
        .map(|(index, setting)| format!(r#"{{"name": "t{index}", "command": "true", {setting}}}"#))
        .collect();
    document(&tasks.join(", "))
}

fn commands(commands: &[&str]) -> String {
    let tasks: Vec<String> = commands
        .iter()
        .enumerate()
        .map(|(index, command)| format!(r#"{{"name": "t{index}", "command": {command}}}"#))
        .collect();
    document(&tasks.join(", "))
}

/// Faulty documents, each with its faults in order.
fn faulty_documents() -> Vec<(String, Vec<String>)> {
    let command_place = |index: usize, rest: &str| format!("tasks[{index}].command: {rest}");
    let timeout =
        |index: usize, value: &str| format!("tasks[{index}].timeout_minutes: {value} {TIMEOUT_RULE}");
    let retries = |index: usize, value: &str| format!("tasks[{index}].max_retries: {value} {RETRIES_RULE}");
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    vec![
        (
            "{\n  \"name\": \"x\",\n  \"tasks\": [}\n".to_owned(),
            owned(&[
                "malformed JSON at line 3, column 13: expected value; write a value: text in double quotes, \
                a number, true, false, [ ] or { }",
            ]),
        ),
        (
            "{\"name\": \"x\",\n".to_owned(),
            owned(&["malformed JSON at line 2, column 0: the text ends too early; close \
                what is still open"]),
        ),
        (
            document(""),
            owned(&["tasks: is empty; write at least one task, such as [{\"name\": \"load\", \"command\": \
                \"load-data\"}]"]),
        ),
        (
            document(r#"{"name": "a", "command": "true"}, {"name": "a", "command": "false"}"#),
            owned(&[
                "tasks[1].name: tasks[0] is named \"a\" already; give each task of a process type its own name",
            ]),
        ),
        (
            r#"{"name": "x", "taks": [], "tasks": [{"name": "a", "command": "true", "max_retrys": 2}]}"#
                .to_owned(),
            owned(&[
                "taks: unknown key; did you mean \"tasks\"?",
                "tasks[0].max_retrys: unknown key; did you mean \"max_retries\"?",
            ]),
        ),
        (
            r#"{"name": 5, "description": [], "tasks": [{"name": true, "command": 7, "timeout_minutes": "5",
                "max_retries": 1.5, "environment": [], "shell": "yes"}]}"#
                .to_owned(),
            owned(&[
                "name: 5 is not a text; quote it: \"5\"",
                "description: an array is not a text; write what the process type is for, in a sentence",
                "tasks[0].name: true is not a text; quote it: \"true\"",
                "tasks[0].command: 7 is not a text; quote it: \"7\"",
                "tasks[0].timeout_minutes: \"5\" is not a number from 0.0001 to 525600; remove the quotes",
                &format!("tasks[0].max_retries: 1.5 {RETRIES_RULE}"),
                "tasks[0].environment: an array is not an environment; write an object such as {\"LANG\": \"C\"}",
                "tasks[0].shell: \"yes\" is neither true nor false; write true or false, unquoted",
            ]),
        ),
        (
            settings(&[
                r#""timeout_minutes": 0"#,
                r#""timeout_minutes": -1"#,
                r#""timeout_minutes": 1e300"#,
                r#""timeout_minutes": 1e-300"#,
                r#""max_retries": -1"#,
                r#""max_retries": 1e9"#,
                r#""max_retries": 99999999999999999999"#,
            ]),
            vec![
                timeout(0, "0"),
                timeout(1, "-1"),
                timeout(2, "1e+300"),
                timeout(3, "1e-300"),
                retries(4, "-1"),
                retries(5, "1e+9"),
                retries(6, "99999999999999999999"),
            ],
        ),
        (
            commands(&[
                r#""""#,
                r#""  ""#,
                "[]",
                r#""echo \"a""#,
                r#""echo ${input_file""#,
                r#""echo ${nope}""#,
                r#""echo a\u0000b""#,
            ]),
            vec![
                command_place(0, &format!("is empty; {COMMAND_REMEDY}")),
                command_place(1, &format!("is empty; {COMMAND_REMEDY}")),
                command_place(2, &format!("is empty; {COMMAND_REMEDY}")),
                command_place(
                    3,
                    "\"echo \\\"a\" has an unbalanced quote; close it, or escape it with \\ (in JSON \\\\)",
                ),
                command_place(
                    4,
                    "the variable ${input_file is not closed; close it with }, or write $${ for the text ${ itself",
                ),
                command_place(
                    5,
                    "unknown variable ${nope}; the variables are input_file, output_dir, user_id, scheduled_at, previous_scheduled_at, process_id, \
                     process_type, task_name, config.KEY, metadata.KEY, processContext.KEY, env.KEY; write $${ for the text ${ \
                     itself",
                ),
                command_place(
                    6,
                    "\"echo a\\0b\" holds a NUL character; remove the \\u0000: neither commands nor PostgreSQL can \
                     hold it",
                ),
            ],
        ),
        (
            format!(
                r#"{{"name": "a\u0007b", "tasks": [{{"name": "{}", "command": "true"}}, {{"name": "b\nc", "command": "true"}}]}}"#,
                "x".repeat(300)
            ),
            vec![
                format!("name: \"a\\u{{7}}b\" holds the control character '\\u{{7}}'; {NAME_REMEDY}"),
                format!("tasks[0].name: is 300 characters long; at most 200 are allowed; {NAME_REMEDY}"),
                format!("tasks[1].name: \"b\\nc\" holds the control character '\\n'; {NAME_REMEDY}"),
            ],
        ),
    ]
}

#[test]
fn every_fault_of_every_file_is_told_at_once_with_place_value_and_remedy() {
    let bench = Bench::new("bad_documents");
    fs::create_dir(bench.folder.join("types")).unwrap();
    let mut expected = Vec::new();
    for (index, (text, faults)) in faulty_documents().into_iter().enumerate() {
        let name = format!("types/{index}.json");
        fs::write(bench.folder.join(&name), text).unwrap();
        expected.extend(faults.into_iter().map(|fault| format!("error: {name}: {fault}")));
    }
    for words in [
        &["types", "validate", "types"][..],
        &["types", "register", "types"],
        &["serve", "--process-types", "types"],
        &["run", "./types"],
    ] {
        let checked = bench.run(words).expect(2);
        let told = checked.err.replace("./types", "types");
        assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{words:?}");
        assert_eq!(checked.out, "");
    }
    let json = bench.run(&["types", "validate", "types", "--json"]).expect(2).json();
    let told: Vec<String> = json["files"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|file| {
            let faults = file["faults"].as_array().unwrap().iter();
            faults.map(|fault| {
                let text = |key: &str| fault[key].as_str().unwrap();
                let place =
                    if text("path").is_empty() { String::new() } else { format!("{}: ", text("path")) };
                let source = file["file"].as_str().unwrap();
                format!("error: {source}: {place}{}; {}", text("problem"), text("remedy"))
            })
        })
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn options_that_make_no_sense_are_told_with_what_to_write() {
    let bench = Bench::with_tables("bad_options");
    bench.database.register(&one_task("true"));
    for (words, part) in [
        (&["serve", "--executors", "0"][..], "'0' for '--executors <N>': write a number from 1 to 1024"),
        (&["serve", "--executors", "-3"], "'-3' for '--executors <N>': write a number from 1 to 1024"),
        (&["serve", "--listen", "here"], "write an address and a port, such as 127.0.0.1:8710"),
        (&["serve", "--poll-interval", "-1s"], "\"-1s\" is not a length of time"),
        (&["serve", "--no-http", "--poll-interval", "0s"], "it must be 10ms to 1h"),
        (&["serve", "--drain-timeout", "5"], "a unit is missing: 5s?"),
        (&["serve", "--node-name", "a\nb"], "holds the control character '\\n'"),
        (
            &["start", "one-task", "--at", "2026-13-01"],
            "\"2026-13-01\" is not a time; write 2026-12-01T08:00:00Z",
        ),
        (&["start", "one-task", "--at", "-10m"], "\"-10m\" is not a time; write "),
        (&["start", "one-task", "--at", "+99999999h"], "\"+99999999h\" is too far in the future"),
        (&["start", "one-task", "--priority", "much"], "'much' for '--priority <N>'"),
        (&["start", "one-task", "--config", "x"], "'x' for '--config <KEY=VALUE>': write KEY=VALUE"),
        (&["start", "one-task", "--input", "{"], "--input: malformed JSON at line 1, column 1: "),
        (
            &["start", "one-task", "--input", "[]"],
            "--input: an array is not an input; write an object such as",
        ),
        (
            &["start", "one-task", "--input", r#"{"user_id": "a\u0000b"}"#],
            "user_id: \"a\\0b\" holds a NUL character",
        ),
        (&["start", "one-task", "--input", "@none"], "none: can't be read: No such file"),
        (
            &["start", "one-task", "--process-id", "a\nb"],
            "the process id \"a\\nb\" holds the control character '\\n'; an id",
        ),
        (
            &["start", "one-task", "--process-id", ""],
            "the process id is empty; an id has 1 to 255 characters",
        ),
        (
            &["run", "one-task", "--process-id", &"x".repeat(256)],
            "the process id is 256 characters long; at most 255",
        ),
    ] {
        let ended = bench.run(words).expect(2);
        assert!(ended.err.starts_with("error: "), "{ended:#?}");
        assert!(ended.err.contains(part), "{words:?} should say {part:?}: {ended:#?}");
        assert_eq!(ended.out, "", "{words:?}");
    }
    let mut command = bench.command(&["start", "one-task", "--user-id"]);
    let not_text = std::ffi::OsString::from_vec(b"a\xffb".to_vec());
    let refused = ended(command.arg(not_text)).expect(2);
    assert!(refused.err.contains("invalid UTF-8"), "{refused:#?}");
    assert_eq!(bench.database.count("processes"), 0);
}

#[test]
fn what_does_not_fit_the_process_type_is_told_at_the_start() {
    let bench = Bench::with_tables("bad_start");
    let needs = "cp ${input_file} ${config.target} ${metadata.note:-none}";
    bench.database.register(&ProcessType::new("copy", "").add_task("copy", needs, ".", 1.0, 0));
    let lacking = bench.run(&["start", "copy", "--input-file", "a"]).expect(2);
    assert_eq!(
        lacking.err,
        "error: input lacks ${config.target}, which process type \"copy\" needs; give --config \
         target=VALUE, or give the variable a default in the process type: ${name:-default}\n"
    );
    let given = &["start", "copy", "--input-file", "a", "--config", "target=b", "--process-id", "p 1"];
    assert_eq!(bench.run(given).expect(0).out, "p 1\n");
    assert_eq!(bench.run(given).expect(0).out, "p 1\n", "the same input gives the same process");
    let other = bench.run(&[given, &["--user-id", "me"][..]].concat()).expect(2);
    let taken = "error: process id \"p 1\" is taken by a process of type \"copy\" with other input; choose another id";
    assert!(other.err.starts_with(taken), "{other:#?}");
    let unknown = bench.run(&["start", "cpy"]).expect(3);
    assert_eq!(unknown.err, "error: unknown process type \"cpy\"; did you mean \"copy\"?\n");
    assert_eq!(bench.database.count("processes"), 1);
}

#[test]
fn bad_lines_of_many_inputs_are_told_by_file_and_line_and_nothing_is_started() {
    let bench = Bench::with_tables("bad_lines");
    bench.database.register(&one_task("echo ${config.n}"));
    let long = "x".repeat(256);
    let lines: [(&[u8], &str); 9] = [
        (br#"{"config": {"n": 1}}"#, ""),
        (
            b"{\"config\":",
            "malformed JSON at column 10: the text ends too early; close what is still open; each line is one JSON object",
        ),
        (b"{\"user_id\": \"\xff\"}", "is not UTF-8; save the file as UTF-8"),
        (b"7", "7 is not an input; write an object such as "),
        (br#"{"config": {}}"#, "config.n: is missing; add it: the process type needs ${config.n}"),
        (br#"{"config": {"n": []}}"#, "config.n: an array is not a text; "),
        (
            br#"{"process_id": "a\u0000b", "config": {"n": 1}}"#,
            "process_id: \"a\\0b\" holds the control character '\\0'; an id",
        ),
        (
            br#"{"process_id": " ", "config": {"n": 1}}"#,
            "process_id: is empty; an id has 1 to 255 characters",
        ),
        (br#"{"colour": 1, "config": {"n": 1}}"#, "colour: unknown key; "),
    ];
    let mut text: Vec<u8> = lines.iter().flat_map(|(line, _)| [line, &b"\n"[..]].concat()).collect();
    text.extend(format!("{{\"process_id\": \"{long}\", \"config\": {{\"n\": 1}}}}").as_bytes());
    fs::write(bench.folder.join("in.jsonl"), text).unwrap();
    let refused = bench.run(&["start", "one-task", "--inputs", "in.jsonl"]).expect(2);
    let mut told = refused.err.lines();
    for (number, (_, problem)) in lines.iter().enumerate().filter(|(_, (_, problem))| !problem.is_empty()) {
        let expected = format!("error: in.jsonl:{}: {problem}", number + 1);
        let line = told.next().unwrap_or_default();
        assert!(line.starts_with(&expected), "{expected:?} should begin {line:?} in {refused:#?}");
    }
    let last = "error: in.jsonl:10: process_id: is 256 characters long; at most 255 are allowed; an id has ";
    assert!(told.next().unwrap_or_default().starts_with(last), "{refused:#?}");
    assert_eq!((told.next(), bench.database.count("processes")), (None, 0));
}

/// Everything that a shell, a JSON reader or an option parser might take for its own.
const HOSTILE: [&str; 5] = [
    "-rf --wait a  b",
    "; touch owned #",
    "$(touch owned) `touch owned` $HOME ${user_id} %s",
    "--line\nbreak\t'\"\\",
    "--json",
];

/// The process type whose command shows each of its arguments in brackets.
fn shows_words() -> ProcessType {
    let command = "printf '[%s]' ${input_file} ${output_dir} --x=${user_id} ${config.k} ${metadata.m}";
    let script = TaskDefinition {
        shell: true,
        ..TaskDefinition::new("script", command.replace("${", "\"${").replace('}', "}\""))
    };
    ProcessType::new("words", "").add_task("words", command, ".", 1.0, 0).add(script)
}

fn assert_words_arrived(bench: &Bench, process: &Value) {
    let [a, b, c, d, e] = HOSTILE;
    let expected = format!("[{a}][{b}][--x={c}][{d}][{e}]");
    assert_eq!(process["tasks"][0]["output"], *expected, "{process:#}");
    assert_eq!(process["tasks"][1]["output"], *expected, "{process:#}");
    assert!(!bench.folder.join("owned").exists());
}

#[test]
fn hostile_input_arrives_as_one_argument_by_every_way_in() {
    let bench = Bench::new("hostile_input");
    let file = bench.file(&shows_words());
    let [a, b, c, d, e] = HOSTILE;
    let pairs = [format!("k={d}"), format!("m={e}")];
    let input = [
        "--input-file",
        a,
        "--output-dir",
        b,
        "--user-id",
        c,
        "--config",
        &pairs[0],
        "--metadata",
        &pairs[1],
    ];
    let by_options =
        bench.run(&[&["run", &file, "--json", "--process-id", "-1"][..], &input].concat()).expect(0);
    assert_eq!(by_options.json()["process_id"], "-1");
    assert_words_arrived(&bench, &by_options.json());

    let document =
        json!({"input_file": a, "output_dir": b, "user_id": c, "config": {"k": d}, "metadata": {"m": e}});
    fs::write(bench.folder.join("in put.json"), document.to_string()).unwrap();
    let by_file = bench.run(&["run", "words", "--json", "--input", "@in put.json"]).expect(0).json();
    assert_words_arrived(&bench, &by_file);

    fs::write(bench.folder.join("-in.jsonl"), document.to_string()).unwrap();
    let started = bench.run(&["start", "words", "--inputs", "./-in.jsonl"]).expect(0);
    let id = started.out.trim_end();
    let by_line = bench
        .run(&["run", "words", "--process-id", id, "--json", "--input", &document.to_string()])
        .expect(0);
    assert_words_arrived(&bench, &by_line.json());
    // For people, on one line each and harmless.
    let shown = bench.run(&["show", id]).expect(0);
    assert!(shown.out.contains("  config.k = --line\\nbreak\\t'\"\\\n"), "{shown:#?}");
}
