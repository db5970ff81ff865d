//! Automatic retention: finished processes are forgotten some time after their end.
//!
//! It has a thread and a connection of its own, so that a large delete never keeps a heartbeat or a result waiting.
//! Every node that is told to may do it; an advisory lock, held for one batch at a time, lets one at a time.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{info, warn};

use super::threads;
use crate::database::ConnectionSource;
use crate::store::prune::{PruneFilter, PrunePlace};
use crate::store::{Store, StoreError};

/// How often it looks, unless what it keeps is younger than that.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The shortest pause between two looks, for a retention of seconds.
const LOOK_MIN: Duration = Duration::from_secs(1);
/// After each batch it rests this many times as long as the batch took: a fifth of one connection's work at the most.
const REST_FACTOR: u32 = 4;
/// A rest is no longer than this, also after a batch that waited for others' locks.
const REST_MAX: Duration = Duration::from_secs(10);
/// After so many looks at which somebody else had the lock it is not asked for any more.
const REFUSED_MAX: u32 = 3;
/// A stop waits this long for a batch, which takes a fraction of it.
const STOP_MAX: Duration = Duration::from_secs(5);
/// The loop has shallow frames; buffers are on the heap.
const STACK_BYTES: usize = 512 * 1024;

/// The thread that forgets. Dropping it without [`Retention::stop`] leaves it to end by itself soon.
pub struct Retention {
    quit: Sender<()>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Retention {
    /// Starts to forget processes of `schema` that ended longer than `keep` ago. `failed` gets a message if the thread
    /// panics.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub fn start(
        source: Arc<dyn ConnectionSource>,
        schema: String,
        keep: Duration,
        failed: &Sender<String>,
    ) -> io::Result<Self> {
        let (quit, quitting) = bounded(0);
        let filter = PruneFilter { older_than: keep, statuses: Vec::new(), process_type: None };
        let (alive, ended) = bounded::<()>(0);
        let body = move || {
            Forgetter { source, schema, filter, store: None, refused: 0 }.run(&quitting);
            drop(alive);
        };
        let failed = failed.clone();
        // Full: the owner has been told already.
        let on_panic = move |message| drop(failed.try_send(message));
        let thread = threads::spawn("retention".to_owned(), STACK_BYTES, on_panic, body)?;
        Ok(Self { quit, ended, thread })
    }

    /// Ends it after the present batch. A batch that waits for a lock or a server that does not answer is left behind
    /// after a while: the server drops a batch whose program has ended.
    pub fn stop(self) {
        let Self { quit, ended, thread } = self;
        drop(quit);
        // Nothing is ever sent: its end is the thread's.
        if ended.recv_timeout(STOP_MAX) == Err(RecvTimeoutError::Timeout) {
            warn!("the thread that deletes waits for the database and is left behind");
            return;
        }
        // A panic was reported when it happened.
        _ = thread.join();
    }
}

struct Forgetter {
    source: Arc<dyn ConnectionSource>,
    schema: String,
    filter: PruneFilter,
    store: Option<Store>,
    /// At how many looks running somebody else had the lock.
    refused: u32,
}

impl Forgetter {
    fn run(mut self, quit: &Receiver<()>) {
        let look_every = (self.filter.older_than / 10).clamp(LOOK_MIN, LOOK_EVERY);
        let mut is_failing = false;
        loop {
            match self.round(quit) {
                Ok(_) => is_failing = false,
                Err(error) => {
                    self.store = None;
                    if !is_failing {
                        warn!("finished processes are not forgotten for now: failed to {error}");
                    }
                    is_failing = true;
                }
            }
            if quit.recv_timeout(look_every) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Forgets everything that is old enough, in batches with a rest between them.
    fn round(&mut self, quit: &Receiver<()>) -> Result<u64, StoreError> {
        let (mut forgotten, mut locked) = (0, 0);
        let mut place: Option<PrunePlace> = None;
        loop {
            let began = Instant::now();
            let store = match &mut self.store {
                Some(store) => store,
                empty => empty.insert(Store::open(&*self.source, "retention", &self.schema)?),
            };
            // `None`: another node does it, or anybody who may connect holds its lock; two that do it are only slower.
            let turn = store.prune_alone(&self.filter, place.as_ref())?;
            self.refused = if turn.is_some() { 0 } else { self.refused.saturating_add(1) };
            let pruned = match turn {
                Some(pruned) => pruned,
                None if self.refused > REFUSED_MAX => store.prune(&self.filter, place.as_ref())?,
                None => break,
            };
            forgotten += pruned.processes;
            if locked == 0 && !pruned.locked.is_empty() {
                let holders = store.who_keeps(&pruned.locked)?;
                info!("not all old processes are forgotten this time: {}", holders.join("; "));
            }
            locked += pruned.locked.len();
            place = pruned.next;
            if place.is_none() {
                break;
            }
            let rest = (began.elapsed() * REST_FACTOR).min(REST_MAX);
            if quit.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
        if forgotten > 0 {
            info!("finished processes forgotten processes={forgotten} locked={locked}");
        }
        Ok(forgotten)
    }
}
