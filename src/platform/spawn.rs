//! Spawning: one call with everything prepared, or the standard library's way.
//!
//! Why not the standard library's alone: it builds a sorted map of the whole environment and its C strings
//! anew for every child, opens /dev/null every time, and has the child ask for each signal's disposition
//! before setting it. With `/bin/true` that is a twentieth of the CPU time of the whole command.

#[cfg(target_os = "linux")]
mod direct;

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Reaped;

/// What a child is to be. It leads a process group of its own, reads /dev/null, and prints into one pipe.
#[derive(Debug, Clone, Copy)]
pub struct SpawnRequest<'a> {
    /// The file to execute; a relative one is seen from `directory`.
    pub program: &'a Path,
    /// Its arguments, from the name that it has for itself on.
    pub argv: &'a [String],
    /// Its working directory; none means ours.
    pub directory: Option<&'a Path>,
    /// The variables that every child has.
    pub base: &'a PreparedVariables,
    /// Its own variables, which override those.
    pub variables: &'a [(&'a OsStr, &'a OsStr)],
}

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
    /// Its process id, and its process group's.
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

/// Variables in the form that a child is given them, made once for many children.
#[derive(Debug, Clone)]
pub struct PreparedVariables {
    pairs: Vec<(OsString, OsString)>,
    entries: Vec<CString>,
}

impl PreparedVariables {
    /// Prepares these variables. One with a NUL, which no environment can hold, is left out.
    pub fn new(pairs: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        use std::os::unix::ffi::OsStringExt;
        let mut prepared = Self { pairs: Vec::new(), entries: Vec::new() };
        for (name, value) in pairs {
            let entry = [name.clone().into_vec(), b"=".to_vec(), value.clone().into_vec()].concat();
            if let Ok(entry) = CString::new(entry) {
                prepared.pairs.push((name, value));
                prepared.entries.push(entry);
            }
        }
        prepared
    }

    /// Name and value of each.
    pub fn pairs(&self) -> &[(OsString, OsString)] {
        &self.pairs
    }

    /// What they take of the space that the system has for arguments and environment together.
    pub fn size_bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.as_bytes_with_nul().len()).sum()
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
    let handle = command.process_group(0).spawn()?;
    // Process ids are positive and far below 2^31.
    Ok(Child { pid: handle.id() as i32, handle: Some(handle) })
}
