//! Nodes that are processes of their own: what runs there, and the end that the bench holds of each.
//!
//! A child runs what `serve` runs. It says `ready` on its standard output, then how many executions it has recorded
//! whenever that changes. It ends when its standard input does: with the bench, however that ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::error::BenchError;
use super::stage::Stage;
use crate::database::private_cluster::POSTGRESQL_VARIABLE;
use crate::engine::Health;

const READY: &str = "ready";
/// What comes before the number of results that were refused since their claim had been taken.
const STALE: &str = "stale ";
/// How often a child says how far it is.
const TELL: Duration = Duration::from_millis(5);
/// A node that is not ready by then will not be.
const READY_MAX: Duration = Duration::from_secs(60);

/// The name of the node of a process, which its sessions carry.
pub fn node_name(pid: u32) -> String {
    format!("bench-{pid}")
}

/// In the child: says how many executions are recorded, until standard input ends.
///
/// # Errors
/// When standard output can't be written or there is no thread to be had.
pub fn tell_until_end(health: &Health) -> std::io::Result<()> {
    let (tell_end, ended) = bounded::<()>(0);
    let reader = std::thread::Builder::new().name("standard-input".to_owned());
    reader.spawn(move || {
        // Whatever comes, and however it ends, its end is the sign.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(tell_end);
    })?;
    say(READY)?;
    let mut told = 0;
    while ended.recv_timeout(TELL) == Err(RecvTimeoutError::Timeout) {
        let now = health.executions();
        if now != told {
            say(&now.to_string())?;
            told = now;
        }
    }
    Ok(())
}

/// In the child, once the node has stopped: says how many of its results were refused.
///
/// # Errors
/// When standard output can't be written.
pub fn tell_stale(health: &Health) -> std::io::Result<()> {
    say(&format!("{STALE}{}", health.stale_results()))
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// A child, which ends when this is dropped.
pub struct Child {
    process: std::process::Child,
    recorded: Arc<AtomicU64>,
    stale: Arc<AtomicU64>,
    listener: Option<JoinHandle<()>>,
}

impl Child {
    /// Starts one and waits until it is ready; with the time that took.
    pub fn start(stage: &Stage<'_>, schema: &str, executors: usize) -> Result<(Self, Duration), BenchError> {
        let mut command = own_program(stage, schema)?;
        command.args(["bench", "--as-node", "--executors", &executors.to_string()]);
        if stage.args.noop {
            command.arg("--noop");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let began = Instant::now();
        let mut process = command.spawn().map_err(|it| BenchError::system("start this program", &it))?;
        let (recorded, stale) = (Arc::default(), Arc::default());
        let output = process.stdout.take();
        let mut child = Self { process, recorded, stale, listener: None };
        let ready = child.listen(output)?;
        match ready.recv_timeout(READY_MAX) {
            Ok(()) => Ok((child, began.elapsed())),
            Err(_) => Err(BenchError::System(
                "a node of our own has not become ready; what it says is above".to_owned(),
            )),
        }
    }

    fn listen(&mut self, output: Option<std::process::ChildStdout>) -> Result<Receiver<()>, BenchError> {
        let (tell_ready, ready) = bounded(1);
        let (recorded, stale) = (Arc::clone(&self.recorded), Arc::clone(&self.stale));
        let listen = move || {
            let lines = output.map(|it| BufReader::new(it).lines()).into_iter().flatten();
            for line in lines.map_while(Result::ok) {
                if line == READY {
                    // Nobody may wait any more.
                    let _ = tell_ready.try_send(());
                } else if let Some(number) = line.strip_prefix(STALE) {
                    stale.store(number.parse().unwrap_or(u64::MAX), Ordering::Relaxed);
                } else if let Ok(number) = line.parse() {
                    recorded.store(number, Ordering::Relaxed);
                }
            }
        };
        let builder = std::thread::Builder::new().name("bench-node".to_owned());
        let listener =
            builder.spawn(listen).map_err(|it| BenchError::system("start a thread for a node", &it))?;
        self.listener = Some(listener);
        Ok(ready)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What the names of its sessions hold.
    pub fn name(&self) -> String {
        node_name(self.pid())
    }

    /// Executions that it has recorded, as of some milliseconds ago.
    pub fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::Relaxed)
    }

    /// Stops it in order; returns how many of its results were refused.
    pub fn stop(mut self) -> Result<u64, BenchError> {
        self.end()?;
        Ok(self.stale.load(Ordering::Relaxed))
    }

    fn end(&mut self) -> Result<(), BenchError> {
        drop(self.process.stdin.take());
        let status = self.process.wait().map_err(|it| BenchError::system("wait for a node", &it))?;
        if let Some(listener) = self.listener.take() {
            listener.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
        }
        if status.success() {
            return Ok(());
        }
        Err(BenchError::System(format!("a node of our own has ended with {status}; what it says is above")))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.listener.is_some()
            && let Err(error) = self.end()
        {
            eprintln!("{error}");
        }
    }
}

/// This very program on a schema; the words of a command are to be added. Settings that may hold a password go by the
/// environment, where nobody else can read them. What the environment says of this program is not for the child: it is
/// measured with its defaults.
pub fn own_program(stage: &Stage<'_>, schema: &str) -> Result<Command, BenchError> {
    let program = std::env::current_exe().map_err(|it| BenchError::system("find this program", &it))?;
    let mut command = Command::new(program);
    let own = std::env::vars_os().map(|(name, _)| name);
    let is_setting = |name: &std::ffi::OsString| {
        name.to_string_lossy().starts_with("PROCESS_ORCHESTRATOR_") && name != POSTGRESQL_VARIABLE
    };
    own.filter(is_setting).for_each(|name| {
        command.env_remove(name);
    });
    let reach = stage.reach;
    command.args(["--schema", schema, "--pooler", &reach.pooler.to_string()]);
    if let Some(url) = &reach.database_url {
        command.env("DATABASE_URL", url);
    }
    if let Some(data_dir) = &reach.data_dir {
        command.arg("--data-dir").arg(data_dir);
    }
    if let Some(level) = reach.log_level {
        command.args(["--log-level", &level.to_string()]);
    }
    Ok(command)
}
