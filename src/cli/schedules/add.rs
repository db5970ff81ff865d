//! `schedule add`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::error::CliError;
use crate::cli::options::bulk::{unknown_type, user_name};
use crate::cli::options::global::GlobalOptions;
use crate::cli::options::input::{InputOptions, read_whole};
use crate::cli::screen::terminal::{print_json, print_lines};
use crate::cli::screen::text;
use crate::cli::surroundings::session::{Need, Session};
use crate::model::faults::Faults;
use crate::model::schedule::definition::{CatchUp, Overlap, Schedule};

/// What to add.
#[derive(Debug, Args)]
pub struct AddOptions {
    /// JSON files, each with a schedule or a list of them; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "name", conflicts_with_all = ["name", "process_type", "cron", "every"])]
    pub files: Vec<PathBuf>,
    /// Its name; it begins the id of each process: NAME@2026-11-29T02:00:00Z
    #[arg(long, value_name = "NAME", requires = "process_type")]
    pub name: Option<String>,
    /// The process type of what it starts
    #[arg(long = "type", value_name = "TYPE", requires = "name")]
    pub process_type: Option<String>,
    /// When: minute hour day month weekday, with seconds before them if you like, or @daily, @hourly ...
    #[arg(long, value_name = "CRON", requires = "name", conflicts_with = "every")]
    pub cron: Option<String>,
    /// How often, such as 15m: real time, counted from --from or 1970
    #[arg(long, value_name = "LENGTH", requires = "name")]
    pub every: Option<String>,
    /// Whose clock shows the times of --cron, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "name")]
    pub time_zone: Option<String>,
    /// Higher runs first
    #[arg(long, value_name = "N", requires = "name", allow_negative_numbers = true)]
    pub priority: Option<i32>,
    /// What becomes of a time while the process before has not ended [default: skip]
    #[arg(long, value_name = "WORD", requires = "name", value_parser = clap::builder::PossibleValuesParser::new(Overlap::WORDS))]
    pub overlap: Option<String>,
    /// What becomes of times when nobody was there [default: last]
    #[arg(long, value_name = "WORD", requires = "name", value_parser = clap::builder::PossibleValuesParser::new(CatchUp::WORDS))]
    pub catch_up: Option<String>,
    /// How many of them --catch-up all makes up for [default: 100]
    #[arg(long, value_name = "N", requires = "name")]
    pub catch_up_max: Option<u32>,
    /// Start each later by up to so much, the same for the same time
    #[arg(long, value_name = "LENGTH", requires = "name")]
    pub jitter: Option<String>,
    /// No time before this: 2026-12-01T08:00:00Z, or "2026-12-01 08:00" by the clock of --time-zone
    #[arg(long, value_name = "TIME", requires = "name")]
    pub from: Option<String>,
    /// No time after this
    #[arg(long, value_name = "TIME", requires = "name")]
    pub until: Option<String>,
    #[command(flatten)]
    pub input: InputOptions,
    /// Print one JSON document: {"schedules": [{"name", "change"}]}
    #[arg(long)]
    pub json: bool,
}

/// Adds what files or options say.
///
/// # Errors
/// All faults of the documents, an unknown process type, or a failure of the database.
pub fn add(global: &GlobalOptions, options: &AddOptions) -> Result<(), CliError> {
    let schedules = match &options.name {
        Some(name) => vec![of_options(name, options)?],
        None => of_files(&options.files)?,
    };
    let (_session, mut store) = Session::open(global, Need::Migrated)?;
    let by = user_name();
    let mut done = Vec::new();
    for schedule in &schedules {
        if store.process_type(&schedule.process_type)?.is_none() {
            return Err(unknown_type(&mut store, &schedule.process_type, global));
        }
        let change = store.add_schedule(schedule, by.as_deref())?;
        done.push((&schedule.name, change.as_str()));
    }
    if options.json {
        let list: Vec<Value> =
            done.iter().map(|(name, change)| json!({ "name": name, "change": change })).collect();
        return print_json(&json!({ "schedules": list }));
    }
    let lines: Vec<String> =
        done.iter().map(|(name, change)| format!("{} {change}", text::escape(name))).collect();
    print_lines(&lines)
}

fn of_options(name: &str, options: &AddOptions) -> Result<Schedule, CliError> {
    let mut document = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        document.extend(value.map(|value| (key.to_owned(), value)));
    };
    put("name", Some(json!(name)));
    for (key, text) in [
        ("process_type", &options.process_type),
        ("cron", &options.cron),
        ("every", &options.every),
        ("time_zone", &options.time_zone),
        ("overlap", &options.overlap),
        ("catch_up", &options.catch_up),
        ("jitter", &options.jitter),
        ("from", &options.from),
        ("until", &options.until),
    ] {
        put(key, text.as_ref().map(|text| json!(text)));
    }
    put("priority", options.priority.map(|it| json!(it)));
    put("catch_up_max", options.catch_up_max.map(|it| json!(it)));
    put("input", Some(options.input.read()?.to_value()));
    Schedule::from_value(&Value::Object(document), "the options").map_err(CliError::faults)
}

fn of_files(files: &[PathBuf]) -> Result<Vec<Schedule>, CliError> {
    let (mut schedules, mut faulty) = (Vec::new(), Vec::new());
    for file in files {
        let (source, text) = read_whole(&file.display().to_string())?;
        match read(&text, &source) {
            Ok(found) => schedules.extend(found),
            Err(faults) => faulty.extend(faults),
        }
    }
    if faulty.is_empty() { Ok(schedules) } else { Err(CliError::Faults(faulty)) }
}

/// One schedule, or a list of them.
fn read(text: &str, source: &str) -> Result<Vec<Schedule>, Vec<Faults>> {
    let Ok(Value::Array(items)) = serde_json::from_str(text) else {
        return Schedule::from_json(text, source).map(|it| vec![it]).map_err(|faults| vec![faults]);
    };
    let (read, faulty): (Vec<_>, Vec<_>) = items
        .iter()
        .enumerate()
        .map(|(index, item)| Schedule::from_value(item, &format!("{source}[{index}]")))
        .partition(Result::is_ok);
    let faults: Vec<Faults> = faulty.into_iter().filter_map(Result::err).collect();
    if faults.is_empty() { Ok(read.into_iter().filter_map(Result::ok).collect()) } else { Err(faults) }
}
