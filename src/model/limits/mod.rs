//! Limits: how many processes, or commands of theirs, run at once.

pub mod definition;
pub mod usage;
