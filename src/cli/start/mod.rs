//! `start`: processes that a node somewhere runs.

pub mod batch;
mod many;

use std::collections::HashMap;

use clap::Args;
use serde_json::json;

use self::batch::BatchArgs;
use self::many::Starts;
use crate::cli::error::{CliError, Verdict};
use crate::cli::options::bulk::{
    argument, has_running_node, refused, resume_hint, unknown_type, warn_of_limits, warn_of_paused,
    warn_without_node,
};
use crate::cli::options::documents::is_file_like;
use crate::cli::options::global::GlobalOptions;
use crate::cli::options::input::InputOptions;
use crate::cli::options::when;
use crate::cli::options::when::When;
use crate::cli::progress::limits::Limits;
use crate::cli::progress::pauses::Pauses;
use crate::cli::progress::{self, Alarms, Wake};
use crate::cli::screen::json::JsonWriter;
use crate::cli::screen::terminal::{message, print_lines};
use crate::cli::screen::text;
use crate::cli::surroundings::session::{Need, Session};
use crate::cli::surroundings::signals::{self, Signals};
use crate::model::lifecycle::ProcessStatus;
use crate::store::progress::EndedProcess;
use crate::store::start::{StartOptions, StartRequest};

/// Ids that are repeated in a command to copy.
const IDS_SHOWN_MAX: usize = 5;

/// What to start.
#[derive(Debug, Args)]
pub struct Options {
    /// The name of a registered process type
    #[arg(value_name = "TYPE")]
    pub process_type: String,
    /// An id of your own; the same id with the same input gives back the process that is there
    #[arg(long, value_name = "ID", allow_hyphen_values = true, conflicts_with = "inputs")]
    pub process_id: Option<String>,
    #[command(flatten)]
    pub input: InputOptions,
    /// Many processes in one call: one JSON object a line, the keys of an input and, if you like, "process_id";
    /// `-` is standard input; the single options hold for every line
    #[arg(long, value_name = "FILE.jsonl|-", conflicts_with = "input", help_heading = "Input")]
    pub inputs: Option<String>,
    /// When they are due: 2026-12-01T08:00:00Z, "2026-12-01 08:00" in your zone, or +10m from now
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = when::parse)]
    pub at: Option<When>,
    /// Higher runs first
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub priority: i32,
    #[command(flatten)]
    pub batch: BatchArgs,
    /// Wait until all of them have ended; exit code 1 unless all are COMPLETED
    #[arg(long)]
    pub wait: bool,
    /// Print one JSON document: {"processes": [{"process_id": ...}]}, with --wait also status and error_message
    #[arg(long)]
    pub json: bool,
}

/// Starts the processes, prints their ids, and waits for them if asked to.
///
/// # Errors
/// Faults of the input, an unknown process type, a failure of the database; with `--wait` also when a process ended
/// otherwise than completed.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    if is_file_like(&options.process_type) {
        return Err(is_a_file(&options.process_type, global));
    }
    // What needs no database is told without one.
    let single = match &options.inputs {
        None => Some(StartRequest { input: options.input.read()?, process_id: options.process_id.clone() }),
        Some(_) => None,
    };
    let (session, mut store) = Session::open(global, Need::Migrated)?;
    let name = &options.process_type;
    let many = match &options.inputs {
        None => None,
        Some(path) => {
            let process_type = store.process_type(name)?;
            let process_type = process_type.ok_or_else(|| unknown_type(&mut store, name, global))?;
            // Whoever writes the inputs may take his time: meanwhile a session would be in the way of others.
            drop(store);
            let inputs = options.batch.check(&options.input, path, process_type.required_input.clone())?;
            store = session.open_store("command")?;
            Some((process_type, inputs))
        }
    };
    // Before the start, so that a signal that comes right after it finds us waiting.
    let signals = options.wait.then(Signals::listen).transpose()?;
    let start_at = options.at.map(|when| store.now().map(|now| when.at(now))).transpose()?;
    let start_options = StartOptions { start_at, priority: options.priority };
    let batch = options.batch.plan(&mut store, name, global)?;
    let ids = match many {
        Some((process_type, mut inputs)) => {
            let (session, process_type, signals) = (&session, &process_type, signals.as_ref());
            let starts = Starts {
                session,
                global,
                process_type,
                options: start_options,
                batch: batch.as_ref(),
                signals,
            };
            if let Some(batch) = &batch {
                return batch.start(&starts, store, &mut inputs, (options.json, options.wait));
            }
            starts.start(&mut store, &mut inputs)?.ids
        }
        None => store
            .start_processes(name, single.as_slice(), start_options)
            .map_err(|error| refused(error, &mut store, name, global))?,
    };
    if !options.json {
        print_lines(&ids)?;
    }
    warn_without_node(&mut store, options.wait, global)?;
    if !options.wait {
        warn_of_paused(&mut store, &ids[..ids.len().min(1)], global)?;
        warn_of_limits(&mut store, &ids, global)?;
    }
    let Some(signals) = signals else {
        return if options.json { print_ids(&ids) } else { Ok(()) };
    };
    drop(store);
    wait_for(&session, &ids, &signals, options, global)
}

fn print_ids(ids: &[String]) -> Result<(), CliError> {
    let mut json = JsonWriter::stdout();
    json.object()?;
    json.entries("processes", ids.iter().map(|id| json!({ "process_id": id })))?;
    json.end()
}

fn is_a_file(argument: &str, global: &GlobalOptions) -> CliError {
    let program = global.program();
    let file = shell_words::quote(argument);
    CliError::Usage(format!(
        "{argument:?} looks like a file, and `start` takes the name of a registered process type; register it \
         first ({program} types register {file}) and start it by its name, or run it here: {program} run {file}"
    ))
}

fn wait_for(
    session: &Session,
    ids: &[String],
    signals: &Signals,
    options: &Options,
    global: &GlobalOptions,
) -> Result<(), CliError> {
    let alarms = Alarms::signals(signals);
    let name = options.process_type.as_str();
    let pauses = Pauses::new(resume_hint(name, global));
    let limits = Limits::new(global.program());
    let woken = match ids {
        [id] => match progress::until_end(session, id, &alarms, false, Some(pauses), limits)? {
            Wake::Ended(status) => {
                let error_message =
                    session.open_store("result")?.process_row(id)?.and_then(|it| it.error_message);
                Wake::Ended(vec![EndedProcess { process_id: id.clone(), status, error_message }])
            }
            Wake::Signal(signal) => Wake::Signal(signal),
            Wake::NodeFailed(problem) => Wake::NodeFailed(problem),
        },
        _ => progress::until_all_end(session, ids, &alarms, Some((pauses, limits, name)), options.json)?,
    };
    match woken {
        Wake::Ended(ended) => report(ids, &ended, options.json),
        Wake::Signal(signal) => {
            let is_running = has_running_node(&mut session.open_store("result")?)?;
            message(no_longer_waiting(ids, is_running, signal, &global.program()));
            Err(CliError::Interrupted(signal))
        }
        Wake::NodeFailed(problem) => Err(CliError::Failed(problem)),
    }
}

/// Who waits no longer, what becomes of the processes, and the commands that look at them and end them.
fn no_longer_waiting(ids: &[String], is_running: bool, signal: i32, program: &str) -> String {
    let name = signals::name(signal);
    let (what, goes, stays) = match ids {
        [id] => (format!("process {}", text::escape(id)), "goes on", "stays due"),
        _ => (format!("the {} processes", ids.len()), "go on", "stay due"),
    };
    let fate = if is_running { goes.to_owned() } else { format!("{stays}, no node is running") };
    let all: Vec<String> = ids.iter().map(|id| argument(id)).collect();
    let (look, end) = match ids.len() {
        1 => (format!("{program} show {}", all[0]), format!("{program} cancel {}", all[0])),
        2..=IDS_SHOWN_MAX => (format!("{program} list"), format!("{program} cancel {}", all.join(" "))),
        _ => (format!("{program} list"), format!("{program} cancel ID…")),
    };
    format!("{name}: no longer waiting; {what} {fate}: {look}\nto end what was started: {end}")
}

/// Prints the results in the order of the ids.
fn report(ids: &[String], ended: &[EndedProcess], json: bool) -> Result<(), CliError> {
    if json {
        let by_id: HashMap<&str, &EndedProcess> =
            ended.iter().map(|it| (it.process_id.as_str(), it)).collect();
        let mut json = JsonWriter::stdout();
        json.object()?;
        let ended = ids.iter().filter_map(|id| by_id.get(id.as_str()));
        let row = |it: &&EndedProcess| json!({ "process_id": it.process_id, "status": it.status, "error_message": it.error_message });
        json.entries("processes", ended.map(row))?;
        json.end()?;
    }
    match ended.iter().all(|it| it.status == ProcessStatus::Completed) {
        true => Ok(()),
        false => Err(CliError::Reported(Verdict::Failed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_answered_with_what_to_do() {
        let global = GlobalOptions {
            database_url: None,
            pooler: crate::database::Pooler::Auto,
            schema: "s 1".to_owned(),
            data_dir: None,
            service: false,
            log_level: None,
        };
        let error = is_a_file("my pipe.json", &global);
        assert_eq!(error.exit_code(), 2);
        let line = error.to_string();
        assert!(line.contains("process-orchestrator --schema 's 1' types register 'my pipe.json'"), "{line}");
        assert!(line.contains("run 'my pipe.json'"), "{line}");
    }

    #[test]
    fn one_process_that_is_not_completed_makes_the_whole_fail() {
        let ended = |status| EndedProcess { process_id: "p".to_owned(), status, error_message: None };
        let completed = ended(ProcessStatus::Completed);
        assert!(report(&[], std::slice::from_ref(&completed), false).is_ok());
        for status in [ProcessStatus::Failed, ProcessStatus::Cancelled] {
            let error = report(&[], &[completed.clone(), ended(status)], false).expect_err("failed");
            assert_eq!(error.exit_code(), 1);
        }
    }
}
