//! Other sessions' locks, circles with them, and isolation levels that engine statements do not expect.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postgres::IsolationLevel;
use postgres::error::SqlState;
use process_orchestrator::engine::{Health, NodeConfig};

use super::world::{Idle, World, wait_for_count};
use crate::common::wait_until;

/// How long another session keeps a table to itself.
const LOCKED: Duration = Duration::from_secs(3);

#[test]
fn a_foreign_lock_on_the_tables_is_waited_for_without_spinning() {
    let mut world = World::new("foreign_lock");
    let (gate, wait) = world.gate();
    let mut ids = world.start("two", 4, &[&wait, "true"]);
    let mut serve = world.serve(&["--no-http"], &[]);
    wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 4);
    for table in ["tasks", "scheduled_tasks", "nodes"] {
        let mut client = world.sql();
        let mut blocking = client.transaction().unwrap();
        blocking.batch_execute(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).unwrap();
        let idle = Idle::begin(&serve);
        fs::write(&gate, "").unwrap();
        std::thread::sleep(LOCKED);
        idle.end(&serve, 12);
        blocking.commit().unwrap();
        world.wait_for_all(&ids);
        ids.extend(world.start(&format!("after-{table}"), 4, &[&wait, "true"]));
    }
    world.wait_for_all(&ids);
    serve.stop();
    world.assert_ran_once(&ids, 2);
}

#[test]
fn a_lock_that_lasts_is_told_once_and_keeps_the_keeper_from_nothing_else() {
    let mut world = World::new("lasting_lock");
    let (_, wait) = world.gate();
    let id = world.start("held", 1, &[&wait]).remove(0);
    let mut serve = world.serve(&["--no-http", "--heartbeat", "200ms", "--dead-after", "600ms"], &[]);
    wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 1);
    let (mut client, mut watcher) = (world.sql(), world.sql());
    let mut blocking = client.transaction().unwrap();
    blocking.batch_execute("LOCK TABLE processes IN ACCESS EXCLUSIVE MODE").unwrap();
    let heartbeat = |watcher: &mut postgres::Client| -> std::time::SystemTime {
        watcher.query_one("SELECT last_heartbeat FROM nodes", &[]).unwrap().get(0)
    };
    let mut last = heartbeat(&mut watcher);
    for _ in 0..6 {
        last = wait_until("the next heartbeat", || Some(heartbeat(&mut watcher)).filter(|it| *it != last));
    }
    let request = "UPDATE scheduled_tasks SET cancel_requested_at = now() WHERE task_instance = $1";
    assert_eq!(world.sql().execute(request, &[&id]).unwrap(), 1);
    let recording = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
                     AND application_name LIKE '% recorder'";
    wait_until("the command was ended", || watcher.query_opt(recording, &[]).unwrap().map(drop));
    blocking.commit().unwrap();
    wait_for_count(&world, "processes WHERE status = 'CANCELLED'", |it| it == 1);
    let log = serve.log();
    assert_eq!(log.matches("query failed role=keeper").count(), 1, "{log}");
    serve.stop();
}

/// Makes another session and the engine wait for each other; it is the engine that lets go.
fn circle(world: &World, health: &Health, id: &str, wait_for: &str) {
    let (mut client, mut watcher) = (world.sql(), world.sql());
    // A deadlock would be found by the engine's session, if it waited for so long.
    client.batch_execute("SET deadlock_timeout = '10min'").unwrap();
    let mut other = client.transaction().unwrap();
    other.execute("SELECT FROM processes WHERE process_id = $1 FOR UPDATE", &[&id]).unwrap();
    fs::write(world.bench.folder.join("gate"), "").unwrap();
    let waiting = format!(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
         AND application_name LIKE '% {wait_for}'"
    );
    wait_until(&format!("the {wait_for} waits, or has waited"), || {
        let has_waited = health.metrics().locked_processes() > 0;
        (has_waited || watcher.query_opt(&waiting, &[]).unwrap().is_some()).then_some(())
    });
    other.execute("SELECT FROM scheduled_tasks WHERE task_instance = $1 FOR UPDATE", &[&id]).unwrap();
    other.rollback().unwrap();
}

#[test]
fn the_recorder_and_the_poller_let_go_of_what_another_session_wants_that_they_wait_for() {
    let world = World::new("circle");
    let (gate, wait) = world.gate();
    let mut ids = world.start("recorded", 1, &[&wait, "true"]);
    let node = world.node(&world.settings, world.config());
    let health = node.health();
    wait_until("it runs", || (health.busy() == 1).then_some(()));
    circle(&world, &health, &ids[0], "recorder");
    world.wait_for_all(&ids);
    node.stop();

    fs::remove_file(&gate).unwrap();
    let node = world.node(&world.settings, NodeConfig { executors: 1, ..world.config() });
    let health = node.health();
    ids.extend(world.start("busy", 1, &[&wait, "true"]));
    wait_until("it runs", || (health.busy() == 1).then_some(()));
    let id = world.start("claimed", 1, &["true", "true"]);
    circle(&world, &health, &id[0], "poller");
    ids.extend(id);
    world.wait_for_all(&ids);
    node.stop();
    world.assert_ran_once(&ids, 2);
}

#[test]
fn a_database_that_is_serializable_by_default_with_concurrent_writers_changes_nothing() {
    let world = World::new("serializable");
    world.alter_database("SET default_transaction_isolation = 'serializable'");
    let ids = world.start("two", 100, &["true", "true"]);
    let is_over = AtomicBool::new(false);
    let nodes = std::thread::scope(|scope| {
        let (first, mut client, mut other) = (ids[0].as_str(), world.sql(), world.sql());
        let mut reader =
            client.build_transaction().isolation_level(IsolationLevel::Serializable).start().unwrap();
        let row = "SELECT version FROM scheduled_tasks WHERE task_instance = $1";
        let before: i64 = reader.query_one(row, &[&first]).unwrap().get(0);
        let is_over = &is_over;
        let writer = scope.spawn(|| {
            let mut client = world.sql();
            while !is_over.load(Ordering::SeqCst) {
                let mixed = "BEGIN ISOLATION LEVEL SERIALIZABLE; \
                             SELECT count(*) FROM scheduled_tasks WHERE picked; SELECT count(*) FROM tasks; \
                             UPDATE scheduled_tasks SET priority = priority WHERE task_instance = ( \
                                 SELECT task_instance FROM scheduled_tasks LIMIT 1); \
                             COMMIT";
                if client.batch_execute(mixed).is_err() {
                    client.batch_execute("ROLLBACK").unwrap();
                }
            }
        });
        let nodes = [(); 2].map(|()| world.node(&world.settings, world.config()));
        // The nodes' writes are what a serializable transaction conflicts with.
        let mut has_changed = || {
            let now = other.query_opt(row, &[&first]).unwrap().map(|row| row.get(0));
            (now != Some(before)).then_some(())
        };
        wait_until("a node has claimed the first process", &mut has_changed);
        let late = "UPDATE scheduled_tasks SET priority = priority WHERE task_instance = $1";
        let error = reader.execute(late, &[&first]).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
        drop(reader);
        world.wait_for_all(&ids);
        is_over.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        nodes
    });
    for node in nodes {
        let health = node.health();
        node.stop();
        assert_eq!(health.database_errors(), 0, "the engine's own transactions are not serializable");
    }
    world.assert_ran_once(&ids, 2);
}
