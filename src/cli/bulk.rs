//! What commands on several processes share: which processes are meant, and how it is told what was done.

use std::collections::BTreeMap;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::error::CliError;
use super::global::GlobalOptions;
use super::terminal::message;
use crate::model::lifecycle::ProcessStatus;
use crate::model::suggest::closest;
use crate::store::Store;

/// Reads one of these statuses, in any letter case.
pub fn statuses(allowed: &'static [ProcessStatus]) -> impl TypedValueParser<Value = ProcessStatus> {
    let words = allowed.iter().map(|status| status.as_str());
    PossibleValuesParser::new(words).try_map(|word| ProcessStatus::parse(&word).ok_or("no such status"))
}

/// Fails unless a process type is registered, with the one that was probably meant.
///
/// # Errors
/// When it is not, or the database fails.
pub fn check_type(store: &mut Store, name: &str, global: &GlobalOptions) -> Result<(), CliError> {
    if store.process_type(name)?.is_some() {
        return Ok(());
    }
    let known: Vec<String> = store.process_types()?.into_iter().map(|it| it.name).collect();
    let remedy = match closest(name, known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("see them: {} types list", global.program()),
    };
    Err(CliError::NotFound(format!("unknown process type {name:?}; {remedy}")))
}

/// Who asks, as the system knows them; part of what a cancelled process says.
pub fn user_name() -> Option<String> {
    ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|it| !it.trim().is_empty()))
}

/// `1 process`, `2 processes`.
pub fn processes(count: usize) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

/// How many there are of each word.
pub fn counted<'w>(words: impl Iterator<Item = &'w str>) -> BTreeMap<&'w str, usize> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

/// Fails with the problem whose exit code is the highest, after telling the others.
///
/// # Errors
/// When there is a problem.
pub fn fail_with(mut problems: Vec<CliError>) -> Result<(), CliError> {
    // The sort is stable: among equals the first comes last, which is the one that is returned.
    problems.reverse();
    problems.sort_by_key(CliError::exit_code);
    let Some(worst) = problems.pop() else { return Ok(()) };
    for problem in problems.iter().flat_map(CliError::lines) {
        message(format!("error: {problem}"));
    }
    Err(worst)
}
