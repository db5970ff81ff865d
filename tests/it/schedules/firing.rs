//! What fires, once, and what becomes of the rest.

use process_orchestrator::{CatchUp, Overlap, Schedule, Timing};

use super::Stage;

#[test]
fn a_time_starts_one_process_and_the_schedule_moves_on() {
    let mut stage = Stage::new("sched_fire");
    stage.hourly("s", |_| {});
    assert_eq!(stage.started("s"), [0; 0], "nothing is due before its time");
    stage.hours_ago("s", 0);
    stage.settle();
    assert_eq!(stage.started("s"), [0]);
    let state = "(next_at - date_trunc('hour', now())) || ' ' || (last_at = date_trunc('hour', now())) || ' ' || fired";
    assert_eq!(stage.column("s", state).as_deref(), Some("01:00:00 true 1"));
    assert_eq!(
        stage.column("s", "last_process_id = name || '@' || schedule_time(last_at)").as_deref(),
        Some("true")
    );
    let id = stage.column("s", "last_process_id").unwrap();
    let input = stage.store.process(&id).unwrap().unwrap().input_data;
    assert_eq!(
        (input["config"]["n"].as_str(), input.get("previous_scheduled_at").is_some()),
        (Some("1"), true)
    );
    // The same time again, by whatever mistake: the id is taken, nothing is started.
    stage.hours_ago("s", 0);
    stage.settle();
    assert_eq!(stage.started("s"), [0]);
}

#[test]
fn catch_up_decides_on_times_that_were_missed() {
    for (catch_up, most, expected, missed) in [
        (CatchUp::Last, 9, vec![0], "3"),
        (CatchUp::All, 9, vec![3, 2, 1, 0], "0"),
        (CatchUp::All, 2, vec![1, 0], "2"),
        (CatchUp::None, 9, vec![], "4"),
    ] {
        let mut stage = Stage::new("sched_catch_up");
        stage.hourly("s", |it| (it.catch_up, it.catch_up_max) = (catch_up, most));
        stage.database.sql().execute("UPDATE schedules SET every = '3600s', starts_from = date_trunc('hour', now()) - interval '10 h 2 min'", &[]).unwrap();
        stage.settle();
        stage
            .database
            .sql()
            .execute("UPDATE schedules SET next_at = date_trunc('hour', now()) - interval '3 h 2 min'", &[])
            .unwrap();
        stage.settle();
        // The hour's own time may be yet to come.
        let started = stage.started("s");
        assert_eq!(started.len(), expected.len(), "{catch_up:?} {started:?}");
        assert_eq!(stage.column("s", "skipped_missed").as_deref(), Some(missed), "{catch_up:?}");
    }
}

#[test]
fn overlap_decides_while_a_process_is_unfinished() {
    for (overlap, first, second, skipped) in [
        (Overlap::Skip, vec![2], vec![2], "2"),
        (Overlap::Queue, vec![2, 1], vec![2, 1], "1"),
        (Overlap::Allow, vec![2, 1], vec![2, 1, 0], "0"),
        (Overlap::Replace, vec![2, 1], vec![2, 1, 0], "0"),
    ] {
        let mut stage = Stage::new("sched_overlap");
        stage.hourly("s", |it| it.overlap = overlap);
        for hours in [2, 1, 0] {
            stage.hours_ago("s", hours);
            let sql = "UPDATE schedules SET catch_up = 'last', starts_until = next_at";
            stage.database.sql().execute(sql, &[]).unwrap();
            stage.hours_ago("s", hours);
            stage.settle();
            if hours == 1 {
                assert_eq!(stage.started("s"), first, "{overlap:?}");
            }
        }
        assert_eq!(stage.started("s"), second, "{overlap:?}");
        assert_eq!(stage.column("s", "skipped_overlap").as_deref(), Some(skipped), "{overlap:?}");
        if overlap == Overlap::Replace {
            assert_eq!(stage.database.count("processes WHERE status = 'CANCELLED'"), 2);
        }
    }
}

#[test]
fn one_that_cannot_start_keeps_its_time_and_stops_no_other() {
    let mut stage = Stage::new("sched_problem");
    for name in ["a", "b", "c"] {
        stage.hourly(name, |_| {});
    }
    ["a", "b", "c"].iter().for_each(|name| stage.hours_ago(name, 0));
    stage.database.sql().execute("UPDATE schedules SET process_type = 'gone' WHERE name = 'b'", &[]).unwrap();
    stage.settle();
    assert_eq!((stage.started("a"), stage.started("b"), stage.started("c")), (vec![0], vec![], vec![0]));
    let problem = stage.column("b", "problem").unwrap();
    assert!(problem.starts_with("unknown process type \"gone\"; register it first"), "{problem}");
    assert_eq!(stage.column("b", "next_at = date_trunc('hour', now())").as_deref(), Some("true"));
    // It is tried again, and the problem goes with its cause.
    stage
        .database
        .sql()
        .execute("UPDATE schedules SET process_type = 'one-task', due_at = now()", &[])
        .unwrap();
    stage.settle();
    assert_eq!((stage.started("b"), stage.column("b", "problem")), (vec![0], None));
}

#[test]
fn each_of_many_runs_by_hand_in_one_transaction_has_an_id_of_its_own() {
    let mut stage = Stage::new("sched_run_now");
    stage.hourly("s", |_| {});
    let sql = "SELECT count(DISTINCT id) FROM (SELECT run_schedule_now('s') AS id FROM generate_series(1, 160)) AS started";
    let ids: i64 = stage.database.sql().query_one(sql, &[]).unwrap().get(0);
    assert_eq!((ids, stage.database.count("processes")), (160, 160));
    // What is remembered of them is bounded.
    assert!(stage.database.count("schedule_firings") < 160);
}

#[test]
fn a_long_outage_of_a_schedule_of_each_second_ends_in_one_round() {
    let mut stage = Stage::new("sched_seconds");
    let schedule = Schedule::new("s", "one-task", Timing::Cron("* * * * * *".to_owned()));
    stage.store.add_schedule(&schedule, None).unwrap();
    stage.store.fire_due_schedules(1).unwrap();
    let sql = "UPDATE schedules SET next_at = date_trunc('second', now()) - interval '40 days'";
    stage.database.sql().execute(sql, &[]).unwrap();
    assert_eq!(
        stage.store.fire_due_schedules(1).unwrap().len(),
        1,
        "the server has not ended the transaction"
    );
    assert_eq!(stage.column("s", "now() - last_at < interval '1 minute'").as_deref(), Some("true"));
}

#[test]
fn sql_refuses_what_no_node_could_read() {
    let stage = Stage::new("sched_sql");
    for (part, expected) in [
        (r#""every": 5"#, "invalid schedule: \"every\" is 5, not a text"),
        (r#""every": "1h", "from": "infinity""#, "invalid schedule: \"from\" and \"until\" have to be times"),
        (r#""every": "1h", "name": {}"#, "invalid schedule: \"name\" is {}, not a text"),
    ] {
        let document = format!(r#"{{"name": "s", "process_type": "one-task", {part}}}"#);
        let sql = "SELECT add_schedule($1::text::jsonb)";
        let error = stage.database.sql().execute(sql, &[&document]).unwrap_err();
        let message = error.as_db_error().unwrap().message().to_owned();
        assert!(message.starts_with(expected), "{message}");
    }
}
