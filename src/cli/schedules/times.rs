//! `schedule next` and `schedule backfill`: times that are to come, and those that have been.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::which::{known, readable, warn_of_pause};
use crate::cli::error::CliError;
use crate::cli::options::global::GlobalOptions;
use crate::cli::options::when::{self, When};
use crate::cli::screen::table::{Fit, Table};
use crate::cli::screen::terminal::{Size, message, print_json, print_lines};
use crate::cli::surroundings::session::{Need, Session};
use crate::model::schedule::definition::Schedule;
use crate::model::schedule::plan::due_at;
use crate::model::schedule::rule::Rule;

/// Processes that one backfill starts.
const BACKFILL_MAX: usize = 10_000;

/// Which times.
#[derive(Debug, Args)]
pub struct NextOptions {
    /// The schedule's name
    #[arg(value_name = "SCHEDULE")]
    pub schedule: String,
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: u32,
    /// The first ones after this time instead of now
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = when::parse)]
    pub from: Option<When>,
    /// Print one JSON document: {"name", "time_zone", "times": [{"at", "local", "offset", "due_at", "clock_change"}]}
    #[arg(long)]
    pub json: bool,
}

/// Which past times.
#[derive(Debug, Args)]
pub struct BackfillOptions {
    /// The schedule's name
    #[arg(value_name = "SCHEDULE")]
    pub schedule: String,
    /// The first time that may be: 2026-11-01, "2026-11-01 08:00" by the clock of the schedule's zone, or with offset or Z
    #[arg(long, value_name = "TIME")]
    pub from: String,
    /// The time before which the last one is
    #[arg(long, value_name = "TIME")]
    pub to: String,
    /// How many of them run at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max: u32,
    /// Only say which times these are
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON document: {"name", "batch", "times", "started", "there_already"}
    #[arg(long)]
    pub json: bool,
}

/// Prints the next times.
///
/// # Errors
/// An unknown name, or a failure of the database.
pub fn next(global: &GlobalOptions, options: &NextOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let data = known(&mut store, &options.schedule, global)?;
    let (schedule, rule) = with_rule(readable(&data)?)?;
    let count = usize::try_from(options.count).unwrap_or(usize::MAX);
    let after = match options.from {
        Some(from) => from.at(data.now),
        // What is due already has not been fired, and is the next one.
        None => data
            .next_at
            .and_then(|next| next.checked_sub(jiff::SignedDuration::from_nanos(1)).ok())
            .unwrap_or(data.now),
    };
    let times: Vec<Timestamp> =
        std::iter::successors(rule.after(after), |last| rule.after(*last)).take(count).collect();
    warn_of_pause(&data);
    if options.json {
        let times: Vec<Value> = times.iter().map(|at| document(&schedule, &rule, *at)).collect();
        return print_json(&json!({ "name": data.name, "time_zone": schedule.time_zone, "times": times }));
    }
    if times.is_empty() {
        message(format!("schedule {:?} has no more times", data.name));
    }
    print_lines(&table(&schedule, &rule, &times))
}

fn with_rule(schedule: Schedule) -> Result<(Schedule, Rule), CliError> {
    match schedule.rule() {
        Some(rule) => Ok((schedule, rule)),
        None => Err(CliError::Failed(format!("the times of schedule {:?} can't be computed", schedule.name))),
    }
}

fn document(schedule: &Schedule, rule: &Rule, at: Timestamp) -> Value {
    let zoned = at.to_zoned(rule.zone.clone());
    json!({
        "at": at,
        "local": zoned.strftime("%FT%T").to_string(),
        "offset": zoned.strftime("%:z").to_string(),
        "due_at": due_at(schedule, rule, at),
        "clock_change": rule.change_at(at).map(|it| it.to_string()),
    })
}

fn table(schedule: &Schedule, rule: &Rule, times: &[Timestamp]) -> Vec<String> {
    let mut table = Table::new(&[
        ("UTC", Fit::Whole),
        ("LOCAL", Fit::Whole),
        ("ZONE", Fit::Whole),
        ("CLOCKS", Fit::Shrinks(20)),
    ]);
    for &at in times {
        let zoned = at.to_zoned(rule.zone.clone());
        table.row(vec![
            at.to_string(),
            zoned.strftime("%a %F %T %:z").to_string(),
            schedule.time_zone.clone(),
            rule.change_at(at).map(|it| it.to_string()).unwrap_or_default(),
        ]);
    }
    table.lines(Size::stdout_columns(), |_, _, cell| cell)
}

/// Starts the processes of past times.
///
/// # Errors
/// An unknown name, times that make no sense, or a failure of the database.
pub fn backfill(global: &GlobalOptions, options: &BackfillOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Migrated)?;
    let data = known(&mut store, &options.schedule, global)?;
    let (schedule, mut rule) = with_rule(readable(&data)?)?;
    // The times of its rule, those before it was to begin included; what `every` counts from stays.
    if !matches!(rule.pace, crate::model::schedule::rule::Pace::Every(_)) {
        rule.from = None;
    }
    let zone = rule.zone.clone();
    let (from, to) = (time("--from", &options.from, &zone)?, time("--to", &options.to, &zone)?);
    if to <= from {
        return Err(CliError::Usage(format!("--to {to} is not after --from {from}; write a later time")));
    }
    if to > data.now {
        return Err(CliError::Usage(format!(
            "--to {to} is in the future; the schedule fires those times by itself"
        )));
    }
    let times: Vec<Timestamp> = rule.times(from).take_while(|it| *it < to).take(BACKFILL_MAX + 1).collect();
    if times.len() > BACKFILL_MAX {
        return Err(CliError::Usage(format!(
            "these are more than {BACKFILL_MAX} times; do it in parts, the first up to {}",
            times[BACKFILL_MAX]
        )));
    }
    let batch = format!("backfill-{}-{}", data.name, from.strftime("%Y%m%dT%H%M%SZ"));
    if options.dry_run {
        if options.json {
            return print_json(&json!({ "name": data.name, "batch": batch, "times": times }));
        }
        message(format!(
            "{} times would be started as batch {batch:?}, {} at once",
            times.len(),
            options.max
        ));
        return print_lines(&table(&schedule, &rule, &times));
    }
    if times.is_empty() && !options.json {
        message(format!("schedule {:?} has no time from {from} on and before {to}", data.name));
    }
    // A batch of nothing would leave its limit behind.
    let started = match times.is_empty() {
        true => 0,
        false => store.backfill_schedule(&schedule, &times, &batch, options.max)?,
    };
    let there = times.len() as u64 - started;
    if options.json {
        return print_json(&json!({
            "name": data.name, "batch": batch, "times": times, "started": started, "there_already": there,
        }));
    }
    let already = if there == 0 { String::new() } else { format!(", {there} were there already") };
    print_lines(&[format!("{started} started as batch {batch}, {} at once{already}", options.max)])
}

fn time(option: &str, text: &str, zone: &jiff::tz::TimeZone) -> Result<Timestamp, CliError> {
    let in_zone =
        || Some(text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(zone.clone()).ok()?.timestamp());
    text.parse().ok().or_else(in_zone).ok_or_else(|| {
        CliError::Usage(format!(
            "{option} {text:?} is not a time; write 2026-11-01T08:00:00Z or, by the clock of the schedule's zone, \
             \"2026-11-01 08:00\""
        ))
    })
}
