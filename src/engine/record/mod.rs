//! From the end of a command to its record and the next task.

pub(super) mod apart;
mod batch;
mod decide;
pub(super) mod freed;
pub(super) mod pace;
pub(super) mod recorder;
