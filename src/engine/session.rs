//! A thread's own connection: opened when it is needed, opened again when it was lost, with pauses in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::health::node_health::Health;
use super::health::thread_watchdog::CoreThread;
use crate::database::ConnectionSource;
use crate::model::explain::blocker::named;
use crate::store::{Backend, Store, StoreError};

/// The first pause after a failure, doubled at each further one.
const PAUSE_MS_MIN: u64 = 100;
/// The longest pause: a database that is back is found within this time.
const PAUSE_MS_MAX: u64 = 5_000;
/// The same after a conflict over locks: the database works, and a table that was locked may be free.
const CONFLICT_PAUSE_MS_MAX: u64 = 1_000;
/// A lasting outage is logged this often.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Where the node's sessions come from, and who has to know what they do.
pub(super) struct Sessions {
    pub(super) source: Arc<dyn ConnectionSource>,
    pub(super) schema: String,
    pub(super) statement_timeout: Duration,
    pub(super) health: Arc<Health>,
}

impl Sessions {
    /// `turn` keeps the transactions of one thread in order where sessions are borrowed.
    pub(super) fn open(&self, role: &str, turn: i32) -> Result<Store, StoreError> {
        Store::open_hot(&*self.source, role, &self.schema, turn, self.statement_timeout)
    }
}

pub(super) struct Session {
    sessions: Arc<Sessions>,
    thread: CoreThread,
    store: Option<Store>,
    /// The same at each connection, see [`Sessions::open`].
    turn: i32,
    /// The server's side of the connection that was lost last; unknown if the session was borrowed.
    lost_backend: Option<Backend>,
    connections: u64,
    failures: u32,
    failing_since: Option<Instant>,
    last_logged: Option<Instant>,
    /// What failed last was a conflict.
    is_in_conflict: bool,
    /// The same for conflicts with others, which come and go while the database works.
    conflict_logged: Option<Instant>,
}

impl Session {
    pub(super) fn new(sessions: &Arc<Sessions>, thread: CoreThread) -> Self {
        Self {
            sessions: Arc::clone(sessions),
            thread,
            store: None,
            turn: fastrand::i32(..),
            lost_backend: None,
            connections: 0,
            failures: 0,
            failing_since: None,
            last_logged: None,
            is_in_conflict: false,
            conflict_logged: None,
        }
    }

    /// Whether a connection is open; after an error that may have been lost at the commit it is not.
    pub(super) fn is_open(&self) -> bool {
        self.store.is_some()
    }

    /// How many connections it has had.
    pub(super) fn connections(&self) -> u64 {
        self.connections
    }

    /// Does `work` on the connection, which is opened first if need be. Upon an error that a new connection may
    /// heal the connection is given up.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let result = self.query(work);
        if result.is_ok() {
            self.note_success();
        }
        result
    }

    /// As [`Session::write`], for what only reads or locks: its success does not mean that the failure is over. A
    /// database that refuses writes answers reads, and pauses that began anew after each would make us spin.
    pub(super) fn query<T>(
        &mut self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (sessions, thread) = (Arc::clone(&self.sessions), self.thread);
        let watchdog = &sessions.health.watchdog;
        watchdog.queries(thread, None);
        let result = self.store().and_then(|store| {
            watchdog.queries(thread, store.backend());
            work(store)
        });
        self.works();
        match &result {
            Ok(_) => self.note_answer(true),
            Err(error) => self.note_failure(error),
        }
        result
    }

    fn store(&mut self) -> Result<&mut Store, StoreError> {
        match &mut self.store {
            Some(store) => Ok(store),
            empty => {
                let mut store = self.sessions.open(self.thread.as_str(), self.turn)?;
                if let Some(lost) = &self.lost_backend {
                    // Its last statement may still run, and we could not see yet what it will have done.
                    store.end_backend(lost)?;
                    self.lost_backend = None;
                }
                self.connections += 1;
                Ok(empty.insert(store))
            }
        }
    }

    fn note_answer(&self, is_answer: bool) {
        self.sessions.health.answers.note(self.thread, is_answer);
    }

    fn note_success(&mut self) {
        if let Some(since) = self.failing_since.take() {
            let role = self.thread.as_str();
            info!("database reached again role={role} after_s={:.1}", since.elapsed().as_secs_f64());
        }
        self.failures = 0;
        self.last_logged = None;
    }

    fn note_failure(&mut self, error: &StoreError) {
        self.sessions.health.metrics.note_database_error(self.thread.as_str());
        self.failures = self.failures.saturating_add(1);
        let is_conflict = error.leaves_connection_whole();
        self.is_in_conflict = is_conflict;
        if !is_conflict {
            self.failing_since.get_or_insert_with(Instant::now);
        }
        if !is_conflict && !error.is_refused_value() && !error.is_recorded_already() {
            self.note_answer(false);
            // Whatever the error is (a prepared statement that no longer fits, for one), a new connection starts clean.
            self.lost_backend =
                self.store.take().and_then(|store| store.backend()).or(self.lost_backend.take());
        }
        let logged = if is_conflict { &mut self.conflict_logged } else { &mut self.last_logged };
        if logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            *logged = Some(Instant::now());
            let (role, failures) = (self.thread.as_str(), self.failures);
            // Whoever has locked a row is told by those who know which.
            let lockers = self.store.as_mut().filter(|_| error.is_lock_conflict());
            let lockers = lockers.and_then(|store| store.who_locks_tables().ok()).unwrap_or_default();
            let who = lockers.first().map(|it| {
                let table = it.place.as_deref().unwrap_or_default();
                format!("; the table {table} is locked by {}", named(&lockers))
            });
            warn!(
                "query failed role={role} failures={failures}: failed to {error}{}",
                who.unwrap_or_default()
            );
        }
    }

    /// The thread waits for something to do; its next query says that it works again.
    pub(super) fn rests(&self) {
        self.sessions.health.watchdog.rests(self.thread);
    }

    /// The thread has something to do.
    pub(super) fn works(&self) {
        self.sessions.health.watchdog.works(self.thread);
    }

    /// How long to wait before the next try. The jitter keeps a cluster's threads from trying all at once.
    pub(super) fn pause(&self) -> Duration {
        let doubled = PAUSE_MS_MIN.saturating_mul(1 << self.failures.min(10));
        let millis = doubled.min(if self.is_in_conflict { CONFLICT_PAUSE_MS_MAX } else { PAUSE_MS_MAX });
        Duration::from_millis(millis / 2 + fastrand::u64(..=millis / 2))
    }
}

impl Drop for Session {
    /// A thread that has ended is not stalled.
    fn drop(&mut self) {
        self.rests();
    }
}

/// For unit tests.
#[cfg(test)]
pub(super) mod sample {
    use super::*;
    use crate::database::{ConnectError, ConnectFailure, Connection};
    use crate::engine::NodeConfig;

    struct Nowhere;

    impl ConnectionSource for Nowhere {
        fn connect(&self, _role: &str) -> Result<Connection, ConnectError> {
            let failure = ConnectFailure::Unreachable { cause: "a unit test has none".to_owned() };
            Err(ConnectError { target: self.shown(), failure })
        }

        fn shown(&self) -> String {
            "no database".to_owned()
        }
    }

    /// Sessions that can't be opened.
    pub(in crate::engine) fn nowhere(config: &NodeConfig, health: &Arc<Health>) -> Arc<Sessions> {
        Arc::new(Sessions {
            source: Arc::new(Nowhere),
            schema: config.schema.clone(),
            statement_timeout: config.statement_timeout,
            health: Arc::clone(health),
        })
    }
}
