//! Nodes fire: together each time once, and none is lost when one dies at it.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use process_orchestrator::{CatchUp, Overlap, ProcessInputData, ProcessType, Schedule, Timing};

use crate::common::{one_task, wait_until};
use crate::liveness::Served;
use crate::program::Bench;

const FAILPOINTS: &str = "PROCESS_ORCHESTRATOR_FAILPOINTS";

/// Schedules whose last `hours` times were missed by exactly that.
fn missed(bench: &Bench, schedules: usize, hours: i32, catch_up: CatchUp, overlap: Overlap) {
    bench.database.register(&one_task("true"));
    let mut store = bench.database.store();
    for n in 0..schedules {
        let timing = Timing::Every(Duration::from_secs(3_600));
        let mut schedule = Schedule::new(format!("s{n}"), "one-task", timing);
        schedule.input = ProcessInputData::new();
        (schedule.catch_up, schedule.overlap) = (catch_up, overlap);
        store.add_schedule(&schedule, None).unwrap();
    }
    let sql = "UPDATE schedules SET counts_from = date_trunc('hour', now()) - make_interval(hours => $1, mins => 1)";
    bench.database.sql().execute(sql, &[&(hours - 1)]).unwrap();
}

fn completed(bench: &Bench, count: i64) {
    wait_until(&format!("{count} have completed"), || {
        (bench.database.count("processes WHERE status = 'COMPLETED'") == count).then_some(())
    });
}

#[test]
fn two_nodes_fire_each_time_once_and_a_wrong_clock_changes_nothing() {
    let bench = Bench::with_tables("sched_nodes");
    missed(&bench, 30, 4, CatchUp::All, Overlap::Allow);
    // What a node takes for the time is of no account: the zone of its clock here, an hour of it in tests/it/machine.
    let mut nodes = ["a", "b"]
        .map(|name| Served::start(&bench, name, &["--executors", "8"], &[("TZ", "Asia/Kathmandu")]));
    completed(&bench, 120);
    wait_until("each has moved on", || {
        let left = "schedules WHERE next_at IS NULL OR next_at <= now()";
        (bench.database.count(left) == 0).then_some(())
    });
    nodes.iter_mut().for_each(Served::stop);
    assert_eq!(bench.database.count("processes"), 120);
    assert_eq!(
        bench.database.count("schedules WHERE fired = 4 AND skipped_missed + skipped_overlap = 0"),
        30
    );
}

#[test]
fn made_up_times_of_a_schedule_that_skips_run_one_after_the_other() {
    let bench = Bench::with_tables("sched_order");
    missed(&bench, 5, 4, CatchUp::All, Overlap::Skip);
    let mut node = Served::start(&bench, "a", &["--executors", "8"], &[]);
    completed(&bench, 20);
    node.stop();
    let disorder = "(SELECT lag(p.completed_at) OVER w > p.started_at AS is_wrong FROM processes p \
                    WINDOW w AS (PARTITION BY split_part(p.process_id, '@', 1) ORDER BY p.process_id COLLATE \"C\")) AS o WHERE is_wrong";
    assert_eq!(bench.database.count(disorder), 0);
    assert_eq!(bench.database.count("limit_slots"), 0);
}

/// The files that commands of processes wait for are named by their times.
fn gated(test: &str, overlap: Overlap) -> (Bench, Served) {
    let bench = Bench::with_tables(test);
    let folder = bench.folder.display().to_string();
    let script = format!("while [ ! -e '{folder}/go' ]; do sleep 0.01; done");
    bench.database.register(&ProcessType::new("one-task", "").add(crate::common::script("only", &script)));
    let mut schedule = Schedule::new("s", "one-task", Timing::Every(Duration::from_secs(3_600)));
    (schedule.overlap, schedule.catch_up) = (overlap, CatchUp::Last);
    bench.database.store().add_schedule(&schedule, None).unwrap();
    let node = Served::start(&bench, "a", &["--executors", "4"], &[]);
    (bench, node)
}

/// The schedule is due for one more of its times, `hours` ago, and is seen to.
fn one_more(bench: &Bench, hours: i32) {
    let sql = "UPDATE schedules SET next_at = date_trunc('hour', now()) - make_interval(hours => $1), \
               starts_until = date_trunc('hour', now()) - make_interval(hours => $1)";
    bench.database.sql().execute(sql, &[&hours]).unwrap();
    let sql = "UPDATE schedules SET next_at = starts_until";
    bench.database.sql().execute(sql, &[]).unwrap();
    wait_until("the schedule has moved on", || {
        (bench.database.count("schedules WHERE next_at = 'infinity'") == 1).then_some(())
    });
}

fn running(bench: &Bench) -> i64 {
    bench.database.count("processes WHERE status = 'IN_PROGRESS'")
}

#[test]
fn one_waits_behind_another_where_they_queue() {
    let (bench, mut node) = gated("sched_queue", Overlap::Queue);
    one_more(&bench, 3);
    wait_until("the first runs", || (running(&bench) == 1).then_some(()));
    one_more(&bench, 2);
    wait_until("the second is held", || {
        (bench.database.count("scheduled_tasks WHERE held_by = 'limit:schedule:s'") == 1).then_some(())
    });
    one_more(&bench, 1);
    assert_eq!((running(&bench), bench.database.count("processes")), (1, 2));
    assert_eq!(bench.database.count("schedules WHERE skipped_overlap = 1 AND fired = 2"), 1);
    let explained = bench.run(&["explain", "s"]).expect(0).out;
    assert!(explained.contains("has no more times") && explained.contains("1 overlapped"), "{explained}");
    std::fs::write(bench.folder.join("go"), "").unwrap();
    completed(&bench, 2);
    node.stop();
    let ids = "SELECT process_id FROM processes ORDER BY 1 LIMIT 1";
    let id: String = bench.database.sql().query_one(ids, &[]).unwrap().get(0);
    let explained = bench.run(&["explain", &id]).expect(0).out;
    assert!(
        explained.contains("schedule \"s\" has started it for ") && explained.contains("was missed"),
        "{explained}"
    );
}

#[test]
fn one_that_is_replaced_ends_before_the_next_begins() {
    let (bench, mut node) = gated("sched_replace", Overlap::Replace);
    one_more(&bench, 2);
    wait_until("the first runs", || (running(&bench) == 1).then_some(()));
    one_more(&bench, 1);
    std::fs::write(bench.folder.join("go"), "").unwrap();
    wait_until("both have ended", || (bench.database.count("scheduled_tasks") == 0).then_some(()));
    node.stop();
    // The first may have seen its file before the cancellation reached it.
    let first = "SELECT error_message FROM processes WHERE status = 'CANCELLED'";
    for row in bench.database.sql().query(first, &[]).unwrap() {
        let told: String = row.get(0);
        assert!(told.contains("schedule \"s\" has started the next one"), "{told}");
    }
    let order = "(SELECT lag(completed_at) OVER (ORDER BY process_id) > started_at AS is_wrong FROM processes) AS o WHERE is_wrong";
    assert_eq!((bench.database.count("processes"), bench.database.count(order)), (2, 0));
}

/// A node dies at the place; the next one goes on.
fn killed_at(point: &str, started: i64) {
    let bench = Bench::with_tables(&format!("sched_{point}"));
    missed(&bench, 3, 1, CatchUp::Last, Overlap::Skip);
    let rule = format!("{point}=kill");
    let mut first = Served::spawn(&bench, "first", &[], &[(FAILPOINTS, &rule)]);
    assert_eq!(first.ended().signal(), Some(9), "{}", first.log());
    assert_eq!(bench.database.count("processes"), started);
    assert_eq!(bench.database.count("schedules WHERE fired = 1"), started);
    let mut second = Served::start(&bench, "second", &[], &[]);
    completed(&bench, 3);
    second.stop();
    assert_eq!(bench.database.count("processes"), 3);
    assert_eq!(bench.database.count("schedules WHERE fired = 1 AND next_at > now()"), 3);
}

#[test]
fn a_node_killed_between_firing_and_commit_has_not_fired() {
    killed_at("firing", 0);
}

#[test]
fn what_a_node_has_fired_before_it_was_killed_is_not_fired_again() {
    killed_at("fired", 3);
}

#[test]
fn what_a_node_was_firing_when_it_froze_others_fire() {
    let bench = Bench::with_tables("sched_frozen");
    missed(&bench, 3, 1, CatchUp::Last, Overlap::Skip);
    // It stands still with its transaction open.
    let hold = format!("firing@1=hold:{}", bench.folder.display());
    let mut first = Served::start(&bench, "first", &[], &[(FAILPOINTS, &hold)]);
    wait_until("it fires", || bench.folder.join("firing.reached").exists().then_some(()));
    let mut second = Served::start(&bench, "second", &[], &[]);
    completed(&bench, 3);
    // What it has is gone, and it starts anew.
    std::fs::write(bench.folder.join("firing.go"), "").unwrap();
    wait_until("it has noticed", || first.log().contains("schedules do not fire for now").then_some(()));
    wait_until("it fires again", || first.log().contains("schedules fire again").then_some(()));
    first.stop();
    second.stop();
    assert_eq!(bench.database.count("processes"), 3);
    assert_eq!(bench.database.count("schedules WHERE fired = 1"), 3);
}

#[test]
fn many_that_are_due_at_once_start_soon_and_their_lateness_is_kept() {
    let bench = Bench::with_tables("sched_many");
    bench.database.register(&one_task("true"));
    // PO_SCHEDULES=5000 measures lateness at that size, in a release build.
    let many: i64 = std::env::var("PO_SCHEDULES").map_or(300, |it| it.parse().unwrap());
    let sql = "SELECT add_schedule(jsonb_build_object('name', 'm' || n, 'process_type', 'one-task', 'every', '1h')) \
               FROM generate_series(1, $1::bigint) AS n";
    bench.database.sql().execute(sql, &[&many]).unwrap();
    let mut node = Served::start(&bench, "a", &["--executors", "1"], &[]);
    wait_until("nodes have computed the times", || {
        (bench.database.count("schedules WHERE next_at IS NULL") == 0).then_some(())
    });
    let sql = "UPDATE schedules SET next_at = date_trunc('second', clock_timestamp()) + interval '1 second'";
    bench.database.sql().execute(sql, &[]).unwrap();
    wait_until("all have fired", || {
        (bench.database.count("schedules WHERE fired = 1") == many).then_some(())
    });
    let sql =
        "SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY last_lateness_ms) FROM schedules";
    let lateness: Vec<f64> = bench.database.sql().query_one(sql, &[]).unwrap().get(0);
    println!("{many} schedules: p50 {} ms, p99 {} ms, most {} ms", lateness[0], lateness[1], lateness[2]);
    let before_their_time = "processes WHERE created_at < (input_data ->> 'scheduled_at')::timestamptz";
    assert_eq!(bench.database.count(before_their_time), 0);
    assert!(lateness[2] < 20_000.0, "{lateness:?}");
    node.kill();
}
