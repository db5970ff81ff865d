//! `postmaster.pid`, by which PostgreSQL keeps two servers off one cluster.

use std::io;
use std::path::Path;

use super::error::{Outcome, cannot};
use crate::platform::files::{self, User};

/// What the postmaster's lock file gets as process id to mark it as ended: no system has ids so high,
/// and the server then still checks for itself whether the memory of the old one is in use.
const NO_PROCESS: &str = "2147483647";

/// What the postmaster's lock file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LockFile {
    /// The server's process; `None` when the file is broken.
    pub pid: Option<u32>,
    /// Where its socket is.
    pub sockets: String,
    /// `starting`, `ready`, `stopping`, `standby`.
    pub status: String,
}

impl LockFile {
    /// Line 1 is the process id (negative for a single-user server), line 5 the socket's directory, line 8 the status.
    fn parse(text: &str) -> Self {
        let line = |number: usize| text.lines().nth(number).unwrap_or("").trim();
        let pid = line(0).parse::<i64>().ok().and_then(|pid| u32::try_from(pid.abs()).ok());
        Self { pid, sockets: line(4).to_string(), status: line(7).to_string() }
    }

    /// The cluster's file, if it has one.
    pub fn read(cluster: &Path) -> Outcome<Option<Self>> {
        Ok(text(cluster)?.map(|text| Self::parse(&text)))
    }

    /// Makes a file harmless behind which nobody lives.
    pub fn disarm(cluster: &Path, user: &User) -> Outcome<()> {
        let Some(text) = text(cluster)? else { return Ok(()) };
        let path = cluster.join(NAME);
        log::info!("{} is left over from a crash", path.display());
        let done = match text.split_once('\n') {
            Some((first, rest)) if Self::parse(first).pid.is_some() => {
                files::replace_for(user, &path, format!("{NO_PROCESS}\n{rest}").as_bytes())
            }
            // Empty or cut short by a full disk: it names no memory that could be in use.
            _ => std::fs::remove_file(&path),
        };
        done.map_err(cannot(format!("repair {}", path.display())))
    }
}

const NAME: &str = "postmaster.pid";

fn text(cluster: &Path) -> Outcome<Option<String>> {
    let path = cluster.join(NAME);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot(format!("read {}", path.display()))(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_is_read_whole_or_broken() {
        let text = "4711\n/data\n1700000000\n5432\n/data/run\n\n  123  456\nready   \n";
        let expected = LockFile { pid: Some(4711), sockets: "/data/run".into(), status: "ready".into() };
        assert_eq!(LockFile::parse(text), expected);
        assert_eq!(LockFile::parse("-12\n/data\n").pid, Some(12));
        assert_eq!(
            LockFile::parse(""),
            LockFile { pid: None, sockets: String::new(), status: String::new() }
        );
        assert_eq!(LockFile::parse("garbage\n").pid, None);
    }
}
