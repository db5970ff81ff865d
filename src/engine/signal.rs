//! A wait that another thread can end.

use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

/// A channel of one message, which says that something has happened since it was last waited for.
pub(super) struct Signal {
    tell: Sender<()>,
    told: Receiver<()>,
}

impl Default for Signal {
    fn default() -> Self {
        let (tell, told) = bounded(1);
        Self { tell, told }
    }
}

impl Signal {
    /// Costs next to nothing while nobody waits.
    pub(super) fn tell(&self) {
        // Full: it is told already. Both ends live as long as this does.
        let _ = self.tell.try_send(());
    }

    /// Waits until it is told, or until then; what was told before this call counts only if `is_so` says that it
    /// still holds.
    pub(super) fn wait_until(&self, deadline: Instant, is_so: impl Fn() -> bool) {
        while self.told.try_recv().is_ok() {}
        if !is_so() {
            let _ = self.told.recv_deadline(deadline);
        }
    }
}
