//! A statement is done and its answer never comes, or nobody knows yet whether it will be done.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use process_orchestrator::Outcome;
use process_orchestrator::engine::NodeConfig;
use process_orchestrator::store::claims::ClaimRequest;
use process_orchestrator::store::membership::{NodeIdentity, Place};

use super::proxy::Way;
use super::world::{World, wait_for_count};
use crate::common::wait_until;

/// Words that only the statement for it has.
const RECORD: &str = "INSERT INTO executions";
const CLAIM: &str = "Claims due processes for a node";
const RELEASE: &str = "Gives back claims whose task was never begun";

fn wait_for_trap(sprung: &AtomicBool) {
    wait_until("the answer was lost", || sprung.load(Ordering::SeqCst).then_some(()));
}

#[test]
fn a_record_whose_answer_is_lost_is_not_made_again_and_its_process_goes_on() {
    let world = World::new("lost_record");
    let proxy = world.proxy();
    let ids = world.start("three", 8, &["true", "true", "true"]);
    let sprung = proxy.lose_answer_to(RECORD);
    let node = world.node(&world.through(&proxy), world.config());
    wait_for_trap(&sprung);
    // Again, now amid others.
    let sprung = proxy.lose_answer_to(RECORD);
    wait_for_trap(&sprung);
    world.wait_for_all(&ids);
    node.stop();
    world.assert_ran_once(&ids, 3);
}

#[test]
fn a_claim_whose_answer_is_lost_is_given_back_and_runs_once() {
    let world = World::new("lost_claim");
    let proxy = world.proxy();
    let ids = world.start("two", 8, &["true", "true"]);
    let sprung = proxy.lose_answer_to(CLAIM);
    let node = world.node(&world.through(&proxy), world.config());
    wait_for_trap(&sprung);
    world.wait_for_all(&ids);
    node.stop();
    world.assert_ran_once(&ids, 2);
}

#[test]
fn a_release_whose_answer_is_lost_leaves_the_process_due() {
    let world = World::new("lost_release");
    let proxy = world.proxy();
    let ids = world.start("two", 4, &["true", "true"]);
    // The lost claim is given back by a statement that is lost as well.
    let claim = proxy.lose_answer_to(CLAIM);
    let node = world.node(&world.through(&proxy), world.config());
    wait_for_trap(&claim);
    let release = proxy.lose_answer_to(RELEASE);
    wait_for_trap(&release);
    world.wait_for_all(&ids);
    node.stop();
    world.assert_ran_once(&ids, 2);
}

#[test]
fn a_takeover_whose_answer_is_lost_is_in_the_trail_once() {
    let world = World::new("lost_takeover");
    let proxy = world.proxy();
    let ids = world.start("one", 3, &["true"]);
    // A node of this host whose process has ended, with claims.
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let space = process_orchestrator::platform::pid_space().unwrap();
    let dead = NodeIdentity {
        lock_key: 0,
        node_id: "dead-1".to_owned(),
        name: "dead".to_owned(),
        host: "here".to_owned(),
        pid: i32::try_from(ended.id()).unwrap(),
        executors: 3,
        lease: Duration::from_secs(300),
        heartbeat: Duration::from_secs(2),
        dead_after: Duration::from_secs(10),
        place: Some(Place { boot_id: space.boot_id, pid_namespace: space.namespace, pid_started: None }),
    };
    let mut store = world.store();
    store.register_node(&dead).unwrap();
    assert_eq!(store.claim_due("dead-1", &ClaimRequest::of(3)).unwrap().claimed.len(), 3);
    // Nothing is due, so the first record is the takeover's.
    let sprung = proxy.lose_answer_to(RECORD);
    let node = world.node(&world.through(&proxy), world.config());
    wait_for_trap(&sprung);
    assert_eq!(world.assert_whole(&ids, 1), 3);
    node.stop();
    for id in &ids {
        let outcomes: Vec<_> = store.executions(id).unwrap().iter().map(|it| it.outcome).collect();
        assert_eq!(outcomes, [Outcome::Lost, Outcome::Succeeded]);
    }
}

#[test]
fn a_record_that_is_still_at_work_when_the_node_comes_back_is_ended_before_it_is_made_again() {
    let world = World::new("still_at_work");
    let proxy = world.proxy();
    let (gate, wait) = world.gate();
    let ids = world.start("two", 4, &[&wait, "true"]);
    let node = world.node(&world.through(&proxy), world.config());
    let health = node.health();
    wait_until("all commands run", || (health.busy() == 4).then_some(()));
    let mut blocker = world.sql();
    let mut blocking = blocker.transaction().unwrap();
    blocking.batch_execute("LOCK TABLE task_executions IN ACCESS EXCLUSIVE MODE").unwrap();
    fs::write(&gate, "").unwrap();
    let waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'executions'::regclass \
                   AND mode = 'RowExclusiveLock'";
    let mut client = world.sql();
    let old: i32 = wait_until("the record waits for the lock", || {
        client.query_opt(&format!("{waiting} LIMIT 1"), &[]).unwrap().map(|row| row.get(0))
    });
    // The server does not look at its client while it waits for a lock.
    proxy.cut_clients();
    let is_there = format!("SELECT FROM pg_stat_activity WHERE pid = {old}");
    wait_until("the node has ended its old session", || {
        client.query_opt(&is_there, &[]).unwrap().is_none().then_some(())
    });
    blocking.commit().unwrap();
    world.wait_for_all(&ids);
    node.stop();
    world.assert_ran_once(&ids, 2);
}

/// The way on which everything vanishes for a while; then the connections break.
fn silent_one_way(test: &str, way: Way) {
    let world = World::new(test);
    let proxy = world.proxy();
    let (gate, wait) = world.gate();
    // The first task gives the recorder its connection and its prepared statement.
    let ids = world.start("three", 4, &["true", &wait, "true"]);
    let node = world.node(&world.through(&proxy), world.config());
    let health = node.health();
    let running = "tasks WHERE task_index = 1 AND status = 'IN_PROGRESS'";
    wait_for_count(&world, running, |it| it == 4);
    wait_until("all commands run", || (health.busy() == 4).then_some(()));
    proxy.swallow(way, true);
    fs::write(&gate, "").unwrap();
    if way == Way::ToClient {
        wait_for_count(&world, "task_executions WHERE task_index = 1", |it| it > 0);
    } else {
        wait_until("the commands have ended", || (health.busy() == 0).then_some(()));
    }
    proxy.swallow(way, false);
    proxy.cut();
    world.wait_for_all(&ids);
    node.stop();
    world.assert_ran_once(&ids, 3);
}

#[test]
fn results_that_vanish_on_the_way_to_the_server_are_recorded_after_the_connection_has_broken() {
    silent_one_way("silent_up", Way::ToServer);
}

#[test]
fn results_whose_answers_vanish_are_not_recorded_again_after_the_connection_has_broken() {
    silent_one_way("silent_down", Way::ToClient);
}

#[test]
fn a_stop_during_an_outage_ends_and_says_what_was_not_recorded() {
    let mut world = World::new("stop_in_outage");
    let proxy = world.proxy();
    let (gate, wait) = world.gate();
    let ids = world.start("one", 2, &[&wait]);
    let url = world.url_through(&proxy);
    let mut serve = world.serve_on(&url, &["--no-http", "--drain-timeout", "200ms"], &[]);
    wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 2);
    proxy.refuse(true);
    proxy.cut();
    fs::write(&gate, "").unwrap();
    serve.wait_for_line("query failed role=recorder");
    let began = std::time::Instant::now();
    serve.send("-TERM");
    let ended = serve.wait();
    println!("stopped after {:?}", began.elapsed());
    assert_eq!(ended.code(), Some(1), "{}", serve.log());
    let told = "the database did not take the last result of 2 processes";
    assert!(serve.log().contains(told), "{}", serve.log());
    // 15 s for the commands' grace and their records, 6 s for the last try; the rest is for a busy machine.
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    // The next node finds what they left, and says so in the trail.
    proxy.refuse(false);
    let next = world.node(
        &world.settings,
        NodeConfig {
            heartbeat: Duration::from_millis(100),
            dead_after: Duration::from_millis(400),
            lease: Duration::from_secs(5),
            ..world.config()
        },
    );
    wait_until("the stopped node counts as dead", || {
        let silent = "UPDATE nodes SET last_heartbeat = now() - interval '1 hour' WHERE node_id <> $1";
        world.sql().execute(silent, &[&next.health().node_id()]).unwrap();
        (world.count("scheduled_tasks") == 0).then_some(())
    });
    assert_eq!(world.assert_whole(&ids, 1), 2);
    next.stop();
}

#[test]
fn many_starts_whose_commit_is_not_answered_are_told_as_what_they_are() {
    let world = World::new("lost_starts");
    let proxy = world.proxy();
    world.store().register(&crate::common::one_task("true")).unwrap();
    fs::write(world.bench.folder.join("in.jsonl"), "{}\n".repeat(1_200)).unwrap();
    let words = ["start", "one-task", "--inputs", "in.jsonl"];
    let run = || {
        let mut command = world.bench.command(&words);
        crate::program::ended(command.env("DATABASE_URL", world.url_through(&proxy)))
    };
    let sprung = proxy.lose_answer_to("COMMIT");
    let started = run().expect(0);
    assert!(sprung.load(Ordering::SeqCst));
    let (ids, told) = (started.out.lines().count(), "1200 processes were started all the same");
    assert!(ids == 1_200 && started.err.contains(told), "{started:#?}");
    assert_eq!(world.sql().query_one("SELECT count(*) FROM processes", &[]).unwrap().get::<_, i64>(0), 1_200);
}
