//! `run`: one process, started and executed here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::error::{CliError, Verdict};
use super::options::bulk::{NODES_MAX, argument, has_running_node, refused, resume_hint};
use super::options::documents::{self, is_file_like};
use super::options::global::GlobalOptions;
use super::options::input::InputOptions;
use super::progress::limits::Limits;
use super::progress::pauses::Pauses;
use super::progress::{self, Alarms, Wake};
use super::screen::terminal::{Face, message};
use super::screen::{background, lines, text};
use super::show::Record;
use super::surroundings::session::{Need, Session};
use super::surroundings::signals::{self, Signals};
use super::surroundings::stopping;
use super::types::Registrar;
use crate::database::holds_password;
use crate::engine::{CommandRunners, Node, NodeConfig, Scope, guard, new_node_id};
use crate::model::lifecycle::ProcessStatus;
use crate::model::records::{ProcessData, TaskData};
use crate::store::read::OutputOf;
use crate::store::start::StartRequest;
use crate::store::{Store, StoreError};

/// Lines of a failed task's output that are shown; the rest is in `logs`.
const OUTPUT_LINES_MAX: usize = 10;
/// Bytes at the end of an output in which they are looked for.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// How long a node that runs may take to take over what was given back: it looks every second by default.
const TAKEN_WITHIN: Duration = Duration::from_millis(1_500);
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// What to run.
#[derive(Debug, Args)]
pub struct Options {
    /// The JSON file of a process type, or the name of a registered one
    #[arg(value_name = "FILE|TYPE")]
    pub what: String,
    /// An id of your own; the id of a process that was stopped goes on with it, given the same input
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub process_id: Option<String>,
    #[command(flatten)]
    pub input: InputOptions,
    /// Run it also while its process type is paused; without it, it waits until the type is resumed
    #[arg(long)]
    pub even_if_paused: bool,
    /// Print one JSON document: the process with its tasks
    #[arg(long)]
    pub json: bool,
}

/// Runs it to its end and reports.
///
/// # Errors
/// Faults of the document or input, a failure of the database or node, a signal, or a process that failed.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let file = is_file_like(&options.what).then(|| PathBuf::from(&options.what));
    let types = file.map(|file| documents::load(&[file])).transpose()?.unwrap_or_default();
    let request = StartRequest { input: options.input.read()?, process_id: options.process_id.clone() };
    let name = match types.as_slice() {
        [] => options.what.as_str(),
        [only] => only.name.as_str(),
        several => {
            let names: Vec<&str> = several.iter().map(|it| it.name.as_str()).collect();
            let what = &options.what;
            return Err(CliError::Usage(format!(
                "{what:?} holds several process types ({}); name the file of one",
                names.join(", ")
            )));
        }
    };
    let (session, mut store) = Session::open_as(global, Need::Migrated, Some(&NodeConfig::default().name))?;
    super::types::register_all(&mut store, &types, &Registrar::person("run"))?;
    background::begin();
    let signals = Signals::listen()?;
    let node_id = new_node_id(&NodeConfig::default().name);
    let (id, is_reserved) = store
        .start_reserved(name, &request, &node_id)
        .map_err(|error| refused(error, &mut store, name, global))?;
    let id = id.as_str();
    if !is_reserved {
        message(format!(
            "process {} is there already: it has ended, or another node runs it",
            text::escape(id)
        ));
    }
    let remedy = format!("{}, or run it all the same: --even-if-paused", resume_hint(name, global));
    let pauses = (!options.even_if_paused).then(|| Pauses::new(remedy));
    let limits = Limits::new(global.program());
    let woken = execute(&session, id, node_id, &signals, (pauses, limits), options.json);
    let record = Record::read(&mut store, id, global)?;
    match woken? {
        Some(signal) if !record.text.process.status.is_final() => {
            // Our own node has given it back.
            let who = who_goes_on(&mut store, &record.text.process, &signals)?;
            message(match who {
                Some(node) => runs_elsewhere(id, &node, global, signal),
                None => go_on(id, options, global, signal),
            });
            Err(CliError::Interrupted(signal))
        }
        _ => report(&record, options.json, &mut store, global),
    }
}

/// Runs the process on a node of its own until it ends or a signal comes, which it returns.
fn execute(
    session: &Session,
    id: &str,
    node_id: String,
    signals: &Signals,
    (pauses, limits): (Option<Pauses>, Limits),
    json: bool,
) -> Result<Option<i32>, CliError> {
    let config = NodeConfig {
        heeds_pauses: pauses.is_some(),
        node_id: Some(node_id),
        schema: session.schema().to_owned(),
        // The tasks of a process run one after the other.
        executors: 1,
        scope: Scope::Process(id.to_owned()),
        guard: guard::own_program(),
        ..NodeConfig::default()
    };
    let drain_timeout = config.drain_timeout;
    message(format!("process {}", text::escape(id)));
    let node = Node::start(session.source(), config, Arc::new(CommandRunners::new()))?;
    let alarms = Alarms::with_node(signals, node.failed().clone());
    // The report on standard output takes the place of the live view if both are the same terminal.
    let is_replaced = !json && Face::stdout().is_terminal;
    match progress::until_end(session, id, &alarms, is_replaced, pauses, limits) {
        Ok(Wake::NodeFailed(problem)) => stopping::stop_failed(node, &problem),
        Ok(Wake::Ended(_)) => stopping::stop(node, signals, drain_timeout).map(|()| None),
        Ok(Wake::Signal(signal)) => stopping::stop(node, signals, drain_timeout).map(|()| Some(signal)),
        Err(error) => {
            node.stopper().interrupt();
            stopping::stop(node, signals, drain_timeout)?;
            Err(error)
        }
    }
}

/// The node that goes on with a process that ours has given back: the one that has it, after a moment in which one of
/// those that run may take it; `None` if none does. Another signal ends the moment.
fn who_goes_on(
    store: &mut Store,
    process: &ProcessData,
    signals: &Signals,
) -> Result<Option<String>, CliError> {
    let mut holder = process.picked_by.clone();
    let until = Instant::now() + TAKEN_WITHIN;
    let is_due = process.execution_time.is_none_or(|due| due <= jiff::Timestamp::now());
    while holder.is_none() && is_due && Instant::now() < until && has_running_node(store)? {
        if signals.receiver().recv_timeout(LOOK_PAUSE).is_ok() {
            break;
        }
        holder = store.process_row(&process.process_id)?.and_then(|it| it.picked_by);
    }
    let nodes = store.running_nodes(NODES_MAX)?;
    let name = |id: String| nodes.iter().find(|it| it.node_id == id).map_or(id, |it| it.name.clone());
    Ok(holder.map(name))
}

fn runs_elsewhere(id: &str, node: &str, global: &GlobalOptions, signal: i32) -> String {
    let (program, argument) = (global.program(), argument(id));
    format!(
        "{}: no longer waiting; node {} goes on with process {}: {program} show {argument}\nif it is to end: {program} \
         cancel {argument}",
        signals::name(signal),
        text::escape(node),
        text::escape(id),
    )
}

fn go_on(id: &str, options: &Options, global: &GlobalOptions, signal: i32) -> String {
    let program = global.program();
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if options.process_id.is_none() {
        words.extend(["--process-id".to_owned(), id.to_owned()]);
    }
    // A password on the command line is not repeated, and standard input can't be.
    let has_password = global.database_url.as_deref().is_some_and(holds_password);
    let is_repeatable = !has_password && options.input.input.as_deref() != Some("@-");
    let again = if is_repeatable {
        format!("process-orchestrator {}", shell_words::join(words))
    } else {
        format!("the same command with --process-id {}", shell_words::quote(id))
    };
    format!(
        "{}: process {} is not finished and stays due. Go on with it here: {again}\nor have a node run it with all \
         others: {program} serve\nor cancel it: {program} cancel {}",
        signals::name(signal),
        text::escape(id),
        argument(id)
    )
}

/// The process as `show` prints it and, if it failed, where to look.
fn report(record: &Record, json: bool, store: &mut Store, global: &GlobalOptions) -> Result<(), CliError> {
    record.print(json, store)?;
    if record.text.process.status == ProcessStatus::Completed {
        return Ok(());
    }
    if let Some(task) = record.failed_task() {
        let mut end = String::new();
        let of = OutputOf::Task(task.task_index, task.attempt);
        store.output_in_pieces(&record.text.process.process_id, of, 0, &mut |piece| {
            end.push_str(piece);
            let from = end.len().saturating_sub(OUTPUT_BYTES_MAX);
            let from = (from..=end.len()).find(|&at| end.is_char_boundary(at)).unwrap_or(0);
            end.drain(..from);
            Ok::<(), StoreError>(())
        })?;
        failure_lines(task, &end, &record.text.process.process_id, global).iter().for_each(message);
    }
    Err(CliError::Reported(Verdict::Failed))
}

/// The end of a failed task's output, and how to see all of it.
fn failure_lines(task: &TaskData, output: &str, process_id: &str, global: &GlobalOptions) -> Vec<String> {
    let mut told = vec![String::new()];
    let output = lines::plain(output);
    let output: Vec<&str> = output.lines().collect();
    let name = text::escape(&task.name);
    if output.is_empty() {
        told.push(format!("{name} wrote nothing"));
    } else {
        let tail = &output[output.len().saturating_sub(OUTPUT_LINES_MAX)..];
        let which = if tail.len() == output.len() { "output" } else { "last output" };
        told.push(format!("{which} of {name}:"));
        told.extend(tail.iter().map(|line| format!("  {}", text::escape(line))));
    }
    let words = [argument(process_id), shell_words::quote(&task.name).into_owned()];
    told.push(format!("all of it: {} logs {}", global.program(), words.join(" ")));
    told
}
