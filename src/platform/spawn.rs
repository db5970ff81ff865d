//! Spawning: one call of posix_spawn with everything prepared, or the standard library's way.
//!
//! Why not the standard library's alone: it builds a sorted map of the whole environment and its C strings
//! anew for every child, opens /dev/null every time, and has the child ask for each signal's disposition
//! before setting it. With `/bin/true` that is a twentieth of the CPU time of the whole command.

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
    /// Our own call of posix_spawn (Linux; elsewhere the same as `Std`).
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

#[cfg(target_os = "linux")]
mod direct {
    use std::fs::File;
    use std::io::{self, PipeWriter};
    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    use std::ptr;
    use std::sync::OnceLock;

    use libc::{c_char, c_int};

    use super::SpawnRequest;

    pub fn spawn(request: &SpawnRequest<'_>, writer: &PipeWriter) -> io::Result<i32> {
        let null = null_device()?;
        let mut strings = CStrings::default();
        let program = strings.push(&[request.program.as_os_str().as_bytes()])?;
        let directory = match request.directory {
            Some(directory) => Some(strings.push(&[directory.as_os_str().as_bytes()])?),
            None => None,
        };
        let argv = request.argv.iter().map(|argument| strings.push(&[argument.as_bytes()]));
        let argv = argv.collect::<io::Result<Vec<usize>>>()?;
        let mut own = Vec::with_capacity(request.variables.len());
        for (index, (name, value)) in request.variables.iter().enumerate() {
            if !request.variables[index + 1..].iter().any(|(later, _)| later == name) {
                own.push(strings.push(&[name.as_bytes(), b"=", value.as_bytes()])?);
            }
        }
        // From here on `strings` does not change any more, so pointers into it hold.
        let argv: Vec<*mut c_char> = strings.pointers(argv).chain([ptr::null_mut()]).collect();
        let inherited = request.base.entries.iter().filter(|entry| {
            let is_set = |name: &[u8]| {
                entry.as_bytes().strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'='))
            };
            !request.variables.iter().any(|(name, _)| is_set(name.as_bytes()))
        });
        let envp: Vec<*mut c_char> = inherited
            .map(|entry| entry.as_ptr().cast_mut())
            .chain(strings.pointers(own))
            .chain([ptr::null_mut()])
            .collect();

        let mut actions = FileActions::new()?;
        actions.duplicate(null.as_raw_fd(), libc::STDIN_FILENO)?;
        actions.duplicate(writer.as_raw_fd(), libc::STDOUT_FILENO)?;
        actions.duplicate(writer.as_raw_fd(), libc::STDERR_FILENO)?;
        if let Some(directory) = directory {
            // SAFETY: the actions are initialised; the C string is copied by the call.
            check(unsafe {
                libc::posix_spawn_file_actions_addchdir_np(&mut actions.0, strings.pointer(directory))
            })?;
        }
        let attributes = Attributes::new()?;
        let mut pid = 0;
        // SAFETY: program, argv and envp are C strings and null-terminated arrays of such, owned by
        // `strings` and the base variables, which outlive the call; actions and attributes are initialised.
        check(unsafe {
            libc::posix_spawn(
                &mut pid,
                strings.pointer(program),
                &actions.0,
                &attributes.0,
                argv.as_ptr(),
                envp.as_ptr(),
            )
        })?;
        Ok(pid)
    }

    /// Many C strings in one piece of memory.
    #[derive(Default)]
    struct CStrings(Vec<u8>);

    impl CStrings {
        /// Adds the parts as one string and says where it begins.
        fn push(&mut self, parts: &[&[u8]]) -> io::Result<usize> {
            let start = self.0.len();
            for part in parts {
                if part.contains(&0) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "a NUL in a name, value or argument",
                    ));
                }
                self.0.extend_from_slice(part);
            }
            self.0.push(0);
            Ok(start)
        }

        fn pointer(&self, start: usize) -> *const c_char {
            self.0[start..].as_ptr().cast()
        }

        /// posix_spawn's arrays are of mutable strings by tradition; it does not write to them.
        fn pointers(&self, starts: Vec<usize>) -> impl Iterator<Item = *mut c_char> {
            starts.into_iter().map(|start| self.pointer(start).cast_mut())
        }
    }

    /// Opened once; every child gets a duplicate.
    fn null_device() -> io::Result<&'static File> {
        static NULL: OnceLock<File> = OnceLock::new();
        if let Some(null) = NULL.get() {
            return Ok(null);
        }
        let null = File::open("/dev/null")?;
        Ok(NULL.get_or_init(|| null))
    }

    struct FileActions(libc::posix_spawn_file_actions_t);

    impl FileActions {
        fn new() -> io::Result<Self> {
            let mut actions = MaybeUninit::uninit();
            // SAFETY: init makes it a valid value when it returns 0.
            unsafe {
                check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
                Ok(Self(actions.assume_init()))
            }
        }

        fn duplicate(&mut self, from: c_int, to: c_int) -> io::Result<()> {
            // SAFETY: the actions are initialised; a bad descriptor would be an error of the spawn.
            check(unsafe { libc::posix_spawn_file_actions_adddup2(&mut self.0, from, to) })
        }
    }

    impl Drop for FileActions {
        fn drop(&mut self) {
            // SAFETY: initialised in `new`, and not used after this.
            unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
        }
    }

    struct Attributes(libc::posix_spawnattr_t);

    impl Attributes {
        /// Its own process group, no signal blocked, and every signal at its default: ours ignores SIGPIPE,
        /// and who started us may have had us ignore others.
        fn new() -> io::Result<Self> {
            let flags =
                libc::POSIX_SPAWN_SETPGROUP | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
            let mut attributes = MaybeUninit::uninit();
            let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
            // SAFETY: init makes the attributes valid when it returns 0; the signal set is filled before each
            // use. The setters copy what they are given. The flags all fit into a short.
            unsafe {
                check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
                let mut attributes = Self(attributes.assume_init());
                check(libc::posix_spawnattr_setflags(&mut attributes.0, flags as libc::c_short))?;
                check(libc::posix_spawnattr_setpgroup(&mut attributes.0, 0))?;
                libc::sigemptyset(signals.as_mut_ptr());
                check(libc::posix_spawnattr_setsigmask(&mut attributes.0, signals.as_ptr()))?;
                libc::sigfillset(signals.as_mut_ptr());
                check(libc::posix_spawnattr_setsigdefault(&mut attributes.0, signals.as_ptr()))?;
                Ok(attributes)
            }
        }
    }

    impl Drop for Attributes {
        fn drop(&mut self) {
            // SAFETY: initialised in `new`, and not used after this.
            unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
        }
    }

    /// The posix_spawn family returns its error instead of setting errno.
    fn check(code: c_int) -> io::Result<()> {
        if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
    }
}
