//! Locks, owners and users: what keeping files of our own asks of Unix.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown, lchown};
use std::path::{Path, PathBuf};

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

/// Whether somebody could read or write a secret who was not meant to; see [`secret_exposed_to`].
pub fn is_secret_exposed(metadata: &Metadata) -> bool {
    secret_exposed_to(metadata) != 0
}

/// What group and others may do with a secret, as bits of its mode. A credential of systemd's is exposed to nobody: it is
/// root's, for nobody to write, and readable by whom it was given to, which an access list says and the mode shows as the
/// group's right.
pub fn secret_exposed_to(metadata: &Metadata) -> u32 {
    let is_credential = metadata.uid() == 0 && metadata.mode() & 0o777 == 0o440;
    if is_credential { 0 } else { metadata.mode() & 0o077 }
}

/// Opens a file to be read. Whatever else the path leads to, a pipe that nobody writes to among them, is an error and not
/// waited for.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Whether a private key could be read or written by somebody whom libpq would not trust with it: it has to be ours
/// and closed to others, or root's and at most readable by a group.
pub fn is_key_exposed(metadata: &Metadata) -> bool {
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    let is_foreign = metadata.uid() != 0 && metadata.uid() != effective_uid();
    is_foreign || metadata.mode() & forbidden != 0
}

/// What tells a file from every other: its device and its number there.
pub fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The user id of the file's owner.
pub fn owner(metadata: &Metadata) -> u32 {
    metadata.uid()
}

/// Makes `user` the owner of `path`; of a symbolic link, not of what it points at.
pub fn give_to(path: &Path, user: &User) -> io::Result<()> {
    lchown(path, Some(user.uid), Some(user.gid))
}

/// Puts a file with `content` in the place of `path`, belonging to `user`. Safe for root in that user's
/// directory: whatever `path` is there, even a link to a file of root's, is replaced and not written to.
pub fn replace_for(user: &User, path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A link that appears here meanwhile makes this fail: create_new follows none.
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    if user.uid != effective_uid() {
        fchown(&file, Some(user.uid), Some(user.gid))?;
    }
    std::fs::rename(&new, path)
}

/// A file of our own that has no name any more: it is gone with its last descriptor.
pub fn unnamed_file() -> io::Result<File> {
    let name = format!("process-orchestrator-{}-{:016x}", std::process::id(), fastrand::u64(..));
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
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
    fn a_credential_of_systemds_is_not_exposed() {
        let path = std::env::temp_dir().join(format!("po-secret-{}", std::process::id()));
        std::fs::write(&path, "x").unwrap();
        let exposed = |mode| {
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            is_secret_exposed(&std::fs::metadata(&path).unwrap())
        };
        assert!(!exposed(0o600) && !exposed(0o400));
        // How systemd 257 shows a credential to whom it was given.
        assert_eq!(exposed(0o440), effective_uid() != 0);
        assert!(exposed(0o640) && exposed(0o444) && exposed(0o604));
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
        // The directory for temporary files may be closed to others itself, as macOS has it.
        let above = first_closed_to(&stranger, &base).unwrap().map(Path::to_path_buf);
        std::fs::remove_dir_all(&base).unwrap();
        assert_eq!(closed, above.clone().or(Some(base.join("closed"))));
        assert_eq!(open, above);
    }

    #[test]
    fn a_link_is_replaced_and_its_target_left_alone() {
        let base = std::env::temp_dir().join(format!("process-orchestrator-link-{}", std::process::id()));
        std::fs::create_dir_all(&base).unwrap();
        let (target, link) = (base.join("target"), base.join("link.pid"));
        std::fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        replace_for(&current_user().unwrap().unwrap(), &link, b"new").unwrap();
        let seen = (std::fs::read_to_string(&target).unwrap(), std::fs::read_to_string(&link).unwrap());
        std::fs::remove_dir_all(&base).unwrap();
        assert_eq!(seen, ("kept".to_string(), "new".to_string()));
    }
}
