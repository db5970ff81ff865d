//! Children that are started with the standard library's means: how they are asked to end, and that they do.

use std::io;
use std::process::{Child, Command};

/// Asks a child to end (SIGTERM); one that has ended already is left alone.
///
/// # Errors
/// When it can't be asked.
pub fn terminate(child: &mut Child) -> io::Result<()> {
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    let pid = libc::pid_t::try_from(child.id()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: kill takes no pointers. The child has not been waited for, so its id is still its own.
    match unsafe { libc::kill(pid, libc::SIGTERM) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the child be asked to end (SIGTERM) when the thread that starts it ends, however that ends: on Linux, elsewhere
/// it stays.
pub fn end_with_us(command: &mut Command) {
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec only prctl runs, a plain system call that takes numbers here.
    unsafe {
        use std::os::unix::process::CommandExt;
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}
