//! The session lock that tells other nodes that this one lives.

use std::time::{Duration, Instant};

use log::{info, warn};

use crate::engine::session::Session;
use crate::store::{Store, StoreError};

/// The server is asked to keep the lock's session for this much longer than the lease.
const OUTLAST_MARGIN: Duration = Duration::from_secs(30);
/// Keys that are tried before it is believed that no lock can be had.
const KEYS_MAX: u32 = 8;

pub(crate) struct NodeLock {
    key: i32,
    state: State,
    connected_since: Option<Instant>,
    /// Which of the session's connections that is.
    connection: u64,
    /// That there is no lock was logged.
    is_told: bool,
}

/// The lock as the present connection sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not asked for on this connection.
    Untried,
    /// This connection holds it; the others know that once a heartbeat of this connection has said so.
    Held { is_announced: bool },
    /// No lock is possible: a pooler lends us a session for each transaction, or nobody could see it. Only the lease decides.
    Unavailable,
}

impl NodeLock {
    pub(crate) fn new(key: i32) -> Self {
        Self { key, state: State::Untried, connected_since: None, connection: 0, is_told: false }
    }

    /// Takes it unless this connection has it.
    pub(crate) fn take(&mut self, session: &mut Session, lease: Duration) -> Result<(), StoreError> {
        if self.is_of_another_connection(session) {
            (self.state, self.connected_since) = (State::Untried, None);
        }
        if self.state != State::Untried {
            return Ok(());
        }
        let (taken, is_borrowed) = session.query(|store| {
            store.outlast(lease + OUTLAST_MARGIN)?;
            let is_borrowed = store.borrows_sessions();
            Ok((if is_borrowed { None } else { take_free_key(store, self.key)? }, is_borrowed))
        })?;
        self.state = taken.map_or(State::Unavailable, |_| State::Held { is_announced: false });
        self.key = taken.unwrap_or(self.key);
        self.connected_since = Some(Instant::now());
        self.connection = session.connections();
        // Of a pooler the node has told at its start.
        match taken {
            None if !is_borrowed && !self.is_told => {
                self.is_told = true;
                warn!(
                    "the database shows no advisory locks in pg_locks, or takes none: a node that dies on another host is \
                     taken over when its lease of {} s is over",
                    lease.as_secs_f32()
                );
            }
            Some(_) if self.is_told => {
                self.is_told = false;
                info!("the database shows advisory locks again");
            }
            _ => {}
        }
        Ok(())
    }

    /// A heartbeat has told the others which session holds it.
    pub(crate) fn announced(&mut self) {
        if let State::Held { is_announced } = &mut self.state {
            *is_announced = true;
        }
    }

    /// The row of this node is a new one, which knows of no session.
    pub(crate) fn forgotten(&mut self) {
        if let State::Held { is_announced } = &mut self.state {
            *is_announced = false;
        }
    }

    /// Where the others look for the lock; `None` where there can be none.
    pub(crate) fn key(&self) -> Option<i32> {
        (self.state != State::Unavailable).then_some(self.key)
    }

    /// Whether the session that held the lock is gone, and the others know of no other that holds it.
    pub(crate) fn is_lost(&self, session: &Session) -> bool {
        self.state != State::Unavailable
            && (self.state != State::Held { is_announced: true } || self.is_of_another_connection(session))
    }

    /// A round may lose its connection and open another before it ends.
    fn is_of_another_connection(&self, session: &Session) -> bool {
        !session.is_open() || session.connections() != self.connection
    }

    pub(crate) fn connected_for(&self) -> Duration {
        self.connected_since.map_or(Duration::ZERO, |at| at.elapsed())
    }
}

/// The key that was taken, `first` if it is free: a session of ours that the server has not ended yet may hold that, or
/// anybody who may connect. `None` if nobody could see that we hold one.
fn take_free_key(store: &mut Store, first: i32) -> Result<Option<i32>, StoreError> {
    let mut key = first;
    for _ in 0..KEYS_MAX {
        if store.take_node_lock(key)? {
            if store.sees_node_lock(key)? {
                return Ok(Some(key));
            }
            store.drop_node_lock(key)?;
            return Ok(None);
        }
        key = fastrand::i32(..);
    }
    Ok(None)
}
