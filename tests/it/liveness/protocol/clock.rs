//! The database's clock is set: nobody lives longer for it, and nobody dies of it. Heartbeats that look older or younger
//! are what the nodes see of that.

use std::time::Duration;

use process_orchestrator::ProcessStatus;

use super::super::Served;
use super::stage::{LONG_LEASE, SHORT_LEASE, Stage, within};
use crate::common::wait_until;

/// Without locks, as behind a pooler: only the lease decides.
const NO_LOCKS: &[&str] = &["--pooler", "transaction"];

/// As the nodes see it if the database's clock is put forward by ten minutes.
fn put_forward(stage: &Stage) {
    shift(stage, "- interval '10 min'");
}

/// And as if it is put back.
fn put_back(stage: &Stage) {
    shift(stage, "+ interval '10 min'");
}

fn shift(stage: &Stage, by: &str) {
    let statement = format!("UPDATE nodes SET last_heartbeat = last_heartbeat {by}");
    assert!(stage.bench.database.sql().execute(&statement, &[]).unwrap() > 0);
}

fn is_there(stage: &Stage, what: &str) -> Option<()> {
    (stage.bench.database.count(what) > 0).then_some(())
}

/// Two nodes with a command each; the clock goes forward again and again.
fn forward_among_healthy_nodes(test: &str, words: &[&str]) {
    let stage = Stage::new(test);
    let words = [&["--executors", "1"], LONG_LEASE, words].concat();
    let mut a = stage.node("a", &words, &[]);
    let mut ids = vec![stage.start("one", &[&stage.until("go")])];
    stage.wait_for(&ids[0], 0, 1);
    let mut b = stage.node("b", &words, &[]);
    ids.push(stage.start("other", &[&stage.until("go")]));
    stage.wait_for(&ids[1], 0, 1);
    let late = "nodes WHERE last_heartbeat < clock_timestamp() - interval '5 min'";
    for _ in 0..12 {
        put_forward(&stage);
        // Each has then seen the other's once, unless that one was faster.
        wait_until("both have renewed their leases or are dead", || {
            (stage.bench.database.count(&format!("{late} AND state = 'RUNNING'")) == 0).then_some(())
        });
    }
    let logs = format!("{}{}", a.log(), b.log());
    assert!(!logs.contains("declared dead"), "{logs}");
    stage.release("go");
    stage.assert_whole(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(stage.begun().len(), 2, "{:#?}", stage.begun());
    assert_eq!(stage.bench.database.count("task_executions WHERE outcome = 'SUCCEEDED'"), 2);
    a.stop();
    b.stop();
}

#[test]
fn a_clock_put_forward_kills_no_node_that_holds_its_lock() {
    forward_among_healthy_nodes("forward_locks", &[]);
}

#[test]
fn a_clock_put_forward_kills_no_node_that_can_hold_no_lock() {
    forward_among_healthy_nodes("forward_lease", NO_LOCKS);
}

/// A frozen node runs a command until its guard ends that, before the lease is over; a clock that is put forward must not
/// have another node begin it earlier.
fn forward_beside_a_frozen_node(test: &str, words: &[&str]) {
    let stage = Stage::new(test);
    let words = [SHORT_LEASE, words].concat();
    let a = stage.node("a", &words, &[]);
    let id = stage.start("frozen", &["[ $TASK_ATTEMPT = 2 ] || exec sleep 100"]);
    stage.wait_for(&id, 0, 1);
    let mut b = stage.node("b", &words, &[]);
    // It has looked at others for long enough to judge them.
    wait_until("b has beaten for a while", || is_there(&stage, &beaten_for("b", "2 s")));
    a.signal("-STOP");
    put_forward(&stage);
    stage.wait_for(&id, 0, 2);
    stage.assert_whole(&[&id]);
    assert!(stage.outcomes(&id)[0].1 == "a", "{:?}", stage.outcomes(&id));
    b.stop();
}

/// A condition on a node that has run for so long.
fn beaten_for(node: &str, time: &str) -> String {
    format!("nodes WHERE name = '{node}' AND last_heartbeat > started_at + interval '{time}'")
}

#[test]
fn a_clock_put_forward_shortens_the_lease_of_no_frozen_node() {
    forward_beside_a_frozen_node("frozen_locks", &[]);
}

#[test]
fn a_clock_put_forward_shortens_no_lease_where_there_are_no_locks() {
    forward_beside_a_frozen_node("frozen_lease", NO_LOCKS);
}

/// A node ends, the clock is put back: it is taken over as soon as ever.
fn back_after_the_end_of_a_node(test: &str, words: &[&str], end: fn(&mut Served), usual: Duration) {
    let stage = Stage::new(test);
    let mut a = stage.node("a", words, &[]);
    // Its host is another: nobody sees that its process is gone.
    stage.bench.database.sql().execute("UPDATE nodes SET boot_id = 'elsewhere'", &[]).unwrap();
    let id = stage.start("ends", &["[ $TASK_ATTEMPT = 2 ] || exec sleep 100"]);
    stage.wait_for(&id, 0, 1);
    let mut b = stage.node("b", words, &[]);
    wait_until("b has beaten for a while", || is_there(&stage, &beaten_for("b", "2 s")));
    end(&mut a);
    put_back(&stage);
    within(usual, "the node is taken over", || stage.find(&id, 0, 2));
    assert_eq!(stage.bench.database.wait_for(&id).status, ProcessStatus::Completed);
    stage.assert_whole(&[&id]);
    b.stop();
}

#[test]
fn a_clock_put_back_delays_no_takeover_of_a_node_whose_lock_is_gone() {
    back_after_the_end_of_a_node("back_killed", LONG_LEASE, Served::kill, Duration::from_secs(10));
}

#[test]
fn a_clock_put_back_delays_no_takeover_of_a_frozen_node_that_holds_its_lock() {
    let freeze = |node: &mut Served| node.signal("-STOP");
    back_after_the_end_of_a_node("back_frozen", SHORT_LEASE, freeze, Duration::from_secs(15));
}

#[test]
fn a_clock_put_back_delays_no_takeover_where_there_are_no_locks() {
    let words = [SHORT_LEASE, NO_LOCKS].concat();
    back_after_the_end_of_a_node("back_lease", &words, Served::kill, Duration::from_secs(15));
}
