//! Clients that ask for the largest answers and read them fast, slowly or never: what the node needs for them is bounded,
//! and others are answered meanwhile.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use process_orchestrator::{ProcessInputData, ProcessType};

use crate::common::wait_until;
use crate::program::{Bench, signal, until_line_kept};

const READERS: usize = 64;
const MEMORY_KIB_MAX: u64 = 100 * 1024;
/// What a node may have more than before, some seconds after the last large answer. The allocator keeps some.
const KEPT_KIB_MAX: u64 = 12 * 1024;
/// For a stop: what the endpoint, its readers and the node take at the most.
const STOP_MAX: Duration = Duration::from_secs(15);

/// The largest things that there can be.
const FILL: &str = r"
    UPDATE processes SET input_data = jsonb_build_object('config', jsonb_build_object('x', repeat('i', 500000))),
        process_context = jsonb_build_object('k', repeat('c', 500000));
    UPDATE processes SET process_context = jsonb_build_object('k', repeat('c', 15000000)) WHERE process_id = 'large-2';
    UPDATE processes SET process_context = (SELECT jsonb_object_agg('k' || n, n) FROM generate_series(1, 400000) AS n)
        WHERE process_id = 'large-3';
    UPDATE tasks SET output = repeat('x', 1048576);
    INSERT INTO task_executions (process_id, task_index, attempt, node_id, command, outcome, started_at, completed_at,
        duration_ms, output, output_bytes)
    SELECT 'large-1', 0, n, 'n-1', repeat('c', 60000), 'FAILED', now(), now(), 1,
        repeat(CASE WHEN n = 7 THEN U&'\0001' WHEN n = 8 THEN U&'\+01F600' ELSE 'y' END, 1048576), 1048576
    FROM generate_series(1, 1000) AS n;
    UPDATE process_types SET definition = jsonb_set(definition, '{description}', to_jsonb(repeat('d', 1000000)));";

const TARGETS: &[&str] = &[
    "/processes/large-1/executions",
    "/processes/large-1/executions?output=true",
    "/processes/large-1/executions?task=0&attempt=7",
    "/processes/large-1/executions?task=0&attempt=8",
    "/processes/large-1/tasks?output=true",
    "/processes/large-1",
    "/processes/large-2",
    "/processes/large-3/live",
    "/processes?limit=1000",
    "/processes?include=input,context&limit=1000",
    "/process-types",
    "/metrics",
];

/// A node of the real program, with large things in its database that it does not run.
struct Served {
    // The schema goes after the node.
    node: Child,
    address: String,
    _bench: Bench,
}

impl Served {
    fn new(test: &str, words: &[&str]) -> Self {
        let bench = Bench::with_tables(test);
        bench.database.register(&ProcessType::new("large", "").add_task("only", "true", "/", 1.0, 0));
        assert!(bench.database.store().pause_process_type("large", None).unwrap());
        for _ in 0..100 {
            bench.database.start("large", ProcessInputData::new());
        }
        bench.database.sql().batch_execute(FILL).unwrap();
        let serve: &[&str] = &["serve", "--listen", "127.0.0.1:0", "--executors", "4"];
        let mut node = bench.spawn(&[serve, words].concat());
        let (seen, mut rest) = until_line_kept(&mut node, "ready: node");
        let address = seen.split("http://").nth(1).unwrap().split(',').next().unwrap().to_owned();
        thread::spawn(move || while rest.read_line(&mut String::new()).is_ok_and(|read| read > 0) {});
        Self { node, address, _bench: bench }
    }

    /// A figure of the node's memory in KiB: `VmRSS`, or `VmHWM` for the most.
    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.node.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.node.id())).unwrap().count()
    }

    fn send(&self, request: &str) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(request.as_bytes())?;
        Ok(stream)
    }

    fn ask(&self, target: &str) -> std::io::Result<TcpStream> {
        self.send(&format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    /// The status of an answer that is read to its end.
    fn status(&self, target: &str) -> Option<u16> {
        let mut answer = Vec::new();
        self.ask(target).and_then(|mut stream| stream.read_to_end(&mut answer)).ok()?;
        std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
    }

    /// Ends it by SIGTERM; how long that took.
    fn stop(mut self) -> Duration {
        let began = Instant::now();
        signal(&self.node, "-TERM");
        wait_until("the node has ended", || self.node.try_wait().unwrap());
        began.elapsed()
    }
}

#[test]
fn memory_is_bounded_whatever_is_asked_for_and_comes_back() {
    let served = Served::new("flood", &[]);
    assert_eq!(served.status("/livez"), Some(200));
    let before = served.memory("VmRSS");
    let (done, large, small) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..READERS {
            let (served, done, large) = (&served, &done, &large);
            scope.spawn(move || {
                for target in TARGETS.iter().cycle().skip(number % TARGETS.len()) {
                    if done.load(Ordering::SeqCst) {
                        return;
                    }
                    match number % 3 {
                        0 if served.status(target) == Some(200) => drop(large.fetch_add(1, Ordering::SeqCst)),
                        0 => {}
                        kind => read_slowly(served, target, kind == 1, done),
                    }
                }
            });
        }
        wait_until("large answers were read beside those that are not", || {
            let alive = served.status("/livez");
            let one = served.status("/processes/large-50/live");
            let is_enough = large.load(Ordering::SeqCst) >= 30 && small.fetch_add(1, Ordering::SeqCst) >= 40;
            if is_enough || alive != Some(200) || one != Some(200) {
                done.store(true, Ordering::SeqCst);
            }
            assert_eq!((alive, one), (Some(200), Some(200)), "what is small is always answered");
            is_enough.then_some(())
        });
    });
    let most = served.memory("VmHWM");
    assert!(most < MEMORY_KIB_MAX, "{most} KiB at the most, {before} KiB before");
    wait_until("memory is back", || (served.memory("VmRSS") < before + KEPT_KIB_MAX).then_some(()));
    eprintln!("{before} KiB before, {most} KiB at the most, {} KiB after", served.memory("VmRSS"));
    served.stop();
}

/// Some bytes now and then, or none at all.
fn read_slowly(served: &Served, target: &str, never: bool, done: &AtomicBool) {
    let Ok(mut stream) = served.ask(target) else { return };
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut piece = [0; 1024];
    while !done.load(Ordering::SeqCst) {
        // What has come is looked at and left where it is: the end is seen when nothing was sent, or by a reset.
        let seen = if never { stream.peek(&mut piece) } else { stream.read(&mut piece) };
        let is_over = match seen {
            Ok(count) => count == 0,
            Err(cause) => cause.kind() == std::io::ErrorKind::ConnectionReset,
        };
        if is_over {
            return;
        }
        thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_stop_waits_for_no_client() {
    let served = Served::new("flood_stop", &[]);
    let mut held: Vec<TcpStream> =
        TARGETS.iter().cycle().take(READERS).map(|it| served.ask(it).unwrap()).collect();
    held.extend((0..16).map(|number| served.send(&format!("GET /{number} HT")).unwrap()));
    assert_eq!(served.status("/livez"), Some(200));
    let took = served.stop();
    assert!(took < STOP_MAX, "{took:?}");
    drop(held);
}

/// A token file that has become a pipe to which nobody writes: calls fail at once, and nothing hangs.
#[test]
fn a_token_path_that_blocks_holds_up_neither_calls_nor_the_stop() {
    let folder = std::env::temp_dir().join(format!("token-path-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let token = folder.join("token");
    std::fs::write(&token, "0123456789abcdef").unwrap();
    let served = Served::new("token_path", &["--http-token-file", token.to_str().unwrap()]);
    std::fs::remove_file(&token).unwrap();
    assert!(Command::new("mkfifo").arg(&token).status().unwrap().success());
    let before = served.threads();
    for _ in 0..50 {
        let mut answer = String::new();
        let request = "POST /processes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Authorization: Bearer 0123456789abcdef\r\nContent-Length: 2\r\n\r\n{}";
        served.send(request).unwrap().read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("token_unavailable"), "{answer}");
    }
    assert!(served.threads() <= before + 8, "{} threads, {before} before", served.threads());
    let took = served.stop();
    assert!(took < STOP_MAX, "{took:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}
