//! Keeps what looks rely on: counts of what has ended, and the indexes that a migration has left to be made.
//!
//! Every node has one and any of them does. A round has a connection of its own, which is closed after it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{info, warn};

use super::threads;
use crate::database::ConnectionSource;
use crate::store::{Store, StoreError};

/// How often it looks. What has ended since is counted at each look at the counts: some ten thousand at the most.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// A stop waits this long for a round.
const STOP_MAX: Duration = Duration::from_secs(2);
/// The loop has shallow frames; buffers are on the heap.
const STACK_BYTES: usize = 512 * 1024;

/// The thread. Dropping it without [`Bookkeeper::stop`] leaves it to end by itself soon.
pub struct Bookkeeper {
    quit: Sender<()>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Bookkeeper {
    /// Starts it. `failed` gets a message if the thread panics.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub fn start(
        source: Arc<dyn ConnectionSource>,
        schema: String,
        failed: &Sender<String>,
    ) -> io::Result<Self> {
        let (quit, quitting) = bounded(0);
        let (alive, ended) = bounded::<()>(0);
        let body = move || {
            run(&*source, &schema, &quitting);
            drop(alive);
        };
        let failed = failed.clone();
        // Full: the owner has been told already.
        let on_panic = move |message| drop(failed.try_send(message));
        let thread = threads::spawn("bookkeeper".to_owned(), STACK_BYTES, on_panic, body)?;
        Ok(Self { quit, ended, thread })
    }

    /// Ends it after what it is at, unless that takes long: the server ends what nobody waits for.
    pub fn stop(self) {
        let Self { quit, ended, thread } = self;
        drop(quit);
        // Nothing is ever sent: its end is the thread's.
        if ended.recv_timeout(STOP_MAX) != Err(RecvTimeoutError::Timeout) {
            // A panic was reported when it happened.
            _ = thread.join();
        }
    }
}

fn run(source: &dyn ConnectionSource, schema: &str, quit: &Receiver<()>) {
    let (mut is_failing, mut may_make) = (false, true);
    loop {
        match round(source, schema, quit, &mut may_make) {
            Ok(()) => is_failing = false,
            Err(error) => {
                if !is_failing {
                    warn!("what has ended is not counted for now: failed to {error}");
                }
                is_failing = true;
            }
        }
        if quit.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

fn round(
    source: &dyn ConnectionSource,
    schema: &str,
    quit: &Receiver<()>,
    may_make: &mut bool,
) -> Result<(), StoreError> {
    let mut store = Store::open(source, "bookkeeper", schema)?;
    let mut pause_s = LOOK_EVERY.as_secs_f64();
    while store.settle(pause_s)? {
        // Behind: it goes on at once.
        pause_s = 0.0;
        if quit.recv_timeout(Duration::ZERO) != Err(RecvTimeoutError::Timeout) {
            return Ok(());
        }
    }
    if *may_make {
        match store.make_indexes() {
            Ok(None) => *may_make = false,
            Ok(Some(made)) if made.is_empty() => {}
            Ok(Some(made)) => info!("indexes made: {}", made.join(", ")),
            Err(error) if error.is_transient() => info!("indexes are made later: failed to {error}"),
            Err(error) => {
                *may_make = false;
                warn!("lists may be slow: failed to {error}; go on with: process-orchestrator migrate");
            }
        }
    }
    Ok(())
}
