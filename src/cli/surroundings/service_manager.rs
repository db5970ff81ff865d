//! What a node tells systemd: that it starts, that it is ready, how it is, that it moves, that it stops (sd_notify(3)).
//! Without a service manager nothing of this is done.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::stopping::counted;
use crate::engine::Health;

/// How often the status text is looked at.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// How often a node that has begun is asked whether it has looked at the queue: soon felt by who waits for it to be up.
const BEGUN_EVERY: Duration = Duration::from_millis(20);
/// How long systemd is asked to wait further while the node starts or stops, asked again and again.
const STEP: Duration = Duration::from_secs(20);
/// What stopping takes beyond the drain timeout at the most: commands' grace, last records, threads.
const STOP_MARGIN: Duration = Duration::from_secs(60);

/// The way to the service manager that started this program.
pub struct ServiceManager {
    socket: Option<socket::Socket>,
    watchdog: Option<Duration>,
}

/// Tells the service manager how the node is, until it is dropped.
pub struct Reporter {
    /// Its end is the thread's end.
    news: Option<Sender<News>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// What the thread that tells has to know.
enum News {
    /// The node has begun.
    Begun(Arc<Health>),
    /// It stops, and its commands have so long.
    Stopping(Duration),
}

impl ServiceManager {
    /// As the environment names it: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn of_environment() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty());
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = variable("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|&usec| is_ours && usec > 0);
        Self {
            socket: variable("NOTIFY_SOCKET").and_then(|name: OsString| match socket::Socket::to(&name) {
                Ok(socket) => Some(socket),
                Err(error) => {
                    log::warn!("NOTIFY_SOCKET={name:?} can't be used: {error}");
                    None
                }
            }),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }

    /// Says that a node starts, for as long as that takes, and when it has begun how it is. It is ready once it has looked
    /// at the queue: what depends on it finds a node that works.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn report(self) -> io::Result<Reporter> {
        let Some(socket) = self.socket else { return Ok(Reporter { news: None, thread: None }) };
        let (sender, news) = bounded(2);
        let told = "opening the database".to_owned();
        socket.send(&format!("STATUS={told}"));
        let telling = Telling {
            socket,
            health: None,
            watchdog: self.watchdog,
            is_ready: false,
            stop_until: None,
            was_stalled: false,
            told,
            told_at: Instant::now(),
            more_time_at: Instant::now(),
        };
        let body = move || telling.run(&news);
        let thread = std::thread::Builder::new().name("service-manager".to_owned()).spawn(body)?;
        Ok(Reporter { news: Some(sender), thread: Some(thread) })
    }
}

impl Reporter {
    /// Says how the node is from now on.
    pub fn begun(&self, health: Arc<Health>) {
        self.tell(News::Begun(health));
    }

    /// Says that the node stops, and asks for as long as that takes: the drain timeout is the operator's, and the
    /// unit need not repeat it.
    pub fn stopping(&self, drain_timeout: Duration) {
        self.tell(News::Stopping(drain_timeout));
    }

    fn tell(&self, news: News) {
        if let Some(sender) = &self.news {
            // There is room for one of each, and each is told once.
            _ = sender.try_send(news);
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        drop(self.news.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that tells the service manager has panicked");
        }
    }
}

struct Telling {
    socket: socket::Socket,
    health: Option<Arc<Health>>,
    watchdog: Option<Duration>,
    is_ready: bool,
    /// When the node stops: until when more time is asked for.
    stop_until: Option<Instant>,
    was_stalled: bool,
    told: String,
    told_at: Instant,
    more_time_at: Instant,
}

impl Telling {
    fn run(mut self, news: &Receiver<News>) {
        loop {
            match news.recv_timeout(self.every()) {
                Ok(News::Begun(health)) => self.health = Some(health),
                Ok(News::Stopping(drain_timeout)) => {
                    self.socket.send("STOPPING=1");
                    self.stop_until = Some(Instant::now() + drain_timeout + STOP_MARGIN);
                    self.more_time_at = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let words: Vec<String> =
                [self.ready(), self.more_time(), self.life(), self.news()].into_iter().flatten().collect();
            if !words.is_empty() {
                self.socket.send(&words.join("\n"));
            }
        }
    }

    fn every(&self) -> Duration {
        // Twice as often as need be, as sd_watchdog_enabled(3) advises, and once more for a loaded machine.
        let usual = self.watchdog.map_or(STATUS_EVERY, |watchdog| (watchdog / 3).min(STATUS_EVERY));
        if self.health.is_some() && !self.is_ready { usual.min(BEGUN_EVERY) } else { usual }
    }

    /// Said once.
    fn ready(&mut self) -> Option<String> {
        let health = self.health.as_ref().filter(|it| !self.is_ready && it.has_looked())?;
        self.is_ready = true;
        (self.told, self.told_at) = (status(health), Instant::now());
        Some(format!("READY=1\nSTATUS={}", self.told))
    }

    fn more_time(&mut self) -> Option<String> {
        let now = Instant::now();
        let is_starting = !self.is_ready && self.stop_until.is_none();
        let is_wanted = is_starting || self.stop_until.is_some_and(|until| now < until);
        if !is_wanted || now < self.more_time_at {
            return None;
        }
        self.more_time_at = now + STATUS_EVERY / 2;
        Some(format!("EXTEND_TIMEOUT_USEC={}", STEP.as_micros()))
    }

    /// Food for the watchdog, as long as every thread that the node depends on moves.
    fn life(&mut self) -> Option<String> {
        let stall = self.health.as_ref()?.stalled_thread(self.watchdog?);
        if let Some(stall) = &stall
            && !self.was_stalled
        {
            log::error!("the watchdog is not fed any more: {stall}");
        }
        self.was_stalled = stall.is_some();
        (!self.was_stalled).then(|| "WATCHDOG=1".to_owned())
    }

    /// The status, if it is another one than was told.
    fn news(&mut self) -> Option<String> {
        let now = status(self.health.as_ref()?);
        if now == self.told || self.told_at.elapsed() < STATUS_EVERY {
            return None;
        }
        (self.told, self.told_at) = (now.clone(), Instant::now());
        Some(format!("STATUS={now}"))
    }
}

/// The line that `systemctl status` shows.
fn status(health: &Health) -> String {
    let busy = format!("{} of {} busy", health.busy(), counted(health.executors(), "executor"));
    let recorded = counted(usize::try_from(health.executions()).unwrap_or(usize::MAX), "execution");
    match health.problem() {
        None => format!("{busy}, {recorded} recorded"),
        Some(problem) => format!("{problem}; {busy}, {recorded} recorded"),
    }
}

#[cfg(unix)]
mod socket {
    use std::ffi::OsStr;
    use std::io;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    /// The datagram socket that systemd listens on.
    pub struct Socket {
        socket: UnixDatagram,
        manager: SocketAddr,
    }

    impl Socket {
        /// `name` is a path, or an abstract name behind an `@`.
        pub fn to(name: &OsStr) -> io::Result<Self> {
            let socket = UnixDatagram::unbound()?;
            // Whoever does not read must not hold us up.
            socket.set_nonblocking(true)?;
            Ok(Self { socket, manager: address(name)? })
        }

        /// Says `words`, lines of NAME=VALUE. A message that is lost is followed by others.
        pub fn send(&self, words: &str) {
            if let Err(error) = self.socket.send_to_addr(words.as_bytes(), &self.manager) {
                log::warn!("systemd was not told {words:?}: {error}");
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn address(name: &OsStr) -> io::Result<SocketAddr> {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(name),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn address(name: &OsStr) -> io::Result<SocketAddr> {
        SocketAddr::from_pathname(name)
    }
}

#[cfg(not(unix))]
mod socket {
    use std::ffi::OsStr;
    use std::io;

    /// There is no systemd here.
    pub struct Socket(());

    impl Socket {
        pub fn to(_name: &OsStr) -> io::Result<Self> {
            Err(io::Error::from(io::ErrorKind::Unsupported))
        }

        pub fn send(&self, _words: &str) {}
    }
}
