//! The rows of running orchestrators: how they live, and what is left when they die.

use std::time::Duration;

use jiff::Timestamp;
use postgres::Row;

use super::row::{count, get, time};
use super::{Sql, Store, StoreError};
use crate::model::process_type::OnCrash;
use crate::model::records::NodeData;

const REGISTER: Sql = Sql::new(
    "register this node",
    "INSERT INTO nodes (node_id, name, host, pid, version, executors, lease_seconds, boot_id, pid_namespace, \
     pid_started) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (node_id) DO NOTHING",
);
const FORGET: Sql = Sql::new(
    "forget nodes that ended long ago",
    "DELETE FROM nodes n WHERE n.state IN ('STOPPED', 'DEAD') AND n.last_heartbeat < now() - interval '7 days' \
     AND NOT EXISTS (SELECT FROM scheduled_tasks s WHERE s.picked_by = n.node_id)",
);
const HEARTBEAT: Sql = Sql::new("renew this node's lease", include_str!("../../sql/heartbeat.sql"));
const REJOIN: Sql = Sql::new("rejoin", include_str!("../../sql/rejoin.sql"));
const TAKE_LOCK: Sql = Sql::new("take this node's lock", "SELECT pg_try_advisory_lock($1, $2) AS is_taken");
const PEERS: Sql = Sql::new("look after the other nodes", include_str!("../../sql/peers.sql"));
const DECLARE_DEAD: Sql = Sql::new("declare a node dead", include_str!("../../sql/declare_dead.sql"));
const ABANDONED: Sql =
    Sql::new("read the claims of dead nodes", include_str!("../../sql/abandoned_claims.sql"));
const END_RESERVATIONS: Sql =
    Sql::new("end the reservations of nodes", include_str!("../../sql/end_reservations.sql"));
const NODES: Sql = Sql::new(
    "read the nodes",
    "SELECT node_id, name, host, pid, version, executors, state, started_at, last_heartbeat \
     FROM nodes WHERE state = ANY($2) ORDER BY started_at DESC, node_id LIMIT $1",
);

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
    /// Where its pid means something.
    pub place: Option<Place>,
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
    /// Its last heartbeat as the row says, which a declaration has to match.
    pub last_heartbeat: Timestamp,
    /// How long ago that was, by the database's clock.
    pub silence: Duration,
    /// Whether it held its lock at its last heartbeat.
    pub had_lock: bool,
    /// Whether a session holds that lock now.
    pub is_locked: bool,
}

/// A claim whose node will not come back for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbandonedClaim {
    /// The process.
    pub process_id: String,
    /// The node that held it.
    pub node_id: String,
    /// The version of the claim.
    pub version: i64,
    /// How many tasks the process has.
    pub total_tasks: u32,
    /// The task that was in progress.
    pub task_index: u32,
    /// Its name.
    pub task_name: String,
    /// The execution that was lost.
    pub attempt: u32,
    /// Retries spent.
    pub retry_count: u32,
    /// Retries allowed.
    pub max_retries: u32,
    /// What its definition wants.
    pub on_crash: OnCrash,
    /// How long ago it was begun.
    pub running: Duration,
    /// How often a node has died under this task before.
    pub times_lost: u32,
}

impl Store {
    /// Inserts the row of a node that starts, and forgets nodes that ended more than a week ago.
    ///
    /// # Errors
    /// When the database fails.
    pub fn register_node(&mut self, node: &NodeIdentity) -> Result<(), StoreError> {
        self.execute(&FORGET, &[])?;
        self.register_again(node).map(drop)
    }

    /// Inserts a node's row if it is not there (any more); `false` if it is.
    ///
    /// # Errors
    /// When the database fails.
    pub fn register_again(&mut self, node: &NodeIdentity) -> Result<bool, StoreError> {
        let version = env!("CARGO_PKG_VERSION");
        let place = node.place.as_ref();
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
            ],
        )?;
        Ok(inserted > 0)
    }

    /// Renews a node's lease; `false` when the node has been declared dead.
    ///
    /// # Errors
    /// When the database fails.
    pub fn heartbeat(
        &mut self,
        node_id: &str,
        state: NodeState,
        lock_key: Option<i32>,
    ) -> Result<bool, StoreError> {
        Ok(self.execute(&HEARTBEAT, &[&node_id, &state.as_str(), &lock_key])? > 0)
    }

    /// Lets a node that was declared dead go on, when nothing is left of the claims it had; `false` until then.
    ///
    /// # Errors
    /// When the database fails.
    pub fn rejoin(&mut self, node_id: &str) -> Result<bool, StoreError> {
        Ok(self.execute(&REJOIN, &[&node_id])? > 0)
    }

    /// Takes a node's lock on this connection, for as long as it lives; `false` while another session has it,
    /// such as this node's own that the server does not know to be gone.
    ///
    /// # Errors
    /// When the database fails.
    pub fn take_node_lock(&mut self, key: i32) -> Result<bool, StoreError> {
        let row = self.query_opt(&TAKE_LOCK, &[&LOCK_CLASS, &key])?;
        row.map_or(Ok(false), |row| get(&row, "is_taken", "a lock"))
    }

    /// Keeps the server from ending this session before `time` without a word from us: it holds the node's lock. And
    /// keeps it from waiting for others' locks: it has a lease to renew.
    ///
    /// # Errors
    /// When the database fails.
    pub fn outlast(&mut self, time: Duration) -> Result<(), StoreError> {
        if let Some(borrowed) = &mut self.borrowed {
            // The session is the pooler's to keep.
            borrowed.set("lock_timeout", "'1s'");
            return Ok(());
        }
        let seconds = time.as_secs().max(1);
        let user_timeout = time.as_millis();
        self.connection
            .batch_execute(&format!(
                "SET tcp_keepalives_idle = {seconds}; SET tcp_user_timeout = {user_timeout}; \
                 SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '1s'"
            ))
            .map_err(|source| StoreError::database("keep a session", source))
    }

    /// The other nodes that are not known to have ended.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn peers(&mut self, node_id: &str) -> Result<Vec<Peer>, StoreError> {
        self.query(&PEERS, &[&node_id, &LOCK_CLASS])?.iter().map(read_peer).collect()
    }

    /// Declares a node dead; `false` when it has renewed its lease since, or somebody else was faster.
    ///
    /// # Errors
    /// When the database fails.
    pub fn declare_dead(&mut self, peer: &Peer) -> Result<bool, StoreError> {
        Ok(self.execute(&DECLARE_DEAD, &[&peer.node_id, &peer.last_heartbeat])? > 0)
    }

    /// Lets everybody have the processes that were kept for `node`, and those kept for nodes that are dead.
    ///
    /// # Errors
    /// When the database fails.
    pub fn end_reservations(&mut self, node: Option<&str>) -> Result<u64, StoreError> {
        self.execute(&END_RESERVATIONS, &[&node])
    }

    /// Claims whose node is dead, has ended or is unknown, at most `limit`.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn abandoned_claims(&mut self, limit: usize) -> Result<Vec<AbandonedClaim>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (nobody, none): (&str, Vec<&str>) = ("", Vec::new());
        self.query(&ABANDONED, &[&limit, &nobody, &none])?.iter().map(read_abandoned).collect()
    }

    /// Claims of `node` on these processes, which it has lost sight of.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn stray_claims(
        &mut self,
        node: &str,
        processes: &[String],
    ) -> Result<Vec<AbandonedClaim>, StoreError> {
        let rows = self.query(&ABANDONED, &[&i64::MAX, &node, &processes])?;
        let claims = rows.iter().map(read_abandoned).collect::<Result<Vec<_>, _>>()?;
        Ok(claims.into_iter().filter(|claim| claim.node_id == node).collect())
    }

    /// The latest nodes, those that have ended included.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn nodes(&mut self, limit: u32) -> Result<Vec<NodeData>, StoreError> {
        self.nodes_in(limit, &["RUNNING", "STOPPING", "STOPPED", "DEAD"])
    }

    /// The latest of the nodes that run or are about to stop.
    ///
    /// # Errors
    /// When the database fails or a row can't be read.
    pub fn running_nodes(&mut self, limit: u32) -> Result<Vec<NodeData>, StoreError> {
        self.nodes_in(limit, &["RUNNING", "STOPPING"])
    }

    fn nodes_in(&mut self, limit: u32, states: &[&str]) -> Result<Vec<NodeData>, StoreError> {
        self.query(&NODES, &[&i64::from(limit), &states])?.iter().map(read_node).collect()
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

fn read_peer(row: &Row) -> Result<Peer, StoreError> {
    let node_id: String = get(row, "node_id", "a node")?;
    let what = format!("node \"{node_id}\"");
    let boot_id: Option<String> = get(row, "boot_id", &what)?;
    let pid_namespace: Option<String> = get(row, "pid_namespace", &what)?;
    let pid_started = get(row, "pid_started", &what)?;
    Ok(Peer {
        name: get(row, "name", &what)?,
        pid: get(row, "pid", &what)?,
        place: boot_id.zip(pid_namespace).map(|(boot_id, pid_namespace)| Place {
            boot_id,
            pid_namespace,
            pid_started,
        }),
        lease: seconds(get(row, "lease_seconds", &what)?),
        last_heartbeat: time(row, "last_heartbeat", &what)?,
        silence: seconds(get(row, "silence_seconds", &what)?),
        had_lock: get(row, "had_lock", &what)?,
        is_locked: get(row, "is_locked", &what)?,
        node_id,
    })
}

fn read_abandoned(row: &Row) -> Result<AbandonedClaim, StoreError> {
    let process_id: String = get(row, "task_instance", "a claim")?;
    let what = format!("process \"{process_id}\"");
    let on_crash: &str = get(row, "on_crash", &what)?;
    let running_ms: Option<f64> = get(row, "running_ms", &what)?;
    Ok(AbandonedClaim {
        node_id: get(row, "picked_by", &what)?,
        version: get(row, "version", &what)?,
        total_tasks: count(row, "total_tasks", &what)?,
        task_index: count(row, "task_index", &what)?,
        task_name: get(row, "name", &what)?,
        attempt: count(row, "attempt", &what)?,
        retry_count: count(row, "retry_count", &what)?,
        max_retries: count(row, "max_retries", &what)?,
        // An unknown word must not stop the takeover of others; not to run it twice is the safer reading.
        on_crash: OnCrash::parse(on_crash).unwrap_or(OnCrash::Fail),
        running: seconds(running_ms.unwrap_or(0.0) / 1000.0),
        times_lost: u32::try_from(get::<i64>(row, "times_lost", &what)?).unwrap_or(u32::MAX),
        process_id,
    })
}

/// The database's clock may have been set back: a time before now is none.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.max(0.0)).unwrap_or(Duration::MAX)
}
