//! The listener turns notifications into wake-ups. They are hints: without it the poller still looks at every
//! interval, and the heartbeat looks for requests each time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use postgres::fallible_iterator::FallibleIterator;

use super::requests::Requests;
use crate::database::Connection;
use crate::engine::session::Sessions;
use crate::engine::shutdown::{Phase, Shutdown};
use crate::failpoint::{self, Point};
use crate::store::{Session, StoreError, quote_identifier};

/// What the schema's functions send when a process is cancelled or a type paused; no type's name holds a new line.
const CONTROL: &str = "\ncontrol";
/// What [`Store::wake_nodes`](crate::store::Store::wake_nodes) sends: processes were given back that have kept their place.
const KEPT_PLACE: &str = "kept";
/// How long it waits before it checks whether the node stops.
const TICK: Duration = Duration::from_millis(250);
/// How often the connection is tested: a silent one looks like a dead one.
const TEST_EVERY: Duration = Duration::from_secs(30);
/// How long the test may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was lost sooner than this after its start is not opened again at once.
const SHORT: Duration = Duration::from_secs(2);
/// Pause between attempts to connect, in ticks; polling does the work meanwhile.
const RECONNECT_TICKS: u32 = 8;

pub(crate) struct Listener {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) shutdown: Arc<Shutdown>,
}

impl Listener {
    pub(crate) fn run(&self) {
        let mut is_failing = false;
        while self.shutdown.phase() < Phase::Interrupting {
            match self.subscribe() {
                // The node has said so at its start.
                Ok(None) => {
                    return debug!("not listening: a pooler lends sessions for one transaction at a time");
                }
                Ok(Some(connection)) => {
                    if is_failing {
                        info!("listening again");
                    }
                    is_failing = false;
                    // A scan finds what was notified before we listened.
                    self.requests.holdings.wakeups.request_full_scan();
                    let began = Instant::now();
                    self.listen(connection);
                    if began.elapsed() < SHORT {
                        // Somebody may end our sessions as soon as they begin; that must not make us spin.
                        self.pause();
                    }
                }
                Err(problem) => {
                    if !is_failing {
                        warn!("not listening, polling goes on: {problem}");
                    }
                    is_failing = true;
                    self.pause();
                }
            }
        }
    }

    /// A connection that hears; none where a pooler lends us a session for each transaction: another client would hear.
    fn subscribe(&self) -> Result<Option<Connection>, String> {
        let source = &*self.sessions.source;
        let mut connection = source.connect("listener").map_err(|error| error.to_string())?;
        let session = Session::of(&mut connection, source).map_err(|error| format!("failed to {error}"))?;
        if session.is_borrowed {
            return Ok(None);
        }
        let channel = quote_identifier(&self.sessions.schema);
        let failed = |source| format!("failed to {}", StoreError::database("listen", source));
        connection.batch_execute(&session.settings()).map_err(failed)?;
        // By itself: it is what pg_stat_activity shows of this session from now on.
        connection.batch_execute(&format!("LISTEN {channel}")).map_err(failed)?;
        Ok(Some(connection))
    }

    /// Returns when the connection is lost or the node stops.
    fn listen(&self, mut connection: Connection) {
        let mut tested = Instant::now();
        failpoint::hit(Point::Listening);
        while self.shutdown.phase() < Phase::Interrupting {
            let heard = connection.notifications().timeout_iter(TICK).next();
            match heard {
                Ok(Some(notification)) => {
                    match notification.payload() {
                        CONTROL => self.requests.signal.notify(),
                        KEPT_PLACE => self.requests.holdings.wakeups.request_full_scan(),
                        _ => self.requests.holdings.wakeups.wake(),
                    }
                    tested = Instant::now();
                }
                // A timeout and a lost connection look alike here.
                Ok(None) if connection.is_closed() => return debug!("listener's connection closed"),
                Ok(None) if tested.elapsed() >= TEST_EVERY => {
                    if let Err(error) = connection.is_valid(TEST_TIMEOUT) {
                        return debug!("listener's connection lost: {error}");
                    }
                    tested = Instant::now();
                }
                Ok(None) => {}
                Err(error) => return debug!("listener's connection lost: {error}"),
            }
        }
    }

    fn pause(&self) {
        for _ in 0..RECONNECT_TICKS {
            if self.shutdown.phase() >= Phase::Interrupting {
                return;
            }
            std::thread::park_timeout(TICK);
        }
    }
}
