//! The session lock that tells other nodes that this one lives.

use std::time::{Duration, Instant};

use log::debug;

use crate::engine::session::Session;
use crate::store::StoreError;

/// The server is asked to keep the lock's session for this much longer than the lease.
const OUTLAST_MARGIN: Duration = Duration::from_secs(30);

pub(crate) struct NodeLock {
    key: i32,
    state: State,
    connected_since: Option<Instant>,
    /// Which of the session's connections that is.
    connection: u64,
}

/// The lock as the present connection sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not asked for on this connection.
    Untried,
    /// This connection holds it.
    Held,
    /// A session of ours that the server still keeps holds it.
    Elsewhere,
    /// A pooler lends us a session for each transaction: no lock is possible, only the lease decides.
    Unavailable,
}

impl NodeLock {
    pub(crate) fn new(key: i32) -> Self {
        Self { key, state: State::Untried, connected_since: None, connection: 0 }
    }

    /// Takes it unless this connection has it.
    pub(crate) fn take(&mut self, session: &mut Session, lease: Duration) -> Result<(), StoreError> {
        if self.is_of_another_connection(session) {
            (self.state, self.connected_since) = (State::Untried, None);
        }
        if matches!(self.state, State::Held | State::Unavailable) {
            return Ok(());
        }
        let (key, was_untried) = (self.key, self.state == State::Untried);
        self.state = session.query(|store| {
            if was_untried {
                store.outlast(lease + OUTLAST_MARGIN)?;
            }
            if store.borrows_sessions() {
                return Ok(State::Unavailable);
            }
            Ok(if store.take_node_lock(key)? { State::Held } else { State::Elsewhere })
        })?;
        self.connected_since.get_or_insert_with(Instant::now);
        self.connection = session.connections();
        if self.state == State::Elsewhere && was_untried {
            debug!("a session of ours that the server has not ended yet holds the node's lock");
        }
        Ok(())
    }

    /// Where the others look for the lock; `None` where there can be none.
    pub(crate) fn key(&self) -> Option<i32> {
        (self.state != State::Unavailable).then_some(self.key)
    }

    /// Whether the session that held the lock is gone, and no other holds it yet.
    pub(crate) fn is_lost(&self, session: &Session) -> bool {
        self.state != State::Unavailable
            && (self.state == State::Untried || self.is_of_another_connection(session))
    }

    /// A round may lose its connection and open another before it ends.
    fn is_of_another_connection(&self, session: &Session) -> bool {
        !session.is_open() || session.connections() != self.connection
    }

    pub(crate) fn connected_for(&self) -> Duration {
        self.connected_since.map_or(Duration::ZERO, |at| at.elapsed())
    }
}
