//! `migrate`: makes the tables or brings them to this binary's version.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::options::global::GlobalOptions;
use super::options::roles::{StartRole, parse_start_role};
use super::screen::terminal::{message, print_json, print_lines};
use super::screen::text;
use super::surroundings::session::{Need, Session};
use crate::model::duration::parse_duration;
use crate::store::Store;
use crate::store::functions::told;
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
    /// Let this role of the database start processes of these types, or of all, and nothing else; names with a colon or a
    /// comma stand in double quotes; may be repeated
    #[arg(long, value_name = "ROLE[:TYPE,...]", conflicts_with = "dry_run", value_parser = parse_start_role)]
    pub grant_start_to: Vec<StartRole>,
    /// Take that back, of these types or whole; may be repeated
    #[arg(long, value_name = "ROLE[:TYPE,...]", conflicts_with = "dry_run", value_parser = parse_start_role)]
    pub revoke_start_from: Vec<StartRole>,
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
    let migrated = store.migrate_and_mend(options.dry_run, options.wait)?;
    let applied = migrated.migrations;
    let made = if options.dry_run { Vec::new() } else { store.make_indexes()?.unwrap_or_default() };
    // A newer schema that works with this program stays at its own version.
    let version = known_version().max(store.schema_version()?);
    for (roles, kind) in [(&options.grant_to, RoleKind::Runtime), (&options.grant_read_to, RoleKind::Reader)]
    {
        for role in roles {
            store.grant(role, kind)?;
        }
    }
    let mut told_starts = change_starts(&mut store, &options.revoke_start_from, revoke)?;
    told_starts.extend(change_starts(&mut store, &options.grant_start_to, grant)?);
    if options.json {
        return print_json(&json!({
            "schema": session.schema(),
            "version": version,
            "dry_run": options.dry_run,
            "migrations": applied,
            "mended": migrated.mended,
            "indexes": made,
            "granted_to": options.grant_to,
            "granted_read_to": options.grant_read_to,
            "granted_start_to": options.grant_start_to,
            "revoked_start_from": options.revoke_start_from,
        }));
    }
    let (verb, mends) = if options.dry_run { ("would apply", "would mend") } else { ("applied", "mended") };
    let mended = told(&migrated.mended).into_iter().map(|it| format!("{mends} {}", text::escape(&it)));
    let granted = options.grant_to.iter().map(|role| format!("granted use to {role:?}"));
    let granted_read = options.grant_read_to.iter().map(|role| format!("granted reading to {role:?}"));
    let lines: Vec<String> = applied
        .iter()
        .map(|it| format!("{verb} {}", it.name))
        .chain(mended)
        .chain(made.iter().map(|it| format!("made index {it}")))
        .chain(granted)
        .chain(granted_read)
        .chain(told_starts)
        .collect();
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

/// Does `change` for each role and type, and gives what it says.
fn change_starts(
    store: &mut Store,
    roles: &[StartRole],
    change: fn(&mut Store, &str, Option<&str>) -> Result<String, CliError>,
) -> Result<Vec<String>, CliError> {
    let each = roles.iter().flat_map(|it| {
        let types = it.process_types.iter().map(|name| Some(&**name));
        let all = it.process_types.is_empty().then_some(None);
        types.chain(all).map(|process_type| (&*it.role, process_type))
    });
    each.map(|(role, process_type)| change(store, role, process_type)).collect()
}

fn grant(store: &mut Store, role: &str, process_type: Option<&str>) -> Result<String, CliError> {
    store.grant_start(role, process_type)?;
    Ok(format!("granted starting {} to {role:?}", processes_of(process_type)))
}

fn revoke(store: &mut Store, role: &str, process_type: Option<&str>) -> Result<String, CliError> {
    let what = processes_of(process_type);
    if store.revoke_start(role, process_type)? {
        return Ok(format!("revoked starting {what} from {role:?}"));
    }
    let grants = store.start_grants(process_type)?;
    Err(CliError::Failed(match grants.iter().any(|it| it.role == role) {
        true => format!(
            "{role:?} was granted starting processes of all types, and no type can be taken from that: revoke it whole \
             (--revoke-start-from {role}), then grant the types that it may start"
        ),
        false => format!("{role:?} was not granted starting {what}; `types show TYPE` says who was"),
    }))
}

fn processes_of(process_type: Option<&str>) -> String {
    process_type.map_or("processes of all types".to_owned(), |name| format!("processes of type {name:?}"))
}
