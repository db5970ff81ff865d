//! Starting processes, by the schema's own functions.

use jiff::Timestamp;
use postgres::error::SqlState;
use serde_json::Value;

use super::connection::{LOCK_WAIT_MAX, Lockable};
use super::row::{get, unreadable};
use super::{Backend, Refusal, RefusalReason, Sql, Store, StoreError};
use crate::model::input::ProcessInputData;
use crate::model::names::{PROCESS_ID_REMEDY, process_id_problem};

const START_ALL: Sql =
    Sql::new("start processes", "SELECT process_id FROM start_processes($1, $2, $3, $4, $5) AS process_id");
/// The same, but that no node is woken.
const START_QUIETLY: Sql = Sql::new(
    "start processes",
    "SELECT process_id FROM start_processes($1, $2, $3, $4, $5, notify => false) AS process_id",
);

const ARE_THERE: Sql = Sql::new(
    "see whether processes are there",
    "SELECT NOT EXISTS (SELECT FROM unnest($1::text[]) AS id WHERE NOT EXISTS \
     (SELECT FROM processes WHERE process_id = id)) AS are_there",
);
/// Ids that are looked for at once.
const IDS_MAX: usize = 10_000;

const RESERVE: Sql = Sql::new("keep a process for a node", include_str!("../../sql/queue/reserve.sql"));

/// Whether this very transaction has written the row; the column holds the number's lower half.
const IS_OURS: Sql = Sql::new(
    "see whether a process is new",
    "SELECT xmin::text::bigint = txid_current() % 4294967296 AS is_ours FROM processes WHERE process_id = $1",
);

/// A process to be started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartRequest {
    /// What it works on.
    pub input: ProcessInputData,
    /// The caller's own id; `None` has one made from the type's name and a number.
    pub process_id: Option<String>,
}

/// What all processes of one call have in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StartOptions {
    /// When they are due; `None` is now.
    pub start_at: Option<Timestamp>,
    /// Higher runs first.
    pub priority: i32,
}

impl Store {
    /// Starts one process for `node` alone, which claims it when it runs: in one transaction, so that nobody else can
    /// be faster. Returns its id, and whether it waits for that node: a process of that id that was there already
    /// may have ended, or run elsewhere.
    ///
    /// # Errors
    /// As [`Store::start_processes`].
    pub fn start_reserved(
        &mut self,
        process_type: &str,
        request: &StartRequest,
        node: &str,
    ) -> Result<(String, bool), StoreError> {
        let what = lockable(std::slice::from_ref(request));
        self.while_lockable("start a process", what, |store| {
            let mut ids = store.start_part(
                process_type,
                std::slice::from_ref(request),
                StartOptions::default(),
                true,
            )?;
            let id = ids.pop().ok_or_else(|| super::row::unreadable("a started process", "no row"))?;
            let is_reserved = store.execute(&RESERVE, &[&node, &id])? > 0;
            Ok((id, is_reserved))
        })
    }

    /// Starts one process. Returns its id, and whether it is new: the same id with the same type and input gives back
    /// the process that is there already.
    ///
    /// # Errors
    /// As [`Store::start_processes`].
    pub fn start_or_find(
        &mut self,
        process_type: &str,
        request: &StartRequest,
        options: StartOptions,
    ) -> Result<(String, bool), StoreError> {
        let what = lockable(std::slice::from_ref(request));
        self.while_lockable("start a process", what, |store| {
            let mut ids = store.start_part(process_type, std::slice::from_ref(request), options, true)?;
            let id = ids.pop().ok_or_else(|| super::row::unreadable("a started process", "no row"))?;
            let row = store.query_opt(&IS_OURS, &[&id])?;
            let is_new = row.map_or(Ok(false), |row| get(&row, "is_ours", "a started process"))?;
            Ok((id, is_new))
        })
    }

    /// Starts processes of one type in one statement and returns their ids in the order of the requests: all of
    /// them or, upon an error, none. An id that is there already with the same input gives back that process.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the type is unknown, the input is invalid or lacks a variable, or an id is
    /// taken; [`StoreError::Locked`] when somebody is starting a process of the same id and has not committed for seconds;
    /// otherwise when the database fails.
    pub fn start_processes(
        &mut self,
        process_type: &str,
        requests: &[StartRequest],
        options: StartOptions,
    ) -> Result<Vec<String>, StoreError> {
        self.while_lockable(START_ALL.action, lockable(requests), |store| {
            store.start_part(process_type, requests, options, true)
        })
    }

    /// Starts some of those that begin together in one transaction, see [`Store::start_in_parts`]. Who would wake
    /// nodes has them wait for the commit: so only the last of the parts `wakes`.
    ///
    /// # Errors
    /// As [`Store::start_processes`].
    pub fn start_part(
        &mut self,
        process_type: &str,
        requests: &[StartRequest],
        options: StartOptions,
        wakes: bool,
    ) -> Result<Vec<String>, StoreError> {
        requests.iter().filter_map(|it| it.process_id.as_deref()).try_for_each(check_id)?;
        let inputs: Vec<Value> = requests.iter().map(|request| request.input.to_value()).collect();
        let ids: Vec<Option<&str>> = requests.iter().map(|it| it.process_id.as_deref()).collect();
        let sql = if wakes { &START_ALL } else { &START_QUIETLY };
        self.query(sql, &[&process_type, &inputs, &ids, &options.start_at, &options.priority])
            .map_err(|error| blame_type(error, process_type))?
            .iter()
            .map(|row| get(row, "process_id", "a started process"))
            .collect()
    }

    /// Does `work`, which starts processes in parts, in one transaction: all of them or, upon an error, none. Beside what
    /// it has done stands the failure of the commit, if it has failed: after a lost connection, see
    /// [`Store::are_there`].
    ///
    /// # Errors
    /// Those of `work`, or the transaction can't be begun.
    pub fn start_in_parts<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<(T, Option<StoreError>), E> {
        self.up_to_commit(START_ALL.action, Some(LOCK_WAIT_MAX), work)
    }

    /// Why some of `count` could not be started within the time that others' locks are waited for.
    ///
    /// # Errors
    /// When the database fails.
    pub fn start_locked(&mut self, count: usize) -> Result<StoreError, StoreError> {
        self.locked(Lockable::Starts(count))
    }

    /// Whether there is a process of each of these ids. `lost` is the server's side of a connection that broke while they
    /// were started: it is ended first, because only then it is settled what it has done.
    ///
    /// # Errors
    /// When the database fails, or the server's side does not end.
    pub fn are_there(&mut self, ids: &[String], lost: Option<&Backend>) -> Result<bool, StoreError> {
        if let Some(lost) = lost {
            self.end_backend(lost)?;
        }
        for ids in ids.chunks(IDS_MAX) {
            let row = self.query_one(&ARE_THERE, &[&ids], "whether processes are there")?;
            if !get::<bool>(&row, "are_there", "processes")? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What somebody else may be starting at the same time.
fn lockable(requests: &[StartRequest]) -> Lockable<'_> {
    match requests {
        [StartRequest { process_id: Some(id), .. }] => Lockable::Process(id),
        _ => Lockable::Starts(requests.len()),
    }
}

/// Names the process type if it is one whose tasks, as they lie in the table, no program of ours has written: the
/// database then speaks of values and types only.
fn blame_type(error: StoreError, process_type: &str) -> StoreError {
    let StoreError::Database { source, .. } = &error else { return error };
    let Some(answer) = source.as_db_error() else { return error };
    let is_of_tasks = [
        &SqlState::INVALID_PARAMETER_VALUE,
        &SqlState::INVALID_TEXT_REPRESENTATION,
        &SqlState::NOT_NULL_VIOLATION,
    ];
    if !is_of_tasks.contains(&answer.code()) {
        return error;
    }
    unreadable(
        &format!("process type \"{process_type}\""),
        format!("its tasks are unusable: {}; register it again", answer.message()),
    )
}

/// The schema's functions check ids too. Here a message can say what is wrong, and an id that cannot even be sent
/// (with a NUL) is refused like the others.
fn check_id(id: &str) -> Result<(), StoreError> {
    match process_id_problem(id) {
        None => Ok(()),
        Some(problem) => Err(StoreError::Refused(Refusal {
            reason: RefusalReason::InvalidProcessId,
            message: format!("the process id {problem}"),
            remedy: PROCESS_ID_REMEDY.to_owned(),
        })),
    }
}
