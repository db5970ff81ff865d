//! A wait that another thread can end.

use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

/// A channel of one message: a second one before anybody has looked says nothing new.
pub(super) struct Signal {
    sender: Sender<()>,
    receiver: Receiver<()>,
}

impl Default for Signal {
    fn default() -> Self {
        let (sender, receiver) = bounded(1);
        Self { sender, receiver }
    }
}

impl Signal {
    /// Costs next to nothing while nobody waits.
    pub(super) fn notify(&self) {
        // Full: a message is there already. Both ends live as long as this does.
        let _ = self.sender.try_send(());
    }

    /// Gets a message once somebody has notified.
    pub(super) fn receiver(&self) -> &Receiver<()> {
        &self.receiver
    }

    /// Waits for a message until `deadline`; `false` when none came.
    pub(super) fn wait_until(&self, deadline: Instant) -> bool {
        self.receiver.recv_deadline(deadline).is_ok()
    }

    /// The same, but an old message counts only if `holds` says that its reason still exists.
    pub(super) fn wait_for_new(&self, deadline: Instant, holds: impl Fn() -> bool) {
        while self.receiver.try_recv().is_ok() {}
        if !holds() {
            self.wait_until(deadline);
        }
    }
}
