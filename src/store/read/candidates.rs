//! Names and ids that begin so, each with a word about it: what a shell offers while somebody types.

use postgres::Row;

use crate::model::lifecycle::ProcessStatus;
use crate::store::row::get;
use crate::store::{Sql, Store, StoreError};

const TYPES: Sql = Sql::new(
    "read the names of process types",
    "SELECT name, CASE WHEN paused THEN 'paused' ELSE '' END AS about FROM process_types \
     WHERE starts_with(name, $1) ORDER BY name LIMIT $2::bigint",
);
const NODES: Sql = Sql::new(
    "read the names of nodes",
    "SELECT name, min(CASE WHEN state = 'RUNNING' THEN ' RUNNING' ELSE state END) AS about FROM nodes \
     WHERE starts_with(name, $1) GROUP BY name ORDER BY max(last_heartbeat) DESC LIMIT $2::bigint",
);
const TASKS: Sql = Sql::new(
    "read the names of tasks",
    "SELECT name, status AS about, task_index FROM all_tasks WHERE process_id = $1 AND era = (SELECT era FROM processes WHERE process_id = $1) \
     UNION ALL SELECT task ->> 'name', '', (task ->> 'task_index')::integer \
     FROM process_types, jsonb_array_elements(tasks) AS task WHERE process_types.name = $2 ORDER BY task_index",
);
const IDS: Sql = Sql::new("read the newest ids", include_str!("../../../sql/read/newest_ids.sql"));

/// Those that were created last among which ids in a status are looked for.
const NEWEST_MAX: i64 = 2_000;

/// A name, and a word about it.
type Pair = (String, String);

impl Store {
    /// Process types whose names begin so.
    pub fn type_names(&mut self, prefix: &str, limit: u32) -> Result<Vec<Pair>, StoreError> {
        pairs(&self.query(&TYPES, &[&prefix, &i64::from(limit)])?)
    }

    /// Nodes whose names begin so, the last heard of first.
    pub fn node_names(&mut self, prefix: &str, limit: u32) -> Result<Vec<Pair>, StoreError> {
        pairs(&self.query(&NODES, &[&prefix, &i64::from(limit)])?)
    }

    /// Tasks of a process, or of a process type.
    pub fn task_names(
        &mut self,
        process_id: Option<&str>,
        process_type: Option<&str>,
    ) -> Result<Vec<Pair>, StoreError> {
        pairs(&self.query(&TASKS, &[&process_id, &process_type])?)
    }

    /// Processes whose ids begin so, the newest first, with their types and statuses. Those in a status are looked for
    /// among the newest: all that were started lately, not all there are.
    pub fn newest_ids(
        &mut self,
        prefix: &str,
        statuses: &[ProcessStatus],
        limit: u32,
    ) -> Result<Vec<Pair>, StoreError> {
        let words: Option<Vec<&str>> =
            (!statuses.is_empty()).then(|| statuses.iter().map(|it| it.as_str()).collect());
        let has_error = |it: &ProcessStatus| matches!(it, ProcessStatus::Failed | ProcessStatus::Cancelled);
        let with_error = !statuses.is_empty() && statuses.iter().all(has_error);
        let pattern = format!("{}%", super::filter::literal(prefix));
        pairs(&self.query(&IDS, &[&pattern, &words, &with_error, &NEWEST_MAX, &i64::from(limit)])?)
    }
}

fn pairs(rows: &[Row]) -> Result<Vec<Pair>, StoreError> {
    rows.iter().map(|row| Ok((get(row, "name", "a name")?, get(row, "about", "a name")?))).collect()
}
