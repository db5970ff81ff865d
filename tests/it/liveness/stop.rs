//! An orderly stop of the real binary, by SIGTERM, whatever its commands do.

use std::fs;

use process_orchestrator::platform::processes::is_alive;
use process_orchestrator::{Outcome, ProcessInputData, ProcessStatus, ProcessType, TaskDefinition};

use super::{Served, pids_in, until_there};
use crate::common::{script, wait_until};
use crate::program::Bench;

/// The outcomes of a process, in their order.
fn outcomes(bench: &Bench, id: &str) -> Vec<Outcome> {
    bench.database.store().executions(id).unwrap().iter().map(|it| it.outcome).collect()
}

/// A process of one command that says its id and waits for a file; a retry is allowed it, none is to be spent.
fn waiting(bench: &Bench, before: &str) -> (String, std::path::PathBuf, std::path::PathBuf) {
    let (pids, gate) = (bench.folder.join("pids"), bench.folder.join("go"));
    let text = format!(
        "{before}\necho $$ > '{0}.part'; mv '{0}.part' '{0}'; {1}",
        pids.display(),
        until_there(&gate)
    );
    let task = TaskDefinition { max_retries: 3, ..script("wait", &text) };
    bench.database.register(&ProcessType::new("waiting", "").add(task).add(script("after", "true")));
    (bench.database.start("waiting", ProcessInputData::new()), pids, gate)
}

/// It was ended and is due again, at no cost.
fn assert_interrupted(bench: &Bench, id: &str, pid: u32) {
    assert!(!is_alive(pid));
    assert_eq!(outcomes(bench, id), [Outcome::Interrupted]);
    let task = bench.database.store().tasks(id).unwrap().remove(0);
    assert_eq!((task.retry_count, task.status.as_str()), (0, "NOT_STARTED"));
    assert_eq!(bench.database.count("scheduled_tasks WHERE NOT picked AND execution_time <= now()"), 1);
    assert_eq!(bench.database.count("nodes WHERE state = 'STOPPED'"), 1);
}

#[test]
fn commands_that_end_within_the_drain_time_are_waited_for_and_heartbeats_go_on_to_the_end() {
    let bench = Bench::with_tables("stop_short");
    let (id, pids, gate) = waiting(&bench, "");
    let mut node = Served::start(&bench, "node", &[], &[]);
    let pid = pids_in(&pids)[0];
    node.signal("-TERM");
    let state = || -> (String, i64) {
        let query = "SELECT state, (extract(epoch FROM last_heartbeat) * 1000000)::bigint FROM nodes";
        let row = bench.database.sql().query_one(query, &[]).unwrap();
        (row.get(0), row.get(1))
    };
    let first = wait_until("the node says that it stops", || Some(state()).filter(|it| it.0 == "STOPPING"));
    wait_until("it is heard of again while it drains", || (state().1 > first.1).then_some(()));
    assert_eq!(state().0, "STOPPING");
    assert!(is_alive(pid), "{}", node.log());
    // Nothing is claimed any more.
    let later = bench.database.start("waiting", ProcessInputData::new());
    fs::write(&gate, "").unwrap();
    assert_eq!(node.ended().code(), Some(0), "{}", node.log());
    assert_eq!(outcomes(&bench, &id), [Outcome::Succeeded], "its second task is for others");
    assert_eq!(outcomes(&bench, &later), []);
    assert_eq!(bench.database.count("scheduled_tasks WHERE NOT picked AND execution_time <= now()"), 2);
    assert_eq!(state().0, "STOPPED");
}

#[test]
fn commands_that_outlast_the_drain_time_are_ended_and_due_again() {
    let bench = Bench::with_tables("stop_long");
    let (id, pids, _) = waiting(&bench, "");
    let mut node = Served::start(&bench, "node", &["--drain-timeout", "100ms"], &[]);
    let pid = pids_in(&pids)[0];
    node.stop();
    assert!(node.log().contains("1 command ended before their time; they are due again"), "{}", node.log());
    assert_interrupted(&bench, &id, pid);
}

#[test]
fn commands_that_ignore_sigterm_are_killed_after_their_grace() {
    let bench = Bench::with_tables("stop_deaf");
    let (id, pids, _) = waiting(&bench, "trap '' TERM");
    let mut node = Served::start(&bench, "node", &["--drain-timeout", "0s"], &[]);
    let pid = pids_in(&pids)[0];
    node.stop();
    assert_interrupted(&bench, &id, pid);
    let signal = bench.database.store().executions(&id).unwrap()[0].signal;
    assert_eq!(signal, Some(9), "{}", node.log());
}

#[test]
fn a_second_signal_ends_the_wait() {
    let bench = Bench::with_tables("stop_twice");
    let (id, pids, _) = waiting(&bench, "");
    let mut node = Served::start(&bench, "node", &["--drain-timeout", "10m"], &[]);
    let pid = pids_in(&pids)[0];
    node.signal("-TERM");
    wait_until("it waits", || node.log().contains("stopping: waiting up to 10").then_some(()));
    node.signal("-TERM");
    assert_eq!(node.ended().code(), Some(0), "{}", node.log());
    assert!(node.log().contains("ending the commands that run now"), "{}", node.log());
    assert_interrupted(&bench, &id, pid);
}

#[test]
#[cfg(feature = "failpoints")]
fn claims_that_were_not_begun_are_back_in_the_queue_at_once() {
    let bench = Bench::with_tables("stop_claims");
    bench.database.register(&crate::common::one_task("true"));
    let ids = bench.database.start_many("one-task", 4);
    let rule = format!("after-claim=hold:{}", bench.folder.display());
    let mut node = Served::start(&bench, "node", &[], &[("PROCESS_ORCHESTRATOR_FAILPOINTS", &rule)]);
    wait_until("it has claimed", || bench.folder.join("after-claim.reached").exists().then_some(()));
    assert_eq!(bench.database.count("scheduled_tasks WHERE picked"), 4);
    node.signal("-TERM");
    wait_until("it stops", || node.log().contains("SIGTERM: no more").then_some(()));
    fs::write(bench.folder.join("after-claim.go"), "").unwrap();
    assert_eq!(node.ended().code(), Some(0), "{}", node.log());
    assert_eq!(bench.database.count("scheduled_tasks WHERE NOT picked AND execution_time <= now()"), 4);
    assert_eq!(bench.database.count("task_executions"), 0);
    let mut next = Served::start(&bench, "next", &[], &[]);
    for id in &ids {
        assert_eq!(bench.database.wait_for(id).status, ProcessStatus::Completed);
        assert_eq!(outcomes(&bench, id), [Outcome::Succeeded]);
    }
    next.stop();
}
