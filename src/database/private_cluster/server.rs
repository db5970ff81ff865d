//! The server's process: is it there, start it, stop it, put right what a crash left.
//!
//! All of it runs under the decision lock, so nobody else starts or stops the server meanwhile.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::binaries::Binaries;
use super::error::{ClusterFailure, Outcome, cannot};
use super::launch;
use super::layout::{self, PORT};
use super::lock_file::LockFile;
use super::waiting::Waiting;
use crate::database::connect::Patience;
use crate::database::settings::ConnectionSettings;
use crate::platform::files::User;
use crate::platform::processes::{self, StopSignal};

/// Recovery after a crash replays up to `max_wal_size`; a slow disk takes a minute for that.
const START_WAIT_S_MAX: u64 = 180;
/// A process that holds the cluster without answering is starting or ending; both take moments.
const SILENT_WAIT_S_MAX: u64 = 10;
/// Sessions of a killed server notice its end by themselves; until then its memory is in use.
const ORPHANS_WAIT_S_MAX: u64 = 20;
/// A fast shutdown writes a checkpoint; beyond this it hangs.
const FAST_STOP_WAIT_S_MAX: u64 = 60;
/// An immediate shutdown writes nothing.
const IMMEDIATE_STOP_WAIT_S_MAX: u64 = 10;
/// The log begins anew at a start when it has grown beyond this.
const LOG_BYTES_MAX: u64 = 10 << 20;
/// How to run the server of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub binaries: Binaries,
    pub cluster: PathBuf,
    pub sockets: PathBuf,
    pub log: PathBuf,
    pub user: User,
    /// Settings that go before [`SETTINGS`].
    pub options: Vec<(String, String)>,
}

/// What is there of a server.
#[derive(Debug, PartialEq, Eq)]
enum Sight {
    /// Somebody listens on the socket; the id where the system tells it.
    Answering(Option<u32>),
    /// A process of this cluster lives and does not listen: it starts, ends, or lost its socket.
    Silent(u32),
    /// A lock file that would keep a server from starting, though nobody lives behind it.
    Leftover,
    /// Nothing that a start could trip over.
    Nothing,
}

impl Server {
    /// How to connect.
    pub fn settings(&self) -> ConnectionSettings {
        Self::settings_for(&self.sockets)
    }

    /// How to connect to a server whose socket is in this directory.
    pub fn settings_for(sockets: &Path) -> ConnectionSettings {
        ConnectionSettings::for_socket(sockets, PORT, launch::USER, launch::USER)
    }

    /// Returns once the server lets us in, starting it if it isn't there.
    pub fn ensure_running(&self) -> Outcome<()> {
        let mut waiting = Waiting::new(START_WAIT_S_MAX);
        let mut child: Option<(Child, u64)> = None;
        loop {
            let sight = self.look()?;
            let may_start = child.is_none();
            match sight {
                Sight::Answering(_) if self.lets_us_in()? => break,
                Sight::Answering(_) => {}
                Sight::Silent(pid) if may_start => self.outwait(pid)?,
                Sight::Leftover if may_start => LockFile::disarm(&self.cluster, &self.user)?,
                Sight::Nothing if may_start => child = Some(self.start()?),
                Sight::Silent(_) | Sight::Leftover | Sight::Nothing => {}
            }
            if let Some((process, log_start)) = &mut child
                && process.try_wait().map_err(cannot("wait for postgres"))?.is_some()
            {
                self.judge_early_end(*log_start, &waiting)?;
                child = None;
            }
            if !waiting.pause() {
                let log_start = child.as_ref().map_or(0, |(_, log_start)| *log_start);
                let log_tail = self.log_tail(log_start);
                self.stop()?;
                let log = self.log.clone();
                return Err(ClusterFailure::StartTooSlow { waited_s: START_WAIT_S_MAX, log_tail, log });
            }
        }
        if let Some((process, _)) = child {
            reap_later(process);
        }
        Ok(())
    }

    /// Stops the server, if there is one, and returns when its process is gone.
    pub fn stop(&self) -> Outcome<()> {
        let pid = match self.look()? {
            Sight::Answering(Some(pid)) | Sight::Silent(pid) => pid,
            Sight::Answering(None) => match LockFile::read(&self.cluster)?.and_then(|file| file.pid) {
                Some(pid) => pid,
                None => return Ok(()),
            },
            Sight::Leftover | Sight::Nothing => return Ok(()),
        };
        self.end(pid)
    }

    fn end(&self, pid: u32) -> Outcome<()> {
        for (signal, wait_s) in
            [(StopSignal::Fast, FAST_STOP_WAIT_S_MAX), (StopSignal::Immediate, IMMEDIATE_STOP_WAIT_S_MAX)]
        {
            match processes::signal_as(&self.user, pid, signal) {
                Err(_) if !processes::is_alive(pid) => return Ok(()),
                sent => sent.map_err(cannot(format!("signal the server, process {pid}")))?,
            }
            let mut waiting = Waiting::new(wait_s);
            while processes::is_alive(pid) {
                if !waiting.pause() {
                    break;
                }
            }
            if !processes::is_alive(pid) {
                return Ok(());
            }
            log::warn!("the private PostgreSQL, process {pid}, has not ended in {wait_s} s");
        }
        Err(ClusterFailure::Stuck { pid })
    }

    fn look(&self) -> Outcome<Sight> {
        if let Ok(stream) = UnixStream::connect(layout::socket_path(&self.sockets)) {
            self.refuse_another_users(&stream)?;
            return Ok(Sight::Answering(processes::peer_pid(&stream)));
        }
        Ok(match LockFile::read(&self.cluster)? {
            None => Sight::Nothing,
            Some(LockFile { pid: None, .. }) => Sight::Leftover,
            // To the server an id that is taken is a server that runs. In a container whose first process does not
            // reap, a killed one's id is taken for ever.
            Some(LockFile { pid: Some(pid), .. }) if processes::is_zombie(pid) => Sight::Leftover,
            // A dead one's file is what the server itself puts right at its start.
            Some(LockFile { pid: Some(pid), .. }) if !processes::is_alive(pid) => Sight::Nothing,
            Some(LockFile { pid: Some(pid), .. }) if self.is_of_this_cluster(pid) => Sight::Silent(pid),
            // After a crash or a reboot the id may be anybody's.
            Some(_) => Sight::Leftover,
        })
    }

    /// A server that runs as somebody else was started before its files were given to whom they belong to now: it can
    /// write them no more, and whoever joins it loses its work with it.
    fn refuse_another_users(&self, stream: &UnixStream) -> Outcome<()> {
        match processes::peer_uid(stream) {
            Some(uid) if uid != self.user.uid => Err(ClusterFailure::AnotherUsersServer {
                pid: processes::peer_pid(stream),
                runs_as: layout::named(uid).name,
                owner: self.user.name.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// PostgreSQL's processes have the cluster as their working directory. Where the system does not
    /// show that, the name of the program has to do.
    fn is_of_this_cluster(&self, pid: u32) -> bool {
        match processes::process_facts(pid) {
            None => false,
            Some(facts) => match facts.working_directory {
                Some(directory) => directory == self.cluster,
                None => !cfg!(target_os = "linux") && facts.command.contains("postgres"),
            },
        }
    }

    /// Whether a session can be opened; a server that starts or ends says no for the moment.
    fn lets_us_in(&self) -> Outcome<bool> {
        // Asking earlier would only fill the log with refusals.
        if LockFile::read(&self.cluster)?.is_some_and(|file| file.status == "starting") {
            return Ok(false);
        }
        match self.settings().open("start", &Patience::DEFAULT) {
            Ok(_) => Ok(true),
            // All connections taken: it runs, and lets somebody in.
            Err(error)
                if matches!(error.failure, crate::database::ConnectFailure::TooManyConnections { .. }) =>
            {
                Ok(true)
            }
            Err(error) if error.is_transient() => Ok(false),
            Err(error) => Err(ClusterFailure::Unusable(error)),
        }
    }

    /// Waits until a process that holds the cluster answers or ends, and ends it if it does neither.
    fn outwait(&self, pid: u32) -> Outcome<()> {
        let mut waiting = Waiting::new(SILENT_WAIT_S_MAX);
        while self.look()? == Sight::Silent(pid) {
            if !waiting.pause() {
                log::warn!("the private PostgreSQL, process {pid}, does not answer and is ended");
                return self.end(pid);
            }
        }
        Ok(())
    }

    /// Starts the server in a session of its own; returns it with the log's length before.
    fn start(&self) -> Outcome<(Child, u64)> {
        layout::open_directory(&self.sockets, &self.user)?;
        let socket = layout::socket_path(&self.sockets);
        // Nobody listens there, or we would not be here; its lock may name a process of today.
        for stale in [socket.clone(), socket.with_file_name(format!(".s.PGSQL.{PORT}.lock"))] {
            match std::fs::remove_file(&stale) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(cannot(format!("remove {}", stale.display()))(error));
                }
                _ => {}
            }
        }
        let not_writable = |cause| ClusterFailure::NotWritable { path: self.log.clone(), cause };
        let log =
            OpenOptions::new().create(true).append(true).mode(0o600).open(&self.log).map_err(not_writable)?;
        let mut log_start = log.metadata().map_err(not_writable)?.len();
        if log_start > LOG_BYTES_MAX {
            log.set_len(0).map_err(not_writable)?;
            log_start = 0;
        }
        let mut command = launch::postgres(&self.binaries, &self.cluster, &self.sockets, &self.options);
        let copy = log.try_clone().map_err(not_writable)?;
        command.stdin(Stdio::null()).stdout(copy).stderr(log);
        launch::as_server(&mut command, &self.user);
        processes::detach(&mut command);
        let child = command
            .spawn()
            .map_err(cannot(format!("run {}", self.binaries.program("postgres").display())))?;
        Ok((child, log_start))
    }

    /// A server that ended while starting: worth another try only if it met the last sessions of one
    /// that was killed.
    fn judge_early_end(&self, log_start: u64, waiting: &Waiting) -> Outcome<()> {
        let log_tail = self.log_tail(log_start);
        let orphans = log_tail.contains("pre-existing shared memory block");
        if orphans && waiting.since.elapsed() < Duration::from_secs(ORPHANS_WAIT_S_MAX) {
            return Ok(());
        }
        Err(ClusterFailure::StartFailed { log_tail, log: self.log.clone() })
    }

    fn log_tail(&self, from: u64) -> String {
        let read = || -> io::Result<String> {
            let mut log = std::fs::File::open(&self.log)?;
            let from = from.max(log.metadata()?.len().saturating_sub(launch::TAIL_BYTES_MAX as u64));
            log.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            log.take(launch::TAIL_BYTES_MAX as u64).read_to_end(&mut bytes)?;
            Ok(launch::tail(&String::from_utf8_lossy(&bytes)))
        };
        read().unwrap_or_else(|error| format!("(its log cannot be read: {error})"))
    }
}

/// Takes the ended server off the process table while this process lives. Whoever waits for its end
/// knows an ended process by itself, so this may fail.
fn reap_later(mut process: Child) {
    let reaper = move || {
        if let Err(error) = process.wait() {
            log::debug!("the private PostgreSQL's end was not seen: {error}");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("postgresql-reaper".into()).spawn(reaper) {
        log::debug!("no thread to wait for the private PostgreSQL: {error}");
    }
}
