//! `schedule list` and `schedule show`.

use clap::Args;
use serde_json::json;

use super::which::known;
use crate::cli::error::CliError;
use crate::cli::options::global::GlobalOptions;
use crate::cli::screen::table::{Fit, Table};
use crate::cli::screen::terminal::{Size, message, print_json, print_lines, tell_unreadable};
use crate::cli::screen::text::{self, Clock};
use crate::cli::surroundings::session::{Need, Session};
use crate::store::schedules::{ScheduleData, ScheduleFiring};

/// Schedules that are read at once.
const PAGE: u32 = 1_000;
/// Times that `show` tells of.
const FIRINGS: u32 = 10;

/// How to list.
#[derive(Debug, Args)]
pub struct ListOptions {
    /// Print one JSON document: {"schedules": [...]}
    #[arg(long)]
    pub json: bool,
}

/// Which to show.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// The schedule's name
    #[arg(value_name = "SCHEDULE")]
    pub schedule: String,
    /// Print one JSON document; its `definition` is what a file holds, `firings` what became of its last times
    #[arg(long)]
    pub json: bool,
}

/// Lists them by name.
///
/// # Errors
/// When the database fails.
pub fn list(global: &GlobalOptions, options: &ListOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let (mut all, mut unreadable): (Vec<ScheduleData>, Vec<String>) = (Vec::new(), Vec::new());
    loop {
        let page = store.schedules(all.last().map(|it| it.name.as_str()), PAGE)?;
        let is_full = page.rows.len() + page.unreadable.len() >= PAGE as usize && !page.rows.is_empty();
        unreadable.extend(page.unreadable);
        all.extend(page.rows);
        if !is_full {
            break;
        }
    }
    if options.json {
        let mut document = json!({ "schedules": all });
        if !unreadable.is_empty() {
            document["unreadable"] = json!(unreadable);
        }
        return print_json(&document);
    }
    let clock = Clock::system();
    let mut table = Table::new(&[
        ("NAME", Fit::ShrinksLast(16)),
        ("TYPE", Fit::Shrinks(12)),
        ("TIMES", Fit::Shrinks(12)),
        ("ZONE", Fit::Shrinks(6)),
        ("NEXT", Fit::Whole),
        ("LAST", Fit::Whole),
        ("FIRED", Fit::Right),
        ("SKIPPED", Fit::Right),
        ("STATE", Fit::Shrinks(12)),
    ]);
    for data in &all {
        let zone = data.definition["time_zone"].as_str().unwrap_or_default();
        table.row(vec![
            text::escape(&data.name).into_owned(),
            text::escape(&data.process_type).into_owned(),
            text::escape(&timing(data)).into_owned(),
            text::escape(zone).into_owned(),
            data.next_at.filter(|_| !data.paused).map(|at| clock.short(at)).unwrap_or_else(|| "-".to_owned()),
            data.last_at.map(|at| clock.short(at)).unwrap_or_else(|| "-".to_owned()),
            data.fired.to_string(),
            data.skipped().to_string(),
            state(data, &clock),
        ]);
    }
    print_lines(&table.lines(Size::stdout_columns(), |_, _, cell| cell))?;
    tell_unreadable(&unreadable);
    if all.is_empty() && unreadable.is_empty() {
        message(format!("no schedules yet; add one: {} schedule add FILE", global.program()));
    }
    Ok(())
}

fn timing(data: &ScheduleData) -> String {
    let text = |key: &str| data.definition[key].as_str();
    match (text("cron"), text("every")) {
        (Some(cron), _) => cron.to_owned(),
        (None, every) => format!("every {}", every.unwrap_or("?")),
    }
}

fn state(data: &ScheduleData, clock: &Clock) -> String {
    if let (true, Some(at)) = (data.paused, data.paused_at) {
        let reason =
            data.pause_reason.as_ref().map(|it| format!(": {}", text::escape(it))).unwrap_or_default();
        return format!("paused since {}{reason}", clock.short(at));
    }
    match (&data.problem, data.is_over, data.unfinished.len()) {
        (Some(problem), ..) => format!("can't start: {}", text::escape(problem)),
        (None, true, _) => "no more times".to_owned(),
        (None, false, 0) => String::new(),
        (None, false, 1) => "1 unfinished".to_owned(),
        (None, false, many) => format!("{many} unfinished"),
    }
}

/// Shows one.
///
/// # Errors
/// An unknown name, or a failure of the database.
pub fn show(global: &GlobalOptions, options: &ShowOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let data = known(&mut store, &options.schedule, global)?;
    let firings = store.schedule_firings(&data.name, FIRINGS)?;
    if options.json {
        let mut document =
            serde_json::to_value(&data).map_err(|cause| CliError::Failed(cause.to_string()))?;
        document["firings"] = json!(firings);
        return print_json(&document);
    }
    let clock = Clock::system();
    let mut lines = facts(&data, &clock);
    if !firings.is_empty() {
        lines.push(String::new());
        lines.extend(table(&firings, &clock));
    }
    print_lines(&lines)
}

fn facts(data: &ScheduleData, clock: &Clock) -> Vec<String> {
    let definition = |key: &str| match &data.definition[key] {
        serde_json::Value::String(text) => text::escape(text).into_owned(),
        serde_json::Value::Null => String::new(),
        other => text::escape(&other.to_string()).into_owned(),
    };
    let mut lines = Vec::new();
    let mut put = |label: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("{label:<13} {value}"));
        }
    };
    put("Schedule", text::escape(&data.name).into_owned());
    put("Process type", text::escape(&data.process_type).into_owned());
    put("Times", format!("{} ({})", text::escape(&timing(data)), definition("time_zone")));
    put("From", definition("from"));
    put("Until", definition("until"));
    put("Overlap", definition("overlap"));
    let most = match &data.definition["catch_up"] {
        word if word == "all" => format!(" (at most {})", definition("catch_up_max")),
        _ => String::new(),
    };
    put("Catch up", format!("{}{most}", definition("catch_up")));
    put("Jitter", definition("jitter").replace("0s", ""));
    put("Input", definition("input"));
    put(
        "Source",
        data.source
            .as_ref()
            .map(|it| format!("the document of process type {}", text::escape(it)))
            .unwrap_or_default(),
    );
    put("State", state(data, clock));
    put(
        "Next",
        match (data.next_at, data.due_at) {
            (Some(next), Some(due)) if due != next => {
                format!("{}, due {}", clock.full(next), clock.full(due))
            }
            (Some(next), _) => clock.full(next),
            (None, _) if data.is_over => "there is no more time".to_owned(),
            (None, _) => "not computed yet: a node does that when one runs".to_owned(),
        },
    );
    put(
        "Last",
        match (data.last_at, &data.last_process_id) {
            (Some(at), Some(id)) => format!("{}, {}", clock.full(at), text::escape(id)),
            _ => String::new(),
        },
    );
    put("Lateness", data.last_lateness_ms.map(|it| format!("{it} ms")).unwrap_or_default());
    put("Started", data.fired.to_string());
    put(
        "Skipped",
        match data.skipped() {
            0 => "0".to_owned(),
            _ => format!(
                "{} missed, {} overlapped, {} with a taken id",
                data.skipped_missed, data.skipped_overlap, data.skipped_taken
            ),
        },
    );
    put("Unfinished", text::escape(&data.unfinished.join(", ")).into_owned());
    lines
}

/// Why one fires or does not.
pub fn sentences(data: &ScheduleData, clock: &Clock) -> Vec<String> {
    let name = text::escape(&data.name);
    let mut lines = Vec::new();
    if data.paused {
        lines.push(format!(
            "schedule \"{name}\" is {}; go on with: schedule resume {name}",
            state(data, clock)
        ));
    } else if let Some(problem) = &data.problem {
        let since = data.problem_since.map(|at| format!(" since {}", clock.full(at))).unwrap_or_default();
        lines.push(format!(
            "schedule \"{name}\" can't start its process{since} and tries again: {}",
            text::escape(problem)
        ));
    } else if data.is_over {
        lines.push(format!("schedule \"{name}\" has no more times: see its \"until\""));
    } else {
        match data.due_at {
            None => lines.push(format!(
                "schedule \"{name}\" has no next time yet: a node computes it, within a second of its start"
            )),
            Some(due) if due <= data.now => {
                lines.push(format!(
                    "schedule \"{name}\" is due since {}: no node has fired it, see that one runs",
                    clock.full(due)
                ));
            }
            Some(due) => lines.push(format!("schedule \"{name}\" fires next at {}", clock.full(due))),
        }
    }
    if !data.unfinished.is_empty() {
        let overlap = data.definition["overlap"].as_str().unwrap_or_default();
        lines.push(format!(
            "{} of its processes have not ended ({}); overlap is {overlap}",
            data.unfinished.len(),
            text::escape(&data.unfinished.join(", "))
        ));
    }
    if data.skipped() > 0 {
        lines.push(format!(
            "{} of its times were skipped: {} missed, {} overlapped, {} with a taken id",
            data.skipped(),
            data.skipped_missed,
            data.skipped_overlap,
            data.skipped_taken
        ));
    }
    lines
}

fn table(firings: &[ScheduleFiring], clock: &Clock) -> Vec<String> {
    let mut table = Table::new(&[
        ("TIME", Fit::Whole),
        ("OUTCOME", Fit::Whole),
        ("LATE", Fit::Right),
        ("PROCESS", Fit::Shrinks(20)),
    ]);
    for firing in firings {
        let reason = firing.reason.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
        let many =
            if firing.how_many > 1 { format!(" and {} before", firing.how_many - 1) } else { String::new() };
        table.row(vec![
            clock.full(firing.scheduled_at),
            format!("{}{reason}{many}", firing.outcome),
            firing.lateness_ms.map(|it| format!("{it} ms")).unwrap_or_default(),
            firing.process_id.as_deref().map(|it| text::escape(it).into_owned()).unwrap_or_default(),
        ]);
    }
    table.lines(Size::stdout_columns(), |_, _, cell| cell)
}
