//! The database and the way to it, made to fail in every way we know: what must come out is the same every time.
#![cfg(target_os = "linux")]

mod blockers;
mod locks;
mod lost_answers;
mod network;
mod odd_databases;
mod outputs;
mod proxy;
mod restarts;
mod row_locks;
mod silence;
mod surroundings;
pub mod world;
