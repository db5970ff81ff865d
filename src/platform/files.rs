//! Locks, owners, users and other processes: what keeping files and a server of our own asks of Unix.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Longest path of a Unix socket in bytes: `sun_path` of Linux holds 108, of macOS and the BSDs 104,
/// and both want room for the closing NUL.
pub const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// How a file is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Together with others that share.
    Shared,
    /// Alone.
    Exclusive,
}

/// Waits until `file` is locked. The lock belongs to this opening of the file and ends with
/// [`unlock`], with the last descriptor of this opening, or with the process, however it dies.
pub fn lock(file: &File, kind: Lock) -> io::Result<()> {
    loop {
        match flock(file, operation(kind)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Locks `file` if that needs no waiting; says whether it did.
pub fn try_lock(file: &File, kind: Lock) -> io::Result<bool> {
    match flock(file, operation(kind) | libc::LOCK_NB) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the lock back. Said explicitly, because a command being spawned at this moment by another
/// thread holds a copy of the descriptor until its `exec`, and a mere close would leave the lock to it.
pub fn unlock(file: &File) -> io::Result<()> {
    flock(file, libc::LOCK_UN)
}

fn operation(kind: Lock) -> libc::c_int {
    match kind {
        Lock::Shared => libc::LOCK_SH,
        Lock::Exclusive => libc::LOCK_EX,
    }
}

fn flock(file: &File, operation: libc::c_int) -> io::Result<()> {
    // SAFETY: flock takes a descriptor that `file` keeps open during the call, and no pointer.
    match unsafe { libc::flock(file.as_raw_fd(), operation) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A user of this system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The id of the user's own group.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
}

/// The effective user id of this process; 0 is root.
pub fn effective_uid() -> u32 {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// The user this process acts as; `None` when the system's user list doesn't know the id.
pub fn current_user() -> io::Result<Option<User>> {
    user_by_id(effective_uid())
}

/// The user with this id.
pub fn user_by_id(uid: u32) -> io::Result<Option<User>> {
    // SAFETY: the pointers come from `look_up` and are valid for the lengths it passes.
    look_up(|entry, buffer, size, found| unsafe { libc::getpwuid_r(uid, entry, buffer, size, found) })
}

/// The user with this login name.
pub fn user_by_name(name: &str) -> io::Result<Option<User>> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    // SAFETY: as above; `name` lives until the call is over.
    look_up(|entry, buffer, size, found| unsafe {
        libc::getpwnam_r(name.as_ptr(), entry, buffer, size, found)
    })
}

/// An entry of the user list is far shorter; a directory service that sends more than this is broken.
const USER_ENTRY_BYTES_MAX: usize = 1 << 20;

fn look_up(
    call: impl Fn(*mut libc::passwd, *mut libc::c_char, usize, *mut *mut libc::passwd) -> libc::c_int,
) -> io::Result<Option<User>> {
    let mut size = 1024;
    loop {
        let mut buffer = vec![0 as libc::c_char; size];
        // SAFETY: all-zero bytes are a valid `passwd`: integers and null pointers.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut found = std::ptr::null_mut();
        match call(&mut entry, buffer.as_mut_ptr(), buffer.len(), &mut found) {
            0 if found.is_null() => return Ok(None),
            // SAFETY: found is not null, so the call filled `entry` with strings inside `buffer`.
            0 => return Ok(Some(unsafe { to_user(&entry) })),
            libc::ERANGE if size < USER_ENTRY_BYTES_MAX => size *= 4,
            libc::EINTR => {}
            // What the manuals list for "no such user" beside 0.
            libc::ENOENT | libc::ESRCH => return Ok(None),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// # Safety
/// The entry's `pw_name` and `pw_dir` must be null or point at NUL-terminated strings.
unsafe fn to_user(entry: &libc::passwd) -> User {
    let text = |pointer: *const libc::c_char| match pointer.is_null() {
        true => OsString::new(),
        // SAFETY: not null, and NUL-terminated by the caller's promise.
        false => OsStr::from_bytes(unsafe { CStr::from_ptr(pointer) }.to_bytes()).to_owned(),
    };
    User {
        name: String::from_utf8_lossy(&text(entry.pw_name).into_vec()).into_owned(),
        uid: entry.pw_uid,
        gid: entry.pw_gid,
        home: PathBuf::from(text(entry.pw_dir)),
    }
}

/// Whether anybody but the owner may read or write the file.
pub fn open_to_others(metadata: &Metadata) -> bool {
    metadata.mode() & 0o077 != 0
}

/// The user id of the file's owner.
pub fn owner(metadata: &Metadata) -> u32 {
    metadata.uid()
}

/// Makes `user` the owner of `path`, which must not be a symbolic link that others control.
pub fn give_to(path: &Path, user: &User) -> io::Result<()> {
    chown(path, Some(user.uid), Some(user.gid))
}

/// The first directory on the way to `path` (itself included) that `user` may not pass through.
/// Looks at the permission bits; access lists and the user's other groups are not asked.
pub fn first_closed_to<'a>(user: &User, path: &'a Path) -> io::Result<Option<&'a Path>> {
    let mut way: Vec<&Path> = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
    way.reverse();
    for part in way {
        let metadata = std::fs::metadata(part)?;
        let passes = match () {
            _ if metadata.uid() == user.uid => metadata.mode() & 0o100 != 0,
            _ if metadata.gid() == user.gid => metadata.mode() & 0o010 != 0,
            _ => metadata.mode() & 0o001 != 0,
        };
        if !passes {
            return Ok(Some(part));
        }
    }
    Ok(None)
}

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

/// The state follows the command's name, which stands in parentheses and may hold some itself.
/// Without /proc (macOS) nothing is known to be one.
fn is_zombie(pid: u32) -> bool {
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
    u32::try_from(peer.pid).ok().filter(|pid| done == 0 && *pid > 0)
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
    let mut kill = Command::new("/bin/kill");
    kill.args([name, &pid.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    run_as(&mut kill, user);
    match kill.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("kill {name} {pid} as {} failed", user.name))),
    }
}

/// Makes `command` run as `user` when that is somebody else: its ids, none of our supplementary
/// groups (std drops them with the change of id), and a working directory that it can enter.
pub fn run_as(command: &mut Command, user: &User) {
    command.current_dir("/");
    if user.uid != effective_uid() {
        command.gid(user.gid).uid(user.uid);
    }
}

/// Makes `command` start in a session of its own: no terminal's Ctrl-C or hang-up reaches it.
pub fn detach(command: &mut Command) {
    // SAFETY: between fork and exec only setsid runs, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| match libc::setsid() {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
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
    fn locks_exclude_each_other_and_end_when_given_back() {
        let path = std::env::temp_dir().join(format!("process-orchestrator-lock-{}", std::process::id()));
        let open = || File::options().create(true).append(true).open(&path).unwrap();
        let (one, two, three) = (open(), open(), open());
        lock(&one, Lock::Shared).unwrap();
        lock(&two, Lock::Shared).unwrap();
        assert!(!try_lock(&three, Lock::Exclusive).unwrap(), "two share it");
        unlock(&one).unwrap();
        assert!(!try_lock(&three, Lock::Exclusive).unwrap(), "one still shares it");
        unlock(&two).unwrap();
        assert!(try_lock(&three, Lock::Exclusive).unwrap(), "nobody has it");
        assert!(!try_lock(&one, Lock::Shared).unwrap(), "it is held alone");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn users_are_found_by_id_and_name() {
        let me = current_user().unwrap().expect("the user of the tests is in the user list");
        assert_eq!(me.uid, effective_uid());
        assert_eq!(user_by_name(&me.name).unwrap(), Some(me));
        assert_eq!(user_by_name("no such user").unwrap(), None);
        assert_eq!(user_by_name("with\0nul").unwrap(), None);
    }

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

    #[test]
    fn the_closed_directory_on_the_way_is_named() {
        let stranger = User { name: "stranger".into(), uid: 54_321, gid: 54_321, home: "/".into() };
        let base = std::env::temp_dir().join(format!("process-orchestrator-way-{}", std::process::id()));
        let inner = base.join("closed").join("inner");
        std::fs::create_dir_all(&inner).unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        };
        set(&base, 0o755);
        set(&base.join("closed"), 0o700);
        let closed = first_closed_to(&stranger, &inner).unwrap().map(Path::to_path_buf);
        set(&base.join("closed"), 0o711);
        let open = first_closed_to(&stranger, &base.join("closed")).unwrap().map(Path::to_path_buf);
        std::fs::remove_dir_all(&base).unwrap();
        assert_eq!(closed, Some(base.join("closed")));
        assert_eq!(open, None);
    }
}
