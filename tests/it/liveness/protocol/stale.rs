//! Work of a claim that was lost meanwhile: a node is declared dead while an answer to it is under way, or while a task
//! waits for an executor, and goes on before it hears of that.

use std::fs;
use std::process::Stdio;

use process_orchestrator::{ProcessStatus, ProcessType};

use super::super::Served;
use super::stage::{LONG_LEASE, SHORT_LEASE, Stage};
use crate::common::{settings, wait_until};

/// How a node comes to be declared dead that lives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its heartbeat's session is gone, and no other comes for a while.
    KeeperCut,
    /// Every session of every node is gone, as at a restart of the server, and its heartbeat is late.
    AllCut,
    /// Its row is gone, and its heartbeat is late.
    Forgotten,
    /// It is frozen for longer than its lease.
    Frozen,
}

impl Fate {
    fn words(self, executors: &'static str) -> Vec<&'static str> {
        let clocks = if self == Self::Frozen { SHORT_LEASE } else { LONG_LEASE };
        [&["--executors", executors], clocks].concat()
    }

    fn strike(self, stage: &Stage, node: &Served) {
        match self {
            Self::KeeperCut => stage.cut_keeper("a"),
            Self::AllCut => {
                stage.hold_heartbeat("a");
                stage.end_sessions("%");
            }
            Self::Forgotten => {
                stage.hold_heartbeat("a");
                let forget = "DELETE FROM nodes WHERE name = 'a'";
                assert_eq!(stage.bench.database.sql().execute(forget, &[]).unwrap(), 1);
            }
            Self::Frozen => node.signal("-STOP"),
        }
    }

    fn lift(self, stage: &Stage, node: &Served) {
        match self {
            Self::Frozen => node.signal("-CONT"),
            Self::KeeperCut | Self::AllCut | Self::Forgotten => stage.open("a", "before-heartbeat"),
        }
        wait_until("the node goes on", || node.log().contains("node goes on").then_some(()));
    }
}

/// Node `a` is held at `place` with work of task `stale`, another node does that work, `a` hears that it was declared
/// dead, goes on, and only then gets on with the work that it was held with.
fn held_at(test: &str, place: &str, stale: i32, fate: Fate) {
    let stage = Stage::new(test);
    let (first, second) = (stage.until("first"), stage.until("go"));
    // One executor begins what follows after it is done with what was held, which is seen then. But who waits for the
    // recorder needs another.
    let executors = if place == "after-record" { "2" } else { "1" };
    let a = stage.node("a", &fate.words(executors), &[place, "before-heartbeat"]);
    let id = if stale == 0 {
        stage.shut("a", place);
        stage.start("held", &[&second])
    } else {
        let id = stage.start("held", &[&first, &second]);
        stage.wait_for(&id, 0, 1);
        stage.shut("a", place);
        stage.release("first");
        id
    };
    stage.wait_at("a", place);
    let b = stage.node("b", &fate.words("1"), &[]);
    fate.strike(&stage, &a);
    stage.wait_for(&id, stale, 2);
    fate.lift(&stage, &a);
    // Whatever follows what was held in each of the node's queues: the other node has no executor for it.
    let next = stage.start("next", &["true", "true"]);
    if place == "after-record" {
        stage.wait_for(&next, 0, 1);
    }
    if fate != Fate::Frozen {
        // It does not ask after its claims just then, and end what it should not have begun.
        stage.hold_heartbeat("a");
    }
    stage.open("a", place);
    wait_to_be_past(&stage, &id, stale, &next);
    if fate != Fate::Frozen {
        stage.open("a", "before-heartbeat");
    }
    assert_passed_over(&stage, &id, stale, &next, [a, b]);
}

/// The node is past the work of task `stale` that it was held with, and on to process `next`.
fn wait_to_be_past(stage: &Stage, id: &str, stale: i32, next: &str) {
    wait_until("the node is past the work that it was held with", || {
        let has_begun = stage.find(id, stale, 1).is_some();
        let next = stage.bench.database.store().process(next).unwrap().unwrap();
        (has_begun || next.status == ProcessStatus::Completed).then_some(())
    });
    stage.assert_apart();
}

/// It has not begun that work, and the others have done all there was.
fn assert_passed_over(stage: &Stage, id: &str, stale: i32, next: &str, nodes: [Served; 2]) {
    stage.release("go");
    [id, next].iter().for_each(|id| drop(stage.bench.database.wait_for(id)));
    nodes.into_iter().for_each(|mut node| node.stop());
    stage.assert_whole(&[id, next]);
    assert!(stage.find(id, stale, 1).is_none(), "begun after it was recorded as lost: {:#?}", stage.begun());
    assert!(stage.outcomes(next).iter().all(|it| it.1 == "a"), "{:?}", stage.outcomes(next));
}

#[test]
fn a_task_whose_hand_on_was_delayed_is_not_begun_once_it_was_lost_by_a_keeper_cut() {
    held_at("record_keeper", "after-record", 1, Fate::KeeperCut);
}

#[test]
fn a_task_whose_hand_on_was_delayed_is_not_begun_once_it_was_lost_by_sessions_cut() {
    held_at("record_all", "after-record", 1, Fate::AllCut);
}

#[test]
fn a_task_whose_hand_on_was_delayed_is_not_begun_once_it_was_lost_by_a_freeze() {
    held_at("record_frozen", "after-record", 1, Fate::Frozen);
}

#[test]
fn a_claim_whose_answer_was_delayed_is_not_begun_once_it_was_lost_by_a_keeper_cut() {
    held_at("claim_keeper", "after-claim", 0, Fate::KeeperCut);
}

#[test]
fn a_claim_whose_answer_was_delayed_is_not_begun_once_it_was_lost_by_sessions_cut() {
    held_at("claim_all", "after-claim", 0, Fate::AllCut);
}

#[test]
fn a_claim_whose_answer_was_delayed_is_not_begun_once_it_was_lost_by_a_freeze() {
    held_at("claim_frozen", "after-claim", 0, Fate::Frozen);
}

#[test]
fn a_claim_whose_answer_was_delayed_is_not_begun_once_its_node_was_forgotten() {
    held_at("claim_forgotten", "after-claim", 0, Fate::Forgotten);
}

#[test]
fn a_first_task_that_waited_for_an_executor_is_not_begun_once_it_was_lost_by_a_keeper_cut() {
    held_at("queued_keeper", "before-begin", 0, Fate::KeeperCut);
}

#[test]
fn a_second_task_that_waited_for_an_executor_is_not_begun_once_it_was_lost_by_sessions_cut() {
    held_at("queued_all", "before-begin", 1, Fate::AllCut);
}

#[test]
fn a_first_task_that_waited_for_an_executor_is_not_begun_once_it_was_lost_by_a_freeze() {
    held_at("queued_frozen", "before-begin", 0, Fate::Frozen);
}

#[test]
fn a_command_that_was_about_to_start_does_nothing_once_it_was_lost() {
    held_at("spawn_keeper", "before-spawn", 0, Fate::KeeperCut);
}

#[test]
fn a_task_that_waited_for_an_executor_is_not_begun_beside_the_same_node_s_new_claim() {
    let stage = Stage::new("own_claim");
    let words = |executors| [&["--executors", executors], LONG_LEASE].concat();
    let b = stage.node("b", &words("1"), &[]);
    let blocker = stage.start("blocker", &[&stage.until("end")]);
    stage.wait_for(&blocker, 0, 1);
    // Only the first: the node's other executor goes on.
    let gates = stage.gates("a").display().to_string();
    let rules = format!("before-begin@1=gate:{gates},before-heartbeat=gate:{gates}");
    let a = stage.node_by(settings().user(), "a", &words("2"), &rules);
    stage.shut("a", "before-begin");
    let id = stage.start("held", &[&stage.until("go")]);
    stage.wait_at("a", "before-begin");
    stage.cut_keeper("a");
    let lost = "task_executions WHERE outcome = 'LOST'";
    wait_until("its claim is taken", || (stage.bench.database.count(lost) > 0).then_some(()));
    Fate::KeeperCut.lift(&stage, &a);
    wait_until("it has claimed it anew", || stage.begun().into_iter().find(|it| it.process == id));
    let next = stage.start("next", &["true"]);
    stage.open("a", "before-begin");
    wait_to_be_past(&stage, &id, 0, &next);
    stage.release("end");
    stage.bench.database.wait_for(&blocker);
    assert_passed_over(&stage, &id, 0, &next, [a, b]);
}

/// Nobody dies: the node's own keeper may take a claim that the poller has not heard of for one that was lost. If it has
/// ended it, the poller must not have it begun.
#[test]
fn a_claim_whose_answer_comes_after_several_sweeps_is_begun_once() {
    let stage = Stage::new("orphan");
    let words = |executors| [&["--executors", executors], LONG_LEASE].concat();
    let a = stage.node("a", &words("1"), &["after-claim", "before-heartbeat"]);
    stage.shut("a", "after-claim");
    let id = stage.start("held", &[&stage.until("go")]);
    stage.wait_at("a", "after-claim");
    (0..4).for_each(|_| wait_for_sweep(&stage));
    let was_ended = !stage.outcomes(&id).is_empty();
    let b = stage.node("b", &words("1"), &[]);
    if was_ended {
        stage.wait_for(&id, 0, 2);
    }
    stage.hold_heartbeat("a");
    stage.open("a", "after-claim");
    if was_ended {
        let next = stage.start("next", &["true"]);
        wait_to_be_past(&stage, &id, 0, &next);
        stage.open("a", "before-heartbeat");
        return assert_passed_over(&stage, &id, 0, &next, [a, b]);
    }
    stage.wait_for(&id, 0, 1);
    stage.open("a", "before-heartbeat");
    stage.release("go");
    stage.assert_whole(&[&id]);
    assert_eq!(stage.begun().len(), 1, "{:#?}", stage.begun());
}

/// A sweep mends what it finds damaged.
fn wait_for_sweep(stage: &Stage) {
    let mut client = stage.bench.database.sql();
    let damage = "INSERT INTO nodes (node_id, name, host, pid, version, executors, lease_seconds, state, last_heartbeat, \
                  lock_key) VALUES ('damaged', 'damaged', 'x', 1, '0', 1, 60, 'STOPPED', now() + interval '1 day', 1) \
                  ON CONFLICT (node_id) DO UPDATE SET last_heartbeat = now() + interval '1 day'";
    client.execute(damage, &[]).unwrap();
    let damaged = "nodes WHERE node_id = 'damaged' AND last_heartbeat > now() + interval '1 hour'";
    wait_until("a sweep has mended it", || (stage.bench.database.count(damaged) == 0).then_some(()));
}

/// The other door: `run` claims the one process that it was started for.
#[test]
fn a_claim_of_run_whose_answer_was_delayed_is_not_begun_once_it_was_lost() {
    let stage = Stage::new("run_claim");
    let kind = ProcessType::new("held", "").add(stage.task("t0", &stage.until("go")));
    let file = stage.bench.file(&kind);
    let mut run = stage.bench.command(&["run", &file, "--process-id", "held"]);
    fs::create_dir(stage.gates("a")).unwrap();
    let gates = stage.gates("a").display().to_string();
    let rules = format!("after-claim=gate:{gates},before-heartbeat=gate:{gates}");
    run.env("DATABASE_URL", stage.url(settings().user())).env("PROCESS_ORCHESTRATOR_FAILPOINTS", rules);
    stage.shut("a", "after-claim");
    let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    stage.wait_at("a", "after-claim");
    stage.hold_heartbeat("a");
    stage.end_sessions("% keeper");
    let mut b = stage.node("b", LONG_LEASE, &[]);
    stage.wait_for("held", 0, 2);
    stage.open("a", "before-heartbeat");
    let living = "nodes WHERE state = 'RUNNING'";
    wait_until("both live", || (stage.bench.database.count(living) == 2).then_some(()));
    stage.open("a", "after-claim");
    // What it has claimed is begun, or not, before it ends.
    stage.release("go");
    let ended = wait_until("run has ended", || run.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
    stage.assert_whole(&["held"]);
    assert!(stage.find("held", 0, 1).is_none(), "begun after it was recorded as lost: {:#?}", stage.begun());
    b.stop();
}
