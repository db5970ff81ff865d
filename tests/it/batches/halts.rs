//! A batch halts, goes on, and is paused and cancelled.

use process_orchestrator::model::batch::data::BatchState;
use process_orchestrator::{ProcessStatus, ProcessType};

use super::{Served, batch, inputs, of_words, start, task, until};
use crate::common::wait_until;
use crate::control::Gate;
use crate::program::Bench;

/// How many of it wait in the queue and have not begun.
fn waiting(bench: &Bench) -> i64 {
    bench.database.count(
        "scheduled_tasks s JOIN processes p ON p.process_id = s.task_instance WHERE p.status = 'NOT_STARTED'",
    )
}

#[test]
fn soon_lets_what_runs_end_starts_no_more_and_goes_on_when_resumed() {
    let bench = Bench::with_tables("batch_halt_soon");
    of_words(&bench);
    let gate = Gate::new("batch_halt_soon");
    let wait = gate.wait();
    inputs(&bench, "in.jsonl", ["false", "false", wait.as_str()].into_iter().chain(["false"; 60]));
    start(&bench, "b", &["--halt", "soon,fail=2", "--max", "3"]).expect(0);
    let _node = Served::new(&bench, "4", &[]);
    let halted = until(&bench, "b", "it halts", |it| it.state == BatchState::Halted);
    assert!(halted.reason.as_deref().unwrap().contains("of 63 have failed (halt soon,fail=2)"), "{halted:?}");
    // What runs is not ended, and nothing else has begun when it ends.
    let drained = until(&bench, "b", "one runs", |it| it.counts.in_progress == 1);
    assert_eq!(bench.database.count("scheduled_tasks WHERE cancel_requested_at IS NOT NULL"), 0);
    gate.open();
    let rest = until(&bench, "b", "it has ended", |it| it.counts.in_progress == 0);
    assert_eq!((rest.counts.completed, rest.state), (1, BatchState::Halted));
    assert_eq!(rest.counts.not_started, drained.counts.not_started);
    assert!(rest.counts.not_started > 40, "{rest:?}");
    let wait = bench.run(&["batch", "wait", "b"]).expect(1);
    assert!(wait.err.contains("batch resume b"), "{}", wait.err);

    // It is not halted by what has failed before, but by as many again.
    assert!(bench.run(&["batch", "resume", "b"]).expect(0).out.contains("goes on"));
    let again = until(&bench, "b", "it halts again", |it| it.state == BatchState::Halted);
    assert!(again.counts.failed >= rest.counts.failed + 2, "{again:?} {rest:?}");
    assert!(again.reason.as_deref().unwrap().contains("since it was resumed"), "{again:?}");

    // A cancel ends the rest.
    until(&bench, "b", "nothing runs", |it| it.counts.in_progress == 0);
    bench.run(&["batch", "cancel", "b", "--reason", "enough"]).expect(0);
    let ended = until(&bench, "b", "it has ended", |it| it.state.is_final());
    assert_eq!((ended.state, ended.ended), (BatchState::Failed, 63));
    let told: String = bench
        .database
        .sql()
        .query_one("SELECT max(error_message) FROM processes WHERE status = 'CANCELLED'", &[])
        .unwrap()
        .get(0);
    assert!(told.contains("batch b cancelled") && told.ends_with("enough"), "{told}");
    assert_eq!(bench.database.count("limits") + bench.database.count("limit_slots"), 0);
}

#[test]
fn now_cancels_what_runs_and_holds_the_rest() {
    let bench = Bench::with_tables("batch_halt_now");
    of_words(&bench);
    // Two of a hundred are 2 %, and one is not.
    inputs(&bench, "in.jsonl", ["sleep 300", "sleep 300", "false", "false"].into_iter().chain(["true"; 96]));
    start(&bench, "b", &["--halt", "now,fail=2%", "--max", "3"]).expect(0);
    let _node = Served::new(&bench, "4", &[]);
    let halted = until(&bench, "b", "it halts", |it| it.state == BatchState::Halted);
    assert_eq!(halted.counts.failed, 2, "{halted:?}");
    let rest = until(&bench, "b", "what ran is cancelled", |it| it.counts.in_progress == 0);
    assert_eq!(rest.counts.cancelled, 2, "{rest:?}");
    assert!(rest.counts.not_started > 60, "{rest:?}");
    bench.run(&["batch", "wait", "b"]).expect(1);
    bench.run(&["batch", "resume", "b"]).expect(0);
    let ended = until(&bench, "b", "it has ended", |it| it.state.is_final());
    assert_eq!((ended.counts.completed, ended.state), (96, BatchState::Failed));
}

#[test]
fn a_first_success_is_enough_where_that_is_wanted() {
    let bench = Bench::with_tables("batch_halt_success");
    of_words(&bench);
    inputs(&bench, "in.jsonl", ["false", "false", "true"].into_iter().chain(["sleep 300"; 20]));
    start(&bench, "b", &["--halt", "now,success=1", "--max", "1"]).expect(0);
    let _node = Served::new(&bench, "2", &[]);
    bench.run(&["batch", "wait", "b"]).expect(0);
    let halted = batch(&bench, "b");
    assert_eq!((halted.state, halted.counts.completed, halted.counts.failed), (BatchState::Halted, 1, 2));
}

#[test]
fn a_pause_stops_before_the_next_task_and_a_resume_goes_on() {
    let bench = Bench::with_tables("batch_pause");
    let gate = Gate::new("batch_pause");
    let two = ProcessType::new("words", "").add(task("first", &gate.wait())).add(task("second", "true"));
    bench.database.register(&two);
    inputs(&bench, "in.jsonl", ["a"; 6]);
    start(&bench, "b", &["--max", "2"]).expect(0);
    let _node = Served::new(&bench, "4", &[]);
    until(&bench, "b", "two run", |it| it.counts.in_progress == 2);
    wait_until("both have begun", || {
        (bench.database.count("tasks WHERE status = 'IN_PROGRESS' AND started_at IS NOT NULL") == 2)
            .then_some(())
    });
    bench.run(&["batch", "pause", "b", "--reason", "the disk is full"]).expect(0);
    let paused = batch(&bench, "b");
    assert_eq!((paused.state, paused.reason.as_deref()), (BatchState::Paused, Some("the disk is full")));
    gate.open();
    wait_until("the first tasks have ended", || {
        (bench.database.count("tasks WHERE name = 'first' AND status = 'COMPLETED'") == 2
            && bench.database.count("scheduled_tasks WHERE picked") == 0)
            .then_some(())
    });
    assert_eq!(bench.database.count("tasks WHERE name = 'second' AND status <> 'NOT_STARTED'"), 0);
    assert_eq!(waiting(&bench), 4);
    let id = bench.database.sql().query_one("SELECT min(task_instance) FROM scheduled_tasks", &[]).unwrap();
    let explained = bench.run(&["explain", id.get(0)]).expect(0).out;
    assert!(
        explained.contains("batch \"b\" is PAUSED since") && explained.contains("batch resume b"),
        "{explained}"
    );
    bench.run(&["batch", "resume", "b"]).expect(0);
    bench.run(&["batch", "wait", "b"]).expect(0);
    assert_eq!(batch(&bench, "b").counts.completed, 6);
}

#[test]
fn a_max_of_nothing_halts_and_a_higher_one_lets_it_go_on() {
    let bench = Bench::with_tables("batch_max_none");
    of_words(&bench);
    inputs(&bench, "in.jsonl", ["false"; 9]);
    start(&bench, "b", &["--halt", "soon,fail=1", "--max", "1"]).expect(0);
    bench.run(&["limits", "set", "batch:b", "--max", "0"]).expect(0);
    assert_eq!(batch(&bench, "b").state, BatchState::Halted);
    let doctor = bench.run(&["doctor"]);
    assert!(!doctor.out.contains("nothing more begins of batch:b"), "{}", doctor.out);
    bench.run(&["limits", "set", "batch:b", "--max", "1"]).expect(0);
    assert_eq!(batch(&bench, "b").state, BatchState::Running);
    let _node = Served::new(&bench, "2", &[]);
    until(&bench, "b", "it halts", |it| it.state == BatchState::Halted);
    // What has halted for its failures goes on by a word of its own.
    let set = bench.run(&["limits", "set", "batch:b", "--max", "3"]).expect(0);
    assert!(set.err.contains("is held all the same") && set.err.contains("batch resume b"), "{}", set.err);
    assert_eq!(batch(&bench, "b").state, BatchState::Halted);
}

#[test]
fn a_cancel_ends_what_runs_and_what_waits_and_nothing_follows() {
    let bench = Bench::with_tables("batch_cancel");
    of_words(&bench);
    inputs(&bench, "in.jsonl", ["sleep 300"; 30]);
    start(&bench, "b", &["--then", "words:{\"config\":{\"do\":\"true\"}}"]).expect(0);
    let _node = Served::new(&bench, "2", &[]);
    until(&bench, "b", "two run", |it| it.counts.in_progress >= 2);
    bench.run(&["batch", "cancel", "b"]).expect(0);
    bench.run(&["batch", "wait", "b"]).expect(1);
    let ended = batch(&bench, "b");
    assert_eq!((ended.state, ended.counts.cancelled), (BatchState::Cancelled, 30));
    assert_eq!(
        bench.database.store().process_row("b-then").unwrap().map(|it| it.status),
        None::<ProcessStatus>
    );
    // Nothing is left that holds anything.
    assert_eq!(bench.database.count("limits") + bench.database.count("limit_slots"), 0);
}
