//! SQL, the library, lists and roles.

use process_orchestrator::model::batch::data::BatchState;
use process_orchestrator::store::batches::BatchFilter;

use super::{Served, batch, inputs, of_words, start, until};
use crate::program::Bench;

#[test]
fn sql_has_the_same_verbs() {
    let bench = Bench::with_tables("batch_sql");
    of_words(&bench);
    let mut sql = bench.database.sql();
    let new: i64 = sql
        .query_one(
            "SELECT start_batch('s', 'words', ARRAY(SELECT jsonb_build_object('config', jsonb_build_object('do', 'false', 'n', n)) \
             FROM generate_series(1, 20) AS n), halt => 'soon,fail=100%', max => 3)",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(new, 20);
    assert_eq!((batch(&bench, "s").total, batch(&bench, "s").max), (20, Some(3)));
    let state: String = sql.query_one("SELECT pause_batch('s', 'wait')", &[]).unwrap().get(0);
    assert_eq!(state, "PAUSED");
    sql.execute("SELECT set_limit('batch:s', 2)", &[]).unwrap();
    assert_eq!((batch(&bench, "s").max, batch(&bench, "s").state), (Some(2), BatchState::Paused));
    sql.execute("SELECT resume_batch('s')", &[]).unwrap();
    let _node = Served::new(&bench, "2", &[]);
    until(&bench, "s", "it has ended", |it| it.state == BatchState::Failed);
    let retried: i64 = sql.query_one("SELECT retried FROM retry_batch('s')", &[]).unwrap().get(0);
    assert_eq!(retried, 20);
    until(&bench, "s", "it has ended again", |it| it.state == BatchState::Failed && it.counts.failed == 20);
    for (call, code) in [
        ("SELECT pause_batch('nobody')", "PO040"),
        ("SELECT start_batch(' x', 'words', '{}')", "PO041"),
        ("SELECT start_batch('x', 'words', '{}', halt => 'often')", "PO043"),
    ] {
        let error = sql.execute(call, &[]).unwrap_err();
        assert_eq!(error.code().map(|it| it.code().to_owned()).as_deref(), Some(code), "{call}");
    }
}

#[test]
fn lists_have_pages_and_a_process_s_batch_is_a_filter() {
    let bench = Bench::with_tables("batch_lists");
    of_words(&bench);
    inputs(&bench, "in.jsonl", ["true"; 3]);
    for name in ["one", "two", "three"] {
        start(&bench, name, &[]).expect(0);
    }
    let mut store = bench.database.store();
    let first = store.batches(&BatchFilter { limit: 2, ..BatchFilter::default() }).unwrap();
    let names: Vec<&str> = first.batches.iter().map(|it| it.name.as_str()).collect();
    assert_eq!((names, first.next.as_deref()), (vec!["three", "two"], Some("two")));
    let second =
        store.batches(&BatchFilter { limit: 2, after: first.next, ..BatchFilter::default() }).unwrap();
    assert_eq!((second.batches.len(), second.next), (1, None));
    let listed = bench.run(&["batch", "list", "--state", "running", "--json"]).expect(0).json();
    assert_eq!(listed["batches"].as_array().map(Vec::len), Some(3));
    let of_two = bench.run(&["list", "--batch", "two", "--json"]).expect(0).json();
    let ids: Vec<&str> =
        of_two["processes"].as_array().unwrap().iter().filter_map(|it| it["process_id"].as_str()).collect();
    assert!(ids.len() == 3 && ids.iter().all(|it| it.starts_with("two-")), "{ids:?}");
    bench.run(&["batch", "cancel", "two"]).expect(0);
    assert_eq!(bench.run(&["batch", "show", "two", "--json"]).expect(0).json()["cancelled"], 3);
}

#[test]
fn counts_stay_when_processes_are_pruned_and_go_when_they_are_old() {
    let bench = Bench::with_tables("batch_prune");
    of_words(&bench);
    inputs(&bench, "in.jsonl", ["true", "false"]);
    start(&bench, "b", &[]).expect(0);
    let node = Served::new(&bench, "2", &[]);
    bench.run(&["batch", "wait", "b"]).expect(1);
    drop(node);
    bench.run(&["prune", "--older-than", "0s", "--yes"]).expect(0);
    assert_eq!(bench.database.count("processes"), 0);
    let counts = batch(&bench, "b").counts;
    assert_eq!((counts.completed, counts.failed), (1, 1));
    let mut store = bench.database.store();
    assert_eq!(store.forget_batches().unwrap(), 0);
    bench.database.sql().execute("UPDATE batches SET ended_at = now() - interval '8 days'", &[]).unwrap();
    assert_eq!(store.forget_batches().unwrap(), 1);
    assert_eq!(bench.database.count("batch_reasons"), 0);
}
