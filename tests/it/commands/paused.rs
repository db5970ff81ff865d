//! Commands that start something of a type which is paused, or is paused meanwhile: they wait, and say so.

use std::io::Read;
use std::process::Child;

use process_orchestrator::{ProcessInputData, ProcessStatus, ProcessType, TaskStatus};

use crate::common::{script, wait_until};
use crate::control::Gate;
use crate::program::{Bench, until_line_kept};

fn two(gate: &Gate) -> ProcessType {
    ProcessType::new("two", "").add(script("first", &gate.wait())).add(script("second", "true"))
}

/// Its exit code and the rest of what it says.
fn finished(mut child: Child, mut rest: impl Read) -> (Option<i32>, String) {
    let mut told = String::new();
    rest.read_to_string(&mut told).unwrap();
    (child.wait().unwrap().code(), told)
}

#[test]
fn run_waits_while_its_type_is_paused_unless_told_otherwise() {
    let bench = Bench::with_tables("paused_run");
    let gate = Gate::new("paused_run");
    gate.open();
    let file = bench.file(&two(&gate));
    bench.database.register(&two(&gate));
    bench.database.store().pause_process_type("two", Some("broken")).unwrap();
    for what in ["two", &file] {
        let mut run = bench.spawn(&["run", what, "--process-id", what]);
        let (told, rest) = until_line_kept(&mut run, "is paused");
        for part in [
            ": broken; none of its tasks begins until it is resumed; resume it: ",
            " resume two, or run it all the \
            same: --even-if-paused",
        ] {
            assert!(told.contains(part), "no {part:?} in {told}");
        }
        // Its node has looked for it more than once.
        let polled = || bench.database.count("nodes WHERE state = 'RUNNING' AND last_heartbeat > started_at");
        wait_until("its node has its second heartbeat", || (polled() == 1).then_some(()));
        assert_eq!(bench.database.count("task_executions"), i64::from(what != "two") * 2);
        let explained = bench.run(&["explain", what]).expect(0).out;
        assert!(
            explained.contains("is paused since ") && explained.contains("it is kept for node "),
            "{explained}"
        );
        bench.database.store().resume_process_type("two").unwrap();
        let (code, told) = finished(run, rest);
        assert_eq!(code, Some(0), "{told}");
        bench.database.store().pause_process_type("two", Some("broken")).unwrap();
    }
    let ran = bench.run(&["run", "two", "--even-if-paused"]).expect(0);
    assert!(!ran.err.contains("is paused"), "{ran:#?}");
}

#[test]
fn a_pause_during_a_run_holds_it_before_its_next_task() {
    let bench = Bench::with_tables("paused_meanwhile");
    let gate = Gate::new("paused_meanwhile");
    bench.database.register(&two(&gate));
    let mut run = bench.spawn(&["run", "two", "--process-id", "p"]);
    let (_, rest) = until_line_kept(&mut run, "first IN_PROGRESS");
    run.stderr = Some(rest.into_inner());
    bench.database.store().pause_process_type("two", None).unwrap();
    let (_, rest) = until_line_kept(&mut run, "is paused");
    let beat = || -> i64 {
        let beats =
            "SELECT (extract(epoch FROM last_heartbeat) * 1e6)::bigint FROM nodes WHERE state = 'RUNNING'";
        bench.database.sql().query_one(beats, &[]).unwrap().get(0)
    };
    // Two heartbeats from now it has heard of it for sure.
    for _ in 0..2 {
        let before = beat();
        wait_until("another heartbeat", || (beat() > before).then_some(()));
    }
    gate.open();
    let statuses =
        || -> Vec<_> { bench.database.store().tasks("p").unwrap().iter().map(|it| it.status).collect() };
    wait_until("the first task has ended", || (statuses()[0] == TaskStatus::Completed).then_some(()));
    wait_until("the claim is given back", || {
        bench.database.store().process("p").unwrap().unwrap().picked_by.is_none().then_some(())
    });
    assert_eq!(statuses(), [TaskStatus::Completed, TaskStatus::NotStarted]);
    bench.database.store().resume_process_type("two").unwrap();
    let (code, told) = finished(run, rest);
    assert_eq!((code, statuses()[1]), (Some(0), TaskStatus::Completed), "{told}");
}

#[test]
fn a_start_and_a_retry_say_that_the_type_is_paused() {
    let bench = Bench::with_tables("paused_start");
    let gate = Gate::new("paused_start");
    gate.open();
    bench.database.register(&two(&gate));
    let node = bench.database.node();
    let ended = bench.database.start("two", ProcessInputData::new());
    assert_eq!(bench.database.wait_for(&ended).status, ProcessStatus::Completed);
    bench.database.store().pause_process_type("two", Some("broken")).unwrap();
    let paused = "process type \"two\" is paused since ";
    for words in [&["start", "two"][..], &["retry", &ended, "--from", "second"]] {
        let told = bench.run(words).expect(0).err;
        assert!(told.contains(paused) && told.contains(" resume two"), "{words:?}: {told}");
    }
    for words in [&["start", "two", "--wait"][..], &["start", "two", "--wait", "--inputs", "two.jsonl"]] {
        std::fs::write(bench.folder.join("two.jsonl"), "{}\n{}\n").unwrap();
        let mut start = bench.spawn(words);
        let (told, rest) = until_line_kept(&mut start, paused);
        assert!(told.contains(": broken; "), "{told}");
        bench.database.store().resume_process_type("two").unwrap();
        let (code, told) = finished(start, rest);
        assert_eq!(code, Some(0), "{told}");
        bench.database.store().pause_process_type("two", Some("broken")).unwrap();
    }
    node.stop();
}
