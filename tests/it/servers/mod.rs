//! PostgreSQL as others run it: with TLS, behind a pooler, with standbys, of an older schema.

pub mod failover;
mod functions;
pub mod migrate;
pub mod pgbouncer;
pub mod pooler;
pub mod replication;
pub mod tls;
#[cfg(target_os = "linux")]
pub mod tls_server;
