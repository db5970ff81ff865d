//! Real commands, through [`Runner::run`] as executors call it.

mod context_files;
mod endings;
mod leftovers;
mod spawning;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::supervise::ExitNotice;
use super::{BaseEnvironment, ContextDirectory, Interrupt, Invocation, Report, Runner};
use crate::platform::SpawnWay;

/// Longer than any of these tests should take; a test that needs it has failed.
const FAR: Duration = Duration::from_secs(60);

fn runner() -> Runner {
    runner_with(BaseEnvironment::of_this_process())
}

fn runner_with(base: BaseEnvironment) -> Runner {
    Runner::new(Arc::new(base), Arc::new(ContextDirectory::in_parent(std::env::temp_dir())), 0)
}

/// The runner as Linux has it, the same without descriptors to wait on, and as other systems have it.
fn all_ways() -> [(&'static str, Runner); 3] {
    let with = |exit_notice, spawn_way| {
        let mut runner = runner();
        (runner.exit_notice, runner.spawn_way) = (exit_notice, spawn_way);
        runner
    };
    [
        ("direct", with(ExitNotice::Descriptor, SpawnWay::Direct)),
        ("direct, polling", with(ExitNotice::Polling, SpawnWay::Direct)),
        ("standard library, polling", with(ExitNotice::Polling, SpawnWay::Std)),
    ]
}

fn invocation<'a>(interrupt: &'a Interrupt, argv: &[&str]) -> Invocation<'a> {
    Invocation {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        working_directory: None,
        environment: Vec::new(),
        timeout: FAR,
        grace: FAR,
        max_output_bytes: 1024 * 1024,
        leftovers: crate::Leftovers::Keep,
        context_file: false,
        interrupt,
        live: None,
        lasting: None,
    }
}

/// Runs a command after `change` has set what is special about it.
fn run_on(runner: &mut Runner, argv: &[&str], change: impl FnOnce(&mut Invocation<'_>)) -> Report {
    let interrupt = Interrupt::new().unwrap();
    let mut invocation = invocation(&interrupt, argv);
    change(&mut invocation);
    runner.run(&invocation)
}

fn run(argv: &[&str], change: impl FnOnce(&mut Invocation<'_>)) -> Report {
    run_on(&mut runner(), argv, change)
}

fn run_sh(script: &str, change: impl FnOnce(&mut Invocation<'_>)) -> Report {
    run(&["sh", "-c", script], change)
}

/// A directory of the test's own, removed with it.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!(
            "command-test-{}-{:016x}",
            std::process::id(),
            fastrand::u64(..)
        ));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> std::path::PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// A named pipe, through which a command says how far it is.
    fn pipe(&self, name: &str) -> std::path::PathBuf {
        let path = self.0.join(name);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Blocks until somebody writes a line to the named pipe.
fn line_from(pipe: &Path) -> String {
    let mut line = String::new();
    BufReader::new(std::fs::File::open(pipe).unwrap()).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn is_alive(pid: &str) -> bool {
    crate::platform::processes::is_alive(
        pid.parse().unwrap_or_else(|e| panic!("{pid:?} is no process id: {e}")),
    )
}

/// Waits until a process is gone: being killed takes the kernel a moment.
fn assert_gone(pid: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_alive(pid) {
        assert!(Instant::now() < deadline, "process {pid} still runs");
        std::thread::yield_now();
    }
}
