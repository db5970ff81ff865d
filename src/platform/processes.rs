//! Other processes, and the end of our own: what keeping a server asks of Unix.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::files::{User, effective_uid};

/// Whether a process with this id exists and has not ended; one that waits to be reaped has ended.
pub fn is_alive(pid: u32) -> bool {
    let Ok(id) = libc::pid_t::try_from(pid) else { return false };
    if id == 0 {
        return false;
    }
    // SAFETY: signal 0 only asks whether the process exists.
    let found = unsafe { libc::kill(id, 0) } == 0;
    let exists = found || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM);
    exists && !is_zombie(pid)
}

/// Whether a process has ended and nobody has reaped it: its id is taken still. Without /proc (macOS) nothing is known
/// to be one.
pub fn is_zombie(pid: u32) -> bool {
    // The state follows the command's name, which stands in parentheses and may hold some itself.
    let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else { return false };
    let after_name = stat.iter().rposition(|byte| *byte == b')').map(|at| &stat[at + 1..]);
    matches!(after_name, Some([b' ', b'Z' | b'X', ..]))
}

/// What a process is, so far as the system tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Its working directory, where the system shows it (Linux).
    pub working_directory: Option<PathBuf>,
    /// Its command line, for people and for telling a server from something else.
    pub command: String,
}

/// What is known of a running process; `None` when it cannot be looked at.
pub fn process_facts(pid: u32) -> Option<ProcessFacts> {
    if let Ok(raw) = std::fs::read(format!("/proc/{pid}/cmdline")) {
        let command = String::from_utf8_lossy(&raw).replace('\0', " ").trim_end().to_string();
        let working_directory = std::fs::read_link(format!("/proc/{pid}/cwd")).ok();
        return Some(ProcessFacts { working_directory, command });
    }
    let ps = Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output().ok()?;
    let command = String::from_utf8_lossy(&ps.stdout).trim().to_string();
    (!command.is_empty()).then_some(ProcessFacts { working_directory: None, command })
}

/// The process at the other end of a connected Unix socket: for a server, the one that listens.
/// `None` when the system doesn't tell, or it lives in another pid namespace.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn peer_pid(stream: &UnixStream) -> Option<u32> {
    u32::try_from(peer(stream)?.pid).ok().filter(|pid| *pid > 0)
}

/// The user that the process at the other end ran as when it began to listen, where the system tells.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn peer_uid(stream: &UnixStream) -> Option<u32> {
    Some(peer(stream)?.uid)
}

/// The same elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn peer_uid(_stream: &UnixStream) -> Option<u32> {
    None
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn peer(stream: &UnixStream) -> Option<libc::ucred> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the pointers are to locals of the size that is passed; the descriptor is open.
    let done = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut size,
        )
    };
    (done == 0).then_some(peer)
}

/// The process at the other end of a connected Unix socket: for a server, the one that listens.
#[cfg(target_vendor = "apple")]
pub fn peer_pid(stream: &UnixStream) -> Option<u32> {
    /// `SOL_LOCAL` of `<sys/un.h>`.
    const SOL_LOCAL: libc::c_int = 0;
    let mut pid: libc::pid_t = 0;
    let mut size = size_of::<libc::pid_t>() as libc::socklen_t;
    // SAFETY: the pointers are to locals of the size that is passed; the descriptor is open.
    let done = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            SOL_LOCAL,
            libc::LOCAL_PEERPID,
            (&raw mut pid).cast(),
            &raw mut size,
        )
    };
    u32::try_from(pid).ok().filter(|pid| done == 0 && *pid > 0)
}

/// The process at the other end of a connected Unix socket: not told here.
#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub fn peer_pid(_stream: &UnixStream) -> Option<u32> {
    None
}

/// A signal that ends a PostgreSQL server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT: ends all sessions, writes everything, then ends.
    Fast,
    /// SIGQUIT: ends at once; the next start recovers as after a crash.
    Immediate,
}

/// Signals `pid` with the rights of `user`, so that root, told a wrong id by a file that an
/// unprivileged user owns, can hit nothing but that user's own processes.
pub fn signal_as(user: &User, pid: u32, signal: StopSignal) -> io::Result<()> {
    let (number, name) = match signal {
        StopSignal::Fast => (libc::SIGINT, "-INT"),
        StopSignal::Immediate => (libc::SIGQUIT, "-QUIT"),
    };
    if user.uid == effective_uid() {
        let id = libc::pid_t::try_from(pid).ok().filter(|id| *id > 1).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: kill takes no pointers; `id` names one process, neither a group nor init.
        return match unsafe { libc::kill(id, number) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
    }
    let mut kill = kill();
    kill.args([name, &pid.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    run_as(&mut kill, user);
    match kill.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("kill {name} {pid} as {} failed", user.name))),
    }
}

/// Asks this process to end as its service manager would, by SIGTERM.
pub fn ask_to_end() {
    // SAFETY: takes no pointers; signals are handled as for anybody's SIGTERM.
    unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
}

/// The shell's own `kill`, its arguments still to be given: a slim system has no program of that name.
pub fn kill() -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "kill \"$@\"", "kill"]);
    shell
}

/// Makes `command` run as `user` when that is somebody else: its ids, none of our supplementary
/// groups (std drops them with the change of id), and a working directory that it can enter.
pub fn run_as(command: &mut Command, user: &User) {
    command.current_dir("/");
    if user.uid != effective_uid() {
        command.gid(user.gid).uid(user.uid);
    }
}

/// Makes `command` start in a session of its own, with no descriptors but the standard three: no
/// terminal's Ctrl-C or hang-up reaches it, and it holds nothing open that isn't its own.
pub fn detach(command: &mut Command) {
    // SAFETY: between fork and exec only setsid and close_range run; both are plain system calls that
    // are async-signal-safe and allocate nothing.
    unsafe {
        command.pre_exec(|| {
            close_others();
            match libc::setsid() {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            }
        });
    }
}

/// Has every descriptor but the standard three closed at `exec`. Our own are opened so; what we have
/// inherited (a script's `exec 9>lock`) may not be, and must not stay open for as long as a server
/// lives. A kernel before Linux 5.11 can't, and a system other than Linux isn't asked: no harm to us.
fn close_others() {
    #[cfg(target_os = "linux")]
    {
        const FIRST: libc::c_uint = 3;
        // SAFETY: takes three integers; descriptors are only marked, so std's own pipe to us still works.
        unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    }
}

type AtExit = Box<dyn FnOnce() + Send>;

/// What is to be done at the end; `None` until the handler is registered.
static AT_EXIT: Mutex<Option<Vec<AtExit>>> = Mutex::new(None);

/// Has `action` done when the process ends by `exit` or by returning from `main`, the latest first.
/// Statics are never dropped, so this is their last chance. A panic of one action is contained.
pub fn at_exit(action: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut actions = AT_EXIT.lock().unwrap_or_else(PoisonError::into_inner);
    if actions.is_none() {
        // SAFETY: the handler is a plain function that lives as long as the program and never unwinds.
        if unsafe { libc::atexit(run_at_exit) } != 0 {
            return Err(io::Error::other("no room for another action at exit"));
        }
    }
    actions.get_or_insert_with(Vec::new).push(Box::new(action));
    Ok(())
}

extern "C" fn run_at_exit() {
    loop {
        // The lock is not held while an action runs, so that an action may register another.
        let next = AT_EXIT.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(Vec::pop);
        let Some(action) = next else { return };
        // A panic must not unwind into C; its message has been printed by the panic hook.
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(action)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_process_is_not_alive_even_before_it_is_reaped() {
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(0) && !is_alive(u32::MAX) && !is_alive(i32::MAX as u32));
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        assert!(is_alive(pid));
        // End of file on its output tells that it has ended or is about to.
        drop(child.stdin.take());
        std::io::copy(&mut child.stdout.take().unwrap(), &mut io::sink()).unwrap();
        let reaper = std::thread::spawn(move || child.wait());
        while is_alive(pid) {
            std::thread::yield_now();
        }
        assert!(reaper.join().unwrap().unwrap().success());
    }

    #[test]
    fn the_peer_of_a_socket_is_the_one_that_listens() {
        let path = std::env::temp_dir().join(format!("process-orchestrator-peer-{}", std::process::id()));
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let pid = peer_pid(&UnixStream::connect(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let known = cfg!(any(target_os = "linux", target_os = "android", target_vendor = "apple"));
        assert_eq!(pid, known.then(std::process::id));
    }
}
