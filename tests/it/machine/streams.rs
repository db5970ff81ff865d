//! Standard streams that are closed, full, or that nobody reads.

use std::io::{PipeReader, Write, pipe};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use process_orchestrator::ProcessType;

use super::all_complete_at_once;
use crate::common::{one_task, script, wait_until};
use crate::program::{Bench, ended, signal};

/// A program that is killed with its test.
struct Unheard(Child);

impl Drop for Unheard {
    fn drop(&mut self) {
        // It has ended unless the test has failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Unheard {
    fn start(bench: &Bench, command: &mut Command) -> Self {
        let node = Self(command.spawn().unwrap());
        let is_there = || (bench.database.count("nodes WHERE state = 'RUNNING'") == 1).then_some(());
        wait_until("the node is registered", is_there);
        node
    }

    fn stop(&mut self) {
        signal(&self.0, "-TERM");
        let status = wait_until("it has ended", || self.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    }
}

/// A pipe into which no byte goes any more.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, writer) = pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    let (filled, is_filled) = std::sync::mpsc::channel();
    // This thread fills it and stays, until the reader is dropped.
    std::thread::spawn(
        move || while filler.write_all(&[b'.'; 4096]).is_ok_and(|()| filled.send(()).is_ok()) {},
    );
    // No piece for a while: the pipe is full, or the machine so slow that the node will meet it full soon.
    while is_filled.recv_timeout(Duration::from_millis(300)).is_ok() {}
    (reader, Stdio::from(writer))
}

#[test]
fn a_node_whose_messages_nobody_reads_goes_on_and_stops() {
    let bench = Bench::with_tables("unread");
    let (_reader, stderr) = full_pipe();
    let mut serve = bench.command(&["serve", "--no-http", "--log-level", "trace"]);
    let mut node = Unheard::start(&bench, serve.stdout(Stdio::null()).stderr(stderr));
    bench
        .database
        .register(&ProcessType::new("chain", "").add(script("one", "echo 1")).add(script("two", "echo 2")));
    all_complete_at_once(&bench.database, &bench.database.start_many("chain", 50));
    node.stop();
    assert_eq!(bench.database.count("nodes WHERE state = 'STOPPED'"), 1);
}

#[test]
fn a_run_whose_progress_nobody_reads_ends_with_its_process() {
    let bench = Bench::with_tables("unread_run");
    let file =
        bench.file(&ProcessType::new("chain", "").add(script("one", "echo 1")).add(script("two", "exit 3")));
    let (_reader, stderr) = full_pipe();
    let run = bench.command(&["run", &file, "--json"]).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    let mut run = Unheard(run);
    let status = wait_until("it has ended", || run.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    let shown: serde_json::Value = serde_json::from_reader(run.0.stdout.take().unwrap()).unwrap();
    assert_eq!((&shown["status"], &shown["tasks"][1]["exit_code"]), (&"FAILED".into(), &3.into()));
}

#[test]
fn closed_and_full_streams_disturb_neither_node_nor_commands() {
    for (name, streams) in [("closed", "<&- >&- 2>&-"), ("full", ">/dev/full 2>/dev/full")] {
        let bench = Bench::with_tables("no_streams");
        let starter = ["sh", "-c", &format!("exec \"$@\" {streams}"), "sh"];
        let mut node = Unheard::start(&bench, &mut bench.started_by(&starter, &["serve", "--no-http"]));
        // A command must not find one of the node's own files where its standard streams should be.
        bench
            .database
            .register(&ProcessType::new("open", "").add(script("only", "cat; echo out; echo err >&2")));
        let ids = bench.database.start_many("open", 3);
        all_complete_at_once(&bench.database, &ids);
        let output = bench.database.store().tasks(&ids[0]).unwrap().remove(0).output;
        assert_eq!(output.as_deref(), Some("out\nerr\n"), "{name}");
        node.stop();
    }
}

#[test]
fn a_command_line_whose_output_cannot_be_written_says_so_and_fails() {
    let bench = Bench::with_tables("full_stdout");
    let file = bench.file(&one_task("true"));
    let full = ["sh", "-c", "exec \"$@\" >/dev/full", "sh"];
    for words in [&["run", &file][..], &["list"], &["show", "one-task-1", "--json"], &["types", "list"]] {
        let failed = ended(&mut bench.started_by(&full, words)).expect(1);
        assert!(failed.err.contains("No space left on device"), "{words:?}: {failed:#?}");
    }
    // The work was done all the same.
    assert_eq!(bench.database.count("processes WHERE status = 'COMPLETED'"), 1);
}
