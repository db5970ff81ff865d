//! Spawning: one call with everything prepared, or the standard library's way.
//!
//! Why not the standard library's alone: it builds a sorted map of the whole environment and its C strings
//! anew for every child, opens /dev/null every time, and has the child ask for each signal's disposition
//! before setting it. With `/bin/true` that is a twentieth of the CPU time of the whole command.

#[cfg(target_os = "linux")]
mod direct;
mod request;

use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Reaped;
pub use request::{PreparedVariables, SpawnRequest};

/// Which code spawns a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnWay {
    /// Our own clone of this process's memory, as posix_spawn makes it (Linux; elsewhere the same as `Std`).
    Direct,
    /// `std::process::Command`.
    Std,
}

/// A child that has not been reaped, unless by [`Child::wait_timeout`].
#[derive(Debug)]
pub struct Child {
    pid: i32,
    handle: Option<std::process::Child>,
}

impl Child {
    /// Its process id, its process group's and its session's.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether [`Child::wait_timeout`] can be asked.
    pub fn has_wait_timeout(&self) -> bool {
        self.handle.is_some()
    }

    /// Waits for its end and reaps it; none if it still runs after `timeout`, and at once where
    /// [`has_wait_timeout`](Self::has_wait_timeout) is false.
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<Reaped>> {
        use wait_timeout::ChildExt;
        let Some(handle) = &mut self.handle else { return Ok(None) };
        Ok(handle.wait_timeout(timeout)?.map(Reaped::from))
    }
}

/// Spawns a child; both of its streams are in the pipe that is returned.
///
/// # Errors
/// The system's own error, `InvalidInput` for a NUL in what was asked.
pub fn spawn(request: &SpawnRequest<'_>, way: SpawnWay) -> io::Result<(Child, PipeReader)> {
    let (reader, writer) = io::pipe()?;
    let child = match way {
        #[cfg(target_os = "linux")]
        SpawnWay::Direct => Child { pid: direct::spawn(request, &writer)?, handle: None },
        _ => spawn_by_std(request, writer)?,
    };
    Ok((child, reader))
}

fn spawn_by_std(request: &SpawnRequest<'_>, writer: PipeWriter) -> io::Result<Child> {
    let mut command = Command::new(request.program);
    if let Some((name, arguments)) = request.argv.split_first() {
        command.arg0(name).args(arguments);
    }
    command.env_clear().envs(request.base.pairs().iter().map(|(name, value)| (name, value)));
    command.envs(request.variables.iter().copied());
    if let Some(directory) = request.directory {
        command.current_dir(directory);
    }
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    // SAFETY: between fork and exec only plain system calls run.
    unsafe {
        command.pre_exec(|| {
            #[cfg(target_os = "linux")]
            super::unix::close_on_exec_from_3();
            match libc::setsid() {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            }
        });
    }
    let handle = command.spawn()?;
    // Process ids are positive and far below 2^31.
    Ok(Child { pid: handle.id() as i32, handle: Some(handle) })
}
