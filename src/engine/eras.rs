//! Keeps the eras of the history: a look each minute, in a thread and with a connection of its own, which lasts as long as
//! there is something to do. Every node may; a lock in the database lets one take a step at a time.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{debug, info, warn};

use super::threads;
use crate::database::ConnectionSource;
use crate::failpoint;
use crate::store::eras::{Done, ERA_SIZE, Step};
use crate::store::{Store, StoreError};

const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After a look that had something to do.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// After each step it rests this many times as long as the step took: a fifth of one connection's work at the most.
const REST_FACTOR: u32 = 4;
const REST_MAX: Duration = Duration::from_secs(10);
/// How often it says how far a long move has come.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// A stop waits this long for a step, which takes a fraction of it.
const STOP_MAX: Duration = Duration::from_secs(5);
/// The loop has shallow frames; buffers are on the heap.
const STACK_BYTES: usize = 512 * 1024;

/// The thread that keeps the eras. Dropping it without [`EraKeeper::stop`] leaves it to end by itself soon.
pub struct EraKeeper {
    quit: Sender<()>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl EraKeeper {
    /// Starts to keep the eras of `schema`. `failed` gets a message if the thread panics.
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
            let (size, every) = failpoint::era_pace().unwrap_or((ERA_SIZE, LOOK_EVERY));
            Keeper { source, schema, size, every, told: None }.run(&quitting);
            drop(alive);
        };
        let failed = failed.clone();
        // Full: the owner has been told already.
        let on_panic = move |message| drop(failed.try_send(message));
        let thread = threads::spawn("eras".to_owned(), STACK_BYTES, on_panic, body)?;
        Ok(Self { quit, ended, thread })
    }

    /// Ends it after the present step; one that does not end is left behind.
    pub fn stop(self) {
        let Self { quit, ended, thread } = self;
        drop(quit);
        // Nothing is ever sent: its end is the thread's.
        if ended.recv_timeout(STOP_MAX) == Err(RecvTimeoutError::Timeout) {
            warn!("the thread that keeps the eras waits for the database and is left behind");
            return;
        }
        // A panic was reported when it happened.
        _ = thread.join();
    }
}

struct Keeper {
    source: Arc<dyn ConnectionSource>,
    schema: String,
    size: u32,
    every: Duration,
    told: Option<Instant>,
}

impl Keeper {
    fn run(mut self, quit: &Receiver<()>) {
        let mut is_failing = false;
        // Several nodes that are started together do not look together.
        let mut pause = self.every.mul_f64(0.2 + 0.8 * fastrand::f64());
        while quit.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            match self.round(quit) {
                Ok(has_done) => {
                    is_failing = false;
                    pause = if has_done { LOOK_AGAIN.min(self.every) } else { self.every };
                }
                Err(error) => {
                    pause = self.every;
                    if !is_failing {
                        warn!("the history is not sorted into eras for now: failed to {error}");
                    }
                    is_failing = true;
                }
            }
        }
    }

    /// Whether there was something to do.
    fn round(&mut self, quit: &Receiver<()>) -> Result<bool, StoreError> {
        let mut has_done = false;
        let mut store = Store::open(&*self.source, "eras", &self.schema)?;
        loop {
            let began = Instant::now();
            match store.keep_eras(self.size)? {
                Step::Did(Done::Moved { .. }) => self.tell(&mut store)?,
                Step::Did(done) => debug!("eras: {done:?}"),
                Step::Idle | Step::Busy => return Ok(has_done),
            }
            has_done = true;
            let rest = (began.elapsed() * REST_FACTOR).min(REST_MAX);
            if quit.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                return Ok(has_done);
            }
        }
    }

    /// Says how far the history of before eras has come, now and then.
    fn tell(&mut self, store: &mut Store) -> Result<(), StoreError> {
        if self.told.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            return Ok(());
        }
        self.told = Some(Instant::now());
        if let Some(earlier) = store.earlier_history()? {
            info!("history is sorted into eras {earlier}");
        }
        Ok(())
    }
}
