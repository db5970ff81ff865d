//! From the end of a command to its record and the next task.

mod batch;
mod decide;
pub(super) mod pace;
pub(super) mod recorder;
