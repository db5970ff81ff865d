//! What documents say and commands do: shells, variables of the node's environment, documents that make no sense.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use process_orchestrator::{Outcome, ProcessInputData, ProcessStatus, ProcessType};
use serde_json::{Value, json};

use crate::common::{TestDatabase, wait_until};
use crate::program::{Bench, signal, until_line_kept};

/// A document's process type; its tasks are tried once.
fn document(mut tasks: Value) -> Value {
    for (index, task) in tasks.as_array_mut().unwrap().iter_mut().enumerate() {
        task["name"] = json!(format!("t{index}"));
        task["max_retries"] = json!(0);
    }
    json!({ "name": "documents", "tasks": tasks })
}

fn valid(tasks: Value) -> ProcessType {
    ProcessType::from_value(&document(tasks), "test").unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn a_script_is_run_by_the_shell_that_its_task_names() {
    let database = TestDatabase::new("shells");
    let hostile = "a b'\"; $(echo no) `echo no` \\ *\n${user_id}";
    let input = ProcessInputData::new().add_config("x", hostile).add_config("X", "other");
    let script = "list=(1 2); [[ -n $BASH_VERSION ]] && printf '%s|' \"${config.x}\" \"${config.X}\" \"${config.y:-d e}\" \
                  \"${processContext.k:-none}\" $${#list[@]} \"$LANG_OF_TASK\"";
    let finished = database.run(
        &valid(json!([
            {"command": "echo k=v > \"$PROCESS_CONTEXT_FILE\"", "shell": "bash"},
            {"command": script, "shell": "bash", "environment": {"LANG_OF_TASK": "${task_name}"}},
            {"command": script, "shell": ["bash", "-euo", "pipefail", "-c"], "environment": {"LANG_OF_TASK": "x"}},
            {"command": "printf %s \"${config.x}\"", "shell": ["nice", "sh", "-eu", "-c"]},
            {"command": "import os; print(os.environ['X'], end='')", "shell": "python3", "environment": {"X": "${config.x}"}},
            {"command": "false | true; echo reached", "shell": "bash"},
            {"command": "false | true; echo reached", "shell": ["bash", "-euo", "pipefail", "-c"]},
        ])),
        input,
    );
    assert_eq!(finished.output(1), format!("{hostile}|other|d e|v|2|t1|"));
    assert_eq!(finished.output(2), format!("{hostile}|other|d e|v|2|x|"));
    assert_eq!((finished.output(3), finished.output(4)), (hostile, hostile));
    assert_eq!((finished.output(5), finished.output(6)), ("reached\n", ""), "bash by itself is not strict");
    assert_eq!(finished.error(), "task \"t6\" (7 of 7) failed: `bash` ended with exit code 1");
    // The record says what was run, so that it can be run again.
    let execution = database.store().executions(&finished.process.process_id).unwrap().remove(2);
    let shown = execution.command.unwrap();
    assert!(shown.starts_with("PO_CONFIG_X='a b'"), "{shown}");
    assert!(shown.contains(" bash -euo pipefail -c ") && shown.contains("${PO_CONFIG_X}"), "{shown}");
}

#[test]
fn sh_is_the_systems_whatever_the_path_of_the_task() {
    let database = TestDatabase::new("shell_path");
    let finished = database.run(
        &valid(json!([
            {"command": "echo ${config.x}", "shell": true, "environment": {"PATH": "/nowhere"}},
            {"command": "echo ${config.x}", "shell": ["sh", "-eu", "-c"], "environment": {"PATH": "/nowhere"}},
            {"command": "exit 3", "shell": true, "environment": {"PATH": ""}},
        ])),
        ProcessInputData::new().add_config("x", "found"),
    );
    assert_eq!((finished.output(0), finished.output(1)), ("found\n", "found\n"));
    assert_eq!(finished.error(), "task \"t2\" (3 of 3) failed: `sh` ended with exit code 3");
}

#[test]
fn a_variable_of_the_nodes_environment_reaches_the_command() {
    let bench = Bench::new("env_variables");
    let tool = bench.folder.join("tools/tool-of-the-test");
    fs::create_dir(bench.folder.join("tools")).unwrap();
    fs::write(&tool, "#!/bin/sh\necho tool\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let tasks = json!([
        {"command": "tool-of-the-test", "environment": {"PATH": "${env.HOUSE}/tools:${env.PATH}"}},
        {"command": ["printf", "%s|", "${env.HOUSE}", "${env.NONE_SUCH:-a b}", "$HOUSE"]},
        {"command": "printf %s \"${env.ODD}\"", "shell": true},
        {"command": "pwd", "working_directory": "${env.HOUSE}/tools"},
        {"command": "echo ${env.NONE_SUCH}"},
    ]);
    fs::write(bench.folder.join("env.json"), document(tasks).to_string()).unwrap();
    let house = bench.folder.canonicalize().unwrap();
    let mut command = bench.command(&["run", "env.json", "--json"]);
    let run = crate::program::ended(command.env("HOUSE", &house).env("ODD", "$(id) '\"")).expect(1).json();
    let output = |index: usize| run["tasks"][index]["output"].as_str().unwrap_or_default().to_owned();
    assert_eq!(output(0), "tool\n");
    assert_eq!(output(1), format!("{}|a b|$HOUSE|", house.display()));
    assert_eq!(output(2), "$(id) '\"");
    assert_eq!(output(3), format!("{}/tools\n", house.display()));
    assert_eq!(
        run["tasks"][4]["error_message"],
        "the node's environment has no NONE_SUCH; set it where the node is started, or give it a default in the command: \
         ${env.NONE_SUCH:-VALUE}"
    );
}

#[test]
fn what_makes_no_sense_is_refused_at_every_door() {
    let bench = Bench::with_tables("no_sense");
    let tasks = json!([
        {"command": "cp *.csv backup && ls > list.txt", "working_directory": "~/data"},
        {"command": "echo '${config.x}'", "shell": true, "environment": {"PATH": "/x:$PATH", "PROCESS_ID": "1"}},
        {"command": ["bash", "-c", "rm ${config.x}"]},
    ]);
    fs::write(bench.folder.join("p.json"), document(tasks).to_string()).unwrap();
    let places = [
        "tasks[0].command: \"cp *.csv backup && ls > list.txt\" holds *.csv, && and >, which only a shell understands; add \
         \"shell\": true",
        "tasks[0].working_directory: \"~/data\" holds ~",
        "tasks[1].command: ${config.x} stands in single quotes",
        "tasks[1].environment.PATH: holds $PATH",
        "tasks[1].environment.PROCESS_ID: PROCESS_ID is set for every command",
        "tasks[2].command[2]: ${config.x} stands in code that bash reads",
    ];
    let words: [&[&str]; 4] = [
        &["types", "validate", "p.json"],
        &["types", "register", "p.json"],
        &["run", "p.json"],
        &["serve", "--process-types", "p.json", "--no-http"],
    ];
    for words in words {
        let refused = bench.run(words).expect(2);
        let mut told: Vec<&str> =
            refused.err.lines().filter_map(|line| line.split_once("p.json: ")).map(|it| it.1).collect();
        told.sort_unstable();
        assert_eq!(told.len(), places.len(), "{refused:#?}");
        for (line, place) in told.iter().zip(places) {
            assert!(line.starts_with(place), "{words:?}: {line}\n{place}");
        }
    }
    assert_eq!(bench.database.count("process_types"), 0);
}

#[test]
fn a_type_that_an_older_release_has_registered_goes_on_and_the_doctor_names_it() {
    let bench = Bench::with_tables("older_documents");
    let tasks = json!([
        {"command": "echo a > b"},
        {"command": "echo '${config.x:-1}'", "shell": true},
        {"command": ["sh", "-c", "echo ${config.x:-1}"], "environment": {"A": "$PATH"}},
    ]);
    let document = document(tasks);
    fs::write(bench.folder.join("older.json"), document.to_string()).unwrap();
    let older = ProcessType::from_stored(&document, "test").unwrap();
    bench.database.store().register(&older).unwrap();

    let doctor = bench.run(&["doctor", "--json"]);
    let checks = doctor.json();
    let check = checks["checks"].as_array().unwrap().iter().find(|it| it["name"] == "documents").unwrap();
    assert_eq!(check["verdict"], "warn");
    let found = check["found"].as_str().unwrap();
    assert!(found.starts_with("\"documents\": tasks[0].command: \"echo a > b\" holds >"), "{found}");
    assert!(found.ends_with(" (3 more)"), "{found}");
    bench.run(&["types", "show", "documents"]).expect(0);

    // The file that it came from does not keep a node from its work.
    let mut serve = bench.spawn(&["serve", "--process-types", "older.json", "--no-http"]);
    let (said, rest) = until_line_kept(&mut serve, " ready: node ");
    assert!(said.contains("(an older release has registered it, and it goes on as it was)"), "{said}");
    let id = bench.database.start("documents", ProcessInputData::new());
    assert_eq!(bench.database.wait_for(&id).status, ProcessStatus::Completed);
    let outputs: Vec<_> =
        bench.database.store().tasks(&id).unwrap().rows.into_iter().map(|it| it.output).collect();
    assert_eq!(outputs.iter().flatten().collect::<Vec<_>>(), ["a > b\n", "${PO_CONFIG_X}\n", "1\n"]);
    signal(&serve, "-TERM");
    drop(rest);
    assert_eq!(wait_until("the node has ended", || serve.try_wait().unwrap()).code(), Some(0));

    // Once it is changed, it is a new one.
    fs::write(bench.folder.join("older.json"), document.to_string().replace("echo a >", "echo c >")).unwrap();
    let refused = bench.run(&["serve", "--process-types", "older.json", "--no-http"]).expect(2);
    assert!(refused.err.contains("\"echo c > b\" holds >"), "{refused:#?}");
}

#[test]
fn a_shells_word_that_got_through_is_told_of_by_the_failure() {
    let database = TestDatabase::new("builtin_at_spawn");
    let finished = database.run(
        &valid(json!([{"command": ["cd", "/tmp"], "environment": {"PATH": "/nowhere"}}])),
        Default::default(),
    );
    assert_eq!(
        finished.error(),
        "task \"t0\" (1 of 1) failed: no such program: `cd` is in none of the directories of PATH (`/nowhere`); it is a \
         shell's own word: write the command as one text and give its task \"shell\": true"
    );
    let execution = database.store().executions(&finished.process.process_id).unwrap().remove(0);
    assert_eq!(execution.outcome, Outcome::SpawnFailed);
}
