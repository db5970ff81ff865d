//! Looks which other nodes live, and declares the dead ones dead.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::warn;

use crate::engine::guard;
use crate::engine::session::Session;
use crate::failpoint::{self, Point};
use crate::model::explain::blocker::named;
use crate::model::liveness::{Death, Liveness, Observer, Sighting, Signs, judge, sight};
use crate::platform::process_started;
use crate::platform::processes::is_alive;
use crate::store::StoreError;
use crate::store::membership::{NodeIdentity, Peer, Place};

pub(crate) struct FailureDetector {
    node_id: String,
    /// The host on which this node runs.
    place: Option<Place>,
    dead_after: Duration,
    /// The heartbeats of the others as they were last seen.
    sightings: HashMap<String, Sighting<Timestamp>>,
    /// Where its own clock begins.
    began: Instant,
    /// Dead nodes of this host whose commands were ended.
    swept: Vec<String>,
    /// When it was told last who locks the row of a dead node.
    lock_told: Option<Instant>,
}

/// A lock that lasts is told this often.
const LOCK_TOLD_EVERY: Duration = Duration::from_secs(30);

/// What a look at the other nodes found.
pub(crate) struct Findings {
    /// It declared a node dead: there are claims to take over.
    pub(crate) has_declared: bool,
    /// A node may be dead soon.
    pub(crate) is_any_suspect: bool,
}

impl FailureDetector {
    pub(crate) fn new(of: &NodeIdentity, dead_after: Duration) -> Self {
        Self {
            node_id: of.node_id.clone(),
            place: of.place.clone(),
            dead_after,
            sightings: HashMap::new(),
            began: Instant::now(),
            swept: Vec::new(),
            lock_told: None,
        }
    }

    /// `connected_for` is how long this node has had its connection.
    pub(crate) fn look(
        &mut self,
        session: &mut Session,
        connected_for: Duration,
    ) -> Result<Findings, StoreError> {
        let observer = Observer { connected_for, dead_after: self.dead_after };
        let peers = session.query(|store| store.peers(&self.node_id))?;
        let now = self.began.elapsed();
        self.sightings = peers
            .iter()
            .map(|peer| {
                let before = self.sightings.get(&peer.node_id);
                (
                    peer.node_id.clone(),
                    sight(before, peer.last_heartbeat, peer.is_locked, now, self.dead_after_of(peer)),
                )
            })
            .collect();
        let judged: Vec<_> = peers.iter().map(|peer| (peer, judge(&self.signs(peer), &observer))).collect();
        let is_any_suspect = judged.iter().any(|it| it.1 == Liveness::Suspect);
        let is_gone = |it: &&(&Peer, Liveness)| it.1 == Liveness::Dead(Death::ProcessGone);
        let gone: Vec<String> = judged.iter().filter(is_gone).map(|it| it.0.node_id.clone()).collect();
        if !gone.is_empty() {
            // First: once they are declared dead, others run their processes, also if this node dies now.
            self.end_commands_of(gone);
            failpoint::hit(Point::BeforeDeclaration);
        }
        self.end_commands_of_dead_neighbours(session)?;
        let mut has_declared = false;
        for (peer, liveness) in judged {
            let Liveness::Dead(death) = liveness else { continue };
            let (node_id, silent_s) = (&peer.node_id, self.unchanged_for(peer).as_secs_f64());
            match session.write(|store| store.declare_dead(peer)) {
                Ok(true) => {
                    has_declared = true;
                    let why = death.as_str();
                    warn!("node declared dead node_id={node_id} silent_s={silent_s:.1}: {why}");
                }
                Ok(false) => {}
                // Somebody has locked its row, and no other's.
                Err(error) if error.is_lock_conflict() => self.tell_of_lock(session, node_id),
                Err(error) => return Err(error),
            }
        }
        Ok(Findings { has_declared, is_any_suspect })
    }

    /// Not at each heartbeat.
    fn tell_of_lock(&mut self, session: &mut Session, node_id: &str) {
        if self.lock_told.is_none_or(|at| at.elapsed() >= LOCK_TOLD_EVERY) {
            self.lock_told = Some(Instant::now());
            // The session has logged what failed.
            let who = named(&session.query(|store| store.who_locks_node(node_id)).unwrap_or_default());
            warn!("node_id={node_id} is dead and can't be declared so: its row is locked by {who}");
        }
    }

    /// A node of another host may have declared one of ours dead whose guard has died with it.
    fn end_commands_of_dead_neighbours(&mut self, session: &mut Session) -> Result<(), StoreError> {
        let Some(place) = &self.place else { return Ok(()) };
        let mut dead = session.query(|store| store.dead_neighbours(place, &self.swept))?;
        dead.retain(|it| has_ended(it.pid, it.pid_started));
        self.end_commands_of(dead.into_iter().map(|it| it.node_id).collect());
        Ok(())
    }

    /// Of each node once: what could not be killed then will not be by a second try.
    fn end_commands_of(&mut self, mut node_ids: Vec<String>) {
        node_ids.retain(|it| !self.swept.contains(it));
        if !node_ids.is_empty() && end_commands_of(&node_ids) {
            self.swept.extend(node_ids);
        }
    }

    fn unchanged_for(&self, peer: &Peer) -> Duration {
        self.sightings.get(&peer.node_id).map_or(Duration::ZERO, |it| it.unchanged_for)
    }

    /// A node may beat more seldom than this one: it is judged by what it says of itself.
    fn dead_after_of(&self, peer: &Peer) -> Duration {
        peer.dead_after.unwrap_or(self.dead_after)
    }

    fn unlocked_for(&self, peer: &Peer) -> Duration {
        self.sightings.get(&peer.node_id).map_or(Duration::ZERO, |it| it.unlocked_for)
    }

    fn signs(&self, peer: &Peer) -> Signs {
        let is_neighbour = self.place.as_ref().zip(peer.place.as_ref()).is_some_and(|(ours, theirs)| {
            ours.boot_id == theirs.boot_id && ours.pid_namespace == theirs.pid_namespace
        });
        let started = peer.place.as_ref().and_then(|it| it.pid_started);
        Signs {
            unchanged_for: self.unchanged_for(peer),
            lease: peer.lease,
            dead_after: self.dead_after_of(peer),
            had_lock: peer.had_lock,
            is_locked: peer.is_locked,
            unlocked_for: self.unlocked_for(peer),
            is_process_gone: is_neighbour && has_ended(peer.pid, started),
        }
    }
}

/// If its guard was killed too, a node that died on this host has left its commands running. Whether they were looked for.
fn end_commands_of(node_ids: &[String]) -> bool {
    let node_id = node_ids.join(" ");
    if !guard::IS_AVAILABLE {
        return true;
    }
    match guard::kill_commands_of(node_ids) {
        Ok(swept) if swept.killed > 0 || swept.left > 0 => {
            let (killed, left) = (swept.killed, swept.left);
            warn!("commands of a dead node killed node_id={node_id} killed={killed} left={left}");
            true
        }
        Ok(_) => true,
        Err(error) => {
            warn!("commands of dead node {node_id} may still run: {error}");
            false
        }
    }
}

/// Whether the process of a node on this host has ended; another process may have its id by now.
fn has_ended(pid: i32, started: Option<i64>) -> bool {
    let Ok(pid) = u32::try_from(pid) else { return false };
    let is_another = started.is_some() && process_started(pid).is_some_and(|now| Some(now) != started);
    is_another || !is_alive(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_our_own_host_is_looked_for() {
        let place = |boot_id: &str| Place {
            boot_id: boot_id.to_owned(),
            pid_namespace: "pid:[1]".to_owned(),
            pid_started: None,
        };
        let peer = |place| Peer {
            node_id: "n-1".to_owned(),
            name: "n".to_owned(),
            pid: i32::MAX, // no process has it
            place,
            lease: Duration::from_secs(300),
            dead_after: None,
            last_heartbeat: Timestamp::UNIX_EPOCH,
            had_lock: true,
            is_locked: true,
        };
        let detector = FailureDetector {
            node_id: "n-2".to_owned(),
            place: Some(place("here")),
            dead_after: Duration::ZERO,
            sightings: HashMap::new(),
            began: Instant::now(),
            swept: Vec::new(),
            lock_told: None,
        };
        for (place, is_gone) in [(Some(place("here")), true), (Some(place("there")), false), (None, false)] {
            assert_eq!(detector.signs(&peer(place)).is_process_gone, is_gone);
        }
    }
}
