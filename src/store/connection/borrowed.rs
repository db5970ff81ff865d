//! How a [`Store`](super::store::Store) works on sessions that a pooler lends it for one transaction at a time.
//!
//! Every statement runs in a transaction of its own, which begins with our settings (`SET LOCAL`, gone with it) and
//! sends the statement unnamed: nothing is left on the session for whoever has it next. That is three round trips in
//! place of one; only through such a pooler.
//!
//! **A commit whose answer was lost.** Elsewhere the engine ends the server's side of a lost connection before it
//! asks what was recorded: only then is it settled. Here it can't know which process of the server that is. What
//! takes its place: each thread of a node has a number of its own, its *turn*, kept through all its connections, and
//! every transaction of its first takes the advisory lock of that number, to its end. So:
//!
//! 1. The statement is sent when the lock is had, and COMMIT only when the statement was answered. A connection lost
//!    before that leaves a transaction that never commits: no COMMIT is under way, and the pooler drops a session
//!    whose client goes in the middle of a transaction (or the server ends it, idle, after [`IDLE_MAX`]).
//! 2. If COMMIT is under way, that transaction holds the lock until the commit is done and seen by everybody (the
//!    server gives locks back last, also after waiting for a synchronous standby).
//! 3. The thread's next transaction, on whatever session, waits for that lock and takes its snapshot after it: it
//!    sees what the lost one did, or that it did nothing for good.
//!
//! So `recorded` and `held_claims` answer as finally as they do after the end of a backend. Should a lock be lost in
//! a way not thought of here, no double record comes of it: the claim's version fences, and the key of
//! `task_executions` refuses, a second row of the same execution.

use std::collections::HashMap;
use std::time::Duration;

use postgres::types::Type;
use postgres::{Client, SimpleQueryMessage};

use super::settings::Setting;
use super::statement::Sql;
use crate::store::error::StoreError;
use crate::store::row::unreadable;

const PARAMETER_TYPES: &str = include_str!("../../../sql/schema/parameter_types.sql");

/// The first key of the advisory locks of turns.
const TURN_CLASS: i32 = 0x504f_5431;

/// How long a transaction may stand idle before the server ends it. Between our statements is nothing but a round
/// trip; a client that was lost or stopped must not keep its turn's lock and its rows.
const IDLE_MAX: Duration = Duration::from_secs(15);

pub(in crate::store) struct Borrowed {
    settings: Vec<(String, String)>,
    turn: Option<i32>,
    /// The statements that every transaction begins with.
    begin: String,
    pub(super) is_in_transaction: bool,
    types: HashMap<&'static str, Vec<Type>>,
}

impl Borrowed {
    /// `turn` is for who has to know what became of a lost commit.
    pub(super) fn new<'a>(settings: impl Iterator<Item = Setting<'a>>, turn: Option<i32>) -> Self {
        let mut borrowed = Self {
            settings: Vec::new(),
            turn,
            begin: String::new(),
            is_in_transaction: false,
            types: HashMap::new(),
        };
        let idle = IDLE_MAX.as_millis().to_string();
        borrowed.set("idle_in_transaction_session_timeout", &idle);
        settings.for_each(|(name, value)| borrowed.set(name, value));
        borrowed
    }

    /// Sets it for every transaction from now on.
    pub(in crate::store) fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|it| it.0 != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        let set = |it: &(String, String)| format!("SET LOCAL {} = {}; ", it.0, it.1);
        self.begin = "BEGIN ISOLATION LEVEL READ COMMITTED; ".to_owned();
        if let Some(turn) = self.turn {
            // Whatever it takes: nothing is settled before.
            self.begin.push_str(&format!(
                "SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({TURN_CLASS}, {turn}); "
            ));
        }
        self.begin.extend(self.settings.iter().map(set));
    }

    pub(super) fn begin(&self) -> &str {
        &self.begin
    }

    /// The types of a statement's parameters, without which it can't be sent in one go; asked once. The name is
    /// random: others' statements may lie around on the session.
    pub(super) fn types_of(&mut self, client: &mut Client, sql: &Sql) -> Result<&[Type], StoreError> {
        if !self.types.contains_key(sql.text) {
            let name = format!("process_orchestrator_{:016x}", fastrand::u64(..));
            let question = PARAMETER_TYPES.replace("$name", &name);
            let text = sql.text;
            let answers = client
                .simple_query(&format!("PREPARE {name} AS {text}\n;{question};DEALLOCATE {name}"))
                .map_err(|source| StoreError::database(sql.action, source))?;
            let types = read_types(&answers).ok_or_else(|| {
                unreadable("the parameter types of a statement", "the server gave no list of known types")
            })?;
            self.types.insert(sql.text, types);
        }
        Ok(self.types.get(sql.text).map_or(&[], Vec::as_slice))
    }
}

/// Such as `{25,23}`.
fn read_types(answers: &[SimpleQueryMessage]) -> Option<Vec<Type>> {
    let row = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })?;
    let list = row.try_get(0).ok()??.trim_matches(['{', '}']);
    list.split(',').filter(|oid| !oid.is_empty()).map(|oid| Type::from_oid(oid.parse().ok()?)).collect()
}
