//! `prune`: finished processes that nobody needs any more.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::options::bulk::{check_type, processes, statuses};
use super::options::consent::{Consent, counted_in, of_type};
use super::options::global::GlobalOptions;
use super::screen::terminal::{message, print, print_json};
use super::screen::text::Clock;
use super::surroundings::session::{Need, Session};
use crate::model::duration::{parse_duration, show_duration};
use crate::model::lifecycle::ProcessStatus;
use crate::store::Store;
use crate::store::eras::{Ages, Step};
use crate::store::prune::PruneFilter;

/// A shorter age leaves nothing out that has ended.
const EVERYTHING_AGE: Duration = Duration::from_secs(1);

/// After each transaction that forgets an era others get this part of its time, and no more than this.
const REST_DIVISOR: u32 = 2;
const REST_MAX: Duration = Duration::from_millis(200);

/// What to delete.
#[derive(Debug, Args)]
pub struct Options {
    /// Those that ended longer ago than this: 30d, 12h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = parse_age)]
    pub older_than: Duration,
    /// Only those in this status; may be repeated
    #[arg(long, ignore_case = true,
        value_parser = statuses(&[ProcessStatus::Completed, ProcessStatus::Failed, ProcessStatus::Cancelled]))]
    pub status: Vec<ProcessStatus>,
    /// Only those of this process type
    #[arg(long = "type", value_name = "TYPE")]
    pub process_type: Option<String>,
    /// Only say how many would be deleted
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub consent: Consent,
    /// Print one JSON document: {"dry_run", "older_than", "processes": how many, "locked": how many were left}
    #[arg(long)]
    pub json: bool,
}

/// A length of time; where the unit is missing nobody is led to seconds, which would delete nearly everything.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    if text.parse::<f64>().is_ok() {
        return Err(format!("{text:?} has no unit; write it with one, such as 30d, 12h or 30m"));
    }
    parse_duration(text)
}

/// Deletes them with their tasks and executions, and says how many there were.
///
/// # Errors
/// When the type is unknown, or the database fails; what was deleted before stays deleted.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    if let Some(name) = &options.process_type {
        check_type(&mut store, name, global)?;
    }
    let filter = PruneFilter {
        older_than: options.older_than,
        statuses: options.status.clone(),
        process_type: options.process_type.clone(),
    };
    if !options.dry_run {
        let is_everything = options.older_than < EVERYTHING_AGE
            && filter.statuses.is_empty()
            && filter.process_type.is_none();
        options.consent.get("deleted", is_everything, || question(&mut store, &filter))?;
    }
    let (count, oldest, locked) = match options.dry_run {
        true => {
            let prunable = store.prunable(&filter)?;
            (prunable.processes, prunable.oldest, 0)
        }
        false => {
            let whole = forget_eras(&mut store, &filter)?;
            let (count, locked) = prune(&mut store, &filter)?;
            (whole + count, None, locked)
        }
    };
    if options.json {
        let older_than = show_duration(options.older_than);
        return print_json(&json!({
            "dry_run": options.dry_run, "older_than": older_than, "processes": count, "locked": locked
        }));
    }
    if locked > 0 {
        let left = processes(locked);
        message(format!("{left} locked by others: left for the next time"));
    }
    let count = processes(usize::try_from(count).unwrap_or(usize::MAX));
    match (options.dry_run, oldest) {
        (false, _) => print(format!("deleted {count}\n")),
        (true, None) => print(format!("would delete {count}\n")),
        (true, Some(oldest)) => {
            print(format!("would delete {count}, the oldest ended {}\n", Clock::system().full(oldest)))
        }
    }
}

fn question(store: &mut Store, filter: &PruneFilter) -> Result<Option<String>, CliError> {
    let count = usize::try_from(store.prunable(filter)?.processes).unwrap_or(usize::MAX);
    let statuses: Vec<&str> = filter.statuses.iter().map(|it| it.as_str()).collect();
    let status = if statuses.is_empty() { String::new() } else { format!("{} ", statuses.join(" and ")) };
    let which = of_type(filter.process_type.as_deref());
    let age = match show_duration(filter.older_than) {
        _ if filter.older_than.is_zero() => "all that have ended".to_owned(),
        age => format!("those that ended more than {age} ago"),
    };
    Ok((count > 0).then(|| {
        format!("Delete {}{which}, {age}, with all that is recorded of them?", counted_in(count, &status))
    }))
}

/// Those of eras that go as a whole: their tables are dropped, which takes no longer for many processes than for few.
fn forget_eras(store: &mut Store, filter: &PruneFilter) -> Result<u64, CliError> {
    // What has ended meanwhile is closed first.
    while matches!(store.close_eras()?, Step::Did(_)) {}
    let ages = Ages {
        of_all: filter.process_type.is_none().then_some(filter.older_than),
        except: Vec::new(),
        of_type: filter.process_type.iter().map(|it| (it.clone(), filter.older_than)).collect(),
        statuses: filter.statuses.iter().map(|it| it.as_str()).collect(),
    };
    let rest = |took: Duration| {
        std::thread::sleep((took / REST_DIVISOR).min(REST_MAX));
        true
    };
    Ok(store.forget_eras(&ages, |_| false, rest)?.0)
}

/// One small transaction after the other, so that nobody waits for locks and an interrupt loses nothing.
fn prune(store: &mut Store, filter: &PruneFilter) -> Result<(u64, usize), CliError> {
    let (mut count, mut locked) = (0, 0);
    let mut place = None;
    loop {
        let pruned = store.prune(filter, place.as_ref())?;
        if !pruned.locked.is_empty() {
            store.who_keeps(&pruned.locked)?.iter().for_each(message);
        }
        count += pruned.processes;
        locked += pruned.locked.len();
        place = pruned.next;
        if place.is_none() {
            return Ok((count, locked));
        }
    }
}
