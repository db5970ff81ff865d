//! The node's side of its guard.

use std::io::{self, PipeWriter, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{error, warn};

use super::kill::START_SWEEP_MAX;
use super::protocol::{ARGUMENT, IS_AVAILABLE, Word};
use crate::platform::{self, processes, time_since_boot};

/// A guard that was dismissed leaves within a millisecond; one that somebody has stopped never does.
const DISMISSAL_MAX: Duration = Duration::from_secs(1);
/// How often a kernel without descriptors for processes is asked whether the guard has ended.
const LOOK: Duration = Duration::from_millis(5);

/// What a program whose `main` calls [`super::run_if_asked`] gives as its own guard: this path leads to the running image
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
    /// When the last heartbeat that arrived was sent, in milliseconds since boot: a new guard goes on from there.
    renewed_ms: AtomicU64,
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
    /// Starts `program`, whose `main` has to call [`super::run_if_asked`], as the guard of the node.
    ///
    /// # Errors
    /// When the program can't be started, or this system can't have a guard.
    pub fn start(program: &Path, node_id: &str, lease: Duration) -> io::Result<Self> {
        if !IS_AVAILABLE {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let renewed_ms = millis(time_since_boot());
        let sentry = Sentry::start(program, node_id, lease, renewed_ms)?;
        let (post, renewed_ms) = (Mutex::new(Post::Manned(sentry)), AtomicU64::new(renewed_ms));
        Ok(Self { program: program.to_owned(), node_id: node_id.to_owned(), lease, post, renewed_ms })
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
        let renewed_ms = self.renewed_ms.load(Ordering::Relaxed);
        match Sentry::start(&self.program, &self.node_id, self.lease, renewed_ms) {
            Ok(sentry) => *post = Post::Manned(sentry),
            Err(error) => error!(
                "failed to start {} as the node's guard: {error}; until it succeeds, commands outlive the node \
                 if it is killed",
                self.program.display()
            ),
        }
    }

    /// Tells the guard that the lease was renewed by a heartbeat that was sent so long after boot.
    pub fn renewed(&self, sent: Duration) {
        self.renewed_ms.store(millis(sent), Ordering::Relaxed);
        if let Post::Manned(sentry) = &mut *self.lock() {
            // One that has ended is noticed by keep_alive; one that reads nothing is stopped, and can't help anyway.
            let _ = sentry.pipe.write_all(&Word::Renewed(sent).to_bytes());
        }
    }

    /// Sends the guard away: the node ends, and its commands have ended.
    pub fn dismiss(&self) {
        let Post::Manned(Sentry { mut process, mut pipe }) = self.close() else { return };
        // An error means that the guard has ended, which is what is asked for.
        let _ = pipe.write_all(&Word::Farewell.to_bytes());
        drop(pipe);
        if !has_ended_within(&mut process, DISMISSAL_MAX) {
            warn!("the node's guard (pid {}) did not leave in {DISMISSAL_MAX:?}; it is killed", process.id());
            if let Err(error) = process.kill().and_then(|()| process.wait()) {
                warn!("failed to end the node's guard: {error}");
            }
        }
    }

    /// Has the guard kill what the node has left of its commands, and waits until they are gone.
    pub fn end_commands(&self) {
        let Post::Manned(Sentry { mut process, pipe }) = self.close() else { return };
        drop(pipe);
        if !has_ended_within(&mut process, START_SWEEP_MAX) {
            warn!("the node's guard (pid {}) still ends commands after {START_SWEEP_MAX:?}", process.id());
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
    fn start(program: &Path, node_id: &str, lease: Duration, renewed_ms: u64) -> io::Result<Self> {
        // Both ends are closed at every exec, so neither a command nor the guard itself keeps the writing end.
        let (reader, pipe) = io::pipe()?;
        platform::never_block(&pipe)?;
        let mut command = Command::new(program);
        command.arg(ARGUMENT).arg(node_id).arg(lease.as_millis().to_string()).arg(renewed_ms.to_string());
        command.env_clear().current_dir("/");
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

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
        let pause = if ended.is_some() { left } else { left.min(LOOK) };
        if platform::wait_readable([ended.as_ref().map(AsFd::as_fd)], pause).is_err() {
            return false;
        }
    }
    true
}
