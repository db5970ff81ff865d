//! A batch of two thousand, or as many as a variable says, from its start to its results.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use process_orchestrator::ProcessType;
use process_orchestrator::model::batch::data::BatchState;

use super::{Served, batch, task};
use crate::program::Bench;

/// How many processes: a hundred thousand by hand.
fn size() -> usize {
    std::env::var("PROCESS_ORCHESTRATOR_TEST_BATCH").ok().map_or(2_000, |it| it.parse().unwrap())
}

#[test]
fn two_thousand_are_started_run_told_and_retried_as_one() {
    let bench = Bench::with_tables("batch_life");
    let size = size();
    let kind = ProcessType::new("many", "").add(process_orchestrator::TaskDefinition {
        max_retries: 0,
        ..process_orchestrator::TaskDefinition::new("one", "/bin/${config.program}")
    });
    bench.database.register(&kind);
    bench.database.register(&ProcessType::new("report", "").add(task("tell", "true")));
    let lines: String = (0..size)
        .map(|n| {
            let program = if n % 20 == 7 { "false" } else { "true" };
            format!("{}\n", serde_json::json!({ "config": { "program": program, "n": n } }))
        })
        .collect();
    std::fs::write(bench.folder.join("in.jsonl"), lines).unwrap();
    let failing = size / 20;
    let words = ["start", "many", "--inputs", "in.jsonl", "--batch", "nightly", "--then", "report"];
    let started = bench.run(&words).expect(0);
    assert!(started.err.contains(&format!("batch \"nightly\": {size} started")), "{}", started.err);
    let ids: BTreeSet<&str> = started.out.lines().collect();
    assert_eq!(ids.len(), size);
    let _node = Served::new(&bench, "4", &[]);
    let waited = bench.run(&["batch", "wait", "nightly"]).expect(1);
    assert!(waited.err.contains(&format!("{failing}  task \"one\"")), "{}", waited.err);

    let ended = batch(&bench, "nightly");
    assert_eq!((ended.state, ended.total, ended.ended), (BatchState::Failed, size as u64, size as u64));
    assert_eq!((ended.counts.failed, ended.counts.completed), (failing as u64, (size - failing) as u64));
    assert_eq!(ended.failures.len(), 1, "numbers alone differ: {:?}", ended.failures);
    assert_eq!(ended.failures[0].count, failing as u64);
    assert!(ids.contains(ended.failures[0].example_id.as_str()));
    assert_eq!(ended.then_id.as_deref(), Some("nightly-then"));
    // Nothing is left to be added up, and the counts are those of the rows.
    assert_eq!(bench.database.count("batch_changes"), 0);
    assert_eq!(
        bench.database.count("processes WHERE batch = 'nightly' AND status = 'FAILED'"),
        failing as i64
    );

    // A look counts no processes.
    let mut store = bench.database.store();
    store.batch("nightly").unwrap();
    let began = Instant::now();
    store.batch("nightly").unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let plan: String = bench
        .database
        .sql()
        .query("EXPLAIN SELECT * FROM batches WHERE name = 'nightly'", &[])
        .unwrap()
        .iter()
        .map(|row| row.get::<_, String>(0))
        .collect();
    assert!(!plan.contains("processes"), "{plan}");

    joblog_and_results(&bench, size, failing, &ids);

    // The same file again starts nothing.
    let again = bench.run(&words).expect(0);
    assert!(again.err.contains(&format!("0 started, {size} were there already")), "{}", again.err);
    assert_eq!(batch(&bench, "nightly").state, BatchState::Failed);

    // A retry of the failed takes the counts back, and they fail again; what follows was started once.
    let retried = bench.run(&["batch", "retry", "nightly", "--failed", "--json"]).expect(0).json();
    assert_eq!((&retried["retried"], &retried["refused"]), (&failing.into(), &0.into()));
    bench.run(&["batch", "wait", "nightly"]).expect(1);
    let again = batch(&bench, "nightly");
    assert_eq!((again.counts, again.failures[0].count), (ended.counts, failing as u64));
    assert_eq!(bench.database.count("processes WHERE process_type = 'report'"), 1);
}

fn joblog_and_results(bench: &Bench, size: usize, failing: usize, ids: &BTreeSet<&str>) {
    let joblog = bench.run(&["batch", "joblog", "nightly"]).expect(0).out;
    let lines: Vec<Vec<&str>> = joblog.lines().map(|it| it.split('\t').collect()).collect();
    assert_eq!(lines[0].join(" "), "Seq Host Starttime JobRuntime Send Receive Exitval Signal Command");
    assert_eq!(lines.len(), size + 1);
    for (n, line) in lines.iter().enumerate().skip(1) {
        assert_eq!((line.len(), line[0].parse()), (9, Ok(n)), "{line:?}");
        assert!(line[2].parse::<f64>().unwrap() > 1e9 && line[3].trim().parse::<f64>().unwrap() >= 0.0);
    }
    let failed = lines.iter().filter(|it| it[6] == "1" && it[8] == "/bin/false").count();
    assert_eq!(failed, failing);
    let documents = bench.run(&["batch", "joblog", "nightly", "--json"]).expect(0).out;
    let first: serde_json::Value = serde_json::from_str(documents.lines().next().unwrap()).unwrap();
    assert_eq!((&first["seq"], documents.lines().count()), (&1.into(), size));

    let csv = bench.run(&["batch", "results", "nightly"]).expect(0).out;
    let header = csv.lines().next().unwrap();
    assert!(
        header.starts_with("process_id,status,") && header.ends_with(",input.config.n,input.config.program")
    );
    let of_table: BTreeSet<&str> = csv.lines().skip(1).filter_map(|it| it.split(',').next()).collect();
    assert_eq!(&of_table, ids);
    let rows = bench.run(&["batch", "results", "nightly", "--json"]).expect(0).out;
    let rows: Vec<serde_json::Value> = rows.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(rows.len(), size);
    let failed = rows.iter().filter(|it| it["status"] == "FAILED");
    assert!(failed.clone().all(|it| it["exit_code"] == 1 && it["input"]["config"]["program"] == "false"));
    assert_eq!(failed.count(), failing);
}
