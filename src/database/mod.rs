//! Where PostgreSQL is and how to connect to it.
//!
//! [`Target::resolve`] decides between a server that the user names (`--database-url`, `DATABASE_URL`,
//! libpq's `PG*`) and the private cluster kept in the data directory. Both lead to
//! [`ConnectionSettings`], which open connections; engine threads see only a [`ConnectionSource`], so a
//! library user's own r2d2 pool serves as well. What is asked of the connections is not decided here.

mod check_server;
mod connect;
mod conninfo;
mod credential;
pub mod data_dir;
mod diagnose;
mod environment;
mod error;
mod login;
mod pooler;
#[cfg(unix)]
pub mod private_cluster;
mod reader;
mod server;
mod server_version;
mod service_file;
mod settings;
mod settings_error;
mod source;
mod tls;

pub use check_server::{check_server, unsuitable};
pub use connect::Patience;
pub use conninfo::holds_password;
pub use environment::{Environment, process_environment};
pub use error::{ConnectError, ConnectFailure};
pub use login::PasswordSource;
pub use pooler::Pooler;
pub use server_version::{Access, OLDEST_SERVER, ServerFacts};
pub use settings::{ConnectionSettings, Target};
pub use settings_error::SettingsError;
pub use source::{Connection, ConnectionManager, ConnectionSource};
pub use tls::SslMode;

#[cfg(all(test, unix))]
mod tests;
