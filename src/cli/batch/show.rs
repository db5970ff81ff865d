//! `batch list` and `batch show`.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::json;

use crate::cli::error::CliError;
use crate::cli::options::bulk::unknown_batch;
use crate::cli::options::global::GlobalOptions;
use crate::cli::progress::batch::picture;
use crate::cli::screen::json::JsonWriter;
use crate::cli::screen::table::{Fit, Table, Widths};
use crate::cli::screen::terminal::{Size, message, print_json, print_lines};
use crate::cli::screen::text::{self, Clock};
use crate::cli::surroundings::session::{Need, Session};
use crate::model::batch::data::{BatchData, BatchState};
use crate::store::Store;
use crate::store::batches::BatchFilter;

/// Batches that are read at once.
const PAGE: u32 = 500;

/// Which batches to list.
#[derive(Debug, Args)]
pub struct ListOptions {
    /// Only those in this state; several are separated by commas
    #[arg(long, value_parser = states(), ignore_case = true, value_delimiter = ',')]
    pub state: Vec<BatchState>,
    /// How many at the most; 0 is all of them
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: u32,
    /// Print one JSON document: {"batches": [...]}
    #[arg(long)]
    pub json: bool,
}

/// Which batch to show.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// The batch's name
    #[arg(value_name = "BATCH")]
    pub name: String,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

fn states() -> impl TypedValueParser<Value = BatchState> {
    let words = BatchState::ALL.map(BatchState::as_str);
    PossibleValuesParser::new(words)
        .try_map(|word| BatchState::parse(&word.to_ascii_uppercase()).ok_or("no such state"))
}

/// Prints the batches, the newest first.
///
/// # Errors
/// When the database fails.
pub fn list(global: &GlobalOptions, options: &ListOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let mut left = if options.limit == 0 { u32::MAX } else { options.limit };
    let mut filter = BatchFilter { states: options.state.clone(), after: None, limit: PAGE.min(left) };
    let mut json = if options.json { Some(JsonWriter::stdout()) } else { None };
    if let Some(json) = &mut json {
        json.object()?;
        json.key("batches")?;
        json.list()?;
    }
    let (mut widths, clock) = (Widths::default(), Clock::system());
    loop {
        let page = store.batches(&filter)?;
        left -= u32::try_from(page.batches.len()).unwrap_or(left);
        match &mut json {
            Some(json) => page.batches.iter().try_for_each(|it| json.value(&document(it)))?,
            None => print_lines(&table(&page.batches, &clock).lines_below(
                &mut widths,
                Size::stdout_columns(),
                |_, _, cell| cell,
            ))?,
        }
        if page.next.is_none() || left == 0 {
            break;
        }
        filter = BatchFilter { after: page.next, limit: PAGE.min(left), ..filter };
    }
    if let Some(mut json) = json {
        json.end()?;
        json.end()?;
    }
    Ok(())
}

/// Of a list no failures were read: they are not told as none.
fn document(batch: &BatchData) -> serde_json::Value {
    let mut document = json!(batch);
    if let Some(document) = document.as_object_mut() {
        document.remove("failures");
    }
    document
}

fn table(batches: &[BatchData], clock: &Clock) -> Table {
    let mut table = Table::new(&[
        ("NAME", Fit::Shrinks(8)),
        ("STATE", Fit::Whole),
        ("ENDED", Fit::Right),
        ("TOTAL", Fit::Right),
        ("FAILED", Fit::Right),
        ("RATE", Fit::Right),
        ("LEFT", Fit::Right),
        ("CREATED", Fit::Whole),
        ("TYPE", Fit::Shrinks(8)),
    ]);
    for batch in batches {
        let seconds = |it: f64| text::duration(std::time::Duration::from_secs_f64(it.clamp(0.0, 1e9)));
        table.row(vec![
            text::escape(&batch.name).into_owned(),
            batch.state.to_string(),
            batch.ended.to_string(),
            batch.total.to_string(),
            batch.counts.failed.to_string(),
            batch.rate_per_s.map(|it| format!("{it:.1}/s")).unwrap_or_default(),
            batch.eta_s.map(seconds).unwrap_or_default(),
            clock.short(batch.created_at),
            text::escape(&batch.process_type).into_owned(),
        ]);
    }
    table
}

/// Shows one.
///
/// # Errors
/// When there is none of this name, or the database fails.
pub fn show(global: &GlobalOptions, options: &ShowOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    print_batch(&mut store, &options.name, options.json, global)
}

/// Prints a batch as it is now.
///
/// # Errors
/// When there is none of this name, or the database fails.
pub fn print_batch(
    store: &mut Store,
    name: &str,
    json: bool,
    global: &GlobalOptions,
) -> Result<(), CliError> {
    let Some(batch) = store.batch(name)? else { return Err(unknown_batch(store, name, global)) };
    if json {
        return print_json(&batch);
    }
    print_lines(&lines(&batch, &Clock::system()))?;
    let quoted = shell_words::quote(name);
    match batch.state {
        BatchState::Halted => message(format!(
            "go on with: {0} batch resume {quoted}; or end it: {0} batch cancel {quoted}",
            global.program()
        )),
        BatchState::Paused => message(format!("go on with: {} batch resume {quoted}", global.program())),
        BatchState::Failed => {
            message(format!(
                "have the failed ones go again: {} batch retry {quoted} --failed",
                global.program()
            ));
        }
        _ => {}
    }
    Ok(())
}

fn lines(batch: &BatchData, clock: &Clock) -> Vec<String> {
    let mut lines = picture(batch, usize::MAX);
    let mut about = vec![format!("type {}", text::escape(&batch.process_type))];
    about.push(format!("created {}", clock.full(batch.created_at)));
    about.extend(batch.held_at.map(|at| format!("held since {}", clock.full(at))));
    about.extend(batch.ended_at.map(|at| format!("ended {}", clock.full(at))));
    about.extend(batch.halt.as_ref().map(|it| format!("halt {it}")));
    about.extend(batch.max.map(|it| format!("at most {it} at once")));
    lines.insert(1, format!("  {}", about.join(", ")));
    if let Some(then) = &batch.then_type {
        let then = text::escape(then);
        lines.push(match (&batch.then_id, &batch.then_problem) {
            (Some(id), _) => format!("  then {then}: started as {}", text::escape(id)),
            (None, Some(problem)) => {
                format!("  then {then}: could not be started: {}", text::escape(problem))
            }
            (None, None) => format!("  then {then}"),
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::progress::batch::tests::sample;

    #[test]
    fn what_follows_is_told_with_what_became_of_it() {
        let batch = BatchData {
            then_type: Some("report".to_owned()),
            then_problem: Some("input lacks ${input_file}".to_owned()),
            max: Some(50),
            ..sample()
        };
        let lines = lines(&batch, &Clock::system());
        assert!(lines[1].ends_with("halt soon,fail=5%, at most 50 at once"), "{lines:?}");
        assert_eq!(lines[3], "  then report: could not be started: input lacks ${input_file}");
    }
}
