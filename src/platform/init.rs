//! Process number 1 of a container: somebody has to reap what others leave behind.
//!
//! The kernel hands every orphan to process 1, and keeps it as a zombie until that waits for it. An orchestrator
//! whose commands leave children would fill the container's process table. It can't wait for just anybody itself,
//! or it would reap a command under its executor's eyes. So as process 1 this program starts itself once more,
//! hands on the signals it gets, and reaps; what it started does the work and gives the exit code.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::ptr;

use super::unix::{SHELL_SIGNAL_BASE, make_children_waitable};

/// As process 1 runs the whole program in a child and returns its exit code; else, or when no child can be started,
/// returns nothing at once. `keep_secrets` closes this process to that child's own children once the child has what it
/// needs. To be called while there is one thread.
pub fn run_in_child_if_init(keep_secrets: impl FnOnce()) -> Option<u8> {
    if std::process::id() != 1 {
        return None;
    }
    match start() {
        Ok((child, signals)) => {
            keep_secrets();
            Some(attend(child, &signals))
        }
        Err(error) => {
            // It works without; only zombies stay.
            eprintln!(
                "warning: as process 1, failed to start the program in a child ({error}): orphans are not reaped"
            );
            None
        }
    }
}

/// Blocks every signal, to be taken one by one, and starts this program again with the same words. The child
/// unblocks them again as the first thing it does (`prepare_signals`).
fn start() -> io::Result<(i32, libc::sigset_t)> {
    make_children_waitable()?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let (all, before) = block_all()?;
    match Command::new("/proc/self/exe").arg0(name).args(arguments).spawn() {
        // Process ids are positive and far below 2^31.
        Ok(child) => Ok((child.id() as i32, all)),
        Err(error) => {
            // SAFETY: `before` was filled by the call that blocked them.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
            Err(error)
        }
    }
}

fn block_all() -> io::Result<(libc::sigset_t, libc::sigset_t)> {
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: sigfillset initialises `all`, pthread_sigmask fills `before` when it returns 0.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        match libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr()) {
            0 => Ok((all.assume_init(), before.assume_init())),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Hands signals on and reaps until `child` has ended; everybody else dies with process 1.
fn attend(child: i32, signals: &libc::sigset_t) -> u8 {
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: both pointers are valid; `info` is read only when a signal was taken, and zeroes are valid too.
        let (signal, code) = unsafe {
            let signal = libc::sigwaitinfo(signals, info.as_mut_ptr());
            (signal, info.assume_init().si_code)
        };
        match signal {
            libc::SIGCHLD => {
                if let Some(status) = reap_all(child) {
                    return exit_code(status);
                }
            }
            // What a terminal sends goes to its whole foreground group, the child included.
            signal if signal > 0 && code != libc::SI_KERNEL => {
                // SAFETY: kill takes two plain numbers. Should the child have ended, SIGCHLD comes next.
                unsafe { libc::kill(child, signal) };
            }
            _ => {}
        }
    }
}

/// Reaps whoever has ended; the status of `child` if it was among them.
fn reap_all(child: i32) -> Option<ExitStatus> {
    let mut ended = None;
    loop {
        let mut status = 0;
        // SAFETY: the pointer is valid for the call.
        match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) } {
            pid if pid == child => ended = Some(ExitStatus::from_raw(status)),
            pid if pid > 0 => {}
            _ => return ended,
        }
    }
}

/// As a shell has it. Nothing else is left to say what killed the program.
fn exit_code(status: ExitStatus) -> u8 {
    let signal = status.signal();
    if let Some(signal) = signal {
        eprintln!("process-orchestrator was ended by signal {signal}");
    }
    let code = status.code().or(signal.map(|signal| SHELL_SIGNAL_BASE + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
