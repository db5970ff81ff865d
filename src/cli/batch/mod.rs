//! `batch`: many processes that were started as one.

mod export;
mod show;

use clap::{Args, Subcommand};
use serde_json::json;

use super::error::CliError;
use super::help;
use super::options::bulk::{unknown_batch, user_name};
use super::options::global::GlobalOptions;
use super::progress::batch::wait_for_batch;
use super::screen::terminal::{message, print, print_json};
use super::screen::text;
use super::start::batch::{Then, batch_options, parse_halt, parse_then};
use super::surroundings::session::{Need, Session};
use super::surroundings::signals::Signals;
use crate::model::batch::data::BatchState;
use crate::store::{RefusalReason, Store, StoreError};

/// What to do with batches.
#[derive(Debug, Subcommand)]
pub enum Batch {
    /// List batches, the newest first
    #[command(before_help = "Examples:
  process-orchestrator batch list
  process-orchestrator batch list --state running,halted --json | jq -r '.batches[].name'")]
    List(show::ListOptions),
    /// Show one: how far it is, how fast, and why what has failed did so
    #[command(before_help = "Examples:
  process-orchestrator batch show nightly
  process-orchestrator batch show nightly --json | jq '.failures[] | {count, reason}'")]
    Show(show::ShowOptions),
    /// Wait until one has ended, or is halted; exit code 1 unless all of it is COMPLETED
    #[command(before_help = "Examples:
  process-orchestrator batch wait nightly
  process-orchestrator batch wait nightly --json | jq .failed")]
    Wait(NameOptions),
    /// Hold one back: nothing of it is claimed, and what runs stops before its next task
    #[command(before_help = "Examples:
  process-orchestrator batch pause nightly --reason 'the disk is full'")]
    Pause(ReasonOptions),
    /// Let one go on that is paused or halted; its halt counts anew
    #[command(before_help = "Examples:
  process-orchestrator batch resume nightly")]
    Resume(NameOptions),
    /// Cancel whatever of one has not ended
    #[command(before_help = "Examples:
  process-orchestrator batch cancel nightly --reason 'wrong file'")]
    Cancel(ReasonOptions),
    /// Have its failed processes go again, each from the task that failed
    #[command(before_help = "Examples:
  process-orchestrator batch retry nightly --failed")]
    Retry(RetryOptions),
    /// Change its halt, how many of it run at once, or what follows it
    #[command(before_help = "Examples:
  process-orchestrator batch set nightly --max 20
  process-orchestrator batch set nightly --halt never")]
    Set(SetOptions),
    /// Print a line for each process that has ended, in the columns of GNU parallel's joblog
    #[command(before_help = "Examples:
  process-orchestrator batch joblog nightly > nightly.joblog
  process-orchestrator batch joblog nightly --json | jq -r 'select(.exitval != 0) | .process_id'")]
    Joblog(export::JoblogOptions),
    /// Print what became of each process, with its input and what its tasks passed on
    #[command(before_help = "Examples:
  process-orchestrator batch results nightly > nightly.csv
  process-orchestrator batch results nightly --json | jq -r 'select(.status == \"COMPLETED\") | .context.rows'")]
    Results(export::ResultsOptions),
    /// Print the help of these commands
    #[command(before_help = "Examples:
  process-orchestrator batch help results")]
    Help(super::types::HelpOptions),
}

/// Which batch.
#[derive(Debug, Args)]
pub struct NameOptions {
    /// The batch's name
    #[arg(value_name = "BATCH")]
    pub name: String,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Which batch, and why.
#[derive(Debug, Args)]
pub struct ReasonOptions {
    /// The batch's name
    #[arg(value_name = "BATCH")]
    pub name: String,
    /// Why; whoever asks is told
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Which processes of which batch.
#[derive(Debug, Args)]
pub struct RetryOptions {
    /// The batch's name
    #[arg(value_name = "BATCH")]
    pub name: String,
    /// Those that have FAILED
    #[arg(long, required = true)]
    pub failed: bool,
    /// Print one JSON document: {"name", "retried", "refused"}
    #[arg(long)]
    pub json: bool,
}

/// What to change of which batch.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
pub struct SetOptions {
    /// The batch's name
    #[arg(value_name = "BATCH")]
    pub name: String,
    /// When it starts no more, as `start --halt` has it; never: it does not halt
    #[arg(long, value_name = "WHEN,WHY=N[%]", group = "change", value_parser = parse_halt)]
    pub halt: Option<String>,
    /// How many of it may run at once; 0 is any number
    #[arg(long, value_name = "N", group = "change", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub max: Option<u32>,
    /// What to start when all of it has ended
    #[arg(long, value_name = "TYPE[:INPUT]", group = "change", value_parser = parse_then)]
    pub then: Option<Then>,
    /// The input of what is started then, as JSON or @FILE
    #[arg(long, value_name = "JSON|@FILE", requires = "then")]
    pub then_input: Option<String>,
    /// Print the batch as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// There is no such batch, or the database fails; see also each command.
pub fn run(global: &GlobalOptions, batch: &Batch, definition: fn() -> clap::Command) -> Result<(), CliError> {
    match batch {
        Batch::List(options) => show::list(global, options),
        Batch::Show(options) => show::show(global, options),
        Batch::Wait(options) => {
            let (session, mut store) = Session::open(global, Need::Tables)?;
            if store.batch(&options.name)?.is_none() {
                return Err(unknown_batch(&mut store, &options.name, global));
            }
            drop(store);
            let signals = Signals::listen()?;
            wait_for_batch(&session, &options.name, &signals, options.json, global)
        }
        Batch::Pause(options) => pause(global, options),
        Batch::Resume(options) => resume(global, options),
        Batch::Cancel(options) => cancel(global, options),
        Batch::Retry(options) => retry(global, options),
        Batch::Set(options) => set(global, options),
        Batch::Joblog(options) => export::joblog(global, options),
        Batch::Results(options) => export::results(global, options),
        Batch::Help(options) => {
            let words: Vec<&str> = ["batch"].into_iter().chain(options.command.as_deref()).collect();
            help::of_command(&words, definition())
        }
    }
}

fn pause(global: &GlobalOptions, options: &ReasonOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let state = store.pause_batch(&options.name, options.reason.as_deref());
    let state = state.map_err(|error| told(error, &mut store, &options.name, global))?;
    report(&options.name, state, BatchState::Paused, "paused", options.json)
}

fn resume(global: &GlobalOptions, options: &NameOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let state = store.resume_batch(&options.name);
    let state = state.map_err(|error| told(error, &mut store, &options.name, global))?;
    report(&options.name, state, BatchState::Running, "goes on", options.json)
}

fn report(name: &str, state: BatchState, wanted: BatchState, word: &str, json: bool) -> Result<(), CliError> {
    if json {
        return print_json(&json!({ "name": name, "state": state }));
    }
    let name = text::escape(name);
    match state == wanted {
        true => print(format!("{name} {word}\n")),
        false => print(format!("{name} stays {state}\n")),
    }
}

fn cancel(global: &GlobalOptions, options: &ReasonOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let by = user_name();
    let cancelled = store.cancel_batch(&options.name, options.reason.as_deref(), by.as_deref());
    let cancelled = cancelled.map_err(|error| told(error, &mut store, &options.name, global))?;
    if options.json {
        return print_json(&json!({ "name": options.name, "cancelled": cancelled }));
    }
    let ended = store.batch(&options.name)?.filter(|it| cancelled == 0 && it.state.is_final());
    match (ended, text::escape(&options.name)) {
        (Some(ended), name) => print(format!("{name} stays {}\n", ended.state)),
        (None, name) => print(format!("{name}: {cancelled} cancelled; nodes end what of it runs\n")),
    }
}

fn retry(global: &GlobalOptions, options: &RetryOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let done = store.retry_batch(&options.name);
    let done = done.map_err(|error| told(error, &mut store, &options.name, global))?;
    if options.json {
        print_json(&json!({ "name": options.name, "retried": done.retried, "refused": done.refused }))?;
    } else {
        print(format!("{}: {} go again\n", text::escape(&options.name), done.retried))?;
    }
    if done.refused > 0 {
        message(format!("{} could not go again; see why: {} retry ID", done.refused, global.program()));
    }
    let batch = store.batch(&options.name)?;
    if let Some(batch) = batch.filter(|it| matches!(it.state, BatchState::Halted | BatchState::Paused)) {
        let name = shell_words::quote(&options.name);
        message(format!(
            "the batch is {}; let it go on: {} batch resume {name}",
            batch.state,
            global.program()
        ));
    }
    Ok(())
}

fn set(global: &GlobalOptions, options: &SetOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    let name = &options.name;
    let Some(batch) = store.batch(name)? else { return Err(unknown_batch(&mut store, name, global)) };
    let bounds = (options.halt.as_deref(), options.max);
    let changes =
        batch_options(&mut store, global, bounds, options.then.as_ref(), options.then_input.as_deref())?;
    store.set_batch(name, &batch.process_type, &changes)?;
    show::print_batch(&mut store, name, options.json, global)
}

/// A batch that is not there is told with the one that was probably meant.
fn told(error: StoreError, store: &mut Store, name: &str, global: &GlobalOptions) -> CliError {
    match &error {
        StoreError::Refused(refusal) if refusal.reason == RefusalReason::UnknownBatch => {
            unknown_batch(store, name, global)
        }
        _ => error.into(),
    }
}
