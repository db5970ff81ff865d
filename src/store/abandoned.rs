//! Claims whose node will not come back for them.

use std::time::Duration;

use postgres::Row;

use super::row::{count, get, seconds, unreadable};
use super::{Sql, Store, StoreError};
use crate::model::process_type::OnCrash;

const ABANDONED: Sql =
    Sql::new("read the claims of dead nodes", include_str!("../../sql/nodes/abandoned_claims.sql"));
const REPAIR_CLAIMS: Sql =
    Sql::new("repair unreadable claims", include_str!("../../sql/queue/repair_claims.sql"));
const END_RESERVATIONS: Sql =
    Sql::new("end the reservations of nodes", include_str!("../../sql/queue/end_reservations.sql"));

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

/// An abandoned claim whose process has to be quarantined.
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
    /// Lets everybody have the processes that were kept for `node`, and those kept for nodes that are dead.
    pub fn end_reservations(&mut self, node: Option<&str>) -> Result<u64, StoreError> {
        self.execute(&END_RESERVATIONS, &[&node])
    }

    /// Claims whose node is dead, has ended or is unknown, at most `limit`, but for those on the processes `but`.
    pub fn abandoned_claims(&mut self, limit: usize, but: &[String]) -> Result<Vec<Abandoned>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (nobody, none): (&str, Vec<&str>) = ("", Vec::new());
        self.query(&ABANDONED, &[&limit, &nobody, &none, &but])?.iter().map(read_abandoned).collect()
    }

    /// Claims of `node` on these processes, which it has lost sight of.
    pub fn orphaned_claims(
        &mut self,
        node: &str,
        processes: &[String],
    ) -> Result<Vec<Abandoned>, StoreError> {
        let rows = self.query(&ABANDONED, &[&i64::MAX, &node, &processes, &Vec::<&str>::new()])?;
        let claims = rows.iter().map(read_abandoned).collect::<Result<Vec<_>, _>>()?;
        Ok(claims.into_iter().filter(|claim| claim.node_id() == node).collect())
    }

    /// Makes processes due again whose claim contradicts itself, and says which.
    pub fn repair_claims(&mut self) -> Result<Vec<String>, StoreError> {
        self.query_column(&REPAIR_CLAIMS, &[], "task_instance", "a claim")
    }
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
