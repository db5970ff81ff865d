//! The Unix side of the platform module (Linux and macOS).

use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::ptr;
use std::time::Duration;

/// The signals that are sent to a command's process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupSignal {
    /// Please end (SIGTERM), followed by SIGCONT so that a stopped process can hear it.
    Terminate,
    /// End (SIGKILL).
    Kill,
}

/// An ended child: how it ended and what it used.
#[derive(Debug, Clone, Copy)]
pub struct Reaped {
    /// Its exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Its memory was written to a file, as the system has it for crashes.
    pub core_dumped: bool,
    /// CPU time of the child and of those of its descendants that were waited for.
    pub cpu: Option<Duration>,
    /// The largest resident size that the kernel accounts to it, in bytes. On Linux this begins with the
    /// size of the parent that spawned it, so only values well above [`own_peak_memory`] mean something.
    pub max_rss_bytes: Option<u64>,
}

impl From<ExitStatus> for Reaped {
    fn from(status: ExitStatus) -> Self {
        Self {
            exit_code: status.code(),
            signal: status.signal(),
            core_dumped: status.core_dumped(),
            cpu: None,
            max_rss_bytes: None,
        }
    }
}

/// Puts signals into the state that spawning and waiting rely on; the binary calls it first of all, while
/// there is one thread: nothing is blocked, and SIGCHLD is not ignored (see [`make_children_waitable`]).
///
/// SIGPIPE stays as Rust's runtime leaves it (ignored here, its default in every command).
pub fn prepare_signals() -> io::Result<()> {
    // SAFETY: `none` is initialised by sigemptyset before it is read; the old mask is not asked for.
    let result = unsafe {
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut())
    };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    make_children_waitable()
}

/// Sets SIGCHLD to its default if it is ignored (a parent can leave it so): the kernel would reap every
/// child by itself, and no exit code could be learned. A handler that somebody installed stays.
pub fn make_children_waitable() -> io::Result<()> {
    // SAFETY: sigaction fills `current` when it returns 0, and is given a valid, zeroed (default) action.
    unsafe {
        let mut current = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        check(libc::sigaction(libc::SIGCHLD, ptr::null(), &mut current))?;
        if current.sa_sigaction == libc::SIG_IGN || current.sa_flags & libc::SA_NOCLDWAIT != 0 {
            let mut default = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
            default.sa_sigaction = libc::SIG_DFL;
            check(libc::sigaction(libc::SIGCHLD, &default, ptr::null_mut()))?;
        }
    }
    Ok(())
}

/// Whether whoever started this program wants it to outlive its terminal, as `nohup` does.
pub fn ignores_hangup() -> bool {
    // SAFETY: sigaction only fills `current`, which is valid, zeroed memory.
    unsafe {
        let mut current = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        libc::sigaction(libc::SIGHUP, ptr::null(), &mut current) == 0 && current.sa_sigaction == libc::SIG_IGN
    }
}

/// Has a write to a full pipe fail instead of wait for a reader.
pub fn never_block(pipe: &io::PipeWriter) -> io::Result<()> {
    let fd = pipe.as_raw_fd();
    // SAFETY: fcntl with these commands takes and returns plain integers; the descriptor is open as long as `pipe`.
    let result = unsafe {
        match libc::fcntl(fd, libc::F_GETFL) {
            -1 => -1,
            flags => libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK),
        }
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits until one of the descriptors can be read without blocking (or its other end is closed), at most
/// `timeout`, rounded up to milliseconds. Says which; all false after the timeout or a signal.
pub fn wait_readable<const N: usize>(
    fds: [Option<BorrowedFd<'_>>; N],
    timeout: Duration,
) -> io::Result<[bool; N]> {
    // A negative descriptor is one that poll skips.
    let mut polled = fds.map(|fd| libc::pollfd {
        fd: fd.map_or(-1, |fd| fd.as_raw_fd()),
        events: libc::POLLIN,
        revents: 0,
    });
    let timeout_ms = i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    // SAFETY: `polled` is an array of N initialised pollfds that outlives the call.
    match check(unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, timeout_ms) }) {
        Ok(_) => Ok(polled.map(|fd| fd.revents != 0)),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok([false; N]),
        Err(e) => Err(e),
    }
}

/// A descriptor that becomes readable when the child `pid` has exited (Linux 5.3 and later).
///
/// `pid` must be a child of ours that has not been reaped; of another process only a caller who looks at it again
/// knows which one the descriptor is of.
#[cfg(target_os = "linux")]
pub fn exit_descriptor(pid: i32) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: pidfd_open takes two plain numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us (close-on-exec) and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Not available on this system; callers look at intervals instead.
#[cfg(not(target_os = "linux"))]
pub fn exit_descriptor(_pid: i32) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether the child `pid` has exited. It stays unreaped, so its id can't be given to another process.
pub fn has_exited(pid: i32) -> io::Result<bool> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is zeroed, which is a valid siginfo_t, and outlives the call; si_pid may be read
    // after a waitid that returned 0, where 0 means that nothing has exited.
    unsafe {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed().assume_init();
        check(libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags))?;
        Ok(info.si_pid() != 0)
    }
}

/// Reaps the child `pid`, waiting for its end if need be. From here on `pid` means nothing.
pub fn reap(pid: i32) -> io::Result<Reaped> {
    loop {
        if let Some(reaped) = wait4(pid, 0)? {
            return Ok(reaped);
        }
    }
}

/// Reaps the child `pid` if it has exited, after which `pid` means nothing.
pub fn reap_if_exited(pid: i32) -> io::Result<Option<Reaped>> {
    wait4(pid, libc::WNOHANG)
}

fn wait4(pid: i32, options: libc::c_int) -> io::Result<Option<Reaped>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are valid for the call.
    match check(unsafe { libc::wait4(pid, &mut status, options, usage.as_mut_ptr()) }) {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(None),
        Err(e) => return Err(e),
    }
    // SAFETY: wait4 has filled it (and it was zeroed before, which is valid too).
    let usage = unsafe { usage.assume_init() };
    let reaped = Reaped::from(ExitStatus::from_raw(status));
    Ok(Some(Reaped {
        cpu: Some(duration_of(usage.ru_utime) + duration_of(usage.ru_stime)),
        max_rss_bytes: Some(max_rss_bytes(&usage)),
        ..reaped
    }))
}

/// Sends a signal to the whole process group led by the child `pid`, which must not have been reaped: an
/// unreaped leader, even a dead one, keeps the group's number from meaning somebody else.
pub fn signal_group(pid: i32, signal: GroupSignal) -> io::Result<()> {
    // 0 and 1 would mean our own group and everybody; no child has such an id.
    if pid <= 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let number = match signal {
        GroupSignal::Terminate => libc::SIGTERM,
        GroupSignal::Kill => libc::SIGKILL,
    };
    // SAFETY: killpg takes two plain numbers.
    check(unsafe { libc::killpg(pid, number) })?;
    if signal == GroupSignal::Terminate {
        // SAFETY: as above. Its failure would only mean that everybody is gone already.
        unsafe { libc::killpg(pid, libc::SIGCONT) };
    }
    Ok(())
}

/// Whether `max_rss_bytes` of a reaped child is its own peak, rather than that of the spawning process.
pub const CHILD_RSS_INCLUDES_PARENT: bool = cfg!(not(target_os = "macos"));

/// The largest resident size of this process so far, in bytes.
pub fn own_peak_memory() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid; zeroes are a valid rusage should the call fail.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    max_rss_bytes(&usage)
}

/// Clock ticks a second, the unit of CPU times in `/proc/<pid>/stat`.
pub fn clock_ticks_per_second() -> u64 {
    // SAFETY: sysconf takes a plain number.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|&ticks| ticks > 0).unwrap_or(100)
}

/// Whether we may execute `path` (a directory may say yes too).
pub fn may_execute(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: a valid C string that outlives the call.
    unsafe { libc::access(path.as_ptr(), libc::X_OK) == 0 }
}

/// Opens a file that somebody else has written, without following a link and without waiting for a peer
/// should it be a named pipe.
pub fn open_foreign_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Makes a directory that only our own user can enter; an error if it is there already.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Whether `error` comes from an argument list and environment that exceed the system's limit.
pub fn is_argument_list_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::E2BIG)
}

/// Whether `error` says that a file is no program for this machine and names no interpreter.
pub fn is_not_a_program(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(code) if code == libc::ENOEXEC)
}

/// Whether a spawn that failed with `error` may well succeed later: the system lacks processes, memory,
/// descriptors or space, or the program is being written just now. Everything else is a fault of what was asked.
pub fn may_heal(error: &io::Error) -> bool {
    const PASSING: [i32; 11] = [
        libc::EAGAIN,
        libc::ENOMEM,
        libc::EMFILE,
        libc::ENFILE,
        libc::ETXTBSY,
        libc::EINTR,
        libc::EIO,
        libc::ETIMEDOUT,
        libc::ESTALE,
        libc::ENOSPC,
        libc::EDQUOT,
    ];
    error.raw_os_error().is_some_and(|code| PASSING.contains(&code))
}

/// A signal's name, such as `SIGKILL`; none for real-time and unknown ones.
pub fn signal_name(signal: i32) -> Option<&'static str> {
    const NAMES: &[(i32, &str)] = &[
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGTRAP, "SIGTRAP"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGUSR1, "SIGUSR1"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGUSR2, "SIGUSR2"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGXCPU, "SIGXCPU"),
        (libc::SIGXFSZ, "SIGXFSZ"),
        (libc::SIGVTALRM, "SIGVTALRM"),
        (libc::SIGPROF, "SIGPROF"),
        (libc::SIGSYS, "SIGSYS"),
    ];
    NAMES.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name)
}

/// The number that a shell adds to a signal's to make it an exit code.
pub const SHELL_SIGNAL_BASE: i32 = 128;

/// The signal that nothing can refuse.
pub const SIGNAL_KILL: i32 = libc::SIGKILL;

fn duration_of(time: libc::timeval) -> Duration {
    // The kernel's times are never negative, and microseconds are below a million.
    Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000)
}

fn max_rss_bytes(usage: &libc::rusage) -> u64 {
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * unit
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
