//! The suite: real PostgreSQL, real threads, real commands. Every test has a schema of its own.
#![allow(clippy::unwrap_used, missing_docs)] // a failed unwrap is a failed test

mod batches;
mod chaos;
mod commands;
mod common;
mod endpoint;
mod eras;
mod faults;
mod house;
mod limits;
mod liveness;
mod looks;
#[cfg(target_os = "linux")]
mod machine;
mod metrics;
mod node;
mod plans;
mod program;
mod protocol;
mod readme;
mod schedules;
mod scripts;
mod servers;
mod terminal;
mod turns;

// What the tests of one folder use of another's.
use commands::cli;
use endpoint::{http, http_writes};
use node::control;
#[cfg(target_os = "linux")]
use servers::tls_server;
use servers::{pgbouncer, replication};
