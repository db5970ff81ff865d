//! What is claimed, and when.

pub(super) mod held;
pub(super) mod poller;
pub(super) mod preemption;
pub(crate) mod scan_cursor;
