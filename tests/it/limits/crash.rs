//! Nodes that die, or are frozen, with slots: nobody ever runs beyond the limit, and it is full again.

use std::fs;
use std::path::PathBuf;

use process_orchestrator::{ProcessStatus, ProcessType};
use serde_json::json;

use super::{limit, set_max};
use crate::common::{script, wait_until};
use crate::liveness::Served;
use crate::program::Bench;

const MAX: u32 = 3;
const PROCESSES: usize = 24;
const LIVENESS: &[&str] =
    &["--heartbeat", "200ms", "--dead-after", "1500ms", "--lease", "6s", "--executors", "4"];

/// A command that counts whoever of its kind lives when it has begun, and says so where there are too many.
fn counting(bench: &Bench) -> String {
    let folder = bench.folder.join("running");
    fs::create_dir_all(&folder).unwrap();
    format!(
        "cd '{}' || exit 1; echo $$ > .$PROCESS_ID; mv .$PROCESS_ID $PROCESS_ID; n=0\n\
         for file in *; do read -r pid < $file && kill -0 $pid && n=$((n + 1)); done 2>/dev/null\n\
         [ $n -le {MAX} ] || echo $n >> ../exceeded\n\
         sleep 0.15; rm $PROCESS_ID",
        folder.display()
    )
}

fn exceeded(bench: &Bench) -> PathBuf {
    bench.folder.join("exceeded")
}

/// Two nodes, one of which is hurt while it runs some; the other one, and itself, run all to the end.
fn survives(test: &str, hurt: fn(&mut Served), heal: fn(&mut Served)) {
    let bench = Bench::with_tables(test);
    let command = counting(&bench);
    for (name, holds) in [("kept", "process"), ("taken", "task")] {
        bench
            .database
            .register(&ProcessType::new(name, "").add(script("one", &command)).add(script("two", &command)));
        limit(&bench.database, name, &json!([{"name": "gpu", "max": MAX, "holds": holds}]));
    }
    let mut ids = bench.database.start_many("kept", PROCESSES / 2);
    ids.extend(bench.database.start_many("taken", PROCESSES / 2));
    let mut victim = Served::start(&bench, "victim", LIVENESS, &[]);
    let mut other = Served::start(&bench, "other", LIVENESS, &[]);
    let of_victim = "scheduled_tasks s JOIN nodes n ON n.node_id = s.picked_by WHERE n.name = 'victim'";
    wait_until("it runs some", || (bench.database.count(of_victim) > 0).then_some(()));
    hurt(&mut victim);
    let of_other = "scheduled_tasks s JOIN nodes n ON n.node_id = s.picked_by WHERE n.name = 'other'";
    wait_until("the other one has them all", || {
        (bench.database.count(of_other) == i64::from(MAX)).then_some(())
    });
    for id in &ids {
        assert_eq!(bench.database.wait_for(id).status, ProcessStatus::Completed, "{}", other.log());
    }
    heal(&mut victim);
    assert_eq!(bench.database.count("limit_slots"), 0);
    assert!(!exceeded(&bench).exists(), "{}", fs::read_to_string(exceeded(&bench)).unwrap());
    other.stop();
}

#[test]
fn a_killed_node_leaks_no_slot_and_what_it_ran_goes_on_within_the_limit() {
    survives("limits_killed", |node| node.kill(), |_| {});
}

#[test]
fn a_frozen_node_leaks_no_slot_and_when_it_wakes_it_runs_nothing_beyond_the_limit() {
    survives(
        "limits_frozen",
        |node| node.signal("-STOP"),
        |node| {
            node.signal("-CONT");
            wait_until("it goes on", || node.log().contains("node goes on").then_some(()));
            node.stop();
        },
    );
}

#[test]
fn a_node_that_stops_gives_its_slots_to_others() {
    survives("limits_stopped", |node| node.stop(), |_| {});
}

#[test]
fn run_waits_for_its_limits() {
    let bench = Bench::with_tables("limits_run");
    let kind = ProcessType::new("kept", "").add(script("one", "true"));
    bench.database.register(&kind);
    limit(&bench.database, "kept", &json!([{"name": "gpu", "max": 1, "holds": "process"}]));
    set_max(&bench.database, "gpu", Some(0));
    let mut run = bench.spawn(&["run", "kept", "--process-id", "mine"]);
    let looked = "nodes WHERE state = 'RUNNING' AND last_heartbeat > started_at";
    wait_until("its node has its second heartbeat", || (bench.database.count(looked) == 1).then_some(()));
    assert_eq!(bench.database.count("task_executions"), 0);
    // Nobody else has it meanwhile. Its first look may come after that heartbeat.
    let held = "scheduled_tasks WHERE reserved_for IS NOT NULL AND held_by = 'limit:gpu'";
    wait_until("it is held for its node in the limit's line", || {
        (bench.database.count(held) == 1).then_some(())
    });
    set_max(&bench.database, "gpu", Some(1));
    assert_eq!(bench.database.wait_for("mine").status, ProcessStatus::Completed);
    assert!(run.wait().unwrap().success());
    assert_eq!(bench.database.count("limit_slots"), 0);
}
