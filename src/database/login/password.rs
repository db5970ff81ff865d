//! Where the password comes from.

use std::fmt;
use std::path::PathBuf;

/// Where the password came from, for messages about a wrong one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// In the URL that this option or variable holds.
    Url(&'static str),
    /// `PGPASSWORD`.
    Environment,
    /// This password file.
    Passfile(PathBuf),
    /// There is none.
    Nowhere,
}

impl fmt::Display for PasswordSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(origin) => write!(f, "the password in {origin}"),
            Self::Environment => f.write_str("the password in PGPASSWORD"),
            Self::Passfile(path) => write!(f, "the password in {}", path.display()),
            Self::Nowhere => f.write_str("no password"),
        }
    }
}
