//! A network of the tests' own: it stands between a node and PostgreSQL and does to the bytes what a bad network does.
//!
//! It listens on a port of this machine and connects everybody on to the server's Unix socket. It understands just
//! enough of the protocol to know which statement is under way: see [`Proxy::lose_answer_to`].

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What becomes of the bytes that pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// They pass as they come.
    Fair,
    /// They arrive this much later: half of a round trip's latency.
    Late(Duration),
    /// They arrive one by one, each in a packet of its own.
    Trickle,
}

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
}

pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    socket: PathBuf,
    weather: Mutex<Weather>,
    swallows: [AtomicBool; 2],
    refuses: AtomicBool,
    links: Mutex<Vec<Arc<Link>>>,
    trap: Mutex<Option<Trap>>,
    is_over: AtomicBool,
}

/// Waits for a statement whose answer is to be lost.
struct Trap {
    text: &'static str,
    sprung: Arc<AtomicBool>,
}

/// One client's connection and its continuation to the server.
struct Link {
    client: TcpStream,
    server: UnixStream,
    /// Set once a trap has caught this link: nothing more reaches the client, and the end of the answer cuts it.
    caught: Mutex<Option<Arc<AtomicBool>>>,
    /// It was silenced while it stood; later ones are not.
    swallows: [AtomicBool; 2],
    /// The server is not told that the client has gone.
    outlives_client: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Listens until it is dropped, in front of the server that has this Unix socket.
    pub fn before(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            socket,
            weather: Mutex::new(Weather::Fair),
            swallows: Default::default(),
            refuses: AtomicBool::new(false),
            links: Mutex::default(),
            trap: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.is_over.load(Ordering::SeqCst) {
                    return;
                }
                accepting.take(client);
            }
        });
        Self { port, state }
    }

    pub fn weather(&self, weather: Weather) {
        *lock(&self.state.weather) = weather;
    }

    /// From now on what goes that way vanishes, while the connections stay open; new ones as well.
    pub fn swallow(&self, way: Way, is_on: bool) {
        self.state.swallows[way as usize].store(is_on, Ordering::SeqCst);
    }

    /// The connections that stand now fall silent for good, both ways; new ones are well. Only that the server closes
    /// one is passed on, as every pooler and load balancer does.
    pub fn silence_standing(&self) {
        for link in lock(&self.state.links).iter() {
            link.swallows.iter().for_each(|way| way.store(true, Ordering::SeqCst));
        }
    }

    /// Cuts every connection that stands.
    pub fn cut(&self) {
        lock(&self.state.links).drain(..).for_each(|link| link.cut());
    }

    /// Cuts the clients off; the server does not hear of it.
    pub fn cut_clients(&self) {
        for link in lock(&self.state.links).iter() {
            link.outlives_client.store(true, Ordering::SeqCst);
            // An error means that it is gone already.
            drop(link.client.shutdown(Shutdown::Both));
        }
    }

    pub fn refuse(&self, is_on: bool) {
        self.state.refuses.store(is_on, Ordering::SeqCst);
    }

    /// Of the next statement whose text holds `text`, the server's answer is thrown away when it is complete, and the
    /// connection cut: it was done, and the client never hears of it. Tells when that has happened.
    pub fn lose_answer_to(&self, text: &'static str) -> Arc<AtomicBool> {
        let sprung = Arc::new(AtomicBool::new(false));
        *lock(&self.state.trap) = Some(Trap { text, sprung: Arc::clone(&sprung) });
        sprung
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts, which then ends and takes the listener with it.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl State {
    fn take(self: &Arc<Self>, client: TcpStream) {
        if self.refuses.load(Ordering::SeqCst) {
            return;
        }
        let Ok(server) = UnixStream::connect(&self.socket) else { return };
        client.set_nodelay(true).unwrap();
        let link = Arc::new(Link {
            client,
            server,
            caught: Mutex::default(),
            swallows: Default::default(),
            outlives_client: AtomicBool::new(false),
        });
        lock(&self.links).push(Arc::clone(&link));
        let (state, same) = (Arc::clone(self), Arc::clone(&link));
        std::thread::spawn(move || {
            let mut listening = Statements::default();
            state.pump(&same, Way::ToServer, |bytes| {
                for text in listening.executed(bytes) {
                    state.spring(&same, &text);
                }
            });
        });
        let state = Arc::clone(self);
        std::thread::spawn(move || {
            let mut frames = Frames::default();
            state.pump(&link, Way::ToClient, |bytes| {
                let is_answered = frames.take(bytes).iter().any(|(kind, _)| *kind == b'Z');
                let caught = lock(&link.caught).clone();
                if let Some(sprung) = caught.filter(|_| is_answered) {
                    link.cut();
                    sprung.store(true, Ordering::SeqCst);
                }
            });
        });
    }

    fn spring(&self, link: &Link, text: &str) {
        let mut trap = lock(&self.trap);
        if trap.as_ref().is_some_and(|it| text.contains(it.text)) {
            *lock(&link.caught) = trap.take().map(|it| it.sprung);
        }
    }

    /// Carries bytes one way until either end closes; `see` gets them before they go on.
    fn pump(&self, link: &Link, way: Way, mut see: impl FnMut(&[u8])) {
        let (mut from, mut to): (Box<dyn Read>, Box<dyn Write>) = match way {
            Way::ToServer => (Box::new(&link.client), Box::new(&link.server)),
            Way::ToClient => (Box::new(&link.server), Box::new(&link.client)),
        };
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let arrived = Instant::now();
            see(&buffer[..count]);
            let is_swallowed = self.swallows[way as usize].load(Ordering::SeqCst)
                || link.swallows[way as usize].load(Ordering::SeqCst)
                || way == Way::ToClient && lock(&link.caught).is_some();
            if !is_swallowed && self.carry(&mut to, &buffer[..count], arrived).is_err() {
                break;
            }
        }
        if way == Way::ToClient || !link.outlives_client.load(Ordering::SeqCst) {
            link.cut();
        }
    }

    fn carry(&self, to: &mut dyn Write, bytes: &[u8], arrived: Instant) -> std::io::Result<()> {
        let weather = *lock(&self.weather);
        match weather {
            Weather::Fair => to.write_all(bytes),
            Weather::Late(time) => {
                // The network takes this long: nothing is waited for.
                std::thread::sleep(time.saturating_sub(arrived.elapsed()));
                to.write_all(bytes)
            }
            Weather::Trickle => bytes.iter().try_for_each(|byte| {
                to.write_all(std::slice::from_ref(byte))?;
                std::thread::yield_now();
                Ok(())
            }),
        }
    }
}

impl Link {
    fn cut(&self) {
        // An error means that it is gone already.
        drop(self.client.shutdown(Shutdown::Both));
        drop(self.server.shutdown(Shutdown::Both));
    }
}

/// Puts messages of the protocol together from the pieces in which they come.
#[derive(Default)]
struct Frames {
    rest: Vec<u8>,
}

impl Frames {
    fn take(&mut self, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        self.rest.extend_from_slice(bytes);
        let mut whole = Vec::new();
        while let Some(head) = self.rest.first_chunk::<5>() {
            let [kind, length @ ..] = *head;
            let end = 1 + u32::from_be_bytes(length) as usize;
            if self.rest.len() < end {
                break;
            }
            whole.push((kind, self.rest[5..end].to_vec()));
            self.rest.drain(..end);
        }
        whole
    }
}

/// Knows the texts of the statements a client executes: prepared once, then bound by their names.
#[derive(Default)]
struct Statements {
    has_begun: bool,
    start: Vec<u8>,
    frames: Frames,
    prepared: HashMap<Vec<u8>, String>,
}

impl Statements {
    fn executed(&mut self, mut bytes: &[u8]) -> Vec<String> {
        if !self.has_begun {
            // The first message has a length and no kind.
            self.start.extend_from_slice(bytes);
            let Some(length) = self.start.first_chunk::<4>() else { return Vec::new() };
            let end = u32::from_be_bytes(*length) as usize;
            if self.start.len() < end {
                return Vec::new();
            }
            self.has_begun = true;
            let after = bytes.len() - (self.start.len() - end);
            bytes = &bytes[after..];
        }
        self.frames
            .take(bytes)
            .into_iter()
            .filter_map(|(kind, body)| {
                let mut strings = body.split(|&byte| byte == 0);
                let (first, second) = (strings.next()?, strings.next().unwrap_or_default());
                match kind {
                    b'P' => {
                        self.prepared.insert(first.to_vec(), String::from_utf8_lossy(second).into_owned());
                        None
                    }
                    b'B' => self.prepared.get(second).cloned(),
                    b'Q' => Some(String::from_utf8_lossy(first).into_owned()),
                    _ => None,
                }
            })
            .collect()
    }
}
