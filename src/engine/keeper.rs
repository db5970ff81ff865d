//! The keeper renews the node's row, ends commands whose claims have been taken, and sees to it that the guard lives.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::{error, warn};

use super::guard::Guard;
use super::link::Link;
use super::shared::{Phase, Shared};
use crate::command::Reason;
use crate::store::StoreError;
use crate::store::nodes::NodeState;

/// How often a node says that it lives.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(2);

/// Runs until `quit` is closed, which is the last thing at a stop.
pub(super) fn run(shared: &Arc<Shared>, quit: &Receiver<()>) {
    let mut link = Link::new(Arc::clone(shared), "keeper");
    loop {
        // Before the database, which may keep us waiting.
        shared.guard.iter().for_each(Guard::keep_alive);
        let pause = match beat(shared, &mut link) {
            Ok(()) => HEARTBEAT,
            Err(error) => {
                if !error.is_transient() {
                    error!("heartbeat failed: failed to {error}");
                }
                link.pause().min(HEARTBEAT)
            }
        };
        match quit.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Err(error) = link.run(|store| store.heartbeat(&shared.node_id, NodeState::Stopped)) {
        warn!("the node's end was not recorded: failed to {error}");
    }
}

fn beat(shared: &Shared, link: &mut Link) -> Result<(), StoreError> {
    let state = if shared.phase() >= Phase::Draining { NodeState::Stopping } else { NodeState::Running };
    if !link.run(|store| store.heartbeat(&shared.node_id, state))? {
        warn!("this node's row is gone or says DEAD");
    }
    let held = shared.claims.snapshot();
    if held.is_empty() {
        return Ok(());
    }
    for (process_id, version) in link.run(|store| store.lost_claims(&shared.node_id, &held))? {
        if shared.running.interrupt_claim(&process_id, version, Reason::Fenced) {
            warn!("command ended process_id={process_id:?} version={version}: its claim was taken");
        }
    }
    Ok(())
}
