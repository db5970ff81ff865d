//! Commands of a node that is dead die with it, wherever they have hidden, and nothing else does.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader, PipeWriter, Write, pipe};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use process_orchestrator::command::NODE_VARIABLE;
use process_orchestrator::engine::NodeConfig;
use process_orchestrator::engine::guard::{Guard, kill_commands_of};
use process_orchestrator::platform::processes::is_alive;
use process_orchestrator::{Outcome, ProcessInputData, ProcessStatus, ProcessType};

use crate::common::{TestDatabase, script, wait_until};
use crate::program::send;

/// Longer than any test.
const LEASE: Duration = Duration::from_secs(300);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_process-orchestrator"))
}

/// The id of a node that is not; what still carries it at the end of the test is killed.
struct NodeId(String);

impl NodeId {
    fn new(test: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        Self(format!("{test}-{}-{:08x}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    fn mark(&self) -> String {
        format!("{NODE_VARIABLE}={}", self.0)
    }

    /// Starts a script as a command of the node and returns what it prints in its first line.
    fn run(&self, script: &str) -> (Reaped, Vec<u32>) {
        let mut command = shell(script);
        command.env(NODE_VARIABLE, &self.0).stdout(Stdio::piped());
        let mut child = Reaped(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (child, line.split_whitespace().map(|pid| pid.parse().unwrap()).collect())
    }

    /// Whose environment holds the mark, found by other means than the guard's.
    fn carriers(&self) -> Vec<u32> {
        let mark = self.mark();
        let pids =
            fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            String::from_utf8_lossy(&environment).split('\0').any(|entry| entry == mark)
        })
        .collect()
    }
}

impl Drop for NodeId {
    fn drop(&mut self) {
        kill_commands_of(std::slice::from_ref(&self.0)).unwrap();
    }
}

/// A child that is killed and reaped at the end of the test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// A guard whose node is this test.
struct ByHand {
    process: Child,
    pipe: PipeWriter,
}

impl ByHand {
    fn start(node_id: &NodeId) -> Self {
        let (reader, pipe) = pipe().unwrap();
        let mut command = Command::new(program());
        command.args(["__guard2", &node_id.0]).env_clear().stdin(reader).stderr(Stdio::piped());
        Self { process: command.spawn().unwrap(), pipe }
    }

    /// The node dies. Returns what the guard says when it has ended.
    fn die(self) -> String {
        drop(self.pipe);
        let output = self.process.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    }
}

fn status_line(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
}

#[test]
fn the_commands_of_a_dead_node_die_wherever_they_have_hidden() {
    let node = NodeId::new("hidden");
    let guard = ByHand::start(&node);
    let commands = [
        ("plain", "echo $$; exec sleep 600"),
        ("in a session of its own", "setsid sleep 600 & echo $$ $!; wait"),
        ("forked twice", "(sh -c 'echo $$; exec sleep 600' & ) ; exit"),
        ("forked twice, own session", "(setsid sh -c 'echo $$; exec sleep 600' </dev/null 2>&1 & ) & exit"),
        ("deaf", "trap '' TERM INT HUP; echo $$; while :; do sleep 600; done"),
        ("restarting what is killed", "sleep 600 & echo $$ $!; while :; do wait; sleep 600 & done"),
        ("stopped", "echo $$; kill -STOP $$"),
        ("elsewhere", "cd /; exec 2>&-; echo $$; exec sleep 600"),
        ("with variables of its own", "export A=1 B=2 HOME=/; echo $$; sleep 600; true"),
    ];
    let started: Vec<_> = commands.iter().map(|(_, script)| node.run(script)).collect();
    for ((what, _), (_, pids)) in commands.iter().zip(&started) {
        assert!(!pids.is_empty() && pids.iter().all(|pid| is_alive(*pid)), "{what}: {pids:?}");
    }
    let said = guard.die();
    for ((what, _), (_, pids)) in commands.iter().zip(&started) {
        assert!(!pids.iter().any(|pid| is_alive(*pid)), "{what}: {pids:?} live; the guard said {said:?}");
    }
    assert_eq!(node.carriers(), [0; 0], "the guard said {said:?}");
    assert!(said.contains(&format!("node {} is dead; processes of its commands killed: ", node.0)), "{said}");
}

#[test]
fn what_only_looks_like_a_command_of_the_dead_node_lives() {
    let node = NodeId::new("alike");
    let guard = ByHand::start(&node);
    let (mark, id) = (node.mark(), &node.0);
    // Each says that it is there and waits for the end of its input.
    let waiting = || shell("echo; read line");
    let alike: Vec<(&str, Command)> = vec![
        ("the mark as an argument", {
            let mut command = waiting();
            command.arg(&mark).arg(&mark);
            command
        }),
        ("another node", with(waiting(), NODE_VARIABLE, &format!("other-{id}"))),
        ("an id that begins with this one", with(waiting(), NODE_VARIABLE, &format!("{id}0"))),
        ("the beginning of this id", with(waiting(), NODE_VARIABLE, &id[..id.len() - 1])),
        ("a longer name", with(waiting(), &format!("X_{NODE_VARIABLE}"), id)),
        ("the mark as a value", with(waiting(), "OTHER", &mark)),
        ("the mark in a line of a value", with(waiting(), "OTHER", &format!("1\n{mark}\n2"))),
        ("an empty id", with(waiting(), NODE_VARIABLE, "")),
        ("no environment at all", {
            let mut command = waiting();
            command.env_clear();
            command
        }),
    ];
    let mut alike: Vec<(&str, Reaped, ChildStdin)> = alike
        .into_iter()
        .map(|(what, mut command)| {
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let input = child.stdin.take().unwrap();
            (what, Reaped(child), input)
        })
        .collect();
    let (_command, pids) = node.run("echo $$; exec sleep 600");
    let said = guard.die();
    assert!(!is_alive(pids[0]), "{said}");
    assert!(said.ends_with("killed: 1\n"), "{said}");
    for (what, child, input) in &mut alike {
        // One that was stopped or killed does not end by itself, in order.
        input.write_all(b"go on\n").unwrap();
        assert!(child.0.wait().unwrap().success(), "{what} was hit");
    }
}

fn with(mut command: Command, name: &str, value: &str) -> Command {
    command.env(name, value);
    command
}

#[test]
fn a_storm_of_forks_is_over_when_its_node_is_dead() {
    let node = NodeId::new("storm");
    let guard = ByHand::start(&node);
    // Eight lines of processes of which each starts the next and ends; never more than some twenty at a time.
    let storm = "f() { (sleep 0.002; f) & }; for i in 1 2 3 4 5 6 7 8; do f; done; echo $$";
    let (_shell, first) = node.run(storm);
    let seen = |pid: u32| node.carriers().iter().any(|carrier| *carrier > pid + 50);
    wait_until("the storm has gone on for fifty processes", || seen(first[0]).then_some(()));
    let said = guard.die();
    assert_eq!(node.carriers(), [0; 0], "{said}");
}

#[test]
fn a_guard_that_is_bidden_farewell_leaves_everybody_alone() {
    let node = NodeId::new("farewell");
    let guard = Guard::start(program(), &node.0, LEASE).unwrap();
    let (_command, pids) = node.run("echo $$; exec sleep 600");
    let guard_pid = guard.pid().unwrap();
    guard.dismiss();
    assert!(!is_alive(guard_pid));
    assert!(is_alive(pids[0]));
    guard.keep_alive();
    assert_eq!(guard.pid(), None, "a dismissed guard is not replaced");
}

#[test]
fn a_guard_is_hard_to_disturb_and_disturbs_nobody() {
    let node = NodeId::new("calm");
    let guard = Guard::start(program(), &node.0, LEASE).unwrap();
    let pid = guard.pid().unwrap();
    let is_called = || status_line(pid, "Name:").is_some_and(|name| name == "orchestr-guard").then_some(());
    wait_until("the guard has settled", is_called);
    for signal in ["-TERM", "-INT", "-HUP", "-QUIT", "-USR1"] {
        send(pid, signal);
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!(fields[2..4], [pid.to_string(), pid.to_string()], "its own process group and session");
    let mut open: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    // Number 3 is its duplicate of the pipe's reading end.
    assert_eq!(open, ["0", "1", "2", "3"]);
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");

    let (_command, pids) = node.run("echo $$; exec sleep 600");
    guard.end_commands();
    assert!(!is_alive(pid) && !is_alive(pids[0]));
}

#[test]
fn a_guard_that_was_killed_is_replaced() {
    let node = NodeId::new("replaced");
    let guard = Guard::start(program(), &node.0, LEASE).unwrap();
    let first = guard.pid().unwrap();
    guard.keep_alive();
    assert_eq!(guard.pid(), Some(first), "it lives");
    send(first, "-KILL");
    let second = wait_until("another guard is there", || {
        guard.keep_alive();
        guard.pid().filter(|pid| *pid != first)
    });
    let (_command, pids) = node.run("echo $$; exec sleep 600");
    guard.end_commands();
    assert!(!is_alive(second) && !is_alive(pids[0]));
}

#[test]
fn a_program_that_cannot_be_the_guard_is_named() {
    let error = Guard::start(Path::new("/no/such/program"), "node", LEASE).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    let database = TestDatabase::new("no_guard");
    let config = NodeConfig { guard: Some("/no/such/program".into()), ..database.config() };
    let error = database.try_node(config).err().expect("no node without the guard that was asked for");
    assert!(
        error.to_string().starts_with("failed to start /no/such/program as the node's guard: "),
        "{error}"
    );
}

#[test]
fn a_guard_started_by_hand_without_a_pipe_kills_nobody() {
    let node = NodeId::new("by_hand");
    let (_command, pids) = node.run("echo $$; exec sleep 600");
    let output = Command::new(program()).args(["__guard2", &node.0]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("its standard input is no pipe"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    assert!(is_alive(pids[0]));
}

#[test]
fn commands_of_dead_predecessors_are_killed_and_counted() {
    let (one, two, three) = (NodeId::new("dead_one"), NodeId::new("dead_two"), NodeId::new("living"));
    let (_a, first) = one.run("setsid sleep 600 & echo $$ $!; wait");
    let (_b, second) = two.run("echo $$; exec sleep 600");
    let (_c, third) = three.run("echo $$; exec sleep 600");
    let swept = kill_commands_of(&[one.0.clone(), String::new(), two.0.clone()]).unwrap();
    assert_eq!((swept.killed, swept.left), (3, 0));
    assert!(!first.iter().chain(&second).any(|pid| is_alive(*pid)));
    assert!(is_alive(third[0]));
    assert_eq!(kill_commands_of(&[]).unwrap().killed, 0);
}

/// The guards among our own children, by the node's id.
fn guards_of(node_id: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command_line).contains(&format!("\0__guard2\0{node_id}\0")) && is_alive(*pid)
    })
    .collect()
}

#[test]
fn a_node_marks_its_commands_and_keeps_a_guard_until_it_has_stopped() {
    let database = TestDatabase::new("guarded");
    let mut hidden = script("print", &format!("echo \"${NODE_VARIABLE}\"; ls -l /proc/self/fd"));
    hidden.environment.insert(NODE_VARIABLE.to_owned(), "not-this".to_owned());
    // No validation: an older release has let it pass.
    database.store().register(&ProcessType::new("marked", "").add(hidden)).unwrap();
    let node = database.node_with(NodeConfig { guard: Some(PathBuf::from(program())), ..database.config() });
    let node_id = node.health().node_id().to_owned();
    let guards = guards_of(&node_id);
    assert_eq!(guards.len(), 1, "{guards:?}");

    let id = database.start("marked", ProcessInputData::default());
    let process = database.wait_for(&id);
    let executions = database.store().executions(&id).unwrap();
    assert_eq!(process.status, ProcessStatus::Completed, "{executions:?}");
    assert_eq!(executions[0].outcome, Outcome::Succeeded);
    let output = executions[0].output.as_deref().unwrap_or_default();
    assert!(
        output.starts_with(&format!("{node_id}\n")),
        "the node's id, whatever the task says of it: {output}"
    );
    let pipe = fs::read_link(format!("/proc/{}/fd/0", guards[0])).unwrap();
    assert!(pipe.to_str().unwrap().starts_with("pipe:"), "{pipe:?}");
    assert!(!output.contains(pipe.to_str().unwrap()), "the command holds the guard's {pipe:?}: {output}");

    send(guards[0], "-KILL");
    let replaced = || Some(guards_of(&node_id)).filter(|now| now.len() == 1 && *now != guards);
    let replacement = wait_until("the keeper has started another guard", replaced);
    node.stop();
    assert_eq!(guards_of(&node_id), [0; 0], "{replacement:?} was to leave with the node");
}
