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
    pub(crate) fn new() -> Self {
        Self { key: fastrand::i32(..), state: State::Untried, connected_since: None }
    }

    /// Takes it unless this connection has it.
    pub(crate) fn take(&mut self, session: &mut Session, lease: Duration) -> Result<(), StoreError> {
        if !session.is_open() {
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
        self.state != State::Unavailable && (self.state == State::Untried || !session.is_open())
    }

    pub(crate) fn connected_for(&self) -> Duration {
        self.connected_since.map_or(Duration::ZERO, |at| at.elapsed())
    }
}
