//! The rows of running nodes: how they live, and how it is seen that one no longer does.

use std::time::Duration;

use jiff::Timestamp;
use postgres::Row;

use super::row::{get, seconds, time, unreadable};
use super::{Sql, Store, StoreError};

const REGISTER: Sql = Sql::new(
    "register this node",
    "INSERT INTO nodes (node_id, name, host, pid, version, executors, lease_seconds, boot_id, pid_namespace, \
     pid_started, lock_key, heartbeat_seconds, dead_after_seconds, notify_above) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0) ON CONFLICT (node_id) DO NOTHING",
);
const FORGET: Sql = Sql::new(
    "forget nodes that ended long ago",
    "DELETE FROM nodes WHERE node_id IN (SELECT n.node_id FROM nodes n WHERE n.state IN ('STOPPED', 'DEAD') \
     AND n.last_heartbeat < now() - interval '7 days' \
     AND NOT EXISTS (SELECT FROM scheduled_tasks s WHERE s.picked_by = n.node_id) FOR UPDATE SKIP LOCKED)",
);
const HEARTBEAT: Sql = Sql::new("renew this node's lease", include_str!("../../sql/nodes/heartbeat.sql"));
const REJOIN: Sql = Sql::new("rejoin", include_str!("../../sql/nodes/rejoin.sql"));
const TAKE_LOCK: Sql = Sql::new("take this node's lock", "SELECT pg_try_advisory_lock($1, $2) AS is_taken");
const DROP_LOCK: Sql = Sql::new("give this node's lock back", "SELECT pg_advisory_unlock($1, $2)");
const HOLDS_LOCK: Sql = Sql::new("look this node's lock up", include_str!("../../sql/nodes/holds_lock.sql"));
const PEERS: Sql = Sql::new("look after the other nodes", include_str!("../../sql/nodes/peers.sql"));
const DEAD_NEIGHBOURS: Sql = Sql::new(
    "look for dead nodes of this host",
    "SELECT node_id, pid, pid_started FROM nodes WHERE state = 'DEAD' AND boot_id = $1 AND pid_namespace = $2 \
     AND node_id <> ALL ($3) ORDER BY last_heartbeat DESC LIMIT 100",
);
const IS_ALIVE: Sql = Sql::new(
    "look whether this node was declared dead",
    "SELECT EXISTS (SELECT FROM nodes WHERE node_id = $1 AND state IN ('RUNNING', 'STOPPING')) AS is_alive",
);
const DECLARE_DEAD: Sql = Sql::new("declare a node dead", include_str!("../../sql/nodes/declare_dead.sql"));
const REPAIR_NODES: Sql =
    Sql::new("repair unreadable rows of nodes", include_str!("../../sql/nodes/repair_nodes.sql"));
/// Advisory locks of living nodes have this as their first key.
const LOCK_CLASS: i32 = 0x504f_4e31;

/// What a node says of itself when it starts.
#[derive(Debug, Clone, PartialEq)]
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
    /// How long after a heartbeat it may still run commands.
    pub lease: Duration,
    /// How often it renews that.
    pub heartbeat: Duration,
    /// Silence after which it is dead once its lock is gone; everybody judges it by this.
    pub dead_after: Duration,
    /// Where its pid means something.
    pub place: Option<Place>,
    /// The key of its lock, which it takes with its first heartbeat: whoever dies before that is found by the missing lock.
    pub lock_key: i32,
}

/// One process on one boot of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The boot of the host.
    pub boot_id: String,
    /// The pid namespace.
    pub pid_namespace: String,
    /// When the process began, in ticks since boot.
    pub pid_started: Option<i64>,
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

/// A node of this host that was declared dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its id.
    pub node_id: String,
    /// Its process id.
    pub pid: i32,
    /// When that process began, in ticks since boot.
    pub pid_started: Option<i64>,
}

/// Another node, with what tells whether it lives.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// Its id.
    pub node_id: String,
    /// Its name.
    pub name: String,
    /// Its process id.
    pub pid: i32,
    /// Where that means something.
    pub place: Option<Place>,
    /// Its lease.
    pub lease: Duration,
    /// Silence after which it is dead once its lock is gone; unknown of a node of the release before.
    pub dead_after: Option<Duration>,
    /// Its last heartbeat as the row says, which a declaration has to match.
    pub last_heartbeat: Timestamp,
    /// Whether it held its lock at its last heartbeat.
    pub had_lock: bool,
    /// Whether its session holds that lock now.
    pub is_locked: bool,
}

impl Store {
    /// Inserts the row of a node that starts, and forgets nodes that ended more than a week ago.
    pub fn register_node(&mut self, node: &NodeIdentity) -> Result<(), StoreError> {
        self.execute(&FORGET, &[])?;
        self.register_again(node).map(drop)
    }

    /// Inserts a node's row if it is not there (any more); `false` if it is.
    pub fn register_again(&mut self, node: &NodeIdentity) -> Result<bool, StoreError> {
        let version = env!("CARGO_PKG_VERSION");
        let place = node.place.as_ref();
        // Through a pooler there can be none.
        let lock_key = (!self.borrows_sessions()).then_some(node.lock_key);
        let inserted = self.execute(
            &REGISTER,
            &[
                &node.node_id,
                &node.name,
                &node.host,
                &node.pid,
                &version,
                &node.executors,
                &node.lease.as_secs_f64(),
                &place.map(|it| &it.boot_id),
                &place.map(|it| &it.pid_namespace),
                &place.and_then(|it| it.pid_started),
                &lock_key,
                &node.heartbeat.as_secs_f64(),
                &node.dead_after.as_secs_f64(),
            ],
        )?;
        Ok(inserted > 0)
    }

    /// Renews a node's lease; `false` when the node has been declared dead. Starts of a higher priority than
    /// `notify_above` wake it even while it has no room; `None`: as before.
    pub fn heartbeat(
        &mut self,
        node_id: &str,
        state: NodeState,
        lock_key: Option<i32>,
        notify_above: Option<i32>,
    ) -> Result<bool, StoreError> {
        Ok(self.execute(&HEARTBEAT, &[&node_id, &state.as_str(), &lock_key, &notify_above])? > 0)
    }

    /// Lets a node that was declared dead go on, when nothing is left of the claims it had but those on `locked`
    /// processes; `false` until then.
    pub fn rejoin(&mut self, node_id: &str, locked: &[&str]) -> Result<bool, StoreError> {
        Ok(self.execute(&REJOIN, &[&node_id, &locked])? > 0)
    }

    /// Takes a node's lock on this connection, for as long as it lives; `false` while another session has it,
    /// such as this node's own that the server does not know to be gone, or a stranger's.
    pub fn take_node_lock(&mut self, key: i32) -> Result<bool, StoreError> {
        get(&self.query_one(&TAKE_LOCK, &[&LOCK_CLASS, &key], "a lock")?, "is_taken", "a lock")
    }

    /// Whether a lock that this connection has taken is seen where the others look for it. Some poolers and some systems
    /// that speak PostgreSQL's protocol show no such locks, or only say that they take them.
    pub fn sees_node_lock(&mut self, key: i32) -> Result<bool, StoreError> {
        get(&self.query_one(&HOLDS_LOCK, &[&LOCK_CLASS, &key], "a lock")?, "is_seen", "a lock")
    }

    /// Whether the locks of nodes can be seen in this database.
    pub fn shows_locks(&mut self) -> Result<bool, StoreError> {
        let key = fastrand::i32(..);
        let is_seen = self.take_node_lock(key)? && self.sees_node_lock(key)?;
        self.drop_node_lock(key)?;
        Ok(is_seen)
    }

    /// Gives a node's lock back.
    pub fn drop_node_lock(&mut self, key: i32) -> Result<(), StoreError> {
        self.query(&DROP_LOCK, &[&LOCK_CLASS, &key]).map(drop)
    }

    /// Keeps the server from ending this session before `time` without a word from us: it holds the node's lock.
    pub fn outlast(&mut self, time: Duration) -> Result<(), StoreError> {
        if self.borrows_sessions() {
            // The session is the pooler's to keep.
            return Ok(());
        }
        let seconds = time.as_secs().max(1);
        let user_timeout = time.as_millis();
        self.connection
            .batch_execute(&format!(
                "SET tcp_keepalives_idle = {seconds}; SET tcp_user_timeout = {user_timeout}; \
                 SET idle_in_transaction_session_timeout = 0"
            ))
            .map_err(|source| StoreError::database("keep a session", source))
    }

    /// Whether the row of a node says that it lives.
    pub fn is_alive(&mut self, node_id: &str) -> Result<bool, StoreError> {
        get(&self.query_one(&IS_ALIVE, &[&node_id], "this node")?, "is_alive", "this node")
    }

    /// Nodes of this host and boot that were declared dead, but for those `known`.
    pub fn dead_neighbours(&mut self, place: &Place, known: &[String]) -> Result<Vec<Neighbour>, StoreError> {
        let rows = self.query(&DEAD_NEIGHBOURS, &[&place.boot_id, &place.pid_namespace, &known])?;
        let neighbour = |row: &Row| {
            let node_id = get(row, "node_id", "a node")?;
            Ok(Neighbour {
                node_id,
                pid: get(row, "pid", "a node")?,
                pid_started: get(row, "pid_started", "a node")?,
            })
        };
        rows.iter().map(neighbour).collect()
    }

    /// The other nodes that are not known to have ended. Those whose row can't be read are left out: nobody can tell
    /// whether they live until [`Store::repair_nodes`] has seen to them.
    pub fn peers(&mut self, node_id: &str) -> Result<Vec<Peer>, StoreError> {
        let rows = self.query(&PEERS, &[&node_id, &LOCK_CLASS])?;
        Ok(rows.iter().filter_map(|row| read_peer(row).ok()).collect())
    }

    /// Has nodes whose row can't be read counted as heard of just now, and says which, and what they said. `lease`
    /// stands in for one that makes no sense.
    pub fn repair_nodes(&mut self, lease: Duration) -> Result<Vec<String>, StoreError> {
        let said = |row: &Row, column| get::<String>(row, column, "a node");
        self.query(&REPAIR_NODES, &[&lease.as_secs_f64()])?
            .iter()
            .map(|row| {
                Ok(format!(
                    "node_id={} state={:?} last_heartbeat={} lease_seconds={}",
                    said(row, "node_id")?,
                    said(row, "state")?,
                    said(row, "last_heartbeat")?,
                    said(row, "lease_seconds")?
                ))
            })
            .collect()
    }

    /// Declares a node dead; `false` when it has renewed its lease since, or somebody else was faster.
    pub fn declare_dead(&mut self, peer: &Peer) -> Result<bool, StoreError> {
        Ok(self.execute(&DECLARE_DEAD, &[&peer.node_id, &peer.last_heartbeat])? > 0)
    }
}

fn read_peer(row: &Row) -> Result<Peer, StoreError> {
    let node_id: String = get(row, "node_id", "a node")?;
    let what = format!("node \"{node_id}\"");
    let boot_id: Option<String> = get(row, "boot_id", &what)?;
    let pid_namespace: Option<String> = get(row, "pid_namespace", &what)?;
    let pid_started = get(row, "pid_started", &what)?;
    let lease: f64 = get(row, "lease_seconds", &what)?;
    if !(lease.is_finite() && lease >= 0.0) {
        return Err(unreadable(&what, format!("column lease_seconds is {lease}")));
    }
    let dead_after: Option<f64> = get(row, "dead_after_seconds", &what)?;
    Ok(Peer {
        dead_after: dead_after.filter(|it| it.is_finite() && *it >= 0.0).map(seconds),
        name: get(row, "name", &what)?,
        pid: get(row, "pid", &what)?,
        place: boot_id.zip(pid_namespace).map(|(boot_id, pid_namespace)| Place {
            boot_id,
            pid_namespace,
            pid_started,
        }),
        lease: seconds(lease),
        last_heartbeat: time(row, "last_heartbeat", &what)?,
        had_lock: get(row, "had_lock", &what)?,
        is_locked: get(row, "is_locked", &what)?,
        node_id,
    })
}
