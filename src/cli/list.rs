//! `list`: processes, newest first.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use serde_json::json;

use super::error::CliError;
use super::global::GlobalOptions;
use super::session::{Need, Session};
use super::style::Look;
use super::table::{Fit, Table};
use super::terminal::{COLUMNS_DEFAULT, Face, Size, message, print_json, print_lines, tell_unreadable};
use super::text::{self, Clock};
use crate::model::lifecycle::ProcessStatus;
use crate::model::records::ProcessData;
use crate::store::read::{Cursor, PAGE_MAX, ProcessFilter};

/// Which processes to list.
#[derive(Debug, Args)]
pub struct Options {
    /// Only those in this status
    #[arg(long, value_parser = statuses(), ignore_case = true)]
    pub status: Option<ProcessStatus>,
    /// Only those of this process type
    #[arg(long = "type", value_name = "TYPE")]
    pub process_type: Option<String>,
    /// How many at the most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE_MAX)))]
    pub limit: u32,
    /// Go on after this place, which the list before told as its end
    #[arg(long, value_name = "CURSOR", value_parser = parse_cursor)]
    pub after: Option<Cursor>,
    /// Print one JSON document: {"processes": [...], "next": cursor or null}
    #[arg(long)]
    pub json: bool,
}

fn statuses() -> impl TypedValueParser<Value = ProcessStatus> {
    let words = ProcessStatus::ALL.iter().map(|status| status.as_str());
    PossibleValuesParser::new(words).try_map(|word| ProcessStatus::parse(&word).ok_or("no such status"))
}

fn parse_cursor(text: &str) -> Result<Cursor, String> {
    Cursor::parse(text)
        .ok_or_else(|| "it is not what a list gave as its end; leave --after out to begin anew".to_owned())
}

/// Prints one page of the list.
///
/// # Errors
/// When the database fails.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let page = store.processes(&ProcessFilter {
        status: options.status,
        process_type: options.process_type.clone(),
        after: options.after.clone(),
        limit: options.limit,
    })?;
    let next = page.next.map(|it| it.to_string());
    if options.json {
        let mut document = json!({ "processes": page.processes, "next": next });
        if !page.unreadable.is_empty() {
            document["unreadable"] = page.unreadable.into();
        }
        return print_json(&document);
    }
    let face = Face::stdout();
    let now = store.now()?;
    let table = table(&page.processes, &Clock::system(), now, Size::of_stdout().is_some());
    let columns = Size::of_stdout().map_or(COLUMNS_DEFAULT, |size| size.columns);
    print_lines(&table.lines(columns, |row, column, cell| match column {
        STATUS_COLUMN => Look::of_process(page.processes[row].status).paint(face, &cell),
        _ => cell,
    }))?;
    tell_unreadable(&page.unreadable);
    if page.processes.is_empty() && page.unreadable.is_empty() {
        message("no such processes");
    }
    if let Some(next) = next {
        message(format!("there are more: add --after {}", shell_words::quote(&next)));
    }
    Ok(())
}

const STATUS_COLUMN: usize = 2;

/// On a terminal a long id may be cut so that a line stays a line; what reads a pipe needs it whole.
fn table(processes: &[ProcessData], clock: &Clock, now: Timestamp, is_terminal: bool) -> Table {
    let mut table = Table::new(&[
        ("PROCESS", if is_terminal { Fit::ShrinksLast(16) } else { Fit::Whole }),
        ("TYPE", Fit::Shrinks(5)),
        ("STATUS", Fit::Whole),
        ("TASKS", Fit::Right),
        ("CREATED", Fit::Whole),
        ("TIME", Fit::Right),
    ]);
    for process in processes {
        let end = process.completed_at.unwrap_or(now);
        let time = process.started_at.map(|start| text::duration(text::between(start, end)));
        table.row(vec![
            text::escape(&process.process_id).into_owned(),
            text::escape(&process.process_type).into_owned(),
            process.status.to_string(),
            format!("{}/{}", process.current_task_index, process.total_tasks),
            clock.short(process.created_at),
            time.unwrap_or_default(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn process(id: &str, process_type: &str) -> ProcessData {
        let at = Timestamp::from_second(1_000_000_000).expect("a time");
        ProcessData {
            process_id: id.to_owned(),
            process_type: process_type.to_owned(),
            status: ProcessStatus::InProgress,
            current_task_index: 3,
            total_tasks: 12,
            priority: 0,
            started_at: Some(at),
            completed_at: None,
            error_message: None,
            input_data: json!({}),
            process_context: Map::new(),
            created_at: at,
            updated_at: at,
            execution_time: None,
            picked_by: None,
        }
    }

    fn lines(processes: &[ProcessData], is_terminal: bool) -> Vec<String> {
        let now = Timestamp::from_second(1_000_000_090).expect("a time");
        table(processes, &Clock::system(), now, is_terminal).lines(80, |_, _, cell| cell)
    }

    #[test]
    fn a_usual_list_fits_eighty_columns_with_whole_ids() {
        let lines = lines(&[process("data-processing-pipeline-4200", "data-processing-pipeline")], true);
        assert!(lines.iter().all(|line| text::width(line) <= 80), "{lines:#?}");
        assert!(lines[1].starts_with("data-processing-pipeline-4200  data…"), "{lines:#?}");
        assert!(lines[1].ends_with("IN_PROGRESS   3/12  2001-09-09  1 min 30 s"), "{lines:#?}");
    }

    #[test]
    fn a_pipe_gets_ids_whole_however_long() {
        let id = "x".repeat(200);
        let lines = lines(&[process(&id, "t")], false);
        assert!(lines[1].starts_with(&format!("{id}  t ")), "{lines:#?}");
    }

    #[test]
    fn a_cursor_is_what_a_list_gave() {
        assert!(parse_cursor("1000000.p-1").is_ok());
        assert!(parse_cursor("p-1").expect_err("no cursor").contains("leave --after out"));
    }
}
