//! What can go wrong with the private cluster, in words that a person can act on.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::database::error::ConnectError;
use crate::database::server_version::OLDEST_SERVER;

/// The private cluster cannot be used.
#[derive(Debug)]
pub struct ClusterError {
    /// The data directory.
    pub data_dir: PathBuf,
    /// What went wrong.
    pub failure: ClusterFailure,
}

/// Why the private cluster cannot be used.
#[derive(Debug)]
pub enum ClusterFailure {
    /// No PostgreSQL server is installed.
    NoBinaries {
        /// Where it was looked for, in order.
        searched: Vec<PathBuf>,
        /// The command that installs it here.
        install: String,
    },
    /// No server is where the user says that one is.
    NoBinariesIn {
        /// The variable that says so.
        variable: &'static str,
        /// Where.
        directory: PathBuf,
    },
    /// Only servers that are too old are installed.
    BinariesTooOld {
        /// Their versions and places.
        found: Vec<String>,
        /// The command that installs a newer one here.
        install: String,
    },
    /// The cluster was made by a version that is not installed (any more).
    NoBinariesFor {
        /// The version that made it.
        major: u32,
        /// The cluster.
        cluster: PathBuf,
        /// What is installed.
        found: Vec<String>,
    },
    /// A directory or file cannot be made or written.
    NotWritable {
        /// Which.
        path: PathBuf,
        /// In the system's words.
        cause: io::Error,
    },
    /// A directory belongs to another user.
    Foreign {
        /// Which.
        path: PathBuf,
        /// Whose.
        owner: String,
    },
    /// The server runs as another user than its files belong to.
    AnotherUsersServer {
        /// Its process, where the system tells.
        pid: Option<u32>,
        /// Who runs it.
        runs_as: String,
        /// Whose the files are now.
        owner: String,
    },
    /// A directory could be changed or entered by others, which would hand them the database.
    Unsafe {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// How to put it right.
        remedy: String,
    },
    /// The server's user cannot reach the data directory.
    Closed {
        /// The directory on the way that it may not enter.
        at: PathBuf,
        /// The server's user.
        user: String,
    },
    /// Root cannot run the server, and there is nobody else.
    NoUnprivilegedUser,
    /// `initdb` failed.
    InitdbFailed {
        /// The end of what it said.
        output: String,
    },
    /// The server ended while it was starting.
    StartFailed {
        /// The end of its log.
        log_tail: String,
        /// The whole log.
        log: PathBuf,
    },
    /// The server did not get ready in time.
    StartTooSlow {
        /// How long it was given, in seconds.
        waited_s: u64,
        /// The end of its log.
        log_tail: String,
        /// The whole log.
        log: PathBuf,
    },
    /// A process holds the cluster and neither answers nor ends.
    Stuck {
        /// Its id.
        pid: u32,
    },
    /// Another command has been starting or stopping the server for too long.
    Locked {
        /// The lock file.
        lock: PathBuf,
        /// How long it was waited for, in seconds.
        waited_s: u64,
    },
    /// The server runs and lets nobody in.
    Unusable(ConnectError),
    /// A system call failed.
    Io {
        /// What was tried, after "cannot".
        action: String,
        /// In the system's words.
        cause: io::Error,
    },
}

/// Shorthand for the module's results; the data directory is added at the surface.
pub(super) type Outcome<T> = Result<T, ClusterFailure>;

/// Makes an `Io` failure of an error.
pub(super) fn cannot(action: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterFailure {
    move |cause| ClusterFailure::Io { action: action.into(), cause }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to use the private PostgreSQL in {}: {}", self.data_dir.display(), self.failure)
    }
}

impl std::error::Error for ClusterError {}

/// What nearly every failure can be answered with.
const OTHER_PLACE: &str =
    "choose another with PROCESS_ORCHESTRATOR_DATA_DIR, or name a server with DATABASE_URL";

impl fmt::Display for ClusterFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBinaries { install, .. } => write!(
                f,
                "no PostgreSQL server is installed (initdb and postgres are neither in PATH nor where \
                 distributions put them); {install}, or name a server with DATABASE_URL"
            ),
            Self::NoBinariesIn { variable, directory } => write!(
                f,
                "{variable} names {}, and no initdb and postgres that run are there or in its bin; correct \
                 it, or leave it out for the newest that is installed",
                directory.display()
            ),
            Self::BinariesTooOld { found, install } => write!(
                f,
                "PostgreSQL {OLDEST_SERVER} or newer is needed, installed is {}; {install}",
                found.join(", ")
            ),
            Self::NoBinariesFor { major, cluster, found } => write!(
                f,
                "{} was made by PostgreSQL {major}, installed is {}; install PostgreSQL {major}, or move \
                 the directory away to begin anew without its processes",
                cluster.display(),
                if found.is_empty() { "no PostgreSQL server".to_string() } else { found.join(", ") }
            ),
            Self::NotWritable { path, cause } if cause.kind() == io::ErrorKind::AlreadyExists => {
                write!(f, "{} is not a directory; {OTHER_PLACE}", path.display())
            }
            Self::NotWritable { path, cause } => {
                write!(f, "{} cannot be written: {cause}; {}", path.display(), remedy_for(cause))
            }
            Self::Foreign { path, owner } => {
                write!(f, "{} belongs to {owner}; run as that user, or {OTHER_PLACE}", path.display())
            }
            Self::AnotherUsersServer { pid, runs_as, owner } => {
                let server = pid.map_or("its server".to_owned(), |pid| format!("its server, process {pid},"));
                write!(
                    f,
                    "{server} runs as {runs_as}, and the files belong to {owner} by now: they were given away under it; \
                     stop what uses it, {}",
                    pid.map_or("then try again".to_owned(), |pid| format!("or end it: kill -INT {pid}"))
                )
            }
            Self::Unsafe { path, reason, remedy } => write!(f, "{} {reason}; {remedy}", path.display()),
            Self::Closed { at, user } => write!(
                f,
                "root runs the server as the user {user}, who may not enter {}; chmod o+x it, or {OTHER_PLACE}",
                at.display()
            ),
            Self::NoUnprivilegedUser => f.write_str(
                "PostgreSQL does not run as root, and there is no user postgres or nobody; \
                 add one (useradd --system postgres), or run as an ordinary user",
            ),
            Self::InitdbFailed { output } => {
                write!(f, "initdb failed: {output}; {}", remedy_for_output(output))
            }
            Self::StartFailed { log_tail, log } => write!(
                f,
                "the server ended while starting: {log_tail}; {} (whole log: {})",
                remedy_for_output(log_tail),
                log.display()
            ),
            Self::StartTooSlow { waited_s, log_tail, log } => {
                write!(f, "the server was not ready after {waited_s} s: {log_tail}; see {}", log.display())
            }
            Self::Stuck { pid } => {
                write!(f, "its server, process {pid}, neither answers nor ends; end it with kill -QUIT {pid}")
            }
            Self::Locked { lock, waited_s } => write!(
                f,
                "another command has been starting or stopping the server for {waited_s} s; \
                 see who holds {} (fuser, lsof)",
                lock.display()
            ),
            Self::Unusable(error) => write!(f, "{error}"),
            Self::Io { action, cause } => write!(f, "cannot {action}: {cause}; {}", remedy_for(cause)),
        }
    }
}

fn remedy_for(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some disk space",
        _ => OTHER_PLACE,
    }
}

fn remedy_for_output(output: &str) -> &'static str {
    match output {
        full if full.contains("No space left") || full.contains("quota exceeded") => "free some disk space",
        memory if memory.contains("shared memory") || memory.contains("Cannot allocate memory") => {
            "free some memory, or raise the limits on shared memory"
        }
        nameless if nameless.contains("could not look up") => "give the user id a name in /etc/passwd",
        _ => OTHER_PLACE,
    }
}
