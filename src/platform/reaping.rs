//! The exit of a child: how it is noticed, brought about and reaped.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use super::unix::check;

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
    /// size of the parent that spawned it, so only values well above
    /// [`own_peak_memory`](super::own_peak_memory) mean something.
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
    Ok(peek_exit(pid)?.is_some())
}

/// Whether the child `pid`, if it has exited, did so with exit code 0. It stays unreaped.
pub fn peek_exit(pid: i32) -> io::Result<Option<bool>> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is zeroed, which is a valid siginfo_t, and outlives the call; si_pid may be read
    // after a waitid that returned 0, where 0 means that nothing has exited; else so may si_status.
    unsafe {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed().assume_init();
        check(libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags))?;
        Ok((info.si_pid() != 0).then(|| info.si_code == libc::CLD_EXITED && info.si_status() == 0))
    }
}

/// Reaps the child `pid`, waiting for its end if need be. From here on `pid` means nothing.
pub fn reap(pid: i32) -> io::Result<Reaped> {
    loop {
        if let Some(reaped) = wait4(pid)? {
            return Ok(reaped);
        }
    }
}

/// None after a signal to us.
fn wait4(pid: i32) -> io::Result<Option<Reaped>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are valid for the call.
    match check(unsafe { libc::wait4(pid, &mut status, 0, usage.as_mut_ptr()) }) {
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

fn duration_of(time: libc::timeval) -> Duration {
    // The kernel's times are never negative, and microseconds are below a million.
    Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000)
}

/// The largest resident size, whose unit is not the same everywhere.
pub(super) fn max_rss_bytes(usage: &libc::rusage) -> u64 {
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * unit
}
