//! The rows of running orchestrators: how they live, and what is left when they die.

use std::time::Duration;

use jiff::Timestamp;
use postgres::Row;

use super::row::{Listed, count, get, listed, time, unreadable, word};
use super::{Sql, Store, StoreError};
use crate::model::process_type::OnCrash;
use crate::model::records::NodeData;

const REGISTER: Sql = Sql::new(
    "register this node",
    "INSERT INTO nodes (node_id, name, host, pid, version, executors, lease_seconds, boot_id, pid_namespace, \
     pid_started, notify_above) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0) ON CONFLICT (node_id) DO NOTHING",
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
const REPAIR_NODES: Sql =
    Sql::new("repair unreadable rows of nodes", include_str!("../../sql/repair_nodes.sql"));
const REPAIR_CLAIMS: Sql = Sql::new("repair unreadable claims", include_str!("../../sql/repair_claims.sql"));
const END_RESERVATIONS: Sql =
    Sql::new("end the reservations of nodes", include_str!("../../sql/end_reservations.sql"));
const NODES: Sql = Sql::new(
    "read the nodes",
    "SELECT node_id, name, host, pid, version, executors, state, started_at, last_heartbeat FROM nodes \
     WHERE state = ANY($2) OR state <> ALL ('{RUNNING,STOPPING,STOPPED,DEAD}') ORDER BY started_at DESC, node_id LIMIT $1",
);

/// Every state of a node.
const NODE_STATES: [&str; 4] = ["RUNNING", "STOPPING", "STOPPED", "DEAD"];

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

/// A claim of a node that will not come back, read or not.
#[derive(Debug)]
pub enum Abandoned {
    /// Its execution is lost.
    Claim(AbandonedClaim),
    /// Its rows can't be read.
    Unreadable(UnreadableClaim),
}

/// An abandoned claim whose process has to be set aside.
#[derive(Debug)]
pub struct UnreadableClaim {
    /// The process.
    pub process_id: String,
    /// The node that held it.
    pub node_id: String,
    /// The version of the claim.
    pub version: i64,
    /// Why.
    pub error: StoreError,
}

impl Abandoned {
    /// Whether it is this claim.
    pub fn is_of(&self, process_id: &str, version: i64) -> bool {
        let (id, of_version) = match self {
            Self::Claim(claim) => (&claim.process_id, claim.version),
            Self::Unreadable(claim) => (&claim.process_id, claim.version),
        };
        id == process_id && of_version == version
    }

    fn node_id(&self) -> &str {
        match self {
            Self::Claim(claim) => &claim.node_id,
            Self::Unreadable(claim) => &claim.node_id,
        }
    }
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

    /// Renews a node's lease; `false` when the node has been declared dead. Starts of a higher priority than
    /// `notify_above` wake it even while it has no room; `None`: as before.
    ///
    /// # Errors
    /// When the database fails.
    pub fn heartbeat(
        &mut self,
        node_id: &str,
        state: NodeState,
        lock_key: Option<i32>,
        notify_above: Option<i32>,
    ) -> Result<bool, StoreError> {
        Ok(self.execute(&HEARTBEAT, &[&node_id, &state.as_str(), &lock_key, &notify_above])? > 0)
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

    /// The other nodes that are not known to have ended. Those whose row can't be read are left out: nobody can tell
    /// whether they live until [`Store::repair_nodes`] has seen to them.
    ///
    /// # Errors
    /// When the database fails.
    pub fn peers(&mut self, node_id: &str) -> Result<Vec<Peer>, StoreError> {
        let rows = self.query(&PEERS, &[&node_id, &LOCK_CLASS])?;
        Ok(rows.iter().filter_map(|row| read_peer(row).ok()).collect())
    }

    /// Has nodes whose row can't be read counted as heard of just now, and says which, and what they said. `lease`
    /// stands in for one that makes no sense.
    ///
    /// # Errors
    /// When the database fails.
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

    /// Makes processes due again whose claim contradicts itself, and says which.
    ///
    /// # Errors
    /// When the database fails.
    pub fn repair_claims(&mut self) -> Result<Vec<String>, StoreError> {
        self.query(&REPAIR_CLAIMS, &[])?.iter().map(|row| get(row, "task_instance", "a claim")).collect()
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
    /// When the database fails.
    pub fn abandoned_claims(&mut self, limit: usize) -> Result<Vec<Abandoned>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (nobody, none): (&str, Vec<&str>) = ("", Vec::new());
        self.query(&ABANDONED, &[&limit, &nobody, &none])?.iter().map(read_abandoned).collect()
    }

    /// Claims of `node` on these processes, which it has lost sight of.
    ///
    /// # Errors
    /// When the database fails.
    pub fn stray_claims(&mut self, node: &str, processes: &[String]) -> Result<Vec<Abandoned>, StoreError> {
        let rows = self.query(&ABANDONED, &[&i64::MAX, &node, &processes])?;
        let claims = rows.iter().map(read_abandoned).collect::<Result<Vec<_>, _>>()?;
        Ok(claims.into_iter().filter(|claim| claim.node_id() == node).collect())
    }

    /// The latest nodes, those that have ended included.
    ///
    /// # Errors
    /// When the database fails.
    pub fn nodes(&mut self, limit: u32) -> Result<Listed<NodeData>, StoreError> {
        self.nodes_in(limit, &NODE_STATES)
    }

    /// The latest of the nodes that run or are about to stop.
    ///
    /// # Errors
    /// When the database fails.
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
        node_id,
    })
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
    Ok(Peer {
        name: get(row, "name", &what)?,
        pid: get(row, "pid", &what)?,
        place: boot_id.zip(pid_namespace).map(|(boot_id, pid_namespace)| Place {
            boot_id,
            pid_namespace,
            pid_started,
        }),
        lease: seconds(lease),
        last_heartbeat: time(row, "last_heartbeat", &what)?,
        silence: seconds(get(row, "silence_seconds", &what)?),
        had_lock: get(row, "had_lock", &what)?,
        is_locked: get(row, "is_locked", &what)?,
        node_id,
    })
}

fn read_abandoned(row: &Row) -> Result<Abandoned, StoreError> {
    let process_id: String = get(row, "task_instance", "a claim")?;
    let node_id: String = get(row, "picked_by", "a claim")?;
    let version = get(row, "version", "a claim")?;
    Ok(match read_lost(row, &process_id, &node_id, version) {
        Ok(claim) => Abandoned::Claim(claim),
        Err(error) => Abandoned::Unreadable(UnreadableClaim { process_id, node_id, version, error }),
    })
}

fn read_lost(row: &Row, process_id: &str, node_id: &str, version: i64) -> Result<AbandonedClaim, StoreError> {
    let what = format!("process \"{process_id}\"");
    if !get::<bool>(row, "is_running", &what)? {
        let problem = match get::<Option<String>>(row, "status", &what)? {
            Some(status) => format!("node {node_id} held it while its current task was {status:?}"),
            None => "it is scheduled, but its row in processes or that of its task is missing".to_owned(),
        };
        return Err(unreadable(&what, problem));
    }
    let on_crash: &str = get(row, "on_crash", &what)?;
    let running_ms: Option<f64> = get(row, "running_ms", &what)?;
    Ok(AbandonedClaim {
        process_id: process_id.to_owned(),
        node_id: node_id.to_owned(),
        version,
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
    })
}

/// The database's clock may have been set back: a time before now is none.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.max(0.0)).unwrap_or(Duration::MAX)
}
