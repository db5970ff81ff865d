//! Connections for whoever needs one, whether from settings or from a pool.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use postgres::Client;

use super::connect::Patience;
use super::diagnose::chain;
use super::error::{ConnectError, ConnectFailure};
use super::pooler::Pooler;
use super::settings::ConnectionSettings;

/// Where threads get connections from.
pub trait ConnectionSource: Send + Sync {
    /// A connection for `role`, such as `recorder`, which names the session where that is possible.
    fn connect(&self, role: &str) -> Result<Connection, ConnectError>;

    /// A connection that stands silence of the network as `patience` says. A pool's connections keep
    /// the settings that its owner gave them.
    fn connect_with(&self, role: &str, _patience: &Patience) -> Result<Connection, ConnectError> {
        self.connect(role)
    }

    /// The database, for messages: never a password.
    fn shown(&self) -> String;

    /// Whether its connections go back to others when they are dropped.
    fn is_pooled(&self) -> bool {
        false
    }

    /// What is known of a pooler in front of the server.
    fn pooler(&self) -> Pooler {
        Pooler::Auto
    }

    /// The place to remember whether that pooler gives sessions to others between transactions, once that was
    /// tried with two connections; `None` where it must not be tried, and is assumed.
    fn gives_sessions_away(&self) -> Option<&OnceLock<bool>> {
        None
    }
}

/// An open connection; use it as a [`Client`]. One of a pool goes back when it is dropped.
pub struct Connection(Box<dyn DerefMut<Target = Client> + Send>);

impl Connection {
    /// Wraps whatever holds a client.
    pub fn new(holder: impl DerefMut<Target = Client> + Send + 'static) -> Self {
        Self(Box::new(holder))
    }
}

impl From<Client> for Connection {
    fn from(client: Client) -> Self {
        Self::new(Box::new(client))
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.0.deref()
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Client {
        self.0.deref_mut()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl ConnectionSource for ConnectionSettings {
    fn connect(&self, role: &str) -> Result<Connection, ConnectError> {
        self.connect_with(role, &Patience::DEFAULT)
    }

    fn connect_with(&self, role: &str, patience: &Patience) -> Result<Connection, ConnectError> {
        self.open(role, patience).map(Connection::from)
    }

    fn shown(&self) -> String {
        ConnectionSettings::shown(self)
    }

    fn pooler(&self) -> Pooler {
        self.pooler
    }

    fn gives_sessions_away(&self) -> Option<&OnceLock<bool>> {
        Some(&self.gives_sessions_away)
    }
}

/// Makes the connections of an r2d2 pool from settings.
#[derive(Debug, Clone)]
pub struct ConnectionManager {
    settings: ConnectionSettings,
    role: String,
}

impl ConnectionManager {
    /// Sessions are named for `role`, such as `http`.
    pub fn new(settings: ConnectionSettings, role: impl Into<String>) -> Self {
        Self { settings, role: role.into() }
    }
}

impl r2d2::ManageConnection for ConnectionManager {
    type Connection = Client;
    type Error = ConnectError;

    fn connect(&self) -> Result<Client, ConnectError> {
        self.settings.open(&self.role, &Patience::DEFAULT)
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), ConnectError> {
        client.simple_query("").map(drop).map_err(|error| ConnectError {
            target: self.settings.shown(),
            failure: ConnectFailure::Unreachable { cause: chain(&error) },
        })
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }
}

impl<M> ConnectionSource for r2d2::Pool<M>
where
    M: r2d2::ManageConnection<Connection = Client>,
{
    fn connect(&self, _role: &str) -> Result<Connection, ConnectError> {
        // The pool keeps of its manager's error only the words; without any it has just waited too long.
        self.get().map(Connection::new).map_err(|error| ConnectError {
            target: ConnectionSource::shown(self),
            failure: ConnectFailure::Pool { message: error.to_string() },
        })
    }

    fn shown(&self) -> String {
        "the pool's database".to_string()
    }

    fn is_pooled(&self) -> bool {
        true
    }
}
