//! The server's process: is it there, start it, stop it, put right what a crash left.
//!
//! All of it runs under the decision lock, so nobody else starts or stops the server meanwhile.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::binaries::Binaries;
use super::error::{ClusterFailure, Outcome, cannot};
use super::layout::{self, PORT};
use crate::database::connect::Patience;
use crate::database::settings::ConnectionSettings;
use crate::platform::files::{self, StopSignal, User};

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
/// How much of a log or of initdb's output stands in a message.
const TAIL_BYTES_MAX: usize = 2_000;
const TAIL_LINES_MAX: usize = 12;
/// What the postmaster's lock file gets as process id to mark it as ended: no system has ids so high,
/// and the server then still checks for itself whether the memory of the old one is in use.
const NO_PROCESS: &str = "2147483647";

/// The superuser and database of every private cluster.
pub(super) const USER: &str = "postgres";

/// What serves a queue of small durable transactions on one machine. Not to be reached by network,
/// not copied to a standby; everything that makes commits durable stays on.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("cluster_name", "process-orchestrator"),
    ("max_connections", "100"),
    ("shared_buffers", "128MB"),
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "1GB"),
    ("checkpoint_completion_target", "0.9"),
    ("autovacuum", "on"),
    // Short statements never earn back the compilation.
    ("jit", "off"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_checkpoints", "off"),
    ("log_line_prefix", "%m [%p] "),
];

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

/// What the postmaster's lock file says.
#[derive(Debug, PartialEq, Eq)]
struct LockFile {
    pid: Option<u32>,
    status: String,
}

impl LockFile {
    /// Line 1 is the process id (negative for a single-user server), line 8 the status.
    fn parse(text: &str) -> Self {
        let line = |number: usize| text.lines().nth(number).unwrap_or("").trim();
        let pid = line(0).parse::<i64>().ok().and_then(|pid| u32::try_from(pid.abs()).ok());
        Self { pid, status: line(7).to_string() }
    }
}

impl Server {
    /// How to connect.
    pub fn settings(&self) -> ConnectionSettings {
        ConnectionSettings::for_socket(&self.sockets, PORT, USER, USER)
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
                Sight::Leftover if may_start => self.repair()?,
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
            Sight::Answering(None) => match self.lock_file()?.and_then(|file| file.pid) {
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
            match files::signal_as(&self.user, pid, signal) {
                Err(_) if !files::is_alive(pid) => return Ok(()),
                sent => sent.map_err(cannot(format!("signal the server, process {pid}")))?,
            }
            let mut waiting = Waiting::new(wait_s);
            while files::is_alive(pid) {
                if !waiting.pause() {
                    break;
                }
            }
            if !files::is_alive(pid) {
                return Ok(());
            }
            log::warn!("the private PostgreSQL, process {pid}, has not ended in {wait_s} s");
        }
        Err(ClusterFailure::Stuck { pid })
    }

    fn look(&self) -> Outcome<Sight> {
        if let Ok(stream) = UnixStream::connect(layout::socket_path(&self.sockets)) {
            return Ok(Sight::Answering(files::peer_pid(&stream)));
        }
        Ok(match self.lock_file()? {
            None => Sight::Nothing,
            Some(LockFile { pid: None, .. }) => Sight::Leftover,
            // A dead one's file is what the server itself puts right at its start.
            Some(LockFile { pid: Some(pid), .. }) if !files::is_alive(pid) => Sight::Nothing,
            Some(LockFile { pid: Some(pid), .. }) if self.is_of_this_cluster(pid) => Sight::Silent(pid),
            // After a crash or a reboot the id may be anybody's.
            Some(_) => Sight::Leftover,
        })
    }

    /// PostgreSQL's processes have the cluster as their working directory. Where the system does not
    /// show that, the name of the program has to do.
    fn is_of_this_cluster(&self, pid: u32) -> bool {
        match files::process_facts(pid) {
            None => false,
            Some(facts) => match facts.working_directory {
                Some(directory) => directory == self.cluster,
                None => !cfg!(target_os = "linux") && facts.command.contains("postgres"),
            },
        }
    }

    fn lock_file(&self) -> Outcome<Option<LockFile>> {
        let path = self.cluster.join("postmaster.pid");
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(LockFile::parse(&String::from_utf8_lossy(&bytes)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot(format!("read {}", path.display()))(error)),
        }
    }

    /// Whether a session can be opened; a server that starts or ends says no for the moment.
    fn lets_us_in(&self) -> Outcome<bool> {
        // Asking earlier would only fill the log with refusals.
        if self.lock_file()?.is_some_and(|file| file.status == "starting") {
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

    /// Makes a leftover lock file harmless.
    fn repair(&self) -> Outcome<()> {
        let path = self.cluster.join("postmaster.pid");
        let doing = || format!("repair {}", path.display());
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(cannot(doing())(error)),
        };
        log::info!("{} is left over from a crash", path.display());
        match text.split_once('\n') {
            Some((first, rest)) if LockFile::parse(first).pid.is_some() => {
                std::fs::write(&path, format!("{NO_PROCESS}\n{rest}")).map_err(cannot(doing()))
            }
            // Empty or cut short by a full disk: there is no memory in it that could be checked.
            _ => std::fs::remove_file(&path).map_err(cannot(doing())),
        }
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
        let mut command = Command::new(self.binaries.program("postgres"));
        command.arg("-D").arg(&self.cluster).args(["-p", &PORT.to_string(), "-c"]);
        command.arg(in_socket_setting(&self.sockets));
        let own = self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // Of two settings of the same name the later one holds.
        for (name, value) in SETTINGS.iter().copied().chain(own) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let copy = log.try_clone().map_err(not_writable)?;
        command.stdin(Stdio::null()).stdout(copy).stderr(log);
        prepare(&mut command, &self.user);
        files::detach(&mut command);
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
            let from = from.max(log.metadata()?.len().saturating_sub(TAIL_BYTES_MAX as u64));
            log.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            log.take(TAIL_BYTES_MAX as u64).read_to_end(&mut bytes)?;
            Ok(tail(&String::from_utf8_lossy(&bytes)))
        };
        read().unwrap_or_else(|error| format!("(its log cannot be read: {error})"))
    }
}

/// Makes a new cluster in `directory`, which is empty and belongs to `user`.
pub(super) fn initdb(binaries: &Binaries, directory: &Path, user: &User, durable: bool) -> Outcome<()> {
    let program = binaries.program("initdb");
    let mut command = Command::new(&program);
    command.arg("-D").arg(directory);
    // Whoever gets through the socket's directory is its owner, so no password is asked. The plain
    // locale is everywhere, and sorts the same everywhere.
    command.args(["-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C"]);
    if !durable {
        command.arg("--no-sync");
    }
    prepare(&mut command, user);
    let output =
        command.stdin(Stdio::null()).output().map_err(cannot(format!("run {}", program.display())))?;
    if output.status.success() {
        return Ok(());
    }
    // On success stdout tells of progress; on failure only stderr has the reason.
    let said = tail(&String::from_utf8_lossy(&output.stderr));
    let output = if said.is_empty() { output.status.to_string() } else { said };
    Err(ClusterFailure::InitdbFailed { output })
}

/// A clean environment, so that no `PG*` of the user's bends the server, and the server's user.
fn prepare(command: &mut Command, user: &User) {
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    // Messages that we can tell apart, and no search through all time zones.
    command.env("LC_ALL", "C").env("TZ", "UTC");
    files::run_as(command, user);
}

/// The setting is a list, in which a comma, a quote or a space needs quotes.
fn in_socket_setting(directory: &Path) -> std::ffi::OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut setting = b"unix_socket_directories=\"".to_vec();
    for byte in directory.as_os_str().as_bytes() {
        setting.push(*byte);
        if *byte == b'"' {
            setting.push(b'"');
        }
    }
    setting.push(b'"');
    std::ffi::OsString::from_vec(setting)
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES_MAX)..].join("\n")
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

/// Repeated looks at something that cannot wake us: another process's file, socket or end.
pub(super) struct Waiting {
    since: Instant,
    limit: Duration,
    next: Duration,
}

impl Waiting {
    const FIRST_PAUSE: Duration = Duration::from_millis(1);
    const PAUSE_MS_MAX: u64 = 20;

    pub fn new(limit_s: u64) -> Self {
        Self { since: Instant::now(), limit: Duration::from_secs(limit_s), next: Self::FIRST_PAUSE }
    }

    /// Sleeps a little, longer each time; says no when the time is over.
    pub fn pause(&mut self) -> bool {
        if self.since.elapsed() >= self.limit {
            return false;
        }
        std::thread::sleep(self.next);
        self.next = (self.next * 3 / 2).min(Duration::from_millis(Self::PAUSE_MS_MAX));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_is_read_whole_or_broken() {
        let text = "4711\n/data\n1700000000\n5432\n/data/run\n\n  123  456\nready   \n";
        assert_eq!(LockFile::parse(text), LockFile { pid: Some(4711), status: "ready".into() });
        assert_eq!(LockFile::parse("-12\n/data\n").pid, Some(12));
        assert_eq!(LockFile::parse(""), LockFile { pid: None, status: String::new() });
        assert_eq!(LockFile::parse("garbage\n").pid, None);
    }

    #[test]
    fn the_socket_setting_survives_odd_directories() {
        let setting = in_socket_setting(Path::new("/a, \"b\"/run"));
        assert_eq!(setting, "unix_socket_directories=\"/a, \"\"b\"\"/run\"");
    }

    #[test]
    fn a_tail_has_few_lines_and_no_empty_ones() {
        let text: String = (0..40).map(|n| format!("line {n}\n\n")).collect();
        let tail = tail(&text);
        assert_eq!(tail.lines().count(), TAIL_LINES_MAX);
        assert!(tail.starts_with("line 28") && tail.ends_with("line 39"), "{tail}");
    }
}
