//! `retry`: finished processes that are to go again.

use clap::Args;

use super::error::CliError;
use super::options::bulk::{argument, check_type, counted, fail_with, input_options, processes, statuses};
use super::options::bulk::{locked, not_found, warn_of_limits, warn_of_paused};
use super::options::consent::{Consent, counted_in, of_type};
use super::options::global::GlobalOptions;
use super::options::input::InputOptions;
use super::screen::json::JsonWriter;
use super::screen::terminal::{message, print_each};
use super::screen::text;
use super::surroundings::session::{Need, Session};
use crate::model::input::ProcessInputData;
use crate::model::lifecycle::ProcessStatus;
use crate::store::cancel::BULK_MAX;
use crate::store::read::bulk::BulkFilter;
use crate::store::retry::{RetriedProcess, RetryOptions, RetryOutcome};
use crate::store::{RefusalReason, Store};

/// What to retry.
#[derive(Debug, Args)]
pub struct Options {
    /// The processes' ids
    #[arg(value_name = "ID")]
    pub process_ids: Vec<String>,
    /// All processes of this type that have failed (or are in --status)
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "process_ids")]
    pub process_type: Option<String>,
    /// All processes in this status [default with --type: FAILED]
    #[arg(long, conflicts_with = "process_ids", ignore_case = true,
        value_parser = statuses(&[ProcessStatus::Failed, ProcessStatus::Cancelled, ProcessStatus::Completed]))]
    pub status: Option<ProcessStatus>,
    /// No more than this many, the oldest first
    #[arg(long, value_name = "N", conflicts_with = "process_ids", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// The task, by name or number (1 is the first), from which on all are run again, without what they have passed on
    /// [default: the one that failed or was cancelled]
    #[arg(long = "from", value_name = "TASK", allow_hyphen_values = true)]
    pub from_task: Option<String>,
    /// Go on from --from TASK although tasks before it have not completed: these are SKIPPED
    #[arg(long, requires = "from_task")]
    pub skip: bool,
    #[command(flatten)]
    pub input: InputOptions,
    /// Only say what would be retried
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub consent: Consent,
    /// Print one JSON document: {"dry_run", "processes": [{"process_id", "outcome", "status", "from_task"}], "counts"}
    #[arg(long)]
    pub json: bool,
}

/// Retries and says what was done.
///
/// # Errors
/// When no process is named, one can't be retried, the changed input has faults, or the database fails.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let is_by_filter = options.process_ids.is_empty();
    if is_by_filter && options.process_type.is_none() && options.status.is_none() {
        return Err(CliError::Usage(
            "no process is named; give ids, or say which by --type or --status".to_owned(),
        ));
    }
    if options.status == Some(ProcessStatus::Completed) && options.from_task.is_none() {
        return Err(CliError::Usage(
            "of COMPLETED processes nothing has failed; say from which task they are to go again: --from TASK"
                .to_owned(),
        ));
    }
    let changes = Some(options.input.read()?).filter(|input| *input != ProcessInputData::default());
    let retry = RetryOptions { from_task: options.from_task.clone(), skip: options.skip, changes };
    let (_session, mut store) = Session::open(global, Need::Tables)?;
    if let Some(name) = &options.process_type {
        check_type(&mut store, name, global)?;
    }
    if is_by_filter && !options.dry_run {
        options.consent.get("retried", false, || question(&mut store, options))?;
    }
    let done = match is_by_filter {
        true => by_filter(&mut store, options, &retry)?,
        false => by_ids(&mut store, options, &retry)?,
    };
    if !options.dry_run {
        let retried = done.iter().filter(|it| it.outcome == RetryOutcome::Retried);
        let retried: Vec<String> = retried.map(|it| it.process_id.clone()).collect();
        warn_of_paused(&mut store, &retried, global)?;
        warn_of_limits(&mut store, &retried, global)?;
    }
    report(&done, options, global)
}

fn question(store: &mut Store, options: &Options) -> Result<Option<String>, CliError> {
    let status = options.status.unwrap_or(ProcessStatus::Failed);
    let name = options.process_type.as_deref();
    let found = u64::try_from(store.count_finished(status, name)?).unwrap_or(0);
    let count = usize::try_from(options.limit.map_or(found, |limit| limit.min(found))).unwrap_or(usize::MAX);
    let task = options.from_task.as_ref().map(|task| format!(" from task {task:?} on")).unwrap_or_default();
    let which = of_type(name);
    Ok((count > 0).then(|| format!("Retry {}{which}{task}?", counted_in(count, &format!("{status} ")))))
}

fn by_ids(
    store: &mut Store,
    options: &Options,
    retry: &RetryOptions,
) -> Result<Vec<RetriedProcess>, CliError> {
    let mut done = Vec::with_capacity(options.process_ids.len());
    for ids in options.process_ids.chunks(BULK_MAX) {
        done.extend(retry_some(store, ids, options, retry)?);
    }
    Ok(done)
}

/// A page at a time, the oldest first, and only what had ended when we began: one that fails again at once is not
/// retried again.
fn by_filter(
    store: &mut Store,
    options: &Options,
    retry: &RetryOptions,
) -> Result<Vec<RetriedProcess>, CliError> {
    let status = options.status.unwrap_or(ProcessStatus::Failed);
    let began = store.now()?;
    let most = options.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut done = Vec::new();
    let filter = BulkFilter { process_type: options.process_type.clone(), status: Some(status) };
    let mut after = None;
    while done.len() < most {
        let limit = BULK_MAX.min(most - done.len());
        let page = store.finished_ids(&filter, after.as_ref(), began, limit)?;
        if !page.ids.is_empty() {
            done.extend(retry_some(store, &page.ids, options, retry)?);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(done)
}

fn retry_some(
    store: &mut Store,
    ids: &[String],
    options: &Options,
    retry: &RetryOptions,
) -> Result<Vec<RetriedProcess>, CliError> {
    Ok(match options.dry_run {
        true => store.plan_retries(ids, retry)?,
        false => store.retry_processes(ids, retry)?,
    })
}

fn report(done: &[RetriedProcess], options: &Options, global: &GlobalOptions) -> Result<(), CliError> {
    let counts = counted(done.iter().map(|it| it.outcome.as_str()));
    if options.json {
        let mut json = JsonWriter::stdout();
        json.object()?;
        json.entry("dry_run", &options.dry_run)?;
        json.entries("processes", done)?;
        json.entry("counts", &counts)?;
        json.end()?;
    } else {
        let retried = done.iter().filter(|it| it.outcome == RetryOutcome::Retried);
        let verb = if options.dry_run { "would go again" } else { "goes again" };
        let line = |it: &RetriedProcess| {
            let task = it.from_task.as_deref().map(text::escape).unwrap_or_default();
            format!("{} {verb} from task {task}", text::escape(&it.process_id))
        };
        print_each(retried.map(line))?;
        if done.is_empty() {
            message("no such processes");
        } else if options.process_ids.is_empty() {
            let retried = counts.get(RetryOutcome::Retried.as_str()).copied().unwrap_or(0);
            let verb = if options.dry_run { "would be retried" } else { "retried" };
            message(format!("{} {verb}", processes(retried)));
        }
    }
    fail_with(done.iter().filter_map(|it| problem(it, options, global)).collect())
}

/// Why a process was not retried, and what to do.
fn problem(process: &RetriedProcess, options: &Options, global: &GlobalOptions) -> Option<CliError> {
    let RetriedProcess { process_id: id, outcome, status, detail, .. } = process;
    let detail = detail.as_deref().unwrap_or("none");
    let status = status.map_or("", |it| it.as_str());
    Some(match outcome {
        RetryOutcome::Retried => return None,
        RetryOutcome::NotFound => not_found(id, global),
        RetryOutcome::Unfinished => CliError::Failed(format!(
            "process {id:?} is {status}, only one that has ended can be retried; cancel it first: {} cancel {}",
            global.program(),
            argument(id)
        )),
        RetryOutcome::Completed => CliError::Failed(format!(
            "process {id:?} is COMPLETED, nothing of it has failed; say from which task it is to go again: --from TASK"
        )),
        RetryOutcome::NoSuchTask => CliError::NotFound(format!(
            "process {id:?} has no task {}; its tasks are: {detail}",
            options.from_task.as_ref().map_or("to go again from".to_owned(), |name| format!("{name:?}")),
        )),
        RetryOutcome::WouldSkip => CliError::Refused {
            code: RefusalReason::WouldSkip.code(),
            exit: 1,
            message: format!(
                "process {id:?} is not retried: task {:?} comes behind {detail}; go again from that one (name it in --from), \
                 or say that it is to be skipped: --skip",
                options.from_task.as_deref().unwrap_or_default()
            ),
        },
        RetryOutcome::Locked => locked(id, process.locked_by.as_deref()),
        RetryOutcome::MissingInput => CliError::Usage(format!(
            "process {id:?} lacks {detail}, which its tasks need; give {}",
            input_options(detail)
        )),
    })
}
