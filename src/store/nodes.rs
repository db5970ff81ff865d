//! The rows of running orchestrators.

use postgres::Row;

use super::row::{get, time};
use super::{Sql, Store, StoreError};
use crate::model::records::NodeData;

const REGISTER: Sql = Sql::new(
    "register this node",
    "INSERT INTO nodes (node_id, name, host, pid, version, executors) VALUES ($1, $2, $3, $4, $5, $6)",
);
const HEARTBEAT: Sql = Sql::new(
    "renew this node's lease",
    "UPDATE nodes SET last_heartbeat = now(), state = $2 WHERE node_id = $1 AND state <> 'DEAD'",
);
const NODES: Sql = Sql::new(
    "read the nodes",
    "SELECT node_id, name, host, pid, version, executors, state, started_at, last_heartbeat \
     FROM nodes ORDER BY started_at DESC, node_id LIMIT $1",
);

/// What a node says of itself when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Identified anew at every start.
    pub node_id: String,
    /// The name the operator gave it.
    pub name: String,
    /// The host it runs on.
    pub host: String,
    /// Its process id there.
    pub pid: i32,
    /// How many commands it runs at once.
    pub executors: i32,
}

/// The states a node gives itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// It claims.
    Running,
    /// It has stopped claiming and waits for its commands.
    Stopping,
    /// It has ended in order.
    Stopped,
}

impl NodeState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
        }
    }
}

impl Store {
    /// Inserts the row of a node that starts.
    ///
    /// # Errors
    /// When the database fails.
    pub fn register_node(&mut self, node: &NodeIdentity) -> Result<(), StoreError> {
        let version = env!("CARGO_PKG_VERSION");
        self.execute(
            &REGISTER,
            &[&node.node_id, &node.name, &node.host, &node.pid, &version, &node.executors],
        )?;
        Ok(())
    }

    /// Renews a node's lease; `false` when the node has been declared dead.
    ///
    /// # Errors
    /// When the database fails.
    pub fn heartbeat(&mut self, node_id: &str, state: NodeState) -> Result<bool, StoreError> {
        Ok(self.execute(&HEARTBEAT, &[&node_id, &state.as_str()])? > 0)
    }

    /// The latest nodes, those that have ended included.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn nodes(&mut self, limit: u32) -> Result<Vec<NodeData>, StoreError> {
        self.query(&NODES, &[&i64::from(limit)])?.iter().map(read_node).collect()
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
        state: get(row, "state", &what)?,
        started_at: time(row, "started_at", &what)?,
        last_heartbeat: time(row, "last_heartbeat", &what)?,
        node_id,
    })
}
