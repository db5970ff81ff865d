//! `limits`: how many processes or commands run at once, who has the slots and who waits.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;

use super::error::CliError;
use super::help;
use super::options::bulk::user_name;
use super::options::global::GlobalOptions;
use super::screen::table::{Fit, Table};
use super::screen::terminal::{Size, message, print_json, print_lines, tell_unreadable};
use super::screen::text::{self, Clock};
use super::surroundings::session::{Need, Session};
use crate::model::batch::name::of_limit;
use crate::model::limits::usage::{COUNTED_MAX, LimitDetails, LimitUsage, parse_entry, shown_max};
use crate::model::suggest;
use crate::platform::host_name;
use crate::store::limits::usage::{LIMITS_PAGE_MAX, LimitFilter};
use crate::store::{RefusalReason, Store, StoreError};

/// What to do with limits.
#[derive(Debug, Subcommand)]
pub enum Limits {
    /// List the limits: max, how many are taken, how many wait and since when
    #[command(before_help = "Examples:
  process-orchestrator limits list
  process-orchestrator limits list --waiting
  process-orchestrator limits list --json | jq -r '.limits[] | select(.waiting > 0) | .name'")]
    List(ListOptions),
    /// Show one: who has its slots since when, and who waits, in order
    #[command(before_help = "Examples:
  process-orchestrator limits show gpu
  process-orchestrator limits show type:invoice:config.customer=acme")]
    Show(ShowOptions),
    /// Change how many run at once; what runs goes on, and one that may run now begins
    #[command(before_help = "Examples:
  process-orchestrator limits set gpu --max 4
  process-orchestrator limits set gpu --max 0
  process-orchestrator limits set gpu --max default")]
    Set(SetOptions),
    /// Print the help of these commands
    #[command(before_help = "Examples:
  process-orchestrator limits help set")]
    Help(super::types::HelpOptions),
}

/// Which to list.
#[derive(Debug, Args)]
pub struct ListOptions {
    /// Only these
    #[arg(value_name = "LIMIT")]
    pub names: Vec<String>,
    /// Also those of batches and schedules of which nothing is taken and nothing waits
    #[arg(long)]
    pub all: bool,
    /// Only those for which processes wait
    #[arg(long)]
    pub waiting: bool,
    /// Print one JSON document: {"limits": [...]}
    #[arg(long)]
    pub json: bool,
}

/// Which to show.
#[derive(Debug, Args)]
pub struct ShowOptions {
    /// The limit's name, with =KEY for one value of its key
    #[arg(value_name = "LIMIT")]
    pub entry: String,
    /// Print one JSON document, with up to a thousand holders and waiting processes
    #[arg(long)]
    pub json: bool,
}

/// What to change.
#[derive(Debug, Args)]
pub struct SetOptions {
    /// The limit's name; each value of its key has this many
    #[arg(value_name = "LIMIT")]
    pub name: String,
    /// How many at once; 0: nothing more begins; default: what the documents say
    #[arg(long, value_name = "N|default", value_parser = parse_max, allow_hyphen_values = true)]
    pub max: Max,
    /// Print one JSON document: the limit as `limits list` has it
    #[arg(long)]
    pub json: bool,
}

/// What `max` is to be; `None`: what the documents say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Max(Option<u32>);

fn parse_max(text: &str) -> Result<Max, String> {
    match text {
        "default" => Ok(Max(None)),
        _ => match text.parse::<i32>().ok().and_then(|it| u32::try_from(it).ok()) {
            Some(max) => Ok(Max(Some(max))),
            None => Err("write a whole number from 0 on, or default for what the documents say".to_owned()),
        },
    }
}

/// Does it.
///
/// # Errors
/// An unknown name, or a failure of the database.
pub fn run(
    global: &GlobalOptions,
    limits: &Limits,
    definition: fn() -> clap::Command,
) -> Result<(), CliError> {
    match limits {
        Limits::List(options) => list(global, options),
        Limits::Show(options) => show(global, options),
        Limits::Set(options) => set(global, options),
        Limits::Help(options) => {
            let words: Vec<&str> = ["limits"].into_iter().chain(options.command.as_deref()).collect();
            help::of_command(&words, definition())
        }
    }
}

fn list(global: &GlobalOptions, options: &ListOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let names = (!options.names.is_empty()).then_some(options.names.as_slice());
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    let mut after: Option<String> = None;
    loop {
        let with_idle = options.all || names.is_some();
        let page = store.limits(LimitFilter { names, after: after.as_deref(), with_idle })?;
        let is_last = page.rows.len() + page.unreadable.len() < LIMITS_PAGE_MAX as usize;
        after = page.rows.last().map(|it| it.name.clone());
        unreadable.extend(page.unreadable);
        found.extend(page.rows);
        if is_last || after.is_none() {
            break;
        }
    }
    for name in &options.names {
        if unreadable.is_empty() && !found.iter().any(|it| it.name == *name) {
            return Err(unknown(&mut store, name, global));
        }
    }
    found.retain(|it| !options.waiting || it.waiting > 0);
    if options.json {
        let mut document = json!({ "limits": found });
        if !unreadable.is_empty() {
            document["unreadable"] = json!(unreadable);
        }
        return print_json(&document);
    }
    tell_unreadable(&unreadable);
    if found.is_empty() {
        message(match options.waiting {
            true => "nothing waits for a limit".to_owned(),
            false => format!("no process type has limits; see {} help limits", global.program()),
        });
        return Ok(());
    }
    let now = store.now()?;
    print_lines(&table(&found, now).lines(Size::stdout_columns(), |_, _, cell| cell))
}

fn table(limits: &[LimitUsage], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        ("LIMIT", Fit::Shrinks(16)),
        ("MAX", Fit::Right),
        ("TAKEN", Fit::Right),
        ("WAITING", Fit::Right),
        ("FOR", Fit::Right),
        ("TAKEN BY", Fit::Shrinks(12)),
        ("NOTE", Fit::Shrinks(12)),
    ]);
    for it in limits {
        table.row(vec![
            text::escape(&it.name).into_owned(),
            it.shown_max(),
            shown_count(it.taken),
            shown_count(it.waiting),
            it.waiting_since.map(|at| text::duration(text::between(at, now))).unwrap_or_default(),
            text::escape(&holders_named(it)).into_owned(),
            text::escape(&note(it)).into_owned(),
        ]);
    }
    table
}

fn shown_count(count: u32) -> String {
    if count >= COUNTED_MAX { format!("{count}+") } else { count.to_string() }
}

/// The first of those that have slots; `limits show` tells of all.
fn holders_named(it: &LimitUsage) -> String {
    const SHOWN_MAX: usize = 2;
    let shown = it.taken_by.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match (it.taken as usize).saturating_sub(it.taken_by.len().min(SHOWN_MAX)) {
        0 => shown,
        _ if shown.is_empty() => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn note(it: &LimitUsage) -> String {
    let by = it.changed_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let is_over = !has_key(it) && it.max.is_some_and(|max| it.taken > max);
    let parts = [
        if it.is_paused { "paused".to_owned() } else { String::new() },
        if it.is_set { format!("set{by}") } else { String::new() },
        if is_over { "drains".to_owned() } else { String::new() },
        match it.keys_waiting {
            0 | 1 => String::new(),
            keys => format!("{keys} keys wait"),
        },
    ];
    parts.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Whether a type's own limit counts for each value of a key.
fn has_key(it: &LimitUsage) -> bool {
    it.name.matches(':').count() > 1
}

/// Rows of each kind that `show` prints.
const SHOWN_MAX: u32 = 50;
/// And that its document holds.
const IN_DOCUMENT_MAX: u32 = 1_000;

fn show(global: &GlobalOptions, options: &ShowOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let rows_max = if options.json { IN_DOCUMENT_MAX } else { SHOWN_MAX };
    let Some(details) = store.limit(&options.entry, rows_max)? else {
        return Err(unknown(&mut store, parse_entry(&options.entry).0, global));
    };
    if options.json {
        return print_json(&details);
    }
    let now = store.now()?;
    print_lines(&show_lines(&details, &Clock::system(), now, Size::stdout_columns()))
}

fn show_lines(details: &LimitDetails, clock: &Clock, now: Timestamp, columns: usize) -> Vec<String> {
    let LimitDetails { usage, key, declared_by, holders, line } = details;
    let entry = key.as_ref().map_or_else(|| usage.name.clone(), |key| format!("{}={key}", usage.name));
    let since = |at: Timestamp| format!("{} ago", text::duration(text::between(at, now)));
    let mut lines = vec![format!("Limit     {}", text::escape(&entry))];
    let by = usage.changed_by.as_ref().map(|by| format!(" by {}", text::escape(by))).unwrap_or_default();
    let what = if usage.is_set { "set" } else { "declared" };
    lines.push(format!("Max       {}, {what}{by}, {}", usage.shown_max(), clock.full(usage.changed_at)));
    if usage.is_set {
        lines.push(format!("Declared  {}", shown_max(usage.declared_max)));
    }
    if usage.is_paused {
        lines.push("Paused    nothing of it goes on".to_owned());
    }
    let says = |it: &crate::model::limits::usage::LimitDeclaration| {
        let task = it.task.as_ref().map(|task| format!(", task {task}")).unwrap_or_default();
        let max = it.max.map(|max| format!(" (max {max})")).unwrap_or_default();
        text::escape(&format!("{}{task}{max}", it.process_type)).into_owned()
    };
    if !declared_by.is_empty() {
        lines.push(format!("Made by   {}", declared_by.iter().map(says).collect::<Vec<_>>().join("; ")));
    }
    lines.push(format!("Taken     {}", shown_count(usage.taken)));
    lines.push(format!("Waiting   {}", shown_count(usage.waiting)));
    if !holders.is_empty() {
        let mut table = Table::new(&[
            ("TAKEN BY", Fit::ShrinksLast(16)),
            ("KEY", Fit::Shrinks(5)),
            ("TASK", Fit::Shrinks(6)),
            ("NODE", Fit::Shrinks(6)),
            ("HOLDS", Fit::Whole),
            ("SINCE", Fit::Right),
        ]);
        for it in holders {
            let cell = |text: &Option<String>| text::escape(text.as_deref().unwrap_or_default()).into_owned();
            table.row(vec![
                text::escape(&it.process_id).into_owned(),
                cell(&it.key),
                cell(&it.task),
                cell(&it.node),
                it.holds.to_owned(),
                since(it.taken_at),
            ]);
        }
        lines.push(String::new());
        lines.extend(table.lines(columns, |_, _, cell| cell));
        lines.extend(more(usage.taken, holders.len()));
    }
    if !line.is_empty() {
        let mut table = Table::new(&[
            ("#", Fit::Right),
            ("WAITING", Fit::ShrinksLast(16)),
            ("KEY", Fit::Shrinks(5)),
            ("TYPE", Fit::Shrinks(6)),
            ("PRIORITY", Fit::Right),
            ("SINCE", Fit::Right),
        ]);
        let (mut place, mut last) = (0, &None);
        for it in line {
            place = if last == &it.key { place + 1 } else { 1 };
            last = &it.key;
            table.row(vec![
                place.to_string(),
                text::escape(&it.process_id).into_owned(),
                text::escape(it.key.as_deref().unwrap_or_default()).into_owned(),
                text::escape(&it.process_type).into_owned(),
                it.priority.to_string(),
                it.since.map(since).unwrap_or_default(),
            ]);
        }
        lines.push(String::new());
        lines.extend(table.lines(columns, |_, _, cell| cell));
        lines.extend(more(usage.waiting, line.len()));
    }
    lines
}

fn more(all: u32, shown: usize) -> Option<String> {
    let more = (all as usize).saturating_sub(shown);
    (more > 0).then(|| format!("and {more} more"))
}

fn set(global: &GlobalOptions, options: &SetOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let by = format!("{} on {}", user_name().unwrap_or_else(|| "somebody".to_owned()), host_name());
    let (name, key) = parse_entry(&options.name);
    if key.is_some() {
        return Err(CliError::Usage(format!(
            "all values of a key have the same max; change that of {name:?}: {} limits set {}",
            global.program(),
            shell_words::quote(name)
        )));
    }
    let max = match store.set_limit(name, options.max.0, Some(&by)) {
        Err(StoreError::Refused(it)) if it.reason == RefusalReason::UnknownLimit => {
            return Err(unknown(&mut store, name, global));
        }
        Err(error) => return Err(error.into()),
        Ok(max) => max,
    };
    let details = store.limit(name, 0)?.ok_or_else(|| unknown(&mut store, name, global))?;
    if options.json {
        return print_json(&details.usage);
    }
    let usage = details.usage;
    print_lines(&[format!("{} max {}", text::escape(name), shown_max(max))])?;
    match of_limit(name).filter(|_| usage.max == Some(0) && max != Some(0)) {
        Some(batch) => message(format!(
            "batch {batch:?} is held all the same; let it go on: {} batch resume {}",
            global.program(),
            shell_words::quote(&batch)
        )),
        None => consequence(&usage).into_iter().for_each(message),
    }
    Ok(())
}

/// What a person who has changed a max wants to know.
fn consequence(usage: &LimitUsage) -> Option<String> {
    match usage.max {
        Some(0) => {
            Some(format!("nothing more of it begins; {} run or wait for a retry and go on", usage.taken))
        }
        Some(max) if !has_key(usage) && usage.taken > max => {
            Some(format!("{} are taken: they go on, and nothing more begins until fewer are", usage.taken))
        }
        None if !usage.is_set => Some(
            "no document gives it a max: there is no bound until one does, or somebody sets it".to_owned(),
        ),
        _ => None,
    }
}

/// A name that is no limit's, with the one that was probably meant.
fn unknown(store: &mut Store, name: &str, global: &GlobalOptions) -> CliError {
    let known = match store.limit_names("", LIMITS_PAGE_MAX) {
        Ok(names) => names.into_iter().map(|it| it.0).collect::<Vec<_>>(),
        Err(error) => return error.into(),
    };
    let remedy = match suggest::closest(name, known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None if known.is_empty() => {
            "no process type has limits yet: write \"concurrency\" in its document".to_owned()
        }
        None => format!("see them: {} limits list --all", global.program()),
    };
    CliError::not_found(RefusalReason::UnknownLimit, format!("unknown limit {name:?}; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_max_is_a_whole_number_or_default() {
        assert_eq!(parse_max("default"), Ok(Max(None)));
        assert_eq!(parse_max("0"), Ok(Max(Some(0))));
        for text in ["-1", "1.5", "", "many", "4294967296"] {
            assert!(parse_max(text).is_err_and(|it| it.contains("or default")), "{text}");
        }
    }

    fn usage(max: Option<u32>, taken: u32, is_set: bool) -> LimitUsage {
        LimitUsage {
            taken_by: Vec::new(),
            name: "gpu".to_owned(),
            process_type: None,
            max,
            declared_max: None,
            is_set,
            is_paused: false,
            changed_by: Some("ann".to_owned()),
            changed_at: Timestamp::UNIX_EPOCH,
            taken,
            waiting: COUNTED_MAX,
            keys_waiting: 3,
            waiting_since: Some(Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn a_list_says_who_has_set_what_and_how_many_wait() {
        let taken_by = ["a", "b", "c"].map(str::to_owned).to_vec();
        let usage = LimitUsage { taken_by, ..usage(Some(2), 3, true) };
        let lines = table(&[usage], Timestamp::UNIX_EPOCH).lines(90, |_, _, cell| cell);
        let expected = "gpu      2      3  100000+  0 ms  a, b and 1 more  set by ann, drains, 3 keys wait";
        assert_eq!(lines[1].replace("0.0 s", "0 ms"), expected, "{lines:#?}");
    }

    #[test]
    fn whoever_changes_a_max_is_told_what_that_means() {
        let told = |it: LimitUsage| consequence(&it).unwrap_or_default();
        assert!(told(usage(Some(0), 2, true)).contains("nothing more"));
        assert!(told(usage(Some(1), 2, true)).contains("2 are taken"));
        assert!(told(usage(None, 2, false)).contains("no bound"));
        assert_eq!(told(usage(Some(3), 2, true)), "");
    }
}
