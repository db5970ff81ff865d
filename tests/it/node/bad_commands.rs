//! What a person reads about commands that cannot be started, print too much or will not end.

use std::fs;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use process_orchestrator::{ProcessType, TaskDefinition};
use serde_json::Value;

use crate::common::{one_task, script};
use crate::program::{Bench, ended, signal, until_line};

fn named(name: &str, task: TaskDefinition) -> ProcessType {
    ProcessType::new(name, "").add(task)
}

/// A command that can't heal: retries are there, and none is spent.
fn hopeless(name: &str, command: &str) -> ProcessType {
    named(name, TaskDefinition { max_retries: 3, ..TaskDefinition::new("only", command) })
}

#[test]
fn commands_that_cannot_be_started_fail_at_once_with_the_reason() {
    let bench = Bench::new("bad_programs");
    let tool = bench.folder.join("tool");
    fs::write(&tool, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o644)).unwrap();
    let in_directory = |name: &str, directory: &str| {
        let task = TaskDefinition {
            working_directory: Some(directory.to_owned()),
            ..TaskDefinition::new("only", "true")
        };
        named(name, task)
    };
    let long = format!("{{\"config\": {{\"big\": \"{}\"}}}}", "x".repeat(200_000));
    fs::write(bench.folder.join("long.json"), long).unwrap();
    let cases = [
        (
            hopeless("absent", "no-such-program-anywhere"),
            "no such program: `no-such-program-anywhere` is in none of",
        ),
        (hopeless("absent-path", "/nowhere/program"), "no such program: `/nowhere/program` does not exist"),
        (
            hopeless("not-executable", tool.to_str().unwrap()),
            "/tool` is not executable for this user; try: chmod +x ",
        ),
        (
            in_directory("no-directory", "/nowhere/${process_id}"),
            "no such working directory: `/nowhere/no-directory`; create it, or change the task's working_directory",
        ),
        (in_directory("no-folder", "/dev/null"), "the working directory `/dev/null` is not a directory"),
        (
            hopeless("no-context", "echo ${processContext.rows}"),
            "no earlier task has written processContext.rows; have one write the line rows=VALUE to the file that \
             $PROCESS_CONTEXT_FILE names",
        ),
        (
            hopeless("too-long", "/bin/echo ${config.big:-none}"),
            "failed to start `/bin/echo`: the argument list is too long: 2 arguments of 200011 bytes, the longest of \
             200000",
        ),
    ];
    for (kind, part) in &cases {
        let file = bench.file(kind);
        let is_long = kind.name == "too-long";
        let input: &[&str] = if is_long { &["--input", "@long.json"] } else { &[] };
        let run = bench.run(&[&["run", &file, "--process-id", &kind.name][..], input].concat()).expect(1);
        let error = "Error     task \"only\" (1 of 1) failed: ";
        let told = run.out.lines().find(|line| line.starts_with(error)).unwrap_or_else(|| panic!("{run:#?}"));
        assert!(told.contains(part), "{part:?} is not in {told:?}");
        assert!(run.err.contains(part) && run.err.contains("only wrote nothing"), "{run:#?}");
        let shown = bench.run(&["show", &kind.name, "--json"]).expect(0).json();
        assert_eq!(
            (&shown["tasks"][0]["attempt"], &shown["tasks"][0]["retry_count"]),
            (&1.into(), &0.into())
        );
    }
    assert_eq!(bench.database.count("task_executions WHERE outcome = 'SPAWN_FAILED'"), cases.len() as i64);
}

#[test]
fn output_that_is_no_text_is_shown_as_far_as_it_is() {
    let bench = Bench::new("bad_output");
    let file = bench.file(&named("bytes", script("only", r"printf 'a\000b\377c\n'; exit 3")));
    let run = bench.run(&["run", &file]).expect(1);
    assert!(run.err.contains("output of only:\n  a\u{FFFD}b\u{FFFD}c\n"), "{run:#?}");
    assert_eq!(bench.run(&["logs", "bytes-1"]).expect(0).out, "a\u{FFFD}b\u{FFFD}c\n");
}

/// Peak memory of a process in KiB.
#[cfg(target_os = "linux")]
fn peak_memory_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn two_hundred_megabytes_of_output_are_kept_as_head_and_tail_in_little_memory() {
    /// The node itself, twice the output that is kept (1 MiB), and what an unoptimised build needs besides.
    const PEAK_KIB_MAX: u64 = 64 * 1024;
    const LINE: &str = "0123456789012345678901234567890123456789012345678";
    let bench = Bench::with_tables("big_output");
    let command = format!("echo first; yes {LINE} | head -c 200000000; echo last");
    bench.database.register(&named("big", script("only", &command)));
    let mut serve = bench.spawn(&["serve", "--no-http"]);
    let rest = until_line(&mut serve, " ready: node ");
    bench.run(&["start", "big", "--wait"]).expect(0);
    let peak = peak_memory_kib(serve.id());
    signal(&serve, "-TERM");
    drop(rest);
    assert_eq!(serve.wait().unwrap().code(), Some(0));
    assert!(peak < PEAK_KIB_MAX, "the node took {peak} KiB");
    let logs = bench.run(&["logs", "big-1"]).expect(0).out;
    assert!(logs.starts_with("first\n0123") && logs.ends_with("678\nlast\n"), "{} bytes", logs.len());
    let marker = "bytes left out ...]\n";
    assert!(logs.matches(marker).count() == 1 && logs.len() < 1_100_000, "{} bytes", logs.len());
    let json = bench.run(&["logs", "big-1", "--json"]).expect(0).json();
    assert_eq!(json["executions"][0]["output_bytes"], 200_000_000 + "first\nlast\n".len());
}

fn only_execution(bench: &Bench, id: &str) -> Value {
    bench.run(&["logs", id, "--json"]).expect(0).json()["executions"][0].take()
}

#[test]
fn a_command_that_closes_its_output_is_waited_for() {
    let bench = Bench::new("bad_closed");
    let mark = bench.folder.join("mark");
    let command = format!("exec >&- 2>&-; while [ ! -e '{}' ]; do sleep 0.02; done; exit 7", mark.display());
    let file = bench.file(&named("closed", script("only", &command)));
    let mut run = bench.spawn(&["run", &file]);
    let rest = until_line(&mut run, " only IN_PROGRESS");
    assert_eq!(run.try_wait().unwrap(), None, "it goes on although its output has ended");
    fs::write(mark, "").unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1));
    drop(rest);
    let shown = bench.run(&["show", "closed-1"]).expect(0);
    assert!(shown.out.contains("task \"only\" (1 of 1) failed: `sh` ended with exit code 7\n"), "{shown:#?}");
}

#[test]
fn a_grandchild_that_keeps_the_output_open_delays_nobody() {
    let bench = Bench::new("bad_grandchild");
    let held = bench.folder.join("held");
    fs::write(&held, "").unwrap();
    let command = format!("while [ -e '{}' ]; do sleep 0.05; done & echo parent", held.display());
    let file = bench.file(&named("grand", script("only", &command)));
    // It ends although the grandchild, which only the test can end, still holds the pipe.
    bench.run(&["run", &file]).expect(0);
    fs::remove_file(held).unwrap();
    let execution = only_execution(&bench, "grand-1");
    let remark = "[... cut here: something that the command has left running still holds its output ...]\n";
    let output = format!("parent\n{remark}");
    assert_eq!((&execution["output"], &execution["outcome"]), (&output.into(), &"SUCCEEDED".into()));
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_after_the_grace_and_told_so() {
    let bench = Bench::new("bad_ignoring");
    let task = TaskDefinition {
        timeout_minutes: 0.005,
        ..script("only", "trap '' TERM; echo begun; while :; do sleep 0.1; done")
    };
    let file = bench.file(&named("ignoring", task));
    let run = bench.run(&["run", &file]).expect(1);
    let part =
        "exceeded its timeout of 0.3 s and was killed (SIGKILL) as not all of it had ended 5 s after SIGTERM";
    assert!(run.err.contains(part) && run.err.contains("output of only:\n  begun\n"), "{run:#?}");
    let execution = only_execution(&bench, "ignoring-1");
    assert_eq!((&execution["outcome"], &execution["signal"]), (&"TIMED_OUT".into(), &9.into()));
}

/// Whoever starts the program may have left signals so that children can't be waited for, or that nothing ends it.
#[test]
fn a_starter_that_ignores_sigchld_does_no_harm() {
    let bench = Bench::new("bad_sigchld");
    let file = bench.file(&one_task("sh -c 'exit 7'"));
    let ignoring = ["sh", "-c", "trap '' CHLD; exec \"$@\"", "sh"];
    let failed = ended(&mut bench.started_by(&ignoring, &["run", &file, "--json"])).expect(1);
    assert_eq!(failed.json()["tasks"][0]["exit_code"], 7, "{failed:#?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_command_has_every_signal_at_its_default_and_none_blocked_whatever_the_starter_and_the_program_do() {
    let bench = Bench::new("bad_signals");
    // SIGQUIT and SIGUSR1 by the starter; SIGPIPE is ignored and SIGTERM caught by the program itself.
    let starting = "import os, signal, sys; signal.signal(signal.SIGUSR1, signal.SIG_IGN); \
                    signal.signal(signal.SIGQUIT, signal.SIG_IGN); \
                    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGALRM]); \
                    os.execv(sys.argv[1], sys.argv[1:])";
    let look = |name: &str| TaskDefinition::new(name, "cat /proc/self/status");
    // The second child is made by a thread that has made one already.
    let file = bench.file(&ProcessType::new("signals", "").add(look("first")).add(look("second")));
    let run = ended(&mut bench.started_by(&["python3", "-c", starting], &["run", &file, "--json"])).expect(0);
    // 32 and 33 are the C library's own: no program can set them, so some starters leave them ignored.
    const OWN: u64 = 0b11 << 31;
    for task in run.json()["tasks"].as_array().unwrap() {
        let status = task["output"].as_str().unwrap();
        for name in ["SigBlk:", "SigIgn:", "SigCgt:"] {
            let set = status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
            assert_eq!(u64::from_str_radix(set, 16).unwrap() & !OWN, 0, "{name} {status}");
        }
    }
}

#[test]
fn a_starter_that_blocks_signals_keeps_none_from_the_program_or_its_commands() {
    let bench = Bench::new("bad_blocked");
    let block = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGCHLD]); \
                 os.execv(sys.argv[1], sys.argv[1:])";
    let blocking = ["python3", "-c", block];
    let file = bench.file(&one_task("sh -c 'kill -TERM $$; exit 0'"));
    let failed = ended(&mut bench.started_by(&blocking, &["run", &file])).expect(1);
    assert!(failed.err.contains("SIGTERM"), "the command was not ended by its own signal: {failed:#?}");

    let file = bench.file(&named("waiting", script("only", "sleep 600")));
    let mut run = bench.started_by(&blocking, &["run", &file]).stderr(Stdio::piped()).spawn().unwrap();
    let mut rest = until_line(&mut run, " only IN_PROGRESS");
    signal(&run, "-TERM");
    let mut line = String::new();
    rest.read_line(&mut line).unwrap();
    assert!(line.starts_with("stopping: waiting up to 30s"), "{line}");
    signal(&run, "-TERM");
    assert_eq!(run.wait().unwrap().code(), Some(143));
    drop(rest);
}
