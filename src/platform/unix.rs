//! Signals to this process, readiness of descriptors, and what errors and files tell (Linux and macOS).

use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::ptr;
use std::time::Duration;

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

/// Keeps what this program was started with, but for its three standard streams, from everything that it starts: a lock
/// that somebody holds by a descriptor, a file that others may not read. To be called before anything is opened that is
/// meant for a child.
pub fn keep_descriptors() {
    #[cfg(target_os = "linux")]
    if close_on_exec_from_3() {
        return;
    }
    // Before Linux 5.11, and on other systems: one by one. The list is read with a descriptor of its own, which is closed by then.
    let Ok(entries) = std::fs::read_dir("/dev/fd") else { return };
    let open: Vec<i32> = entries.flatten().filter_map(|it| it.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|&fd| fd >= 3) {
        // SAFETY: fcntl with this command takes plain integers; of a descriptor that is closed it says so.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Has everything from descriptor 3 on closed when a program is executed; `false` where the kernel can't do it at once. Makes
/// one system call and nothing else, so that a child may call it.
#[cfg(target_os = "linux")]
pub(super) fn close_on_exec_from_3() -> bool {
    const FIRST: libc::c_uint = 3;
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: close_range takes integers, and with this flag it closes nothing yet.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) == 0 }
}

/// Whether whoever started this program wants it to outlive its terminal, as `nohup` does.
pub fn ignores_hangup() -> bool {
    // SAFETY: sigaction only fills `current`, which is valid, zeroed memory.
    unsafe {
        let mut current = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        libc::sigaction(libc::SIGHUP, ptr::null(), &mut current) == 0 && current.sa_sigaction == libc::SIG_IGN
    }
}

/// Whether this program has a terminal that can be closed on it. One that was is none any more.
pub fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
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

/// Whether nobody will ever read what is written to `stream`: the other end of the pipe is closed.
pub fn is_reader_gone(stream: &impl AsFd) -> bool {
    let mut polled = libc::pollfd { fd: stream.as_fd().as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: `polled` is one initialised pollfd that outlives the call.
    let ready = unsafe { libc::poll(&mut polled, 1, 0) };
    ready > 0 && polled.revents & libc::POLLERR != 0
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

/// Whether the file system of `path` is mounted so that nothing on it may be executed.
pub fn forbids_execution(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: a valid C string; the call fills the zeroed structure when it returns 0.
    #[cfg(target_os = "linux")]
    unsafe {
        let mut stat = MaybeUninit::<libc::statvfs>::zeroed().assume_init();
        libc::statvfs(path.as_ptr(), &mut stat) == 0 && stat.f_flag & libc::ST_NOEXEC != 0
    }
    // SAFETY: as above; here statvfs does not tell of this flag.
    #[cfg(not(target_os = "linux"))]
    unsafe {
        let mut stat = MaybeUninit::<libc::statfs>::zeroed().assume_init();
        libc::statfs(path.as_ptr(), &mut stat) == 0 && stat.f_flags & libc::MNT_NOEXEC as u32 != 0
    }
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

/// Makes a file that only our own user can read and write; an error if it is there already.
pub fn create_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
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

/// An error where a call of libc has returned one.
pub(super) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
