//! Whose session a connection leads to.
//!
//! PgBouncer and its like pass the sessions of the server on. In session mode one is ours until we disconnect, and
//! all is as without a pooler. In transaction mode it goes to somebody else after every transaction: settings that we
//! leave on it reach strangers, and what we prepared, locked or listen to is on a session that we have lost.
//!
//! That there is a pooler is seen for certain: the server knows what a client says at the start of a session, and
//! that was the pooler (`sql/schema/session.sql`). In which mode it is it does not say; it is tried, see
//! [`gives_sessions_away`]. Where that can't be done, the mode in which everything works is assumed: transaction.

use std::time::Duration;

use postgres::SimpleQueryMessage;

use super::settings;
use crate::database::{Connection, ConnectionSource, Pooler};
use crate::store::error::StoreError;

const SESSION: &str = include_str!("../../../sql/schema/session.sql");

/// The server's side of a connection: its process and when that began, which tells it from a later one of the
/// same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    pub(in crate::store) pid: i32,
    /// Seconds since 1970, as the server wrote them.
    pub(super) began: String,
}

/// What a connection leads to.
pub(crate) struct Session {
    /// The server's side, where it shows it; of a borrowed session it says nothing about the next transaction.
    pub(super) backend: Option<Backend>,
    /// The server's, such as 150018.
    pub(super) version: u32,
    /// It is ours for one transaction at a time.
    pub(crate) is_borrowed: bool,
}

/// What the server says.
struct Facts {
    backend: Option<Backend>,
    version: u32,
    /// The session began with what our client said.
    is_ours: bool,
}

impl Session {
    /// Asks the server, and tries a pooler if there is one: once for each source that can remember it.
    pub(crate) fn of(connection: &mut Connection, source: &dyn ConnectionSource) -> Result<Self, StoreError> {
        let facts = Facts::ask(connection, source.is_pooled())?;
        let is_borrowed = match source.pooler() {
            Pooler::None | Pooler::Session => false,
            Pooler::Transaction => true,
            Pooler::Auto if facts.is_ours => false,
            Pooler::Auto => match source.gives_sessions_away() {
                // A pool of somebody else's may have no second connection to try it with.
                None => true,
                Some(known) => match known.get() {
                    Some(&known) => known,
                    None => {
                        let found = gives_sessions_away(connection, source)?;
                        *known.get_or_init(|| found)
                    }
                },
            },
        };
        Ok(Self { backend: facts.backend.filter(|_| !is_borrowed), version: facts.version, is_borrowed })
    }

    /// The statements that keep a session of our own from what others have set, where there is no
    /// [`Store`](super::store::Store) to do it.
    pub(crate) fn settings(&self) -> String {
        settings::statements(settings::of_sessions(self.version))
    }
}

impl Facts {
    /// Of a pool the connection's name is its owner's affair, and may have been set at any time.
    fn ask(connection: &mut Connection, is_pooled: bool) -> Result<Self, StoreError> {
        let answers = connection
            .simple_query(SESSION)
            .map_err(|source| StoreError::database("look at a connection", source))?;
        let row = answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let field = |at: usize| row.and_then(|row| row.try_get(at).ok().flatten());
        let backend = || Some(Backend { pid: field(0)?.parse().ok()?, began: field(1)?.to_owned() });
        let is_encoding_ours = field(2) == Some("client");
        // A pooler may have been told an encoding of its own; the name it passes on afterwards.
        let is_name_set_later = !is_pooled && field(3) == Some("session");
        let version = field(4).and_then(|number| number.parse().ok()).unwrap_or(0);
        Ok(Self { backend: backend(), version, is_ours: is_encoding_ours && !is_name_set_later })
    }
}

/// How often it is tried: others' transactions may come in between and have us get our session back by chance.
const ROUNDS: usize = 6;
/// How long a pooler may take to give us a second session.
const SECOND_SESSION_MAX: Duration = Duration::from_secs(5);

/// Whether a pooler gives our session away between two transactions: two connections hold one each, give them back
/// one after the other, and the first then looks which one it has got. A pooler that gives out the one that came
/// back last shows itself in one order, one that gives out the one that has rested longest in the other.
fn gives_sessions_away(ours: &mut Connection, source: &dyn ConnectionSource) -> Result<bool, StoreError> {
    let failed = |cause| StoreError::database("find out how the pooler works", cause);
    let mut other = source.connect("pooler")?;
    for round in 0..ROUNDS {
        let mine = match backend_in(ours, "BEGIN") {
            Err(cause) if refuses_transactions(source)? => {
                return Err(StoreError::StatementPooling { source: cause });
            }
            begun => begun.map_err(failed)?,
        };
        // With no session left for a second client it can't be told; nor could the engine work in session mode.
        if other.is_valid(SECOND_SESSION_MAX).is_err() {
            ours.batch_execute("ROLLBACK").map_err(failed)?;
            return Ok(true);
        }
        backend_in(&mut other, "BEGIN").map_err(failed)?;
        let order = if round % 2 == 0 { [&mut *ours, &mut other] } else { [&mut other, &mut *ours] };
        for connection in order {
            connection.batch_execute("COMMIT").map_err(failed)?;
        }
        if backend_in(ours, "").map_err(failed)? != mine {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a pooler answers a statement and ends the connection at the begin of a transaction, as PgBouncer does in statement
/// mode: with a reason that the client library does not pass on.
fn refuses_transactions(source: &dyn ConnectionSource) -> Result<bool, StoreError> {
    let mut other = source.connect("pooler")?;
    Ok(backend_in(&mut other, "").is_ok() && backend_in(&mut other, "BEGIN").is_err())
}

/// The process of the server that answers, after `first`.
fn backend_in(connection: &mut Connection, first: &str) -> Result<Option<String>, postgres::Error> {
    let answers = connection.simple_query(&format!("{first}; SELECT pg_backend_pid()"))?;
    Ok(answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten().map(str::to_owned),
        _ => None,
    }))
}
