//! The data directory: what lies where, whose it is, and who may come in.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::{ClusterFailure, Outcome, cannot};
use crate::platform::files::{self, User};

/// Port in the name of the socket; there is no TCP.
pub(super) const PORT: u16 = 5432;

/// Random letters in the name of a socket directory outside the data directory.
const RANDOM_LETTERS: usize = 10;

/// The data directory, checked to be ours.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Absolute, without links.
    pub root: PathBuf,
}

impl Layout {
    /// Makes the directory if it isn't there, and makes sure that it is ours alone to change.
    pub fn prepare(data_dir: &Path) -> Outcome<Self> {
        let as_root = files::effective_uid() == 0;
        // Root's server runs as somebody else, who has to pass through.
        let mode = if as_root { 0o711 } else { 0o700 };
        let not_writable = |cause| ClusterFailure::NotWritable { path: data_dir.to_path_buf(), cause };
        DirBuilder::new().recursive(true).mode(mode).create(data_dir).map_err(not_writable)?;
        let root = std::fs::canonicalize(data_dir).map_err(not_writable)?;
        let metadata = std::fs::metadata(&root).map_err(not_writable)?;
        refuse_foreign(&root, &metadata, files::effective_uid())?;
        let present = metadata.permissions().mode();
        if present & 0o002 != 0 {
            return Err(ClusterFailure::Unsafe {
                path: root,
                reason: "can be changed by everybody".into(),
                remedy: "chmod o-w it, or choose another with PROCESS_ORCHESTRATOR_DATA_DIR".into(),
            });
        }
        if as_root && present & 0o001 == 0 {
            let opened = Permissions::from_mode((present & 0o7777) | 0o011);
            std::fs::set_permissions(&root, opened).map_err(not_writable)?;
        }
        Ok(Self { root })
    }

    /// The cluster of a major version.
    pub fn cluster(&self, major: u32) -> PathBuf {
        self.root.join(format!("postgresql-{major}"))
    }

    /// Where a cluster is made before it gets its name, so that half of one is never taken for whole.
    pub fn unfinished(&self) -> PathBuf {
        self.root.join("postgresql-unfinished")
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.root.join("postgresql.log")
    }

    /// Locked alone by whoever decides on starting or stopping.
    pub fn decision_lock(&self) -> PathBuf {
        self.root.join("postgresql-decision.lock")
    }

    /// Locked together by all who use the server.
    pub fn users_lock(&self) -> PathBuf {
        self.root.join("postgresql-users.lock")
    }

    /// Opens a lock file, making it if need be. Never handed to children: std opens close-on-exec.
    pub fn open_lock(&self, path: &Path) -> Outcome<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|cause| ClusterFailure::NotWritable { path: path.to_path_buf(), cause })
    }

    /// The newest cluster that is there, with its major version.
    pub fn existing_cluster(&self) -> Outcome<Option<(u32, PathBuf)>> {
        let entries =
            std::fs::read_dir(&self.root).map_err(cannot(format!("list {}", self.root.display())))?;
        let majors = entries.flatten().filter_map(|entry| {
            let major: u32 = entry.file_name().to_str()?.strip_prefix("postgresql-")?.parse().ok()?;
            entry.path().join("PG_VERSION").is_file().then_some(major)
        });
        Ok(majors.max().map(|major| (major, self.cluster(major))))
    }

    /// The user that runs the server: ourselves or, for root, whoever the cluster belongs to, else
    /// `postgres`, else `nobody`.
    pub fn server_user(&self, cluster: Option<&Path>) -> Outcome<User> {
        let owner = match cluster {
            Some(path) => {
                let metadata =
                    std::fs::metadata(path).map_err(cannot(format!("look at {}", path.display())))?;
                Some((path, metadata))
            }
            None => None,
        };
        let uid = files::effective_uid();
        if uid != 0 {
            if let Some((path, metadata)) = &owner {
                refuse_foreign(path, metadata, uid)?;
            }
            return Ok(named(uid));
        }
        let user = match owner {
            Some((_, metadata)) if files::owner(&metadata) != 0 => named(files::owner(&metadata)),
            _ => unprivileged_user()?,
        };
        let closed = files::first_closed_to(&user, &self.root)
            .map_err(cannot(format!("look at the directories above {}", self.root.display())))?;
        match closed {
            Some(at) => Err(ClusterFailure::Closed { at: at.to_path_buf(), user: user.name }),
            None => Ok(user),
        }
    }

    /// The directory of the server's socket, which must not be too deep for the system's limit: in the
    /// data directory, else the one recorded there, else a new one in a short place.
    pub fn socket_directory(&self, user: &User) -> Outcome<PathBuf> {
        let inside = self.root.join("run");
        if fits(&inside) {
            return Ok(inside);
        }
        let record = self.root.join("socket-directory");
        match std::fs::read(&record) {
            Ok(bytes) => {
                let recorded = PathBuf::from(std::ffi::OsStr::from_bytes(&bytes));
                let usable = recorded.is_absolute() && fits(&recorded);
                if usable && open_directory(&recorded, user).is_ok() {
                    return Ok(recorded);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(format!("read {}", record.display()))(error)),
        }
        let chosen = short_place(user).join(random_name());
        open_directory(&chosen, user)?;
        let written = record.with_extension("new");
        std::fs::write(&written, chosen.as_os_str().as_bytes())
            .and_then(|()| std::fs::rename(&written, &record))
            .map_err(|cause| ClusterFailure::NotWritable { path: record, cause })?;
        Ok(chosen)
    }
}

/// Makes a directory that only `user` may enter, or makes sure that the one there is such. A link, or a
/// directory of somebody else's who got there first, is refused.
pub(super) fn open_directory(path: &Path, user: &User) -> Outcome<()> {
    let doing = || format!("make {}", path.display());
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(cannot(doing())(error)),
        _ => {}
    }
    let metadata = std::fs::symlink_metadata(path).map_err(cannot(doing()))?;
    let ours = files::owner(&metadata) == files::effective_uid();
    if metadata.is_dir() && ours && user.uid != files::effective_uid() {
        files::give_to(path, user).map_err(cannot(format!("give {} to {}", path.display(), user.name)))?;
    } else if metadata.is_dir() {
        refuse_foreign(path, &metadata, user.uid)?;
    }
    if !metadata.is_dir() || files::open_to_others(&metadata) {
        return Err(ClusterFailure::Unsafe {
            path: path.to_path_buf(),
            reason: "is not a directory that its owner alone may enter".into(),
            remedy: "remove it; it will be made anew".into(),
        });
    }
    Ok(())
}

fn refuse_foreign(path: &Path, metadata: &Metadata, wanted: u32) -> Outcome<()> {
    let owner = files::owner(metadata);
    if owner == wanted {
        return Ok(());
    }
    Err(ClusterFailure::Foreign { path: path.to_path_buf(), owner: named(owner).name })
}

/// The user with this id; one that the user list doesn't know goes by the number.
pub(super) fn named(uid: u32) -> User {
    match files::user_by_id(uid) {
        Ok(Some(user)) => user,
        unknown => {
            if let Err(error) = unknown {
                log::warn!("the system's user list can't be read: {error}");
            }
            User { name: format!("user id {uid}"), uid, gid: uid, home: PathBuf::from("/") }
        }
    }
}

fn unprivileged_user() -> Outcome<User> {
    for name in ["postgres", "nobody"] {
        let found = files::user_by_name(name).map_err(cannot(format!("look up the user {name}")))?;
        if let Some(user) = found.filter(|user| user.uid != 0) {
            if name == "nobody" {
                log::warn!(
                    "there is no user postgres, so the private PostgreSQL belongs to nobody: whatever else \
                     runs as nobody can change it"
                );
            }
            return Ok(user);
        }
    }
    Err(ClusterFailure::NoUnprivilegedUser)
}

/// Whether the server's socket can be named in this directory.
fn fits(directory: &Path) -> bool {
    socket_path(directory).as_os_str().len() <= files::SOCKET_PATH_BYTES_MAX
}

/// The server's socket in a directory.
pub(super) fn socket_path(directory: &Path) -> PathBuf {
    directory.join(format!(".s.PGSQL.{PORT}"))
}

/// The session's own runtime directory where there is one; root's is closed to the server's user.
fn short_place(user: &User) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usable = runtime.filter(|path| {
        path.is_absolute()
            && user.uid == files::effective_uid()
            && path.is_dir()
            && fits(&path.join(random_name()))
    });
    usable.unwrap_or_else(|| PathBuf::from("/tmp"))
}

fn random_name() -> String {
    let letters: String = std::iter::repeat_with(fastrand::alphanumeric).take(RANDOM_LETTERS).collect();
    format!("process-orchestrator-{letters}")
}
