//! A thread's own connection: opened when it is needed, opened again when it was lost, never spinning.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::shared::Shared;
use crate::engine::health::thread_watchdog::CoreThread;
use crate::store::{Backend, Store, StoreError};

/// The first pause after a failure, doubled at each further one.
const PAUSE_MS_MIN: u64 = 100;
/// The longest pause: a database that is back is found within this time.
const PAUSE_MS_MAX: u64 = 5_000;
/// A lasting outage is logged this often.
const LOG_EVERY: Duration = Duration::from_secs(30);

pub(super) struct Link {
    shared: Arc<Shared>,
    thread: CoreThread,
    store: Option<Store>,
    /// Keeps our transactions in order where sessions are borrowed; the same at each connection.
    turn: i32,
    /// The server's side of the connection that was lost last; of a borrowed session it is not known.
    lost_backend: Option<Backend>,
    failures: u32,
    failing_since: Option<Instant>,
    last_logged: Option<Instant>,
    /// The same of conflicts with others, which come and go while the database is there all along.
    conflict_logged: Option<Instant>,
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>, thread: CoreThread) -> Self {
        Self {
            shared,
            thread,
            store: None,
            turn: fastrand::i32(..),
            lost_backend: None,
            failures: 0,
            failing_since: None,
            last_logged: None,
            conflict_logged: None,
        }
    }

    /// Whether a connection is open; after an error that may have been lost at the commit it is not.
    pub(super) fn is_open(&self) -> bool {
        self.store.is_some()
    }

    /// Does `work` on the connection, which is opened first if need be. Upon an error that a new connection may
    /// heal the connection is given up.
    pub(super) fn run<T>(
        &mut self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let result = self.look(work);
        if result.is_ok() {
            self.note_success();
        }
        result
    }

    /// As [`Link::run`], for what only reads or locks: that it succeeds does not mean that the trouble is over. A
    /// database that takes no writes answers it, and pauses that began anew each time would make us spin.
    pub(super) fn look<T>(
        &mut self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (shared, thread) = (Arc::clone(&self.shared), self.thread);
        shared.vitals.pulses.asks(thread);
        let result = self.store().and_then(|store| {
            if let Some(backend) = store.backend() {
                shared.asked.begin(thread, backend);
            }
            let result = work(store);
            shared.asked.end(thread);
            result
        });
        self.works();
        if let Err(error) = &result {
            self.note_failure(error);
        }
        result
    }

    fn store(&mut self) -> Result<&mut Store, StoreError> {
        match &mut self.store {
            Some(store) => Ok(store),
            place => {
                let shared = &self.shared;
                let (config, role) = (&shared.config, self.thread.as_str());
                let timeout = config.statement_timeout;
                let mut store = Store::open_hot(&*shared.source, role, &config.schema, self.turn, timeout)?;
                if let Some(lost) = &self.lost_backend {
                    // Its last statement may still be at work: what it will have done is not to be seen yet.
                    store.end_backend(lost)?;
                    self.lost_backend = None;
                }
                Ok(place.insert(store))
            }
        }
    }

    fn note_success(&mut self) {
        if let Some(since) = self.failing_since.take() {
            info!(
                "database reached again role={} after_s={:.1}",
                self.thread.as_str(),
                since.elapsed().as_secs_f64()
            );
        }
        self.failures = 0;
        self.last_logged = None;
    }

    fn note_failure(&mut self, error: &StoreError) {
        self.shared.vitals.database_errors.fetch_add(1, Ordering::Relaxed);
        self.shared.vitals.measures.database_failed(self.thread.as_str());
        self.failures = self.failures.saturating_add(1);
        let is_conflict = error.leaves_connection_whole();
        if !is_conflict {
            self.failing_since.get_or_insert_with(Instant::now);
        }
        if !is_conflict && !error.is_refused_value() && !error.is_recorded_already() {
            // Whatever else it is, a prepared statement that no longer fits included, a new connection starts clean.
            self.lost_backend =
                self.store.take().and_then(|store| store.backend()).or(self.lost_backend.take());
        }
        let logged = if is_conflict { &mut self.conflict_logged } else { &mut self.last_logged };
        if logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            *logged = Some(Instant::now());
            warn!(
                "database trouble role={} failures={}: failed to {error}",
                self.thread.as_str(),
                self.failures
            );
        }
    }

    /// Says that the thread waits for something to do; its next question says that it is at work again.
    pub(super) fn rests(&self) {
        self.shared.vitals.pulses.rests(self.thread);
    }

    /// Says that the thread has something to do.
    pub(super) fn works(&self) {
        self.shared.vitals.pulses.works(self.thread);
    }

    /// How long to wait before the next try; the jitter keeps a cluster's threads from coming back all at once.
    pub(super) fn pause(&self) -> Duration {
        let doubled = PAUSE_MS_MIN.saturating_mul(1 << self.failures.min(10));
        let millis = doubled.min(PAUSE_MS_MAX);
        Duration::from_millis(millis / 2 + fastrand::u64(..=millis / 2))
    }
}

impl Drop for Link {
    /// A thread that has ended stalls nobody.
    fn drop(&mut self) {
        self.rests();
    }
}
