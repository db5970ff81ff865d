//! `schedule`: processes that are started at their times.

mod add;
mod show;
mod times;
mod which;

use clap::{Args, Subcommand};
use serde_json::json;

use self::which::known;
use super::error::CliError;
use super::help;
use super::options::bulk::user_name;
use super::options::global::GlobalOptions;
use super::screen::terminal::{print, print_json, print_lines};
use super::screen::text::{self, Clock};
use super::surroundings::session::{Need, Session};
use crate::store::schedules::ScheduleData;

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub enum Schedules {
    /// Add one, of a file or of options, or change the one of its name
    #[command(before_help = "Examples:
  process-orchestrator schedule add nightly-report.json
  process-orchestrator schedule add --name nightly --type data-processing-pipeline --cron '30 2 * * *' --time-zone Europe/Berlin
  process-orchestrator schedule add --name often --type data-processing-pipeline --every 15m --overlap queue --config size=5")]
    Add(Box<add::AddOptions>),
    /// List schedules: their times, what they have started and skipped
    #[command(before_help = "Examples:
  process-orchestrator schedule list
  process-orchestrator schedule list --json | jq -r '.schedules[] | select(.problem) | .name'")]
    List(show::ListOptions),
    /// Show one, and what became of its last times
    #[command(before_help = "Examples:
  process-orchestrator schedule show nightly
  process-orchestrator schedule show nightly --json | jq .definition")]
    Show(show::ShowOptions),
    /// Print its next times, and which of them a change of the clocks affects
    #[command(before_help = "Examples:
  process-orchestrator schedule next nightly
  process-orchestrator schedule next nightly -n 10 --from '2026-10-20 00:00'")]
    Next(times::NextOptions),
    /// Hold one back: times that come meanwhile are not made up for
    #[command(before_help = "Examples:
  process-orchestrator schedule pause nightly --reason 'the source system is down'")]
    Pause(PauseOptions),
    /// Let one go on, from its next time
    #[command(before_help = "Examples:
  process-orchestrator schedule resume nightly")]
    Resume(NameOptions),
    /// Remove one; its processes stay
    #[command(before_help = "Examples:
  process-orchestrator schedule remove nightly")]
    Remove(NameOptions),
    /// Start a process of one now, whatever its times are
    #[command(before_help = "Examples:
  process-orchestrator schedule run-now nightly")]
    RunNow(NameOptions),
    /// Start the processes of past times, in order, as a batch
    #[command(before_help = "Examples:
  process-orchestrator schedule backfill nightly --from 2026-11-01 --to 2026-11-08 --dry-run
  process-orchestrator schedule backfill nightly --from '2026-11-01 00:00' --to 2026-11-08T00:00:00Z --max 2")]
    Backfill(times::BackfillOptions),
    /// Print the help of these commands
    #[command(before_help = "Examples:
  process-orchestrator schedule help add")]
    Help(HelpOptions),
}

/// The help of which.
#[derive(Debug, Args)]
pub struct HelpOptions {
    /// The command; without it all are listed
    pub command: Option<String>,
}

/// Which schedule.
#[derive(Debug, Args)]
pub struct NameOptions {
    /// The schedule's name
    #[arg(value_name = "SCHEDULE")]
    pub schedule: String,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Which to hold back.
#[derive(Debug, Args)]
pub struct PauseOptions {
    /// The schedule's name
    #[arg(value_name = "SCHEDULE")]
    pub schedule: String,
    /// Why; `show` and `list` tell it
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: Option<String>,
    /// Print one JSON document: {"name", "paused", "changed"}
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// Faults of documents, an unknown name, or a failure of the database.
pub fn run(
    global: &GlobalOptions,
    schedules: &Schedules,
    definition: fn() -> clap::Command,
) -> Result<(), CliError> {
    match schedules {
        Schedules::Add(options) => add::add(global, options),
        Schedules::List(options) => show::list(global, options),
        Schedules::Show(options) => show::show(global, options),
        Schedules::Next(options) => times::next(global, options),
        Schedules::Pause(options) => {
            let (_session, mut store) = Session::open(global, Need::Tables)?;
            known(&mut store, &options.schedule, global)?;
            let by = user_name();
            let is_changed =
                store.pause_schedule(&options.schedule, options.reason.as_deref(), by.as_deref())?;
            report(&options.schedule, true, is_changed, options.json)
        }
        Schedules::Resume(options) => {
            let (_session, mut store) = Session::open(global, Need::Tables)?;
            known(&mut store, &options.schedule, global)?;
            let is_changed = store.resume_schedule(&options.schedule)?;
            report(&options.schedule, false, is_changed, options.json)
        }
        Schedules::Remove(options) => {
            let (_session, mut store) = Session::open(global, Need::Tables)?;
            known(&mut store, &options.schedule, global)?;
            store.remove_schedule(&options.schedule)?;
            match options.json {
                true => print_json(&json!({ "name": options.schedule, "removed": true })),
                false => print(format!("{} removed\n", text::escape(&options.schedule))),
            }
        }
        Schedules::RunNow(options) => {
            let (_session, mut store) = Session::open(global, Need::Tables)?;
            known(&mut store, &options.schedule, global)?;
            let id = store.run_schedule_now(&options.schedule)?;
            match options.json {
                true => print_json(&json!({ "name": options.schedule, "process_id": id })),
                false => print(format!("{}\n", text::escape(&id))),
            }
        }
        Schedules::Backfill(options) => times::backfill(global, options),
        Schedules::Help(options) => {
            let words: Vec<&str> = ["schedule"].into_iter().chain(options.command.as_deref()).collect();
            help::of_command(&words, definition())
        }
    }
}

fn report(name: &str, is_paused: bool, is_changed: bool, json: bool) -> Result<(), CliError> {
    if json {
        return print_json(&json!({ "name": name, "paused": is_paused, "changed": is_changed }));
    }
    let state = match (is_paused, is_changed) {
        (true, true) => "paused",
        (true, false) => "was paused already",
        (false, true) => "resumed",
        (false, false) => "was not paused",
    };
    print(format!("{} {state}\n", text::escape(name)))
}

/// Why a schedule fires or does not, for `explain`.
pub fn explain(data: &ScheduleData, json: bool) -> Result<(), CliError> {
    let sentences = show::sentences(data, &Clock::system());
    if json {
        return print_json(&json!({ "schedule": data, "sentences": sentences }));
    }
    print_lines(&sentences)
}
