//! Which nodes live, and what becomes of what dead ones held.

pub(super) mod failure_detector;
pub(super) mod fence;
pub(super) mod heartbeat;
pub(super) mod lease;
pub(super) mod node_lock;
mod record_lost;
pub(super) mod takeover;
