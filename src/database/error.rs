//! What can go wrong on the way to a connection, in words that a person can act on.

use std::error::Error;
use std::fmt;

use super::login::PasswordSource;
use super::server_version::OLDEST_SERVER;

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
        user: Box<str>,
        /// Where the password came from.
        password: PasswordSource,
        /// Whether that is for the password, or for the lack of one.
        is_for_password: bool,
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
    /// The database can't hold what we keep, or does not do what we rely on.
    Unsuitable {
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
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
            | ConnectFailure::Unsuitable { .. }
            | ConnectFailure::Tls { .. }
            | ConnectFailure::Other { .. } => false,
        }
    }
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
            Self::AuthenticationFailed { user, password, is_for_password, message } => {
                write!(f, "the server refused user {user:?} with {password}: {message}; ")?;
                f.write_str(match password {
                    _ if !is_for_password => {
                        "correct the user, have the server's pg_hba.conf let it in from here, or give what that asks for (a \
                         client certificate: sslcert and sslkey)"
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
                 target_session_attrs=read-write{}",
                if *standby { "is a standby and takes no writes" } else { "allows no writes" },
                if *standby {
                    ""
                } else {
                    ", or take back default_transaction_read_only of this user or database"
                }
            ),
            Self::Unsuitable { problem, remedy } => write!(f, "{problem}; {remedy}"),
            Self::Tls { cause, remedy } => write!(f, "{cause}; {remedy}"),
            Self::Pool { message } => {
                write!(f, "the connection pool gave none: {message}; check its settings and its size")
            }
            Self::PrivateCluster { message } => f.write_str(message),
            Self::Other { message } => f.write_str(message),
        }
    }
}
