//! What is wrong with the settings of a connection.

use std::error::Error;
use std::fmt;

/// Connection settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The option or variable that holds the fault, such as `DATABASE_URL`.
    pub origin: String,
    /// What is wrong. Holds no password.
    pub problem: String,
    /// What to do; empty when the problem says it.
    pub remedy: String,
}

impl SettingsError {
    pub(super) fn new(origin: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { origin: origin.to_string(), problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to read the database settings: {}: {}", self.origin, self.problem)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

impl Error for SettingsError {}
