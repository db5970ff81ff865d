//! `logs`: what the executions of a process wrote, and what the running one writes.

mod follow;
mod printer;
mod tail;
mod wanted;

use self::printer::Printer;
use self::tail::Tail;
pub use self::wanted::Options;
use self::wanted::{HEADINGS, Wanted};
use super::error::CliError;
use super::options::bulk::argument;
use super::options::global::GlobalOptions;
use super::screen::json::JsonWriter;
use super::screen::records;
use super::screen::terminal::{message, tell_unreadable};
use super::screen::text;
use super::surroundings::session::{Need, Session};
use crate::store::Store;
use crate::store::read::{OutputOf, PageSize, Part};

/// Prints the output of executions to standard output, with a heading for each on standard error.
///
/// # Errors
/// When there is no such process or task, or the database fails.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let (session, mut store) = Session::open(global, Need::Tables)?;
    let wanted = Wanted::find(&mut store, options, global)?;
    match (options.json, options.follow) {
        (true, _) => document(&mut store, &wanted).map_err(CliError::incomplete),
        (false, true) => follow::follow(&session, wanted, global),
        (false, false) => print_all(&mut store, &wanted, global).map_err(CliError::incomplete),
    }
}

fn document(store: &mut Store, wanted: &Wanted<'_>) -> Result<(), CliError> {
    let mut json = JsonWriter::stdout();
    json.object()?;
    json.entry("process_id", wanted.process_id)?;
    json.key("executions")?;
    json.list()?;
    let (mut unreadable, mut after) = (Vec::new(), None);
    loop {
        let page = store.executions_page(wanted.process_id, wanted.filter(true), after, records::PAGE)?;
        for execution in page.rows {
            records::execution(&mut json, store, execution)?;
        }
        unreadable.extend(page.unreadable);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    json.end()?;
    json.entry("live", &wanted.live(store)?.map(|live| live.to_value()))?;
    if !unreadable.is_empty() {
        json.entry("unreadable", &unreadable)?;
    }
    json.end()
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
    let mut printer = Printer::new(wanted.process_id, wanted.raw, global);
    let (mut is_empty, mut after) = (true, None);
    loop {
        let size = PageSize { text_bytes: HEADINGS.text_bytes, ..records::PAGE };
        let page = store.executions_page(wanted.process_id, wanted.filter(true), after, size)?;
        tell_unreadable(&page.unreadable);
        is_empty &= page.rows.is_empty() && page.unreadable.is_empty();
        for Part { row, output_next, output_deleted } in page.rows {
            printer.begin(&row, output_deleted)?;
            printer.text(row.output.as_deref().unwrap_or_default())?;
            if let Some(from) = output_next {
                let of = OutputOf::Execution(row.task_index, row.attempt);
                store.output_in_pieces(wanted.process_id, of, from, &mut |piece| printer.text(piece))?;
            }
            printer.end_line()?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if let Some(live) = wanted.live(store)? {
        printer.running(&live)?;
        let piece = Tail::new(live.task_index, live.attempt).take(live.output_bytes, &live.tail);
        printer.piece(&piece, wanted.name(live.task_index), live.attempt)?;
        return printer.end_line();
    }
    if is_empty {
        message(nothing_yet(wanted, global));
    }
    Ok(())
}
