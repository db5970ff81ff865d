//! The real binary: what it prints, where, and the exit codes.

use std::fs;
use std::io::{BufRead, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use process_orchestrator::engine::NodeConfig;
use process_orchestrator::{ProcessInputData, ProcessStatus, ProcessType, TaskDefinition};
use serde_json::Value;

use crate::common::{one_task, script, wait_until};
use crate::program::{Bench, ended, signal, until_line};
use crate::terminal::Terminal;

fn two_tasks() -> ProcessType {
    ProcessType::new("two-tasks", "")
        .add(script("load", "echo loading ${input_file}; echo rows=7 > \"$PROCESS_CONTEXT_FILE\""))
        .add(script("send", "echo sent ${processContext.rows}"))
}

#[test]
fn run_executes_a_file_and_shows_the_process() {
    let bench = Bench::new("cli_run");
    let file = bench.file(&two_tasks());
    let run = bench.run(&["run", &file, "--input-file", "a b.csv"]).expect(0);
    assert!(
        run.out.starts_with("Process   two-tasks-1\nType      two-tasks\nStatus    COMPLETED\n"),
        "{run:#?}"
    );
    for part in ["input_file = a b.csv", "rows = 7"] {
        assert!(run.out.contains(part), "{run:#?}");
    }
    for part in [" load COMPLETED ", " send COMPLETED ", " two-tasks-1 COMPLETED "] {
        assert!(run.err.contains(part), "{run:#?}");
    }
    assert!(!(run.out + &run.err).contains('\x1b'), "no colours in a pipe");

    let document =
        bench.run(&["run", "two-tasks", "--input", r#"{"input_file": "x"}"#, "--json"]).expect(0).json();
    assert_eq!(
        (&document["status"], &document["tasks"][1]["output"]),
        (&"COMPLETED".into(), &"sent 7\n".into())
    );
    let created = document["created_at"].as_str().unwrap();
    assert!(created.ends_with('Z'), "{created} is in UTC");
}

#[test]
fn run_of_a_process_that_fails_shows_why_and_where_to_look() {
    let bench = Bench::new("cli_run_fails");
    let file = bench.file(&one_task("sh -c 'seq 20; exit 3'"));
    let run = bench.run(&["run", &file]).expect(1);
    assert!(run.out.contains("Status    FAILED\n"), "{run:#?}");
    assert!(run.err.contains("last output of only:\n  11\n"), "{run:#?}");
    assert!(run.err.ends_with("  20\nall of it: process-orchestrator logs one-task-1 only\n"), "{run:#?}");

    let logs = bench.run(&["logs", "one-task-1", "only"]).expect(0);
    assert_eq!(logs.out, (1..=20).map(|n| format!("{n}\n")).collect::<String>());
    assert!(logs.err.starts_with("==> only, attempt 1: FAILED after "), "{logs:#?}");
}

#[test]
fn run_that_is_interrupted_leaves_the_process_due_and_goes_on_later() {
    let bench = Bench::new("cli_run_signal");
    let (go, begun) = (bench.folder.join("go"), bench.folder.join("begun"));
    let wait = format!(": > '{}'; while [ ! -e '{}' ]; do sleep 0.02; done", begun.display(), go.display());
    let file =
        bench.file(&ProcessType::new("held", "").add(script("wait", &wait)).add(script("end", "echo end")));
    let mut run = bench.spawn(&["run", &file]);
    let mut rest = until_line(&mut run, " wait IN_PROGRESS");
    // The status says that the task was claimed; only its command can say that it runs.
    wait_until("the command to begin", || begun.exists().then_some(()));
    signal(&run, "-INT");
    let mut line = String::new();
    rest.read_line(&mut line).unwrap();
    assert!(line.starts_with("stopping: waiting up to 30s for 1 command to end"), "{line}");
    signal(&run, "-INT");
    assert_eq!(run.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    rest.read_to_string(&mut said).unwrap();
    assert!(said.contains("process held-1 is not finished and stays due"), "{said}");
    assert!(said.contains("run held.json --process-id held-1"), "{said}");
    assert!(said.contains("\nor cancel it: process-orchestrator cancel held-1\n"), "{said}");

    fs::write(go, "").unwrap();
    let again = bench.run(&["run", &file, "--process-id", "held-1"]).expect(0);
    assert!(again.out.contains("Status    COMPLETED"), "{again:#?}");
}

#[test]
fn a_run_that_is_interrupted_says_which_node_goes_on_and_how_to_cancel() {
    let bench = Bench::with_tables("cli_run_goes_on");
    let (go, begun) = (bench.folder.join("go"), bench.folder.join("begun"));
    let wait = format!(": > '{}'; while [ ! -e '{}' ]; do sleep 0.02; done", begun.display(), go.display());
    let file = bench.file(&ProcessType::new("held", "").add(script("wait", &wait)));
    let config = NodeConfig { name: "worker-9".to_owned(), ..bench.database.config() };
    let node = bench.database.node_with(config);
    let mut run = bench.spawn(&["run", &file]);
    let mut rest = until_line(&mut run, " wait IN_PROGRESS");
    wait_until("the command to begin", || begun.exists().then_some(()));
    let mut line = String::new();
    signal(&run, "-INT");
    rest.read_line(&mut line).unwrap();
    signal(&run, "-INT");
    assert_eq!(run.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    rest.read_to_string(&mut said).unwrap();
    let expected = "SIGINT: no longer waiting; node worker-9 goes on with process held-1: process-orchestrator show \
                    held-1\nif it is to end: process-orchestrator cancel held-1\n";
    assert!(said.ends_with(expected), "{said}");

    // Another process of the same kind that this node has already.
    let mut start = bench.spawn(&["start", "held", "--wait"]);
    let mut rest = until_line(&mut start, " wait IN_PROGRESS");
    signal(&start, "-TERM");
    said.clear();
    rest.read_to_string(&mut said).unwrap();
    assert!(said.contains("process held-2 goes on: process-orchestrator show held-2\n"), "{said}");
    assert!(said.ends_with("\nto end what was started: process-orchestrator cancel held-2\n"), "{said}");
    assert_eq!(start.wait().unwrap().code(), Some(143));
    fs::write(go, "").unwrap();
    ["held-1", "held-2"].iter().for_each(|id| drop(bench.database.wait_for(id)));
    node.stop();
}

#[test]
fn serve_runs_what_start_starts_and_stops_in_order() {
    let bench = Bench::new("cli_serve");
    fs::create_dir(bench.folder.join("types")).unwrap();
    let file = bench.file(&two_tasks());
    fs::rename(bench.folder.join(&file), bench.folder.join("types").join(&file)).unwrap();
    let mut serve =
        bench.spawn(&["serve", "--process-types", "types", "--listen", "127.0.0.1:0", "--executors", "2"]);
    let rest = until_line(&mut serve, " ready: node ");

    fs::write(bench.folder.join("many.jsonl"), "{\"process_id\": \"mine\"}\n\n{\"input_file\": \"b\"}\n")
        .unwrap();
    let start =
        bench.run(&["start", "two-tasks", "--inputs", "many.jsonl", "--input-file", "c", "--wait"]).expect(0);
    assert_eq!(start.out, "mine\ntwo-tasks-1\n");
    let one = bench.run(&["start", "two-tasks", "--input-file", "c", "--wait", "--json"]).expect(0).json();
    assert_eq!(one["processes"][0]["status"], "COMPLETED");

    let page = bench.run(&["list", "--limit", "2", "--json"]).expect(0).json();
    assert_eq!(page["processes"][0]["process_id"], "two-tasks-2");
    let next = page["next"].as_str().unwrap();
    let page = bench
        .run(&["list", "--limit", "2", "--after", next, "--status", "completed", "--json"])
        .expect(0)
        .json();
    assert_eq!((page["processes"].as_array().map(Vec::len), &page["next"]), (Some(1), &Value::Null));
    let nodes = bench.run(&["nodes", "--json"]).expect(0).json();
    assert_eq!(
        (&nodes["nodes"][0]["state"], &nodes["nodes"][0]["executors"]),
        (&"RUNNING".into(), &2.into())
    );

    signal(&serve, "-TERM");
    drop(rest);
    assert_eq!(serve.wait().unwrap().code(), Some(0));
}

#[test]
fn a_closed_terminal_stops_a_node_in_order_unless_it_was_told_to_outlive_it() {
    let bench = Bench::with_tables("cli_hangup");
    bench.database.register(&one_task("true"));
    for (starter, outlives) in [(&[][..], false), (&["nohup"][..], true)] {
        let mut command = bench.started_by(
            &[&["sh", "-c", "exec \"$0\" \"$@\" >> log 2>&1"], starter].concat(),
            &["serve", "--no-http", "--executors", "1"],
        );
        let log = || fs::read_to_string(bench.folder.join("log")).unwrap_or_default();
        let terminal = Terminal::start(&mut command);
        wait_until("the node is ready", || log().contains(" ready: node ").then_some(()));
        let mut child = terminal.close();
        if outlives {
            let id = bench.database.start("one-task", ProcessInputData::new());
            bench.database.wait_for(&id);
            signal(&child, "-TERM");
        }
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let expected = if outlives { "SIGTERM: no more processes" } else { "SIGHUP: no more processes" };
        assert!(log().contains(expected) && log().ends_with("stopped\n"), "{}", log());
        fs::remove_file(bench.folder.join("log")).unwrap();
    }
}

#[test]
fn a_hangup_without_a_terminal_reads_the_process_types_again() {
    let bench = Bench::with_tables("cli_reload");
    let types = bench.folder.join("types");
    fs::create_dir(&types).unwrap();
    let write = |name: &str, command: &str| {
        let document = ProcessType { name: name.to_owned(), ..one_task(command) };
        fs::write(types.join(format!("{name}.json")), document.to_value().to_string()).unwrap();
    };
    ["one", "two", "three"].iter().for_each(|name| write(name, "true"));
    let words = ["serve", "--no-http", "--executors", "1", "--process-types", "types"];
    // A session of its own has no terminal, whatever this test was started from.
    let mut command = bench.started_by(&["setsid"], &words);
    let mut serve = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut rest = until_line(&mut serve, " ready: node ");
    let mut reload = |expected: &str| {
        signal(&serve, "-HUP");
        let mut line = String::new();
        while !line.contains(expected) {
            line.clear();
            assert!(rest.read_line(&mut line).unwrap() > 0, "no line with {expected:?}");
        }
    };
    reload("SIGHUP: 3 process types read again, nothing has changed");
    write("two", "echo changed");
    write("four", "true");
    reload("SIGHUP: \"four\" is new, \"two\" has changed; 2 process types as before");
    let id = bench.database.start("two", ProcessInputData::new());
    assert_eq!(bench.database.wait_for(&id).status, ProcessStatus::Completed);
    let tasks = bench.database.store().tasks(&id).unwrap().rows;
    assert_eq!(tasks[0].output.as_deref(), Some("changed\n"));
    // A fault in one leaves all as they are.
    write("one", "echo never");
    fs::write(types.join("five.json"), "{}").unwrap();
    reload("SIGHUP: types/five.json: tasks: is missing");
    reload("SIGHUP: the process types stay as they are");
    let one = bench.database.store().process_type("one").unwrap().unwrap();
    assert!(!one.definition.to_string().contains("never"), "{one:?}");
    signal(&serve, "-TERM");
    assert_eq!(serve.wait().unwrap().code(), Some(0));
}

#[test]
fn a_wait_that_is_interrupted_leaves_the_process_alone() {
    let bench = Bench::with_tables("cli_wait_signal");
    bench.database.register(&one_task("true"));
    let mut start = bench.spawn(&["start", "one-task", "--wait"]);
    drop(until_line(&mut start, "no node is running now"));
    signal(&start, "-TERM");
    assert_eq!(start.wait().unwrap().code(), Some(143));
    let node = bench.database.node();
    assert_eq!(bench.database.wait_for("one-task-1").status, ProcessStatus::Completed);
    node.stop();
}

#[test]
fn every_kind_of_failure_has_its_exit_code_and_says_what_to_do() {
    let bench = Bench::with_tables("cli_failures");
    bench.database.register(&two_tasks());
    fs::write(bench.folder.join("bad.json"), r#"{"name": "x", "taks": []}"#).unwrap();
    fs::write(bench.folder.join("in.jsonl"), "{}\n{\"user_id\": 5}\n").unwrap();
    for (words, code, part) in [
        (&["run", "bad.json"][..], 2, "error: bad.json: taks: unknown key; did you mean \"tasks\"?"),
        (&["run", "none.json"], 2, "error: none.json: can't be read: No such file"),
        (
            &["run", "nothing"],
            3,
            "error: unknown process type \"nothing\"; register it first (process-orchestrator types register FILE); \
             known are: two-tasks",
        ),
        (&["start", "bad.json"], 2, "error: \"bad.json\" looks like a file"),
        (&["start", "two-tasks"], 2, "error: input lacks ${input_file}"),
        (&["start", "two-tasks", "--inputs", "in.jsonl"], 2, "error: in.jsonl:2: user_id: 5 is not a text"),
        (&["start", "two-tasks", "--at", "soon"], 2, "\"soon\" is not a time; write 2026-"),
        (
            &["show", "none"],
            3,
            "error: no process has the id \"none\"; see them all: process-orchestrator list",
        ),
        (&["logs", "none"], 3, "error: no process has the id \"none\""),
        (&["types", "show", "none"], 3, "error: unknown process type \"none\"; register it"),
        (&["list", "--status", "done"], 2, "possible values: NOT_STARTED, IN_PROGRESS"),
        (&["serve", "--process-types", "bad.json"], 2, "error: bad.json: taks: unknown key"),
    ] {
        let ended = bench.run(words).expect(code);
        assert!(ended.err.contains(part), "{words:?} should say {part:?}: {ended:#?}");
        assert_eq!(ended.out, "", "{words:?}");
    }
}

#[test]
fn an_empty_place_says_how_to_begin() {
    let bench = Bench::new("cli_empty");
    for words in [&["list"][..], &["show", "x"], &["logs", "x"], &["nodes"], &["types", "list"]] {
        let ended = bench.run(words).expect(1);
        assert!(ended.err.starts_with("error: nothing here yet: schema "), "{ended:#?}");
        assert!(ended.err.ends_with("or make the tables (process-orchestrator migrate)\n"), "{ended:#?}");
    }
    let elsewhere = bench.folder.join("no-cluster");
    let ended = ended(bench.command(&["list"]).arg("--data-dir").arg(&elsewhere)).expect(1);
    assert!(ended.err.contains("no-cluster holds no database"), "{ended:#?}");
    assert!(!elsewhere.exists(), "looking makes nothing");
}

#[test]
fn migrate_says_what_it_does_and_does_it_once() {
    let bench = Bench::new("cli_migrate");
    let would = bench.run(&["migrate", "--dry-run"]).expect(0);
    assert!(would.out.starts_with("would apply 0001_tables\n"), "{would:#?}");
    let done = bench.run(&["migrate"]).expect(0);
    assert_eq!(done.out, would.out.replace("would apply", "applied"));
    let again = bench.run(&["migrate", "--json"]).expect(0).json();
    assert_eq!(again["migrations"], Value::Array(Vec::new()));
}

#[test]
fn an_unreachable_database_is_told_without_the_password() {
    let bench = Bench::new("cli_unreachable");
    let ended =
        ended(bench.command(&["list"]).args(["--database-url", "postgresql://me:sesame@127.0.0.1:1/db"]))
            .expect(4);
    assert!(
        ended.err.starts_with("error: failed to connect to database \"db\" at 127.0.0.1:1"),
        "{ended:#?}"
    );
    assert!(!ended.err.contains("sesame"), "{ended:#?}");
}

#[test]
fn process_types_are_registered_shown_and_checked() {
    let bench = Bench::new("cli_types");
    let file = bench.file(&two_tasks());
    assert_eq!(bench.run(&["types", "register", &file]).expect(0).out, "two-tasks new\n");
    assert_eq!(bench.run(&["types", "register", &file]).expect(0).out, "two-tasks unchanged\n");
    let shown = bench.run(&["types", "show", "two-tasks"]).expect(0);
    assert!(shown.out.contains("Needs input   input_file\n"), "{shown:#?}");
    let list = bench.run(&["types", "list", "--json"]).expect(0).json();
    assert_eq!(list["process_types"][0]["definition"]["name"], "two-tasks");

    fs::write(bench.folder.join("bad.json"), "[]").unwrap();
    let checked = bench.run(&["types", "validate", "bad.json", &file, "--json"]).expect(2).json();
    assert_eq!(checked["files"][0]["faults"].as_array().map(Vec::len), Some(1));
    assert_eq!(checked["files"][1]["name"], "two-tasks");
    assert!(bench.run(&["types", "schema"]).expect(0).json()["properties"]["tasks"].is_object());

    // What is stored is readable: a note, and no fault.
    let secret = r#"{"name": "s", "tasks": [{"name": "a", "command": "true", "environment": {"API_TOKEN": "canary"}}]}"#;
    fs::write(bench.folder.join("s.json"), secret).unwrap();
    let checked = bench.run(&["types", "validate", "s.json"]).expect(0);
    let note = "note: s.json: tasks[0].environment.API_TOKEN: API_TOKEN looks like a secret, and its value is stored with the \
                process type: whoever reads the database or reaches the status endpoint can read it; write ${env.API_TOKEN} \
                for the node's own variable, or have the command read a file\n";
    assert_eq!((checked.out.as_str(), checked.err.as_str()), ("s OK, 1 task\n", note));
    let checked = bench.run(&["types", "validate", "s.json", "--json"]).expect(0).json();
    assert_eq!(checked["files"][0]["notes"][0]["path"], "tasks[0].environment.API_TOKEN");
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let bench = Bench::with_tables("cli_pipe");
    bench.database.register(&one_task("true"));
    bench.database.start("one-task", ProcessInputData::new());
    let mut list = bench.spawn(&["list", "--json"]);
    drop(list.stdout.take());
    let mut said = String::new();
    list.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((list.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn a_list_is_filtered_by_where_and_when_and_what_and_a_pipe_gets_it_uncut() {
    let bench = Bench::with_tables("cli_list_filters");
    bench.database.register(&one_task("true"));
    let long = "x".repeat(120);
    for (id, source) in [(long.as_str(), "legacy"), ("other", "web")] {
        bench
            .run(&["start", "one-task", "--process-id", id, "--metadata", &format!("source={source}")])
            .expect(0);
    }
    let node =
        bench.database.node_with(NodeConfig { name: "worker-7".to_owned(), ..bench.database.config() });
    [long.as_str(), "other"].iter().for_each(|id| drop(bench.database.wait_for(id)));
    node.stop();
    let ids = |words: &[&str]| -> Vec<String> {
        let out = bench.run(&[&["list"], words].concat()).expect(0).out;
        out.lines().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let both = ["other".to_owned(), long.clone()];
    assert_eq!(ids(&["--metadata", "source=legacy", "--metadata", "other=x"]), [""; 0]);
    assert_eq!(ids(&["--metadata", "source=legacy"]), std::slice::from_ref(&long));
    assert_eq!(ids(&["--node", "worker-7", "--status", "completed,failed", "--status", "cancelled"]), both);
    assert_eq!(
        ids(&["--finished-since", "1h", "--started-since", "-1h", "--started-before", "2100-01-01"]),
        both
    );
    assert_eq!(ids(&["--finished-before", "1h"]), [""; 0]);
    for (words, code, part) in [
        (&["--node", "worker-8"][..], 3, "error: unknown node \"worker-8\"; "),
        (
            &["--type", "one-taks"],
            3,
            "error: unknown process type \"one-taks\"; did you mean \"one-task\"?\n",
        ),
        (&["--finished-since", "yesterday"], 2, "\"yesterday\" is not a time; write "),
        (&["--metadata", "source"], 2, "write KEY=VALUE"),
    ] {
        let ended = bench.run(&[&["list"], words].concat()).expect(code);
        assert!(ended.err.contains(part), "{words:?} should say {part:?}: {ended:#?}");
    }
}

#[test]
fn what_control_knows_is_told_by_list_show_and_types() {
    let bench = Bench::with_tables("cli_notes");
    bench.database.register(&one_task("true"));
    let mut again = script("load", "exit 3");
    again.max_retries = 2;
    again.retry.initial_delay = Duration::from_secs(3000);
    again.retry.max_delay = Duration::from_secs(3000);
    bench.database.register(&ProcessType::new("again", "").add(again));
    let node = bench.database.node();
    let failing = bench.database.start("again", ProcessInputData::new());
    let retry = wait_until("the retry is noted", || {
        let list = bench.run(&["list"]).expect(0).out;
        list.lines().find(|line| line.starts_with("again-1 ") && line.contains(" retry ")).map(str::to_owned)
    });
    assert!(retry.contains("IN_PROGRESS"), "{retry}");
    node.stop();
    let shown = bench.run(&["show", &failing]).expect(0).out;
    for part in
        ["Status    IN_PROGRESS\n          it waits for retry 1 of 2 until ", "`sh` ended with exit code 3"]
    {
        assert!(shown.contains(part), "{part:?} is missing in {shown}");
    }
    let document = bench.run(&["show", &failing, "--json"]).expect(0).json();
    assert_eq!(document["reasons"][0]["reason"], "WAITING_RETRY");

    let started = bench.run(&["start", "one-task"]).expect(0);
    assert_eq!(started.out, "one-task-2\n");
    assert!(
        started
            .err
            .starts_with("no node is running now: what is started stays due until somebody starts one")
    );
    bench.run(&["pause", "one-task", "--reason", "the source is down"]).expect(0);
    assert!(bench.run(&["list", "--type", "one-task"]).expect(0).out.ends_with("  paused\n"));
    let shown = bench.run(&["show", "one-task-2"]).expect(0).out;
    assert!(
        shown.contains(": the source is down; go on with: process-orchestrator resume one-task\n"),
        "{shown}"
    );
    let types = bench.run(&["types", "list"]).expect(0).out;
    assert!(types.contains("  paused since ") && types.contains(": the source is down\n"), "{types}");
    let shown = bench.run(&["types", "show", "one-task"]).expect(0).out;
    assert!(shown.contains("Paused        since ") && shown.contains(": the source is down\n"), "{shown}");
    let json = bench.run(&["types", "show", "one-task", "--json"]).expect(0).json();
    assert_eq!((&json["pause_reason"], json["paused_at"].is_string()), (&"the source is down".into(), true));
    bench.run(&["resume", "one-task"]).expect(0);
    let json = bench.run(&["types", "show", "one-task", "--json"]).expect(0).json();
    assert_eq!((&json["pause_reason"], &json["paused_at"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_cancelled_process_whose_command_goes_on_is_told_as_such() {
    let bench = Bench::with_tables("cli_cancelling");
    bench.database.register(&one_task("true"));
    let id = bench.database.start("one-task", ProcessInputData::new());
    // A node that holds it and does not answer.
    bench
        .database
        .sql()
        .batch_execute("UPDATE scheduled_tasks SET picked = true, picked_by = 'gone'")
        .unwrap();
    bench.run(&["cancel", &id, "--reason", "wrong file"]).expect(0);
    assert!(bench.run(&["list"]).expect(0).out.ends_with("  cancelling\n"));
    let shown = bench.run(&["show", &id]).expect(0).out;
    assert!(shown.contains("it is being cancelled since ") && shown.contains(": wrong file\n"), "{shown}");
}

#[test]
fn hints_are_commands_that_can_be_typed() {
    let bench = Bench::with_tables("cli_hints");
    let needs = "echo ${input_file} ${config.batch_size}";
    bench.database.register(&ProcessType::new("needy", "").add(TaskDefinition::new("only", needs)));
    let missing = bench.run(&["start", "needy"]).expect(2);
    let options = "give --config batch_size=VALUE --input-file FILE, or give the variable a default";
    let others = "give --input-file FILE --config batch_size=VALUE, or give the variable a default";
    assert!(missing.err.contains(options) || missing.err.contains(others), "{missing:#?}");
    for command in ["run", "start"] {
        let unknown = bench.run(&[command, "neddy"]).expect(3);
        assert_eq!(unknown.err, "error: unknown process type \"neddy\"; did you mean \"needy\"?\n");
    }
    let dash = bench.run(&["show", "-1"]).expect(2);
    assert!(dash.err.contains("to pass '-1' as a value, use '-- -1'"), "{dash:#?}");
    let words = ["start", "needy", "--process-id", "-1", "--input-file", "x", "--config", "batch_size=1"];
    bench.run(&words).expect(0);
    assert!(bench.run(&["show", "--", "-1"]).expect(0).out.starts_with("Process   -1\n"));
    bench.run(&["cancel", "--", "-1"]).expect(0);
    let explained = bench.run(&["explain", "--", "-1"]).expect(0).out;
    assert!(explained.contains("have it go again: process-orchestrator retry -- -1\n"), "{explained}");

    assert!(bench.run(&["types", "schema", "--json"]).expect(0).json()["properties"].is_object());
    for (option, value) in [("--poll-interval", "0s"), ("--heartbeat", "0s"), ("--retention", "0s")] {
        let shown = if option == "--retention" { "[TYPE=]TIME" } else { "TIME" };
        let refused =
            ended(bench.command(&["serve", option, value]).env("DATABASE_URL", "nonsense")).expect(2);
        assert!(
            refused.err.contains(&format!("invalid value '{value}' for '{option} <{shown}>': it must be ")),
            "{refused:#?}"
        );
    }
    let mut related = bench.command(&["serve", "--dead-after", "3s"]);
    let refused = ended(related.env("DATABASE_URL", "postgresql://127.0.0.1:1/none")).expect(2);
    assert!(refused.err.contains("three times one another"), "before anything is connected to: {refused:#?}");
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let bench = Bench::new("cli_man");
    let own = bench.run(&["man"]).expect(0).out;
    assert!(own.contains("\n.TH process-orchestrator 1") && own.contains(".SH \"EXAMPLES\""), "{own}");
    let written = bench.run(&["man", "pages/man1"]).expect(0).out;
    for name in ["process-orchestrator", "process-orchestrator-serve", "process-orchestrator-types-register"]
    {
        assert!(written.contains(&format!("pages/man1/{name}.1\n")), "{written}");
    }
    for path in written.lines() {
        let text = fs::read_to_string(bench.folder.join(path)).unwrap();
        assert!(text.is_ascii(), "{path} is read in any locale");
        assert!(text.contains(".SH \"EXAMPLES\"") && text.contains(".SH \"EXIT STATUS\""), "{path}: {text}");
    }
    fs::write(bench.folder.join("taken"), "").unwrap();
    let refused = bench.run(&["man", "taken/man1"]).expect(1);
    assert!(refused.err.starts_with("error: failed to write taken/man1: "), "{refused:#?}");
}

#[test]
fn a_listening_address_that_is_taken_is_told_before_anything_runs() {
    let bench = Bench::with_tables("cli_taken");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let serve = bench.run(&["serve", "--listen", &address]).expect(1);
    assert!(serve.err.contains(&format!("error: failed to listen on {address}")), "{serve:#?}");
    assert_eq!(bench.database.count("nodes"), 0);
}

/// `script` gives the program a terminal; where there is none, the test of the picture itself has to do.
#[test]
fn a_terminal_gets_a_live_view_and_its_cursor_back() {
    let bench = Bench::new("cli_live");
    let file = bench.file(&two_tasks());
    let Some(output) = on_a_terminal(&bench, &["run", &file, "--input-file", "x"]) else { return };
    let hidden = output.find("\x1b[?25l").unwrap_or_else(|| panic!("{output:?}"));
    let shown = output.rfind("\x1b[?25h").unwrap_or_else(|| panic!("{output:?}"));
    assert!(hidden < shown, "{output:?}");
    assert!(output[..shown].contains("/2 tasks"), "{output:?}");
    assert!(output[shown..].contains("COMPLETED"), "{output:?}");
}

/// What a program writes to a terminal of 80 by 24, by util-linux's `script`; `None` where that is not installed.
pub fn on_a_terminal(bench: &Bench, words: &[&str]) -> Option<String> {
    let has_script = cfg!(target_os = "linux") && Path::new("/usr/bin/script").exists();
    if !has_script {
        crate::common::leave_out("there is no /usr/bin/script (util-linux) to have a terminal by");
        return None;
    }
    let program = bench.command(words);
    let mut line = vec![program.get_program().to_string_lossy().into_owned()];
    line.extend(program.get_args().map(|word| word.to_string_lossy().into_owned()));
    let mut command = Command::new("/usr/bin/script");
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("TERM", "xterm").env_remove("NO_COLOR").current_dir(&bench.folder).stdin(Stdio::null());
    command.args(["-qec", &shell_words::join(line), "/dev/null"]);
    Some(ended(&mut command).expect(0).out)
}

#[test]
fn a_second_run_of_an_id_that_has_ended_reports_it_again() {
    let bench = Bench::new("cli_again");
    let file = bench.file(&one_task("echo once"));
    bench.run(&["run", &file, "--process-id", "p"]).expect(0);
    bench.run(&["run", &file, "--process-id", "p"]).expect(0);
    assert_eq!(bench.database.count("task_executions"), 1);
    let taken = bench.run(&["run", &file, "--process-id", "p", "--user-id", "other"]).expect(2);
    assert!(taken.err.contains("process id \"p\" is taken by a process of type \"one-task\""), "{taken:#?}");
    wait_until("the process is still there", || bench.database.store().process("p").unwrap());
}
