//! A session whose lock is in the way, as people are told of it.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

/// Somebody's transaction that holds a lock. What the server shows to no other role is missing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Blocker {
    /// The table whose row is locked, or which is locked as a whole; `None` where only the session is known.
    pub place: Option<String>,
    /// The server's process of the session; `None`: a prepared transaction, which belongs to none.
    pub pid: Option<i32>,
    /// The name of a prepared transaction.
    pub prepared: Option<String>,
    /// What the session calls itself.
    pub application: Option<String>,
    /// Whose it is.
    pub user: Option<String>,
    /// The address it came from; `None`: the server's own machine.
    pub client: Option<String>,
    /// Such as `idle in transaction`.
    pub state: Option<String>,
    /// When its transaction began.
    pub since: Option<Timestamp>,
    /// How long ago that was.
    #[serde(skip)]
    pub age: Option<Duration>,
    /// The beginning of its latest query.
    pub query: Option<String>,
}

impl Blocker {
    /// What ends it, as SQL.
    pub fn remedy(&self) -> String {
        match (self.pid, &self.prepared) {
            (Some(pid), _) => format!("SELECT pg_terminate_backend({pid})"),
            (None, Some(name)) => format!("ROLLBACK PREPARED '{}'", name.replace('\'', "''")),
            (None, None) => "see pg_prepared_xacts".to_owned(),
        }
    }
}

impl fmt::Display for Blocker {
    /// Such as `pid 4711 (psql, user bob, from 10.0.0.7, idle in transaction since 2026-11-29T08:00:00Z: SELECT 1)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.prepared) {
            (Some(pid), _) => write!(f, "pid {pid}")?,
            (None, Some(name)) => write!(f, "prepared transaction {name:?}")?,
            (None, None) => f.write_str("a prepared transaction")?,
        }
        let mut parts = Vec::new();
        if self.pid.is_some() {
            parts.push(self.application.clone().unwrap_or_else(|| "no application name".to_owned()));
        }
        parts.extend(self.user.as_ref().map(|user| format!("user {user}")));
        parts.extend(self.client.as_ref().map(|client| format!("from {client}")));
        parts.extend(self.state.clone());
        write!(f, " ({}", parts.join(", "))?;
        if let Some(since) = self.since {
            write!(f, " since {}", since.strftime("%FT%TZ"))?;
        }
        if let Some(query) = &self.query {
            write!(f, ": {query}")?;
        }
        f.write_str(")")
    }
}

/// So many are named: with each of many processes locked by another one the sentence would have no end.
const NAMED_MAX: usize = 4;

/// Those in the way of one thing, as a sentence has them.
pub fn named(blockers: &[Blocker]) -> String {
    let mut names: Vec<String> = blockers.iter().take(NAMED_MAX).map(Blocker::to_string).collect();
    match blockers.len() {
        0 => return "a session that is not known".to_owned(),
        all if all > NAMED_MAX => names.push(format!("{} more", all - NAMED_MAX)),
        _ => {}
    }
    names.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_a_few() {
        let one = |pid| Blocker {
            place: None,
            pid: Some(pid),
            prepared: None,
            application: Some("psql".to_owned()),
            user: None,
            client: None,
            state: None,
            since: None,
            age: None,
            query: None,
        };
        let all: Vec<Blocker> = (1..=6).map(one).collect();
        assert_eq!(named(&all[..2]), "pid 1 (psql) and pid 2 (psql)");
        assert!(named(&all).ends_with("pid 4 (psql) and 2 more"), "{}", named(&all));
        assert!(named(&all[..4]).ends_with("pid 4 (psql)"));
    }
}
