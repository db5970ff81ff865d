//! The loop that looks at the database, ticks, and listens for what ends a wait.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, select};

use crate::cli::error::CliError;
use crate::cli::screen::terminal::message;
use crate::cli::surroundings::session::Session;
use crate::cli::surroundings::signals::Signals;
use crate::store::{Store, StoreError};

/// After a change, when the next one may follow at once.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// While nothing changes: soon enough for a person, and two looks a second cost the database nothing.
const LOOK_INTERVAL_MAX: Duration = Duration::from_millis(500);
/// Growth of the interval from look to look.
const LOOK_INTERVAL_GROWTH: f64 = 1.5;

/// How often elapsed times tick on a terminal.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// What may end a wait early.
pub struct Alarms {
    signals: Receiver<i32>,
    node_failed: Receiver<String>,
}

impl Alarms {
    /// Signals alone.
    pub fn signals(signals: &Signals) -> Self {
        Self { signals: signals.receiver().clone(), node_failed: never() }
    }

    /// Signals, and the node that runs in this program.
    pub fn with_node(signals: &Signals, node_failed: Receiver<String>) -> Self {
        Self { node_failed, ..Self::signals(signals) }
    }
}

/// What ended a wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Wake<T> {
    /// What was waited for.
    Ended(T),
    /// A signal.
    Signal(i32),
    /// The node in this program has failed.
    NodeFailed(String),
}

/// What a look at the database showed.
pub enum Seen<T> {
    /// Nothing new.
    Same,
    /// Something has changed, and more may follow soon.
    Changed,
    /// The wait is over.
    Ended(T),
}

/// Why a look failed: a failure of the store may pass, anything else ends the wait.
pub enum LookError {
    /// Of the store.
    Store(StoreError),
    /// Of anything else.
    Final(CliError),
}

impl From<StoreError> for LookError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CliError> for LookError {
    fn from(error: CliError) -> Self {
        Self::Final(error)
    }
}

/// Calls `look` with a store at intervals that grow while nothing changes, and without one every `tick`.
///
/// # Errors
/// When a look fails for good.
pub fn watch<T>(
    session: &Session,
    alarms: &Alarms,
    tick: Option<Duration>,
    mut look: impl FnMut(Option<&mut Store>) -> Result<Seen<T>, LookError>,
) -> Result<Wake<T>, CliError> {
    let mut eyes = Eyes { session, store: None, is_warned: false };
    let mut interval = LOOK_INTERVAL_MIN;
    let mut next_look = Instant::now();
    let mut node_failed = alarms.node_failed.clone();
    loop {
        let now = Instant::now();
        if now >= next_look {
            match eyes.look(&mut look)? {
                Seen::Ended(value) => return Ok(Wake::Ended(value)),
                Seen::Changed => interval = LOOK_INTERVAL_MIN,
                Seen::Same => interval = interval.mul_f64(LOOK_INTERVAL_GROWTH).min(LOOK_INTERVAL_MAX),
            }
            next_look = Instant::now() + interval;
        } else if tick.is_some() {
            // Nothing is read, so nothing can fail or end.
            _ = look(None);
        }
        let pause = next_look.saturating_duration_since(Instant::now());
        select! {
            recv(alarms.signals) -> signal => if let Ok(signal) = signal { return Ok(Wake::Signal(signal)) },
            recv(node_failed) -> problem => match problem {
                Ok(problem) => return Ok(Wake::NodeFailed(problem)),
                // The node has ended without a fault; a closed channel would be ready for ever.
                Err(_) => node_failed = never(),
            },
            default(tick.map_or(pause, |tick| tick.min(pause))) => {}
        }
    }
}

/// The connection of the one who watches; it is opened anew after an outage.
struct Eyes<'s> {
    session: &'s Session,
    store: Option<Store>,
    is_warned: bool,
}

impl Eyes<'_> {
    /// An outage of the database does not end a wait: the processes go on when it is over.
    fn look<T>(
        &mut self,
        look: &mut impl FnMut(Option<&mut Store>) -> Result<Seen<T>, LookError>,
    ) -> Result<Seen<T>, CliError> {
        let seen = match &mut self.store {
            Some(store) => look(Some(store)),
            None => self
                .session
                .open_store("watch")
                .map_err(LookError::from)
                .and_then(|store| look(Some(self.store.insert(store)))),
        };
        match seen {
            Ok(seen) => {
                if std::mem::take(&mut self.is_warned) {
                    message("the database is back");
                }
                Ok(seen)
            }
            Err(LookError::Final(error)) => Err(error),
            Err(LookError::Store(error)) if error.is_transient() => {
                self.store = None;
                if !std::mem::replace(&mut self.is_warned, true) {
                    message(format!("waiting goes on without the database: {}", CliError::from(error)));
                }
                Ok(Seen::Same)
            }
            Err(LookError::Store(error)) => Err(error.into()),
        }
    }
}
