//! How a node fares: what it has measured, whether its threads move, whether it is ready.

pub(super) mod answers;
pub mod metrics;
pub(super) mod node_health;
pub(super) mod stuck_sessions;
pub(super) mod thread_watchdog;
