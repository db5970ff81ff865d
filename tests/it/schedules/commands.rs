//! The command line's verbs.

use serde_json::json;

use crate::common::{TestDatabase, one_task};
use crate::program::Bench;

fn stage(test: &str) -> Bench {
    let bench = Bench::with_tables(test);
    bench.database.register(&one_task("echo ${scheduled_at} ${config.n:-1}"));
    bench
}

/// As a node would, so that it has its next time.
fn settle(database: &TestDatabase) {
    let mut store = database.store();
    while !store.fire_due_schedules(100).unwrap().is_empty() {}
}

#[test]
fn a_schedule_is_added_shown_held_and_removed() {
    let bench = stage("sched_cli");
    let words = ["schedule", "add", "--name", "nightly", "--type", "one-task", "--cron", "30 2 * * *"];
    let added =
        bench.run(&[&words[..], &["--time-zone", "Europe/Berlin", "--config", "n=2"]].concat()).expect(0);
    assert_eq!(added.out, "nightly added\n");
    settle(&bench.database);
    let listed = bench.run(&["schedule", "list", "--json"]).expect(0).json();
    assert_eq!(listed["schedules"][0]["definition"]["time_zone"], "Europe/Berlin");
    assert_eq!(listed["schedules"][0]["fired"], 0);
    assert!(bench.run(&["schedule", "list"]).expect(0).out.contains("30 2 * * *"));
    let shown = bench.run(&["schedule", "show", "nightly"]).expect(0).out;
    assert!(shown.contains("Times         30 2 * * * (Europe/Berlin)\n"), "{shown}");
    assert_eq!(
        bench.run(&["schedule", "pause", "nightly", "--reason", "down"]).expect(0).out,
        "nightly paused\n"
    );
    assert!(bench.run(&["schedule", "show", "nightly"]).expect(0).out.contains(": down\n"));
    assert_eq!(bench.run(&["schedule", "pause", "nightly"]).expect(0).out, "nightly was paused already\n");
    assert_eq!(bench.run(&["schedule", "resume", "nightly"]).expect(0).out, "nightly resumed\n");
    let id = bench.run(&["schedule", "run-now", "nightly"]).expect(0).out;
    let process = bench.database.store().process(id.trim()).unwrap().unwrap();
    assert_eq!((process.input_data["config"]["n"].as_str(), id.starts_with("nightly@")), (Some("2"), true));
    assert!(bench.run(&["schedule", "show", "nightly"]).expect(0).out.contains("FIRED (by hand)"));
    let unknown = bench.run(&["schedule", "show", "nigthly"]).expect(3).err;
    assert!(unknown.contains("there is no schedule \"nigthly\"; did you mean \"nightly\"?"), "{unknown}");
    assert_eq!(bench.run(&["schedule", "remove", "nightly"]).expect(0).out, "nightly removed\n");
    assert_eq!(bench.database.count("schedules"), 0);
}

#[test]
fn doctor_and_explain_name_a_schedule_that_does_not_fire() {
    let bench = stage("sched_doctor");
    let add = ["schedule", "add", "--type", "one-task", "--cron", "30 2 * * *", "--name"];
    bench.run(&[&add[..], &["s"]].concat()).expect(0);
    settle(&bench.database);
    let check = || {
        let document = bench.run(&["doctor", "--json"]).json();
        let checks = document["checks"].as_array().unwrap().clone();
        let found = checks.into_iter().find(|it| it["name"] == "schedules").unwrap();
        (found["verdict"].as_str().unwrap().to_owned(), found["found"].as_str().unwrap().to_owned())
    };
    let sql = |text: &str| bench.database.sql().execute(text, &[]).unwrap();
    let explained = || bench.run(&["explain", "s"]).expect(0).out;
    assert!(check().1.starts_with("1, the next at 20"), "{:?}", check());
    assert!(explained().starts_with("schedule \"s\" fires next at "), "{}", explained());
    sql("UPDATE schedules SET next_at = now() - interval '5 min'");
    assert!(check().1.contains("s are due for more than a minute"), "{:?}", check());
    assert!(explained().contains("no node has fired it"), "{}", explained());
    // As if the node's zones were others.
    sql("UPDATE schedules SET next_at = now() + interval '5 min'");
    assert!(check().1.contains("another next time than the nodes for s"), "{:?}", check());
    sql("UPDATE schedules SET time_zone = 'Mars/Olympus'");
    settle(&bench.database);
    assert!(check().1.contains("no time zone that this machine knows"), "{:?}", check());
    assert!(explained().contains("can't start its process since "), "{}", explained());
    sql("UPDATE schedules SET time_zone = 'UTC', paused_at = now() - interval '8 d', pause_reason = 'down'");
    assert_eq!(check().0, "warn");
    assert!(check().1.contains("s have been paused for more than a week"), "{:?}", check());
    assert!(
        explained().contains("is paused since ") && explained().contains(": down; go on with"),
        "{}",
        explained()
    );
}

#[test]
fn files_are_read_with_all_their_faults() {
    let bench = stage("sched_files");
    let write = |name: &str, document: serde_json::Value| {
        std::fs::write(bench.folder.join(name), document.to_string()).unwrap();
    };
    write("one.json", json!({"name": "one", "process_type": "one-task", "every": "15m"}));
    write(
        "two.json",
        json!([{"name": "two", "process_type": "one-task", "cron": "@daily"},
        {"name": "three", "process_type": "one-task", "cron": "@hourly", "overlap": "queue"}]),
    );
    let added = bench.run(&["schedule", "add", "one.json", "two.json", "--json"]).expect(0).json();
    assert_eq!(added["schedules"][2], json!({"name": "three", "change": "added"}));
    write("one.json", json!({"name": "one", "process_type": "one-task", "every": "20m"}));
    assert_eq!(
        bench.run(&["schedule", "add", "one.json", "two.json"]).expect(0).out,
        "one changed\ntwo unchanged\nthree unchanged\n"
    );
    write(
        "bad.json",
        json!([{"name": "x", "process_type": "one-task", "cron": "0 0 31 2 *"}, {"name": "y", "every": "1x"}]),
    );
    let told = bench.run(&["schedule", "add", "bad.json"]).expect(2).err;
    for part in [
        "bad.json[0]: cron: \"0 0 31 2 *\" never comes",
        "bad.json[1]: every: \"1x\" is not a length of time",
        "bad.json[1]: process_type: is missing",
    ] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    let told =
        bench.run(&["schedule", "add", "--name", "x", "--type", "gone", "--cron", "@daily"]).expect(3).err;
    assert!(told.contains("\"gone\""), "{told}");
}

#[test]
fn next_times_have_zone_and_offset_and_say_what_a_change_does() {
    let bench = stage("sched_next");
    let words = ["schedule", "add", "--name", "n", "--type", "one-task", "--cron", "30 2 * * *"];
    bench.run(&[&words[..], &["--time-zone", "Europe/Berlin"]].concat()).expect(0);
    let next = |from: &str, more: &[&str]| {
        bench.run(&[&["schedule", "next", "n", "-n", "3", "--from", from], more].concat()).expect(0)
    };
    let spring = next("2026-03-28T00:00:00Z", &[]).out;
    assert!(
        spring.contains("2026-03-29T01:00:00Z  Sun 2026-03-29 03:00:00 +02:00  Europe/Berlin"),
        "{spring}"
    );
    assert!(spring.contains("the clock skips 02:30:00: it comes right after the gap"), "{spring}");
    let autumn = next("2026-10-24T12:00:00Z", &["--json"]).json();
    assert_eq!(
        autumn["times"][0],
        json!({"at": "2026-10-25T00:30:00Z", "local": "2026-10-25T02:30:00", "offset": "+02:00",
            "due_at": "2026-10-25T00:30:00Z", "clock_change": "the clock shows this time twice: it comes at the first"})
    );
    assert_eq!(autumn["times"][2]["clock_change"], json!(null));
}

#[test]
fn a_backfill_starts_past_times_in_order_once() {
    let bench = stage("sched_backfill");
    bench.run(&["schedule", "add", "--name", "b", "--type", "one-task", "--cron", "0 2 * * *"]).expect(0);
    let words = ["schedule", "backfill", "b", "--from", "2026-03-01", "--to", "2026-03-08T00:00:00Z"];
    let dry = bench.run(&[&words[..], &["--dry-run"]].concat()).expect(0);
    assert!(
        dry.err.contains("7 times would be started as batch \"backfill-b-20260301T000000Z\", 1 at once"),
        "{}",
        dry.err
    );
    assert_eq!(bench.database.count("processes"), 0);
    let done = bench.run(&words).expect(0).out;
    assert_eq!(done, "7 started as batch backfill-b-20260301T000000Z, 1 at once\n");
    let again = bench.run(&[&words[..], &["--json"]].concat()).expect(0).json();
    assert_eq!((again["started"].as_u64(), again["there_already"].as_u64()), (Some(0), Some(7)));
    // In the order of their times, one at once.
    let order = "SELECT string_agg(right(task_instance, 20), ' ' ORDER BY execution_time) = \
                 string_agg(right(task_instance, 20), ' ' ORDER BY task_instance COLLATE \"C\") AND \
                 bool_and(limits = ARRAY['batch:backfill-b-20260301T000000Z']) FROM scheduled_tasks";
    assert!(bench.database.sql().query_one(order, &[]).unwrap().get::<_, bool>(0));
    assert_eq!(
        bench.database.count("limits WHERE name = 'batch:backfill-b-20260301T000000Z' AND max = 1"),
        1
    );
    let input = "processes WHERE process_id = 'b@2026-03-01T02:00:00Z' AND input_data ->> 'previous_scheduled_at' = '2026-02-28T02:00:00Z'";
    assert_eq!(bench.database.count(input), 1);
    let told =
        bench.run(&["schedule", "backfill", "b", "--from", "2026-03-08", "--to", "2026-03-01"]).expect(2).err;
    assert!(told.contains("is not after --from"), "{told}");
}
