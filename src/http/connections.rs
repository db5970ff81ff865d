//! The clients' connections: a thread for each, and never more than a fixed number of them.
//!
//! When all places are taken, the connection that has kept its place longest without asking anything yields to
//! the new one: clients that only hold connections open can't keep others out. Deadlines are kept by the gate,
//! which closes the sockets of those that are late: whatever the thread waits for then ends.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};

use super::answer::{Answer, Problem};
use super::handlers::Service;
use super::places::{Phase, Place, is_late, slowest, yielding};
use super::request::route::Route;
use super::request::wire::{self, BODY_BYTES_MAX, Head, ReadFailure, Requests, WRITE_BODY_BYTES_MAX};
use super::rooms::{Client, Rooms, SHARE_OF_ONE, SMALL_BYTES_MAX};
use crate::model::input::INPUT_BYTES_MAX;
use crate::platform;

/// Connections at once: far more than pollers, browsers and scrapers of one node, far less than the descriptors
/// that its commands need.
pub(super) const CONNECTIONS_MAX: usize = 128;
/// Of these a single client may have so many; others find a place whatever it does.
const CONNECTIONS_OF_ONE_MAX: usize = CONNECTIONS_MAX / SHARE_OF_ONE.1 * SHARE_OF_ONE.0;
/// After the last large answer, the memory of all goes back to the system: the connections that brought them are closed by
/// then, and the threads that sent them have ended.
const GARBAGE_MS: u64 = 6_000;
/// Threads at once: those of connections that have just lost their place end a moment later.
const WORKERS_MAX: usize = CONNECTIONS_MAX + 32;
/// A thread without a connection waits this long for one.
const WORKER_IDLE_MS_MAX: u64 = 5_000;
/// Bytes of stack; the deepest thing a worker does is to write JSON.
const WORKER_STACK_BYTES: usize = 512 * 1024;
/// Reads of what a refused client still sends, so that it gets to read the answer.
const LINGER_READS_MAX: usize = 16;
const LINGER_MS_MAX: u64 = 300;
/// When stopping, answers that are under way get this long.
const STOP_MS_MAX: u64 = 2_000;

struct Connection {
    stream: TcpStream,
    client: Client,
    at: Mutex<Place>,
}

impl Connection {
    fn enter(&self, phase: Phase) {
        let now = Instant::now();
        *lock(&self.at) = Place { phase, since: now, moved: now, client: self.client };
    }

    /// Something of the answer has gone out.
    fn note_move(&self) {
        lock(&self.at).moved = Instant::now();
    }

    fn close(&self) {
        // It may be closed already, by the client.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// All connections and their threads.
pub(super) struct Connections {
    service: Arc<Service>,
    open: Mutex<Vec<Arc<Connection>>>,
    emptied: Condvar,
    workers: Mutex<Vec<JoinHandle<()>>>,
    hand_over: Sender<Arc<Connection>>,
    taken: Receiver<Arc<Connection>>,
    stopped: Receiver<()>,
    stopping: AtomicBool,
    rooms: Arc<Rooms>,
}

impl Connections {
    /// `stopped` is disconnected when the threads shall end.
    pub fn new(service: Arc<Service>, stopped: Receiver<()>) -> Self {
        // A connection is handed to a thread that waits for one, never queued.
        let (hand_over, taken) = bounded(0);
        Self {
            rooms: Arc::clone(service.rooms()),
            service,
            open: Mutex::new(Vec::new()),
            emptied: Condvar::new(),
            workers: Mutex::new(Vec::new()),
            hand_over,
            taken,
            stopped,
            stopping: AtomicBool::new(false),
        }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub fn begin_stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.open).is_empty()
    }

    /// Takes a connection in and has a thread serve it.
    pub fn admit(self: &Arc<Self>, stream: TcpStream) {
        let Ok(peer) = stream.peer_addr() else { return };
        let (client, now) = (Client::of(peer.ip()), Instant::now());
        let at = Mutex::new(Place { phase: Phase::Idle, since: now, moved: now, client });
        let connection = Arc::new(Connection { stream, client, at });
        let mut open = lock(&self.open);
        let own = open.iter().filter(|it| it.client == client).count();
        let is_refused = match () {
            _ if own >= CONNECTIONS_OF_ONE_MAX => !evict(&mut open, Some(client)),
            _ if open.len() >= CONNECTIONS_MAX => !evict(&mut open, None),
            _ => false,
        };
        if is_refused {
            drop(open);
            return self.refuse(&connection, own);
        }
        open.push(Arc::clone(&connection));
        drop(open);
        if let Err(cause) = self.start_worker(&connection) {
            log::debug!("http: failed to serve a connection: {cause}");
            self.release(&connection);
        }
    }

    /// Has one connection give way, as its descriptor is needed; `false` when none does.
    pub fn evict_one(&self) -> bool {
        evict(&mut lock(&self.open), None)
    }

    /// Gives the memory of large answers back to the system, some time after the last of them. Whether that is still to be
    /// done.
    pub fn collect_garbage(&self) -> bool {
        if self.rooms.take_garbage(Duration::from_millis(GARBAGE_MS)) {
            platform::return_free_memory();
        }
        self.rooms.has_garbage()
    }

    fn refuse(&self, connection: &Connection, own: usize) {
        let problem = match own {
            CONNECTIONS_OF_ONE_MAX.. => {
                format!(
                    "your address has {own} connections open, as many as one may; use fewer, or ask again later"
                )
            }
            _ => format!("all {CONNECTIONS_MAX} connections are in use; ask again later"),
        };
        let answer = Problem::new(503, "busy", problem);
        // The gate must not wait for anybody: what does not go out at once is lost.
        if connection.stream.set_nonblocking(true).is_ok() {
            let _ = wire::send(&connection.stream, &answer.into_answer(), 1, false, true, || ());
        }
        connection.close();
    }

    fn start_worker(self: &Arc<Self>, connection: &Arc<Connection>) -> std::io::Result<()> {
        match self.hand_over.try_send(Arc::clone(connection)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
        let mut workers = lock(&self.workers);
        workers.retain(|it| !it.is_finished());
        if workers.len() >= WORKERS_MAX {
            return Err(std::io::Error::other(format!("all {WORKERS_MAX} threads are busy")));
        }
        let (this, first) = (Arc::clone(self), Arc::clone(connection));
        let thread = thread::Builder::new().name("http-conn".into()).stack_size(WORKER_STACK_BYTES);
        workers.push(thread.spawn(move || this.work(first))?);
        Ok(())
    }

    fn work(&self, first: Arc<Connection>) {
        let mut next = Some(first);
        while let Some(connection) = next.take() {
            let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.serve(&connection)));
            if served.is_err() {
                log::error!("http: serving a connection panicked");
            }
            self.release(&connection);
            drop(connection);
            select! {
                recv(self.taken) -> another => next = another.ok(),
                recv(self.stopped) -> _ => {}
                default(Duration::from_millis(WORKER_IDLE_MS_MAX)) => {}
            }
        }
    }

    fn release(&self, connection: &Arc<Connection>) {
        connection.close();
        let mut open = lock(&self.open);
        open.retain(|it| !Arc::ptr_eq(it, connection));
        if open.is_empty() {
            self.emptied.notify_all();
        }
    }

    fn serve(&self, connection: &Connection) {
        let mut requests = Requests::new(&connection.stream);
        loop {
            // Looked at while the phase is Idle: whoever sets it afterwards closes those that are idle.
            if self.is_stopping() {
                return;
            }
            let head = match requests.next_head(|| connection.enter(Phase::Head)) {
                Ok(Some(head)) => head,
                Ok(None) => return,
                Err(ReadFailure::Connection(cause)) => {
                    return log::debug!("http: a connection ended: {cause}");
                }
                Err(ReadFailure::Refused(problem)) => {
                    return self.send_last(connection, &problem.into_answer(), true);
                }
            };
            if !self.serve_one(connection, &mut requests, &head) {
                return;
            }
            connection.enter(Phase::Idle);
        }
    }

    /// Answers one request; `false` when the connection ends with it.
    fn serve_one(&self, connection: &Connection, requests: &mut Requests<&TcpStream>, head: &Head) -> bool {
        let with_body = head.method != tiny_http::Method::Head;
        let Ok(here) = connection.stream.local_addr() else { return false };
        // Before its body is read: only who has shown the token may send a long one.
        let route = self.service.admit(head, here);
        let body_max = match &route {
            Ok(Route::Write(_)) => WRITE_BODY_BYTES_MAX,
            _ => BODY_BYTES_MAX,
        };
        if head.content_length > body_max {
            let problem = route.err().unwrap_or_else(|| body_too_large(head.content_length, body_max));
            self.send_last(connection, &problem.into_answer(), with_body);
            return false;
        }
        let is_large = head.content_length > SMALL_BYTES_MAX as u64;
        let room = is_large.then(|| self.rooms.to_receive(connection.client, head.content_length));
        if let Some(None) = room {
            let problem = format!(
                "there is no room for a request of {} bytes beside other large ones; send it again later",
                head.content_length
            );
            self.send_last(connection, &Problem::new(503, "busy", problem).into_answer(), with_body);
            return false;
        }
        let body = match self.read_body(connection, requests, head, matches!(route, Ok(Route::Write(_)))) {
            Ok(body) => body,
            Err(cause) => {
                log::debug!("http: a connection ended within a request: {cause:?}");
                return false;
            }
        };
        connection.enter(Phase::Answering);
        let answer = self.answer(head, route, &body, connection.client);
        drop((body, room));
        log::debug!("http: {} {} {}", head.method.as_str(), head.target, answer.status);
        let answer = self.roomed(answer, connection.client);
        connection.enter(Phase::Sending);
        let keep = head.keeps_connection() && !self.is_stopping();
        let note_move = || connection.note_move();
        wire::send(&connection.stream, &answer, head.minor_version, keep, with_body, note_move).is_ok()
            && keep
    }

    /// One that has turned out to be large takes what room there is.
    fn roomed(&self, mut answer: Answer, client: Client) -> Answer {
        let is_made = matches!(answer.body, std::borrow::Cow::Owned(_));
        if answer.room.is_some() || !is_made || answer.body.len() <= SMALL_BYTES_MAX {
            return answer;
        }
        answer.room = self.rooms.to_keep(client, answer.body.len());
        if answer.room.is_some() { answer } else { Problem::no_room().into_answer() }
    }

    /// The body if it is wanted; otherwise it is read past.
    fn read_body(
        &self,
        connection: &Connection,
        requests: &mut Requests<&TcpStream>,
        head: &Head,
        is_wanted: bool,
    ) -> Result<Vec<u8>, ReadFailure> {
        if head.content_length > 0 && head.expects_continue() {
            wire::send_continue(&connection.stream).map_err(ReadFailure::Connection)?;
        }
        if !is_wanted {
            return requests.skip_body(head.content_length).map(|()| Vec::new());
        }
        connection.enter(Phase::Body);
        requests.read_body(head.content_length)
    }

    fn answer(&self, head: &Head, route: Result<Route, Problem>, body: &[u8], client: Client) -> Answer {
        let answering = std::panic::AssertUnwindSafe(|| self.service.answer(head, route, body, client));
        std::panic::catch_unwind(answering).unwrap_or_else(|_| {
            log::error!("http: answering {} {} panicked", head.method.as_str(), head.target);
            Problem::new(500, "internal_error", "answering failed; the log says why").into_answer()
        })
    }

    /// Answers a client that may still be sending: closing at once would have its system throw the answer away.
    fn send_last(&self, connection: &Connection, answer: &Answer, with_body: bool) {
        connection.enter(Phase::Sending);
        let mut stream = &connection.stream;
        let sent = wire::send(stream, answer, 1, false, with_body, || connection.note_move())
            .and_then(|()| stream.shutdown(Shutdown::Write))
            .and_then(|()| stream.set_read_timeout(Some(Duration::from_millis(LINGER_MS_MAX))));
        let mut rest = [0; 4096];
        for _ in 0..LINGER_READS_MAX {
            if sent.is_err() || !matches!(std::io::Read::read(&mut stream, &mut rest), Ok(1..)) {
                return;
            }
        }
    }

    /// Closes the connections that are late.
    pub fn sweep(&self, now: Instant) {
        let open = lock(&self.open);
        let places: Vec<Place> = open.iter().map(|it| *lock(&it.at)).collect();
        for (connection, place) in open.iter().zip(&places) {
            if is_late(place, now) {
                connection.close();
            }
        }
        if self.rooms.is_waited_for() {
            slowest(&places, now).into_iter().for_each(|slow| open[slow].close());
        }
    }

    /// Ends all connections: idle ones at once, the others after a moment. Begin to stop first, and have no gate.
    pub fn close_all(&self) {
        let mut open = lock(&self.open);
        for connection in &*open {
            if matches!(lock(&connection.at).phase, Phase::Idle | Phase::Head) {
                connection.close();
            }
        }
        let grace = Duration::from_millis(STOP_MS_MAX);
        let waited = self.emptied.wait_timeout_while(open, grace, |open| !open.is_empty());
        open = waited.unwrap_or_else(PoisonError::into_inner).0;
        for connection in &*open {
            connection.close();
        }
    }

    /// Joins the threads, once all connections are closed and `stopped` is disconnected.
    pub fn join(&self) {
        let workers = std::mem::take(&mut *lock(&self.workers));
        for worker in workers {
            if worker.join().is_err() {
                log::error!("http: a connection's thread had panicked");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these hold is never half changed while something may panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes one that yields, if there is one: any, or one of this client's.
fn evict(open: &mut Vec<Arc<Connection>>, of: Option<Client>) -> bool {
    let places: Vec<Place> = open.iter().map(|it| *lock(&it.at)).collect();
    let Some(place) = yielding(&places, of, Instant::now()) else { return false };
    open.swap_remove(place).close();
    true
}

fn body_too_large(length: u64, most: u64) -> Problem {
    let problem =
        format!("a body of {length} bytes; {most} are the most, and {INPUT_BYTES_MAX} (1 MiB) for an input");
    Problem::new(413, "body_too_large", problem)
}
