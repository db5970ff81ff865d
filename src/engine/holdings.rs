//! What a node holds: claims, the commands that run under them, and the wake-ups of the poller that claims more.

use std::io;
use std::sync::Arc;

use super::claim::held::HeldClaims;
use super::claim::wakeups::Wakeups;
use super::run::slots::Slots;

pub(super) struct Holdings {
    pub(super) node_id: Arc<str>,
    pub(super) claims: HeldClaims,
    pub(super) slots: Slots,
    pub(super) wakeups: Wakeups,
}

impl Holdings {
    pub(super) fn new(node_id: &str, executors: usize) -> io::Result<Self> {
        let (claims, slots) = (HeldClaims::default(), Slots::new(executors)?);
        Ok(Self { node_id: node_id.into(), claims, slots, wakeups: Wakeups::default() })
    }
}
