//! The node's connections, counted by the thread that holds them, and without LISTEN if that is wanted.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use postgres::Client;

use crate::database::{ConnectError, ConnectFailure, Connection, ConnectionSource, Patience, Pooler};

/// The role in which the engine's listener connects.
const LISTENER: &str = "listener";

type Counts = Arc<Mutex<BTreeMap<String, usize>>>;

/// Connects as the source beneath it.
pub struct CountedSource {
    inner: Arc<dyn ConnectionSource>,
    is_deaf: bool,
    open: Counts,
}

/// A connection that is counted for as long as it is held.
struct Counted {
    connection: Connection,
    role: String,
    open: Counts,
}

impl CountedSource {
    /// `is_deaf` has every connection of the listener fail.
    pub fn new(inner: Arc<dyn ConnectionSource>, is_deaf: bool) -> Self {
        Self { inner, is_deaf, open: Counts::default() }
    }

    /// Connections that are open, by the role that holds them.
    pub fn open(&self) -> BTreeMap<String, usize> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.iter().filter(|(_, count)| **count > 0).map(|(role, count)| (role.clone(), *count)).collect()
    }
}

impl ConnectionSource for CountedSource {
    fn connect(&self, role: &str) -> Result<Connection, ConnectError> {
        self.connect_with(role, &Patience::DEFAULT)
    }

    fn connect_with(&self, role: &str, patience: &Patience) -> Result<Connection, ConnectError> {
        if self.is_deaf && role == LISTENER {
            let cause = "--no-listen was given".to_owned();
            return Err(ConnectError {
                target: self.shown(),
                failure: ConnectFailure::Unreachable { cause },
            });
        }
        let connection = self.inner.connect_with(role, patience)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open.entry(role.to_owned()).or_default() += 1;
        Ok(Connection::new(Counted { connection, role: role.to_owned(), open: Arc::clone(&self.open) }))
    }

    fn shown(&self) -> String {
        self.inner.shown()
    }

    fn is_pooled(&self) -> bool {
        self.inner.is_pooled()
    }

    fn pooler(&self) -> Pooler {
        self.inner.pooler()
    }

    fn gives_sessions_away(&self) -> Option<&OnceLock<bool>> {
        self.inner.gives_sessions_away()
    }
}

impl Deref for Counted {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.connection
    }
}

impl DerefMut for Counted {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.connection
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.role) {
            *count -= 1;
        }
    }
}
