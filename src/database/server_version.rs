//! What answers: a server's version, and whether it takes writes.

/// The oldest major version of the server that works.
pub const OLDEST_SERVER: u32 = 12;

/// What a command is going to do with the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only look.
    Read,
    /// Change something.
    Write,
}

/// What answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Such as 150018 for 15.18.
    pub version_number: u32,
    /// As the server says it.
    pub version: String,
    /// Sessions cannot write.
    pub read_only: bool,
    /// A standby that follows another server.
    pub standby: bool,
    /// In which encoding the database keeps text.
    pub encoding: String,
    /// Whether triggers fire: not with `session_replication_role = replica`.
    pub fires_triggers: bool,
}
