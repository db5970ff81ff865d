//! `prune`: finished processes that nobody needs any more, or their outputs alone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::options::bulk::{check_type, processes, statuses};
use super::options::consent::{Consent, counted_in, of_type};
use super::options::forgetting::open_archive;
use super::options::global::GlobalOptions;
use super::screen::terminal::{message, print, print_json};
use super::screen::text::{self, Clock};
use super::surroundings::session::{Need, Session};
use crate::archive::{Step, sweep};
use crate::engine::retention::policy::parse_age;
use crate::model::duration::show_duration;
use crate::model::lifecycle::ProcessStatus;
use crate::store::Store;
use crate::store::eras::{Ages, Step as EraStep};
use crate::store::prune::{Prunable, PruneFilter};

/// A shorter age leaves nothing out that has ended.
const EVERYTHING_AGE: Duration = Duration::from_secs(1);

/// After each transaction that forgets an era others get this part of its time, and no more than this.
const REST_DIVISOR: u32 = 2;
const REST_MAX: Duration = Duration::from_millis(200);
/// How long it waits for processes to end so that their era can be closed.
const CLOSE_MAX: Duration = Duration::from_secs(2);

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
    /// Write them to files in this directory before they are deleted: JSON lines, compressed with gzip, readable for this
    /// user alone
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dry_run", "output_only"])]
    pub archive: Option<PathBuf>,
    /// Delete only what their commands have printed, and keep all else of their record
    #[arg(long)]
    pub output_only: bool,
    /// Only say how many would be deleted
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub consent: Consent,
    /// Print one JSON document: {"dry_run", "older_than", "processes": how many, "locked": how many were left}; with
    /// --archive also "changed", "unreadable": how many were left for that, and "archives": the files; with --output-only
    /// also "output_bytes"
    #[arg(long)]
    pub json: bool,
}

/// What was done, or would be.
#[derive(Debug, Default)]
struct Done {
    processes: u64,
    output_bytes: u64,
    oldest: Option<jiff::Timestamp>,
    locked: usize,
    changed: usize,
    unreadable: usize,
    archives: Vec<PathBuf>,
}

/// Deletes them with their tasks and executions, or their outputs, and says how many there were.
///
/// # Errors
/// When the type is unknown, the archive can't be written, or the database fails; what was deleted before stays deleted.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    if let Some(name) = &options.process_type {
        check_type(&mut store, name, global)?;
    }
    let filter = PruneFilter {
        older_than: options.older_than,
        statuses: options.status.clone(),
        process_type: options.process_type.clone(),
        except: Vec::new(),
        except_eras: Vec::new(),
    };
    if !options.dry_run {
        let is_everything = options.older_than < EVERYTHING_AGE
            && filter.statuses.is_empty()
            && filter.process_type.is_none();
        let output_only = options.output_only;
        options.consent.get("deleted", is_everything, || question(&mut store, &filter, output_only))?;
    }
    let done = match (&options.archive, options.dry_run) {
        (_, true) => count(&mut store, &filter, options.output_only)?,
        (None, false) if options.output_only => delete_outputs(&mut store, &filter)?,
        (None, false) => delete(&mut store, &filter)?,
        (Some(directory), false) => archive(&mut store, &filter, directory)?,
    };
    if options.json {
        return print_json(&document(options, &done));
    }
    tell_left(&done);
    print(sentence(options, &done))
}

fn document(options: &Options, done: &Done) -> serde_json::Value {
    let mut document = json!({
        "dry_run": options.dry_run, "older_than": show_duration(options.older_than), "processes": done.processes,
        "locked": done.locked
    });
    if options.archive.is_some() {
        document["changed"] = done.changed.into();
        document["unreadable"] = done.unreadable.into();
        document["archives"] = done.archives.iter().map(|it| it.display().to_string()).collect();
    }
    if options.output_only {
        document["output_bytes"] = done.output_bytes.into();
    }
    document
}

fn tell_left(done: &Done) {
    for (count, why) in [
        (done.locked, "locked by others: left for the next time"),
        (done.changed, "changed since they were archived: left"),
        (done.unreadable, "not readable: left"),
    ] {
        if count > 0 {
            message(format!("{} {why}", processes(count)));
        }
    }
}

fn sentence(options: &Options, done: &Done) -> String {
    let count = processes(usize::try_from(done.processes).unwrap_or(usize::MAX));
    let what = match options.output_only {
        true => format!("the outputs of {count}, {}", text::size(done.output_bytes)),
        false => count,
    };
    match (options.dry_run, done.oldest) {
        (false, _) => format!("deleted {what}\n"),
        (true, None) => format!("would delete {what}\n"),
        (true, Some(oldest)) => {
            format!("would delete {what}, the oldest ended {}\n", Clock::system().full(oldest))
        }
    }
}

fn question(store: &mut Store, filter: &PruneFilter, output_only: bool) -> Result<Option<String>, CliError> {
    let Done { processes, output_bytes, .. } = count(store, filter, output_only)?;
    let count = usize::try_from(processes).unwrap_or(usize::MAX);
    let statuses: Vec<&str> = filter.statuses.iter().map(|it| it.as_str()).collect();
    let status = if statuses.is_empty() { String::new() } else { format!("{} ", statuses.join(" and ")) };
    let which = format!("{}{}", counted_in(count, &status), of_type(filter.process_type.as_deref()));
    let age = match show_duration(filter.older_than) {
        _ if filter.older_than.is_zero() => "all that have ended".to_owned(),
        age => format!("those that ended more than {age} ago"),
    };
    Ok((count > 0).then(|| match output_only {
        true => format!("Delete the outputs of {which}, {}, {age}?", text::size(output_bytes)),
        false => format!("Delete {which}, {age}, with all that is recorded of them?"),
    }))
}

/// Those of eras that go as a whole: their tables are dropped, which takes no longer for many processes than for few.
fn forget_eras(store: &mut Store, filter: &PruneFilter) -> Result<u64, CliError> {
    close_eras(store)?;
    store.measure_changed_eras(filter.older_than)?;
    let ages = Ages::of(std::slice::from_ref(filter));
    let rest = |took| {
        rest(took);
        true
    };
    Ok(store.forget_eras(&ages, |_| false, rest)?.0)
}

fn count(store: &mut Store, filter: &PruneFilter, output_only: bool) -> Result<Done, CliError> {
    let (Prunable { processes, oldest }, output_bytes) = match output_only {
        true => store.old_outputs(filter)?,
        false => (store.prunable(filter)?, 0),
    };
    Ok(Done { processes, output_bytes, oldest, ..Done::default() })
}

/// Closes what can be closed; what is about to end is waited for, for a moment.
fn close_eras(store: &mut Store) -> Result<(), CliError> {
    let began = Instant::now();
    loop {
        match store.close_eras()? {
            EraStep::Idle => return Ok(()),
            EraStep::Busy if began.elapsed() >= CLOSE_MAX => return Ok(()),
            EraStep::Busy => std::thread::sleep(REST_MAX),
            EraStep::Did(_) => {}
        }
    }
}

/// Gives way to others for a while.
fn rest(took: Duration) {
    std::thread::sleep((took / REST_DIVISOR).min(REST_MAX));
}

/// One small transaction after the other, so that nobody waits for locks and an interrupt loses nothing.
fn delete(store: &mut Store, filter: &PruneFilter) -> Result<Done, CliError> {
    let mut done = Done { processes: forget_eras(store, filter)?, ..Done::default() };
    let mut place = None;
    loop {
        let pruned = store.prune(filter, place.as_ref())?;
        tell_locked(store, &pruned.locked)?;
        done.processes += pruned.processes;
        done.locked += pruned.locked.len();
        place = pruned.next;
        if place.is_none() {
            return Ok(done);
        }
    }
}

/// The same for outputs.
fn delete_outputs(store: &mut Store, filter: &PruneFilter) -> Result<Done, CliError> {
    let rest = |took| {
        rest(took);
        true
    };
    store.measure_changed_eras(filter.older_than)?;
    let (processes, output_bytes, _) =
        store.forget_outputs_of_eras(&Ages::of(std::slice::from_ref(filter)), |_| false, rest)?;
    let mut done = Done { processes, output_bytes, ..Done::default() };
    let filter = &PruneFilter { except_eras: store.eras_without_outputs()?, ..filter.clone() };
    let mut place = None;
    loop {
        let forgotten = store.forget_outputs(filter, place.as_ref(), false)?.unwrap_or_default();
        tell_locked(store, &forgotten.locked)?;
        done.processes += forgotten.processes;
        done.output_bytes += forgotten.bytes;
        done.locked += forgotten.locked.len();
        if !forgotten.has_more {
            return Ok(done);
        }
        place = forgotten.last;
    }
}

/// Deletes what is in a file that is on the disk, file by file.
fn archive(store: &mut Store, filter: &PruneFilter, directory: &Path) -> Result<Done, CliError> {
    let mut archive = open_archive(directory)?;
    let mut done = Done::default();
    let mut take = |store: &mut Store, step: Step<'_>| {
        match step {
            Step::Written(_) => {}
            Step::Archived(path, count) => {
                message(format!("{} archived in {}", processes(count), path.display()));
                done.archives.push(path.to_owned());
            }
            Step::Deleted(pruned, _) => {
                store.who_keeps(&pruned.locked)?.iter().for_each(message);
                done.processes += pruned.processes;
                done.locked += pruned.locked.len();
                done.changed += pruned.changed.len();
            }
            Step::Unreadable(problems) => {
                problems.iter().for_each(message);
                done.unreadable += problems.len();
            }
        }
        Ok(true)
    };
    sweep(&mut archive, store, filter, None, &mut take)?;
    Ok(done)
}

fn tell_locked(store: &mut Store, locked: &[String]) -> Result<(), CliError> {
    if !locked.is_empty() {
        store.who_keeps(locked)?.iter().for_each(message);
    }
    Ok(())
}
