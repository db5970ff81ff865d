//! Fences the node when its lease expires although the heartbeat is stuck, in a query without an answer for example.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::warn;

use super::lease::Lease;
use crate::command::Reason;
use crate::engine::run::slots::Slots;
use crate::failpoint::{self, Point};

/// Far below the third of a lease that is left when it counts as expired.
const LOOK: Duration = Duration::from_millis(250);

/// Watches the lease, without the database, until `quit` is closed.
pub(crate) fn watch_lease(lease: &Lease, slots: &Slots, quit: &Receiver<()>) {
    let mut is_fenced = false;
    while quit.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        failpoint::hit(Point::WatchingLease);
        if !lease.is_expired() {
            is_fenced = false;
            continue;
        }
        // Again at each look: a command may have begun just before.
        let ended = slots.interrupt_all(Reason::Fenced);
        if !is_fenced || ended > 0 {
            warn!(
                "lease not renewed for {:.1} s: the node claims nothing and has ended its commands ended={ended}",
                lease.age().as_secs_f64()
            );
        }
        is_fenced = true;
    }
}
