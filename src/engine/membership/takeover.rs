//! What becomes of claims that nobody will come back for: those of dead nodes, and our own that we have lost sight of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};

use super::record_lost::lost_result;
use crate::engine::session::Link;
use crate::engine::shared::Shared;
use crate::store::StoreError;
use crate::store::abandoned::{Abandoned, AbandonedClaim, UnreadableClaim};
use crate::store::record::TaskResult;

/// Claims taken over by one statement.
const TAKEOVER_BATCH: usize = 500;

/// Takes over, with the keeper's connection.
pub(crate) struct Heir {
    shared: Arc<Shared>,
    last_sweep: Option<Instant>,
    /// Claims that the database said are ours at the last sweep and that nobody here knows of.
    strays: Vec<(String, i64)>,
}

impl Heir {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, last_sweep: None, strays: Vec::new() }
    }

    pub(crate) fn is_sweep_due(&self, every: Duration) -> bool {
        self.last_sweep.is_none_or(|at| at.elapsed() >= every)
    }

    /// Looks for everything that has no owner, whether or not somebody has died.
    pub(crate) fn sweep(&mut self, link: &mut Link) -> Result<(), StoreError> {
        // A row that can't be repaired must not keep others' processes from being taken over.
        let repaired = self.repair(link);
        self.look_for_strays(link)?;
        self.take_over(link)?;
        link.run(|store| store.sweep_live())?;
        repaired
    }

    fn repair(&self, link: &mut Link) -> Result<(), StoreError> {
        let lease = self.shared.config.lease;
        for repaired in link.run(|store| store.repair_nodes(lease))? {
            error!("unreadable row of a node repaired {repaired}: silence counts anew from now");
        }
        for process_id in link.run(|store| store.repair_claims())? {
            error!("unreadable claim repaired process_id={process_id:?}: it is due again");
        }
        Ok(())
    }

    /// A claim that is ours in the database and unknown here at two sweeps running was lost between the two, whatever
    /// the way: it is treated as that of a dead node.
    fn look_for_strays(&mut self, link: &mut Link) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let mut unknown = link.look(|store| store.held_claims(&shared.node_id))?;
        unknown.retain(|(id, version)| shared.claims.version_of(id) != Some(*version));
        let lost: Vec<String> =
            unknown.iter().filter(|it| self.strays.contains(it)).map(|it| it.0.clone()).collect();
        if !lost.is_empty() {
            let mut claims = link.look(|store| store.orphaned_claims(&shared.node_id, &lost))?;
            claims.retain(|it| unknown.iter().any(|(id, version)| it.is_of(id, *version)));
            let ended = self.inherit(link, claims)?;
            warn!("claims of this node that it had lost were ended processes={ended}");
            shared.wake_poller_for_old();
        }
        self.strays = unknown;
        Ok(())
    }

    /// Records a LOST execution for every claim without a living node and makes its process due again.
    pub(crate) fn take_over(&mut self, link: &mut Link) -> Result<(), StoreError> {
        // Until it is done: a failure has it done at the next heartbeat.
        self.last_sweep = None;
        if link.run(|store| store.end_reservations(None))? > 0 {
            self.shared.wake_poller_for_old();
        }
        loop {
            let claims = link.look(|store| store.abandoned_claims(TAKEOVER_BATCH))?;
            let found = claims.len();
            let taken = match self.inherit(link, claims) {
                Err(error) if error.is_recorded_already() => {
                    // It lives and has recorded one of them in between: look at the rest anew, soon.
                    return Ok(());
                }
                other => other?,
            };
            if taken > 0 {
                self.shared.wake_poller_for_old();
            }
            // Whoever else takes over at the same time gets its share: what is left is theirs.
            if found < TAKEOVER_BATCH || taken == 0 {
                self.last_sweep = Some(Instant::now());
                return Ok(());
            }
        }
    }

    /// Ends these claims, by the nodes that held them; says how many it has ended.
    fn inherit(&self, link: &mut Link, claims: Vec<Abandoned>) -> Result<usize, StoreError> {
        let mut taken = 0;
        let mut readable = Vec::with_capacity(claims.len());
        for claim in claims {
            match claim {
                Abandoned::Claim(claim) => readable.push(claim),
                Abandoned::Unreadable(claim) => taken += usize::from(set_aside(link, &claim)?),
            }
        }
        for node_id in nodes_of(&readable) {
            let lost: Vec<_> = readable.iter().filter(|it| it.node_id == node_id).map(lost_result).collect();
            let recorded = record(link, &node_id, &lost)?;
            for failed in lost.iter().filter_map(|it| it.process_error.as_ref().zip(Some(it))) {
                warn!("process failed process_id={:?}: {}", failed.1.process_id, failed.0);
            }
            self.shared.vitals.measures.took_over(recorded);
            info!("taken over node_id={node_id} processes={recorded}");
            taken += recorded;
        }
        Ok(taken)
    }
}

/// Records the lost executions of one node. Where the database refuses a value, each is tried on its own, and the
/// process of the one that is refused alone is set aside.
fn record(link: &mut Link, node_id: &str, lost: &[TaskResult]) -> Result<usize, StoreError> {
    match link.run(|store| store.record(node_id, lost)) {
        Ok(recorded) => Ok(recorded.len()),
        Err(error) if error.is_refused_value() => match lost {
            [only] => set_aside(
                link,
                &UnreadableClaim {
                    process_id: only.process_id.to_string(),
                    node_id: node_id.to_owned(),
                    version: only.version,
                    error,
                },
            )
            .map(usize::from),
            several => several.chunks(1).map(|one| record(link, node_id, one)).sum(),
        },
        Err(error) => Err(error),
    }
}

fn set_aside(link: &mut Link, claim: &UnreadableClaim) -> Result<bool, StoreError> {
    let UnreadableClaim { process_id, node_id, version, error } = claim;
    let reason = format!("failed to {error}");
    let is_done = link.run(|store| store.quarantine(node_id, process_id, *version, &reason))?;
    if is_done {
        error!("process set aside process_id={process_id:?}: {reason}");
    }
    Ok(is_done)
}

fn nodes_of(claims: &[AbandonedClaim]) -> Vec<String> {
    let mut nodes: Vec<String> = claims.iter().map(|it| it.node_id.clone()).collect();
    nodes.sort();
    nodes.dedup();
    nodes
}
