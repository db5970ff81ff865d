//! `cancel`: processes that are not to go on.

use super::error::CliError;
use super::options::bulk::{check_type, counted, fail_with, processes, statuses, user_name};
use super::options::bulk::{locked, not_found};
use super::options::consent::{Consent, counted_in, of_type};
use super::options::global::GlobalOptions;
use super::progress::{self, Alarms, Wake};
use super::screen::json::JsonWriter;
use super::screen::terminal::{message, print_each};
use super::screen::text;
use super::surroundings::session::{Need, Session};
use super::surroundings::signals::{self, Signals};
use crate::model::lifecycle::ProcessStatus;
use crate::store::Store;
use crate::store::cancel::{BULK_MAX, CancelOutcome, CancelReason, CancelledProcess};
use crate::store::progress::EndedProcess;
use crate::store::read::bulk::{BulkCount, BulkFilter};
use clap::Args;

/// What to cancel.
#[derive(Debug, Args)]
pub struct Options {
    /// The processes' ids
    #[arg(value_name = "ID")]
    pub process_ids: Vec<String>,
    /// All unfinished processes of this type
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "process_ids")]
    pub process_type: Option<String>,
    /// All processes in this status
    #[arg(long, conflicts_with = "process_ids", ignore_case = true,
        value_parser = statuses(&[ProcessStatus::NotStarted, ProcessStatus::InProgress]))]
    pub status: Option<ProcessStatus>,
    /// Why; it becomes part of the processes' error message
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: Option<String>,
    /// Wait until nodes have ended the commands that run
    #[arg(long)]
    pub wait: bool,
    /// Only say what would be cancelled
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    #[command(flatten)]
    pub consent: Consent,
    /// Print one JSON document: {"dry_run", "processes": [{"process_id", "outcome", "status", "node"}], "counts"}
    #[arg(long)]
    pub json: bool,
}

/// Cancels and says what was done.
///
/// # Errors
/// When no process is named, an id is unknown, or the database fails.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let filter = BulkFilter { process_type: options.process_type.clone(), status: options.status };
    if options.process_ids.is_empty() && filter == BulkFilter::default() {
        return Err(CliError::Usage(
            "no process is named; give ids, or say which by --type or --status".to_owned(),
        ));
    }
    let (session, mut store) = Session::open(global, Need::Tables)?;
    if let Some(name) = &options.process_type {
        check_type(&mut store, name, global)?;
    }
    if options.process_ids.is_empty() && !options.dry_run {
        options.consent.get("cancelled", false, || question(&mut store, &filter))?;
    }
    // Before it is done, so that a signal that comes right after finds us waiting.
    let signals = options.wait.then(Signals::listen).transpose()?;
    let mut done = match options.process_ids.is_empty() {
        true => by_filter(&mut store, &filter, options)?,
        false => by_ids(&mut store, options)?,
    };
    drop(store);
    if let Some(signals) = signals {
        wait_for(&session, &mut done, &signals, options)?;
    }
    report(&done, options, global)
}

fn question(store: &mut Store, filter: &BulkFilter) -> Result<Option<String>, CliError> {
    let BulkCount { how_many: count, is_all } = store.count_unfinished(filter)?;
    let status = filter.status.map(|it| format!("{it} ")).unwrap_or_default();
    let which = of_type(filter.process_type.as_deref());
    let least = if is_all { "" } else { "at least " };
    Ok((count > 0 || !is_all).then(|| format!("Cancel {least}{}{which}?", counted_in(count, &status))))
}

fn by_ids(store: &mut Store, options: &Options) -> Result<Vec<CancelledProcess>, CliError> {
    let mut done = Vec::with_capacity(options.process_ids.len());
    for ids in options.process_ids.chunks(BULK_MAX) {
        done.extend(cancel(store, ids, options)?);
    }
    Ok(done)
}

/// A page at a time in an order that does not change: one that is started meanwhile may be met or not, none is met twice.
fn by_filter(
    store: &mut Store,
    filter: &BulkFilter,
    options: &Options,
) -> Result<Vec<CancelledProcess>, CliError> {
    let mut done = Vec::new();
    let mut page = store.unfinished_ids(filter, None, BULK_MAX)?;
    loop {
        if !page.ids.is_empty() {
            done.extend(cancel(store, &page.ids, options)?);
        }
        let Some(next) = page.next else { return Ok(done) };
        page = store.unfinished_ids(filter, Some(&next), BULK_MAX)?;
    }
}

fn cancel(store: &mut Store, ids: &[String], options: &Options) -> Result<Vec<CancelledProcess>, CliError> {
    if options.dry_run {
        return ids.iter().map(|id| would_be(store, id)).collect();
    }
    let user = user_name();
    let why = CancelReason { reason: options.reason.as_deref(), by: user.as_deref() };
    Ok(store.cancel_processes(ids, why)?)
}

fn would_be(store: &mut Store, id: &str) -> Result<CancelledProcess, CliError> {
    let process = store.process_row(id)?;
    let outcome = match &process {
        None => CancelOutcome::NotFound,
        Some(it) if it.status.is_final() => CancelOutcome::Finished,
        Some(it) if it.picked_by.is_some() => CancelOutcome::Requested,
        Some(_) => CancelOutcome::Cancelled,
    };
    Ok(CancelledProcess {
        process_id: id.to_owned(),
        outcome,
        status: process.as_ref().map(|it| it.status),
        node: process.and_then(|it| it.picked_by),
        locked_by: None,
    })
}

/// Waits for the nodes and takes over how the processes ended.
fn wait_for(
    session: &Session,
    done: &mut [CancelledProcess],
    signals: &Signals,
    options: &Options,
) -> Result<(), CliError> {
    let requested = |it: &&mut CancelledProcess| it.outcome == CancelOutcome::Requested;
    let ids: Vec<String> = done.iter_mut().filter(requested).map(|it| it.process_id.clone()).collect();
    if ids.is_empty() {
        return Ok(());
    }
    if !options.json {
        message(format!("waiting for the nodes that run {}", processes(ids.len())));
    }
    let ended = match progress::until_all_end(session, &ids, &Alarms::signals(signals), None, false)? {
        Wake::Ended(ended) => ended,
        Wake::Signal(signal) => {
            message(format!("{}: no longer waiting; the nodes end them all the same", signals::name(signal)));
            return Err(CliError::Interrupted(signal));
        }
        Wake::NodeFailed(problem) => return Err(CliError::Failed(problem)),
    };
    for process in done.iter_mut().filter(requested) {
        if let Some(EndedProcess { status, .. }) = ended.iter().find(|it| it.process_id == process.process_id)
        {
            process.status = Some(*status);
            process.outcome = match status {
                ProcessStatus::Cancelled => CancelOutcome::Cancelled,
                // Its last command was faster.
                _ => CancelOutcome::Finished,
            };
        }
    }
    Ok(())
}

fn report(done: &[CancelledProcess], options: &Options, global: &GlobalOptions) -> Result<(), CliError> {
    let counts = counted(done.iter().map(|it| it.outcome.as_str()));
    if options.json {
        let mut json = JsonWriter::stdout();
        json.object()?;
        json.entry("dry_run", &options.dry_run)?;
        json.entries("processes", done)?;
        json.entry("counts", &counts)?;
        json.end()?;
    } else {
        let is_told =
            |it: &&CancelledProcess| !matches!(it.outcome, CancelOutcome::NotFound | CancelOutcome::Locked);
        let found = done.iter().filter(is_told);
        print_each(found.map(|it| line(it, options.dry_run)))?;
        if done.is_empty() {
            message("no such processes");
        } else if options.process_ids.is_empty() {
            let verb = if options.dry_run { "would be cancelled" } else { "cancelled" };
            let locked = done.iter().filter(|it| it.outcome == CancelOutcome::Locked).count();
            message(format!("{} {verb}", processes(done.len() - locked)));
        }
    }
    let problem = |it: &CancelledProcess| match it.outcome {
        CancelOutcome::NotFound => Some(not_found(&it.process_id, global)),
        CancelOutcome::Locked => Some(locked(&it.process_id, it.locked_by.as_deref())),
        _ => None,
    };
    fail_with(done.iter().filter_map(problem).collect())
}

fn line(process: &CancelledProcess, is_dry_run: bool) -> String {
    let id = text::escape(&process.process_id);
    let would = if is_dry_run { "would be " } else { "" };
    match (process.outcome, process.status) {
        (CancelOutcome::Cancelled, _) => format!("{id} {would}CANCELLED"),
        (CancelOutcome::Requested, _) => {
            let node = process.node.as_deref().map(text::escape).unwrap_or_default();
            format!("{id} {would}ended by node {node}")
        }
        (_, Some(status)) => format!("{id} already {status}"),
        (_, None) => format!("{id} is not there"),
    }
}
