//! TLS as libpq's users know it: what each `sslmode` checks, and the certificates that belong to it.
//!
//! The files are read at every connection, so that a renewed certificate needs no restart; without TLS
//! nothing is read.

mod certificate;
mod check;
mod explain;
mod files;
mod mode;
mod options;
mod settings;

pub(super) use explain::{failure_in, server_has_none, tls_failure};
pub use mode::SslMode;
pub(super) use mode::Way;
pub(super) use settings::TlsSettings;
