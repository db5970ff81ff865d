//! Keeps what this process knows (passwords in its memory, environment and arguments) from others of the same user,
//! as the commands are that it runs.

/// Keeps other processes of the same user from reading this one's memory, environment and open files, and from
/// attaching to it: `/proc/<pid>` then belongs to root. There are no core dumps either, and a debugger needs root.
/// Programs that are started from here are not affected.
///
/// # Errors
/// As the system has them.
#[cfg(target_os = "linux")]
pub fn close_to_others() -> std::io::Result<()> {
    // SAFETY: prctl takes plain numbers here.
    match unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Does nothing: this system has no such switch.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn close_to_others() -> std::io::Result<()> {
    Ok(())
}

/// Writes asterisks over `secret` wherever it stands in this process's arguments, which everybody on the machine can
/// read (`ps`); says whether it stood there. To be called while there is one thread.
#[cfg(target_os = "linux")]
pub fn blank_argument(secret: &[u8]) -> bool {
    let Some((start, end)) = argument_area() else { return false };
    if secret.is_empty() || end <= start {
        return false;
    }
    // SAFETY: the kernel says that this process's arguments lie there. They are part of its initial stack, which is
    // readable, writable and never unmapped. Nobody holds a reference into them: `std::env::args` copies them, as
    // the caller has one thread nobody is copying now, and asterisks in place of bytes that are no NUL leave every
    // string where it is.
    let area = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, end - start) };
    let mut found = false;
    let mut at = 0;
    while let Some(tail) = area.get_mut(at..).filter(|tail| tail.len() >= secret.len()) {
        if tail.starts_with(secret) {
            tail[..secret.len()].fill(b'*');
            found = true;
        }
        at += 1;
    }
    found
}

/// Does nothing: where this system keeps the arguments is not known here.
#[cfg(not(target_os = "linux"))]
pub fn blank_argument(_secret: &[u8]) -> bool {
    false
}

/// `arg_start` and `arg_end` of `/proc/self/stat`.
#[cfg(target_os = "linux")]
fn argument_area() -> Option<(usize, usize)> {
    let stat = std::fs::read("/proc/self/stat").ok()?;
    // The second field is the name in parentheses, which may hold anything.
    let end_of_name = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&stat[end_of_name + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    // By the manual's numbers, which count from 1, this begins with number 3.
    let start = fields.nth(48 - 3)?.parse().ok()?;
    let end = fields.next()?.parse().ok()?;
    (start != 0).then_some((start, end))
}
