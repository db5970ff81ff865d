//! `bench`: every mode at a small size, by what it reports and leaves behind; never by how fast it was.

use serde_json::Value;

use crate::common::wait_until;
use crate::program::Bench;

/// Runs a mode and returns its document.
fn document(bench: &Bench, words: &[&str]) -> Value {
    bench.run(&[&["bench", "--json"], words].concat()).expect(0).json()
}

fn number(document: &Value, pointer: &str) -> f64 {
    let found = document.pointer(pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number at {pointer} in {document:#}"))
}

fn assert_positive(document: &Value, pointers: &[&str]) {
    for pointer in pointers {
        assert!(number(document, pointer) > 0.0, "{pointer} in {document:#}");
    }
}

#[test]
fn the_rate_comes_with_its_yardsticks_and_its_cost() {
    let bench = Bench::new("bench_rate");
    let words = ["--processes", "20", "--tasks", "5", "--rounds", "2", "--xargs"];
    let report = document(&bench, &words);
    assert_eq!((&report["mode"], &report["all_recorded_once"]), (&"rate".into(), &true.into()));
    assert_eq!(report["rounds"].as_array().map(Vec::len), Some(2));
    assert!(
        report["median"]["bare"]["threads"].as_u64().is_some_and(|it| [2, 4, 8].contains(&it)),
        "{report:#}"
    );
    let figures = ["ratio_to_bare", "ratio_to_xargs", "durable_rate", "start_call_seconds", "run/wal_bytes"];
    for figure in figures {
        assert_positive(&report, &[&format!("/rounds/1/{figure}"), &format!("/median/{figure}")]);
    }
    // One execution for each task; a task's begin and its end are updates.
    assert_eq!(number(&report, "/median/run/rows_inserted").floor(), 1.0, "{report:#}");
    assert!(number(&report, "/median/run/rows_updated") >= 2.0, "{report:#}");
    assert_eq!(number(&report, "/median/start/rows_updated"), 0.0, "{report:#}");
    for thread in ["poller", "recorder", "keeper"] {
        assert_eq!(number(&report, &format!("/median/connections/{thread}")), 1.0, "{report:#}");
    }
    let text = bench.run(&[&["bench"][..], &words[..6]].concat()).expect(0);
    for part in
        ["20 processes of 5 tasks", "bare loop", "the fastest of 2, 4 and 8", "every task once, none failed"]
    {
        assert!(text.out.contains(part), "{text:#?}");
    }
}

#[test]
fn forgetting_by_hand_and_by_retention_is_told_with_what_it_costs() {
    let bench = Bench::new("bench_forget");
    let report = document(&bench, &["--forget", "400", "--window", "1", "--noop", "--tasks", "2"]);
    assert_eq!((&report["mode"], &report["finished"]), (&"forget".into(), &400.into()));
    for part in ["by_hand", "by_retention"] {
        assert_eq!(number(&report, &format!("/{part}/processes")), 200.0, "{report:#}");
        assert_positive(
            &report,
            &["seconds", "rate", "bytes/tables"]
                .map(|it| format!("/{part}/{it}"))
                .each_ref()
                .map(|it| it.as_str()),
        );
    }
    assert_positive(
        &report,
        &["/rate_before", "/rate_after", "/bytes_before/tables", "/bytes_before/database"],
    );
}

#[test]
fn the_engine_alone_is_flat_or_not() {
    let bench = Bench::new("bench_noop");
    let report = document(&bench, &["--noop", "--processes", "200", "--rounds", "1"]);
    assert_eq!((&report["executors"], &report["command"]), (&128.into(), &Value::Null));
    assert_positive(&report, &["/median/durable_rate", "/median/last_tenth_to_first"]);
}

#[test]
fn a_command_that_fails_is_no_measurement() {
    let bench = Bench::new("bench_fails");
    let words = ["bench", "--processes", "1", "--tasks", "1", "--rounds", "1", "--command", "sleep -x"];
    let said = bench.run(&words).expect(1);
    assert!(said.err.contains("1 processes did not complete"), "{said:#?}");
}

#[test]
fn latency_with_and_without_notifications() {
    let bench = Bench::new("bench_latency");
    let report = document(&bench, &["--latency", "3", "--chains", "2"]);
    assert_eq!(report["listens"], true);
    for part in ["start_to_first_instruction", "spawn_alone"] {
        assert_eq!(number(&report, &format!("/{part}/count")), 3.0);
    }
    assert_eq!(number(&report, "/exit_to_next_spawn/count"), 78.0, "{report:#}");
    assert_eq!(number(&report, "/chain/count"), 2.0);
    let deaf = document(&bench, &["--latency", "1", "--chains", "1", "--no-listen"]);
    assert_eq!(deaf["listens"], false);
}

#[test]
fn commands_that_print_much() {
    let bench = Bench::new("bench_output");
    let words = ["--output", "3k,1m", "--rest", "0", "--processes", "2", "--tasks", "3", "--rounds", "2"];
    let report = document(&bench, &words);
    let runs: Vec<_> = report["runs"].as_array().expect("runs").iter().collect();
    let kinds = [(3_000, "log"), (3_000, "random"), (1_000_000, "log"), (1_000_000, "random")];
    assert_eq!(runs.len(), kinds.len(), "{report:#}");
    for (run, (bytes, kind)) in runs.into_iter().zip(kinds) {
        assert_eq!((&run["bytes"], &run["kind"], &run["commands"]), (&bytes.into(), &kind.into(), &6.into()));
        assert_positive(run, &["/rate", "/bare/rate", "/ratio_to_bare", "/busy_bytes", "/idle_bytes"]);
        if bytes == 1_000_000 {
            // What is printed is written once; of a log less than half of it.
            let wal = number(run, "/wal_per_byte");
            assert!(
                if kind == "log" { (0.05..1.0).contains(&wal) } else { (1.0..1.5).contains(&wal) },
                "{run:#}"
            );
        }
    }
    assert_eq!((&report["executors"], report["rounds"].as_array().map(Vec::len)), (&32.into(), Some(2)));
}

#[test]
fn an_idle_node_and_a_loaded_one() {
    let bench = Bench::new("bench_idle");
    let idle = document(&bench, &["--idle", "1"]);
    assert!(number(&idle, "/seconds") >= 1.0);
    assert!((0.0..1.0).contains(&number(&idle, "/node_core_share")), "{idle:#}");
    let memory = document(&bench, &["--memory", "--processes", "20", "--rounds", "1"]);
    assert_eq!(memory["executors"], 256);
    let figures = ["/start_to_ready/p50_ms", "/idle_bytes", "/active_bytes", "/peak_bytes", "/program_bytes"];
    assert_positive(&memory, &figures);
    assert_eq!(number(&memory, "/connections/recorder"), 1.0, "{memory:#}");
}

#[test]
fn a_schema_full_of_history_and_its_plan() {
    let bench = Bench::new("bench_history");
    let mut words = vec!["--history", "5000", "--scale", "0.1", "--plan", "--noop", "--processes", "20"];
    words.extend([
        "--rounds",
        "2",
        "--waiting",
        "500",
        "--priorities",
        "50",
        "--held",
        "50",
        "--ready",
        "3000",
    ]);
    let report = document(&bench, &words);
    let sizes = [("finished", 500), ("waiting", 50), ("priorities", 5), ("held", 5), ("ready", 300)];
    for (what, size) in sizes {
        assert_eq!(report[what], size, "{what} in {report:#}");
    }
    assert_positive(&report, &["/ratio", "/rounds/1/ratio", "/fill_seconds"]);
    assert_eq!((&report["idle_start"]["count"], &report["highest_start"]["count"]), (&50.into(), &50.into()));
    let looks = report["looks"].as_array().expect("looks");
    assert_eq!(looks[0]["name"], "claim of 256");
    assert!(looks.len() >= 3 && looks.iter().all(|look| number(look, "/buffers") > 0.0), "{report:#}");
    let plan = report["plan"].to_string();
    assert!(plan.contains("Execution Time") && plan.contains("scheduled_tasks_ready"), "{plan}");
}

#[test]
fn serve_is_measured_from_outside_beside_its_yardsticks() {
    let bench = Bench::new("bench_serve");
    let words = ["--serve", "default,2", "--processes", "20", "--tasks", "3", "--rounds", "2"];
    let report = document(&bench, &words);
    let runs = report["runs"].as_array().expect("runs");
    let shapes =
        runs.iter().map(|it| ["processes", "tasks", "executors"].map(|key| it[key].as_u64().unwrap()));
    let usual = process_orchestrator::engine::NodeConfig::default().executors as u64;
    assert_eq!(shapes.collect::<Vec<_>>(), [[20, 3, usual], [20, 3, 2], [60, 1, usual], [60, 1, 2]]);
    for run in runs {
        assert_positive(run, &["/rate", "/ratio_to_bare", "/ratio_to_xargs"]);
        // So few tasks may take no tick of the system's clock, or be over before it is read.
        for part in ["cost/wal_bytes", "cost/node_cpu_s", "cost/commands_cpu_s", "cost/postgresql_cpu_s"] {
            assert!(number(run, &format!("/{part}")) >= 0.0, "{part} in {run:#}");
        }
    }
    assert_positive(&report, &["/rounds/1/xargs_rate", "/rounds/1/runs/3/rate", "/bare/rate"]);
    assert!(number(&report, "/bare/loop_cpu_s") >= 0.0, "{report:#}");
    assert!([2, 4, 8].contains(&report["bare"]["threads"].as_u64().unwrap()), "{report:#}");

    let words = ["bench", "--serve", "1", "--processes", "3", "--tasks", "1", "--rounds", "1"];
    let text = bench.run(&words).expect(0);
    for part in ["3 x 1, 1 executors", "the fastest of 2, 4 and 8", "CPU s per 1,000 tasks", "PostgreSQL"] {
        assert!(text.out.contains(part), "{text:#?}");
    }
    let failing = [&words[..], &["--command", "/bin/false"]].concat();
    let said = bench.run(&failing).expect(1);
    assert!(said.err.contains("3 processes did not complete"), "{said:#?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_bench_that_is_killed_takes_its_serve_along() {
    let bench = Bench::new("bench_killed");
    let words = ["--command", "sleep 0.1", "--processes", "40", "--tasks", "1", "--rounds", "1"];
    let mut killed = bench.spawn(&[&["bench", "--serve", "1"], &words[..]].concat());
    let schema = format!("process_orchestrator_bench_{}_serve_1_0", killed.id());
    // Until the schema is there the question fails.
    let ask = |state: &str| {
        let nodes = format!("SELECT FROM {schema}.nodes WHERE state = '{state}'");
        bench.database.sql().query_opt(&nodes, &[]).ok().flatten()
    };
    wait_until("serve runs", || ask("RUNNING"));
    killed.kill().unwrap();
    killed.wait().unwrap();
    wait_until("serve has stopped in order", || ask("STOPPED"));
    bench.database.sql().batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).unwrap();
}

#[test]
fn starts_due_at_once_beside_those_of_tomorrow() {
    let bench = Bench::new("bench_starts");
    let report = document(&bench, &["--starts", "1", "--sessions", "3", "--rounds", "1"]);
    assert_eq!(report["sessions"], 3);
    for node in ["idle", "busy"] {
        for figure in ["now", "future", "ratio"] {
            assert_positive(&report, &[&format!("/{node}/{figure}"), &format!("/rounds/0/{node}/{figure}")]);
        }
    }
}

#[test]
fn churn_times_claims_beside_an_open_transaction() {
    let bench = Bench::new("bench_churn");
    let report = document(&bench, &["--churn", "1"]);
    assert_positive(
        &report,
        &["/tasks", "/first/p99_ms", "/last/p99_ms", "/p99_ratio", "/idle_start_after/p50_ms"],
    );
}

#[test]
fn short_commands_beside_long_ones_and_before_others() {
    let bench = Bench::new("bench_beside");
    let report = document(&bench, &["--sleepers", "20", "--processes", "10", "--rounds", "1"]);
    assert_positive(&report, &["/ratio", "/alone_rate", "/beside_rate"]);
    let report = document(&bench, &["--priority", "3"]);
    assert_eq!(number(&report, "/start_to_spawn/count"), 3.0);
    assert_positive(&report, &["/task_time/p50_ms"]);
}

#[test]
fn several_nodes_share_the_work() {
    let bench = Bench::new("bench_nodes");
    let report = document(&bench, &["--nodes", "1,2", "--noop", "--processes", "100", "--rounds", "1"]);
    assert_eq!(report["duplicates"], 0);
    assert_eq!(report["counts"].as_array().map(Vec::len), Some(2));
    assert_positive(&report, &["/counts/0/rate", "/counts/1/ratio_to_first"]);
}

#[test]
fn limits_are_timed_not_reached_reached_and_beside() {
    let bench = Bench::new("bench_limits");
    let small = ["--processes", "20", "--tasks", "2", "--rounds", "1", "--noop"];
    let report = document(&bench, &[&["--limits", "2", "--held", "50"], &small[..]].concat());
    assert_eq!(number(&report, "/max"), 2.0);
    let cases: Vec<&str> = (0..7).filter_map(|at| report["figures"][at]["case"].as_str()).collect();
    assert_eq!(cases.first().zip(cases.last()), Some((&"unlimited", &"reached_by_tasks")), "{report}");
    for at in [1, 2, 3, 5, 6] {
        assert_positive(&report, &[&format!("/figures/{at}/ratio")]);
    }
}

#[test]
fn what_a_killed_bench_has_left_goes_and_what_was_kept_stays() {
    let bench = Bench::new("bench_leftovers");
    let ours = |pid: u32| {
        let name = format!("process\\_orchestrator\\_bench\\_{pid}\\_%");
        let count = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE $1";
        bench.database.sql().query_one(count, &[&name]).unwrap().get::<_, i64>(0)
    };
    let mut killed = bench.spawn(&["bench", "--idle", "600"]);
    let remarked = format!("process_orchestrator_bench_{}_idle", killed.id());
    wait_until("the schema is made", || {
        let ask = "SELECT FROM pg_namespace WHERE nspname = $1 AND obj_description(oid, 'pg_namespace') IS NOT NULL";
        bench.database.sql().query_opt(ask, &[&remarked]).unwrap()
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    let small = ["bench", "--noop", "--processes", "1", "--rounds", "1", "--keep"];
    let kept = bench.spawn(&small);
    let kept_pid = kept.id();
    let output = kept.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(ours(killed.id()), 0, "{said}");

    bench.run(&small[..6]).expect(0);
    assert_eq!(ours(kept_pid), 1);
    let drop = format!("DROP SCHEMA process_orchestrator_bench_{kept_pid}_round_1 CASCADE");
    bench.database.sql().batch_execute(&drop).unwrap();
}
