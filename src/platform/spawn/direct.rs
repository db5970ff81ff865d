//! A child in this process's memory until it executes its program, as glibc's posix_spawn makes it, without what that
//! costs at each call: a stack is mapped and unmapped (each unmapping interrupts the other processors that run threads
//! of ours), and the dispositions of all 64 signals are set one by one. With `/bin/true` both together are about a
//! twentieth of the CPU time of the whole command.

use std::cell::RefCell;
use std::ffi::c_void;
use std::fs::File;
use std::io::{self, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::OnceLock;

use libc::{c_char, c_int};

use super::request::SpawnRequest;

/// The child calls a dozen functions of libc, none of which needs more than some hundred bytes.
const STACK_BYTES: usize = 32 * 1024;

/// What processors want of a stack's top.
const STACK_ALIGNMENT: usize = 16;

/// The child has this exit code if it could not execute its program; the parent knows why and reports that instead.
const NOT_EXECUTED: c_int = 127;

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
    let argv: Vec<*const c_char> = strings.pointers(argv).chain([ptr::null()]).collect();
    let inherited = request.base.entries.iter().filter(|entry| {
        let is_set =
            |name: &[u8]| entry.as_bytes().strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'='));
        !request.variables.iter().any(|(name, _)| is_set(name.as_bytes()))
    });
    let envp: Vec<*const c_char> =
        inherited.map(|entry| entry.as_ptr()).chain(strings.pointers(own)).chain([ptr::null()]).collect();
    let mut plan = Plan {
        program: strings.pointer(program),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        directory: directory.map_or(ptr::null(), |start| strings.pointer(start)),
        input: null.as_raw_fd(),
        output: writer.as_raw_fd(),
        changed_signals: changed_signals(),
        failure: 0,
    };
    clone_into(&mut plan)
}

/// What the child does, in plain values: it must not allocate, lock or panic.
struct Plan {
    program: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    /// Null where it stays.
    directory: *const c_char,
    input: c_int,
    output: c_int,
    changed_signals: &'static [c_int],
    /// The error number of what failed, written by the child.
    failure: c_int,
}

/// Makes the child and waits until it has executed its program, or failed to.
fn clone_into(plan: &mut Plan) -> io::Result<i32> {
    thread_local! {
        // A thread's own: it sleeps for as long as its child uses it.
        static STACK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    STACK.with_borrow_mut(|stack| {
        // Reserved, never written to by us: only the pages that children touch take memory.
        stack.reserve(STACK_BYTES);
        let end = stack.as_mut_ptr().wrapping_add(STACK_BYTES);
        let top = end.wrapping_sub(end as usize % STACK_ALIGNMENT);
        let blocked = BlockedSignals::all()?;
        // SAFETY: the child shares our memory and gets a stack of its own, which nobody else uses before it has executed
        // its program or ended: CLONE_VFORK suspends this thread until then, with everything that `plan` points to
        // alive. `begin` only does what is allowed to a child of a process with threads. All signals are blocked, so
        // that no handler of ours runs in the child before their dispositions are reset, see `changed_signals`.
        let pid = unsafe {
            libc::clone(
                begin,
                top.cast(),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                ptr::from_mut(plan).cast(),
            )
        };
        let failed = (pid < 0).then(io::Error::last_os_error);
        drop(blocked);
        if let Some(error) = failed {
            return Err(error);
        }
        // SAFETY: the child wrote it, if at all, before this thread went on.
        let failure = unsafe { ptr::read_volatile(&raw const plan.failure) };
        if failure != 0 {
            reap(pid);
            return Err(io::Error::from_raw_os_error(failure));
        }
        Ok(pid)
    })
}

/// The child: its own session and so its own process group, its streams, its directory, no signal blocked, every signal at its default (ours
/// ignores SIGPIPE, and who started us may have had us ignore others), and its program.
extern "C" fn begin(plan: *mut c_void) -> c_int {
    let plan: *mut Plan = plan.cast();
    // SAFETY: `plan` is the parent's and alive, see `clone_into`. Only async-signal-safe functions are called; what they
    // are given are C strings, null-terminated arrays of such and plain values on this stack.
    unsafe {
        let failure = 'failed: {
            let mut default = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            default.sa_sigaction = libc::SIG_DFL;
            for &signal in (*plan).changed_signals {
                if libc::sigaction(signal, &default, ptr::null_mut()) != 0 {
                    break 'failed errno();
                }
            }
            if libc::setsid() < 0 {
                break 'failed errno();
            }
            let streams = [
                ((*plan).input, libc::STDIN_FILENO),
                ((*plan).output, libc::STDOUT_FILENO),
                ((*plan).output, libc::STDERR_FILENO),
            ];
            for (from, to) in streams {
                // A descriptor that is there already would be closed by the execution, and a duplicate is not.
                let done =
                    if from == to { libc::fcntl(from, libc::F_SETFD, 0) } else { libc::dup2(from, to) };
                if done < 0 {
                    break 'failed errno();
                }
            }
            // What a library's user has opened without care; the binary itself has seen to it at its start.
            super::super::unix::close_on_exec_from_3();
            if !(*plan).directory.is_null() && libc::chdir((*plan).directory) != 0 {
                break 'failed errno();
            }
            let mut none = MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
            libc::execve((*plan).program, (*plan).argv, (*plan).envp);
            errno()
        };
        ptr::write_volatile(&raw mut (*plan).failure, failure);
        libc::_exit(NOT_EXECUTED)
    }
}

/// Never 0 after a failure.
///
/// # Safety
/// Only the calling thread's own number is read, which is always allowed; it is unsafe as it is called where nothing
/// but plain functions of libc may be.
unsafe fn errno() -> c_int {
    // SAFETY: the pointer is the thread's own and always valid.
    match unsafe { *libc::__errno_location() } {
        0 => libc::EINVAL,
        number => number,
    }
}

/// A child that has not executed its program ends at once.
fn reap(pid: c_int) {
    // SAFETY: the status is not asked for; the child is ours and nobody else knows of it.
    while unsafe { libc::waitpid(pid, ptr::null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// The signals that are not at their default here. Looked at once: whoever embeds us has to install handlers before the
/// first command runs (the library's own are), as one that came later could run in a child, in our memory, between the
/// opening of its mask and its execution. What is ignored later is inherited, as of every program.
fn changed_signals() -> &'static [c_int] {
    static CHANGED: OnceLock<Vec<c_int>> = OnceLock::new();
    CHANGED.get_or_init(|| {
        (1..=libc::SIGRTMAX())
            .filter(|&signal| {
                // SAFETY: sigaction only fills `current`, which is valid, zeroed memory; numbers that are libc's own or
                // no signals are an error.
                unsafe {
                    let mut current = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
                    libc::sigaction(signal, ptr::null(), &mut current) == 0
                        && current.sa_sigaction != libc::SIG_DFL
                }
            })
            .collect()
    })
}

/// All signals of this thread, blocked until it is dropped.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn all() -> io::Result<Self> {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the set is filled before it is read, and `before` is filled by a call that returns 0.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            match libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) {
                0 => Ok(Self(before.assume_init())),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the mask is the one that was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
    }
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

    fn pointers(&self, starts: Vec<usize>) -> impl Iterator<Item = *const c_char> {
        starts.into_iter().map(|start| self.pointer(start))
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
