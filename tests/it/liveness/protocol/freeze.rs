//! A node is frozen at the worst moment, or with all that belongs to it.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use process_orchestrator::platform::processes::{is_alive, kill};

use super::super::Served;
use super::stage::{SHORT_LEASE, Stage};
use crate::common::wait_until;
use crate::program::send;

/// The first attempt goes on until it is killed.
const ENDLESS_ONCE: &str = "[ $TASK_ATTEMPT = 2 ] || exec sleep 100";
/// The lease of these tests: a command has to be gone, and its guard to have seen to it, within five sixths.
const LEASE: &[&str] = &["--heartbeat", "300ms", "--dead-after", "2s", "--lease", "6s"];

/// For how long commands may be alive beside others where nobody can prevent it; a few hundredths of a second are usual.
const OVERLAP_MAX: Duration = Duration::from_secs(2);

/// Processes that stand still until it is dropped; then all go on at once.
struct Frozen(Vec<u32>);

impl Frozen {
    fn new(pids: Vec<u32>) -> Self {
        pids.iter().for_each(|pid| send(*pid, "-STOP"));
        Self(pids)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let pids = self.0.iter().map(u32::to_string);
        // The first may have ended the last by the time it gets there.
        let sent = kill().arg("-CONT").args(pids).stderr(Stdio::null()).status();
        sent.unwrap();
    }
}

/// The process that guards the node.
fn guard_of(node: &Served) -> Option<u32> {
    let all = fs::read_dir("/proc").unwrap();
    let mut pids = all.filter_map(|it| it.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|&pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|it| it.1.split(' ').nth(1).map(str::to_owned));
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        parent == Some(node.pid().to_string()) && line.contains("\0__guard2\0") && is_alive(pid)
    })
}

/// Has the node no guard any more; it is frozen, or would start another.
pub fn kill_guard(node: &Served) {
    let guard = guard_of(node).unwrap();
    send(guard, "-KILL");
    wait_until("the guard is dead", || (!is_alive(guard)).then_some(()));
}

/// Seconds of silence go by.
fn wait_for_silence(stage: &Stage, seconds: f64) {
    let is_silent = || (stage.silence("a") >= seconds).then_some(());
    wait_until(&format!("the node has been silent for {seconds} s"), is_silent);
}

#[test]
fn a_node_frozen_before_and_after_it_read_a_late_answer_has_its_commands_ended_within_the_lease() {
    let stage = Stage::new("late_answer");
    let a = stage.node("a", LEASE, &["before-heartbeat", "after-heartbeat"]);
    let id = stage.start("frozen", &[ENDLESS_ONCE]);
    stage.wait_for(&id, 0, 1);
    let mut b = stage.node("b", LEASE, &[]);
    stage.shut("a", "after-heartbeat");
    stage.wait_at("a", "after-heartbeat");
    a.signal("-STOP");
    wait_for_silence(&stage, 3.0);
    stage.shut("a", "before-heartbeat");
    stage.open("a", "after-heartbeat");
    a.signal("-CONT");
    // It has read the answer, and would send the next one.
    stage.wait_at("a", "before-heartbeat");
    a.signal("-STOP");
    stage.wait_for(&id, 0, 2);
    stage.assert_whole(&[&id]);
    b.stop();
}

#[test]
fn a_guard_that_takes_another_s_place_has_only_what_is_left_of_the_lease() {
    let stage = Stage::new("new_guard");
    let a = stage.node("a", LEASE, &[]);
    let id = stage.start("frozen", &[ENDLESS_ONCE]);
    stage.wait_for(&id, 0, 1);
    let mut b = stage.node("b", LEASE, &[]);
    // Its heartbeats don't get through, but its thread goes on.
    let mut client = stage.bench.database.sql();
    let mut locking = client.transaction().unwrap();
    locking.execute("SELECT FROM nodes WHERE name = 'a' FOR UPDATE", &[]).unwrap();
    wait_for_silence(&stage, 2.0);
    let first = guard_of(&a).unwrap();
    send(first, "-KILL");
    wait_until("another guard is there", || guard_of(&a).filter(|it| *it != first));
    a.signal("-STOP");
    let name = format!("{} a keeper", stage.bench.database.schema);
    let waiting = "SELECT FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'";
    wait_until("the server has given up its last heartbeat", || {
        stage.bench.database.sql().query(waiting, &[&name]).unwrap().is_empty().then_some(())
    });
    locking.rollback().unwrap();
    assert!(stage.silence("a") > 2.0, "a heartbeat got through");
    stage.wait_for(&id, 0, 2);
    stage.assert_whole(&[&id]);
    b.stop();
}

/// The one overlap that nobody can prevent: all of it stands still, as a paused container does, and nothing of it can end
/// anything before it goes on.
#[test]
fn a_node_frozen_with_its_guard_and_commands_is_beside_its_heir_for_a_moment_when_it_goes_on() {
    let stage = Stage::new("all_frozen");
    let mut a = stage.node("a", SHORT_LEASE, &[]);
    let then = format!("[ $TASK_ATTEMPT = 2 ] || exec sleep 100; {}", stage.until("go"));
    let ids: Vec<_> = (0..3).map(|at| stage.start(&format!("frozen-{at}"), &[&then])).collect();
    let commands: Vec<u32> = ids.iter().map(|id| stage.wait_for(id, 0, 1).pid).collect();
    let mut b = stage.node("b", SHORT_LEASE, &[]);
    let guard = guard_of(&a).unwrap();
    let all = Frozen::new([&[a.pid(), guard], &commands[..]].concat());
    ids.iter().for_each(|id| assert!(stage.wait_for(id, 0, 2).is_beside, "the frozen one was ended"));
    let thawed = Instant::now();
    drop(all);
    wait_until("the old commands are dead", || (!commands.iter().any(|pid| is_alive(*pid))).then_some(()));
    let overlap = thawed.elapsed();
    println!("both were alive for {overlap:?}");
    assert!(overlap < OVERLAP_MAX, "both were alive for {overlap:?}: {}", a.log());
    stage.release("go");
    ids.iter().for_each(|id| drop(stage.bench.database.wait_for(id)));
    a.stop();
    b.stop();
}

/// The other moment that nobody can look into: between the last look at the lease and the start of the command.
#[test]
fn a_node_frozen_just_before_a_start_has_its_command_beside_that_of_its_heir_for_a_moment_at_the_most() {
    let stage = Stage::new("start_frozen");
    let words = [&["--executors", "1"], SHORT_LEASE].concat();
    let mut a = stage.node("a", &words, &["before-spawn"]);
    stage.shut("a", "before-spawn");
    let id = stage.start("frozen", &[&stage.until("go")]);
    stage.wait_at("a", "before-spawn");
    a.signal("-STOP");
    let mut b = stage.node("b", &words, &[]);
    stage.wait_for(&id, 0, 2);
    let next = stage.start("next", &["true"]);
    stage.open("a", "before-spawn");
    a.signal("-CONT");
    let (mut begun, mut overlap) = (None, Duration::ZERO);
    wait_until("the node has gone on to what is next", || {
        if let Some(stale) = stage.find(&id, 0, 1)
            && is_alive(stale.pid)
        {
            overlap = begun.get_or_insert_with(Instant::now).elapsed();
            assert!(overlap < OVERLAP_MAX, "both have been alive for {overlap:?}: {}", a.log());
        }
        let process = stage.bench.database.store().process(&next).unwrap().unwrap();
        process.status.is_final().then_some(())
    });
    println!("both were alive for {overlap:?}");
    stage.release("go");
    stage.bench.database.wait_for(&id);
    assert_eq!(stage.outcomes(&next)[0].1, "a");
    a.stop();
    b.stop();
}
