//! What a client is told of a failure of the store.

use super::answer::Problem;
use crate::store::{Refusal, RefusalReason, StoreError};

/// The server ends a statement of ours after this.
pub(super) const READ_MS_MAX: u64 = 5_000;

/// What a client is told of a failure of the store.
pub(super) fn problem_of(error: &StoreError) -> Problem {
    let code = match error {
        StoreError::Database { source, .. } => source.code().map_or("", |it| it.code()),
        _ => "",
    };
    let message = format!("failed to {error}");
    match error {
        StoreError::Refused(refusal) => refused(refusal),
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
    let (status, code) = match refusal.reason {
        RefusalReason::UnknownProcessType => (422, "unknown_process_type"),
        RefusalReason::InvalidInput => (422, "invalid_input"),
        RefusalReason::MissingVariable => (422, "missing_variable"),
        RefusalReason::ProcessIdTaken => (409, "process_id_taken"),
        RefusalReason::InvalidProcessId => (422, "invalid_process_id"),
        RefusalReason::InvalidStartTime => (422, "invalid_start_time"),
        RefusalReason::UnknownProcess => (404, "process_not_found"),
        RefusalReason::NotRetryable => (409, "not_retryable"),
        RefusalReason::UnknownTask => (422, "unknown_task"),
    };
    Problem::new(status, code, format!("{}; {}", refusal.message, refusal.remedy))
}
