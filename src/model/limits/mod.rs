//! Limits: how many processes, or commands of theirs, run at once; of a type, of a group, of a key.

pub mod admission;
pub mod definition;
pub mod usage;
#[cfg(test)]
mod world;
