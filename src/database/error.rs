//! What can go wrong on the way to a connection, in words that a person can act on.

use std::error::Error;
use std::fmt;
use std::io;

use postgres::error::SqlState;

use super::connect::OLDEST_SERVER;
use super::settings::PasswordSource;
use super::tls::{self, SslMode};

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

/// A connection that could not be had, or a server that cannot be used.
#[derive(Debug)]
pub struct ConnectError {
    /// The server, database and user. Holds no password.
    pub target: String,
    /// What went wrong.
    pub failure: ConnectFailure,
}

/// Why there is no usable connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nothing answers there: refused, no such socket, no answer in time, no route, closed half-way.
    Unreachable {
        /// In the system's words.
        cause: String,
    },
    /// The host's name has no address.
    UnknownHost {
        /// In the resolver's words.
        cause: String,
    },
    /// The server will not let this user in.
    AuthenticationFailed {
        /// Who was refused.
        user: String,
        /// Where the password came from.
        password: PasswordSource,
        /// The server's or the client library's words.
        message: String,
    },
    /// The server has no database of this name.
    NoSuchDatabase {
        /// The name.
        database: String,
    },
    /// The server has no connection left.
    TooManyConnections {
        /// The server's words.
        message: String,
    },
    /// The server is starting, recovering or shutting down.
    StartingUp {
        /// The server's words.
        message: String,
    },
    /// The server is older than what we need.
    TooOld {
        /// As the server says it.
        version: String,
    },
    /// The session cannot write, and writing is needed.
    ReadOnly {
        /// The server is a standby.
        standby: bool,
    },
    /// TLS is asked for, by us or by the server, and cannot be had as it is asked for.
    Tls {
        /// What is wrong.
        cause: String,
        /// What to do.
        remedy: String,
    },
    /// The pool of the library's user gave no connection.
    Pool {
        /// The pool's words.
        message: String,
    },
    /// The private cluster could not be brought back.
    PrivateCluster {
        /// Its error.
        message: String,
    },
    /// Anything else.
    Other {
        /// The whole chain of causes.
        message: String,
    },
}

impl ConnectError {
    /// Whether trying again later may help without anybody changing a setting.
    pub fn is_transient(&self) -> bool {
        match &self.failure {
            ConnectFailure::Unreachable { .. }
            | ConnectFailure::UnknownHost { .. }
            | ConnectFailure::TooManyConnections { .. }
            | ConnectFailure::StartingUp { .. }
            // A failover is about to end, or the primary moved.
            | ConnectFailure::ReadOnly { .. }
            | ConnectFailure::Pool { .. }
            | ConnectFailure::PrivateCluster { .. } => true,
            ConnectFailure::AuthenticationFailed { .. }
            | ConnectFailure::NoSuchDatabase { .. }
            | ConnectFailure::TooOld { .. }
            | ConnectFailure::Tls { .. }
            | ConnectFailure::Other { .. } => false,
        }
    }
}

/// Whom a failed attempt was for.
pub(super) struct Attempt<'a> {
    pub ssl_mode: SslMode,
    pub user: &'a str,
    pub database: &'a str,
    pub password: &'a PasswordSource,
}

/// Finds out what a failed attempt means. The library's own message hides the cause, which is in the
/// chain of sources.
pub(super) fn diagnose(error: &postgres::Error, attempt: &Attempt<'_>) -> ConnectFailure {
    if let Some(refusal) = error.as_db_error() {
        return diagnose_refusal(refusal.code(), refusal.message(), attempt);
    }
    if let Some(failure) = tls::tls_failure(error) {
        return failure;
    }
    if let Some(cause) = io_cause(error) {
        return diagnose_io(cause);
    }
    let message = chain(error);
    if tls::server_has_none(&message) {
        return ConnectFailure::Tls {
            cause: format!(
                "the server does not speak TLS, which sslmode={} asks for",
                attempt.ssl_mode.name()
            ),
            remedy: "set it up on the server (ssl=on), or use sslmode=prefer".into(),
        };
    }
    // Said for a server that asks for a password when there is none; it has no code.
    if message.contains("password missing") || message.starts_with("authentication error") {
        return refused(attempt, message);
    }
    match error.is_closed() {
        true => ConnectFailure::Unreachable { cause: "the server closed the connection".into() },
        false => ConnectFailure::Other { message },
    }
}

/// Finds out what it means that the first question on a new connection was not answered.
pub(super) fn diagnose_silence(error: &postgres::Error) -> ConnectFailure {
    match (error.as_db_error(), io_cause(error)) {
        (Some(ended), _) if is_ending(ended.code()) => {
            ConnectFailure::StartingUp { message: ended.message().to_owned() }
        }
        (None, Some(cause)) => diagnose_io(cause),
        (None, None) if error.is_closed() => {
            ConnectFailure::Unreachable { cause: "the server closed the connection".into() }
        }
        _ => ConnectFailure::Other { message: chain(error) },
    }
}

/// Whether the server comes up, goes down, or has ended this one session, which looks the same from here.
fn is_ending(code: &SqlState) -> bool {
    [SqlState::CANNOT_CONNECT_NOW, SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code)
}

fn diagnose_refusal(code: &SqlState, message: &str, attempt: &Attempt<'_>) -> ConnectFailure {
    let message = message.to_string();
    match code {
        // PostgreSQL 14 and later, and before.
        code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
            && (message.contains("no encryption") || message.contains("SSL off")) =>
        {
            ConnectFailure::Tls {
                cause: format!("the server lets nobody in without TLS ({message})"),
                remedy: "use sslmode=prefer or a stronger one".into(),
            }
        }
        code if *code == SqlState::INVALID_PASSWORD
            || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
        {
            refused(attempt, message)
        }
        code if *code == SqlState::INVALID_CATALOG_NAME => {
            ConnectFailure::NoSuchDatabase { database: attempt.database.to_string() }
        }
        code if *code == SqlState::TOO_MANY_CONNECTIONS => ConnectFailure::TooManyConnections { message },
        code if is_ending(code) => ConnectFailure::StartingUp { message },
        // In a pooler's words: it is there, and the server behind it is not.
        code if code.code().starts_with("08") => ConnectFailure::Unreachable { cause: message },
        code => ConnectFailure::Other { message: format!("{message} (SQLSTATE {})", code.code()) },
    }
}

fn refused(attempt: &Attempt<'_>, message: String) -> ConnectFailure {
    ConnectFailure::AuthenticationFailed {
        user: attempt.user.to_string(),
        password: attempt.password.clone(),
        message,
    }
}

fn diagnose_io(cause: &io::Error) -> ConnectFailure {
    let text = cause.to_string();
    // The library checks target_session_attrs itself and says so in these words.
    if cause.kind() == io::ErrorKind::PermissionDenied && text.contains("does not allow writes") {
        return ConnectFailure::ReadOnly { standby: false };
    }
    // A resolver's failure has no kind of its own; these are the words of std and of the library.
    if text.starts_with("failed to lookup address") || text.contains("could not resolve any addresses") {
        return ConnectFailure::UnknownHost { cause: text };
    }
    let cause = match cause.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_string(),
        io::ErrorKind::NotFound => "no such socket".to_string(),
        io::ErrorKind::TimedOut => "no answer in time".to_string(),
        io::ErrorKind::UnexpectedEof => "the server closed the connection".to_string(),
        _ => text,
    };
    ConnectFailure::Unreachable { cause }
}

fn io_cause(error: &postgres::Error) -> Option<&io::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io);
        }
        source = cause.source();
    }
    None
}

/// An error with all its causes, which `Display` of [`postgres::Error`] leaves out.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to connect to {}: {}", self.target, self.failure)
    }
}

impl Error for ConnectError {}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { cause } => {
                write!(f, "{cause}; check that the server runs there and that host and port are right")
            }
            Self::UnknownHost { cause } => write!(f, "{cause}; check the spelling of the host's name"),
            Self::AuthenticationFailed { user, password, message } => {
                write!(f, "the server refused user {user:?} with {password}: {message}; ")?;
                f.write_str(match password {
                    _ if message.contains("client certificate") || message.contains("certificate auth") => {
                        "give one for this user with sslcert and sslkey, or correct the user"
                    }
                    PasswordSource::Nowhere => {
                        "give a password in DATABASE_URL, PGPASSWORD or ~/.pgpass, or have the server's \
                         pg_hba.conf let this user in without"
                    }
                    _ => "correct the user or the password",
                })
            }
            Self::NoSuchDatabase { database } => {
                write!(f, "the server has no database {database:?}; create it (createdb) or name another")
            }
            Self::TooManyConnections { message } => write!(
                f,
                "{message}; close other clients, raise max_connections of the server, or give this user more"
            ),
            Self::StartingUp { message } => write!(f, "{message}; try again in a moment"),
            Self::TooOld { version } => write!(
                f,
                "the server is PostgreSQL {version}, at least {OLDEST_SERVER} is needed; upgrade the server"
            ),
            Self::ReadOnly { standby } => write!(
                f,
                "the server {}; connect to the primary, or name all servers with \
                 target_session_attrs=read-write",
                if *standby { "is a standby and takes no writes" } else { "allows no writes" }
            ),
            Self::Tls { cause, remedy } => write!(f, "{cause}; {remedy}"),
            Self::Pool { message } => {
                write!(f, "the connection pool gave none: {message}; check its settings and its size")
            }
            Self::PrivateCluster { message } => f.write_str(message),
            Self::Other { message } => f.write_str(message),
        }
    }
}
