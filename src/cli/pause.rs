//! `pause` and `resume`: process types that are held back for a while.

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::options::bulk::check_type;
use super::options::global::GlobalOptions;
use super::screen::terminal::{message, print, print_json};
use super::screen::text;
use super::surroundings::session::{Need, Session};

/// Which type to pause.
#[derive(Debug, Args)]
pub struct PauseOptions {
    /// The process type's name
    #[arg(value_name = "TYPE")]
    pub name: String,
    /// Why; `explain` tells it to whoever asks why a process waits
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: Option<String>,
    /// Print one JSON document: {"name", "paused", "changed"}
    #[arg(long)]
    pub json: bool,
}

/// Which type to resume.
#[derive(Debug, Args)]
pub struct ResumeOptions {
    /// The process type's name
    #[arg(value_name = "TYPE")]
    pub name: String,
    /// Print one JSON document: {"name", "paused", "changed"}
    #[arg(long)]
    pub json: bool,
}

/// Holds a type's processes back: none is claimed, one that runs stops before its next task.
///
/// # Errors
/// When the type is unknown, or the database fails.
pub fn pause(global: &GlobalOptions, options: &PauseOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    check_type(&mut store, &options.name, global)?;
    let is_changed = store.pause_process_type(&options.name, options.reason.as_deref())?;
    report(&options.name, true, is_changed, options.json)?;
    if !options.json {
        message(format!(
            "commands that run now run to their end; go on with: {} resume {}",
            global.program(),
            shell_words::quote(&options.name)
        ));
    }
    Ok(())
}

/// Lets a type's processes go on.
///
/// # Errors
/// When the type is unknown, or the database fails.
pub fn resume(global: &GlobalOptions, options: &ResumeOptions) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    check_type(&mut store, &options.name, global)?;
    let is_changed = store.resume_process_type(&options.name)?;
    report(&options.name, false, is_changed, options.json)
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
