//! What a client is told of a failure of the store.

use super::answer::Problem;
use crate::store::error::LOCKED;
use crate::store::{Refusal, RefusalReason, StoreError};

/// The server ends a statement of ours after this.
pub(super) const READ_MS_MAX: u64 = 5_000;

/// What whoever has no token is told of a failure to connect: the reason names host, port and user.
const UNREACHABLE: &str = "the database can't be reached at present; the node's log says why";

/// What a client is told of a failure of the store.
pub(super) fn problem_of(error: &StoreError) -> Problem {
    let code = match error {
        StoreError::Database { source, .. } => source.code().map_or("", |it| it.code()),
        _ => "",
    };
    let message = format!("failed to {error}");
    match error {
        StoreError::Connect(_) => Problem::new(503, "database_unavailable", UNREACHABLE).with_detail(message),
        StoreError::Refused(refusal) => refused(refusal),
        StoreError::Locked { .. } => Problem::new(409, LOCKED, message),
        _ if code == "57014" => Problem::new(
            503,
            "database_slow",
            format!("{message}; the limit is {READ_MS_MAX} ms, ask for less or again later"),
        ),
        _ if code.starts_with("22") => Problem::new(400, "bad_parameter", message),
        _ if error.is_schema_missing() => Problem::new(503, "schema_missing", message),
        StoreError::SchemaNewer { .. } => Problem::new(503, "schema_newer", message),
        _ if error.is_transient() => Problem::new(503, "database_unavailable", message),
        _ => Problem::new(500, "internal_error", message),
    }
}

/// What the schema's functions refuse, in HTTP's words.
fn refused(refusal: &Refusal) -> Problem {
    let status = match refusal.reason {
        RefusalReason::UnknownProcess
        | RefusalReason::UnknownBatch
        | RefusalReason::UnknownLimit
        | RefusalReason::UnknownSchedule => 404,
        RefusalReason::BatchOfOtherType => 409,
        RefusalReason::InvalidBatch => 422,
        RefusalReason::ProcessIdTaken | RefusalReason::NotRetryable | RefusalReason::WouldSkip => 409,
        RefusalReason::UnknownProcessType
        | RefusalReason::InvalidInput
        | RefusalReason::MissingVariable
        | RefusalReason::InvalidProcessId
        | RefusalReason::InvalidStartTime
        | RefusalReason::UnknownTask
        | RefusalReason::InvalidSchedule => 422,
    };
    let code = refusal.reason.code();
    Problem::new(status, code, format!("{}; {}", refusal.message, refusal.remedy))
}
