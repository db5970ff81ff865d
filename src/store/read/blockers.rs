//! Who is in the way of a process, a node or a session.

use postgres::Row;

use crate::model::explain::blocker::Blocker;
use crate::store::row::{get, seconds};
use crate::store::{Sql, Store, StoreError};

const BLOCKERS: Sql = Sql::new("see who is in the way", include_str!("../../../sql/read/blockers.sql"));

impl Store {
    /// The sessions that lock rows of these processes, each with its process, whether or not anybody waits for them.
    /// One that holds rows back from deletion only (a foreign key of somebody's own table) may be among them.
    pub fn who_locks(&mut self, processes: &[&str]) -> Result<Vec<(String, Blocker)>, StoreError> {
        let rows = self.query(&BLOCKERS, &[&processes, &Vec::<&str>::new(), &None::<i32>])?;
        of_kind(&rows, "process").map(|row| Ok((get(row, "id", WHAT)?, read(row)?))).collect()
    }

    /// The sessions that lock this node's row.
    pub fn who_locks_node(&mut self, node: &str) -> Result<Vec<Blocker>, StoreError> {
        let rows = self.query(&BLOCKERS, &[&Vec::<&str>::new(), &[node].as_slice(), &None::<i32>])?;
        of_kind(&rows, "node").map(read).collect()
    }

    /// The sessions that the session of this process of the server waits for.
    pub fn who_blocks(&mut self, pid: i32) -> Result<Vec<Blocker>, StoreError> {
        let rows = self.query(&BLOCKERS, &[&Vec::<&str>::new(), &Vec::<&str>::new(), &Some(pid)])?;
        of_kind(&rows, "session").map(read).collect()
    }

    /// The sessions that hold a lock on a whole table of the schema which stops writers.
    pub fn who_locks_tables(&mut self) -> Result<Vec<Blocker>, StoreError> {
        let rows = self.query(&BLOCKERS, &[&Vec::<&str>::new(), &Vec::<&str>::new(), &None::<i32>])?;
        of_kind(&rows, "table").map(read).collect()
    }

    /// The sessions that have written to the trail and not committed. What such a row keeps others from writing is seen
    /// by nobody until it is committed.
    pub fn who_writes_the_trail(&mut self) -> Result<Vec<Blocker>, StoreError> {
        let rows = self.query(&BLOCKERS, &[&Vec::<&str>::new(), &Vec::<&str>::new(), &None::<i32>])?;
        of_kind(&rows, "trail").map(read).collect()
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
