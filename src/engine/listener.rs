//! The listener turns notifications into wake-ups. They are hints: without it the poller still looks at every
//! interval.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use postgres::fallible_iterator::FallibleIterator;

use super::shared::{Phase, Shared};
use crate::database::Connection;
use crate::store::StoreError;
use crate::store::quote_identifier;

/// How long it waits before it looks whether the node stops.
const TICK: Duration = Duration::from_millis(250);
/// How often the connection is tested: a silent one looks the same as a dead one.
const TEST_EVERY: Duration = Duration::from_secs(30);
/// How long the test may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between attempts to connect, in ticks; polling does the work meanwhile.
const RECONNECT_TICKS: u32 = 8;

pub(super) fn run(shared: &Arc<Shared>) {
    let mut is_failing = false;
    while shared.phase() < Phase::Interrupting {
        match subscribe(shared) {
            Ok(connection) => {
                if is_failing {
                    info!("listening again");
                }
                is_failing = false;
                // What was notified before we listened is found by looking.
                shared.wake_poller();
                listen(shared, connection);
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

fn subscribe(shared: &Shared) -> Result<Connection, String> {
    let mut connection = shared.source.connect("listener").map_err(|error| error.to_string())?;
    let channel = quote_identifier(&shared.config.schema);
    let failed = |source| format!("failed to {}", StoreError::database("listen", source));
    connection.batch_execute(&format!("LISTEN {channel}")).map_err(failed)?;
    Ok(connection)
}

/// Returns when the connection is lost or the node stops.
fn listen(shared: &Shared, mut connection: Connection) {
    let mut tested = Instant::now();
    while shared.phase() < Phase::Interrupting {
        let heard = connection.notifications().timeout_iter(TICK).next();
        match heard {
            Ok(Some(_)) => {
                shared.wake_poller();
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
