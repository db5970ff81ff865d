//! `doctor`: looks at everything that a node needs, and says for each what is wrong and what to do.

mod check;
mod checks;
mod eras;
mod limits;
mod schedules;

use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use self::check::{Check, Level};
use self::checks::{Clocks, Moves};
use super::error::{CliError, Verdict};
use super::options::global::GlobalOptions;
use super::screen::terminal::{Face, Size, print_json, print_lines};
use super::screen::text;
use super::surroundings::as_service::hint_if_elsewhere;
use super::surroundings::session::{Need, Session};
use crate::database::ConnectionSource;
use crate::model::explain::blocker::Blocker;
use crate::model::lifecycle::TaskStatus;
use crate::model::records::{NodeData, StatusCounts};
use crate::store::batches::BatchFilter;
use crate::store::limits::usage::LimitFilter;
use crate::store::{Store, StoreError};

/// What to print.
#[derive(Debug, Args)]
pub struct Options {
    /// Print one JSON document: {"checks": [{"name", "verdict", "found", "remedy"}]}
    #[arg(long)]
    pub json: bool,
}

/// Prints a line for each check. Ends with exit code 1 if one has failed, 4 if there is no database to look at.
///
/// # Errors
/// As above.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let mut checks = checks::of_this_machine();
    let unreachable = match Session::open(global, Need::DatabaseToRead) {
        Ok((session, mut store)) => {
            examine(&session, &mut store, global, &mut checks)?;
            None
        }
        Err(error) => {
            checks.push(Check { remedy: None, ..Check::fail("database", error.to_string(), "") });
            Some(error.exit_code())
        }
    };
    report(&checks, options)?;
    match (unreachable, checks.iter().map(|it| it.verdict).max()) {
        (Some(4), _) => Err(CliError::Unreachable("the database could not be looked at".to_owned())),
        (Some(_), _) | (None, Some(Level::Fail)) => Err(CliError::Reported(Verdict::Failed)),
        _ => Ok(()),
    }
}

fn examine(
    session: &Session,
    store: &mut Store,
    global: &GlobalOptions,
    checks: &mut Vec<Check>,
) -> Result<(), CliError> {
    let state = store.examine()?;
    checks.extend(checks::of_server(&state, &session.shown(), clocks(store)?));
    let schema = checks::of_schema(store.check_schema(), &global.program());
    let has_tables = schema.verdict == Level::Ok;
    checks.push(schema);
    if state.has_tables {
        checks.push(checks::of_functions(store.stray_functions(), &global.program()));
    }
    checks.push(if store.borrows_sessions() {
        checks::of_pooler()
    } else {
        checks::of_wake_ups(&wake_up(&*session.source(), session.schema()))
    });
    if !store.borrows_sessions() {
        checks.push(checks::of_locks(store.shows_locks()));
    }
    checks.extend(checks::of_rights(&state, &global.program()));
    if session.is_private() {
        checks.push(checks::of_private_cluster(&hint_if_elsewhere()));
    }
    if has_tables {
        checks.extend(checks::of_queue(&state, &store.who_locks_tables()?));
        // One that can't be looked at is told, and the others are looked at.
        match (store.nodes(NODES_MAX), store.status(), store.now()) {
            (Ok(nodes), Ok(status), Ok(now)) => {
                // Of those that are not heard of too: their heartbeats may wait for just that.
                let locked = node_locks(store, &nodes).unwrap_or_default();
                checks.push(checks::of_nodes(&nodes, &status, now, &locked));
                checks.extend(
                    queue(store, &nodes, &status, now, locked)
                        .unwrap_or_else(|error| vec![checks::unseen("queue moves", &error)]),
                );
            }
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
                checks.push(checks::unseen("nodes", &error))
            }
        }
        checks.push(match store.measure_eras() {
            Ok(measure) => eras::of_eras(&measure),
            Err(error) => checks::unseen("eras", &error),
        });
        checks.push(match store.history(checks::HISTORY_AGE) {
            Ok(history) => checks::of_history(history, &global.program()),
            Err(error) => checks::unseen("history", &error),
        });
        checks.push(match store.batches(&BatchFilter { limit: BATCHES_MAX, ..BatchFilter::default() }) {
            Ok(page) => checks::of_batches(&page.batches),
            Err(error) => checks::unseen("batches", &error),
        });
        checks.push(match look_at_limits(store) {
            Ok(check) => check,
            Err(error) => checks::unseen("limits", &error),
        });
        checks.push(match store.schedules(None, schedules::SCHEDULES_MAX) {
            Ok(found) => schedules::of_schedules(&found, &global.program()),
            Err(error) => checks::unseen("schedules", &error),
        });
        match store.process_types() {
            Ok(types) => checks.extend([
                checks::of_paused(&types),
                checks::of_documents(&types),
                checks::of_commands(&types),
            ]),
            Err(error) => checks.push(checks::unseen("process types", &error)),
        }
    }
    Ok(())
}

/// Who has locked rows of nodes that have not ended, each with its node.
fn node_locks(store: &mut Store, nodes: &[NodeData]) -> Result<Vec<(String, Blocker)>, StoreError> {
    let mut locked = Vec::new();
    for node in nodes.iter().filter(|it| ["RUNNING", "STOPPING"].contains(&&*it.state)) {
        let by = store.who_locks_node(&node.node_id)?;
        locked.extend(by.into_iter().map(|by| (checks::node_named(node), by)));
    }
    locked.retain(|(_, by)| by.age.is_none_or(|age| age >= LOCK_OLD));
    Ok(locked)
}

/// Whether what is due is begun, and whose locks are in the way.
fn queue(
    store: &mut Store,
    nodes: &[NodeData],
    status: &StatusCounts,
    now: Timestamp,
    locked_nodes: Vec<(String, Blocker)>,
) -> Result<Vec<Check>, StoreError> {
    let living = checks::living(nodes, now);
    let ids = store.locked_processes(LOCK_OLD, LOCKED_MAX)?;
    let mut locked = store.who_locks(&ids.iter().map(String::as_str).collect::<Vec<_>>())?;
    locked.retain(|(_, by)| by.age.is_none_or(|age| age >= LOCK_OLD));
    let is_node_locked = !locked_nodes.is_empty();
    locked.extend(locked_nodes);
    let mut seen = store.movement()?;
    let executors: i64 = living.iter().map(|it| i64::from(it.executors)).sum();
    let has_waited = status.oldest_due_age_seconds.is_some_and(|it| it >= checks::WAIT_LONG.as_secs_f64());
    let mut is_passed_over = false;
    if has_waited && status.picked < executors {
        // Whatever is due is claimed within a second while there is room.
        std::thread::park_timeout(PASSED_OVER_MIN);
        let again = store.movement()?;
        is_passed_over = again.oldest.is_some() && again.oldest == seen.oldest;
        seen = again;
    }
    let is_locked = seen.oldest.as_ref().is_some_and(|oldest| locked.iter().any(|it| it.0 == *oldest));
    let moves = Moves { seen, is_passed_over, is_locked, is_node_locked };
    Ok(vec![checks::of_row_locks(&locked), checks::of_movement(status, &living, &moves)])
}

/// The newest batches, which are looked at.
const BATCHES_MAX: u32 = 200;
/// Whoever waits although there is room is looked at twice: a node may be about to let it go.
fn look_at_limits(store: &mut Store) -> Result<Check, StoreError> {
    let all = store.limits(LimitFilter::default())?;
    let mut troubles = store.limit_troubles()?;
    if !troubles.passed_over.is_empty() || !troubles.leaked.is_empty() {
        std::thread::park_timeout(PASSED_OVER_MIN);
        let again = store.limit_troubles()?;
        troubles.passed_over.retain(|it| again.passed_over.contains(it));
        troubles.leaked.retain(|it| again.leaked.contains(it));
    }
    Ok(limits::of_limits(&all, &troubles))
}

/// A transaction that has locked a row for less is most likely a node's.
const LOCK_OLD: Duration = Duration::from_secs(1);
/// Locked processes that are looked for.
const LOCKED_MAX: i64 = 64;
/// A process that stays due for this long while there is room is passed over.
const PASSED_OVER_MIN: Duration = Duration::from_secs(2);

/// Asks for the time again and again; the quickest answer says the most.
fn clocks(store: &mut Store) -> Result<Clocks, CliError> {
    let mut best: Option<Clocks> = None;
    for _ in 0..ROUND_TRIPS {
        let (asked, here) = (Instant::now(), Timestamp::now());
        let there = store.now()?;
        let round_trip = asked.elapsed();
        if best.as_ref().is_none_or(|it| round_trip < it.round_trip) {
            best = Some(Clocks { here: here + round_trip / 2, there, round_trip });
        }
    }
    best.ok_or_else(|| CliError::Failed("the database's clock was not asked".to_owned()))
}

/// The first one prepares the statement.
const ROUND_TRIPS: usize = 5;
/// The latest nodes say enough.
const NODES_MAX: u32 = 200;
/// How long a notification may take.
const WAKE_UP_MAX: Duration = Duration::from_secs(2);

/// Listens on one connection and notifies on another, as nodes do.
fn wake_up(source: &dyn ConnectionSource, schema: &str) -> Result<Duration, String> {
    use postgres::fallible_iterator::FallibleIterator;
    let text = |error: postgres::Error| error.to_string();
    let connect = |role: &str| source.connect(role).map_err(|error| error.to_string());
    let (mut listener, mut speaker) = (connect("doctor")?, connect("doctor")?);
    // A channel of our own: nobody is woken for nothing.
    let channel = crate::store::quote_identifier(&format!("doctor {schema} {}", std::process::id()));
    listener.batch_execute(&format!("LISTEN {channel}")).map_err(text)?;
    let began = Instant::now();
    speaker.batch_execute(&format!("NOTIFY {channel}")).map_err(text)?;
    match listener.notifications().timeout_iter(WAKE_UP_MAX).next().map_err(text)? {
        Some(_) => Ok(began.elapsed()),
        None => Err(format!("nothing was heard for {} s", WAKE_UP_MAX.as_secs())),
    }
}

fn report(checks: &[Check], options: &Options) -> Result<(), CliError> {
    if options.json {
        return print_json(&json!({ "checks": checks }));
    }
    print_lines(&lines(checks, Face::stdout(), Size::stdout_columns()))
}

fn lines(checks: &[Check], face: Face, columns: usize) -> Vec<String> {
    let width = checks.iter().map(|it| text::width(it.name)).max().unwrap_or(0);
    let mut lines = Vec::new();
    for check in checks {
        let (word, like) = match check.verdict {
            Level::Ok => ("ok  ", TaskStatus::Completed),
            Level::Warn => ("warn", TaskStatus::WaitingRetry),
            Level::Fail => ("fail", TaskStatus::Failed),
        };
        let indent = word.len() + width + 4;
        let found = format!("{word}  {:width$}  {}", check.name, text::escape(&check.found));
        let mut own = text::hanging(&found, columns, indent);
        if let Some(first) = own.first_mut() {
            // Coloured when the lines are made: colours take no columns.
            *first = first.replacen(word, &super::screen::style::Look::of_task(like).paint(face, word), 1);
        }
        lines.extend(own);
        if let Some(remedy) = &check.remedy {
            let remedy = format!("{:indent$}→ {}", "", text::escape(remedy));
            lines.extend(text::hanging(&remedy, columns, indent + 2));
        }
    }
    lines
}
