//! The thread that lets clients in. It never ends before the endpoint does: it outlives errors of `accept`, binds
//! its address anew when they persist, and never waits for a client.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};

use super::connections::Connections;
use crate::platform;

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
/// Late connections are looked for this often, while there are any.
const SWEEP_MS: u64 = 500;
/// After an error of `accept` (no descriptors, no memory) the next try.
const RETRY_MS: u64 = 100;
/// The same when a connection has just been closed to make room.
const RETRY_WITH_ROOM_MS: u64 = 2;
/// Errors for as long as this mean that the socket itself may be broken: it is bound anew.
const REBIND_AFTER_MS: u64 = 10_000;
/// Between tries to bind it.
const REBIND_EVERY_MS: u64 = 1_000;
/// What the system keeps of an answer that a client does not take. By itself it would keep megabytes for each.
const SEND_BUFFER_BYTES: u32 = 128 * 1024;
/// Accepted in one go before the rest of the work has its turn.
const ACCEPT_MAX: usize = 64;
/// Such an error is logged once in this long.
const LOG_EVERY_MS: u64 = 30_000;

pub(super) struct Gate {
    address: SocketAddr,
    poll: Poll,
    listener: Option<TcpListener>,
    connections: Arc<Connections>,
    faults: Faults,
    swept: Instant,
}

impl Gate {
    /// Binds the address. The waker has the gate look whether it shall stop.
    pub fn bind(listen: SocketAddr, connections: Arc<Connections>) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let listener = open(&poll, listen)?;
        let address = listener.local_addr()?;
        let (faults, swept) = (Faults::default(), Instant::now());
        Ok((Self { address, poll, listener: Some(listener), connections, faults, swept }, waker))
    }

    /// The address with the port that was really bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets clients in until the connections are being stopped; then the address is free.
    pub fn run(mut self) {
        while !self.connections.is_stopping() {
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.admit_clients()));
            if ran.is_err() {
                log::error!("http: the gate panicked and goes on");
            }
        }
    }

    fn admit_clients(&mut self) {
        let mut events = Events::with_capacity(8);
        // What came before this began has been told already, or never: look first.
        let mut wait = Some(Duration::ZERO);
        while !self.connections.is_stopping() {
            if let Err(cause) = self.poll.poll(&mut events, wait)
                && cause.kind() != ErrorKind::Interrupted
            {
                self.faults.log(&format!("failed to wait for clients: {cause}"));
                // Neither clients nor the waker can be waited for now; stopping is seen at the next turn.
                std::thread::park_timeout(Duration::from_millis(RETRY_MS));
            }
            self.sweep();
            wait = self.accept();
            let has_garbage = self.connections.collect_garbage();
            if wait.is_none() && (has_garbage || !self.connections.is_empty()) {
                wait = Some(Duration::from_millis(SWEEP_MS));
            }
        }
    }

    fn sweep(&mut self) {
        let now = Instant::now();
        if now.saturating_duration_since(self.swept) >= Duration::from_millis(SWEEP_MS) {
            self.swept = now;
            self.connections.sweep(now);
        }
    }

    /// Takes in who waits. Returns after how long to try again without being told, if at all.
    fn accept(&mut self) -> Option<Duration> {
        let Some(listener) = &self.listener else { return self.rebind() };
        for _ in 0..ACCEPT_MAX {
            match listener.accept() {
                Ok((stream, _)) => {
                    self.faults.over();
                    match prepare(stream) {
                        Ok(stream) => self.connections.admit(stream),
                        Err(cause) => log::debug!("http: a connection ended at once: {cause}"),
                    }
                }
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
                    self.faults.over();
                    return None;
                }
                Err(cause) if is_of_one_client(cause.kind()) => {}
                Err(cause) => return self.failed(&cause),
            }
        }
        Some(Duration::ZERO)
    }

    fn failed(&mut self, cause: &io::Error) -> Option<Duration> {
        self.faults.log(&format!("failed to accept a connection: {cause}"));
        // If it is for want of descriptors, this gives one back.
        let has_room = self.connections.evict_one();
        if self.faults.persist(Instant::now()) {
            self.listener = None;
            return self.rebind();
        }
        Some(Duration::from_millis(if has_room { RETRY_WITH_ROOM_MS } else { RETRY_MS }))
    }

    fn rebind(&mut self) -> Option<Duration> {
        match open(&self.poll, self.address) {
            Ok(listener) => {
                log::warn!("http: listening on {} again", self.address);
                self.listener = Some(listener);
                self.faults.over();
                Some(Duration::ZERO)
            }
            Err(cause) => {
                self.faults.log(&format!("failed to listen on {} again: {cause}", self.address));
                Some(Duration::from_millis(REBIND_EVERY_MS))
            }
        }
    }
}

fn open(poll: &Poll, address: SocketAddr) -> io::Result<TcpListener> {
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    Ok(listener)
}

/// For threads that wait for one client each.
fn prepare(stream: mio::net::TcpStream) -> io::Result<TcpStream> {
    let stream = TcpStream::from(stream);
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    platform::limit_send_buffer(&stream, SEND_BUFFER_BYTES)?;
    Ok(stream)
}

/// Errors that say something of the client that was next, not of the socket.
fn is_of_one_client(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Interrupted
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::PermissionDenied
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
    )
}

/// How long errors have lasted, and when they were last told.
#[derive(Debug, Default)]
struct Faults {
    since: Option<Instant>,
    logged: Option<Instant>,
}

impl Faults {
    fn over(&mut self) {
        self.since = None;
    }

    /// Notes an error; whether they have lasted too long to be of the kind that passes.
    fn persist(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        now.saturating_duration_since(since) >= Duration::from_millis(REBIND_AFTER_MS)
    }

    fn log(&mut self, message: &str) {
        if self.logged.is_none_or(|it| it.elapsed() >= Duration::from_millis(LOG_EVERY_MS)) {
            self.logged = Some(Instant::now());
            log::warn!("http: {message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_that_last_without_a_break_lead_to_a_new_socket() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut faults = Faults::default();
        assert!(!faults.persist(at(0)));
        assert!(!faults.persist(at(REBIND_AFTER_MS - 1)));
        faults.over();
        assert!(!faults.persist(at(REBIND_AFTER_MS)));
        assert!(faults.persist(at(2 * REBIND_AFTER_MS)));
    }

    #[test]
    fn a_client_that_went_away_is_no_fault_of_the_socket() {
        assert!(is_of_one_client(ErrorKind::ConnectionAborted));
        let no_descriptors = io::Error::from_raw_os_error(24);
        assert!(!is_of_one_client(no_descriptors.kind()), "{no_descriptors}");
    }
}
