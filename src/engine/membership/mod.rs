//! Which nodes live, and what becomes of what dead ones held.

mod failure_detector;
pub(super) mod heartbeat;
pub(super) mod lease;
mod record_lost;
mod takeover;
