//! Each check by itself: what was seen goes in, a verdict comes out. Pure, but for the machine's own.

use std::time::Duration;

use jiff::Timestamp;

use super::check::Check;
use crate::cli::screen::text;
use crate::database::{ConnectFailure, unsuitable};
use crate::engine::guard;
use crate::model::batch::data::{BatchData, BatchState};
use crate::model::duration::show_duration;
use crate::model::explain::blocker::{Blocker, named};
use crate::model::process_type::ProcessType;
use crate::model::records::{NodeData, ProcessTypeData, StatusCounts};
use crate::store::StoreError;
use crate::store::doctor::{Examination, History, Movement};
use crate::store::functions::{StrayFunction, told};

/// The oldest major version that is tested against, as PostgreSQL numbers it.
const VERSION_MIN: i32 = 120_000;
/// A transaction that is open this long keeps vacuum from every queue row that has died since.
const TRANSACTION_OLD: Duration = Duration::from_secs(300);
/// Dead rows in the queue at which claims begin to slow down.
const DEAD_ROWS_MANY: i64 = 100_000;
/// Clocks that differ by more make times of different machines hard to read together.
const CLOCK_APART_MAX: Duration = Duration::from_secs(2);
/// A round trip that takes longer is felt at every task.
const ROUND_TRIP_LONG: Duration = Duration::from_millis(20);
/// Connections of one node, and one for the operator.
const CONNECTIONS_NEEDED: i64 = 8;
/// Programs named at the most; more say nothing new.
const PROGRAMS_SHOWN: usize = 5;
/// Locked processes named at the most.
const LOCKED_SHOWN: usize = 3;
/// A due process that has waited for longer is asked after.
pub const WAIT_LONG: Duration = Duration::from_secs(60);
/// Process types named at the most.
const DOCUMENTS_SHOWN: usize = 3;

/// What the clocks of this machine and of the server said at the same moment, and how long asking took.
#[derive(Clone, Copy)]
pub struct Clocks {
    pub here: Timestamp,
    pub there: Timestamp,
    pub round_trip: Duration,
}

/// What needs no database.
pub fn of_this_machine() -> Vec<Check> {
    let program = format!("process-orchestrator {}", env!("CARGO_PKG_VERSION"));
    let program =
        std::env::current_exe().map_or(program.clone(), |path| format!("{program}, {}", path.display()));
    let program = if guard::IS_AVAILABLE {
        Check::ok("program", program)
    } else {
        Check::warn(
            "program",
            format!("{program}; no guard process on this system"),
            "commands of a node that is killed run on until they end; let a service manager kill its group",
        )
    };
    vec![program, temporary_directory(&std::env::temp_dir())]
}

/// Context files of running commands are made here.
fn temporary_directory(path: &std::path::Path) -> Check {
    let probe = path.join(format!("process-orchestrator-doctor-{}", std::process::id()));
    let made = std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe));
    match made {
        Ok(()) => Check::ok("temporary files", path.display().to_string()),
        Err(error) => Check::fail(
            "temporary files",
            format!("{} can't be written: {error}", path.display()),
            "make room there, or name another directory by TMPDIR",
        ),
    }
}

/// What the server is and how it is set.
pub fn of_server(state: &Examination, shown: &str, clocks: Clocks) -> Vec<Check> {
    vec![
        version(state, shown),
        meaning(state),
        durability(state),
        timeouts(state),
        connections(state),
        encryption(state),
        round_trip(clocks),
        clock(clocks),
        old_transactions(state),
    ]
}

fn version(state: &Examination, shown: &str) -> Check {
    let found = format!("PostgreSQL {}, {shown}", state.server_version);
    if state.version_number < VERSION_MIN {
        return Check::fail("database", found, "PostgreSQL 12 or newer is needed");
    }
    if state.is_standby {
        let remedy = "connect to the primary, or name all hosts with target_session_attrs=read-write";
        return Check::fail("database", format!("{found}; it is a standby"), remedy);
    }
    if state.is_read_only {
        let remedy = "take back default_transaction_read_only for this user or database";
        return Check::fail("database", format!("{found}; it is read-only"), remedy);
    }
    Check::ok("database", found)
}

/// What the database makes of values and statements.
fn meaning(state: &Examination) -> Check {
    if let Some(ConnectFailure::Unsuitable { problem, remedy }) =
        unsuitable(&state.encoding, state.fires_triggers)
    {
        return Check::fail("encoding", problem, remedy);
    }
    match &state.row_secured {
        Some(tables) => Check::warn(
            "encoding",
            format!("{}; row security is on for {tables}", state.encoding),
            "rows that its policies hide are not there for nodes: ALTER TABLE … DISABLE ROW LEVEL SECURITY",
        ),
        None => Check::ok("encoding", state.encoding.clone()),
    }
}

fn durability(state: &Examination) -> Check {
    let risky: Vec<&str> = [
        (!state.fsync, "fsync = off"),
        (!state.full_page_writes, "full_page_writes = off"),
        (state.synchronous_commit == "off", "synchronous_commit = off"),
    ]
    .into_iter()
    .filter_map(|(is_so, what)| is_so.then_some(what))
    .collect();
    if risky.is_empty() {
        return Check::ok("durability", format!("synchronous_commit = {}", state.synchronous_commit));
    }
    let remedy = "after a crash of the server, results can be gone and tasks run twice: set it back";
    Check::warn("durability", risky.join(", "), remedy)
}

fn timeouts(state: &Examination) -> Check {
    let set: Vec<String> =
        [("statement_timeout", &state.statement_timeout), ("lock_timeout", &state.lock_timeout)]
            .into_iter()
            .filter(|(_, value)| *value != "0 ms")
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
    if set.is_empty() {
        return Check::ok("timeouts", "none set for this user");
    }
    Check::ok("timeouts", format!("{}, which our sessions set aside", set.join(", ")))
}

fn connections(state: &Examination) -> Check {
    let (used, most) = (state.connections, i64::from(state.connections_max));
    let found = format!("{used} of {most} in use");
    if most - used < CONNECTIONS_NEEDED {
        let remedy = "a node needs up to 7: raise max_connections, or end clients that are idle";
        return Check::warn("connections", found, remedy);
    }
    Check::ok("connections", found)
}

fn encryption(state: &Examination) -> Check {
    match (state.is_local, state.is_encrypted) {
        (_, true) => Check::ok("encryption", "TLS"),
        (true, false) => Check::ok("encryption", "none, and none needed on one machine"),
        (false, false) => Check::warn(
            "encryption",
            "none, and the server is on another machine",
            "let it take TLS connections, and ask for them: sslmode=verify-full",
        ),
    }
}

fn round_trip(clocks: Clocks) -> Check {
    let found = text::duration(clocks.round_trip);
    if clocks.round_trip > ROUND_TRIP_LONG {
        let remedy = "every task waits for one commit: run nodes near the database";
        return Check::warn("round trip", found, remedy);
    }
    Check::ok("round trip", found)
}

fn clock(clocks: Clocks) -> Check {
    let apart = clocks.there.duration_since(clocks.here).unsigned_abs();
    if apart > CLOCK_APART_MAX + clocks.round_trip {
        let found = format!("{} apart", text::duration(apart));
        let remedy = "start times and leases follow the database's clock, so nothing breaks; set both by NTP";
        return Check::warn("clock", found, remedy);
    }
    Check::ok("clock", "agrees with the database's")
}

fn old_transactions(state: &Examination) -> Check {
    let old = TRANSACTION_OLD.as_secs_f64();
    let seconds = |value: f64| text::duration(Duration::from_secs_f64(value.max(0.0)));
    if let (Some(age), Some(pid)) = (state.oldest_s.filter(|&age| age > old), state.oldest_pid) {
        let what = state.oldest_what.as_deref().unwrap_or("unknown");
        let found = format!("open for {}: process {pid} ({what})", seconds(age));
        let remedy =
            format!("it keeps dead queue rows from vacuum; end it: SELECT pg_terminate_backend({pid})");
        return Check::warn("oldest transaction", found, remedy);
    }
    if let Some(age) = state.oldest_prepared_s.filter(|&age| age > old) {
        let found = format!("a prepared transaction of {}", seconds(age));
        let remedy = "see pg_prepared_xacts, then COMMIT PREPARED or ROLLBACK PREPARED";
        return Check::warn("oldest transaction", found, remedy);
    }
    Check::ok("oldest transaction", state.oldest_s.map_or("none".to_owned(), seconds))
}

/// Whether the tables fit this binary.
pub fn of_schema(state: Result<(), StoreError>, program: &str) -> Check {
    match state {
        // What functions act on is a line of its own.
        Ok(()) | Err(StoreError::FunctionsElsewhere { .. }) => {
            Check::ok("schema", format!("version {}", crate::store::migrate::known_version()))
        }
        Err(error @ StoreError::SchemaMissing { .. }) => {
            Check::fail("schema", error.to_string(), format!("make or update the tables: {program} migrate"))
        }
        Err(error @ (StoreError::SchemaNewer { .. } | StoreError::MigrationChanged { .. })) => {
            Check::fail("schema", error.to_string(), "use a binary of the schema's version")
        }
        Err(error) => unseen("schema", &error),
    }
}

/// Whether the schema's functions act on this schema, whatever temporary tables their callers have.
pub fn of_functions(stray: Result<Vec<StrayFunction>, StoreError>, program: &str) -> Check {
    let stray = match stray {
        Ok(stray) => stray,
        Err(error) => return unseen("functions", &error),
    };
    let (found, remedy) =
        (told(&stray).join("; "), format!("have the owner of the tables run: {program} migrate"));
    if stray.is_empty() {
        Check::ok("functions", "act on this schema, whoever calls them")
    } else if stray.iter().any(|it| it.is_elsewhere) {
        let found = format!("the schema was renamed, or restored under another name: {found}");
        Check::fail("functions", found, remedy)
    } else if stray.iter().any(|it| it.is_open) {
        Check::fail("functions", format!("a dump was restored without its rights: {found}"), remedy)
    } else {
        Check::warn("functions", format!("temporary tables go before the schema's: {found}"), remedy)
    }
}

/// What the node's user may do, as far as there are tables: all that it lacks.
pub fn of_rights(state: &Examination, program: &str) -> Option<Check> {
    if !state.has_tables {
        return None;
    }
    let user = &state.user_name;
    Some(match &state.missing_rights {
        Some(missing) => Check::fail(
            "rights",
            format!("user {user:?} lacks: {missing}"),
            format!(
                "grant them all as the owner of the tables: {program} migrate --grant-to {}; one that only reads needs \
                 --grant-read-to (see `process-orchestrator help security`)",
                shell_words::quote(user)
            ),
        ),
        None if state.is_superuser && !state.is_local => Check::warn(
            "rights",
            format!("user {user:?} is a superuser"),
            "give nodes a user of their own (see `process-orchestrator help security`)",
        ),
        None => Check::ok("rights", format!("user {user:?} may read and write the tables")),
    })
}

/// What a private cluster means for who may change what.
pub fn of_private_cluster(hint: &str) -> Check {
    let found = "commands of tasks run as its user and could change any record (see `process-orchestrator help security`)";
    match hint.strip_prefix("; ") {
        Some(hint) => Check::warn("private cluster", found, hint),
        None => Check::ok("private cluster", found),
    }
}

/// What could not be looked at, mostly for a right that is missing.
pub fn unseen(name: &'static str, error: &StoreError) -> Check {
    Check { remedy: None, ..Check::fail(name, format!("failed to {error}"), "") }
}

/// Whether nodes hear of new processes at once.
pub fn of_wake_ups(heard: &Result<Duration, String>) -> Check {
    match heard {
        Ok(time) => Check::ok("wake-ups", format!("LISTEN and NOTIFY work, {}", text::duration(*time))),
        Err(problem) => Check::warn(
            "wake-ups",
            format!("LISTEN does not work: {problem}"),
            "nodes poll instead: what is started is found at the poll interval (1 s)",
        ),
    }
}

/// No session of our own: a pooler gives another one to every transaction.
pub fn of_pooler() -> Check {
    Check::warn(
        "wake-ups",
        "a pooler in transaction mode is between: no LISTEN, no session locks",
        "nodes poll instead, and take over from a dead one when its lease (5 min) has run out; connect to the server \
         itself to have both at once",
    )
}

/// Whether other nodes can see that one lives.
pub fn of_locks(are_seen: Result<bool, StoreError>) -> Check {
    match are_seen {
        Ok(true) => Check::ok("locks", "advisory locks are shown in pg_locks"),
        Ok(false) => Check::warn(
            "locks",
            "the database shows no advisory locks in pg_locks, or takes none",
            "nothing breaks: a node that dies on another host is taken over when its lease (5 min) has run out; give nodes \
             a shorter --lease to have it sooner",
        ),
        Err(error) => unseen("locks", &error),
    }
}

/// The queue's own table, and who has locked it or another.
pub fn of_queue(state: &Examination, table_lockers: &[Blocker]) -> Vec<Check> {
    let (live, dead) = (state.queue_live.unwrap_or(0), state.queue_dead.unwrap_or(0));
    let vacuumed = state.queue_vacuum_s.map_or("never vacuumed".to_owned(), |age| {
        format!("vacuumed {} ago", text::duration(Duration::from_secs_f64(age.max(0.0))))
    });
    let found = format!("{live} rows, {dead} dead, {vacuumed}");
    let rows = if !state.autovacuum {
        Check::fail("queue table", format!("{found}; autovacuum is off"), "set autovacuum = on")
    } else if dead > DEAD_ROWS_MANY {
        let remedy =
            "vacuum can't keep up, most often for an old transaction: mend that, then VACUUM scheduled_tasks";
        Check::warn("queue table", found, remedy)
    } else {
        Check::ok("queue table", found)
    };
    let locks = if state.table_locks > 0 {
        let by = match table_lockers {
            [] => String::new(),
            known => format!(", held by {}", named(known)),
        };
        let remedy = "somebody holds a lock that stops writers: end that transaction; see pg_locks and pg_blocking_pids()";
        Check::warn("table locks", format!("{} that exclude others{by}", state.table_locks), remedy)
    } else {
        Check::ok("table locks", "none that exclude others")
    };
    vec![rows, locks]
}

/// What ended longer ago is told as old.
pub const HISTORY_AGE: Duration = Duration::from_secs(30 * 86_400);

/// How much the tables take, and what of it could go. Whoever keeps it all may have reasons: that is no complaint.
pub fn of_history(history: History, program: &str) -> Check {
    let size = text::size(history.bytes);
    // Of the counts one is exact and the other as old as the last look of autovacuum.
    let (old, all) = (history.old as f64, history.processes.max(history.old as f64));
    let found = match history.old {
        0 => format!("{size}; no process ended more than {} ago", show_duration(HISTORY_AGE)),
        count => format!(
            "{size}, about {} of it processes that ended more than {age} ago ({count}): {program} prune --older-than {age}, or \
             serve --retention",
            text::size((history.bytes as f64 * old / all) as u64),
            age = show_duration(HISTORY_AGE)
        ),
    };
    Check::ok("history", found)
}

/// Sessions that have locked rows of unfinished processes, or of nodes.
pub fn of_row_locks(locked: &[(String, Blocker)]) -> Check {
    let Some((_, first)) = locked.first() else {
        return Check::ok("row locks", "no process or node waits for somebody's lock");
    };
    let mut ids: Vec<&str> = locked.iter().map(|it| it.0.as_str()).collect();
    ids.dedup();
    let more = ids.len().saturating_sub(LOCKED_SHOWN);
    let shown = ids.iter().take(LOCKED_SHOWN).copied().collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let mut by: Vec<Blocker> = Vec::new();
    for (_, one) in locked {
        if !by.iter().any(|it| (it.pid, &it.prepared) == (one.pid, &one.prepared)) {
            by.push(one.clone());
        }
    }
    let found = format!("rows of {shown}{more} are locked by {}", named(&by));
    let remedy = format!("they wait, all others go on; end that transaction: {}", first.remedy());
    Check::warn("row locks", found, remedy)
}

/// What is known of whether the queue moves.
pub struct Moves {
    /// What was seen of it.
    pub seen: Movement,
    /// The process that has waited longest waits, although there was room for it for some time.
    pub is_passed_over: bool,
    /// A row of it is locked.
    pub is_locked: bool,
    /// The row of a node is.
    pub is_node_locked: bool,
}

/// Whether what is due is begun. A backlog is no fault while it moves.
pub fn of_movement(status: &StatusCounts, living: &[&NodeData], moves: &Moves) -> Check {
    let seconds = |value: f64| Duration::try_from_secs_f64(value.max(0.0)).unwrap_or_default();
    let age = seconds(status.oldest_due_age_seconds.unwrap_or(0.0));
    let oldest = moves.seen.oldest.as_deref().unwrap_or("unknown");
    if status.due == 0 || age < WAIT_LONG {
        let found = match status.due {
            0 => "nothing waits".to_owned(),
            due => format!("the oldest of {due} due processes has waited for {}", text::duration(age)),
        };
        return Check::ok("queue moves", found);
    }
    let waited = format!(
        "the oldest of {} due processes ({oldest}) has waited for {}",
        status.due,
        text::duration(age)
    );
    let moved = moves.seen.moved_s.map(seconds);
    let stands = moved.is_none_or(|moved| moved >= WAIT_LONG);
    if !stands && !moves.is_passed_over {
        return Check::ok("queue moves", format!("{waited}, and others are begun and ended meanwhile"));
    }
    let since = match moved {
        _ if !stands => ", while there is room for it".to_owned(),
        Some(moved) => format!(", and nothing was begun or ended for {}", text::duration(moved)),
        None => ", and nothing was ever begun".to_owned(),
    };
    let executors: i64 = living.iter().map(|it| i64::from(it.executors)).sum();
    let version = env!("CARGO_PKG_VERSION");
    let others: Vec<&str> = living.iter().map(|it| it.version.as_str()).filter(|it| *it != version).collect();
    let (cause, remedy) = match others.first() {
        _ if living.is_empty() && moves.is_node_locked => (
            "no node is heard of, and the row of one is locked".to_owned(),
            "see \"row locks\": end that transaction".to_owned(),
        ),
        _ if living.is_empty() => {
            ("no node is alive".to_owned(), "start one: process-orchestrator serve".to_owned())
        }
        _ if moves.is_locked => {
            ("a row of it is locked".to_owned(), "see \"row locks\": end that transaction".to_owned())
        }
        _ if status.picked >= executors => (
            format!("all {executors} executors run commands that take long"),
            "see process-orchestrator list --status in_progress; more nodes, or more --executors".to_owned(),
        ),
        Some(other) => (
            format!("a node of version {other} is running, this program is {version}"),
            "stop the nodes of the other version, and see their logs".to_owned(),
        ),
        None => (
            "the cause is not known".to_owned(),
            format!("see the nodes' logs, and: process-orchestrator explain {}", shell_words::quote(oldest)),
        ),
    };
    Check::warn("queue moves", format!("{waited}{since}: {cause}"), remedy)
}

/// The nodes that run and are heard of.
pub fn living(nodes: &[NodeData], now: Timestamp) -> Vec<&NodeData> {
    nodes.iter().filter(|it| it.state == "RUNNING" && !it.is_silent(now)).collect()
}

/// Who runs what is due.
///
/// `locked`: who has locked the rows of which nodes.
pub fn of_nodes(
    nodes: &[NodeData],
    status: &StatusCounts,
    now: Timestamp,
    locked: &[(String, Blocker)],
) -> Check {
    let running = nodes.iter().filter(|it| it.state == "RUNNING");
    let (alive, silent): (Vec<&NodeData>, Vec<&NodeData>) = running.partition(|node| !node.is_silent(now));
    let is_locked = |node: &NodeData| locked.iter().any(|it| it.0 == node_named(node));
    let is_any_locked = silent.iter().any(|it| is_locked(it));
    let silent: Vec<String> = silent
        .iter()
        .map(|it| {
            let lock = if is_locked(it) { ", its row is locked" } else { "" };
            format!("{} silent for {}{lock}", it.name, text::duration(text::between(it.last_heartbeat, now)))
        })
        .collect();
    if is_any_locked {
        let remedy = "see \"row locks\": end that transaction; until then the node may run and can't say so";
        return Check::warn("nodes", format!("{}, {} due", silent.join("; "), status.due), remedy);
    }
    if alive.is_empty() {
        let but = if silent.is_empty() { String::new() } else { format!(" ({})", silent.join(", ")) };
        let found = format!("none is alive{but}, {} due", status.due);
        let remedy = "start one: process-orchestrator serve";
        return if status.due > 0 {
            Check::fail("nodes", found, remedy)
        } else {
            Check::warn("nodes", found, remedy)
        };
    }
    if !silent.is_empty() {
        let remedy =
            "others take over from it once its session or lease has ended; look at its log and its machine";
        return Check::warn("nodes", silent.join(", "), remedy);
    }
    let executors: i64 = alive.iter().map(|it| i64::from(it.executors)).sum();
    let found = format!(
        "{} running, {} of {executors} executors taken, {} due",
        alive.len(),
        status.picked,
        status.due
    );
    if status.due > 0 && status.picked >= executors {
        return Check::warn("nodes", found, "work waits for executors: more nodes, or more --executors");
    }
    Check::ok("nodes", found)
}

/// A node among other things whose rows are locked.
pub fn node_named(node: &NodeData) -> String {
    format!("node {}", node.name)
}

/// Types that an operator holds back, which is easily forgotten.
pub fn of_paused(types: &[ProcessTypeData]) -> Check {
    let paused: Vec<&str> = types.iter().filter(|it| it.paused).map(|it| &*it.name).collect();
    match paused.first() {
        None => Check::ok("paused types", "none"),
        Some(first) => Check::warn(
            "paused types",
            paused.join(", "),
            format!("nothing of them is claimed; let them go on: process-orchestrator resume {first}"),
        ),
    }
}

/// Batches that are held back, and what could not follow one, which are easily forgotten.
pub fn of_batches(batches: &[BatchData]) -> Check {
    let of = |holds: fn(&BatchData) -> bool| batches.iter().filter(move |it| holds(it));
    if let Some(first) = of(|it| it.then_problem.is_some()).next() {
        let problem = first.then_problem.as_deref().unwrap_or_default();
        return Check::warn(
            "batches",
            format!("what follows batch {:?} can't be started: {problem}", first.name),
            format!(
                "change it: process-orchestrator batch set {} --then TYPE:INPUT",
                shell_words::quote(&first.name)
            ),
        );
    }
    let held: Vec<&BatchData> =
        of(|it| matches!(it.state, BatchState::Halted | BatchState::Paused)).collect();
    match held.first() {
        None => Check::ok("batches", format!("{} run", of(|it| it.state == BatchState::Running).count())),
        Some(first) => {
            let told: Vec<String> =
                held.iter().take(5).map(|it| format!("{:?} is {}", it.name, it.state)).collect();
            let name = shell_words::quote(&first.name);
            Check::warn(
                "batches",
                told.join(", "),
                format!(
                    "nothing more of them starts; let them go on: process-orchestrator batch resume {name}; or end them: \
                     process-orchestrator batch cancel {name}"
                ),
            )
        }
    }
}

/// Whether the programs of the registered process types are on this machine.
pub fn of_commands(types: &[ProcessTypeData]) -> Check {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut missing: Vec<String> = types
        .iter()
        .filter_map(|it| it.definition.get("tasks")?.as_array())
        .flatten()
        .filter_map(program_of)
        .filter(|program| !crate::command::is_found(program, &path))
        .collect();
    missing.sort();
    missing.dedup();
    if missing.is_empty() {
        return Check::ok("commands", "the programs of all process types are found on this machine");
    }
    let more = missing.len().saturating_sub(PROGRAMS_SHOWN);
    missing.truncate(PROGRAMS_SHOWN);
    let found = format!(
        "not found here: {}{}",
        missing.join(", "),
        if more > 0 { format!(" and {more} more") } else { String::new() }
    );
    Check::warn("commands", found, "install them on every machine that runs a node, or give full paths")
}

/// Registered process types that would be refused today: they go on, and may not do what they say.
pub fn of_documents(types: &[ProcessTypeData]) -> Check {
    let faults: Vec<String> = types
        .iter()
        .filter_map(|it| ProcessType::from_value(&it.definition, &format!("{:?}", it.name)).err())
        .map(|faults| {
            let more = faults.faults.len() - 1;
            let first =
                faults.faults.first().map(|fault| format!("{}: {fault}", faults.source)).unwrap_or_default();
            if more > 0 { format!("{first} ({more} more)") } else { first }
        })
        .collect();
    if faults.is_empty() {
        return Check::ok("documents", "all process types would be registered today");
    }
    let more = faults.len().saturating_sub(DOCUMENTS_SHOWN);
    let shown = faults[..faults.len() - more].join(" | ");
    let found = if more > 0 { format!("{shown} | and {more} types more") } else { shown };
    let remedy = "they go on as they were; change their documents and register them again, as types validate FILE says";
    Check::warn("documents", found, remedy)
}

/// The program of a task; nothing where a variable or a shell decides.
fn program_of(task: &serde_json::Value) -> Option<String> {
    let program = match task.get("command")? {
        _ if task.get("shell").is_some_and(|shell| shell == true) => return None,
        // Another shell is a program that may be missing.
        _ if task.get("shell").is_some_and(serde_json::Value::is_string) => {
            task["shell"].as_str()?.to_owned()
        }
        _ if task.get("shell").is_some_and(serde_json::Value::is_array) => {
            task["shell"][0].as_str()?.to_owned()
        }
        serde_json::Value::Array(words) => words.first()?.as_str()?.to_owned(),
        other => shell_words::split(other.as_str()?).ok()?.into_iter().next()?,
    };
    // A relative path depends on the task's working directory.
    let is_plain = !program.contains("${") && (!program.contains('/') || program.starts_with('/'));
    is_plain.then_some(program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::check::Level;
    use serde_json::json;

    fn healthy() -> Examination {
        Examination {
            server_version: "15.3".to_owned(),
            version_number: 150_003,
            is_standby: false,
            is_read_only: false,
            encoding: "UTF8".to_owned(),
            fires_triggers: true,
            row_secured: None,
            fsync: true,
            full_page_writes: true,
            synchronous_commit: "on".to_owned(),
            autovacuum: true,
            statement_timeout: "0 ms".to_owned(),
            lock_timeout: "0 ms".to_owned(),
            connections_max: 97,
            connections: 6,
            is_local: true,
            is_encrypted: false,
            user_name: "node".to_owned(),
            is_superuser: false,
            oldest_s: Some(0.1),
            oldest_pid: Some(7),
            oldest_what: Some("psql, idle in transaction".to_owned()),
            oldest_prepared_s: None,
            slot_age: None,
            queue_live: Some(10),
            queue_dead: Some(20),
            queue_vacuum_s: None,
            table_locks: 0,
            has_tables: true,
            missing_rights: None,
        }
    }

    fn clocks() -> Clocks {
        let here = Timestamp::UNIX_EPOCH;
        Clocks { here, there: here, round_trip: Duration::from_millis(1) }
    }

    /// The checks that are not ok, with their verdicts.
    fn complaints(state: &Examination, clocks: Clocks) -> Vec<(&'static str, Level)> {
        let mut checks = of_server(state, "there", clocks);
        checks.extend(of_rights(state, "process-orchestrator"));
        checks.extend(of_queue(state, &[]));
        for check in checks.iter().filter(|it| it.verdict != Level::Ok) {
            assert!(check.remedy.is_some(), "{check:?} has no remedy");
        }
        checks.iter().filter(|it| it.verdict != Level::Ok).map(|it| (it.name, it.verdict)).collect()
    }

    #[test]
    fn every_trouble_is_one_line_and_health_is_none() {
        use Level::{Fail, Warn};
        assert_eq!(complaints(&healthy(), clocks()), []);
        type Change = fn(&mut Examination);
        let cases: [(Change, &str, Level); 17] = [
            (|it| it.version_number = 110_022, "database", Fail),
            (|it| it.is_standby = true, "database", Fail),
            (|it| it.is_read_only = true, "database", Fail),
            (|it| it.fsync = false, "durability", Warn),
            (|it| it.synchronous_commit = "off".to_owned(), "durability", Warn),
            (|it| it.encoding = "SQL_ASCII".to_owned(), "encoding", Fail),
            (|it| it.fires_triggers = false, "encoding", Fail),
            (|it| it.row_secured = Some("tasks".to_owned()), "encoding", Warn),
            (|it| it.connections = 95, "connections", Warn),
            (|it| it.is_local = false, "encryption", Warn),
            (|it| it.oldest_s = Some(4000.0), "oldest transaction", Warn),
            (|it| it.oldest_prepared_s = Some(4000.0), "oldest transaction", Warn),
            (|it| it.missing_rights = Some("tasks UPDATE".to_owned()), "rights", Fail),
            (|it| it.autovacuum = false, "queue table", Fail),
            (|it| it.queue_dead = Some(1_000_000), "queue table", Warn),
            (|it| it.table_locks = 1, "table locks", Warn),
            (|it| it.full_page_writes = false, "durability", Warn),
        ];
        for (change, name, verdict) in cases {
            let mut state = healthy();
            change(&mut state);
            assert_eq!(complaints(&state, clocks()), [(name, verdict)]);
        }
        let far = Clocks { round_trip: Duration::from_millis(200), ..clocks() };
        assert_eq!(complaints(&healthy(), far), [("round trip", Warn)]);
        let wrong = Clocks { there: clocks().here + Duration::from_secs(3600), ..clocks() };
        assert_eq!(complaints(&healthy(), wrong), [("clock", Warn)]);
    }

    #[test]
    fn a_long_history_is_told_with_what_could_go_and_is_no_complaint() {
        let told = |bytes, processes, old| of_history(History { bytes, processes, old }, "po").found;
        assert_eq!(told(250_000, 0.0, 0), "250.0 KB; no process ended more than 30d ago");
        assert_eq!(
            told(4_000_000_000, 1000.0, 250),
            "4.0 GB, about 1.0 GB of it processes that ended more than 30d ago (250): po prune --older-than 30d, or serve \
             --retention"
        );
    }

    #[test]
    fn programs_are_known_where_no_variable_or_shell_decides() {
        let program = |task| program_of(&task);
        assert_eq!(program(json!({"command": "'my tool' --x"})).as_deref(), Some("my tool"));
        assert_eq!(program(json!({"command": ["/bin/true"]})).as_deref(), Some("/bin/true"));
        assert_eq!(program(json!({"command": "x", "shell": "zsh"})).as_deref(), Some("zsh"));
        assert_eq!(program(json!({"command": "x", "shell": ["bash", "-c"]})).as_deref(), Some("bash"));
        for task in [
            json!({"command": "x", "shell": true}),
            json!({"command": "./x"}),
            json!({"command": "${config.tool} a"}),
        ] {
            assert_eq!(program(task.clone()), None, "{task}");
        }
    }

    #[test]
    fn a_queue_that_stands_is_told_with_the_cause_and_a_backlog_that_moves_is_none() {
        let now = Timestamp::UNIX_EPOCH;
        let node = |version: &str| NodeData {
            node_id: "n".to_owned(),
            name: "worker".to_owned(),
            host: "h".to_owned(),
            pid: 1,
            version: version.to_owned(),
            executors: 4,
            state: "RUNNING".to_owned(),
            started_at: now,
            last_heartbeat: now,
            heartbeat_seconds: 2.0,
            dead_after_seconds: 10.0,
        };
        let ours = node(env!("CARGO_PKG_VERSION"));
        let judge = |due, age, picked, nodes: &[&NodeData], moved_s, is_passed_over, is_locked| {
            let status = StatusCounts {
                processes: Default::default(),
                queue_depth: due,
                due,
                oldest_due_age_seconds: Some(age),
                picked,
                waiting_for_limits: 0,
                nodes: Vec::new(),
                unreadable: Vec::new(),
            };
            let seen = Movement { moved_s, oldest: Some("p-1".to_owned()) };
            let check = of_movement(
                &status,
                nodes,
                &Moves { seen, is_passed_over, is_locked, is_node_locked: false },
            );
            assert_eq!(check.verdict == Level::Ok, check.remedy.is_none());
            (check.verdict, check.found)
        };
        assert_eq!(judge(0, 0.0, 0, &[], None, false, false).0, Level::Ok);
        assert_eq!(judge(9, 50.0, 0, &[], None, false, false).0, Level::Ok, "for a moment");
        let moving = judge(9, 600.0, 4, &[&ours], Some(3.0), false, false);
        assert_eq!(
            (moving.0, moving.1.ends_with("begun and ended meanwhile")),
            (Level::Ok, true),
            "{moving:?}"
        );
        for (picked, nodes, moved_s, is_passed_over, is_locked, cause) in [
            (
                0,
                &[][..],
                Some(600.0),
                false,
                false,
                "and nothing was begun or ended for 10 min 00 s: no node is alive",
            ),
            (4, &[&ours][..], Some(600.0), false, false, "all 4 executors run commands that take long"),
            (0, &[&ours][..], Some(1.0), true, true, "while there is room for it: a row of it is locked"),
            (0, &[&node("0.0.1")][..], None, false, false, "a node of version 0.0.1 is running"),
            (0, &[&ours][..], None, false, false, "nothing was ever begun: the cause is not known"),
        ] {
            let (verdict, found) = judge(9, 600.0, picked, nodes, moved_s, is_passed_over, is_locked);
            assert_eq!((verdict, found.contains(cause)), (Level::Warn, true), "{found}");
        }
    }

    #[test]
    fn nodes_that_are_silent_or_missing_are_told() {
        let now = Timestamp::UNIX_EPOCH;
        let node = |seconds: u64| NodeData {
            node_id: "n".to_owned(),
            name: "worker".to_owned(),
            host: "h".to_owned(),
            pid: 1,
            version: "0".to_owned(),
            executors: 4,
            state: "RUNNING".to_owned(),
            started_at: now,
            last_heartbeat: now - Duration::from_secs(seconds),
            heartbeat_seconds: 20.0,
            dead_after_seconds: 59.0,
        };
        let status = |due| StatusCounts {
            processes: Default::default(),
            queue_depth: due,
            due,
            oldest_due_age_seconds: None,
            picked: 0,
            waiting_for_limits: 0,
            nodes: Vec::new(),
            unreadable: Vec::new(),
        };
        assert_eq!(
            of_nodes(&[node(1)], &status(0), now, &[]),
            Check::ok("nodes", "1 running, 0 of 4 executors taken, 0 due")
        );
        assert_eq!(of_nodes(&[], &status(0), now, &[]).verdict, Level::Warn);
        assert_eq!(of_nodes(&[], &status(9), now, &[]).verdict, Level::Fail);
        let silent = of_nodes(&[node(60)], &status(2), now, &[]);
        let expected = "none is alive (worker silent for 1 min 00 s), 2 due";
        assert_eq!((silent.verdict, &*silent.found), (Level::Fail, expected));
        let by = Blocker {
            place: Some("nodes".to_owned()),
            pid: Some(7),
            prepared: None,
            application: None,
            user: None,
            client: None,
            state: None,
            since: None,
            age: None,
            query: None,
        };
        let locked = of_nodes(&[node(60)], &status(2), now, &[("node worker".to_owned(), by)]);
        let expected = "worker silent for 1 min 00 s, its row is locked, 2 due";
        assert_eq!((locked.verdict, &*locked.found), (Level::Warn, expected));
        let one_of_two = of_nodes(&[node(60), node(1)], &status(0), now, &[]);
        assert_eq!((one_of_two.verdict, &*one_of_two.found), (Level::Warn, "worker silent for 1 min 00 s"));
        let full = of_nodes(&[node(1)], &StatusCounts { picked: 4, ..status(3) }, now, &[]);
        assert_eq!((full.verdict, &*full.found), (Level::Warn, "1 running, 4 of 4 executors taken, 3 due"));
    }
}
