//! What the user says of a pooler between us and the server.

use std::fmt;
use std::str::FromStr;

/// Whether a pooler sits in front of the server, and when it gives a session to somebody else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pooler {
    /// It is found out at every connection.
    #[default]
    Auto,
    /// There is none.
    None,
    /// When we disconnect: everything works as without it.
    Session,
    /// After every transaction: no session locks, no LISTEN, nothing prepared.
    Transaction,
}

impl Pooler {
    /// All of them, as the user writes them.
    pub const WORDS: [&'static str; 4] = ["auto", "none", "session", "transaction"];

    /// As the user writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Session => "session",
            Self::Transaction => "transaction",
        }
    }
}

impl fmt::Display for Pooler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Pooler {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        [Self::Auto, Self::None, Self::Session, Self::Transaction]
            .into_iter()
            .find(|it| it.as_str() == word)
            .ok_or_else(|| format!("write one of {}", Self::WORDS.join(", ")))
    }
}
