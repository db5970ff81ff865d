//! How the server learns who we are: passwords, where they come from, and what it may ask for.

pub(super) mod passfile;
mod password;
pub(super) mod require_auth;

pub use password::PasswordSource;
