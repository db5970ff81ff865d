//! Fires schedules when they are due, by the clock of the database: that of the node may be wrong.
//!
//! Every node has one and any of them does: rows that one has locked the others pass over. It looks again when the next one is
//! due, and each second, since others may be added.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{debug, info, warn};

use super::threads;
use crate::database::ConnectionSource;
use crate::store::{Store, StoreError};

/// How often it looks at the least: a schedule that is added is seen so soon.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it looks at the most, when others have what is due.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Schedules of one round: a transaction of some tens of milliseconds.
const ROUND_MAX: u32 = 500;
/// A stop waits this long for a round.
const STOP_MAX: Duration = Duration::from_secs(5);
/// The loop has shallow frames; buffers are on the heap.
const STACK_BYTES: usize = 512 * 1024;

/// The thread. Dropping it without [`Scheduler::stop`] leaves it to end by itself soon.
pub struct Scheduler {
    quit: Sender<()>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Scheduler {
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
            Firing { source, schema, store: None, told: HashMap::new() }.run(&quitting);
            drop(alive);
        };
        let failed = failed.clone();
        // Full: the owner has been told already.
        let on_panic = move |message| drop(failed.try_send(message));
        let thread = threads::spawn("schedules".to_owned(), STACK_BYTES, on_panic, body)?;
        Ok(Self { quit, ended, thread })
    }

    /// Ends it after the present round; one that does not end is left behind: what it has not committed is not done.
    pub fn stop(self) {
        let Self { quit, ended, thread } = self;
        drop(quit);
        // Nothing is ever sent: its end is the thread's.
        if ended.recv_timeout(STOP_MAX) == Err(RecvTimeoutError::Timeout) {
            warn!("the thread that fires schedules waits for the database and is left behind");
            return;
        }
        // A panic was reported when it happened.
        _ = thread.join();
    }
}

struct Firing {
    source: Arc<dyn ConnectionSource>,
    schema: String,
    store: Option<Store>,
    /// The problems that were told, by schedule.
    told: HashMap<String, String>,
}

impl Firing {
    fn run(mut self, quit: &Receiver<()>) {
        let mut is_failing = false;
        loop {
            let pause = match self.round(quit) {
                Ok(pause) => {
                    if is_failing {
                        info!("schedules fire again");
                    }
                    is_failing = false;
                    pause
                }
                Err(error) => {
                    self.store = None;
                    if !is_failing {
                        warn!("schedules do not fire for now: failed to {error}");
                    }
                    is_failing = true;
                    LOOK_EVERY
                }
            };
            if self.source.is_pooled() {
                // A pool is sized for what the node holds and a call.
                self.store = None;
            }
            if quit.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Fires what is due, and says how long to wait.
    fn round(&mut self, quit: &Receiver<()>) -> Result<Duration, StoreError> {
        let store = match &mut self.store {
            Some(store) => store,
            none => none.insert(Store::open(&*self.source, "schedules", &self.schema)?),
        };
        loop {
            let fired = store.fire_due_schedules(ROUND_MAX)?;
            for one in &fired {
                debug!("schedule {:?}: {} started, {} skipped", one.name, one.fired, one.overlapped);
                match &one.problem {
                    Some(problem) if self.told.get(&one.name) != Some(problem) => {
                        warn!("schedule {:?} can't start its process and tries again: {problem}", one.name);
                        self.told.insert(one.name.clone(), problem.clone());
                    }
                    Some(_) => {}
                    None => drop(self.told.remove(&one.name)),
                }
            }
            if fired.is_empty() {
                break;
            }
            if quit.recv_timeout(Duration::ZERO) != Err(RecvTimeoutError::Timeout) {
                return Ok(Duration::ZERO);
            }
        }
        let next = store.next_schedule_in()?.unwrap_or(LOOK_EVERY);
        Ok(next.clamp(LOOK_AGAIN, LOOK_EVERY))
    }
}
