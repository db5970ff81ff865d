//! Clocks that are an hour wrong, and zones whose clocks are put back.

use std::path::{Path, PathBuf};
use std::process::Command;

use process_orchestrator::model::retry::RetryPolicy;
use process_orchestrator::{Outcome, ProcessType, TaskDefinition};

use super::{Served, outcomes};
use crate::common::script;
use crate::program::{Bench, ended};

/// Central Europe's rules, for machines without a table of zones.
const CENTRAL_EUROPE: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

/// The library that shows a program another time of day.
fn faketime() -> Option<PathBuf> {
    let mut folders = vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/lib64")];
    folders
        .extend(std::fs::read_dir("/usr/lib").unwrap().map(|it| it.unwrap().path()).filter(|it| it.is_dir()));
    let found = folders.iter().map(|it| it.join("faketime/libfaketime.so.1")).find(|it| it.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "libfaketime is not installed: scripts/test installs it in CI"
        );
        crate::common::leave_out("libfaketime is not installed");
    }
    found
}

/// A wrong time of day; clocks that only count run on, as on a machine that was set wrong.
fn at_time<'a>(command: &'a mut Command, library: &Path, time: &str) -> &'a mut Command {
    command.env("LD_PRELOAD", library).env("FAKETIME", time);
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1")
}

#[test]
fn a_node_whose_clock_is_an_hour_wrong_keeps_every_time_right() {
    let Some(library) = faketime() else { return };
    for offset in ["-1h", "+1h"] {
        let bench = Bench::with_tables("wrong_clock");
        let database = &bench.database;
        let retry =
            RetryPolicy { initial_delay: std::time::Duration::from_millis(50), ..RetryPolicy::default() };
        let flaky =
            TaskDefinition { max_retries: 1, retry, ..script("flaky", "sleep 0.2; [ $TASK_ATTEMPT = 2 ]") };
        let endless = TaskDefinition { timeout_minutes: 0.005, ..script("endless", "exec sleep 600") };
        database.register(&ProcessType::new("timed", "").add(flaky).add(endless));
        let node = Served::ready(at_time(&mut bench.command(&["serve", "--no-http"]), &library, offset));
        let mut start = bench.command(&["start", "timed", "--at", "+2s"]);
        ended(at_time(&mut start, &library, offset)).expect(0);
        let id = "timed-1";
        database.wait_for(id);
        assert_eq!(
            outcomes(database, id),
            [Outcome::Failed, Outcome::Succeeded, Outcome::TimedOut],
            "{offset}"
        );
        // By the database's clock, which is right: due when it was to be, and everything within this minute.
        let right = "SELECT count(*) FILTER (WHERE e.started_at >= p.created_at + interval '1.9 s' \
                         AND e.completed_at <= now() AND e.completed_at >= e.started_at \
                         AND e.started_at > now() - interval '10 min'), \
                     count(*) FILTER (WHERE e.duration_ms BETWEEN 190 AND 60000) \
                     FROM task_executions e JOIN processes p USING (process_id)";
        let row = database.sql().query_one(right, &[]).unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (3, 3), "{offset}: times and durations");
        let nodes = ended(at_time(&mut bench.command(&["nodes"]), &library, offset)).expect(0);
        let line = nodes.out.lines().nth(1).unwrap().to_owned();
        assert!(line.contains(" s ago") || line.contains(" ms ago"), "{offset}: {nodes:#?}");
        node.stop();
    }
}

#[test]
fn clocks_that_are_put_back_an_hour_disturb_neither_node_nor_times() {
    let Some(library) = faketime() else { return };
    let bench = Bench::with_tables("summer_time");
    let retry =
        RetryPolicy { initial_delay: std::time::Duration::from_millis(300), ..RetryPolicy::default() };
    let flaky = TaskDefinition {
        max_retries: 2,
        retry,
        ..script("flaky", "date +%H; sleep 0.3; [ $TASK_ATTEMPT = 3 ]")
    };
    bench.database.register(&ProcessType::new("night", "").add(flaky));
    // A second later it is two o'clock again.
    let night = "@2026-10-25 02:59:59";
    let mut serve = bench.command(&["serve", "--no-http"]);
    let node = Served::ready(at_time(serve.env("TZ", CENTRAL_EUROPE), &library, night));
    let id = bench.database.start_many("night", 1).remove(0);
    bench.database.wait_for(&id);
    assert_eq!(outcomes(&bench.database, &id), [Outcome::Failed, Outcome::Failed, Outcome::Succeeded]);
    node.stop();

    // What people write in that zone, and read again.
    let on = |words: &[&str]| ended(bench.command(words).env("TZ", CENTRAL_EUROPE)).expect(0);
    for (process_id, at, utc) in [
        ("spring", "2027-03-28 02:30", "2027-03-28 01:30:00"),
        ("first", "2027-10-31 02:30", "2027-10-31 00:30:00"),
        ("second", "2027-10-31T02:30:00+01:00", "2027-10-31 01:30:00"),
    ] {
        on(&["start", "night", "--process-id", process_id, "--at", at]);
        let due =
            format!("scheduled_tasks WHERE task_instance = '{process_id}' AND execution_time = '{utc}Z'");
        assert_eq!(bench.database.count(&due), 1, "{process_id}");
    }
    for (process_id, shown) in
        [("spring", "03-28 03:30"), ("first", "10-31 02:30"), ("second", "10-31 02:30")]
    {
        let out = on(&["show", process_id]).out;
        assert!(out.contains(shown), "{process_id}: {out}");
    }
}
