//! Faults of the machine: a cut network, limits that are met, clocks that are wrong, commands that go too far.

mod clocks;
mod commands;
mod cut_network;
mod descriptors;
mod disk_full;
mod door;
mod few_files;
mod few_processes;
mod nested;
mod process_one;
mod service;
mod slow_network;
mod streams;
mod terminal;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use process_orchestrator::{Outcome, ProcessStatus};

use crate::common::{TestDatabase, leave_out, settings, wait_until};
use crate::program::{Bench, signal};

/// A node that runs as a program of its own; what it says is kept. It is killed with its test.
pub struct Served {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Served {
    /// Starts it; its standard error is read all the time.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (mut stderr, kept) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while stderr.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { child, log }
    }

    /// The same, once it is ready.
    fn ready(command: &mut Command) -> Self {
        let served = Self::start(command);
        served.says(" ready: node ");
        served
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has said `part`.
    fn says(&self, part: &str) {
        wait_until(&format!("the node says {part:?}; it said:\n{}", self.log()), || {
            self.log().contains(part).then_some(())
        });
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it in order.
    fn stop(self) -> String {
        signal(&self.child, "-TERM");
        self.ended()
    }

    /// Waits until it has ended in order.
    fn ended(mut self) -> String {
        let status = wait_until("the node has ended", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{}", self.log());
        self.log()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the node said:\n{}", self.log());
        }
        // Its guard ends its commands. After a stop there is nobody left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the suite's server is reached, for a node that can't look after the private cluster itself.
fn database_url() -> String {
    format!("host='{}' user=postgres dbname=postgres", socket_directory().display())
}

fn socket_directory() -> PathBuf {
    let patience = process_orchestrator::database::Patience::DEFAULT;
    let mut client = settings().open("test", &patience).unwrap();
    let setting: String = client.query_one("SHOW unix_socket_directories", &[]).unwrap().get(0);
    PathBuf::from(setting.trim_matches('"'))
}

/// Runs a program that has to succeed.
fn done(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The program where every user may run it: the target directory may be closed to others.
fn program_for_all(bench: &Bench) -> String {
    let program = bench.folder.join("program");
    std::fs::copy(env!("CARGO_BIN_EXE_process-orchestrator"), &program).unwrap();
    for path in [&program, &bench.folder] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    program.to_str().unwrap().to_owned()
}

/// The number of a user that nobody is.
fn user_of_nobody() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1_000_000);
    (NEXT.fetch_add(100_000, Ordering::Relaxed) + std::process::id()).to_string()
}

/// What starts a program as that user; only root can.
fn starter_as(user: &str) -> [&str; 7] {
    ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"]
}

/// Whether a program that needs rights succeeds; says so if it does not.
fn is_granted(words: &[&str]) -> bool {
    let refusal = match Command::new(words[0]).args(&words[1..]).output() {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        Err(error) => error.to_string(),
    };
    leave_out(format_args!("this machine does not grant {words:?}: {refusal}"));
    false
}

/// Makes a node's limit (`--nofile`, `--nproc`) what `number` says. `starter` makes us the node's user, as even root
/// may lack the right to do that to another's.
fn limit(starter: &[&str], pid: u32, what: &str, number: usize) {
    done(&[starter, &["prlimit", "--pid", &pid.to_string(), &format!("{what}={number}:{number}")]].concat());
}

/// What was recorded of a process: each execution's outcome.
fn outcomes(database: &TestDatabase, id: &str) -> Vec<Outcome> {
    database.store().executions(id).unwrap().iter().map(|it| it.outcome).collect()
}

/// Waits until all have ended, each completed at its first attempt.
fn all_complete_at_once(database: &TestDatabase, ids: &[String]) {
    for id in ids {
        let process = database.wait_for(id);
        assert_eq!(process.status, ProcessStatus::Completed, "{process:#?}");
    }
    let executions = database.count("task_executions");
    let tasks = database.count("tasks WHERE status = 'COMPLETED' AND retry_count = 0 AND attempt = 1");
    assert_eq!(
        (database.count("task_executions WHERE outcome = 'SUCCEEDED'"), tasks),
        (executions, executions)
    );
}

fn status_of(pid: u32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
}

/// Peak memory in KiB.
fn peak_memory_kib(pid: u32) -> u64 {
    status_of(pid, "VmHWM:").unwrap().trim_end_matches(" kB").parse().unwrap()
}

/// Lets the test fail with what is there where a file should be.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
