//! `logs`: what the executions of a process wrote, and what the running one writes.

mod follow;
mod printer;
mod tail;
mod wanted;

use serde_json::json;

use self::printer::Printer;
use self::tail::Tail;
pub use self::wanted::Options;
use self::wanted::{Wanted, with_output};
use super::error::CliError;
use super::options::bulk::argument;
use super::options::global::GlobalOptions;
use super::screen::terminal::{message, print_json, tell_unreadable};
use super::screen::text;
use super::surroundings::session::{Need, Session};
use crate::store::Store;
use crate::store::read::ExecutionFilter;

/// Prints the output of executions to standard output, with a heading for each on standard error.
///
/// # Errors
/// When there is no such process or task, or the database fails.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let (session, mut store) = Session::open(global, Need::Tables)?;
    let wanted = Wanted::find(&mut store, options, global)?;
    match (options.json, options.follow) {
        (true, _) => document(&mut store, &wanted),
        (false, true) => follow::follow(&session, wanted, global),
        (false, false) => print_all(&mut store, &wanted, global),
    }
}

fn document(store: &mut Store, wanted: &Wanted<'_>) -> Result<(), CliError> {
    let executions = store.executions_like(
        wanted.process_id,
        ExecutionFilter { task_index: wanted.task_index, attempt: wanted.attempt, output: true },
    )?;
    let live = wanted.live(store)?.map(|live| live.to_value());
    let mut document =
        json!({ "process_id": wanted.process_id, "executions": executions.rows, "live": live });
    if !executions.unreadable.is_empty() {
        document["unreadable"] = executions.unreadable.into();
    }
    print_json(&document)
}

/// Why nothing is there to print.
fn nothing_yet(wanted: &Wanted<'_>, global: &GlobalOptions) -> String {
    let id = text::escape(wanted.process_id);
    let what = match wanted.task_index {
        Some(index) => format!("task {} of process {id}", text::escape(wanted.name(index))),
        None => format!("process {id}"),
    };
    match (wanted.status.is_final(), wanted.has_begun) {
        (true, _) => format!("no command of {what} was run: the process is {}", wanted.status),
        (false, true) => {
            format!("the command of {what} has shown nothing so far; it is shown every two seconds")
        }
        (false, false) => format!(
            "no command of {what} has begun yet; why it waits: {} explain {}",
            global.program(),
            argument(wanted.process_id)
        ),
    }
}

/// Those that have ended, then the end of what the running one has written.
fn print_all(store: &mut Store, wanted: &Wanted<'_>, global: &GlobalOptions) -> Result<(), CliError> {
    let ended = store.executions_like(
        wanted.process_id,
        ExecutionFilter { task_index: wanted.task_index, attempt: wanted.attempt, output: false },
    )?;
    tell_unreadable(&ended.unreadable);
    let mut printer = Printer::new(wanted.process_id, wanted.raw, global);
    for execution in ended.iter() {
        printer.execution(&with_output(store, execution)?)?;
    }
    if let Some(live) = wanted.live(store)? {
        printer.running(&live)?;
        let piece = Tail::new(live.task_index, live.attempt).take(live.output_bytes, &live.tail);
        printer.piece(&piece, wanted.name(live.task_index), live.attempt)?;
        return printer.end_line();
    }
    if ended.is_empty() && ended.unreadable.is_empty() {
        message(nothing_yet(wanted, global));
    }
    Ok(())
}
