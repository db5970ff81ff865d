//! A server that takes what it is sent and says nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use process_orchestrator::engine::NodeConfig;

use super::world::{Idle, Serve, World, wait_for_count};
use crate::common::{one_task, wait_until};

/// Short enough that a test can wait for its end, in which the node has to have ended its commands.
fn short_lease(world: &World) -> NodeConfig {
    NodeConfig {
        heartbeat: Duration::from_millis(200),
        dead_after: Duration::from_secs(1),
        lease: Duration::from_secs(3),
        statement_timeout: Duration::from_secs(1),
        ..world.config()
    }
}

#[test]
fn a_node_before_a_frozen_server_ends_its_commands_and_goes_on_when_it_thaws() {
    let world = World::with_server("frozen", &[]);
    let once_slow = "if [ $TASK_ATTEMPT = 1 ]; then exec sleep 600; fi";
    let ids = world.start("once-slow", 2, &[once_slow, "true"]);
    let node = world.node(&world.settings, short_lease(&world));
    let health = node.health();
    wait_until("both run", || (health.busy() == 2).then_some(()));
    let frozen = world.server().freeze();
    let began = Instant::now();
    wait_until("the node has ended its commands", || (health.busy() == 0).then_some(()));
    let took = began.elapsed();
    println!("fenced after {took:?}");
    // Two thirds of the lease, a look, and the time a command takes to die.
    assert!(took > Duration::from_millis(1500), "fenced after {took:?}");
    drop(frozen);
    assert_eq!(world.assert_whole(&ids, 2), 2);
    node.stop();
}

fn ask(serve: &Serve, path: &str) -> (String, Duration) {
    let log = serve.log();
    let address = log.split("http://").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let began = Instant::now();
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer, began.elapsed())
}

#[test]
fn a_frozen_server_hangs_neither_the_endpoint_nor_the_stop_and_loses_nothing() {
    let mut world = World::with_server("hang", &[]);
    let (gate, wait) = world.gate();
    let ids = world.start("two", 4, &[&wait, "true"]);
    let words = ["--listen", "127.0.0.1:0", "--drain-timeout", "1s"];
    let mut serve = world.serve(&words, &[]);
    wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 4);
    let frozen = world.server().freeze();
    let idle = Idle::begin(&serve);
    fs::write(&gate, "").unwrap();
    let (answer, took) = ask(&serve, "/livez");
    assert!(answer.starts_with("HTTP/1.1 200") && took < Duration::from_secs(5), "{took:?} {answer}");
    let (answer, took) = ask(&serve, "/status");
    assert!(answer.starts_with("HTTP/1.1 503") && took < Duration::from_secs(20), "{took:?} {answer}");
    println!("/status answered after {took:?}");
    idle.end(&serve, 20);
    drop(frozen);
    world.wait_for_all(&ids);
    let frozen = world.server().freeze();
    serve.send("-TERM");
    let began = Instant::now();
    let ended = serve.wait();
    println!("stopped after {:?} with {ended}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}:\n{}", began.elapsed(), serve.log());
    drop(frozen);
    world.assert_ran_once(&ids, 2);
}

#[test]
fn connections_that_fall_silent_are_replaced_by_new_ones() {
    let world = World::new("black_hole");
    let proxy = world.proxy();
    let (gate, wait) = world.gate();
    let mut ids = world.start("two", 4, &[&wait, "true"]);
    let config = NodeConfig {
        statement_timeout: Duration::from_secs(1),
        heartbeat: Duration::from_millis(200),
        ..world.config()
    };
    let node = world.node(&world.through(&proxy), config);
    let health = node.health();
    wait_until("all commands run", || (health.busy() == 4).then_some(()));
    let last_heartbeat = || -> std::time::SystemTime {
        world.sql().query_one("SELECT last_heartbeat FROM nodes", &[]).unwrap().get(0)
    };
    let lock = "nodes WHERE lock_key IN (SELECT ((objid::bigint + 2147483648) % 4294967296 - 2147483648)::int \
                FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2)";
    // A session that falls silent while it is opened is not known yet.
    wait_until("the keeper has its connection", || (world.count(lock) == 1).then_some(()));
    proxy.silence_standing();
    let silenced = last_heartbeat();
    fs::write(&gate, "").unwrap();
    // What is new is claimed: the poller has a new connection, as has the recorder.
    ids.extend(world.start("new", 4, &["true", "true"]));
    world.wait_for_all(&ids);
    wait_until("the keeper renews the lease on a new connection, with the node's lock", || {
        (last_heartbeat() > silenced && world.count(lock) == 1).then_some(())
    });
    node.stop();
    world.assert_ran_once(&ids, 2);
}

#[test]
fn a_reload_that_waits_for_the_database_keeps_no_stop_waiting() {
    let mut world = World::with_server("reload", &[]);
    let types = world.bench.folder.join(world.bench.file(&one_task("true")));
    let mut serve = world.serve(&["--no-http", "--process-types", types.to_str().unwrap()], &[]);
    let frozen = world.server().freeze();
    serve.send("-HUP");
    serve.wait_for_line("SIGHUP: reading");
    serve.send("-TERM");
    serve.wait_for_line("SIGTERM: no more processes are claimed");
    let is_over =
        |log: &str| log.contains("SIGHUP: the process types stay") || log.contains("SIGHUP: 1 process type");
    assert!(!is_over(&serve.log()), "the reload was over by then:\n{}", serve.log());
    drop(frozen);
    assert!(serve.wait().success(), "{}", serve.log());
}
