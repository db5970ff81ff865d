//! What follows a batch is started exactly once.

use std::process::Stdio;

use process_orchestrator::model::batch::data::BatchState;
use process_orchestrator::{ProcessType, TaskDefinition};

use super::{Served, batch, inputs, of_words, start, task, until};
use crate::common::wait_until;
use crate::program::Bench;

#[test]
fn a_node_that_is_killed_while_it_notes_the_end_leaves_it_to_another_one() {
    let bench = Bench::with_tables("batch_then_kill");
    of_words(&bench);
    inputs(&bench, "in.jsonl", ["true", "true", "false"]);
    start(
        &bench,
        "b",
        &["--then", "words", "--then-input", "{\"config\":{\"do\":\"true\"},\"metadata\":{\"for\":\"me\"}}"],
    )
    .expect(0);
    // Dies with the end noted and what follows started, and nothing of it committed.
    let rule = [("PROCESS_ORCHESTRATOR_FAILPOINTS", "batch-end=kill")];
    let mut killed = bench.command(&["serve", "--no-http"]);
    let mut killed = killed.envs(rule).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(killed.wait().unwrap().code(), None, "it was killed");
    let between = batch(&bench, "b");
    assert_eq!((between.state, between.ended, &between.then_id), (BatchState::Running, 3, &None));
    assert_eq!(bench.database.count("processes"), 3);
    let (one, other) = (Served::new(&bench, "2", &[]), Served::new(&bench, "2", &[]));
    until(&bench, "b", "the end is noted", |it| it.then_id.is_some());
    let follower = wait_until("what follows has ended", || {
        let process = bench.database.store().process("b-then").unwrap()?;
        process.status.is_final().then_some(process)
    });
    let metadata = &follower.input_data["metadata"];
    for (key, value) in [
        ("for", "me"),
        ("batch", "b"),
        ("batch_state", "FAILED"),
        ("batch_total", "3"),
        ("batch_completed", "2"),
        ("batch_failed", "1"),
        ("batch_cancelled", "0"),
    ] {
        assert_eq!(metadata[key], value, "{metadata}");
    }
    drop((one, other));
    assert_eq!(bench.database.count("processes"), 4);
}

#[test]
fn what_can_t_be_started_is_told_and_tried_again() {
    let bench = Bench::with_tables("batch_then_refused");
    of_words(&bench);
    let environment = [("PLACE".to_owned(), "${config.where}".to_owned())].into();
    let tell = TaskDefinition { environment, ..task("tell", "echo \"$PLACE\"") };
    bench.database.register(&ProcessType::new("report", "").add(tell));
    inputs(&bench, "in.jsonl", ["true"]);
    start(&bench, "b", &["--then", "report"]).expect(0);
    let _node = Served::new(&bench, "2", &[]);
    let ended = until(&bench, "b", "its end is noted", |it| it.state.is_final());
    assert_eq!(ended.then_id, None);
    assert!(ended.then_problem.as_deref().unwrap().contains("config.where"), "{ended:?}");
    let shown = bench.run(&["batch", "show", "b"]).expect(0).out;
    assert!(shown.contains("then report: could not be started: input lacks"), "{shown}");
    bench.run(&["batch", "set", "b", "--then", "report:{\"config\":{\"where\":\"here\"}}"]).expect(0);
    until(&bench, "b", "it is started", |it| it.then_id.as_deref() == Some("b-then"));
}
