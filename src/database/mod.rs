//! Where PostgreSQL is and how to connect to it.
//!
//! [`Target::resolve`] decides between a server that the user names (`--database-url`, `DATABASE_URL`,
//! libpq's `PG*`) and the private cluster kept in the data directory. Both lead to
//! [`ConnectionSettings`], which open connections; engine threads see only a [`ConnectionSource`], so a
//! library user's own r2d2 pool serves as well. What is asked of the connections is not decided here.

mod connect;
mod conninfo;
mod credential;
pub mod data_dir;
mod error;
mod passfile;
mod pooler;
#[cfg(unix)]
pub mod private_cluster;
mod reader;
mod service_file;
mod settings;
mod source;
mod tls;

pub use connect::{Access, OLDEST_SERVER, Patience, ServerFacts, check_server};
pub use conninfo::holds_password;
pub use error::{ConnectError, ConnectFailure, SettingsError};
pub use pooler::Pooler;
pub use settings::{ConnectionSettings, Environment, PasswordSource, Target, process_environment};
pub use source::{Connection, ConnectionManager, ConnectionSource};
pub use tls::SslMode;

#[cfg(all(test, unix))]
mod tests;
