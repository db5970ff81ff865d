//! Firing what is due: one transaction looks, plans, starts and moves on.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use postgres::Row;
use serde_json::{Map, Value, json};

use crate::failpoint::{self, Point};
use crate::model::input::ProcessInputData;
use crate::model::schedule::definition::Schedule;
use crate::model::schedule::plan::{due_at, plan, process_id};
use crate::store::row::{get, seconds};
use crate::store::{Sql, Store, StoreError};

const DUE: Sql = Sql::new("see which schedules are due", include_str!("../../../sql/schedules/due.sql"));
const FIRE: Sql = Sql::new("fire schedules", include_str!("../../../sql/schedules/fire.sql"));
const WAIT: Sql = Sql::new("see when a schedule is due", include_str!("../../../sql/schedules/wait.sql"));
/// How long a round waits for somebody's lock: what is locked stays due.
const LOCK_WAIT: Duration = Duration::from_secs(3);
/// How long a round plans: the server ends a transaction that stands still for five seconds (due.sql). After an outage each
/// schedule may have missed many thousand times.
const PLANNING_MAX: Duration = Duration::from_secs(1);
/// How much the plans of a round may start: each process has the input of its own.
const PLANS_BYTES: usize = 16 * 1024 * 1024;

/// A schedule that is due, or whose next time is to be computed.
#[derive(Debug, Clone, PartialEq)]
pub struct DueSchedule {
    name: String,
    revision: i64,
    document: String,
    next_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    counts_from: Timestamp,
    now: Timestamp,
}

/// What has become of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// Its name.
    pub name: String,
    /// Processes that were started.
    pub fired: u64,
    /// Times that were skipped because the process before has not ended.
    pub overlapped: u64,
    /// Why it could not be started; it keeps its time.
    pub problem: Option<String>,
}

impl Store {
    /// Fires what is due, at most `at_most` schedules, and moves these on. Gives what has become of each; as many as were asked
    /// for means that more may be due.
    ///
    /// # Errors
    /// When the database fails: nothing has been done then.
    pub fn fire_due_schedules(&mut self, at_most: u32) -> Result<Vec<Fired>, StoreError> {
        let fired = self.in_bounded_transaction(FIRE.action, LOCK_WAIT, |store| {
            let rows = store.query(&DUE, &[&i64::from(at_most)])?;
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let due = rows.iter().map(read_due).collect::<Result<Vec<_>, _>>()?;
            // The first at least; what is not planned in time is due still, and the next round's.
            let (begun, mut bytes) = (Instant::now(), 0);
            let in_time = |due: &DueSchedule| {
                let is_in_time = bytes < PLANS_BYTES && begun.elapsed() < PLANNING_MAX;
                let plan = is_in_time.then(|| planned(due));
                bytes += plan.as_ref().map_or(0, |plan| firings_of(plan) * due.document.len());
                plan
            };
            let plans: Vec<Value> = due.iter().map_while(in_time).collect();
            let rows = store.query(&FIRE, &[&Value::Array(plans)])?;
            failpoint::hit(Point::Firing);
            rows.iter().map(read_fired).collect()
        })?;
        if !fired.is_empty() {
            failpoint::hit(Point::Fired);
        }
        Ok(fired)
    }

    /// How long until the next schedule is due by the clock of the database; `None` where none is.
    ///
    /// # Errors
    /// When the database fails.
    pub fn next_schedule_in(&mut self) -> Result<Option<Duration>, StoreError> {
        let row = self.query_one(&WAIT, &[], "the schedules")?;
        Ok(get::<Option<f64>>(&row, "seconds", "the schedules")?.map(seconds))
    }
}

/// How many processes a plan starts.
fn firings_of(plan: &Value) -> usize {
    plan["firings"].as_array().map_or(0, Vec::len)
}

/// What a process of a schedule works on.
pub(super) fn input_of(schedule: &Schedule, at: Timestamp, previous: Timestamp) -> ProcessInputData {
    ProcessInputData {
        scheduled_at: Some(at.to_string()),
        previous_scheduled_at: Some(previous.to_string()),
        ..schedule.input.clone()
    }
}

/// The plan as `fire_schedules` takes it.
fn planned(due: &DueSchedule) -> Value {
    let mut document = Map::new();
    let mut put = |key: &str, value: Value| document.insert(key.to_owned(), value);
    put("name", json!(due.name));
    put("revision", json!(due.revision));
    put("expected", json!(due.next_at));
    put("firings", json!([]));
    let source = format!("schedule {:?}", due.name);
    let rule = match Schedule::from_json(&due.document, &source) {
        Ok(schedule) => schedule.rule().map(|rule| (schedule, rule)),
        Err(faults) => {
            put("problem", json!(faults.to_string().replace('\n', "; ")));
            None
        }
    };
    let Some((schedule, rule)) = rule else { return Value::Object(document) };
    // One that is new may have been added before this node was there: its times since then are due like any others.
    let Some(next) = due.next_at.or_else(|| rule.after(due.counts_from)) else {
        return Value::Object(document);
    };
    let plan = plan(&schedule, &rule, next, due.last_at, due.now);
    let firings: Vec<Value> = plan
        .firings
        .iter()
        .map(|firing| {
            json!({
                "at": firing.at,
                "due": due_at(&schedule, &rule, firing.at),
                "id": process_id(&schedule.name, firing.at),
                "input": input_of(&schedule, firing.at, firing.previous).to_value(),
                "made_up": firing.is_made_up,
            })
        })
        .collect();
    put("firings", Value::Array(firings));
    put("missed", json!(plan.missed));
    put("missed_until", json!(plan.missed_until));
    put("next_at", json!(plan.next));
    put("due_at", json!(plan.next.map(|next| due_at(&schedule, &rule, next))));
    Value::Object(document)
}

fn read_due(row: &Row) -> Result<DueSchedule, StoreError> {
    let what = "a schedule that is due";
    Ok(DueSchedule {
        name: get(row, "name", what)?,
        revision: get(row, "revision", what)?,
        document: get(row, "document", what)?,
        next_at: get(row, "next_at", what)?,
        last_at: get(row, "last_at", what)?,
        counts_from: get(row, "counts_from", what)?,
        now: get(row, "now", what)?,
    })
}

fn read_fired(row: &Row) -> Result<Fired, StoreError> {
    let what = "a schedule that was due";
    Ok(Fired {
        name: get(row, "name", what)?,
        fired: get::<i64>(row, "fired", what)?.unsigned_abs(),
        overlapped: get::<i64>(row, "overlapped", what)?.unsigned_abs(),
        problem: get(row, "problem", what)?,
    })
}
