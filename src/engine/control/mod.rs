//! What operators ask of a node that runs.

pub(super) mod listener;
pub(super) mod requests;
