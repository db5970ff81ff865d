//! All or none, in parts, again, and by ids that follow from inputs.

use std::fs;

use process_orchestrator::ProcessType;
use process_orchestrator::model::batch::data::BatchState;

use super::{Served, batch, inputs, of_words, start, task};
use crate::program::Bench;

#[test]
fn the_same_lines_in_another_order_start_only_what_is_missing() {
    let bench = Bench::with_tables("batch_again");
    of_words(&bench);
    let line = |text: &str| format!("{{\"config\": {{\"do\": \"{text}\"}}}}\n");
    let write = |lines: &[&str]| {
        let all: String = lines.iter().map(|it| line(it)).collect();
        fs::write(bench.folder.join("in.jsonl"), all).unwrap();
    };
    write(&["true", "echo 1", "true"]);
    let first = start(&bench, "b", &[]).expect(0);
    assert!(first.err.contains("batch \"b\": 3 started"), "{}", first.err);
    write(&["echo 2", "true", "true", "echo 1", "true"]);
    let second = start(&bench, "b", &[]).expect(0);
    assert!(second.err.contains("batch \"b\": 2 started, 3 were there already"), "{}", second.err);
    assert_eq!(batch(&bench, "b").total, 5);
    // By SQL the same inputs have the same ids.
    let again: i64 = bench
        .database
        .sql()
        .query_one(
            "SELECT start_batch('b', 'words', ARRAY['{\"config\": {\"do\": \"echo 2\"}, \"user_id\": \"\"}', \
             '{\"config\": {\"do\": \"true\"}}', '{\"config\": {\"do\": \"ünï \\\\ \\\" \\n\", \"a b\": 1}, \"user_id\": \"u\", \"input_file\": \"f\"}']::jsonb[])",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(again, 1, "only the one with other words is new");
    fs::write(bench.folder.join("in.jsonl"), "{\"input_file\": \"f\", \"user_id\": \"u\", \"config\": {\"a b\": 1, \"do\": \"ünï \\\\ \\\" \\n\"}}\n")
        .unwrap();
    let third = start(&bench, "b", &[]).expect(0);
    assert!(third.err.contains("0 started, 1 were there already"), "{}", third.err);
}

#[test]
fn a_batch_is_of_one_type_and_its_options_are_checked_before() {
    let bench = Bench::with_tables("batch_type");
    of_words(&bench);
    bench.database.register(&ProcessType::new("other", "").add(task("a", "true")));
    inputs(&bench, "in.jsonl", ["true"]);
    start(&bench, "nightly", &[]).expect(0);
    let other = bench.run(&["start", "other", "--inputs", "in.jsonl", "--batch", "nightly"]).expect(2);
    assert!(other.err.contains("is of process type \"words\", not \"other\""), "{}", other.err);
    for (more, part) in [
        (&["--halt", "soon,fail=0"][..], "would halt before anything"),
        (&["--then", "nobody"], "unknown process type \"nobody\""),
        (&["--max", "-1"], "-1"),
        (&["--then-input", "{}"], "--then"),
    ] {
        let refused = start(&bench, "c", more);
        assert!(
            [Some(2), Some(3)].contains(&refused.code) && refused.err.contains(part),
            "{more:?}: {refused:#?}"
        );
    }
    assert_eq!(bench.database.count("batches WHERE name = 'c'"), 0);
    let unknown = bench.run(&["batch", "show", "nigthly"]).expect(3);
    assert!(unknown.err.contains("did you mean \"nightly\"?"), "{}", unknown.err);
}

#[test]
fn all_or_none_unless_a_part_is_wanted() {
    let bench = Bench::with_tables("batch_partial");
    of_words(&bench);
    bench.database.store().start_processes("words", &[taken()], Default::default()).unwrap();
    let mut lines: Vec<String> =
        (0..50).map(|n| format!("{{\"config\": {{\"do\": \"true\", \"n\": {n}}}}}")).collect();
    lines[10] = "{\"process_id\": \"taken\", \"config\": {\"do\": \"false\"}}".to_owned();
    fs::write(bench.folder.join("in.jsonl"), lines.join("\n")).unwrap();
    let none = start(&bench, "b", &[]).expect(2);
    assert!(none.err.contains("in.jsonl:11") && none.err.contains("nothing was started"), "{}", none.err);
    assert_eq!(bench.database.count("batches"), 0);
    lines[20] = "{\"config\": 7}".to_owned();
    lines[21] = "no json".to_owned();
    fs::write(bench.folder.join("in.jsonl"), lines.join("\n")).unwrap();
    let some = start(&bench, "b", &["--partial"]).expect(1);
    for part in ["in.jsonl:11: ", "in.jsonl:21: ", "in.jsonl:22: ", "47 started, 3 lines refused"] {
        assert!(some.err.contains(part), "no {part:?} in {}", some.err);
    }
    assert_eq!(some.out.lines().count(), 47);
    let _node = Served::new(&bench, "4", &[]);
    bench.run(&["batch", "wait", "b"]).expect(0);
    let ended = batch(&bench, "b");
    assert_eq!((ended.state, ended.total), (BatchState::Completed, 47));
}

#[test]
fn lines_that_are_all_refused_make_no_batch() {
    let bench = Bench::with_tables("batch_none");
    of_words(&bench);
    bench.database.store().start_processes("words", &[taken()], Default::default()).unwrap();
    let line = "{\"process_id\": \"taken\", \"config\": {\"do\": \"false\"}}";
    fs::write(bench.folder.join("in.jsonl"), line).unwrap();
    // Without a node: a wait for a batch of nothing would never end.
    let none = start(&bench, "b", &["--partial", "--wait"]).expect(1);
    assert!(none.err.contains("0 started, 1 line refused"), "{}", none.err);
    assert_eq!(bench.database.count("batches"), 0);
}

#[test]
fn what_was_deleted_by_hand_is_not_waited_for() {
    let bench = Bench::with_tables("batch_deleted");
    of_words(&bench);
    inputs(&bench, "in.jsonl", ["true"; 5]);
    start(&bench, "some", &[]).expect(0);
    start(&bench, "none", &[]).expect(0);
    let of = "(SELECT process_id FROM processes WHERE batch = 'none' OR batch = 'some' AND (input_data->'config'->>'n') > '1')";
    for (table, id) in
        [("scheduled_tasks", "task_instance"), ("all_tasks", "process_id"), ("processes", "process_id")]
    {
        bench.database.sql().execute(&format!("DELETE FROM {table} WHERE {id} IN {of}"), &[]).unwrap();
    }
    let _node = Served::new(&bench, "4", &[]);
    bench.run(&["batch", "wait", "some"]).expect(0);
    assert_eq!((batch(&bench, "some").counts.completed, batch(&bench, "some").total), (2, 2));
    // What has nothing left may get something again, and ends when it is cancelled.
    bench.run(&["batch", "cancel", "none"]).expect(0);
    super::until(&bench, "none", "it has ended", |it| it.state == BatchState::Cancelled);
    assert!(bench.run(&["batch", "cancel", "none"]).expect(0).out.contains("stays CANCELLED"));
}

fn taken() -> process_orchestrator::store::start::StartRequest {
    process_orchestrator::store::start::StartRequest {
        input: process_orchestrator::ProcessInputData::new().add_config("do", "true"),
        process_id: Some("taken".to_owned()),
    }
}

#[test]
fn a_start_that_was_broken_off_ends_all_the_same() {
    let bench = Bench::with_tables("batch_broken");
    of_words(&bench);
    inputs(&bench, "in.jsonl", ["true"; 5]);
    start(&bench, "b", &["--then", "words:{\"config\":{\"do\":\"true\"}}"]).expect(0);
    let mut sql = bench.database.sql();
    // As a start in parts that is still under way leaves it.
    sql.execute("UPDATE batches SET announced = 100, filling_at = now()", &[]).unwrap();
    let _node = Served::new(&bench, "4", &[]);
    super::until(&bench, "b", "its first part has ended", |it| it.ended == 5);
    assert_eq!((batch(&bench, "b").state, batch(&bench, "b").total), (BatchState::Running, 100));
    sql.execute("UPDATE batches SET filling_at = now() - interval '2 minutes'", &[]).unwrap();
    bench.run(&["batch", "wait", "b"]).expect(0);
    assert_eq!(batch(&bench, "b").then_id.as_deref(), Some("b-then"));
}
