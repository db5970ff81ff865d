//! Nodes that are frozen, or whose heartbeat does not get through.

use std::fs;
use std::time::{Duration, Instant};

use process_orchestrator::platform::processes::is_alive;
use process_orchestrator::{Outcome, ProcessInputData, ProcessStatus, ProcessType, TaskDefinition};

use super::{Served, pids_in, until_there};
use crate::common::{one_task, script, wait_until};
use crate::program::Bench;

/// A lease that runs out while a test waits, and long enough that a busy machine does not lose one by chance.
const LIVENESS: &[&str] = &["--heartbeat", "200ms", "--dead-after", "1500ms", "--lease", "6s"];

fn outcomes(bench: &Bench, id: &str) -> Vec<Outcome> {
    bench.database.store().executions(id).unwrap().iter().map(|it| it.outcome).collect()
}

/// The first attempt writes its pid and does `then`; the second ends at once.
fn first_attempt(bench: &Bench, name: &str, then: &str) -> (String, std::path::PathBuf) {
    let pid = bench.folder.join(format!("{name}.pid"));
    let text = format!(
        "[ $TASK_ATTEMPT = 1 ] || exit 0; echo $$ > '{0}.part'; mv '{0}.part' '{0}'; {then}",
        pid.display()
    );
    bench.database.register(&ProcessType::new(name, "").add(script("only", &text)));
    (bench.database.start(name, ProcessInputData::new()), pid)
}

#[test]
fn a_frozen_node_is_taken_over_and_when_it_wakes_ends_its_commands_changes_nothing_and_goes_on() {
    let bench = Bench::with_tables("frozen");
    let (endless, endless_pid) = first_attempt(&bench, "endless", "exec sleep 600");
    let (late, late_pid) = first_attempt(&bench, "late", &until_there(&bench.folder.join("never")));
    let mut frozen = Served::start(&bench, "frozen", LIVENESS, &[]);
    let (endless_pid, late_pid) = (pids_in(&endless_pid)[0], pids_in(&late_pid)[0]);
    let mut other = Served::start(&bench, "other", LIVENESS, &[]);
    frozen.signal("-STOP");
    // Its guard sees to it before the lease is over: no command of it lives when the next one begins.
    for pid in [endless_pid, late_pid] {
        wait_until("the guard ends a frozen node's commands", || (!is_alive(pid)).then_some(()));
    }
    assert!(outcomes(&bench, &endless).is_empty(), "taken over before its command had ended");
    for id in [&endless, &late] {
        assert_eq!(bench.database.wait_for(id).status, ProcessStatus::Completed, "{}", other.log());
    }
    assert!(other.log().contains("its lease has expired"), "{}", other.log());
    other.stop();

    frozen.signal("-CONT");
    wait_until("both results are dropped", || {
        (frozen.log().matches("stale result dropped").count() == 2).then_some(())
    });
    wait_until("it goes on", || frozen.log().contains("node goes on").then_some(()));
    for id in [&endless, &late] {
        assert_eq!(outcomes(&bench, id), [Outcome::Lost, Outcome::Succeeded], "{}", frozen.log());
    }
    bench.database.register(&one_task("true"));
    let next = bench.database.start("one-task", ProcessInputData::new());
    assert_eq!(bench.database.wait_for(&next).status, ProcessStatus::Completed);
    let node = bench.database.store().executions(&next).unwrap().remove(0).node;
    assert!(node.starts_with("frozen-"), "{node}");
    assert_eq!(bench.database.count("nodes WHERE state = 'RUNNING' AND name = 'frozen'"), 1);
    frozen.stop();
}

#[test]
fn what_a_node_takes_to_start_a_command_is_not_of_its_timeout() {
    let bench = Bench::with_tables("slow_start");
    let task = TaskDefinition { timeout_minutes: 0.3 / 60.0, ..script("only", "true") };
    bench.database.register(&ProcessType::new("short", "").add(task));
    let rule = format!("before-spawn@1=hold:{}", bench.folder.display());
    let variables = [("PROCESS_ORCHESTRATOR_FAILPOINTS", &*rule)];
    let mut node = Served::start(&bench, "slow", LIVENESS, &variables);
    let id = bench.database.start("short", ProcessInputData::new());
    wait_until("it is about to start", || bench.folder.join("before-spawn.reached").exists().then_some(()));
    // As if it were frozen there for longer than the timeout.
    let held = Instant::now();
    wait_until("the timeout would be over", || (held.elapsed() > Duration::from_millis(400)).then_some(()));
    fs::write(bench.folder.join("before-spawn.go"), "").unwrap();
    bench.database.wait_for(&id);
    assert_eq!(outcomes(&bench, &id), [Outcome::Succeeded]);
    node.stop();
}

#[test]
fn a_node_whose_heartbeat_does_not_get_through_ends_its_commands_before_its_lease_is_over() {
    let bench = Bench::with_tables("fenced");
    let (id, pid) = first_attempt(&bench, "endless", "exec sleep 600");
    let rule = format!("before-heartbeat@10=hold:{}", bench.folder.display());
    let variables = [("PROCESS_ORCHESTRATOR_FAILPOINTS", &*rule)];
    let mut node = Served::start(&bench, "fenced", LIVENESS, &variables);
    let pid = pids_in(&pid)[0];
    wait_until("the heartbeat is held", || {
        bench.folder.join("before-heartbeat.reached").exists().then_some(())
    });
    wait_until("its command is ended", || (!is_alive(pid)).then_some(()));
    wait_until("it says why", || node.log().contains("lease not renewed for 4.").then_some(()));
    // It can reach the database all the same: what became of the command is recorded, and it claims nothing.
    wait_until("it is recorded", || (!outcomes(&bench, &id).is_empty()).then_some(()));
    assert_eq!(outcomes(&bench, &id), [Outcome::Interrupted]);
    let silence: f64 = bench
        .database
        .sql()
        .query_one(
            "SELECT extract(epoch FROM e.completed_at - n.last_heartbeat)::float8 \
             FROM task_executions e JOIN nodes n USING (node_id)",
            &[],
        )
        .unwrap()
        .get(0);
    assert!((3.9..6.0).contains(&silence), "ended after {silence} s of a lease of 6 s: {}", node.log());
    assert_eq!(bench.database.count("scheduled_tasks WHERE NOT picked AND execution_time <= now()"), 1);

    fs::write(bench.folder.join("before-heartbeat.go"), "").unwrap();
    assert_eq!(bench.database.wait_for(&id).status, ProcessStatus::Completed);
    assert_eq!(outcomes(&bench, &id), [Outcome::Interrupted, Outcome::Succeeded]);
    assert_eq!(bench.database.store().tasks(&id).unwrap()[0].retry_count, 0);
    node.stop();
}

#[test]
fn what_the_guard_has_ended_of_a_frozen_node_that_nobody_took_over_spends_no_retry() {
    let bench = Bench::with_tables("thawed");
    let (id, pid) = first_attempt(&bench, "endless", "exec sleep 600");
    let mut frozen = Served::start(&bench, "frozen", LIVENESS, &[]);
    let pid = pids_in(&pid)[0];
    frozen.signal("-STOP");
    wait_until("the guard ends its command", || (!is_alive(pid)).then_some(()));
    frozen.signal("-CONT");
    assert_eq!(bench.database.wait_for(&id).status, ProcessStatus::Completed, "{}", frozen.log());
    assert_eq!(outcomes(&bench, &id), [Outcome::Interrupted, Outcome::Succeeded], "{}", frozen.log());
    assert_eq!(bench.database.store().tasks(&id).unwrap()[0].retry_count, 0);
    // The guard says so once it has looked twice that nothing is left.
    let said = "has not renewed its lease; processes of its commands killed: 1";
    wait_until("the guard says so", || frozen.log().contains(said).then_some(()));
    frozen.stop();
}
