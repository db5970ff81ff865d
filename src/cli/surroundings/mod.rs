//! What the program has around it: the database, signals, the journal, systemd, other users.

pub mod logging;
pub mod secrecy;
pub mod service_manager;
pub mod session;
pub mod signals;
pub mod stopping;
