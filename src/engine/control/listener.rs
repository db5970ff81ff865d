//! The listener turns notifications into wake-ups. They are hints: without it the poller still looks at every
//! interval, and the keeper at every heartbeat.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use postgres::fallible_iterator::FallibleIterator;

use crate::database::Connection;
use crate::engine::shared::Shared;
use crate::engine::shutdown::Phase;
use crate::failpoint::{self, Point};
use crate::store::{Session, StoreError, quote_identifier};

/// What the schema's functions send when a process is cancelled or a type paused; no type's name holds a new line.
const CONTROL: &str = "\ncontrol";
/// How long it waits before it looks whether the node stops.
const TICK: Duration = Duration::from_millis(250);
/// How often the connection is tested: a silent one looks the same as a dead one.
const TEST_EVERY: Duration = Duration::from_secs(30);
/// How long the test may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was lost sooner than this after its start is not opened again at once.
const SHORT: Duration = Duration::from_secs(2);
/// Pause between attempts to connect, in ticks; polling does the work meanwhile.
const RECONNECT_TICKS: u32 = 8;

pub(crate) fn run(shared: &Arc<Shared>) {
    let mut is_failing = false;
    while shared.phase() < Phase::Interrupting {
        match subscribe(shared) {
            // The node has said so at its start.
            Ok(None) => {
                return debug!("not listening: a pooler lends sessions for one transaction at a time");
            }
            Ok(Some(connection)) => {
                if is_failing {
                    info!("listening again");
                }
                is_failing = false;
                // What was notified before we listened is found by looking.
                shared.wake_poller_for_old();
                let began = Instant::now();
                listen(shared, connection);
                if began.elapsed() < SHORT {
                    // Whoever ends our sessions as soon as they begin must not make us spin.
                    pause(shared);
                }
            }
            Err(problem) => {
                if !is_failing {
                    warn!("not listening, polling goes on: {problem}");
                }
                is_failing = true;
                pause(shared);
            }
        }
    }
}

/// A connection that hears; none where a session is ours for one transaction only, and somebody else would hear.
fn subscribe(shared: &Shared) -> Result<Option<Connection>, String> {
    let mut connection = shared.source.connect("listener").map_err(|error| error.to_string())?;
    let session =
        Session::of(&mut connection, &*shared.source).map_err(|error| format!("failed to {error}"))?;
    if session.is_borrowed {
        return Ok(None);
    }
    let channel = quote_identifier(&shared.config.schema);
    let failed = |source| format!("failed to {}", StoreError::database("listen", source));
    connection.batch_execute(&format!("LISTEN {channel}")).map_err(failed)?;
    Ok(Some(connection))
}

/// Returns when the connection is lost or the node stops.
fn listen(shared: &Shared, mut connection: Connection) {
    let mut tested = Instant::now();
    failpoint::hit(Point::Listening);
    while shared.phase() < Phase::Interrupting {
        let heard = connection.notifications().timeout_iter(TICK).next();
        match heard {
            Ok(Some(notification)) => {
                match notification.payload() {
                    CONTROL => shared.control.wake(),
                    _ => shared.wake_poller(),
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

fn pause(shared: &Shared) {
    for _ in 0..RECONNECT_TICKS {
        if shared.phase() >= Phase::Interrupting {
            return;
        }
        std::thread::park_timeout(TICK);
    }
}
