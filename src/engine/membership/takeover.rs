//! Takes over claims that have no owner: those of dead nodes, and our own that we have lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};

use super::record_lost::lost_result;
use crate::engine::claim::held::{Requests, is_request_over};
use crate::engine::config::NodeConfig;
use crate::engine::health::node_health::Health;
use crate::engine::health::thread_watchdog::CoreThread;
use crate::engine::holdings::Holdings;
use crate::engine::locked::stories::LockStories;
use crate::engine::session::Session;
use crate::model::lifecycle::Outcome;
use crate::store::StoreError;
use crate::store::abandoned::{Abandoned, UnreadableClaim};
use crate::store::claims::Quarantined;
use crate::store::locks::Beside;
use crate::store::record::TaskResult;

/// Claims taken over by one statement.
const TAKEOVER_BATCH: usize = 500;

/// Takes over, on the heartbeat's session.
pub(crate) struct Takeover {
    lease: Duration,
    holdings: Arc<Holdings>,
    health: Arc<Health>,
    last_sweep: Option<Instant>,
    /// Processes that could not be taken over, as somebody has locked a row of them.
    locked: BTreeSet<String>,
    stories: LockStories,
    /// Claims that were ours in the database at the last sweep and unknown here, each with the requests for claims by then.
    orphaned: Vec<((String, i64), Requests)>,
}

impl Takeover {
    pub(crate) fn new(config: &NodeConfig, holdings: Arc<Holdings>, health: Arc<Health>) -> Self {
        let stories = LockStories::new(CoreThread::Heartbeat, &health);
        let (locked, orphaned) = (BTreeSet::new(), Vec::new());
        Self { lease: config.lease, holdings, health, last_sweep: None, locked, stories, orphaned }
    }

    /// Processes that could not be taken over, as somebody has locked a row of them.
    pub(crate) fn locked(&self) -> Vec<&str> {
        self.locked.iter().map(String::as_str).collect()
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
            let (ended, _) = self.record_lost(session, claims, false)?;
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
        let known = std::mem::take(&mut self.locked);
        // Those that were locked the last time wait at the end, where they keep nobody waiting.
        let is_whole = self.take_over_but(session, known.iter().map(String::as_str).collect())?;
        if !known.is_empty() {
            self.take_over_but(session, Vec::new())?;
        }
        if !self.locked.is_empty() || !self.stories.is_empty() {
            let locked: Vec<&str> = self.locked.iter().map(String::as_str).collect();
            self.stories.note(session, &locked, "it is taken over once the lock is gone; all others go on");
        }
        // What is locked is tried again at the next heartbeat.
        if is_whole && self.locked.is_empty() {
            self.last_sweep = Some(Instant::now());
        }
        Ok(())
    }

    /// The same for all but these; `false` when there may be more.
    fn take_over_but(&mut self, session: &mut Session, but: Vec<&str>) -> Result<bool, StoreError> {
        let is_beside = but.is_empty() && !self.stories.is_empty();
        let mut but: Vec<String> = but.into_iter().map(str::to_owned).collect();
        loop {
            let claims = session.query(|store| store.abandoned_claims(TAKEOVER_BATCH, &but))?;
            let found = claims.len();
            let (taken, locked) = match self.record_lost(session, claims, is_beside) {
                // The node lives and has recorded one of them in between: look at the rest anew, soon.
                Err(error) if error.is_recorded_already() => return Ok(false),
                other => other?,
            };
            if taken > 0 {
                self.holdings.wakeups.request_full_scan();
                // Others look by themselves before long; the session has logged what failed.
                _ = session.query(|store| store.wake_nodes(i32::MAX));
            }
            let is_any_locked = !locked.is_empty();
            but.extend(locked.iter().cloned());
            self.locked.extend(locked);
            // Another node that takes over at the same time gets its share: what is left is that node's.
            if found < TAKEOVER_BATCH || taken == 0 && !is_any_locked {
                return Ok(true);
            }
        }
    }

    /// Ends these claims, by the nodes that held them; returns how many it has ended, and the processes of which somebody has
    /// locked a row.
    fn record_lost(
        &self,
        session: &mut Session,
        claims: Vec<Abandoned>,
        is_beside: bool,
    ) -> Result<(usize, Vec<String>), StoreError> {
        let (mut taken, mut locked) = (0, Vec::new());
        let mut readable = Vec::with_capacity(claims.len());
        for claim in claims {
            match claim {
                Abandoned::Claim(claim) => readable.push(claim),
                Abandoned::Unreadable(claim) => match quarantine(session, &claim)? {
                    Quarantined::Ended => taken += 1,
                    Quarantined::Locked => locked.push(claim.process_id),
                    Quarantined::NotOurs | Quarantined::GivenBack => {}
                },
            }
        }
        let nodes: BTreeSet<&str> = readable.iter().map(|it| it.node_id.as_str()).collect();
        for node_id in nodes {
            let lost: Vec<_> = readable.iter().filter(|it| it.node_id == node_id).map(lost_result).collect();
            let before = locked.len();
            let recorded = record(session, node_id, &lost, is_beside, &mut locked)?;
            for failed in lost.iter().filter(|it| !locked[before..].iter().any(|id| **id == *it.process_id)) {
                if let Some(why) = &failed.process_error {
                    warn!("process failed process_id={:?}: {why}", failed.process_id);
                }
            }
            self.health.metrics.note_takeover(recorded);
            // What is locked is tried again at each heartbeat.
            if recorded > 0 || locked.len() == before {
                info!("taken over node_id={node_id} processes={recorded}");
            }
            taken += recorded;
        }
        Ok((taken, locked))
    }
}

/// Records the lost executions of one node; those of which somebody has locked a row are added to `locked`. If the database
/// refuses a value, each is recorded on its own, and a process whose execution is refused alone is quarantined.
fn record(
    session: &mut Session,
    node_id: &str,
    lost: &[TaskResult],
    is_beside: bool,
    locked: &mut Vec<String>,
) -> Result<usize, StoreError> {
    let answer = session.write(|store| match is_beside {
        true => store.record_beside_locks(node_id, lost)?.unless_table(),
        false => Beside::waited(store.record(node_id, lost)),
    });
    match answer {
        Ok(Beside::Done { done, locked: left }) => {
            locked.extend(left);
            Ok(done.len())
        }
        Ok(_) if !is_beside => record(session, node_id, lost, true, locked),
        // The lock is on no row that is there: half of them wait for nothing.
        Ok(_) if lost.len() > 1 => {
            let (one, other) = lost.split_at(lost.len() / 2);
            let recorded = record(session, node_id, one, true, locked)?;
            Ok(recorded + record(session, node_id, other, true, locked)?)
        }
        Ok(_) => {
            locked.extend(lost.iter().map(|it| it.process_id.to_string()));
            Ok(0)
        }
        Err(error) if error.is_refused_value() => match lost {
            [only] => {
                let (process_id, node_id) = (only.process_id.to_string(), node_id.to_owned());
                let claim = UnreadableClaim { process_id, node_id, version: only.version, error };
                let quarantined = quarantine(session, &claim)?;
                if quarantined == Quarantined::Locked {
                    locked.push(claim.process_id);
                }
                Ok(usize::from(quarantined == Quarantined::Ended))
            }
            several => several.chunks(1).map(|one| record(session, node_id, one, is_beside, locked)).sum(),
        },
        Err(error) => Err(error),
    }
}

fn quarantine(session: &mut Session, claim: &UnreadableClaim) -> Result<Quarantined, StoreError> {
    let UnreadableClaim { process_id, node_id, version, error } = claim;
    let reason = format!("failed to {error}");
    let quarantined = session
        .write(|store| store.quarantine(node_id, process_id, *version, &reason, Some(Outcome::Lost)))?;
    if quarantined == Quarantined::Ended {
        error!("process quarantined process_id={process_id:?}: {reason}");
    }
    Ok(quarantined)
}
