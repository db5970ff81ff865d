//! What can go wrong between us and the tables.

use std::error::Error;
use std::fmt;

use postgres::error::SqlState;

use super::connection::quote_identifier;
use crate::database::{ConnectError, ConnectFailure};

/// A failure of the store. Displayed, it completes the phrase "failed to …".
#[derive(Debug)]
pub enum StoreError {
    /// No connection could be had.
    Connect(ConnectError),
    /// The functions of the schema refused what was asked.
    Refused(Refusal),
    /// The schema is not there or is older than this binary needs.
    SchemaMissing {
        /// The schema's name.
        schema: String,
        /// The version found; 0 where there is none.
        found: i32,
        /// The version this binary needs.
        needed: i32,
    },
    /// The schema is not there, and the role of this connection may not make it.
    MayNotCreate {
        /// The schema's name.
        schema: String,
        /// The database in which it is to be.
        database: String,
        /// The role.
        role: String,
    },
    /// The schema's functions act on another one.
    FunctionsElsewhere {
        /// The schema's name.
        schema: String,
        /// Which, and on what.
        told: String,
    },
    /// The schema is newer than this binary.
    SchemaNewer {
        /// The schema's name.
        schema: String,
        /// The version found.
        found: i32,
        /// The newest version this binary knows.
        known: i32,
    },
    /// A migration that is recorded as applied differs from the one in this binary.
    MigrationChanged {
        /// The migration's number.
        version: i32,
        /// Its name.
        name: String,
    },
    /// A row says something that no version of this program writes.
    Unreadable {
        /// Such as `process "p-1"`.
        row: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The same, as the sentence that a list has for it.
    UnreadableRow(String),
    /// Somebody else's transaction has locked what was to be changed.
    Locked {
        /// Such as `process "p-1"`.
        what: String,
        /// Whose transaction, since when.
        holder: String,
    },
    /// The database can't be used, whatever its tables hold.
    Unsuitable(ConnectFailure),
    /// A pooler gives the session to others after every statement.
    StatementPooling {
        /// What it says.
        source: postgres::Error,
    },
    /// The server's side of a lost connection does not end.
    BackendStays {
        /// Its process on the server.
        pid: i32,
    },
    /// PostgreSQL failed or refused a migration, of which nothing is left.
    Migration {
        /// Its name.
        migration: &'static str,
        /// The cause.
        source: postgres::Error,
    },
    /// A migration has waited in vain for others' locks.
    MigrationBlocked {
        /// Its name.
        migration: &'static str,
        /// How long it has waited, in seconds.
        waited_s: u64,
        /// Who is in the way.
        holder: String,
        /// The holder's process of the server.
        pid: Option<i32>,
    },
    /// PostgreSQL failed or refused a statement.
    Database {
        /// Completes "failed to …".
        action: &'static str,
        /// The cause.
        source: postgres::Error,
    },
}

/// The word that programs get for [`StoreError::Locked`], as [`RefusalReason::code`] has those of refusals.
pub const LOCKED: &str = "locked";

/// Why the schema's functions refused what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of refusal it is.
    pub reason: RefusalReason,
    /// A sentence that names the thing and the value.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// The refusals of the schema's functions, by the SQLSTATE they carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// `PO001`
    UnknownProcessType,
    /// `PO002`
    InvalidInput,
    /// `PO003`
    MissingVariable,
    /// `PO004`
    ProcessIdTaken,
    /// `PO005`
    InvalidProcessId,
    /// `PO006`
    InvalidStartTime,
    /// `PO007`
    UnknownProcess,
    /// `PO008`
    NotRetryable,
    /// `PO009`
    UnknownTask,
    /// `PO020`
    UnknownLimit,
    /// `PO012`
    WouldSkip,
    /// `PO030`
    UnknownSchedule,
    /// `PO031`
    InvalidSchedule,
    /// `PO040`
    UnknownBatch,
    /// `PO041`, `PO043`
    InvalidBatch,
    /// `PO042`
    BatchOfOtherType,
}

impl RefusalReason {
    /// The word for it that programs get, from the endpoint and the command line.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnknownProcessType => "unknown_process_type",
            Self::InvalidInput => "invalid_input",
            Self::MissingVariable => "missing_variable",
            Self::ProcessIdTaken => "process_id_taken",
            Self::InvalidProcessId => "invalid_process_id",
            Self::InvalidStartTime => "invalid_start_time",
            Self::UnknownProcess => "process_not_found",
            Self::NotRetryable => "not_retryable",
            Self::UnknownTask => "unknown_task",
            Self::WouldSkip => "would_skip",
            Self::UnknownBatch => "batch_not_found",
            Self::InvalidBatch => "invalid_batch",
            Self::BatchOfOtherType => "batch_of_other_type",
            Self::UnknownLimit => "limit_not_found",
            Self::UnknownSchedule => "schedule_not_found",
            Self::InvalidSchedule => "invalid_schedule",
        }
    }

    fn of(state: &SqlState) -> Option<Self> {
        match state.code() {
            "PO001" => Some(Self::UnknownProcessType),
            "PO002" => Some(Self::InvalidInput),
            "PO003" => Some(Self::MissingVariable),
            "PO004" => Some(Self::ProcessIdTaken),
            "PO005" => Some(Self::InvalidProcessId),
            "PO006" => Some(Self::InvalidStartTime),
            "PO007" => Some(Self::UnknownProcess),
            "PO008" => Some(Self::NotRetryable),
            "PO009" => Some(Self::UnknownTask),
            "PO012" => Some(Self::WouldSkip),
            "PO040" => Some(Self::UnknownBatch),
            "PO041" | "PO043" => Some(Self::InvalidBatch),
            "PO042" => Some(Self::BatchOfOtherType),
            "PO020" => Some(Self::UnknownLimit),
            "PO030" => Some(Self::UnknownSchedule),
            "PO031" => Some(Self::InvalidSchedule),
            _ => None,
        }
    }
}

impl StoreError {
    /// Wraps what PostgreSQL answered to a statement that was to do `action`.
    pub(crate) fn database(action: &'static str, source: postgres::Error) -> Self {
        if let Some(answer) = source.as_db_error()
            && let Some(reason) = RefusalReason::of(answer.code())
        {
            return Self::Refused(Refusal {
                reason,
                message: answer.message().to_owned(),
                remedy: answer.hint().unwrap_or_default().to_owned(),
            });
        }
        Self::Database { action, source }
    }

    /// Wraps what was answered to a BEGIN. A pooler in statement mode refuses it, and nothing that is asked for works through
    /// it.
    pub(super) fn beginning(action: &'static str, source: postgres::Error) -> Self {
        match source.code() {
            Some(code) if *code == SqlState::PROTOCOL_VIOLATION => Self::StatementPooling { source },
            _ => Self::database(action, source),
        }
    }

    /// What PostgreSQL or the way to it has answered to a statement.
    fn answer(&self) -> Option<&postgres::Error> {
        match self {
            Self::Database { source, .. } | Self::Migration { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Whether a new connection, or just another try a little later, may succeed: the connection was lost, the
    /// server is going down or coming up, a lock or serialization conflict, resources used up.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(_) | Self::BackendStays { .. } | Self::Locked { .. } => true,
            Self::Database { source, .. } | Self::Migration { source, .. } => {
                source.is_closed()
                    || source.as_db_error().is_none_or(|answer| is_transient_state(answer.code()))
            }
            _ => false,
        }
    }

    /// Whether the connection is gone: it broke, or the server has ended it, as it does when it stops or somebody has
    /// terminated the session.
    pub fn is_connection_lost(&self) -> bool {
        let Some(source) = self.answer() else { return false };
        let is_ended = |state: &SqlState| state.code().starts_with("08") || state.code().starts_with("57P");
        source.is_closed() || source.as_db_error().is_none_or(|answer| is_ended(answer.code()))
    }

    /// Whether the database refuses a value (SQLSTATE classes 22, 23 and 54): the same statement would be refused
    /// again, with other values it would not.
    pub fn is_refused_value(&self) -> bool {
        let Some(source) = self.answer() else { return false };
        let is_value = source.code().is_some_and(|state| ["22", "23", "54"].contains(&&state.code()[..2]));
        is_value && !self.is_recorded_already()
    }

    /// Whether an execution is in the audit trail already: somebody was faster, or we were, and did not hear of it.
    pub fn is_recorded_already(&self) -> bool {
        let Some(source) = self.answer() else { return false };
        source.as_db_error().is_some_and(|answer| {
            *answer.code() == SqlState::UNIQUE_VIOLATION
                && answer.table().is_some_and(|it| it.starts_with("executions_"))
        })
    }

    /// Whether the connection is as good as before: a conflict over a lock, a statement that took too long.
    pub fn leaves_connection_whole(&self) -> bool {
        let Some(source) = self.answer() else { return false };
        !source.is_closed()
            && source.code().is_some_and(|state| {
                state.code().starts_with("40")
                    || *state == SqlState::LOCK_NOT_AVAILABLE
                    || *state == SqlState::QUERY_CANCELED
            })
    }

    /// Whether the server has ended this transaction in favour of another one: the same work may succeed at once.
    pub fn is_rolled_back(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        source.code().is_some_and(|state| state.code().starts_with("40"))
    }

    /// Whether another transaction's locks were in the way for too long.
    pub(crate) fn is_lock_conflict(&self) -> bool {
        let Some(source) = self.answer() else { return false };
        source.code().is_some_and(|state| {
            *state == SqlState::LOCK_NOT_AVAILABLE || *state == SqlState::T_R_DEADLOCK_DETECTED
        })
    }

    /// Whether two transactions waited for each other.
    pub(super) fn is_deadlock(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        source.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED)
    }

    /// Whether the schema that is needed is not there (any more).
    pub fn is_schema_missing(&self) -> bool {
        match self {
            Self::SchemaMissing { .. } => true,
            Self::Database { source, .. } => source.code().is_some_and(|state| {
                *state == SqlState::UNDEFINED_TABLE || *state == SqlState::INVALID_SCHEMA_NAME
            }),
            _ => false,
        }
    }
}

/// By SQLSTATE class: 08 connection, 40 rollback, 53 resources, 55 object state, 57 operator intervention, 58
/// system error, and 25006 read-only (a server that has just been demoted or is not yet promoted).
fn is_transient_state(state: &SqlState) -> bool {
    ["08", "40", "53", "55", "57", "58"].contains(&&state.code()[..2])
        || *state == SqlState::READ_ONLY_SQL_TRANSACTION
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(cause) => write!(f, "connect to {}: {}", cause.target, cause.failure),
            Self::Unsuitable(failure) => write!(f, "use this database: {failure}"),
            Self::StatementPooling { .. } => f.write_str(
                "begin a transaction: the pooler gives its sessions to others after every statement (PgBouncer's \
                 pool_mode = statement), which nothing here can work with; set pool_mode = transaction or session for this \
                 database, or connect to the server itself",
            ),
            Self::Refused(refusal) => write!(f, "{}; {}", refusal.message, refusal.remedy),
            Self::SchemaMissing { schema, found: 0, .. } => {
                write!(
                    f,
                    "use schema \"{schema}\": it holds no tables yet; run: process-orchestrator migrate"
                )
            }
            Self::SchemaMissing { schema, found, needed } => write!(
                f,
                "use schema \"{schema}\": it is at version {found}, this binary needs {needed}; run: \
                 process-orchestrator migrate"
            ),
            Self::MayNotCreate { schema, database, role } => write!(
                f,
                "make schema {schema:?}: permission denied for database {database:?}, in which role {role:?} may make \
                 none; have the database's owner run: GRANT CREATE ON DATABASE {} TO {}, or have a role that may make \
                 it run: process-orchestrator migrate --grant-to {role:?}",
                quote_identifier(database),
                quote_identifier(role)
            ),
            Self::FunctionsElsewhere { schema, told } => write!(
                f,
                "use schema {schema:?}: it was renamed, or restored under another name, and has {told}; have its owner run: \
                 process-orchestrator --schema {schema:?} migrate"
            ),
            Self::SchemaNewer { schema, found, known } => write!(
                f,
                "use schema \"{schema}\": it is at version {found}, this binary knows versions up to {known} only and \
                 does not work with it; install the newer binary, or name another --schema"
            ),
            Self::MigrationChanged { version, name } => write!(
                f,
                "migrate: migration {version} ({name}) was applied with other content than this binary has; \
                 install the binary that applied it or a newer one"
            ),
            Self::Unreadable { row, problem } => write!(f, "read {row}: {problem}"),
            Self::UnreadableRow(problem) => write!(f, "read {problem}"),
            Self::Locked { what, holder } => write!(
                f,
                "lock {what}: it is locked by {holder}; nothing was changed, try again when that transaction has ended"
            ),
            Self::Migration { migration, source } => {
                write!(f, "apply migration {migration}: ")?;
                describe(source, f)
            }
            Self::MigrationBlocked { migration, waited_s, holder, pid } => {
                write!(f, "apply migration {migration}: waited {waited_s} s in vain: {holder}; ")?;
                match pid {
                    Some(pid) => write!(f, "end that session (SELECT pg_terminate_backend({pid}))")?,
                    None => f.write_str("end what is in the way")?,
                }
                f.write_str(", or wait longer: process-orchestrator migrate --wait 1h")
            }
            Self::BackendStays { pid } => {
                write!(
                    f,
                    "end this node's lost session: server process {pid} goes on; its statement must end first"
                )
            }
            Self::Database { action, source } => {
                write!(f, "{action}: ")?;
                describe(source, f)?;
                match source.code() {
                    Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => f.write_str(
                        "; have the schema's owner run: process-orchestrator migrate --grant-to ROLE",
                    ),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// The error and its causes: `postgres::Error` on its own says little more than "db error".
fn describe(error: &postgres::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Some(answer) = error.as_db_error() {
        write!(f, "{} (SQLSTATE {})", answer.message(), answer.code().code())?;
        for part in [answer.detail(), answer.hint()].into_iter().flatten() {
            write!(f, "; {part}")?;
        }
        return f.write_str(remedy_of(answer.code()));
    }
    write!(f, "{error}")?;
    let mut cause = error.source();
    while let Some(inner) = cause {
        write!(f, ": {inner}")?;
        cause = inner.source();
    }
    Ok(())
}

/// What to do where PostgreSQL says only what is wrong.
fn remedy_of(state: &SqlState) -> &'static str {
    match *state {
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "; doctor lists all rights that are missing; the owner of the tables grants them: process-orchestrator migrate \
             --grant-to ROLE"
        }
        SqlState::UNDEFINED_OBJECT => "; make it first: a role with CREATE ROLE",
        _ => "",
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(cause) => cause.source(),
            Self::StatementPooling { source } => Some(source),
            _ => self.answer().map(|source| source as _),
        }
    }
}

impl From<ConnectError> for StoreError {
    fn from(cause: ConnectError) -> Self {
        Self::Connect(cause)
    }
}
