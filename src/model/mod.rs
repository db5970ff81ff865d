//! The words of the domain: what a process type says, what a process is, and how both move.
//!
//! Nothing here does I/O, and nothing here knows the rest of the crate.

pub mod batch;
pub mod control_document;
pub mod document;
pub mod duration;
pub mod environment;
pub mod explain;
pub mod faults;
pub mod input;
pub mod json_schema;
pub mod jsonb;
pub mod lease;
pub mod lifecycle;
pub mod limits;
pub mod liveness;
pub mod malformed;
pub mod names;
pub mod process_type;
pub mod records;
pub mod registry;
pub mod retry;
pub mod schedule;
pub mod shell;
pub mod start_document;
pub mod suggest;
pub mod template;
