//! Batches as they are shown.

use std::collections::BTreeMap;

use postgres::Row;
use serde_json::Value;

use super::control::state;
use crate::model::batch::data::{BatchData, BatchState, Counts};
use crate::model::batch::pace::Tick;
use crate::model::batch::reason::{FailureGroup, reason_of};
use crate::model::explain::BatchFacts;
use crate::store::row::{get, time};
use crate::store::{Sql, Store, StoreError};

const BATCHES: Sql = Sql::new("list batches", include_str!("../../../sql/batches/batches.sql"));
const REASONS: Sql =
    Sql::new("see why processes of a batch have failed", include_str!("../../../sql/batches/reasons.sql"));
const HELD: Sql = Sql::new(
    "see whether a process's batch is held",
    "SELECT b.name, b.state, b.reason, b.held_at FROM processes p JOIN batches b ON b.name = p.batch \
     WHERE p.process_id = $1 AND b.state IN ('PAUSED', 'HALTED')",
);
const TALLY: Sql = Sql::new(
    "count batches",
    "SELECT state, count(*) AS how_many, sum(not_started)::bigint AS not_started, sum(in_progress)::bigint AS in_progress, \
     sum(completed)::bigint AS completed, sum(failed)::bigint AS failed, sum(cancelled)::bigint AS cancelled, \
     coalesce(max(extract(epoch FROM now() - held_at)), 0)::float8 AS held_s FROM batches GROUP BY state",
);
const NAMES_LIKE: Sql = Sql::new(
    "list batches",
    "SELECT name, state FROM batches WHERE starts_with(name, $1) ORDER BY created_at DESC, name DESC LIMIT $2",
);
const NAMES: Sql =
    Sql::new("list batches", "SELECT name FROM batches ORDER BY created_at DESC, name DESC LIMIT $1");

/// Which batches a list is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchFilter {
    /// Of these states; none: of all.
    pub states: Vec<BatchState>,
    /// Behind the one of this name: the last one of the page before.
    pub after: Option<String>,
    /// How many at the most.
    pub limit: u32,
}

/// How many batches there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchTally {
    /// By state.
    pub states: BTreeMap<BatchState, u64>,
    /// Processes of batches that have not ended, as far as they were added up.
    pub open: Counts,
    /// Seconds since the one that is held longest was paused or halted; 0 where none is.
    pub longest_held_s: u64,
}

/// Some of the batches, the newest first. Their failures are not told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchPage {
    /// The batches.
    pub batches: Vec<BatchData>,
    /// What the next page is behind; `None`: this is the last one.
    pub next: Option<String>,
}

impl Store {
    /// One batch, with its failures by reason; `None` if there is none of this name. Its processes are not counted: of a hundred
    /// thousand it takes no longer than of ten.
    ///
    /// # Errors
    /// When the database fails.
    pub fn batch(&mut self, name: &str) -> Result<Option<BatchData>, StoreError> {
        let rows = self.query(&BATCHES, &[&name, &None::<Vec<String>>, &None::<String>, &1_i64])?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut batch = read(row)?;
        if batch.counts.failed > 0 {
            batch.failures = self.batch_failures(name)?;
        }
        Ok(Some(batch))
    }

    /// A page of the batches, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn batches(&mut self, filter: &BatchFilter) -> Result<BatchPage, StoreError> {
        let states: Vec<&str> = filter.states.iter().map(|it| it.as_str()).collect();
        let states = (!states.is_empty()).then_some(states);
        let most = i64::from(filter.limit) + 1;
        let rows = self.query(&BATCHES, &[&None::<String>, &states, &filter.after, &most])?;
        let mut batches = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let is_last = batches.len() <= filter.limit as usize;
        batches.truncate(filter.limit as usize);
        let next = batches.last().filter(|_| !is_last).map(|it| it.name.clone());
        Ok(BatchPage { batches, next })
    }

    /// Names of batches that begin so, the newest first, each with its state.
    ///
    /// # Errors
    /// When the database fails.
    pub fn batch_names_like(&mut self, begin: &str, limit: u32) -> Result<Vec<(String, String)>, StoreError> {
        let rows = self.query(&NAMES_LIKE, &[&begin, &i64::from(limit)])?;
        rows.iter().map(|row| Ok((get(row, "name", "a batch")?, get(row, "state", "a batch")?))).collect()
    }

    /// The batch of a process, if it is paused or halted.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::store) fn held_batch(
        &mut self,
        process_id: &str,
    ) -> Result<Option<BatchFacts>, StoreError> {
        let read = |row: &Row| {
            let batch: String = get(row, "name", "a batch")?;
            let state = state(&get::<String>(row, "state", "a batch")?, &batch)?;
            Ok(BatchFacts {
                batch,
                state,
                message: get(row, "reason", "a batch")?,
                since: get(row, "held_at", "a batch")?,
            })
        };
        self.query_opt(&HELD, &[&process_id])?.as_ref().map(read).transpose()
    }

    /// How many batches are in each state.
    ///
    /// # Errors
    /// When the database fails.
    pub fn batch_tally(&mut self) -> Result<BatchTally, StoreError> {
        const WHAT: &str = "batches";
        let mut tally = BatchTally::default();
        tally.states.extend(BatchState::ALL.map(|it| (it, 0)));
        for row in self.query(&TALLY, &[])? {
            let state = state(&get::<String>(&row, "state", WHAT)?, WHAT)?;
            tally.states.insert(state, get::<i64>(&row, "how_many", WHAT)?.unsigned_abs());
            let held: f64 = get(&row, "held_s", WHAT)?;
            tally.longest_held_s = tally.longest_held_s.max(held.max(0.0) as u64);
            if !state.is_final() {
                let counts = counts(&row, WHAT)?;
                tally.open.not_started += counts.not_started;
                tally.open.in_progress += counts.in_progress;
                tally.open.completed += counts.completed;
                tally.open.failed += counts.failed;
                tally.open.cancelled += counts.cancelled;
            }
        }
        Ok(tally)
    }

    /// Names of batches, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn batch_names(&mut self, limit: u32) -> Result<Vec<String>, StoreError> {
        self.query_column(&NAMES, &[&i64::from(limit)], "name", "a batch")
    }

    fn batch_failures(&mut self, name: &str) -> Result<Vec<FailureGroup>, StoreError> {
        const WHAT: &str = "a failure of a batch";
        let mut groups: BTreeMap<String, (i64, String, String)> = BTreeMap::new();
        for row in self.query(&REASONS, &[&name])? {
            let example: String = get(&row, "example", WHAT)?;
            let reason = get::<Option<String>>(&row, "reason", WHAT)?.unwrap_or_else(|| reason_of(&example));
            let group = groups.entry(reason).or_default();
            group.0 += get::<i64>(&row, "how_many", WHAT)?;
            if group.1.is_empty() {
                (group.1, group.2) = (get(&row, "example_id", WHAT)?, example);
            }
        }
        let mut failures: Vec<FailureGroup> = groups
            .into_iter()
            .filter_map(|(reason, (count, example_id, example))| {
                let count = u64::try_from(count).ok().filter(|it| *it > 0)?;
                Some(FailureGroup { reason, count, example_id, example })
            })
            .collect();
        failures.sort_by_key(|it| std::cmp::Reverse(it.count));
        Ok(failures)
    }
}

pub(super) fn counts(row: &Row, what: &str) -> Result<Counts, StoreError> {
    // Below zero only where somebody has written by hand.
    let count = |column| get::<i64>(row, column, what).map(|it| u64::try_from(it).unwrap_or_default());
    Ok(Counts {
        not_started: count("not_started")?,
        in_progress: count("in_progress")?,
        completed: count("completed")?,
        failed: count("failed")?,
        cancelled: count("cancelled")?,
    })
}

fn read(row: &Row) -> Result<BatchData, StoreError> {
    let name: String = get(row, "name", "a batch")?;
    let what = format!("batch {name:?}");
    let counts = counts(row, &what)?;
    let announced: Option<i64> = get(row, "announced", &what)?;
    let word: String = get(row, "state", &what)?;
    let ticks: Value = get(row, "ticks", &what)?;
    let cancel: Option<String> = get(row, "cancel_reason", &what)?;
    let mut batch = BatchData {
        process_type: get(row, "process_type", &what)?,
        state: state(&word, &name)?,
        reason: get::<Option<String>>(row, "reason", &what)?.or(cancel),
        total: counts.total().max(announced.unwrap_or_default().unsigned_abs()),
        counts,
        ended: counts.ended(),
        rate_per_s: None,
        eta_s: None,
        halt: get(row, "halt", &what)?,
        max: get::<Option<i32>>(row, "max", &what)?.map(i32::unsigned_abs),
        then_type: get(row, "then_type", &what)?,
        then_id: get(row, "then_id", &what)?,
        then_problem: get(row, "then_problem", &what)?,
        created_at: time(row, "created_at", &what)?,
        held_at: get(row, "held_at", &what)?,
        ended_at: get(row, "ended_at", &what)?,
        failures: Vec::new(),
        name,
    };
    let ticks: Vec<Tick> = serde_json::from_value(ticks).unwrap_or_default();
    batch.set_pace(&ticks, get(row, "now_s", &what)?);
    Ok(batch)
}
