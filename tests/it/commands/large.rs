//! What the command line reads and prints is bounded in memory, whatever the database holds.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use process_orchestrator::{ProcessType, TaskDefinition};
use serde_json::Value;

use super::many::LIMITED;
use crate::common::wait_until;
use crate::faults::world::postgres_place;
use crate::program::{Bench, ended};

/// A process of 40 tasks with a megabyte of output each, and 40 attempts of the first with as much; the last attempt has
/// 8 MB, in which each character needs more than one byte.
const TRAIL: &str = "
    SELECT start_process('forty', '{\"user_id\": \"me\"}', 'p');
    DELETE FROM scheduled_tasks;
    UPDATE processes SET status = 'COMPLETED', completed_at = now();
    UPDATE tasks SET status = 'COMPLETED', attempt = CASE WHEN task_index = 0 THEN 40 ELSE 1 END,
        output = repeat(md5(task_index::text) || E'\\n', 31775);
    INSERT INTO task_executions (process_id, task_index, attempt, node_id, command, outcome, started_at, completed_at,
        duration_ms, output, output_bytes)
    SELECT 'p', 0, n, 'n', 'true', 'SUCCEEDED', now(), now(), 1,
        CASE WHEN n = 40 THEN repeat('ä\"\\', 2000000) ELSE repeat(md5(n::text) || E'\\n', 31775) END, 1048575
    FROM generate_series(1, 40) AS n";

/// 60 processes with half a megabyte of input each, the newest of them with a context of 15 MB.
const VALUES: &str = "
    INSERT INTO processes (process_id, process_type, status, total_tasks, input_data, process_context, completed_at, created_at)
    SELECT 'p-' || n, 't', 'COMPLETED', 1, jsonb_build_object('config', jsonb_build_object('a', repeat(md5(n::text), 16384))),
        CASE WHEN n = 60 THEN (SELECT jsonb_object_agg('k' || k, repeat('xy', 75000)) FROM generate_series(1, 100) AS k)
            ELSE '{\"rows\": 7}' END,
        now(), now() + n * interval '1 second'
    FROM generate_series(1, 60) AS n";

fn limited(bench: &Bench, words: &[&str]) -> Command {
    bench.started_by(&LIMITED, words)
}

fn filled(test: &str, sql: &str) -> Bench {
    let bench = Bench::with_tables(test);
    let forty = (0..40).fold(ProcessType::new("forty", ""), |it, n| {
        it.add(TaskDefinition::new(format!("task-{n}"), "true"))
    });
    bench.database.register(&forty);
    bench.database.sql().batch_execute(sql).unwrap();
    bench
}

#[test]
fn outputs_are_printed_however_many_there_are() {
    let bench = filled("many_outputs", TRAIL);
    let run = |words: &[&str]| ended(&mut limited(&bench, words)).expect(0);
    let logs = run(&["logs", "p", "--raw"]);
    assert_eq!(logs.out.len(), 39 * 31_775 * 33 + 8_000_000);
    assert_eq!(logs.err.lines().filter(|it| it.starts_with("==> task-0, attempt ")).count(), 40);
    let last = run(&["logs", "p", "task-0", "--attempt", "40", "--json"]).json();
    let output = last["executions"][0]["output"].as_str().unwrap();
    assert!(output.chars().count() == 6_000_000 && output.ends_with("ä\"\\"));
    let all = run(&["logs", "p", "--json"]).json();
    let executions = all["executions"].as_array().unwrap();
    assert_eq!((executions.len(), &all["live"]), (40, &Value::Null));
    assert!(executions.iter().enumerate().all(|(n, it)| it["attempt"] == n + 1));

    assert!(run(&["show", "p"]).out.contains("39  task-39  COMPLETED"));
    let shown = run(&["show", "p", "--json"]).json();
    let outputs: HashSet<&str> =
        shown["tasks"].as_array().unwrap().iter().map(|it| it["output"].as_str().unwrap()).collect();
    assert_eq!(outputs.len(), 40);
    assert!(outputs.iter().all(|it| it.len() == 31_775 * 33));
    assert_eq!((&shown["input_data"]["user_id"], &shown["status"]), (&"me".into(), &"COMPLETED".into()));
}

#[test]
fn lists_hold_values_only_when_they_are_asked_for() {
    let bench = filled("large_values", VALUES);
    let run = |words: &[&str]| ended(&mut limited(&bench, words)).expect(0);
    assert_eq!(run(&["list", "--limit", "0"]).out.lines().count(), 61);
    let list = run(&["list", "--json", "--limit", "100"]);
    assert!(list.out.len() < 100_000, "{}", list.out.len());
    assert!(list.json()["processes"].as_array().unwrap().iter().all(|it| it.get("input_data").is_none()));
    let list = run(&["list", "--json", "--limit", "0", "--include", "input,context"]).json();
    let processes = list["processes"].as_array().unwrap();
    assert_eq!((processes.len(), &list["next"]), (60, &Value::Null));
    assert_eq!(processes[0]["process_context"]["k7"].as_str().map(str::len), Some(150_000));
    assert_eq!(processes[59]["input_data"]["config"]["a"].as_str().map(str::len), Some(16_384 * 32));
    assert_eq!(processes[59]["process_context"]["rows"], 7);
    let refused = bench.run(&["list", "--include", "input"]).expect(2);
    assert!(refused.err.contains("--json"), "{refused:#?}");

    let shown = run(&["show", "p-60"]);
    assert!(
        shown.out.contains("Context\n  (too large for here; all of it: process-orchestrator "),
        "{}",
        shown.out.len()
    );
    let shown = run(&["show", "p-60", "--json"]).json();
    assert_eq!(shown["process_context"].as_object().map(serde_json::Map::len), Some(100));
    assert_eq!(run(&["explain", "p-60", "--json"]).json()["status"], "COMPLETED");
}

#[test]
fn a_list_of_everything_is_a_page_in_memory() {
    let rows = "INSERT INTO processes (process_id, process_type, status, total_tasks, input_data, completed_at,
            error_message, created_at)
        SELECT 'process-' || n, 'a-type', 'FAILED', 1, '{}', now(), repeat('why ', 200), now() - n * interval '1 second'
        FROM generate_series(1, 30000) AS n";
    let bench = filled("list_of_all", rows);
    let run = |words: &[&str]| ended(&mut limited(&bench, words)).expect(0);
    let ids = run(&["list", "--limit", "0"]);
    let ids: Vec<&str> = ids.out.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert!(ids.iter().enumerate().all(|(n, id)| *id == format!("process-{}", n + 1)) && ids.len() == 30_000);
    let list = run(&["list", "--limit", "29000", "--json"]).json();
    let listed = list["processes"].as_array().unwrap().iter().map(|it| it["process_id"].as_str().unwrap());
    assert!(listed.eq(ids[..29_000].iter().copied()));
    let rest = run(&["list", "--limit", "0", "--json", "--after", list["next"].as_str().unwrap()]).json();
    assert_eq!((rest["processes"].as_array().map(Vec::len), &rest["next"]), (Some(1_000), &Value::Null));

    // Who reads the first lines only ends it quietly.
    let mut list = bench.spawn(&["list", "--limit", "0"]);
    let mut line = String::new();
    BufReader::new(list.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("PROCESS "), "{line}");
    assert_eq!((said(&mut list), list.wait().unwrap().code()), (String::new(), Some(0)));
}

fn said(child: &mut Child) -> String {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

#[test]
fn a_slow_reader_holds_nothing_up_and_is_told_when_the_rest_does_not_come() {
    let bench = filled("slow_reader", TRAIL);
    let name = format!("slow {}", bench.database.schema);
    let url = format!("{} application_name='{name}'", postgres_place(bench.database.settings()));
    let mut command = bench.command(&["logs", "p", "--json"]);
    command.env("DATABASE_URL", url);
    let mut logs = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = logs.stdout.take().unwrap();
    out.read_exact(&mut [0; 1024]).unwrap();
    let mut sql = bench.database.sql();
    let idle = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE $1 || '%' AND query LIKE '-- Executions of a process%' \
        AND state = 'idle' AND backend_xmin IS NULL";
    let pid: i32 = wait_until("its session has nothing open", || {
        sql.query_opt(idle, &[&name]).unwrap().map(|row| row.get(0))
    });
    sql.execute("SELECT pg_terminate_backend($1)", &[&pid]).unwrap();
    std::io::copy(&mut out, &mut std::io::sink()).unwrap();
    let said = said(&mut logs);
    assert_eq!(logs.wait().unwrap().code(), Some(4), "{said}");
    assert!(said.contains("; what was printed is incomplete\""), "{said}");
}
