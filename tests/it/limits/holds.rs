//! What a limit counts: processes or commands, of a type, a key, a group, a task.

use process_orchestrator::ProcessStatus;
use serde_json::json;

use super::{Gauge, all_end, limit, register, start};
use crate::common::{TestDatabase, wait_until};

fn keys(how_many: usize, of: usize) -> impl Iterator<Item = String> {
    (0..how_many).map(move |n| format!("k{}", n % of))
}

fn by_customer(max: u32) -> serde_json::Value {
    json!({"name": "type:invoice:config.customer", "max": max, "holds": "process",
        "key": [{"variable": "config.customer"}]})
}

#[test]
fn never_more_than_max_at_once_on_three_nodes_and_as_many_as_there_may_be() {
    let database = TestDatabase::new("limits_nodes");
    register(&database, "invoice", 2, 0);
    register(&database, "report", 3, 0);
    let group = |holds: &str| json!({"name": "gpu", "max": 3, "holds": holds});
    limit(&database, "invoice", &json!([by_customer(1), group("task")]));
    limit(
        &database,
        "report",
        &json!([{"name": "type:report", "max": 2, "holds": "process"}, group("task")]),
    );
    let gauge = Gauge::new(4);
    let nodes: Vec<_> = (0..3).map(|_| gauge.node(&database, 4)).collect();
    start(&database, "invoice", keys(60, 12));
    start(&database, "report", keys(20, 20));
    all_end(&database);
    for node in nodes {
        node.stop();
    }
    for n in 0..12 {
        assert_eq!(gauge.most_processes(&format!("invoice=k{n}")), 1, "customer k{n}");
    }
    assert_eq!(gauge.most_processes("report"), 2);
    assert_eq!(gauge.most_commands("all"), 3, "the group, over types and nodes");
    assert_eq!(database.count("processes WHERE status = 'COMPLETED'"), 80);
}

#[test]
fn a_limit_of_processes_is_held_through_waits_for_retries_and_one_of_commands_is_not() {
    for (holds, is_kept) in [("process", true), ("task", false)] {
        let database = TestDatabase::new("limits_retries");
        register(&database, "invoice", 2, 3);
        limit(&database, "invoice", &json!([{"name": "type:invoice", "max": 1, "holds": holds}]));
        let gauge = Gauge::new(1);
        let ids = start(&database, "invoice", keys(2, 2));
        gauge.fails.lock().unwrap().insert((ids[0].clone(), 1), 1);
        let node = gauge.node(&database, 4);
        all_end(&database);
        node.stop();
        let begun = gauge.begun();
        let first_of_other = begun.iter().position(|it| it.0 == ids[1]).unwrap();
        let last_of_first = begun.iter().rposition(|it| it.0 == ids[0]).unwrap();
        assert_eq!(first_of_other > last_of_first, is_kept, "{holds}: {begun:?}");
        assert_eq!(gauge.most_commands("invoice"), 1);
    }
}

#[test]
fn a_task_of_its_own_takes_a_group_while_it_runs_alone() {
    let database = TestDatabase::new("limits_own");
    register(&database, "train", 3, 0);
    let own = "UPDATE process_types SET concurrency = '[]', tasks = jsonb_set(tasks, '{1,limits}', '[{\"name\": \"gpu\", \"max\": 1}]')";
    database.sql().execute(own, &[]).unwrap();
    assert_eq!(database.count("limits WHERE name = 'gpu' AND max = 1"), 1);
    let ids = start(&database, "train", keys(3, 3));
    let gauge = Gauge::new(60);
    let node = gauge.node(&database, 8);
    wait_until("one is at the group's task, and others at theirs", || {
        let slots = database.count("limit_slots WHERE limit_name = 'gpu' AND of_task");
        assert!(slots <= 1);
        (slots == 1 && gauge.begun().len() >= 4).then_some(())
    });
    all_end(&database);
    node.stop();
    assert_eq!(gauge.most_commands("train"), 3, "the other tasks run side by side");
    let begun = gauge.begun();
    assert_eq!(begun.len(), 9);
    for id in &ids {
        let tasks: Vec<u32> = begun.iter().filter(|it| it.0 == *id).map(|it| it.1).collect();
        assert_eq!(tasks, [0, 1, 2]);
    }
    let overlaps = "task_executions a JOIN task_executions b ON a.process_id < b.process_id AND a.task_index = 1 \
        AND b.task_index = 1 AND (a.started_at, a.completed_at) OVERLAPS (b.started_at, b.completed_at)";
    assert_eq!(database.count(overlaps), 0);
}

#[test]
fn two_groups_that_two_types_name_in_opposite_order_stop_nobody() {
    let database = TestDatabase::new("limits_order");
    let groups = |names: [&str; 2]| json!(names.map(|it| json!({"name": it, "max": 2, "holds": "process"})));
    for (name, order) in [("one", ["a", "b"]), ("other", ["b", "a"])] {
        register(&database, name, 2, 0);
        limit(&database, name, &groups(order));
    }
    let gauge = Gauge::new(1);
    let nodes: Vec<_> = (0..3).map(|_| gauge.node(&database, 4)).collect();
    for _ in 0..5 {
        start(&database, "one", keys(10, 10));
        start(&database, "other", keys(10, 10));
    }
    all_end(&database);
    for node in nodes {
        let health = node.health();
        assert_eq!(health.database_errors(), 0, "no deadlock");
        node.stop();
    }
    assert_eq!(gauge.most_processes("all"), 2);
}

#[test]
fn without_a_value_for_its_key_a_process_has_no_such_limit() {
    let database = TestDatabase::new("limits_key");
    register(&database, "invoice", 1, 0);
    limit(&database, "invoice", &json!([by_customer(1)]));
    let gauge = Gauge::new(150);
    start(&database, "invoice", vec![String::new(); 3]);
    database.start_many("invoice", 3);
    start(&database, "invoice", keys(3, 1));
    let node = gauge.node(&database, 9);
    all_end(&database);
    node.stop();
    assert_eq!(gauge.most_commands("invoice"), 7, "six without a key and one with it");
    assert_eq!(gauge.most_commands("invoice=k0"), 1);
}

#[test]
fn within_a_limit_priority_goes_first_and_then_time() {
    let database = TestDatabase::new("limits_line");
    register(&database, "invoice", 1, 0);
    limit(&database, "invoice", &json!([{"name": "type:invoice", "max": 1, "holds": "process"}]));
    let gauge = Gauge::new(15);
    let mut ids = start(&database, "invoice", keys(4, 4));
    let node = gauge.node(&database, 4);
    wait_until("all others are held", || {
        (database.count("scheduled_tasks WHERE state = 'HELD'") >= 2).then_some(())
    });
    let urgent = "SELECT start_process('invoice', '{}', 'urgent', NULL, 9)";
    database.sql().execute(urgent, &[]).unwrap();
    all_end(&database);
    node.stop();
    let begun: Vec<String> = gauge.begun().into_iter().map(|it| it.0).collect();
    let place = begun.iter().position(|it| it == "urgent").unwrap();
    assert!((1..=3).contains(&place), "{begun:?}");
    ids.insert(place, "urgent".to_owned());
    assert_eq!(begun, ids);
    let status = database.store().process("urgent").unwrap().unwrap().status;
    assert_eq!(status, ProcessStatus::Completed);
}

#[test]
fn one_that_needs_two_groups_comes_at_last_though_others_saturate_each() {
    let database = TestDatabase::new("limits_starve");
    for (name, groups) in [("a", &["a"][..]), ("b", &["b"]), ("both", &["a", "b"])] {
        register(&database, name, 1, 0);
        let entries: Vec<_> =
            groups.iter().map(|it| json!({"name": it, "max": 1, "holds": "process"})).collect();
        limit(&database, name, &json!(entries));
    }
    let gauge = Gauge::new(30);
    for name in ["a", "b"] {
        start(&database, name, keys(400, 400));
    }
    let node = gauge.node(&database, 6);
    wait_until("both are taken", || (database.count("limit_slots") == 2).then_some(()));
    // It has been due for an hour, and would be passed over until the others are through.
    let long = "SELECT start_process('both', '{}', 'patient', now() - interval '1 hour', 0)";
    database.sql().execute(long, &[]).unwrap();
    database.wait_for("patient");
    let left = database.count("scheduled_tasks");
    assert!(left > 300, "it came after nearly all others: {left} are left");
    node.stop();
    assert_eq!(database.count("limit_slots WHERE reserved_until IS NOT NULL"), 0);
}

#[test]
fn what_is_kept_for_one_that_waits_is_let_go_in_time() {
    let database = TestDatabase::new("limits_kept");
    for (name, groups) in [("a", &["a"][..]), ("both", &["a", "b"])] {
        register(&database, name, 1, 0);
        let entries: Vec<_> =
            groups.iter().map(|it| json!({"name": it, "max": 1, "holds": "process"})).collect();
        limit(&database, name, &json!(entries));
    }
    let mut sql = database.sql();
    // Somebody has b, for long.
    sql.execute("INSERT INTO limit_slots VALUES ('b', '', 'somebody', false)", &[]).unwrap();
    sql.execute("SELECT start_process('both', '{}', 'patient', now() - interval '15 seconds', 0)", &[])
        .unwrap();
    let gauge = Gauge::new(1);
    let node = gauge.node(&database, 4);
    let kept = "limits WHERE name = 'a' AND kept_at IS NOT NULL";
    wait_until("it keeps one of a", || (database.count(kept) == 1).then_some(()));
    let ids = start(&database, "a", keys(1, 1));
    database.wait_for(&ids[0]);
    sql.execute("DELETE FROM limit_slots WHERE process_id = 'somebody'", &[]).unwrap();
    database.wait_for("patient");
    node.stop();
    assert_eq!(database.count("limit_slots"), 0);
}
