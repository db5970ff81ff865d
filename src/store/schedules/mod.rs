//! Schedules: what is due, firing it, and what people ask of them. Which times a schedule has is the model's.

mod firing;
mod records;

pub use firing::{DueSchedule, Fired};
pub use records::{ScheduleData, ScheduleFiring, ScheduleSummary};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::row::{get, listed};
use super::{Sql, Store, StoreError};
use crate::model::explain::ScheduleFacts;
use crate::model::schedule::definition::Schedule;
use crate::model::schedule::plan::process_id;
use crate::store::row::Listed;

const LIST: Sql = Sql::new("read the schedules", include_str!("../../../sql/schedules/list.sql"));
const FIRINGS: Sql =
    Sql::new("read what a schedule has fired", include_str!("../../../sql/schedules/firings.sql"));
const FIRING_OF: Sql =
    Sql::new("see what a schedule has started", include_str!("../../../sql/schedules/firing_of.sql"));
const SUMMARY: Sql = Sql::new("sum up the schedules", include_str!("../../../sql/schedules/summary.sql"));
const ADD: Sql = Sql::new("add a schedule", "SELECT add_schedule($1, $2) AS change");
const OF_TYPE: Sql = Sql::new("register a process type's schedules", "SELECT set_type_schedules($1, $2, $3)");
const REMOVE: Sql = Sql::new("remove a schedule", "SELECT remove_schedule($1)");
const PAUSE: Sql = Sql::new("pause a schedule", "SELECT pause_schedule($1, $2, $3) AS is_changed");
const RESUME: Sql = Sql::new("resume a schedule", "SELECT resume_schedule($1) AS is_changed");
const RUN_NOW: Sql = Sql::new("start a schedule's process", "SELECT run_schedule_now($1) AS process_id");
const BACKFILL: Sql =
    Sql::new("start a schedule's past processes", "SELECT backfill_schedule($1, $2, $3, $4) AS started");
const NAMES: Sql = Sql::new(
    "complete names of schedules",
    "SELECT name, process_type FROM schedules WHERE starts_with(name, $1) ORDER BY name LIMIT $2",
);
const NOW: Sql = Sql::new("ask for the time", "SELECT clock_timestamp() AS now");

/// What adding a schedule has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It was not there.
    New,
    /// It was there, with other settings.
    Changed,
    /// It was there as it is.
    Unchanged,
}

impl Added {
    /// As a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "added",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
        }
    }
}

impl Store {
    /// Adds a schedule, or gives one that is there by that name what this one says; `by` says who does it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the process type is unknown, the input lacks a variable, or the schedule stands in a process
    /// type's document; otherwise when the database fails.
    pub fn add_schedule(&mut self, schedule: &Schedule, by: Option<&str>) -> Result<Added, StoreError> {
        let row = self.query_one(&ADD, &[&schedule.to_value(), &by], "a schedule")?;
        Ok(match get(&row, "change", "a schedule")? {
            "added" => Added::New,
            "unchanged" => Added::Unchanged,
            _ => Added::Changed,
        })
    }

    /// Registers the schedules of a process type's document; those of it that no longer stand there go.
    pub(super) fn set_type_schedules(
        &mut self,
        process_type: &str,
        schedules: &[Schedule],
        by: Option<&str>,
    ) -> Result<(), StoreError> {
        let documents = Value::Array(schedules.iter().map(Schedule::to_value).collect());
        self.query(&OF_TYPE, &[&process_type, &documents, &by]).map(drop)
    }

    /// Removes a schedule and what is known of its times; its processes stay.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is none of that name or it stands in a process type's document; otherwise when the
    /// database fails.
    pub fn remove_schedule(&mut self, name: &str) -> Result<(), StoreError> {
        self.query(&REMOVE, &[&name]).map(drop)
    }

    /// Holds a schedule back; `false` when it was paused already.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is none of that name; otherwise when the database fails.
    pub fn pause_schedule(
        &mut self,
        name: &str,
        reason: Option<&str>,
        by: Option<&str>,
    ) -> Result<bool, StoreError> {
        get(&self.query_one(&PAUSE, &[&name, &reason, &by], "a schedule")?, "is_changed", "a schedule")
    }

    /// Lets a schedule go on, from its next time; `false` when it was not paused.
    ///
    /// # Errors
    /// As [`Store::pause_schedule`].
    pub fn resume_schedule(&mut self, name: &str) -> Result<bool, StoreError> {
        get(&self.query_one(&RESUME, &[&name], "a schedule")?, "is_changed", "a schedule")
    }

    /// Starts a process of a schedule now, and gives its id.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is none of that name, or it can't be started; otherwise when the database fails.
    pub fn run_schedule_now(&mut self, name: &str) -> Result<String, StoreError> {
        get(&self.query_one(&RUN_NOW, &[&name], "a schedule")?, "process_id", "a schedule")
    }

    /// Starts a schedule's processes of `times`, in order, as a batch of which `at_most` run at once: all of them or, upon an
    /// error, none. Those of times that have a process are passed over. Gives how many are new.
    ///
    /// # Errors
    /// As [`Store::run_schedule_now`].
    pub fn backfill_schedule(
        &mut self,
        schedule: &Schedule,
        times: &[Timestamp],
        batch: &str,
        at_most: u32,
    ) -> Result<u64, StoreError> {
        let rule = schedule.rule();
        let mut previous = times.first().and_then(|first| rule.as_ref()?.before(*first));
        let firings: Vec<Value> = times
            .iter()
            .map(|&at| {
                let before = previous.replace(at).unwrap_or(at);
                json!({ "at": at, "id": process_id(&schedule.name, at),
                    "input": firing::input_of(schedule, at, before).to_value() })
            })
            .collect();
        let at_most = i32::try_from(at_most).unwrap_or(i32::MAX);
        let row = self.query_one(
            &BACKFILL,
            &[&schedule.name, &Value::Array(firings), &batch, &at_most],
            "a backfill",
        )?;
        Ok(get::<i64>(&row, "started", "a backfill")?.unsigned_abs())
    }

    /// A page of the schedules, by name: those after `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn schedules(&mut self, after: Option<&str>, limit: u32) -> Result<Listed<ScheduleData>, StoreError> {
        let rows = self.query(&LIST, &[&after, &i64::from(limit), &None::<&str>, &true])?;
        Ok(listed(&rows, records::read))
    }

    /// The same without their inputs, which may be large.
    ///
    /// # Errors
    /// As [`Store::schedules`].
    pub fn schedules_without_input(
        &mut self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Listed<ScheduleData>, StoreError> {
        let rows = self.query(&LIST, &[&after, &i64::from(limit), &None::<&str>, &false])?;
        Ok(listed(&rows, records::read))
    }

    /// One schedule.
    ///
    /// # Errors
    /// When the database fails or the row can't be read.
    pub fn schedule(&mut self, name: &str) -> Result<Option<ScheduleData>, StoreError> {
        let rows = self.query(&LIST, &[&None::<&str>, &1_i64, &name, &true])?;
        rows.first().map(records::read).transpose()
    }

    /// What became of the last times of a schedule, the latest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn schedule_firings(&mut self, name: &str, limit: u32) -> Result<Vec<ScheduleFiring>, StoreError> {
        let rows = self.query(&FIRINGS, &[&name, &i64::from(limit)])?;
        rows.iter().map(records::read_firing).collect()
    }

    /// The schedule that has started a process, while that is remembered.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) fn schedule_of(&mut self, process_id: &str) -> Result<Option<ScheduleFacts>, StoreError> {
        let Some((name, _)) = process_id.split_once('@') else { return Ok(None) };
        let row = self.query_opt(&FIRING_OF, &[&name, &process_id])?;
        let read = |row: &postgres::Row| {
            let firing = records::read_firing(row)?;
            Ok(ScheduleFacts {
                name: name.to_owned(),
                scheduled_at: firing.scheduled_at,
                lateness_ms: firing.lateness_ms,
                reason: firing.reason,
            })
        };
        row.as_ref().map(read).transpose()
    }

    /// What there is of schedules, in sums.
    ///
    /// # Errors
    /// When the database fails.
    pub fn schedule_summary(&mut self) -> Result<ScheduleSummary, StoreError> {
        records::read_summary(&self.query_one(&SUMMARY, &[], "the schedules")?)
    }

    /// Names that begin so, each with its process type.
    ///
    /// # Errors
    /// When the database fails.
    pub fn schedule_names(&mut self, start: &str, limit: u32) -> Result<Vec<(String, String)>, StoreError> {
        let rows = self.query(&NAMES, &[&start, &i64::from(limit)])?;
        rows.iter()
            .map(|row| Ok((get(row, "name", "a schedule")?, get(row, "process_type", "a schedule")?)))
            .collect()
    }

    /// The time by the clock of the database.
    ///
    /// # Errors
    /// When the database fails.
    pub fn database_time(&mut self) -> Result<Timestamp, StoreError> {
        get(&self.query_one(&NOW, &[], "the time")?, "now", "the time")
    }
}
