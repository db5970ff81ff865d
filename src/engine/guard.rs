//! The guard: a small process beside the node that ends the node's commands when the node is killed.
//!
//! ```text
//!  node ──pipe, of which only the node has the writing end──► guard
//!    '+':         the lease was renewed; when that does not come in time, the guard kills the node's commands
//!    '.', end:    the node's commands are gone, the guard leaves
//!    end alone:   the node is dead, the guard kills every process that carries the node's id
//! ```
//!
//! The kernel closes the pipe however the node dies. A command that is being spawned at that moment holds a copy of
//! it until its program is loaded, and then it carries the id ([`NODE_VARIABLE`]), so none slips through.
//!
//! A node ends its own commands when it can't renew its lease. One that is frozen can't: then the guard does it, before
//! the lease is over and others run the same tasks.
//!
//! The guard is this same program, started with an argument that [`run_if_asked`] knows. It runs in a session of its
//! own and heeds no signal but SIGKILL, so that a Ctrl-C or a service manager's SIGTERM does not end it before the
//! node. It is started with an empty environment: a node that is a command of another node's is ended with that
//! one, and then its guard must live to end the commands of its own.

mod program;
#[cfg(target_os = "linux")]
mod sweep;

use std::io::{self, PipeWriter, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{error, warn};

pub use program::run_if_asked;

use crate::command::NODE_VARIABLE;
use crate::platform::{self, processes};

/// Whether this system shows what is needed to find a dead node's commands.
pub const IS_AVAILABLE: bool = cfg!(target_os = "linux");

/// The first argument of a guard; the node's id is the second, its lease in milliseconds the third.
const ARGUMENT: &str = "__guard";
/// What a node that ends in order writes into the pipe.
const FAREWELL: u8 = b'.';
/// What a node writes when it has renewed its lease.
const RENEWED: u8 = b'+';
/// A guard that was bidden farewell leaves within a millisecond; one that somebody has stopped never does.
const DISMISSAL_MS_MAX: u64 = 1_000;
/// At its start a node waits for the commands of its predecessors, and no longer than this.
const START_SWEEP_MS_MAX: u64 = 5_000;

/// How often a kernel without descriptors for processes is asked whether the guard has ended.
const LOOK_MS: u64 = 5;

/// What came of ending the commands of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Processes that were killed.
    pub killed: usize,
    /// Processes that are still there: killed and slow to go, or not ours to kill.
    pub left: usize,
}

/// What a program whose `main` calls [`run_if_asked`] gives as its own guard: this path leads to the running image
/// even after the file has been replaced. `None` where there is no guard.
pub fn own_program() -> Option<PathBuf> {
    IS_AVAILABLE.then(|| PathBuf::from("/proc/self/exe"))
}

/// The node's side of its guard.
#[derive(Debug)]
pub struct Guard {
    program: PathBuf,
    node_id: String,
    lease: Duration,
    post: Mutex<Post>,
}

#[derive(Debug)]
enum Post {
    Manned(Sentry),
    /// The guard has ended, and no other could be started; it will be tried again.
    Vacant,
    /// The node has ended.
    Closed,
}

#[derive(Debug)]
struct Sentry {
    process: Child,
    pipe: PipeWriter,
}

impl Guard {
    /// Starts `program`, whose `main` has to call [`run_if_asked`], as the guard of the node.
    ///
    /// # Errors
    /// When the program can't be started, or this system can't have a guard.
    pub fn start(program: &Path, node_id: &str, lease: Duration) -> io::Result<Self> {
        if !IS_AVAILABLE {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let sentry = Sentry::start(program, node_id, lease)?;
        let post = Mutex::new(Post::Manned(sentry));
        Ok(Self { program: program.to_owned(), node_id: node_id.to_owned(), lease, post })
    }

    /// The guard's process id, while it lives or until its end is noticed.
    pub fn pid(&self) -> Option<u32> {
        match &*self.lock() {
            Post::Manned(sentry) => Some(sentry.process.id()),
            Post::Vacant | Post::Closed => None,
        }
    }

    /// Starts another guard if somebody has killed this one. To be called now and then.
    pub fn keep_alive(&self) {
        let mut post = self.lock();
        match &mut *post {
            Post::Closed => return,
            Post::Manned(sentry) => {
                if sentry.is_alive() {
                    return;
                }
                warn!("the node's guard (pid {}) has ended; another is started", sentry.process.id());
                *post = Post::Vacant;
            }
            Post::Vacant => {}
        }
        match Sentry::start(&self.program, &self.node_id, self.lease) {
            Ok(sentry) => *post = Post::Manned(sentry),
            Err(error) => error!(
                "failed to start {} as the node's guard: {error}; until it succeeds, commands outlive the node \
                 if it is killed",
                self.program.display()
            ),
        }
    }

    /// Tells the guard that the lease was renewed.
    pub fn renewed(&self) {
        if let Post::Manned(sentry) = &mut *self.lock() {
            // One that has ended is noticed by keep_alive; one that reads nothing is stopped, and can't help anyway.
            let _ = sentry.pipe.write_all(&[RENEWED]);
        }
    }

    /// Sends the guard away: the node ends, and its commands have ended.
    pub fn dismiss(&self) {
        let Post::Manned(Sentry { mut process, mut pipe }) = self.close() else { return };
        // An error means that the guard has ended, which is what is asked for.
        let _ = pipe.write_all(&[FAREWELL]);
        drop(pipe);
        let patience = Duration::from_millis(DISMISSAL_MS_MAX);
        if !has_ended_within(&mut process, patience) {
            warn!("the node's guard (pid {}) did not leave in {patience:?}; it is killed", process.id());
            if let Err(error) = process.kill().and_then(|()| process.wait()) {
                warn!("failed to end the node's guard: {error}");
            }
        }
    }

    /// Has the guard kill what the node has left of its commands, and waits until they are gone.
    pub fn end_commands(&self) {
        let Post::Manned(Sentry { mut process, pipe }) = self.close() else { return };
        drop(pipe);
        let patience = Duration::from_millis(START_SWEEP_MS_MAX);
        if !has_ended_within(&mut process, patience) {
            warn!("the node's guard (pid {}) still ends commands after {patience:?}", process.id());
        }
    }

    fn close(&self) -> Post {
        std::mem::replace(&mut *self.lock(), Post::Closed)
    }

    fn lock(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sentry {
    fn start(program: &Path, node_id: &str, lease: Duration) -> io::Result<Self> {
        // Both ends are closed at every exec, so neither a command nor the guard itself keeps the writing end.
        let (reader, pipe) = io::pipe()?;
        platform::never_block(&pipe)?;
        let mut command = Command::new(program);
        command.arg(ARGUMENT).arg(node_id).arg(lease.as_millis().to_string()).env_clear().current_dir("/");
        // Its one message goes where the node's go.
        command.stdin(reader).stdout(Stdio::null()).stderr(Stdio::inherit());
        processes::detach(&mut command);
        Ok(Self { process: command.spawn()?, pipe })
    }

    /// An error of the question means that it has ended and somebody else has reaped it.
    fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

/// Waits for the end of a guard and reaps it.
fn has_ended_within(process: &mut Child, patience: Duration) -> bool {
    // wait_timeout would take SIGCHLD for itself, which belongs to the program that a library is part of.
    let began = Instant::now();
    let ended = platform::exit_descriptor(process.id() as i32).ok(); // ids are far below 2^31
    while matches!(process.try_wait(), Ok(None)) {
        let left = patience.saturating_sub(began.elapsed());
        if left.is_zero() {
            return false;
        }
        let pause = if ended.is_some() { left } else { left.min(Duration::from_millis(LOOK_MS)) };
        if platform::wait_readable([ended.as_ref().map(AsFd::as_fd)], pause).is_err() {
            return false;
        }
    }
    true
}

/// Kills every process on this host that carries the id of one of these nodes, all of which are dead, and waits a few
/// seconds at most until they are gone. For a node that starts; it is never killed itself.
///
/// # Errors
/// When `/proc` can't be read, or this system shows no environments of processes (`Unsupported`).
pub fn kill_commands_of(node_ids: &[String]) -> io::Result<Swept> {
    kill_marked(node_ids, Duration::from_millis(START_SWEEP_MS_MAX))
}

/// Kills every process on this host that carries one of these entries, `NAME=value`, in its environment; otherwise as
/// [`kill_commands_of`].
pub(super) fn kill_tagged(marks: &[String]) -> io::Result<Swept> {
    kill_carriers(marks, Duration::from_millis(START_SWEEP_MS_MAX))
}

fn kill_marked(node_ids: &[String], patience: Duration) -> io::Result<Swept> {
    // An empty id would be a mark that anything may carry.
    let ids = node_ids.iter().filter(|id| !id.is_empty());
    let marks: Vec<String> = ids.map(|id| format!("{NODE_VARIABLE}={id}")).collect();
    kill_carriers(&marks, patience)
}

#[cfg(target_os = "linux")]
fn kill_carriers(marks: &[String], patience: Duration) -> io::Result<Swept> {
    if marks.is_empty() { Ok(Swept::default()) } else { sweep::sweep(marks, patience) }
}

#[cfg(not(target_os = "linux"))]
fn kill_carriers(_marks: &[String], _patience: Duration) -> io::Result<Swept> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!("find processes by {NODE_VARIABLE}: only Linux shows the environments of processes"),
    ))
}
