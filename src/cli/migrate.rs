//! `migrate`: makes the tables or brings them to this binary's version.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::options::global::GlobalOptions;
use super::screen::terminal::{message, print_json, print_lines};
use super::surroundings::session::{Need, Session};
use crate::model::duration::parse_duration;
use crate::store::migrate::known_version;
use crate::store::roles::RoleKind;

/// What to do.
#[derive(Debug, Args)]
pub struct Options {
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Let this role of the database run nodes and start processes, without a right to change tables; may be repeated
    #[arg(long, value_name = "ROLE", conflicts_with = "dry_run")]
    pub grant_to: Vec<String>,
    /// Let this role of the database look at everything and change nothing; may be repeated
    #[arg(long, value_name = "ROLE", conflicts_with = "dry_run")]
    pub grant_read_to: Vec<String>,
    /// Wait so long at the most for others that migrate or have locks on the tables
    #[arg(long, value_name = "TIME", default_value = "5m", allow_hyphen_values = true, value_parser = parse_duration)]
    pub wait: Duration,
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
    let applied = store.migrate_within(options.dry_run, options.wait)?;
    // A newer schema that works with this program stays at its own version.
    let version = known_version().max(store.schema_version()?);
    for (roles, kind) in [(&options.grant_to, RoleKind::Runtime), (&options.grant_read_to, RoleKind::Reader)]
    {
        for role in roles {
            store.grant(role, kind)?;
        }
    }
    if options.json {
        return print_json(&json!({
            "schema": session.schema(),
            "version": version,
            "dry_run": options.dry_run,
            "migrations": applied,
            "granted_to": options.grant_to,
            "granted_read_to": options.grant_read_to,
        }));
    }
    let verb = if options.dry_run { "would apply" } else { "applied" };
    let granted = options.grant_to.iter().map(|role| format!("granted use to {role:?}"));
    let granted_read = options.grant_read_to.iter().map(|role| format!("granted reading to {role:?}"));
    let lines: Vec<String> =
        applied.iter().map(|it| format!("{verb} {}", it.name)).chain(granted).chain(granted_read).collect();
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
