//! A PostgreSQL cluster of our own, for who has not set up a server.
//!
//! It lives in the data directory and is reached through a Unix socket in a directory that only its
//! owner may enter. The first command that needs it makes it and starts its server; the last that ends
//! stops the server. Commands find each other by two locks that the kernel gives back however a command
//! dies: all users of the server share one; whoever starts or stops holds the other alone. A server
//! that a killed command left running is used by the next one, and stopped by the next last one.
//!
//! ```no_run
//! use process_orchestrator::database::{ConnectionSource, private_cluster::PrivateCluster};
//!
//! let cluster = PrivateCluster::open("/var/tmp/example".as_ref())?;
//! let mut connection = cluster.connect("example")?;
//! let version: String = connection.query_one("SHOW server_version", &[])?.get(0);
//! cluster.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod binaries;
mod error;
mod launch;
mod layout;
mod lock_file;
mod owner_watch;
mod server;
mod waiting;

use std::fs::File;
use std::path::Path;

pub use self::binaries::POSTGRESQL_VARIABLE;
pub use self::error::{ClusterError, ClusterFailure};

use self::binaries::Binaries;
use self::error::{Outcome, cannot};
use self::layout::Layout;
use self::lock_file::LockFile;
use self::owner_watch::OwnerWatch;
use self::server::Server;
use self::waiting::Waiting;
use super::connect::Patience;
use super::error::{ConnectError, ConnectFailure};
use super::settings::ConnectionSettings;
use super::source::{Connection, ConnectionSource};
use crate::platform::files::{self, Lock};
use crate::platform::processes;

/// Longer than any start or stop that another command may be busy with.
const DECISION_WAIT_S_MAX: u64 = 300;

/// A running private cluster and our share in it. Dropping it gives the share back, and stops the
/// server if nobody else has one; [`PrivateCluster::close`] does the same and says how it went.
#[derive(Debug)]
pub struct PrivateCluster {
    layout: Layout,
    server: Server,
    /// Holds the shared lock. `None` once it is given back.
    share: Option<File>,
    owner_watch: Option<OwnerWatch>,
}

impl PrivateCluster {
    /// Makes the cluster in `data_dir` if there is none and starts its server if it does not run.
    ///
    /// # Errors
    /// No server installed, a directory that is not ours or not writable, a full disk, a server that
    /// does not start: each with the log's or the program's own words and what to do.
    pub fn open(data_dir: &Path) -> Result<Self, ClusterError> {
        Self::open_with(data_dir, &[])
    }

    /// As [`PrivateCluster::open`], with settings for the server that go before our own, if it is we
    /// who start it. `("fsync", "off")` is for tests, which then lose everything with the machine.
    pub fn open_with(data_dir: &Path, options: &[(&str, &str)]) -> Result<Self, ClusterError> {
        let at = |failure| ClusterError { data_dir: data_dir.to_path_buf(), failure };
        let layout = Layout::prepare(data_dir).map_err(at)?;
        Self::open_in(layout, options).map_err(at)
    }

    fn open_in(layout: Layout, options: &[(&str, &str)]) -> Outcome<Self> {
        let decision = decide(&layout)?;
        let share = layout.open_lock(&layout.users_lock())?;
        files::lock(&share, Lock::Shared).map_err(cannot("share the server"))?;
        let server = prepare_server(&layout, options)?;
        // From here on dropping it undoes everything, once the decision lock is free.
        let cluster = Self { layout, server, share: Some(share), owner_watch: None };
        let running = cluster.server.ensure_running();
        give_back(&decision);
        running.map(|()| cluster)
    }

    /// How to connect to the server of `data_dir` if it is up, for who would rather go without than start it. Nothing
    /// keeps it from ending meanwhile.
    pub fn settings_if_running(data_dir: &Path) -> Option<ConnectionSettings> {
        let layout = Layout { root: std::fs::canonicalize(data_dir).ok()? };
        let (_, cluster) = layout.existing_cluster().ok()??;
        let file = LockFile::read(&cluster).ok()??;
        (file.status == "ready").then(|| Server::settings_for(Path::new(&file.sockets)))
    }

    /// How to connect. Holds while the cluster is open.
    pub fn settings(&self) -> ConnectionSettings {
        self.server.settings()
    }

    /// The major version of the server, such as 15.
    pub fn major_version(&self) -> u32 {
        self.server.binaries.major
    }

    /// Has `lost` told, once, if the cluster's files are given to somebody else while it is open. For who works with it for
    /// long.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn watch_owner(&mut self, lost: impl FnOnce(String) + Send + 'static) -> std::io::Result<()> {
        let (cluster, uid) = (self.server.cluster.clone(), self.server.user.uid);
        self.owner_watch = Some(OwnerWatch::begin(cluster, uid, lost)?);
        Ok(())
    }

    /// Starts the server again if it has ended under us, as when it was killed.
    pub fn revive(&self) -> Result<(), ClusterError> {
        let revive = || {
            let decision = decide(&self.layout)?;
            let running = self.server.ensure_running();
            give_back(&decision);
            running
        };
        revive().map_err(|failure| self.error(failure))
    }

    /// Gives our share back and, if it was the last, stops the server and waits until it is gone.
    pub fn close(mut self) -> Result<(), ClusterError> {
        self.release().map_err(|failure| self.error(failure))
    }

    /// Keeps the cluster open until this process ends by `exit` or by returning from `main`, for what
    /// lives in a static, which is never dropped. Returns how to connect.
    pub fn release_at_exit(self) -> Result<ConnectionSettings, ClusterError> {
        let settings = self.settings();
        let data_dir = self.layout.root.clone();
        processes::at_exit(move || drop(self)).map_err(|cause| ClusterError {
            data_dir,
            failure: cannot("register the stop at exit")(cause),
        })?;
        Ok(settings)
    }

    fn release(&mut self) -> Outcome<()> {
        let Some(share) = self.share.take() else { return Ok(()) };
        let decision = decide(&self.layout)?;
        files::unlock(&share).map_err(cannot("give the server back"))?;
        // Nobody can take a share while we hold the decision lock.
        let last = files::try_lock(&share, Lock::Exclusive).map_err(cannot("see who uses the server"))?;
        let stopped = if last { self.stop_server() } else { Ok(()) };
        give_back(&share);
        give_back(&decision);
        stopped
    }

    fn stop_server(&self) -> Outcome<()> {
        self.server.stop()?;
        let elsewhere = !self.server.sockets.starts_with(&self.layout.root);
        if elsewhere && let Err(error) = std::fs::remove_dir(&self.server.sockets) {
            log::debug!("{} stays: {error}", self.server.sockets.display());
        }
        Ok(())
    }

    fn error(&self, failure: ClusterFailure) -> ClusterError {
        ClusterError { data_dir: self.layout.root.clone(), failure }
    }
}

impl Drop for PrivateCluster {
    fn drop(&mut self) {
        if let Err(failure) = self.release() {
            log::error!("{}", self.error(failure));
        }
    }
}

impl ConnectionSource for PrivateCluster {
    fn connect(&self, role: &str) -> Result<Connection, ConnectError> {
        self.connect_with(role, &Patience::DEFAULT)
    }

    /// Brings the server back first if it is gone: nobody else would.
    fn connect_with(&self, role: &str, patience: &Patience) -> Result<Connection, ConnectError> {
        let settings = self.settings();
        match settings.connect_with(role, patience) {
            Err(error) if matches!(error.failure, ConnectFailure::Unreachable { .. }) => {
                log::warn!("{error}; starting it again");
                self.revive().map_err(|error| ConnectError {
                    target: settings.shown(),
                    failure: ConnectFailure::PrivateCluster { message: error.to_string() },
                })?;
                settings.connect_with(role, patience)
            }
            answer => answer,
        }
    }

    fn shown(&self) -> String {
        self.settings().shown()
    }
}

/// Takes the lock under which the server is started and stopped.
fn decide(layout: &Layout) -> Outcome<File> {
    let path = layout.decision_lock();
    let lock = layout.open_lock(&path)?;
    let mut waiting = Waiting::new(DECISION_WAIT_S_MAX);
    while !files::try_lock(&lock, Lock::Exclusive).map_err(cannot(format!("lock {}", path.display())))? {
        if !waiting.pause() {
            return Err(ClusterFailure::Locked { lock: path, waited_s: DECISION_WAIT_S_MAX });
        }
    }
    Ok(lock)
}

fn give_back(lock: &File) {
    // Unlocking an open file cannot fail in a way that matters: the lock ends with the file as well.
    if let Err(error) = files::unlock(lock) {
        log::warn!("a lock of the private PostgreSQL was not given back: {error}");
    }
}

/// Finds the programs and the cluster, making one if there is none.
fn prepare_server(layout: &Layout, options: &[(&str, &str)]) -> Outcome<Server> {
    let existing = layout.existing_cluster()?;
    let made_by = existing.as_ref().map(|(major, path)| (*major, path.as_path()));
    let binaries = Binaries::find(made_by)?;
    let user = layout.server_user(made_by.map(|(_, path)| path))?;
    let options: Vec<(String, String)> =
        options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let cluster = match existing {
        Some((_, path)) => path,
        None => {
            let durable = !options.contains(&("fsync".to_string(), "off".to_string()));
            make_cluster(layout, &binaries, &user, durable)?
        }
    };
    let sockets = layout.socket_directory(&user)?;
    Ok(Server { binaries, cluster, sockets, log: layout.log(), user, options })
}

/// Makes the cluster beside its place and moves it there when it is whole.
fn make_cluster(
    layout: &Layout,
    binaries: &Binaries,
    user: &files::User,
    durable: bool,
) -> Outcome<std::path::PathBuf> {
    let unfinished = layout.unfinished();
    match std::fs::remove_dir_all(&unfinished) {
        Ok(()) => log::info!("{} was left over from a crash and is made anew", unfinished.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(cannot(format!("remove {}", unfinished.display()))(error)),
    }
    layout::open_directory(&unfinished, user)?;
    launch::initdb(binaries, &unfinished, user, durable)?;
    let cluster = layout.cluster(binaries.major);
    std::fs::rename(&unfinished, &cluster)
        // The name has to outlive a crash as initdb has made sure that the content does.
        .and_then(|()| File::open(&layout.root)?.sync_all())
        .map_err(cannot(format!("move the new cluster to {}", cluster.display())))?;
    Ok(cluster)
}

#[cfg(test)]
mod tests;
