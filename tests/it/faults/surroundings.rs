//! A server that lets nobody in, takes no writes, or gives nobody time.

use std::fs;
use std::time::Duration;

use process_orchestrator::database::Patience;

use super::world::{Idle, World, postgres_place, wait_for_count};
use crate::common::wait_until;

/// How long the server is of no use.
const TROUBLE: Duration = Duration::from_secs(4);

/// Takes connections until there are none left.
fn take_all(world: &World) -> Vec<postgres::Client> {
    let mut taken = Vec::new();
    while let Ok(client) = world.settings.open("hog", &Patience::DEFAULT) {
        taken.push(client);
    }
    taken
}

#[test]
fn connections_used_up_at_the_start_and_later_are_waited_for_once_the_node_runs() {
    let mut world = World::with_server("full", &[("max_connections", "12")]);
    let (gate, wait) = world.gate();
    let mut ids = world.start("two", 4, &[&wait, "true"]);
    let place = postgres_place(&world.settings);

    let taken = take_all(&world);
    let mut refused = world.begin_serve(&place, &["--no-http"], &[]);
    assert_eq!(refused.wait().code(), Some(4), "{}", refused.log());
    assert!(refused.log().contains("too many clients already; close other clients"), "{}", refused.log());
    drop(taken);

    let mut serve = wait_until("a connection is free", || Some(world.serve(&["--no-http"], &[])));
    wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 4);
    let mut client = world.sql();
    // The node's sessions are ended, and others are faster.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let mut taken = take_all(&world);
    for _ in 0..20 {
        client
            .execute(
                &format!(
                    "{end} AND application_name LIKE 'process-orchestrator%' \
                                 AND application_name NOT LIKE '% hog'"
                ),
                &[],
            )
            .unwrap();
        taken.extend(take_all(&world));
    }
    let idle = Idle::begin(&serve);
    fs::write(&gate, "").unwrap();
    std::thread::sleep(TROUBLE);
    idle.end(&serve, 20);
    assert!(serve.log().contains("too many clients"), "{}", serve.log());
    drop(taken);
    world.wait_for_all(&ids);
    ids.extend(world.start("afterwards", 4, &["true", "true"]));
    world.wait_for_all(&ids);
    serve.stop();
    world.assert_ran_once(&ids, 2);
}

#[test]
fn a_database_that_takes_no_writes_for_a_while_is_waited_for_without_spinning() {
    let mut world = World::new("read_only");
    let (gate, wait) = world.gate();
    let mut ids = world.start("two", 4, &[&wait, "true"]);
    ids.extend(world.start("behind", 4, &["true", "true"]));
    let mut serve = world.serve(&["--no-http"], &[]);
    wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 4);
    world.alter_database("SET default_transaction_read_only = on");
    // For sessions that stand it does not hold.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    world.sql().execute(end, &[]).unwrap();
    let idle = Idle::begin(&serve);
    fs::write(&gate, "").unwrap();
    std::thread::sleep(TROUBLE * 2);
    idle.end(&serve, 20);
    assert!(serve.log().contains("read-only transaction"), "{}", serve.log());
    world.alter_database("RESET default_transaction_read_only");
    world.sql().execute(end, &[]).unwrap();
    world.wait_for_all(&ids);
    ids.extend(world.start("afterwards", 4, &["true", "true"]));
    world.wait_for_all(&ids);
    serve.stop();
    world.assert_ran_once(&ids, 2);
}

#[test]
fn tight_limits_of_the_role_do_not_hinder_the_engine() {
    let mut world = World::new("tight");
    let (gate, wait) = world.gate();
    let ids = world.start("two", 4, &[&wait, "true"]);
    let mut serve = world.serve(&["--no-http"], &[]);
    wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 4);
    for limit in
        ["statement_timeout = '5ms'", "lock_timeout = '1ms'", "idle_in_transaction_session_timeout = '1ms'"]
    {
        world.alter_database(&format!("SET {limit}"));
    }
    let is_new: bool = world
        .sql()
        .query_one("SELECT current_setting('server_version_num')::int >= 140000", &[])
        .unwrap()
        .get(0);
    if is_new {
        world.alter_database("SET idle_session_timeout = '1s'");
    }
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    world.sql().execute(end, &[]).unwrap();
    fs::write(&gate, "").unwrap();
    world.wait_for_all(&ids);
    serve.stop();
    world.assert_ran_once(&ids, 2);
}
