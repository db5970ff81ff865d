//! What commands on several processes share: which processes are meant, and how it is told what was done.

use std::collections::BTreeMap;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::global::GlobalOptions;
use crate::cli::error::CliError;
use crate::cli::progress::{limits, pauses};
use crate::cli::screen::terminal::{message, tell};
use crate::model::lifecycle::ProcessStatus;
use crate::model::suggest::closest;
use crate::store::{RefusalReason, Store, StoreError};

/// Names that are told of all that are known.
const KNOWN_MAX: usize = 20;

/// Batches whose names are looked through for the one that was meant.
const NAMES_MAX: u32 = 500;

/// Nodes that are looked at for hints.
pub const NODES_MAX: u32 = 100;

/// Whether there is a node that would take what is due.
///
/// # Errors
/// When the database fails.
pub fn has_running_node(store: &mut Store) -> Result<bool, StoreError> {
    let now = store.now()?;
    let nodes = store.running_nodes(NODES_MAX)?;
    Ok(nodes.iter().any(|node| node.state == "RUNNING" && !node.is_silent(now)))
}

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
    match store.process_type(name)? {
        Some(_) => Ok(()),
        None => Err(unknown_type(store, name, global)),
    }
}

/// A name that is no process type's, with the one that was probably meant.
pub fn unknown_type(store: &mut Store, name: &str, global: &GlobalOptions) -> CliError {
    let known = match type_names(store) {
        Ok(names) => names,
        Err(error) => return error.into(),
    };
    let program = global.program();
    let remedy = match closest(name, known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None if known.is_empty() => {
            format!("none is registered yet; register it: {program} types register FILE")
        }
        None => {
            let more = if known.len() > KNOWN_MAX { ", …" } else { "" };
            let known = &known[..known.len().min(KNOWN_MAX)];
            format!(
                "register it first ({program} types register FILE); known are: {}{more}",
                known.join(", ")
            )
        }
    };
    CliError::not_found(RefusalReason::UnknownProcessType, format!("unknown process type {name:?}; {remedy}"))
}

/// How the processes of a paused type go on.
pub fn resume_hint(process_type: &str, global: &GlobalOptions) -> String {
    format!("resume it: {} resume {}", global.program(), shell_words::quote(process_type))
}

/// Says of which of these processes the type is held back: what was asked for is done, and nothing moves.
///
/// # Errors
/// When the database fails.
pub fn warn_of_paused(store: &mut Store, ids: &[String], global: &GlobalOptions) -> Result<(), CliError> {
    for name in store.paused_types_of(ids)? {
        if let Some(pause) = store.pause_of(&name)? {
            message(format!("{}; {}", pauses::sentence(&name, &pause), resume_hint(&name, global)));
        }
    }
    Ok(())
}

/// Processes that are looked at for limits which hold them back.
const LIMITS_LOOKED_AT_MAX: usize = 10;

/// Says which of these processes waits for a limit from now on; of many some are looked at.
///
/// # Errors
/// When the database fails.
pub fn warn_of_limits(store: &mut Store, ids: &[String], global: &GlobalOptions) -> Result<(), CliError> {
    let first: Vec<&str> = ids.iter().take(LIMITS_LOOKED_AT_MAX).map(String::as_str).collect();
    let waiting: Vec<_> = store.limit_waits(&first, true)?.into_iter().collect();
    if !waiting.is_empty() {
        message(limits::sentence(&waiting[..1], ids.len(), &global.program()));
    }
    Ok(())
}

/// Waiting for processes that nobody runs looks like a hang, and starting them like success.
///
/// # Errors
/// When the database fails.
pub fn warn_without_node(store: &mut Store, waits: bool, global: &GlobalOptions) -> Result<(), CliError> {
    if !has_running_node(store)? {
        let what = if waits { "waiting" } else { "what is started stays due" };
        message(format!(
            "no node is running now: {what} until somebody starts one ({} serve)",
            global.program()
        ));
    }
    Ok(())
}

/// A name that is no batch's.
pub fn unknown_batch(store: &mut Store, name: &str, global: &GlobalOptions) -> CliError {
    let known = match store.batch_names(NAMES_MAX) {
        Ok(names) => names,
        Err(error) => return error.into(),
    };
    let program = global.program();
    let remedy = match closest(name, known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None if known.is_empty() => {
            format!("there is none; start one: {program} start TYPE --inputs FILE.jsonl --batch NAME")
        }
        None => format!("see them: {program} batch list"),
    };
    CliError::not_found(RefusalReason::UnknownBatch, format!("no batch has the name {name:?}; {remedy}"))
}

/// Without their definitions.
fn type_names(store: &mut Store) -> Result<Vec<String>, StoreError> {
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = store.types_page(after.as_deref(), 0, u32::MAX)?;
        names.extend(page.types.into_iter().map(|(it, _)| it.name));
        after = page.next;
        if after.is_none() {
            return Ok(names);
        }
    }
}

/// An id that names nothing, with the way to those that do.
pub fn not_found(process_id: &str, global: &GlobalOptions) -> CliError {
    // A part of an id is what people have at hand.
    let part = shell_words::quote(process_id);
    let message = format!(
        "no process has the id {process_id:?}; see them all: {0} list; or those with a part of it: {0} list --search={part}",
        global.program()
    );
    CliError::not_found(RefusalReason::UnknownProcess, message)
}

/// A process that somebody else's transaction has locked, with whose.
pub fn locked(process_id: &str, holder: Option<&str>) -> CliError {
    let (what, holder) = (format!("process {process_id:?}"), holder.unwrap_or_default().to_owned());
    StoreError::Locked { what, holder }.into()
}

/// What the database has refused to start, with a remedy in the words of the command line.
pub fn refused(error: StoreError, store: &mut Store, name: &str, global: &GlobalOptions) -> CliError {
    let StoreError::Refused(refusal) = &error else { return error.into() };
    match refusal.reason {
        RefusalReason::UnknownProcessType => unknown_type(store, name, global),
        RefusalReason::MissingVariable => CliError::Usage(format!(
            "{}; give {}, or give the variable a default in the process type: ${{name:-default}}",
            refusal.message,
            input_options(&refusal.message)
        )),
        _ => error.into(),
    }
}

/// The options that supply the variables which a message names.
pub fn input_options(message: &str) -> String {
    let names = message.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
    let options: Vec<String> = names
        .map(|name| match (name, name.split_once('.')) {
            ("input_file", _) => "--input-file FILE".to_owned(),
            ("output_dir", _) => "--output-dir DIR".to_owned(),
            ("user_id", _) => "--user-id ID".to_owned(),
            (_, Some((kind @ ("config" | "metadata"), key))) => {
                format!("--{kind} {}=VALUE", shell_words::quote(key))
            }
            _ => format!("{name} in --input"),
        })
        .collect();
    if options.is_empty() { "it in --input".to_owned() } else { options.join(" ") }
}

/// A process's id as an argument of a command in a hint: one that begins with a dash is no option.
pub fn argument(id: &str) -> String {
    let quoted = shell_words::quote(id);
    if id.starts_with('-') { format!("-- {quoted}") } else { quoted.into_owned() }
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
    problems.iter().for_each(tell);
    Err(worst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_told_as_the_options_that_supply_them() {
        for (message, options) in [
            ("input lacks ${input_file}, which", "--input-file FILE"),
            (
                "input lacks ${output_dir}, ${user_id}, ${config.batch size}, ${metadata.a.b}, which",
                "--output-dir DIR --user-id ID --config 'batch size'=VALUE --metadata a.b=VALUE",
            ),
            ("input lacks something", "it in --input"),
        ] {
            assert_eq!(input_options(message), options, "{message}");
        }
    }

    #[test]
    fn an_id_in_a_hint_is_no_option() {
        assert_eq!(["p-1", "a b", "-1"].map(argument), ["p-1", "'a b'", "-- -1"]);
    }
}
