//! Limits that change while things run, and processes that are retried, cancelled or given back.

use process_orchestrator::store::claims::ClaimRequest;
use process_orchestrator::store::start::StartRequest;
use serde_json::json;

use super::{Gauge, all_end, limit, register, set_max, start};
use crate::common::{TestDatabase, wait_until};

fn of_type(max: u32) -> serde_json::Value {
    json!([{"name": "type:invoice", "max": max, "holds": "process"}])
}

fn names(how_many: usize) -> impl Iterator<Item = String> {
    (0..how_many).map(|n| format!("k{n}"))
}

#[test]
fn max_is_raised_and_lowered_while_things_run() {
    let database = TestDatabase::new("limits_changed");
    register(&database, "invoice", 4, 0);
    limit(&database, "invoice", &of_type(1));
    let gauge = Gauge::new(10);
    let nodes: Vec<_> = (0..2).map(|_| gauge.node(&database, 6)).collect();
    start(&database, "invoice", names(400));
    wait_until("one runs", || (gauge.running("invoice") == 1).then_some(()));
    set_max(&database, "type:invoice", Some(6));
    wait_until("six run", || (gauge.most_processes("invoice") == 6).then_some(()));
    set_max(&database, "type:invoice", Some(2));
    wait_until("it has drained", || (database.count("limit_slots") <= 2).then_some(()));
    gauge.forget_most();
    let ended = || database.count("processes WHERE status = 'COMPLETED'");
    let before = ended();
    wait_until("more have ended", || (ended() > before + 4).then_some(()));
    assert!(gauge.most_processes("invoice") <= 2);
    set_max(&database, "type:invoice", Some(0));
    wait_until("nothing runs", || (database.count("limit_slots") == 0).then_some(()));
    let before = gauge.begun().len();
    wait_until("each node has looked again", || {
        let beaten = "nodes WHERE last_heartbeat > (SELECT changed_at FROM limits WHERE name = 'type:invoice') + interval '500 ms'";
        (database.count(beaten) == 2).then_some(())
    });
    assert_eq!(gauge.begun().len(), before, "nothing begins");
    assert_eq!(ended() + database.count("scheduled_tasks"), 400, "lowering ends nothing");
    set_max(&database, "type:invoice", None);
    wait_until("it goes on as declared", || (ended() > before as i64 / 4 + 2).then_some(()));
    gauge.forget_most();
    set_max(&database, "type:invoice", Some(12));
    all_end(&database);
    for node in nodes {
        node.stop();
    }
    assert!(gauge.most_processes("invoice") > 6, "both nodes are full");
}

#[test]
fn a_type_gains_a_limit_while_its_processes_wait_run_and_are_in_retry() {
    let database = TestDatabase::new("limits_gained");
    register(&database, "invoice", 3, 5);
    let gauge = Gauge::new(100);
    let node = gauge.node(&database, 3);
    let ids = start(&database, "invoice", names(8));
    gauge.fails.lock().unwrap().insert((ids[0].clone(), 0), 1);
    wait_until("three run, one of which waits for its retry", || {
        (database.count("scheduled_tasks WHERE state = 'SCHEDULED'") == 1 || gauge.begun().len() > 3)
            .then_some(())
    });
    let begun = database.count("processes WHERE status = 'IN_PROGRESS'");
    limit(
        &database,
        "invoice",
        &json!([{"name": "type:invoice", "max": 1, "holds": "process"},
        {"name": "type:invoice:config.customer", "max": 1, "holds": "task", "key": [{"variable": "config.customer"}]}]),
    );
    let slots = "limit_slots WHERE limit_name = 'type:invoice'";
    assert!(database.count(slots) >= 2, "what has begun has its slots, beyond max, of {begun}");
    gauge.forget_most();
    all_end(&database);
    node.stop();
    let begun = gauge.begun();
    let first = |id: &String| begun.iter().position(|it| it.0 == *id).unwrap();
    let last = |id: &String| begun.iter().rposition(|it| it.0 == *id).unwrap();
    // From the fourth or so on they never overlap.
    let mut in_order: Vec<&String> = ids.iter().collect();
    in_order.sort_by_key(|id| first(id));
    for pair in in_order[4..].windows(2) {
        assert!(last(pair[0]) < first(pair[1]), "{begun:?}");
    }
    assert_eq!(database.count("processes WHERE status = 'COMPLETED'"), 8);
}

#[test]
fn a_limit_that_goes_lets_all_go() {
    let database = TestDatabase::new("limits_gone");
    register(&database, "invoice", 1, 0);
    limit(&database, "invoice", &of_type(1));
    set_max(&database, "type:invoice", Some(0));
    start(&database, "invoice", names(6));
    let gauge = Gauge::new(30);
    let node = gauge.node(&database, 6);
    wait_until("all are held", || {
        (database.count("scheduled_tasks WHERE held_by = 'limit:type:invoice'") == 6).then_some(())
    });
    let none = "UPDATE process_types SET concurrency = NULL";
    database.sql().execute(none, &[]).unwrap();
    all_end(&database);
    node.stop();
    assert_eq!(gauge.most_commands("invoice"), 6);
}

#[test]
fn cancelled_and_failed_ones_free_their_slots_and_retried_ones_wait_in_line() {
    let database = TestDatabase::new("limits_ends");
    register(&database, "invoice", 2, 0);
    limit(&database, "invoice", &of_type(1));
    let gauge = Gauge::new(20);
    let ids = start(&database, "invoice", names(5));
    gauge.fails.lock().unwrap().insert((ids[0].clone(), 1), 1);
    // Before anything runs: one that is READY, and nobody claims it.
    let cancel = |id: &str| database.sql().execute("SELECT cancel_processes(ARRAY[$1])", &[&id]).unwrap();
    cancel(&ids[1]);
    let node = gauge.node(&database, 4);
    wait_until("the last ones are held", || {
        (database.count("scheduled_tasks WHERE state = 'HELD'") >= 1).then_some(())
    });
    cancel(&ids[4]);
    wait_until("the first has failed", || {
        (database.count("processes WHERE status = 'FAILED'") == 1).then_some(())
    });
    let retry = "SELECT retry_processes(ARRAY[$1])";
    database.sql().execute(retry, &[&ids[0]]).unwrap();
    all_end(&database);
    node.stop();
    assert_eq!(database.count("processes WHERE status = 'COMPLETED'"), 3);
    assert_eq!(database.count("processes WHERE status = 'CANCELLED'"), 2);
    assert_eq!(gauge.most_processes("invoice"), 1);
}

#[test]
fn a_running_one_that_is_cancelled_frees_its_slot_for_the_next() {
    let database = TestDatabase::new("limits_cancel");
    let command = crate::common::one_task("sleep 600");
    database.register(&command);
    limit(&database, "one-task", &json!([{"name": "gpu", "max": 1, "holds": "task"}]));
    let ids = database.start_many("one-task", 2);
    let node = database.node();
    for id in &ids {
        let running = format!("scheduled_tasks WHERE picked AND task_instance = '{id}'");
        wait_until("it runs", || (database.count(&running) == 1).then_some(()));
        database.sql().execute("SELECT cancel_processes(ARRAY[$1])", &[id]).unwrap();
    }
    all_end(&database);
    node.stop();
}

#[test]
fn a_paused_limit_stops_what_runs_before_its_next_task_and_nothing_of_it_begins() {
    let database = TestDatabase::new("limits_paused");
    register(&database, "invoice", 40, 0);
    limit(&database, "invoice", &json!([{"name": "batch:b", "max": null, "holds": "process"}]));
    let gauge = Gauge::new(20);
    let node = gauge.node(&database, 2);
    start(&database, "invoice", names(3));
    wait_until("two run", || (gauge.running("invoice") == 2).then_some(()));
    let mut client = database.sql();
    client
        .batch_execute(
            "UPDATE limits SET is_paused = true; SELECT pg_notify(current_schema(), E'\\ncontrol')",
        )
        .unwrap();
    wait_until("all are held", || {
        (database.count("scheduled_tasks WHERE held_by = 'limit:batch:b'") == 3).then_some(())
    });
    assert_eq!(database.count("limit_slots"), 2, "what has begun keeps its slots");
    assert!(gauge.begun().len() < 60, "it stopped before the end");
    client
        .batch_execute(
            "UPDATE limits SET is_paused = false; SELECT pg_notify(current_schema(), E'\\ncontrol')",
        )
        .unwrap();
    all_end(&database);
    node.stop();
    assert_eq!(database.count("processes WHERE status = 'COMPLETED'"), 3);
}

#[test]
fn what_waits_of_a_paused_type_is_nobodys_hurdle_in_the_line() {
    let database = TestDatabase::new("limits_paused_line");
    for kind in ["invoice", "report"] {
        register(&database, kind, 1, 0);
        limit(&database, kind, &json!([{"name": "gpu", "max": 1, "holds": "process"}]));
    }
    start(&database, "invoice", names(700));
    start(&database, "report", names(1));
    set_max(&database, "gpu", Some(0));
    let mut sql = database.sql();
    sql.execute("SELECT hold_blocked(1000)", &[]).unwrap();
    assert_eq!(database.count("scheduled_tasks WHERE held_by = 'limit:gpu'"), 701);
    sql.execute("UPDATE process_types SET paused = true WHERE name = 'invoice'", &[]).unwrap();
    set_max(&database, "gpu", Some(1));
    assert_eq!(database.count("scheduled_tasks WHERE state = 'READY' AND task_name = 'report'"), 1);
    assert_eq!(database.count("scheduled_tasks WHERE held_by = 'pause:invoice'"), 700);
}

/// Nodes that only a test claims for.
fn nodes(database: &TestDatabase, names: &[&str]) {
    let insert = "INSERT INTO nodes (node_id, name, host, pid, version, executors, lease_seconds) \
                  SELECT n, n, 'elsewhere', 1, '0', 1, 300 FROM unnest($1::text[]) AS n";
    database.sql().execute(insert, &[&names]).unwrap();
}

#[test]
fn one_that_is_kept_for_a_node_has_its_turn_in_the_line_and_is_nobody_elses() {
    let database = TestDatabase::new("limits_reserved");
    register(&database, "invoice", 1, 0);
    limit(&database, "invoice", &of_type(1));
    nodes(&database, &["mine", "other"]);
    let mut store = database.store();
    let first = start(&database, "invoice", names(1));
    let claim_of_other = || database.store().claim_due("other", &ClaimRequest::of(5)).unwrap().claimed.len();
    assert_eq!(claim_of_other(), 1);
    let (kept, _) = store.start_reserved("invoice", &StartRequest::default(), "mine").unwrap();
    start(&database, "invoice", names(1));
    assert_eq!(claim_of_other(), 0);
    assert!(store.claim_one("mine", &kept).unwrap().is_none(), "there is no room");
    let in_line = "scheduled_tasks WHERE held_by = 'limit:type:invoice'";
    assert_eq!(database.count(in_line), 2);
    database.sql().execute("DELETE FROM scheduled_tasks WHERE task_instance = $1", &[&first[0]]).unwrap();
    assert_eq!(
        database.count("scheduled_tasks WHERE held_by = 'node:mine' AND state = 'HELD'"),
        1,
        "its turn"
    );
    assert_eq!(claim_of_other(), 0);
    assert!(store.claim_one("mine", &kept).unwrap().is_some());
    assert_eq!(database.count(in_line), 1);
}

#[test]
fn a_slot_is_held_as_the_type_says_now() {
    let database = TestDatabase::new("limits_levels");
    register(&database, "invoice", 2, 1);
    let holds =
        |holds: &str| limit(&database, "invoice", &json!([{"name": "gpu", "max": 1, "holds": holds}]));
    holds("task");
    nodes(&database, &["mine"]);
    start(&database, "invoice", names(1));
    assert_eq!(database.store().claim_due("mine", &ClaimRequest::of(5)).unwrap().claimed.len(), 1);
    let (of_task, of_process) = ("limit_slots WHERE of_task", "limit_slots WHERE NOT of_task");
    assert_eq!(database.count(of_task), 1);
    holds("process");
    assert_eq!((database.count(of_task), database.count(of_process)), (0, 1));
    let give_back =
        "UPDATE scheduled_tasks SET state = 'READY', picked = false, picked_by = NULL, version = version + 1";
    database.sql().execute(give_back, &[]).unwrap();
    assert_eq!(database.count(of_process), 1, "it waits for its retry");
    holds("task");
    assert_eq!(database.count("limit_slots"), 0, "no command runs");
}
