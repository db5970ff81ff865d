//! Fences the node when its lease expires although the heartbeat is stuck, in a query without an answer for example.

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::warn;

use super::lease::Lease;
use crate::command::Reason;
use crate::engine::run::slots::Slots;
use crate::failpoint::{self, Point};
use crate::model::lease::Expiry;

/// Watches the lease, without the database, until `quit` is closed.
pub(crate) fn watch_lease(lease: &Lease, slots: &Slots, quit: &Receiver<()>) {
    let mut is_fenced = false;
    while quit.recv_timeout(lease.look_every()) == Err(RecvTimeoutError::Timeout) {
        failpoint::hit(Point::WatchingLease);
        let Some(expiry) = lease.expiry() else {
            is_fenced = false;
            continue;
        };
        // Again at each look: a command may have begun just before.
        let ended = slots.interrupt_all(Reason::Fenced);
        if !is_fenced || ended > 0 {
            let why = match expiry {
                Expiry::DeclaredDead => "declared dead by others",
                Expiry::NotRenewed => "lease not renewed",
                Expiry::LockLost => {
                    "node's lock lost and not regained, while the database answers others of its threads,"
                }
            };
            warn!(
                "{why} for {:.1} s: the node claims nothing and has ended its commands ended={ended}",
                lease.age().as_secs_f64()
            );
        }
        is_fenced = true;
    }
}
