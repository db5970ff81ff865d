//! A panic in one of the node's threads ends the node, loudly, and others go on.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Served, check_audit, three_tasks};
use crate::common::wait_until;
use crate::program::Bench;

const FAILPOINTS: &str = "PROCESS_ORCHESTRATOR_FAILPOINTS";

/// The thread panics at the place. `has_said_farewell`: the node has seen to its claims itself.
fn panics(point: &str, thread: &str, has_said_farewell: bool) {
    let bench = Bench::with_tables(&format!("panic_{}", point.replace(['-', '@'], "_")));
    bench.database.register(&three_tasks(&bench));
    let ids = bench.database.start_many("three", 6);
    let rule = format!("{point}=panic");
    let mut first = Served::spawn(&bench, "first", &["--executors", "4"], &[(FAILPOINTS, &rule)]);
    let code = first.ended().code();
    let log = first.log();
    assert_eq!(code, Some(1), "{log}");
    let name = point.split('@').next().unwrap();
    assert!(log.contains(&format!("error: the node has failed: thread {thread}")), "{log}");
    assert!(log.contains(&format!("panicked: failpoint {name}; this is a fault of this program")), "{log}");
    if has_said_farewell {
        assert_eq!(bench.database.count("scheduled_tasks WHERE picked"), 0, "{log}");
        assert_eq!(bench.database.count("nodes WHERE state = 'STOPPED'"), 1, "{log}");
    }
    let mut second = Served::start(&bench, "second", &["--executors", "4"], &[]);
    for id in &ids {
        bench.database.wait_for(id);
    }
    second.stop();
    check_audit(&bench, &ids);
}

#[test]
fn of_the_poller() {
    panics("after-claim@2", "poller", true);
}

#[test]
fn of_an_executor_before_its_command() {
    panics("before-spawn@3", "executor-", true);
}

#[test]
fn of_an_executor_beside_its_command() {
    panics("after-spawn@3", "executor-", true);
}

#[test]
fn of_an_executor_after_its_command() {
    panics("after-exit@3", "executor-", true);
}

#[test]
fn of_the_recorder_before_a_commit() {
    panics("before-record@2", "recorder", true);
}

#[test]
fn of_the_recorder_after_a_commit() {
    panics("after-record@1", "recorder", true);
}

#[test]
fn of_the_keeper() {
    panics("before-heartbeat@1", "keeper", false);
}

#[test]
fn of_the_listener() {
    panics("listening@1", "listener", true);
}

#[test]
fn of_the_one_that_watches_the_lease() {
    panics("watching-lease@1", "lease", true);
}

#[test]
fn of_an_answer_to_a_stranger_does_not_stop_the_node() {
    let bench = Bench::with_tables("panic_http");
    let rule = [(FAILPOINTS, "http-answer@1=panic")];
    let mut node = Served::start(&bench, "node", &["--listen", "127.0.0.1:0"], &rule);
    let log = node.log();
    let address = log.split("http://").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let ask = || {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(stream, "GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let first = ask();
    assert!(first.starts_with("HTTP/1.1 500 ") && first.contains("internal_error"), "{first}");
    assert!(ask().starts_with("HTTP/1.1 200 "));
    wait_until("the log says it", || node.log().contains("answering GET /livez panicked").then_some(()));
    node.stop();
}
