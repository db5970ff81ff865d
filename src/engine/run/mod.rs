//! From a claimed task to the end of its command.

pub(super) mod command_runner;
pub(super) mod executor;
pub(super) mod job_queue;
pub(super) mod output_room;
pub(super) mod permits;
mod render;
pub(super) mod runner;
pub(super) mod slots;
