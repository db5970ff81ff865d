//! The nodes that there are and were.

use postgres::Row;

use crate::model::records::NodeData;
use crate::store::row::{Listed, get, listed, time, word};
use crate::store::{Sql, Store, StoreError};

const NODES: Sql = Sql::new(
    "read the nodes",
    "SELECT node_id, left(name, 1000) AS name, left(host, 1000) AS host, pid, version, executors, state, started_at, last_heartbeat, \
     coalesce(heartbeat_seconds, 2) AS heartbeat_seconds, coalesce(dead_after_seconds, 10) AS dead_after_seconds FROM nodes \
     WHERE state = ANY($2) OR state <> ALL ('{RUNNING,STOPPING,STOPPED,DEAD}') ORDER BY started_at DESC, node_id LIMIT $1",
);

/// Every state of a node.
const NODE_STATES: [&str; 4] = ["RUNNING", "STOPPING", "STOPPED", "DEAD"];

impl Store {
    /// The latest nodes, those that have ended included.
    pub fn nodes(&mut self, limit: u32) -> Result<Listed<NodeData>, StoreError> {
        self.nodes_in(limit, &NODE_STATES)
    }

    /// The latest of the nodes that run or are about to stop.
    pub fn running_nodes(&mut self, limit: u32) -> Result<Listed<NodeData>, StoreError> {
        self.nodes_in(limit, &["RUNNING", "STOPPING"])
    }

    fn nodes_in(&mut self, limit: u32, states: &[&str]) -> Result<Listed<NodeData>, StoreError> {
        Ok(listed(&self.query(&NODES, &[&i64::from(limit), &states])?, read_node))
    }
}

fn read_node(row: &Row) -> Result<NodeData, StoreError> {
    let node_id: String = get(row, "node_id", "a node")?;
    let what = format!("node \"{node_id}\"");
    Ok(NodeData {
        name: get(row, "name", &what)?,
        host: get(row, "host", &what)?,
        pid: get(row, "pid", &what)?,
        version: get(row, "version", &what)?,
        executors: get(row, "executors", &what)?,
        state: word(row, "state", &what, |state| NODE_STATES.contains(&state).then(|| state.to_owned()))?,
        started_at: time(row, "started_at", &what)?,
        last_heartbeat: time(row, "last_heartbeat", &what)?,
        heartbeat_seconds: get(row, "heartbeat_seconds", &what)?,
        dead_after_seconds: get(row, "dead_after_seconds", &what)?,
        node_id,
    })
}
