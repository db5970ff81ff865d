//! What the program has around it: the database, signals, the journal, systemd, the installed service, other users.

pub mod as_service;
pub mod logging;
pub mod secrecy;
pub mod service_manager;
pub mod session;
pub mod signals;
pub mod stopping;
