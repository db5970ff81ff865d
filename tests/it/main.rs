//! The suite: real PostgreSQL, real threads, real commands. Every test has a schema of its own.
#![allow(clippy::unwrap_used, missing_docs)] // a failed unwrap is a failed test

mod bad_commands;
mod bad_input;
mod bad_surroundings;
mod bench;
mod chaos;
mod cli;
mod common;
mod control;
mod control_cli;
mod doctor;
mod engine;
mod failover;
mod faults;
mod follow;
mod guard;
mod http;
mod http_writes;
mod library;
mod lists;
mod live;
mod liveness;
#[cfg(target_os = "linux")]
mod machine;
mod metrics;
mod migrate;
mod nodes;
mod openapi;
mod page;
mod pgbouncer;
mod plans;
mod pooler;
mod program;
mod readme;
mod record;
mod replication;
mod scripts;
mod secrecy;
mod start;
mod systemd;
mod tls;
#[cfg(target_os = "linux")]
mod tls_server;
