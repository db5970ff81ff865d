//! `logs --follow`: the output of a task that runs somewhere else, while it runs.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout};
use std::time::Duration;

use process_orchestrator::engine::{Node, NodeConfig};
use process_orchestrator::{ProcessInputData, ProcessType};

use crate::common::script;
use crate::program::{Bench, signal, until_line_kept};

/// A node that shows what its commands print five times a second.
fn node(bench: &Bench) -> Node {
    bench.database.node_with(NodeConfig {
        heartbeat: Duration::from_millis(200),
        dead_after: Duration::from_secs(1),
        ..bench.database.config()
    })
}

fn go(bench: &Bench, which: &str) -> PathBuf {
    bench.folder.join(which)
}

/// A script's line that waits for a file.
fn until(bench: &Bench, which: &str) -> String {
    format!("while [ ! -e '{}' ]; do sleep 0.02; done", go(bench, which).display())
}

/// Reads standard output until it ends with `end`.
fn read_until(stdout: &mut BufReader<ChildStdout>, end: &str, seen: &mut String) {
    while !seen.ends_with(end) {
        let bytes = stdout.fill_buf().unwrap();
        assert!(!bytes.is_empty(), "the output ended before {end:?}: {seen:?}");
        let read = bytes.len();
        seen.push_str(std::str::from_utf8(bytes).unwrap());
        stdout.consume(read);
    }
}

fn rest_of(child: &mut Child, stderr: &mut impl Read) -> (Option<i32>, String) {
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

#[test]
fn a_running_task_is_followed_to_the_end_of_its_process() {
    let bench = Bench::with_tables("follow");
    let load = format!(
        "printf 'first \\303'; {}; printf '\\244 more\\n'; {}; printf end",
        until(&bench, "one"),
        until(&bench, "two")
    );
    bench
        .database
        .register(&ProcessType::new("slow", "").add(script("load", &load)).add(script("send", "echo sent")));
    let id = bench.database.start("slow", ProcessInputData::new());
    let mut logs = bench.spawn(&["logs", &id, "--follow"]);
    let mut stdout = BufReader::new(logs.stdout.take().unwrap());
    let (waiting, stderr) = until_line_kept(&mut logs, "waiting");
    assert!(waiting.contains("process slow-1 has not started yet: waiting; why it waits: "), "{waiting}");
    assert!(waiting.ends_with("process-orchestrator explain slow-1\n"), "{waiting}");

    let node = node(&bench);
    let mut seen = String::new();
    // Half a character is not printed.
    read_until(&mut stdout, "first ", &mut seen);
    // And from now on somebody else looks too, at this moment only.
    let now = bench.run(&["logs", &id]).expect(0);
    assert!(now.err.starts_with("==> load, attempt 1: running on "), "{now:#?}");
    assert_eq!(now.out, "first ");
    let now = bench.run(&["logs", &id, "--json"]).expect(0).json();
    assert_eq!((&now["live"]["task_name"], &now["live"]["output_bytes"]), (&"load".into(), &7.into()));

    fs::write(go(&bench, "one"), "").unwrap();
    read_until(&mut stdout, "ä more\n", &mut seen);
    assert_eq!(seen, "first ä more\n");
    fs::write(go(&bench, "two"), "").unwrap();
    stdout.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "first ä more\nend\nsent\n");
    let (code, said) = rest_of(&mut logs, &mut { stderr });
    assert_eq!(code, Some(0), "{said}");
    let starts: Vec<&str> = said.lines().filter_map(|line| line.split(" after ").next()).collect();
    assert!(starts[0].starts_with("==> load, attempt 1: running on "), "{said}");
    assert_eq!(starts[1], "==> load, attempt 1: SUCCEEDED", "{said}");
    assert_eq!(starts.last(), Some(&"process slow-1 COMPLETED"), "{said}");
    node.stop();

    // What has ended is told as without --follow.
    let again = bench.run(&["logs", &id, "-f"]).expect(0);
    assert_eq!(again.out, "first ä more\nend\nsent\n");
    assert_eq!(bench.run(&["logs", &id]).expect(0).out, again.out);
}

#[test]
fn one_task_is_followed_to_its_own_end() {
    let bench = Bench::with_tables("follow_task");
    let hold = format!("echo held; {}", until(&bench, "go"));
    bench.database.register(
        &ProcessType::new("slow", "").add(script("load", "echo loaded")).add(script("hold", &hold)),
    );
    let node = node(&bench);
    let id = bench.database.start("slow", ProcessInputData::new());
    assert_eq!(bench.run(&["logs", &id, "load", "--follow"]).expect(0).out, "loaded\n");
    // A signal ends the follower; the process goes on.
    let mut logs = bench.spawn(&["logs", &id, "hold", "--follow"]);
    let mut stdout = BufReader::new(logs.stdout.take().unwrap());
    read_until(&mut stdout, "held\n", &mut String::new());
    signal(&logs, "-INT");
    assert_eq!(logs.wait().unwrap().code(), Some(130));
    fs::write(go(&bench, "go"), "").unwrap();
    bench.database.wait_for(&id);
    node.stop();
}

#[test]
fn what_was_printed_faster_than_it_can_be_seen_is_told() {
    let bench = Bench::with_tables("follow_gap");
    let flood = format!("seq 1 20000; {}; printf 'the end'", until(&bench, "go"));
    bench.database.register(&ProcessType::new("flood", "").add(script("print", &flood)));
    let id = bench.database.start("flood", ProcessInputData::new());
    let mut logs = bench.spawn(&["logs", &id, "--follow"]);
    let mut stdout = BufReader::new(logs.stdout.take().unwrap());
    let (_, mut stderr) = until_line_kept(&mut logs, "waiting");
    let node = node(&bench);
    let mut seen = String::new();
    read_until(&mut stdout, "\n20000\n", &mut seen);
    fs::write(go(&bench, "go"), "").unwrap();
    stdout.read_to_string(&mut seen).unwrap();
    let (code, said) = rest_of(&mut logs, &mut stderr);
    assert_eq!(code, Some(0), "{said}");
    let whole = bench.run(&["logs", &id]).expect(0).out;
    assert!(whole.starts_with("1\n2\n") && whole.ends_with("\n20000\nthe end"), "{} bytes", whole.len());
    let unseen: usize = said
        .lines()
        .filter_map(|line| line.strip_prefix("... ")?.split(' ').next()?.parse::<usize>().ok())
        .sum();
    assert!(unseen > 0 && said.contains("logs --attempt 1 flood-1 print"), "{said}");
    assert_eq!(unseen + seen.len(), whole.len(), "nothing is told twice, nothing is missed silently: {said}");
    assert!(seen.ends_with("\n20000\nthe end"), "{} bytes", seen.len());
    node.stop();
}

#[test]
fn a_follower_whose_reader_has_gone_ends_quietly_though_nothing_is_printed() {
    let bench = Bench::with_tables("follow_pipe");
    bench.database.register(&ProcessType::new("later", "").add(script("wait", "true")));
    let id = bench.database.start("later", ProcessInputData::new());
    let mut logs = bench.spawn(&["logs", &id, "--follow"]);
    let (_, mut stderr) = until_line_kept(&mut logs, "waiting");
    drop(logs.stdout.take());
    assert_eq!(rest_of(&mut logs, &mut stderr), (Some(0), String::new()));
}

#[test]
fn each_attempt_of_a_task_that_is_retried_is_shown() {
    let bench = Bench::with_tables("follow_retry");
    let fails_once = "echo attempt $TASK_ATTEMPT; test $TASK_ATTEMPT = 2";
    let mut task = script("load", fails_once);
    task.max_retries = 1;
    task.retry.initial_delay = Duration::from_millis(10);
    bench.database.register(&ProcessType::new("again", "").add(task));
    let id = bench.database.start("again", ProcessInputData::new());
    let mut logs = bench.spawn(&["logs", &id, "load", "-f"]);
    let (_, mut stderr) = until_line_kept(&mut logs, "task load has not started yet");
    let node = node(&bench);
    let mut seen = String::new();
    logs.stdout.take().unwrap().read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "attempt 1\nattempt 2\n");
    let (code, said) = rest_of(&mut logs, &mut stderr);
    assert_eq!(code, Some(0), "{said}");
    for part in ["load, attempt 1: FAILED after ", "load, attempt 2: SUCCEEDED after "] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    node.stop();
    assert_eq!(bench.run(&["logs", &id, "load", "--attempt", "1", "-f"]).expect(0).out, "attempt 1\n");
}

#[test]
fn following_is_for_people() {
    let bench = Bench::with_tables("follow_json");
    let refused = bench.run(&["logs", "p-1", "--follow", "--json"]).expect(2);
    assert!(refused.err.contains("'--follow' cannot be used with '--json'"), "{refused:#?}");
    assert!(bench.run(&["logs", "none", "--follow"]).expect(3).err.contains("no process has the id"));
}
