//! What the guard asks of Linux: to be left alone, and to signal a process that can't turn into another one.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use super::reaping::exit_descriptor;

/// What is done to somebody else's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinnedSignal {
    /// Please end (SIGTERM), followed by SIGCONT so that a stopped process can hear it.
    Terminate,
    /// Runs no further, and so starts no other (SIGSTOP).
    Stop,
    /// Ends (SIGKILL), stopped or not.
    Kill,
}

/// One process, which stays the one that is meant even if its id is given to another meanwhile.
#[derive(Debug)]
pub struct Pinned {
    pid: i32,
    /// None where the kernel has no such descriptors (before Linux 5.3), a sandbox forbids them, or none is left.
    descriptor: Option<OwnedFd>,
}

impl Pinned {
    /// Takes hold of the process that has this id now. Only what is read of it after this is known to be of the
    /// process that [`signal`](Self::signal) reaches.
    ///
    /// # Errors
    /// When there is none, and for init and the ids that mean groups.
    pub fn open(pid: i32) -> io::Result<Self> {
        if pid <= 1 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match exit_descriptor(pid) {
            Ok(descriptor) => Ok(Self { pid, descriptor: Some(descriptor) }),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(error),
            // By its number then: that could only hit another process if this one ended and the system went
            // through all of its numbers between the look at it and the signal.
            Err(_) => Ok(Self { pid, descriptor: None }),
        }
    }

    /// Signals it, if it is still there: says whether it was.
    ///
    /// # Errors
    /// When we may not.
    pub fn signal(&self, signal: PinnedSignal) -> io::Result<bool> {
        match signal {
            PinnedSignal::Stop => self.send(libc::SIGSTOP),
            PinnedSignal::Kill => self.send(libc::SIGKILL),
            PinnedSignal::Terminate => Ok(self.send(libc::SIGTERM)? && self.send(libc::SIGCONT)?),
        }
    }

    fn send(&self, number: libc::c_int) -> io::Result<bool> {
        let result = match &self.descriptor {
            Some(descriptor) => {
                let no_info = ptr::null::<libc::siginfo_t>();
                // SAFETY: the descriptor is open, the pointer may be null, the rest are plain numbers.
                unsafe {
                    libc::syscall(libc::SYS_pidfd_send_signal, descriptor.as_raw_fd(), number, no_info, 0)
                }
            }
            // SAFETY: kill takes two plain numbers; `pid` is above 1, so neither a group nor everybody.
            None => libc::c_long::from(unsafe { libc::kill(self.pid, number) }),
        };
        if result == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::ESRCH) { Ok(false) } else { Err(error) }
    }
}

/// The session of a process; none if there is no such process, 0 if it is one that our pid namespace does not show.
pub fn session_of(pid: i32) -> Option<i32> {
    // SAFETY: getsid takes and returns plain numbers.
    Some(unsafe { libc::getsid(pid) }).filter(|session| *session >= 0)
}

/// The process group of a process; none if there is no such process.
pub fn group_of(pid: i32) -> Option<i32> {
    // SAFETY: getpgid takes and returns plain numbers.
    Some(unsafe { libc::getpgid(pid) }).filter(|group| *group >= 0)
}

/// Makes this process, which has one thread and has opened nothing yet, one that outlives what its parent may
/// not: heeds no signal that people and service managers end things with, and keeps nothing open but the
/// standard three descriptors. `name` (15 bytes are kept) is what `ps` and `killall` call it.
pub fn keep_to_oneself(name: &CStr) {
    const PLEASE_END: [libc::c_int; 8] = [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGQUIT,
        libc::SIGTSTP,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGPIPE,
    ];
    const FIRST: libc::c_uint = 3;
    // SAFETY: ignoring a signal installs no code; close_range takes integers, and nothing of ours is open above
    // the standard three; prctl copies the C string. A failure of any leaves a guard that is easier to disturb,
    // and there is nobody to tell.
    unsafe {
        for signal in PLEASE_END {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0);
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn cat() -> (Child, Pinned) {
        let child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pinned = Pinned::open(child.id() as i32).unwrap();
        (child, pinned)
    }

    #[test]
    fn a_pinned_process_is_signalled_and_then_gone_for_good() {
        let (mut by_descriptor, pinned) = cat();
        assert!(pinned.signal(PinnedSignal::Stop).unwrap());
        assert!(pinned.signal(PinnedSignal::Kill).unwrap());
        assert_eq!(by_descriptor.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert!(!pinned.signal(PinnedSignal::Kill).unwrap(), "it has been reaped");

        let (mut by_number, pinned) = cat();
        let pinned = Pinned { descriptor: None, ..pinned };
        assert!(pinned.signal(PinnedSignal::Kill).unwrap());
        assert_eq!(by_number.wait().unwrap().signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn init_groups_and_ids_of_nobody_cannot_be_pinned() {
        for pid in [-5, -1, 0, 1, i32::MAX] {
            assert!(Pinned::open(pid).is_err(), "{pid}");
        }
    }
}
