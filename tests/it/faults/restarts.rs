//! The server restarts, is away for a while, or ends everybody's session all the time.

use std::fs;
use std::time::{Duration, Instant};

use super::world::{Idle, Serve, Stop, World, wait_for_count};
use crate::common::wait_until;

/// How long the server is away in the test of an outage.
const OUTAGE: Duration = Duration::from_secs(10);
/// The storm of ended sessions: this long, this often.
const STORM: Duration = Duration::from_secs(5);
const BETWEEN_BLOWS: Duration = Duration::from_millis(50);

/// Processes run while the server restarts at each of the places where it hurts; the program waits there meanwhile.
#[cfg(feature = "failpoints")]
fn restart_at_every_place(test: &str, how: Stop) {
    let mut world = World::with_server(test, &[]);
    let mut ids = Vec::new();
    for point in ["after-claim", "before-record", "after-record"] {
        ids.extend(world.start(&format!("at-{point}"), 6, &["true", "true"]));
        let hold = format!("{point}@1=hold:{}", world.bench.folder.display());
        let mut serve = world.serve(&["--no-http"], &[("PROCESS_ORCHESTRATOR_FAILPOINTS", hold)]);
        let reached = world.bench.folder.join(format!("{point}.reached"));
        wait_until(&format!("{point} is reached"), || reached.exists().then_some(()));
        world.server().stop(how);
        // It goes on before the server is back: what it tries first fails.
        fs::write(world.bench.folder.join(format!("{point}.go")), "").unwrap();
        serve.wait_for_line("query failed");
        world.server().start();
        world.wait_for_all(&ids);
        assert_still_works(&world, &mut serve, &mut ids, &format!("after-{point}"));
    }
    world.assert_ran_once(&ids, 2);
}

/// No thread has died: new processes run, and the program ends in order.
fn assert_still_works(world: &World, serve: &mut Serve, ids: &mut Vec<String>, name: &str) {
    ids.extend(world.start(name, 4, &["true", "true"]));
    world.wait_for_all(ids);
    assert!(serve.is_running(), "{}", serve.log());
    serve.stop();
}

#[test]
#[cfg(feature = "failpoints")]
fn a_fast_restart_of_the_server_at_any_place_loses_nothing_and_runs_nothing_twice() {
    restart_at_every_place("fastrestart", Stop::Fast);
}

#[test]
#[cfg(feature = "failpoints")]
fn an_immediate_restart_of_the_server_at_any_place_loses_nothing_and_runs_nothing_twice() {
    restart_at_every_place("hardrestart", Stop::Immediate);
}

#[test]
fn results_of_an_outage_are_recorded_when_it_ends_and_nothing_spins_meanwhile() {
    let mut world = World::with_server("outage", &[]);
    let (gate, wait) = world.gate();
    let mut ids = world.start("waits", 4, &[&wait, "true"]);
    ids.extend(world.start("waits-behind", 4, &["true", "true"]));
    let mut serve = world.serve(&["--no-http"], &[]);
    wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 4);
    world.server().stop(Stop::Fast);
    let idle = Idle::begin(&serve);
    fs::write(&gate, "").unwrap();
    std::thread::sleep(OUTAGE);
    idle.end(&serve, 30);
    assert!(serve.is_running(), "{}", serve.log());
    world.server().start();
    let back = Instant::now();
    world.wait_for_all(&ids);
    println!("everything had ended {:?} after the outage", back.elapsed());
    assert_still_works(&world, &mut serve, &mut ids, "afterwards");
    world.assert_ran_once(&ids, 2);
}

#[test]
fn a_storm_of_ended_sessions_loses_nothing_and_runs_nothing_twice() {
    let mut world = World::new("storm");
    let mut ids = world.start("short", 300, &["true", "true"]);
    let mut serve = world.serve(&["--no-http"], &[]);
    let lines = serve.log().lines().count();
    let mut client = world.sql();
    let (began, mut ended) = (Instant::now(), 0);
    while began.elapsed() < STORM {
        let blow = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
        ended += client.query_one(blow, &[]).unwrap().get::<_, i64>(0);
        std::thread::park_timeout(BETWEEN_BLOWS);
    }
    let lines = serve.log().lines().count() - lines;
    println!("{ended} sessions ended, {lines} lines");
    assert!(ended > 10, "{ended} sessions ended");
    assert!(lines < 400, "{lines} lines:\n{}", serve.log());
    assert_still_works(&world, &mut serve, &mut ids, "afterwards");
    world.assert_ran_once(&ids, 2);
}
