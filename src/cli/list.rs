//! `list`: processes, newest first.

use std::collections::HashMap;

use clap::Args;
use jiff::Timestamp;

use super::error::CliError;
use super::options::bulk::{check_type, statuses};
use super::options::global::GlobalOptions;
use super::options::input::parse_pair;
use super::options::when::{self, When};
use super::screen::json::JsonWriter;
use super::screen::records::{self, VALUE_BYTES_MAX};
use super::screen::style::Look;
use super::screen::table::{Fit, Table, Widths};
use super::screen::terminal::{Face, Size, message, print_lines, tell_unreadable};
use super::screen::text::{self, Clock};
use super::surroundings::session::{Need, Session};
use crate::model::lifecycle::ProcessStatus;
use crate::model::records::ProcessData;
use crate::store::notes::Note;
use crate::store::read::{Cursor, Include, PAGE_MAX, ProcessFilter, ProcessText, TextPage};
use crate::store::{Store, StoreError};

/// Processes of the first page of those with their values, and of no page fewer than fit.
const PAGE_WITH_VALUES: u32 = 64;
/// Rows that can't be read of which a document tells.
const UNREADABLE_MAX: usize = 1_000;
/// Looks that find nothing or little, each through some thousand processes: seconds in all.
const SEARCH_LOOKS_MAX: u32 = 2_000;
/// Where help lists the options about times.
const TIMES: &str = "Times";

/// Which processes to list.
#[derive(Debug, Args)]
pub struct Options {
    /// Only those in this status; several are separated by commas
    #[arg(long, value_parser = statuses(ProcessStatus::ALL), ignore_case = true, value_delimiter = ',')]
    pub status: Vec<ProcessStatus>,
    /// Only those of this process type
    #[arg(long = "type", value_name = "TYPE")]
    pub process_type: Option<String>,
    /// Only those of this batch
    #[arg(long, value_name = "BATCH")]
    pub batch: Option<String>,
    /// Only those that run or ran on this node, by its id or its name
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Only those whose input holds this metadata; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair, allow_hyphen_values = true)]
    pub metadata: Vec<(String, String)>,
    /// Only those whose ids begin so
    #[arg(long, value_name = "TEXT", value_parser = parse_part, allow_hyphen_values = true)]
    pub id_prefix: Option<String>,
    /// Only those whose ids hold this somewhere; all are looked through, the newest first
    #[arg(long, value_name = "TEXT", value_parser = parse_part, allow_hyphen_values = true)]
    pub search: Option<String>,
    /// Only those that began at this time or later: 2026-12-01T08:00:00Z, "2026-12-01 08:00" in your zone, or 2h for two
    /// hours ago; so for the others
    #[arg(long, value_name = "TIME", help_heading = TIMES, allow_hyphen_values = true, value_parser = when::parse_past)]
    pub started_since: Option<When>,
    /// Only those that began before this time
    #[arg(long, value_name = "TIME", help_heading = TIMES, allow_hyphen_values = true, value_parser = when::parse_past)]
    pub started_before: Option<When>,
    /// Only those that ended at this time or later
    #[arg(long, value_name = "TIME", help_heading = TIMES, allow_hyphen_values = true, value_parser = when::parse_past)]
    pub finished_since: Option<When>,
    /// Only those that ended before this time
    #[arg(long, value_name = "TIME", help_heading = TIMES, allow_hyphen_values = true, value_parser = when::parse_past)]
    pub finished_before: Option<When>,
    /// How many at the most; 0 is all of them
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: u32,
    /// Go on after this place, which the list before told as its end
    #[arg(long, value_name = "CURSOR", value_parser = parse_cursor)]
    pub after: Option<Cursor>,
    /// With --json: what a process's document holds besides, which may be megabytes; several are separated by commas
    #[arg(long, requires = "json", value_name = "VALUE", value_delimiter = ',', value_parser = ["input", "context"])]
    pub include: Vec<String>,
    /// Print one JSON document: {"processes": [...], "next": cursor or null}
    #[arg(long)]
    pub json: bool,
}

/// A part of an id. Nothing would be in all of them.
pub fn parse_part(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("it is empty, which every id holds; write a part of an id, or leave it out".to_owned()),
        false => Ok(text.to_owned()),
    }
}

fn parse_cursor(text: &str) -> Result<Cursor, String> {
    Cursor::parse(text)
        .ok_or_else(|| "it is not what a list gave as its end; leave --after out to begin anew".to_owned())
}

impl Options {
    /// The filter; what is said from now on is from the database's time.
    fn filter(&self, store: &mut Store) -> Result<ProcessFilter, StoreError> {
        let times = [self.started_since, self.started_before, self.finished_since, self.finished_before];
        let now = if times.iter().any(Option::is_some) { store.now()? } else { Timestamp::MIN };
        let [started_since, started_before, finished_since, finished_before] =
            times.map(|it| it.map(|when| when.at(now)));
        Ok(ProcessFilter {
            statuses: self.status.clone(),
            process_type: self.process_type.clone(),
            batch: self.batch.clone(),
            node: self.node.clone(),
            started_since,
            started_before,
            finished_since,
            finished_before,
            metadata: self.metadata.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect(),
            id_prefix: self.id_prefix.clone(),
            search: self.search.clone(),
            after: self.after.clone(),
            limit: PAGE_MAX,
            include: Include {
                input: self.include.iter().any(|it| it == "input"),
                context: self.include.iter().any(|it| it == "context"),
            },
        })
    }
}

/// The list, page after page: however long it is, one of them is in memory, and no transaction is open between two.
struct Pages {
    filter: ProcessFilter,
    /// How many are still wanted; `None` is all there are.
    left: Option<usize>,
    /// Looks of a search that may still find nothing.
    looks: u32,
    is_last: bool,
    /// Where the list goes on behind the pages so far.
    next: Option<Cursor>,
}

impl Pages {
    fn new(filter: ProcessFilter, limit: u32) -> Self {
        let left = (limit > 0).then_some(limit as usize);
        let looks = if limit > 0 { SEARCH_LOOKS_MAX } else { u32::MAX };
        let limit = if filter.include == Include::default() { PAGE_MAX } else { PAGE_WITH_VALUES };
        Self { filter: ProcessFilter { limit, ..filter }, left, looks, is_last: false, next: None }
    }

    /// The next page, which may be empty; `None` after the last one.
    fn next(&mut self, store: &mut Store) -> Result<Option<TextPage>, StoreError> {
        if self.is_last {
            return Ok(None);
        }
        let most = self.left.map_or(PAGE_MAX, |left| u32::try_from(left).unwrap_or(PAGE_MAX));
        let limit = self.filter.limit.min(most);
        let rows = store.page_rows(&ProcessFilter { limit, ..self.filter.clone() })?;
        let page = store.with_values(rows, VALUE_BYTES_MAX)?;
        let found = page.processes.len() + page.unreadable.len();
        if self.filter.include != Include::default() {
            // As many as have fitted, or more if all have: rows that are read in vain cost time.
            let fits = if found < limit as usize { found.max(1) } else { found * 2 };
            self.filter.limit = u32::try_from(fits).unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        }
        self.note(found, limit, page.next.as_ref());
        Ok(Some(page))
    }

    /// A page of so many has come, of the most that it could have.
    fn note(&mut self, found: usize, limit: u32, next: Option<&Cursor>) {
        self.left = self.left.map(|left| left.saturating_sub(found));
        // Only a search has short pages in the middle: full ones, and those that end by their bytes, are no vain looks.
        let has_values = self.filter.include != Include::default();
        let is_short = found == 0 || !has_values && found < limit as usize;
        self.looks -= u32::from(is_short && self.looks > 0);
        self.is_last = next.is_none() || self.left == Some(0) || self.looks == 0;
        self.next = next.cloned();
        self.filter.after = next.cloned();
    }
}

/// Prints the list.
///
/// # Errors
/// When the type or node is unknown, or the database fails.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let filter = options.filter(&mut store)?;
    let mut pages = Pages::new(filter, options.limit);
    // A first page that is empty may be that of a name which is unknown.
    let mut first = pages.next(&mut store)?;
    while first.as_ref().is_some_and(|it| it.processes.is_empty() && it.unreadable.is_empty()) {
        first = pages.next(&mut store)?;
    }
    if first.is_none() {
        check_names(&mut store, options, global)?;
    }
    match options.json {
        true => document(&mut store, &mut pages, first),
        false => table(&mut store, &mut pages, first),
    }
}

fn document(store: &mut Store, pages: &mut Pages, first: Option<TextPage>) -> Result<(), CliError> {
    let mut json = JsonWriter::stdout();
    json.object()?;
    json.key("processes")?;
    json.list()?;
    let include = pages.filter.include;
    let (mut page, mut unreadable) = (first, Vec::new());
    while let Some(TextPage { processes, unreadable: problems, .. }) = page {
        for ProcessText { process, input, context } in processes {
            json.object()?;
            let values = [input.as_deref(), context.as_deref()];
            records::process_keys(&mut json, store, &process, values, include)
                .map_err(CliError::incomplete)?;
            json.end()?;
        }
        let room = UNREADABLE_MAX.saturating_sub(unreadable.len());
        unreadable.extend(problems.into_iter().take(room));
        page = pages.next(store).map_err(|error| CliError::from(error).incomplete())?;
    }
    json.end()?;
    json.entry("next", &pages.next.as_ref().map(Cursor::to_string))?;
    if !unreadable.is_empty() {
        json.entry("unreadable", &unreadable)?;
    }
    json.end()
}

fn table(store: &mut Store, pages: &mut Pages, first: Option<TextPage>) -> Result<(), CliError> {
    let columns = Size::stdout_columns();
    let face = Face::stdout();
    let mut view = View {
        notes: HashMap::new(),
        clock: Clock::system(),
        now: store.now()?,
        is_terminal: face.is_terminal,
        has_room: (ERRORS_COLUMNS_MIN..usize::MAX).contains(&columns),
        has_notes: !pages.is_last,
    };
    let mut widths = Widths::default();
    let (mut page, mut is_empty) = (Some(first.unwrap_or_default()), true);
    while let Some(TextPage { processes, unreadable, .. }) = page {
        let processes: Vec<ProcessData> = processes.into_iter().map(|it| it.process).collect();
        view.notes = store.notes(&processes).map_err(|error| CliError::from(error).incomplete())?;
        print_lines(&view.table(&processes).lines_below(
            &mut widths,
            columns,
            |row, column, cell| match column {
                STATUS_COLUMN => Look::of_process(processes[row].status).paint(face, &cell),
                _ => cell,
            },
        ))?;
        tell_unreadable(&unreadable);
        is_empty &= processes.is_empty() && unreadable.is_empty();
        page = pages.next(store).map_err(|error| CliError::from(error).incomplete())?;
    }
    if is_empty {
        message("no such processes");
    }
    if let Some(next) = &pages.next {
        message(format!("there are more: add --after {}", shell_words::quote(&next.to_string())));
    }
    Ok(())
}

/// An empty list may be that of a name that was mistyped.
fn check_names(store: &mut Store, options: &Options, global: &GlobalOptions) -> Result<(), CliError> {
    if let Some(name) = &options.process_type {
        check_type(store, name, global)?;
    }
    match &options.node {
        Some(node) if !store.knows_node(node)? => Err(CliError::NotFound(format!(
            "unknown node {node:?}; nodes that ended more than seven days ago are forgotten; see them: {} nodes",
            global.program()
        ))),
        _ => Ok(()),
    }
}

const STATUS_COLUMN: usize = 2;
/// On a narrower terminal too little of an error would be seen for what it takes from the ids; `show` has it.
const ERRORS_COLUMNS_MIN: usize = 110;

/// What the list is drawn from, beside the processes.
struct View {
    notes: HashMap<String, Note>,
    clock: Clock,
    now: Timestamp,
    is_terminal: bool,
    /// Whether errors are shown: a person's terminal that is wide enough.
    has_room: bool,
    /// Whether there is a column for notes whatever this page has: others follow.
    has_notes: bool,
}

impl View {
    /// On a terminal a long id may be cut so that a line stays a line; what reads a pipe needs it whole.
    fn table(&mut self, processes: &[ProcessData]) -> Table {
        let notes: Vec<String> = processes.iter().map(|process| self.note(process)).collect();
        let mut columns = vec![
            ("PROCESS", if self.is_terminal { Fit::ShrinksLast(16) } else { Fit::Whole }),
            ("TYPE", Fit::Shrinks(5)),
            ("STATUS", Fit::Whole),
            ("TASKS", Fit::Right),
            ("CREATED", Fit::Whole),
            ("TIME", Fit::Right),
        ];
        self.has_notes |= notes.iter().any(|note| !note.is_empty());
        if self.has_notes {
            columns.push(("NOTE", Fit::Shrinks(14)));
        }
        let mut table = Table::new(&columns);
        for (process, note) in processes.iter().zip(notes) {
            let end = process.completed_at.unwrap_or(self.now);
            let time = process.started_at.map(|start| text::duration(text::between(start, end)));
            let mut row = vec![
                text::escape(&process.process_id).into_owned(),
                text::escape(&process.process_type).into_owned(),
                process.status.to_string(),
                format!("{}/{}", process.current_task_index, process.total_tasks),
                self.clock.short(process.created_at),
                time.unwrap_or_default(),
            ];
            row.extend(self.has_notes.then_some(note));
            table.row(row);
        }
        table
    }

    /// What an unfinished process waits for, or why one has failed; and how many of its tasks were skipped.
    fn note(&self, process: &ProcessData) -> String {
        let skipped = (process.skipped_tasks > 0).then(|| format!("{} skipped", process.skipped_tasks));
        let parts = [skipped.unwrap_or_default(), self.state_note(process)];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }

    fn state_note(&self, process: &ProcessData) -> String {
        if process.status.is_final() {
            let error = process.error_message.as_deref().filter(|_| self.has_room);
            return error.map(text::escape).unwrap_or_default().into_owned();
        }
        let due = process.execution_time.filter(|due| *due > self.now).map(|due| self.clock.short(due));
        let note = self.notes.get(&process.process_id);
        if let Some(Note { is_cancelling: false, is_paused: false, limit: Some(limit), .. }) = note {
            return text::escape(&limit.phrase()).into_owned();
        }
        match (note, due) {
            (Some(Note { is_cancelling: true, .. }), _) => "cancelling".to_owned(),
            (Some(Note { is_paused: true, .. }), _) => "paused".to_owned(),
            (Some(Note { is_waiting_retry: true, .. }), due) => {
                due.map_or_else(|| "retry due".to_owned(), |due| format!("retry {due}"))
            }
            (_, Some(due)) => format!("due {due}"),
            (_, None) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn process(id: &str, process_type: &str) -> ProcessData {
        let at = Timestamp::from_second(1_000_000_000).expect("a time");
        ProcessData {
            process_id: id.to_owned(),
            process_type: process_type.to_owned(),
            status: ProcessStatus::InProgress,
            current_task_index: 3,
            total_tasks: 12,
            skipped_tasks: 0,
            priority: 0,
            started_at: Some(at),
            completed_at: None,
            error_message: None,
            input_data: json!({}),
            process_context: json!({}),
            created_at: at,
            updated_at: at,
            execution_time: None,
            picked_by: None,
            waits_for_limit: None,
        }
    }

    fn view(is_terminal: bool, has_room: bool) -> View {
        let now = Timestamp::from_second(1_000_000_090).expect("a time");
        View { notes: HashMap::new(), clock: Clock::system(), now, is_terminal, has_room, has_notes: false }
    }

    fn lines(processes: &[ProcessData], is_terminal: bool) -> Vec<String> {
        let mut view = view(is_terminal, false);
        view.table(processes).lines(if is_terminal { 80 } else { usize::MAX }, |_, _, cell| cell)
    }

    #[test]
    fn a_usual_list_fits_eighty_columns_with_whole_ids() {
        let lines = lines(&[process("data-processing-pipeline-4200", "data-processing-pipeline")], true);
        assert!(lines.iter().all(|line| text::width(line) <= 80), "{lines:#?}");
        assert!(lines[1].starts_with("data-processing-pipeline-4200  data…"), "{lines:#?}");
        assert!(lines[1].ends_with("IN_PROGRESS   3/12  2001-09-09  1 min 30 s"), "{lines:#?}");
    }

    #[test]
    fn a_list_goes_on_until_it_is_as_long_as_was_asked_for_and_a_search_until_it_has_looked_enough() {
        let next = Cursor::parse("1.p").expect("a cursor");
        let all = Include { input: true, context: true };
        for (include, found) in [(Include::default(), PAGE_MAX), (all, 1)] {
            let filter = ProcessFilter { include, ..ProcessFilter::default() };
            let mut pages = Pages::new(filter, 200 * found);
            for _ in 1..200 {
                pages.note(found as usize, PAGE_MAX, Some(&next));
                assert!(!pages.is_last, "{include:?}: {:?} are still wanted", pages.left);
            }
            pages.note(found as usize, PAGE_MAX, Some(&next));
            assert!(pages.is_last);
        }
        let mut pages = Pages::new(ProcessFilter::default(), u32::MAX);
        (1..SEARCH_LOOKS_MAX).for_each(|_| pages.note(1, 200, Some(&next)));
        assert!(!pages.is_last);
        pages.note(0, 200, Some(&next));
        assert!(pages.is_last && pages.next.is_some());
    }

    #[test]
    fn a_pipe_gets_ids_whole_however_long() {
        let id = "x".repeat(200);
        let lines = lines(&[process(&id, "t")], false);
        assert!(lines[1].starts_with(&format!("{id}  t ")), "{lines:#?}");
    }

    #[test]
    fn what_a_process_waits_for_is_noted() {
        let later = Timestamp::from_second(1_000_000_100).expect("a time");
        let mut view = view(true, true);
        let waiting = ProcessData { execution_time: Some(later), ..process("p-1", "t") };
        let at = view.clock.short(later);
        assert_eq!(view.note(&waiting), format!("due {at}"));
        let mut noted = |is_cancelling, is_paused| {
            let note = Note { is_cancelling, is_paused, is_waiting_retry: true, limit: None };
            view.notes.insert("p-1".to_owned(), note);
            view.note(&waiting)
        };
        assert_eq!(noted(false, false), format!("retry {at}"));
        assert_eq!(noted(false, true), "paused");
        assert_eq!(noted(true, true), "cancelling");
        let failed = ProcessData {
            status: ProcessStatus::Failed,
            error_message: Some("exit code 3".to_owned()),
            ..process("p-2", "t")
        };
        assert_eq!(view.note(&failed), "exit code 3");
        view.has_room = false;
        assert_eq!(view.note(&failed), "");
        assert_eq!(view.note(&ProcessData { skipped_tasks: 2, ..failed }), "2 skipped");
    }

    #[test]
    fn a_cursor_is_what_a_list_gave() {
        assert!(parse_cursor("1000000.p-1").is_ok());
        assert!(parse_cursor("p-1").expect_err("no cursor").contains("leave --after out"));
    }
}
