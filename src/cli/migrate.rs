//! `migrate`: makes the tables or brings them to this binary's version.

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::global::GlobalOptions;
use super::session::{Need, Session};
use super::terminal::{message, print_json, print_lines};
use crate::store::migrate::known_version;

/// What to do.
#[derive(Debug, Args)]
pub struct Options {
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Migrates and says what was done.
///
/// # Errors
/// When the schema is newer than this binary, or the database fails.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let need = if options.dry_run { Need::DatabaseToRead } else { Need::Database };
    let (session, mut store) = Session::open(global, need)?;
    let applied = store.migrate(options.dry_run)?;
    // A newer schema that works with this program stays at its own version.
    let version = known_version().max(store.schema_version()?);
    if options.json {
        return print_json(&json!({
            "schema": session.schema(),
            "version": version,
            "dry_run": options.dry_run,
            "migrations": applied,
        }));
    }
    let verb = if options.dry_run { "would apply" } else { "applied" };
    let lines: Vec<String> = applied.iter().map(|it| format!("{verb} {}", it.name)).collect();
    print_lines(&lines)?;
    if applied.is_empty() {
        message(format!(
            "schema {:?} of {} is at version {} already",
            session.schema(),
            session.shown(),
            version
        ));
    }
    Ok(())
}
