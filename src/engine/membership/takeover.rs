//! Takes over claims that have no owner: those of dead nodes, and our own that we have lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};

use super::record_lost::lost_result;
use crate::engine::claim::held::is_request_over;
use crate::engine::config::NodeConfig;
use crate::engine::health::node_health::Health;
use crate::engine::holdings::Holdings;
use crate::engine::session::Session;
use crate::model::lifecycle::Outcome;
use crate::store::StoreError;
use crate::store::abandoned::{Abandoned, UnreadableClaim};
use crate::store::record::TaskResult;

/// Claims taken over by one statement.
const TAKEOVER_BATCH: usize = 500;

/// Takes over, on the heartbeat's session.
pub(crate) struct Takeover {
    lease: Duration,
    holdings: Arc<Holdings>,
    health: Arc<Health>,
    last_sweep: Option<Instant>,
    /// Claims that were ours in the database at the last sweep and unknown here, each with the requests for claims by then.
    orphaned: Vec<((String, i64), u64)>,
}

impl Takeover {
    pub(crate) fn new(config: &NodeConfig, holdings: Arc<Holdings>, health: Arc<Health>) -> Self {
        Self { lease: config.lease, holdings, health, last_sweep: None, orphaned: Vec::new() }
    }

    pub(crate) fn is_sweep_due(&self, every: Duration) -> bool {
        self.last_sweep.is_none_or(|at| at.elapsed() >= every)
    }

    /// Looks for every claim without an owner, whether or not a node has died.
    pub(crate) fn sweep(&mut self, session: &mut Session) -> Result<(), StoreError> {
        // A row that can't be repaired must not keep others' processes from being taken over.
        let repaired = self.repair(session);
        self.end_orphaned_claims(session)?;
        self.take_over(session)?;
        session.write(|store| store.sweep_live())?;
        repaired
    }

    fn repair(&self, session: &mut Session) -> Result<(), StoreError> {
        for repaired in session.write(|store| store.repair_nodes(self.lease))? {
            error!("unreadable row of a node repaired {repaired}: silence counts anew from now");
        }
        for process_id in session.write(|store| store.repair_claims())? {
            error!("unreadable claim repaired process_id={process_id:?}: it is due again");
        }
        Ok(())
    }

    /// A claim that two sweeps running find ours in the database and unknown here was lost between the two, whatever
    /// the way: it is treated as that of a dead node.
    fn end_orphaned_claims(&mut self, session: &mut Session) -> Result<(), StoreError> {
        let mut unknown = session.query(|store| store.held_claims(&self.holdings.node_id))?;
        // The answer to a claim may be on its way for as long as it likes: such a claim is not lost sight of.
        let requests = self.holdings.claims.requests();
        unknown.retain(|(id, version)| self.holdings.claims.version_of(id) != Some(*version));
        let is_lost = |it: &(String, i64)| {
            let before = self.orphaned.iter().find(|before| before.0 == *it);
            before.is_some_and(|(_, then)| is_request_over(*then, requests))
        };
        let orphaned: Vec<String> = unknown.iter().filter(|it| is_lost(it)).map(|it| it.0.clone()).collect();
        if !orphaned.is_empty() {
            let mut claims =
                session.query(|store| store.orphaned_claims(&self.holdings.node_id, &orphaned))?;
            claims.retain(|it| unknown.iter().any(|(id, version)| it.is_of(id, *version)));
            let ended = self.record_lost(session, claims)?;
            warn!("claims of this node that it had lost were ended processes={ended}");
            self.holdings.wakeups.request_full_scan();
        }
        let first_seen = |it: (String, i64)| {
            let before = self.orphaned.iter().find(|before| before.0 == it).map(|it| it.1);
            (it, before.unwrap_or(requests))
        };
        self.orphaned = unknown.into_iter().map(first_seen).collect();
        Ok(())
    }

    /// Records a LOST execution for every claim without a living node and makes its process due again.
    pub(crate) fn take_over(&mut self, session: &mut Session) -> Result<(), StoreError> {
        // Until it is done: after a failure the next heartbeat sweeps.
        self.last_sweep = None;
        if session.write(|store| store.end_reservations(None))? > 0 {
            self.holdings.wakeups.request_full_scan();
        }
        loop {
            let claims = session.query(|store| store.abandoned_claims(TAKEOVER_BATCH))?;
            let found = claims.len();
            let taken = match self.record_lost(session, claims) {
                // The node lives and has recorded one of them in between: look at the rest anew, soon.
                Err(error) if error.is_recorded_already() => return Ok(()),
                other => other?,
            };
            if taken > 0 {
                self.holdings.wakeups.request_full_scan();
                // Others look by themselves before long; the session has logged what failed.
                _ = session.query(|store| store.wake_nodes(i32::MAX));
            }
            // Another node that takes over at the same time gets its share: what is left is that node's.
            if found < TAKEOVER_BATCH || taken == 0 {
                self.last_sweep = Some(Instant::now());
                return Ok(());
            }
        }
    }

    /// Ends these claims, by the nodes that held them; returns how many it has ended.
    fn record_lost(&self, session: &mut Session, claims: Vec<Abandoned>) -> Result<usize, StoreError> {
        let mut taken = 0;
        let mut readable = Vec::with_capacity(claims.len());
        for claim in claims {
            match claim {
                Abandoned::Claim(claim) => readable.push(claim),
                Abandoned::Unreadable(claim) => taken += usize::from(quarantine(session, &claim)?),
            }
        }
        let nodes: BTreeSet<&str> = readable.iter().map(|it| it.node_id.as_str()).collect();
        for node_id in nodes {
            let lost: Vec<_> = readable.iter().filter(|it| it.node_id == node_id).map(lost_result).collect();
            let recorded = record(session, node_id, &lost)?;
            for failed in &lost {
                if let Some(why) = &failed.process_error {
                    warn!("process failed process_id={:?}: {why}", failed.process_id);
                }
            }
            self.health.metrics.note_takeover(recorded);
            info!("taken over node_id={node_id} processes={recorded}");
            taken += recorded;
        }
        Ok(taken)
    }
}

/// Records the lost executions of one node. If the database refuses a value, each is recorded on its own, and a process
/// whose execution is refused alone is quarantined.
fn record(session: &mut Session, node_id: &str, lost: &[TaskResult]) -> Result<usize, StoreError> {
    match session.write(|store| store.record(node_id, lost)) {
        Ok(recorded) => Ok(recorded.len()),
        Err(error) if error.is_refused_value() => match lost {
            [only] => {
                let (process_id, node_id) = (only.process_id.to_string(), node_id.to_owned());
                let claim = UnreadableClaim { process_id, node_id, version: only.version, error };
                quarantine(session, &claim).map(usize::from)
            }
            several => several.chunks(1).map(|one| record(session, node_id, one)).sum(),
        },
        Err(error) => Err(error),
    }
}

fn quarantine(session: &mut Session, claim: &UnreadableClaim) -> Result<bool, StoreError> {
    let UnreadableClaim { process_id, node_id, version, error } = claim;
    let reason = format!("failed to {error}");
    let is_done = session
        .write(|store| store.quarantine(node_id, process_id, *version, &reason, Some(Outcome::Lost)))?;
    if is_done {
        error!("process quarantined process_id={process_id:?}: {reason}");
    }
    Ok(is_done)
}
