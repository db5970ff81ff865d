//! A connection with what was prepared on it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use postgres::types::{FromSql, ToSql, Type};
use postgres::{Client, Row, Statement};

use super::borrowed::Borrowed;
use super::session::{Backend, Session};
use super::settings::{self, Setting};
use super::statement::{Sql, quote_identifier};
use crate::database::{Connection, ConnectionSource};
use crate::store::error::StoreError;
use crate::store::row::{get, unreadable};

const END_BACKEND: Sql = Sql::new(
    "end a lost session",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE pid = $1 AND extract(epoch FROM backend_start)::text = $2",
);

/// A parameter with its type, for a statement that is not prepared.
type Typed<'a> = (&'a (dyn ToSql + Sync), Type);

/// How long [`Store::end_backend`] waits for a backend to be gone.
const BACKEND_END_MAX: Duration = Duration::from_secs(5);

/// How long a statement of the engine's waits for somebody's lock, as PostgreSQL writes it. Locks of nodes among one
/// another, and of what people do to processes, last for some milliseconds. Of what is locked for longer the statement is
/// made anew without it, see [`crate::store::locks`]: until then all others of the batch have waited.
const LOCK_TIMEOUT: &str = "'250ms'";

/// What some verbs set on their session (`outlast`, `announce_room`).
const SET_LATER: [&str; 4] =
    ["tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"];

/// One connection with its prepared statements; every verb is a method of it.
pub struct Store {
    pub(in crate::store) connection: Connection,
    pub(in crate::store) backend: Option<Backend>,
    is_pooled: bool,
    pub(in crate::store) schema: String,
    prepared: HashMap<&'static str, Statement>,
    /// Takes back what was set on a session that goes back to a pool, which is not ours.
    restore: String,
    /// Of a connection through a pooler that lends sessions for one transaction at a time.
    pub(in crate::store) borrowed: Option<Borrowed>,
}

impl Store {
    /// Connects as `role`, which shows in the database as part of the application name.
    ///
    /// # Errors
    /// When no connection can be had.
    pub fn open(source: &dyn ConnectionSource, role: &str, schema: &str) -> Result<Self, StoreError> {
        // Lists have conditions that fold away only when their parameters are planned as constants. And none of them
        // runs long enough for its compilation to pay.
        let settings = &[("plan_cache_mode", "force_custom_plan"), ("jit", "off")];
        Self::connect(source, role, schema, settings, None)
    }

    /// Connects for the engine's own statements, which run thousands of times a second.
    ///
    /// They are joins by key on tables that grow under them: a plan made while these were small must not scan
    /// them once they are large. And planning them takes longer than running them: one generic plan each.
    ///
    /// `turn` is the caller's own number, the same at each of its connections: see [`super::borrowed`] for what it is for.
    ///
    /// Its statements have limits of their own: `statement_timeout` and the one for locks.
    ///
    /// # Errors
    /// When no connection can be had.
    pub(crate) fn open_hot(
        source: &dyn ConnectionSource,
        role: &str,
        schema: &str,
        turn: i32,
        statement_timeout: Duration,
    ) -> Result<Self, StoreError> {
        let timeout = statement_timeout.as_millis().to_string();
        let settings = &[
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
            ("statement_timeout", &*timeout),
            ("lock_timeout", LOCK_TIMEOUT),
        ];
        Self::connect(source, role, schema, settings, Some(turn))
    }

    fn connect(
        source: &dyn ConnectionSource,
        role: &str,
        schema: &str,
        own: &[Setting<'_>],
        turn: Option<i32>,
    ) -> Result<Self, StoreError> {
        let mut connection = source.connect(role)?;
        let session = Session::of(&mut connection, source)?;
        // A pool's or a pooler's session may hold temporary tables of others: they come last.
        let path = format!("{}, pg_temp", quote_identifier(schema));
        let own = std::iter::once(("search_path", path.as_str())).chain(own.iter().copied());
        let version = session.version;
        let borrowed = session
            .is_borrowed
            .then(|| Borrowed::new(settings::of_transactions(version).chain(own.clone()), turn));
        if borrowed.is_none() {
            let all = settings::statements(settings::of_sessions(version).chain(own.clone()));
            connection
                .batch_execute(&all)
                .map_err(|source| StoreError::database("prepare a connection", source))?;
        }
        let names = settings::of_sessions(version).chain(own).map(|(name, _)| name).chain(SET_LATER);
        let restore: String = names.map(|name| format!("RESET {name}; ")).collect();
        Ok(Self {
            restore: format!("{restore}SELECT pg_advisory_unlock_all()"),
            connection,
            backend: session.backend,
            is_pooled: source.is_pooled(),
            schema: schema.to_owned(),
            prepared: HashMap::new(),
            borrowed,
        })
    }

    /// Whether a pooler gives this connection's session to others between transactions (PgBouncer's transaction
    /// mode): there are no session locks and no notifications then.
    pub fn borrows_sessions(&self) -> bool {
        self.borrowed.is_some()
    }

    /// The server's side of this connection; `None` where the server does not show it.
    pub(crate) fn backend(&self) -> Option<Backend> {
        self.backend.clone()
    }

    /// Makes sure that the server's side of an earlier connection has ended, and with it whatever statement it was
    /// at: only then is it settled what that did.
    ///
    /// # Errors
    /// When the database fails, or the backend is still there after a few seconds.
    pub(crate) fn end_backend(&mut self, lost: &Backend) -> Result<(), StoreError> {
        let deadline = Instant::now() + BACKEND_END_MAX;
        while self.query_opt(&END_BACKEND, &[&lost.pid, &lost.began])?.is_some() {
            if Instant::now() >= deadline {
                return Err(StoreError::BackendStays { pid: lost.pid });
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Has the server end every later statement of this connection that takes longer; in whole milliseconds.
    pub fn set_statement_timeout(&mut self, timeout: Duration) -> Result<(), StoreError> {
        let millis = timeout.as_millis().to_string();
        if let Some(borrowed) = &mut self.borrowed {
            borrowed.set("statement_timeout", &millis);
            return Ok(());
        }
        // SET takes no parameters; a number needs no quoting.
        self.connection
            .batch_execute(&format!("SET statement_timeout = {millis}"))
            .map_err(|source| StoreError::database("set the statement timeout", source))
    }

    /// Asks the server for a sign of life, before something that can't be asked twice.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(crate) fn ping(&mut self) -> Result<(), StoreError> {
        self.connection.batch_execute("").map_err(|source| StoreError::database("reach the server", source))
    }

    /// The schema it works in.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Whether the connection is known to be lost.
    pub fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// Does `work` in one transaction; `action` is for a failure of its begin or end.
    pub(in crate::store) fn in_transaction<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        settled(self.up_to_commit(action, None, work)?)
    }

    /// The same, but that it fails when a lock is not to be had within `lock_wait`.
    pub(in crate::store) fn in_bounded_transaction<T>(
        &mut self,
        action: &'static str,
        lock_wait: Duration,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        settled(self.up_to_commit(action, Some(lock_wait), work)?)
    }

    /// The same as either, with what `work` has done beside a failure of the commit alone: if that is a lost connection,
    /// nobody knows yet whether it was committed.
    pub(in crate::store) fn up_to_commit<T, E: From<StoreError>>(
        &mut self,
        action: &'static str,
        lock_wait: Option<Duration>,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<(T, Option<StoreError>), E> {
        let failed = |source| StoreError::database(action, source);
        let begin = self.borrowed.as_ref().map_or("BEGIN", Borrowed::begin);
        let begin = match lock_wait {
            Some(wait) => format!("{begin}; SET LOCAL lock_timeout = {}", wait.as_millis()),
            None => begin.to_owned(),
        };
        let begun =
            self.connection.batch_execute(&begin).map_err(|source| StoreError::beginning(action, source));
        let begun = begun.map_err(E::from);
        self.mark_transaction(true);
        let result = begun.and_then(|()| work(self));
        self.mark_transaction(false);
        match result {
            Ok(done) => Ok((done, self.connection.batch_execute("COMMIT").map_err(failed).err())),
            Err(error) => {
                // The first error is the one to tell; a connection that can't roll back is lost anyway.
                if let Err(also) = self.connection.batch_execute("ROLLBACK") {
                    log::debug!("a transaction was not rolled back: {also}");
                }
                Err(error)
            }
        }
    }

    fn mark_transaction(&mut self, is_open: bool) {
        if let Some(borrowed) = &mut self.borrowed {
            borrowed.is_in_transaction = is_open;
        }
    }

    pub(in crate::store) fn prepare(&mut self, sql: &Sql) -> Result<Statement, StoreError> {
        match self.prepared.entry(sql.text) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(place) => {
                let statement = self
                    .connection
                    .prepare(sql.text)
                    .map_err(|source| StoreError::database(sql.action, source))?;
                Ok(place.insert(statement).clone())
            }
        }
    }

    pub(in crate::store) fn query(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        if self.borrowed.is_some() {
            return self.on_borrowed(sql, params, Client::query_typed);
        }
        let statement = self.prepare(sql)?;
        self.connection.query(&statement, params).map_err(|source| StoreError::database(sql.action, source))
    }

    pub(in crate::store) fn query_opt(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, params)?.into_iter().next())
    }

    /// The row of a statement that always gives one; `what` is for the failure of one that doesn't.
    pub(in crate::store) fn query_one(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
        what: &str,
    ) -> Result<Row, StoreError> {
        self.query_opt(sql, params)?.ok_or_else(|| unreadable(what, "no row"))
    }

    /// One column of all rows.
    pub(in crate::store) fn query_column<T: for<'a> FromSql<'a>>(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
        column: &str,
        what: &str,
    ) -> Result<Vec<T>, StoreError> {
        self.query(sql, params)?.iter().map(|row| get(row, column, what)).collect()
    }

    pub(in crate::store) fn execute(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, StoreError> {
        if self.borrowed.is_some() {
            return self.on_borrowed(sql, params, Client::execute_typed);
        }
        let statement = self.prepare(sql)?;
        self.connection.execute(&statement, params).map_err(|source| StoreError::database(sql.action, source))
    }

    /// Sends a statement unnamed, in a transaction of its own unless one is open.
    fn on_borrowed<T>(
        &mut self,
        sql: &Sql,
        params: &[&(dyn ToSql + Sync)],
        send: fn(&mut Client, &str, &[Typed<'_>]) -> Result<T, postgres::Error>,
    ) -> Result<T, StoreError> {
        let Self { connection, borrowed: Some(borrowed), .. } = self else {
            return Err(unreadable("a connection", "it has a session of its own"));
        };
        if !borrowed.is_in_transaction {
            return self.in_transaction(sql.action, |store| store.on_borrowed(sql, params, send));
        }
        let types = borrowed.types_of(connection, sql)?;
        let typed: Vec<_> = params.iter().copied().zip(types.iter().cloned()).collect();
        send(connection, sql.text, &typed).map_err(|source| StoreError::database(sql.action, source))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // A connection of our own ends here; one of a pool goes back to its owner as it came.
        if self.is_pooled
            && self.borrowed.is_none()
            && !self.connection.is_closed()
            && let Err(error) = self.connection.batch_execute(&self.restore)
        {
            log::debug!("a pool's connection goes back with our settings: {error}");
        }
    }
}

/// What a transaction has done, or why its commit failed.
fn settled<T>((done, failure): (T, Option<StoreError>)) -> Result<T, StoreError> {
    failure.map_or(Ok(done), Err)
}
