//! Who is in the way of a process, a node or a session.

use std::time::Duration;

use postgres::Row;

use crate::model::explain::blocker::Blocker;
use crate::store::locks::{Beside, Rows};
use crate::store::row::{get, seconds};
use crate::store::{Sql, Store, StoreError};

const ROWS: Sql = Sql::new("see who is in the way", include_str!("../../../sql/read/blockers.sql"));
const SILENT_NODES: Sql = Sql::new(
    "see which nodes are not heard of",
    "SELECT node_id FROM nodes WHERE state IN ('RUNNING', 'STOPPING') AND last_heartbeat <= \
     clock_timestamp() - coalesce(dead_after_seconds, 10) * interval '1 second' LIMIT 100",
);
const SESSIONS: Sql = Sql::new("see who is in the way", include_str!("../../../sql/schema/blockers.sql"));

const LOCKED: Sql =
    Sql::new("look for locked rows", include_str!("../../../sql/schema/locked_processes.sql"));

/// A transaction that has locked a row for less is most likely a node's, and over before anybody has looked.
const OLD: Duration = Duration::from_millis(200);

impl Store {
    /// Unfinished processes, at most `limit`, of which a transaction has locked rows for at least `time`.
    pub fn locked_processes(&mut self, time: Duration, limit: i64) -> Result<Vec<String>, StoreError> {
        self.query_column(&LOCKED, &[&time.as_secs_f64(), &limit], "id", "a process")
    }

    /// The sessions whose locks keep a process from going on. Whether they do is tried, where this role may.
    pub fn who_holds_up(&mut self, process_id: &str) -> Result<Vec<Blocker>, StoreError> {
        let lockers = self.who_locks(&[process_id])?.into_iter().map(|it| it.1);
        let lockers: Vec<Blocker> = lockers.filter(|it| it.age.is_none_or(|age| age >= OLD)).collect();
        if lockers.is_empty() {
            return Ok(lockers);
        }
        let tried = self.beside_locks(&[Rows::of_process(process_id)], |_, free| Ok(free.is_empty()));
        Ok(match tried {
            // Locks that stand in nobody's way.
            Ok(Beside::Done { done: false, .. }) => Vec::new(),
            _ => lockers,
        })
    }

    /// The sessions that lock rows of these processes, each with its process, whether or not anybody waits for them.
    /// One that holds rows back from deletion only (a foreign key of somebody's own table) may be among them.
    pub fn who_locks(&mut self, processes: &[&str]) -> Result<Vec<(String, Blocker)>, StoreError> {
        self.who_locks_rows(processes, false)
    }

    /// The same, with those that lock rows of their trail, as who deletes them has to know.
    pub fn who_locks_all(&mut self, processes: &[&str]) -> Result<Vec<(String, Blocker)>, StoreError> {
        self.who_locks_rows(processes, true)
    }

    fn who_locks_rows(
        &mut self,
        processes: &[&str],
        with_trail: bool,
    ) -> Result<Vec<(String, Blocker)>, StoreError> {
        let rows = self.query(&ROWS, &[&processes, &Vec::<&str>::new(), &with_trail])?;
        rows.iter().map(|row| Ok((get(row, "id", WHAT)?, read(row)?))).collect()
    }

    /// The sessions that lock this node's row.
    pub fn who_locks_node(&mut self, node: &str) -> Result<Vec<Blocker>, StoreError> {
        self.query(&ROWS, &[&Vec::<&str>::new(), &[node].as_slice(), &false])?.iter().map(read).collect()
    }

    /// The sessions that lock rows of nodes which have not ended and are not heard of.
    pub fn who_locks_silent_nodes(&mut self) -> Result<Vec<Blocker>, StoreError> {
        let nodes: Vec<String> = self.query_column(&SILENT_NODES, &[], "node_id", "a node")?;
        let rows = self.query(&ROWS, &[&Vec::<&str>::new(), &nodes, &false])?;
        let mut found: Vec<Blocker> = Vec::new();
        for row in &rows {
            let one = read(row)?;
            // One transaction may have locked the rows of many.
            if !found.iter().any(|it| (it.pid, &it.prepared) == (one.pid, &one.prepared)) {
                found.push(one);
            }
        }
        Ok(found)
    }

    /// The sessions that the session of this process of the server waits for.
    pub fn who_blocks(&mut self, pid: i32) -> Result<Vec<Blocker>, StoreError> {
        self.of_kind("session", Some(pid))
    }

    /// The sessions that hold a lock on a whole table of the schema which stops writers.
    pub fn who_locks_tables(&mut self) -> Result<Vec<Blocker>, StoreError> {
        self.of_kind("table", None)
    }

    /// The sessions that have written to the trail and not committed. What such a row keeps others from writing is seen
    /// by nobody until it is committed.
    pub fn who_writes_the_trail(&mut self) -> Result<Vec<Blocker>, StoreError> {
        self.of_kind("trail", None)
    }

    fn of_kind(&mut self, kind: &str, pid: Option<i32>) -> Result<Vec<Blocker>, StoreError> {
        let rows = self.query(&SESSIONS, &[&pid])?;
        of_kind(&rows, kind).map(read).collect()
    }
}

const WHAT: &str = "a session";

/// Those of one kind.
pub(in crate::store) fn of_kind<'a>(rows: &'a [Row], kind: &'a str) -> impl Iterator<Item = &'a Row> {
    rows.iter().filter(move |row| get::<&str>(row, "kind", WHAT).is_ok_and(|it| it == kind))
}

/// Reads one.
pub(in crate::store) fn read(row: &Row) -> Result<Blocker, StoreError> {
    Ok(Blocker {
        place: get(row, "place", WHAT)?,
        pid: get(row, "pid", WHAT)?,
        prepared: get(row, "prepared", WHAT)?,
        application: get(row, "application", WHAT)?,
        user: get(row, "user_name", WHAT)?,
        client: get(row, "client", WHAT)?,
        state: get(row, "state", WHAT)?,
        since: get(row, "since", WHAT)?,
        age: get::<Option<f64>>(row, "age_s", WHAT)?.map(seconds),
        query: get(row, "query", WHAT)?,
    })
}
