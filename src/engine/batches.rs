//! Keeps batches: adds up what becomes of their processes, notes ends, halts, and starts what follows.
//!
//! Every node has this thread and any of them does the work; a lock in the database lets one at a time. While there are open
//! batches it has a connection and looks several times a second, since a halt is to come promptly. Otherwise it sleeps until a
//! claim of this node is of a batch, or for a while.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use log::{info, warn};

use super::threads;
use crate::database::ConnectionSource;
use crate::store::batches::Kept;
use crate::store::{Store, StoreError};

/// After a look that has found changes.
const LOOK_SOON: Duration = Duration::from_millis(50);
/// While there are open batches.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The longest while open batches stay as they are; what this node claims or records of one wakes.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(2);
/// While there are none; who starts a batch has its processes claimed, which wakes.
const LOOK_IDLE: Duration = Duration::from_secs(10);
/// How often batches of which nothing has changed are looked at too.
const LOOK_AT_ALL: Duration = Duration::from_secs(5);
/// How often old batches are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(600);
/// A stop waits this long for a round.
const STOP_MAX: Duration = Duration::from_secs(2);
/// The loop has shallow frames; buffers are on the heap.
const STACK_BYTES: usize = 512 * 1024;

/// The thread. Dropping it without [`BatchKeeper::stop`] leaves it to end by itself soon.
pub struct BatchKeeper {
    quit: Sender<()>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl BatchKeeper {
    /// Starts it. `woken` gets a message when something of a batch was claimed; `failed` gets one if the thread panics.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub fn start(
        source: Arc<dyn ConnectionSource>,
        schema: String,
        woken: Receiver<()>,
        failed: &Sender<String>,
    ) -> io::Result<Self> {
        let (quit, quitting) = bounded(0);
        let (alive, ended) = bounded::<()>(0);
        let body = move || {
            Keeper { source, schema, store: None, looked_at_all: None, forgot: None, pause: LOOK_EVERY }
                .run(&quitting, &woken);
            drop(alive);
        };
        let failed = failed.clone();
        // Full: the owner has been told already.
        let on_panic = move |message| drop(failed.try_send(message));
        let thread = threads::spawn("batches".to_owned(), STACK_BYTES, on_panic, body)?;
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

struct Keeper {
    source: Arc<dyn ConnectionSource>,
    schema: String,
    store: Option<Store>,
    looked_at_all: Option<Instant>,
    forgot: Option<Instant>,
    pause: Duration,
}

impl Keeper {
    fn run(mut self, quit: &Receiver<()>, woken: &Receiver<()>) {
        let mut is_failing = false;
        let mut pause = Duration::ZERO;
        loop {
            if pause >= LOOK_EVERY {
                select! {
                    recv(quit) -> _ => return,
                    // A closed channel is ready for ever: nobody wakes any more.
                    recv(woken) -> message => {
                        let pause = if message.is_err() { pause } else { LOOK_SOON };
                        if quit.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                            return;
                        }
                        self.pause = LOOK_EVERY;
                    }
                    default(pause) => {}
                }
            } else if quit.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            pause = match self.round() {
                Ok(pause) => {
                    is_failing = false;
                    pause
                }
                Err(error) => {
                    self.store = None;
                    if std::mem::replace(&mut is_failing, true) {
                        LOOK_IDLE
                    } else {
                        warn!("batches are not added up for now: failed to {error}");
                        // A deadlock or a lost connection is over by the next time, and a halt must not wait.
                        LOOK_EVERY
                    }
                }
            };
        }
    }

    /// How long to wait for the next one.
    fn round(&mut self) -> Result<Duration, StoreError> {
        let store = match &mut self.store {
            Some(store) => store,
            None => self.store.insert(Store::open(&*self.source, "batches", &self.schema)?),
        };
        let is_time = |at: Option<Instant>, every| at.is_none_or(|it| it.elapsed() >= every);
        if is_time(self.forgot, FORGET_EVERY) {
            self.forgot = Some(Instant::now());
            store.forget_batches()?;
        }
        if !store.has_open_batches()? {
            // Who has a pool of few connections needs them.
            self.store = None;
            return Ok(LOOK_IDLE);
        }
        let looks_at_all = is_time(self.looked_at_all, LOOK_AT_ALL);
        let Kept { is_busy, is_full, has_changed, noted } = store.keep_batches(looks_at_all)?;
        if looks_at_all && !is_busy {
            self.looked_at_all = Some(Instant::now());
        }
        noted.iter().for_each(|it| info!("{it}"));
        self.pause =
            if has_changed || is_full { LOOK_EVERY } else { self.pause.mul_f64(1.2).min(LOOK_EVERY_MAX) };
        Ok(match () {
            () if is_full => Duration::ZERO,
            () if has_changed => LOOK_SOON,
            () => self.pause,
        })
    }
}
