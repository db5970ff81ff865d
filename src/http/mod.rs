//! The status endpoint: what the tables hold and how this node fares, as JSON over HTTP/1.1, for reading only.
//!
//! ```text
//!  clients ─► gate ─► connection threads (≤ 128) ─► router ─► handlers ──questions──► readers (4) ─► database
//!              │           one for each client                   │
//!              └ closes those that are late              counts: cached, one query for all who poll
//! ```
//!
//! | file | role |
//! |---|---|
//! | `gate` | lets clients in, whatever fails |
//! | `connections` | serves each in its own thread, within bounds and deadlines |
//! | `places` | which connection yields, and when each is late |
//! | `rooms` | how many bytes of large answers there may be |
//! | `request/wire` | requests from the wire, answers to it |
//! | `request/guard` | refuses what other sites' pages send |
//! | `request/router` | method, path and query become a route |
//! | `handlers` | answers to the routes |
//! | `large` | those that may be large |
//! | `page` | what `/` shows to people |
//! | `documents` | lists as JSON |
//! | `answer` | JSON bodies, errors, heads |
//! | `cache` | counts that all who poll share |
//! | `readers` | the threads that ask the database |
//!
//! Answers are JSON. Errors are `{"error": {"code", "message"}}`: the code is for programs and keeps its meaning,
//! the message is for people. Every answer is bounded: lists come in pages and hold neither inputs nor outputs unless asked,
//! and what is larger than a small answer waits for room, of which no client has all.
//!
//! Of `tiny_http` the vocabulary and the writing of heads are used, not its server: that one gives every connection
//! a thread without limit, reads heads of any length without a deadline, ends for good at the first error of
//! `accept`, and aborts the whole program when a client announces a body larger than memory. What commands run
//! beside it must not depend on who connects to a port.

mod answer;
mod cache;
mod connections;
mod counts;
mod documents;
mod gate;
mod handlers;
mod large;
mod metrics;
mod node_health;
mod page;
mod places;
mod readers;
mod request;
mod rooms;
mod store_problem;
mod writes;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};
use mio::Waker;

use crate::database::ConnectionSource;
use connections::Connections;
use gate::Gate;
use handlers::Service;
pub use node_health::NodeHealth;
use readers::Readers;
pub use request::token::{TOKEN_CHARS_MIN, TokenError, TokenFile};

/// Why an endpoint could not be started. Displayed, it completes the phrase "failed to …".
#[derive(Debug)]
pub enum HttpError {
    /// The address can't be listened on.
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A thread could not be started.
    Thread(io::Error),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, source } => {
                let remedy = match source.kind() {
                    io::ErrorKind::AddrInUse => {
                        "another program listens there; give another --listen, or port 0 for any"
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        "this machine has no such address; give another --listen"
                    }
                    io::ErrorKind::PermissionDenied => {
                        "ports below 1024 need a privilege; give another --listen"
                    }
                    _ => "give another --listen",
                };
                write!(f, "listen on {address}: {source}; {remedy}")
            }
            Self::Thread(source) => write!(f, "start a thread of the status endpoint: {source}"),
        }
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. } | Self::Thread(source) => Some(source),
        }
    }
}

/// A running status endpoint. Dropped, it is stopped.
pub struct Endpoint {
    address: SocketAddr,
    waker: Waker,
    gate: Option<JoinHandle<()>>,
    connections: Option<Arc<Connections>>,
    service: Option<Arc<Service>>,
    stop: Option<Sender<()>>,
}

impl Endpoint {
    /// Listens on `listen` (port 0: any free one) and answers from `schema`, whether the database can be reached
    /// or not. `health` is the node that it belongs to, if any. Calls that change something are answered to those who
    /// show the token; without a token to nobody.
    ///
    /// # Errors
    /// When the address can't be listened on or a thread can't be started.
    pub fn start(
        listen: SocketAddr,
        source: Arc<dyn ConnectionSource>,
        schema: String,
        health: Option<Arc<dyn NodeHealth>>,
        token: Option<TokenFile>,
    ) -> Result<Self, HttpError> {
        // Nothing is ever sent: dropped, it tells all threads to end.
        let (stop, stopped) = bounded(0);
        let readers = Readers::start(source, schema.clone(), stopped.clone()).map_err(HttpError::Thread)?;
        let service = Arc::new(Service::new(readers, health, token, schema));
        let connections = Arc::new(Connections::new(Arc::clone(&service), stopped));
        let (gate, waker) = Gate::bind(listen, Arc::clone(&connections))
            .map_err(|source| HttpError::Listen { address: listen, source })?;
        let address = gate.address();
        let gate = thread::Builder::new()
            .name("http-gate".into())
            .spawn(|| gate.run())
            .map_err(HttpError::Thread)?;
        Ok(Self {
            address,
            waker,
            gate: Some(gate),
            connections: Some(connections),
            service: Some(service),
            stop: Some(stop),
        })
    }

    /// Where it listens, with the port that was really bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Frees the address, lets answers that are under way go out for up to two seconds, and joins all threads.
    pub fn stop(mut self) {
        self.shut_down();
    }

    /// The gate first, so that nobody comes in; then the clients; then those who read for them.
    fn shut_down(&mut self) {
        let Some(connections) = self.connections.take() else { return };
        connections.begin_stop();
        if let Err(cause) = self.waker.wake() {
            log::error!("http: failed to wake the gate: {cause}");
        }
        if self.gate.take().is_some_and(|gate| gate.join().is_err()) {
            log::error!("http: the gate had panicked");
        }
        connections.close_all();
        self.stop = None;
        connections.join();
        drop(connections);
        // All others who had it are joined.
        if let Some(mut service) = self.service.take().and_then(Arc::into_inner) {
            service.join();
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shut_down();
    }
}
