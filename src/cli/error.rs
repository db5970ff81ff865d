//! What ends a command, and the one place that turns it into an exit code.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::database::{ConnectError, SettingsError};
use crate::engine::StartError;
use crate::model::faults::Faults;
use crate::store::error::LOCKED;
use crate::store::{RefusalReason, StoreError};

/// Exit codes as the help tells them; 130 and 143 are the shell's for SIGINT and SIGTERM.
pub const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage (also faults of documents and input), 3 not found,
4 database unreachable; 130 or 143 when SIGINT or SIGTERM ended a wait.";

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum CliError {
    /// The command line asks for something that makes no sense.
    Usage(String),
    /// Documents or inputs with faults.
    Faults(Vec<Faults>),
    /// What was named is not there.
    NotFound(String),
    /// No database, or one that can't be used.
    Unreachable(String),
    /// The database's functions have refused what was asked.
    Refused {
        /// The endpoint's word for it.
        code: &'static str,
        /// The exit code.
        exit: u8,
        /// What and why, and the remedy.
        message: String,
    },
    /// Anything else that failed.
    Failed(String),
    /// The command did its work, and what it reports is a failure: there is no more to be said.
    Reported(Verdict),
    /// A signal ended the wait.
    Interrupted(i32),
    /// Standard output can't be written.
    Output(io::Error),
}

/// Set once, before any error.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// From now on errors are told as JSON, as the data that was asked for.
pub fn tell_as_json() {
    IS_JSON.store(true, Ordering::Relaxed);
}

/// Whether they are.
pub fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// What a report that is printed already comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A process has failed or was cancelled.
    Failed,
    /// Documents have faults.
    Faulty,
}

impl CliError {
    /// The exit code: everything that decides it is in this function.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Failed(_) | Self::Reported(Verdict::Failed) | Self::Output(_) => 1,
            Self::Usage(_) | Self::Faults(_) | Self::Reported(Verdict::Faulty) => 2,
            Self::NotFound(_) => 3,
            Self::Unreachable(_) => 4,
            Self::Refused { exit, .. } => *exit,
            // Signal numbers are below 128 on every system there is.
            Self::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(1),
        }
    }

    /// Whether what was named is not in the database that was looked into.
    pub fn is_not_found(&self) -> bool {
        self.exit_code() == 3
    }

    /// The lines for standard error, none where everything is said already.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Usage(message)
            | Self::NotFound(message)
            | Self::Unreachable(message)
            | Self::Refused { message, .. }
            | Self::Failed(message) => vec![message.clone()],
            Self::Faults(all) => all
                .iter()
                .flat_map(|faults| faults.to_string().lines().map(str::to_owned).collect::<Vec<_>>())
                .collect(),
            Self::Output(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
                vec![format!("failed to write to standard output: {cause}")]
            }
            Self::Reported(_) | Self::Interrupted(_) | Self::Output(_) => Vec::new(),
        }
    }

    /// The same with what `change` makes of its message, if it has one.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&str) -> String) -> Self {
        if let Self::Usage(message)
        | Self::NotFound(message)
        | Self::Unreachable(message)
        | Self::Refused { message, .. }
        | Self::Failed(message) = &mut self
        {
            *message = change(message);
        }
        self
    }

    /// The same, where a part of what was asked for is printed already.
    #[must_use]
    pub fn incomplete(self) -> Self {
        self.with(|it| format!("{it}; what was printed is incomplete"))
    }

    /// The word for programs, as the endpoint has it where it tells the same.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::Faults(_) | Self::Reported(Verdict::Faulty) => "bad_document",
            Self::NotFound(_) => "not_found",
            Self::Unreachable(_) => "database_unavailable",
            Self::Refused { code, .. } => code,
            Self::Failed(_) | Self::Reported(Verdict::Failed) => "failed",
            Self::Interrupted(_) => "interrupted",
            Self::Output(_) => "output",
        }
    }

    /// The error for programs, as the endpoint has it: `{"error": {"code", "message"}}`, with the faults of documents one by
    /// one; nothing where everything is said already.
    pub fn to_json(&self) -> Option<Value> {
        let lines = self.lines();
        if lines.is_empty() {
            return None;
        }
        let mut error = json!({ "code": self.code(), "message": lines.join("\n") });
        if let Self::Faults(all) = self {
            let of = |it: &Faults| {
                let source = it.source.clone();
                it.faults.clone().into_iter().map(move |fault| {
                    json!({ "source": source, "path": fault.path, "problem": fault.problem, "remedy": fault.remedy })
                })
            };
            error["faults"] = all.iter().flat_map(of).collect();
        }
        Some(json!({ "error": error }))
    }

    /// A process, a type or a task that is not there.
    pub fn not_found(what: RefusalReason, message: String) -> Self {
        Self::Refused { code: what.code(), exit: 3, message }
    }

    /// The fault of one document.
    pub fn faults(faults: Faults) -> Self {
        Self::Faults(vec![faults])
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let message = phrase(&error);
        match &error {
            StoreError::Connect(_) => Self::Unreachable(message),
            StoreError::Refused(refusal) => {
                Self::Refused { code: refusal.reason.code(), exit: exit_code_of(refusal.reason), message }
            }
            StoreError::Locked { .. } => Self::Refused { code: LOCKED, exit: 1, message },
            error if error.is_connection_lost() => Self::Unreachable(message),
            _ => Self::Failed(message),
        }
    }
}

const fn exit_code_of(reason: RefusalReason) -> u8 {
    match reason {
        RefusalReason::UnknownProcessType
        | RefusalReason::UnknownProcess
        | RefusalReason::UnknownTask
        | RefusalReason::UnknownBatch
        | RefusalReason::UnknownLimit
        | RefusalReason::UnknownSchedule => 3,
        RefusalReason::NotRetryable | RefusalReason::WouldSkip => 1,
        RefusalReason::InvalidInput
        | RefusalReason::InvalidBatch
        | RefusalReason::BatchOfOtherType
        | RefusalReason::MissingVariable
        | RefusalReason::ProcessIdTaken
        | RefusalReason::InvalidProcessId
        | RefusalReason::InvalidStartTime
        | RefusalReason::InvalidSchedule => 2,
    }
}

/// Most errors of the store complete "failed to …"; a refusal and a failed connection are whole sentences.
fn phrase(error: &StoreError) -> String {
    match error {
        StoreError::Refused(_) | StoreError::Connect(_) => error.to_string(),
        _ => format!("failed to {error}"),
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store(error) => error.into(),
            StartError::Setting(problem) => Self::Usage(problem),
            StartError::Resources(_) => Self::Failed(format!("failed to {error}")),
        }
    }
}

impl From<ConnectError> for CliError {
    fn from(error: ConnectError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl From<SettingsError> for CliError {
    fn from(error: SettingsError) -> Self {
        Self::Usage(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::faults::Fault;
    use crate::store::Refusal;

    fn refused(reason: RefusalReason) -> CliError {
        let refusal = Refusal { reason, message: "what".to_owned(), remedy: "do".to_owned() };
        CliError::from(StoreError::Refused(refusal))
    }

    #[test]
    fn every_error_has_its_exit_code() {
        let broken = |kind| CliError::Output(io::Error::from(kind));
        for (error, code) in [
            (broken(io::ErrorKind::BrokenPipe), 0),
            (broken(io::ErrorKind::StorageFull), 1),
            (CliError::Failed("x".to_owned()), 1),
            (CliError::Reported(Verdict::Failed), 1),
            (CliError::Reported(Verdict::Faulty), 2),
            (CliError::Usage("x".to_owned()), 2),
            (CliError::Faults(Vec::new()), 2),
            (CliError::NotFound("x".to_owned()), 3),
            (CliError::Unreachable("x".to_owned()), 4),
            (CliError::Interrupted(2), 130),
            (CliError::Interrupted(15), 143),
            (refused(RefusalReason::UnknownProcessType), 3),
            (refused(RefusalReason::MissingVariable), 2),
            (refused(RefusalReason::ProcessIdTaken), 2),
        ] {
            assert_eq!(error.exit_code(), code, "{error:?}");
        }
    }

    #[test]
    fn a_refusal_is_a_sentence_and_a_failure_says_what_failed() {
        assert_eq!(refused(RefusalReason::InvalidInput).lines(), ["what; do"]);
        let newer = StoreError::SchemaNewer { schema: "s".to_owned(), found: 9, known: 2 };
        let error = CliError::from(newer);
        assert!(error.lines()[0].starts_with("failed to use schema \"s\": it is at version 9"), "{error}");
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn each_fault_is_a_line() {
        let fault = |path: &str| Fault::new(path, "is bad", "mend it");
        let faults = Faults { source: "a.json".to_owned(), faults: vec![fault("name"), fault("tasks")] };
        let error = CliError::Faults(vec![faults.clone(), faults]);
        assert_eq!(error.lines().len(), 4);
        assert_eq!(error.lines()[0], "a.json: name: is bad; mend it");
    }

    #[test]
    fn programs_get_what_the_endpoint_has() {
        let told = refused(RefusalReason::ProcessIdTaken).to_json().expect("an error");
        assert_eq!(told, json!({"error": {"code": "process_id_taken", "message": "what; do"}}));
        let fault = Fault::new("tasks", "is bad", "mend it");
        let error = CliError::faults(Faults { source: "a.json".to_owned(), faults: vec![fault] });
        let told = error.to_json().expect("an error");
        assert_eq!(told["error"]["code"], "bad_document");
        let fault = json!({"source": "a.json", "path": "tasks", "problem": "is bad", "remedy": "mend it"});
        assert_eq!(told["error"]["faults"], json!([fault]));
        assert_eq!(CliError::Reported(Verdict::Failed).to_json(), None);
    }

    #[test]
    fn a_reader_that_has_gone_is_no_news() {
        assert_eq!(CliError::Output(io::ErrorKind::BrokenPipe.into()).lines(), Vec::<String>::new());
    }
}
