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

use super::args::BenchArgs;
use super::error::BenchError;
use super::stage::{Stage, start_node};
use crate::cli::background;
use crate::cli::error::CliError;
use crate::cli::global::GlobalOptions;
use crate::cli::session::{Need, Session};
use crate::engine::NodeConfig;
use crate::http::Endpoint;

const READY: &str = "ready";
/// What comes before the number of results that were refused since their claim had been taken.
const STALE: &str = "stale ";
/// How often a child says how far it is.
const TELL: Duration = Duration::from_millis(5);
/// A node that is not ready by then will not be.
const READY_MAX: Duration = Duration::from_secs(60);

/// The name of the node of a process, which its sessions carry.
fn node_name(pid: u32) -> String {
    format!("bench-{pid}")
}

/// Runs a node until standard input ends.
///
/// # Errors
/// When the database fails or the node can't be started.
pub fn run_node(global: &GlobalOptions, args: &BenchArgs) -> Result<(), CliError> {
    background::begin();
    let name = node_name(std::process::id());
    let (session, store) = Session::open_as(global, Need::Migrated, Some(&name))?;
    drop(store);
    let schema = session.schema().to_owned();
    let config =
        NodeConfig { schema: schema.clone(), name, executors: args.executors(), ..NodeConfig::default() };
    let node = start_node(session.source(), config, args.noop)?;
    let health = node.health();
    let anywhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint = Endpoint::start(anywhere, session.source(), schema, Some(node.health()), None);
    let told = endpoint.as_ref().map_or(Ok(()), |_| tell_until_end(&|| health.executions()));
    node.stop();
    endpoint?.stop();
    told.and_then(|()| say(&format!("{STALE}{}", health.stale_results()))).map_err(CliError::Output)
}

fn tell_until_end(executions: &dyn Fn() -> u64) -> std::io::Result<()> {
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
        let now = executions();
        if now != told {
            say(&now.to_string())?;
            told = now;
        }
    }
    Ok(())
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
        let program = std::env::current_exe().map_err(|it| BenchError::system("find this program", &it))?;
        let began = Instant::now();
        let mut process = command(stage, &program, schema, executors)
            .spawn()
            .map_err(|it| BenchError::system(&format!("start {}", program.display()), &it))?;
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

/// The settings go by the environment, where nobody else can read a password.
fn command(stage: &Stage<'_>, program: &std::path::Path, schema: &str, executors: usize) -> Command {
    let mut command = Command::new(program);
    command.args(["bench", "--as-node", "--executors", &executors.to_string()]);
    if stage.args.noop {
        command.arg("--noop");
    }
    let global = stage.global;
    command.args(["--schema", schema, "--pooler", &global.pooler.to_string()]);
    if let Some(url) = &global.database_url {
        command.env("DATABASE_URL", url);
    }
    if let Some(data_dir) = &global.data_dir {
        command.arg("--data-dir").arg(data_dir);
    }
    if let Some(level) = global.log_level {
        command.args(["--log-level", &level.to_string()]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}
