//! Schedules: what they start, when, and what becomes of times that can't.
//!
//! Nobody waits for a clock: the tests move the times in the tables.

mod commands;
mod documents;
mod firing;
#[cfg(all(target_os = "linux", feature = "failpoints"))]
mod nodes;

use std::time::Duration;

use process_orchestrator::store::Store;
use process_orchestrator::{ProcessInputData, Schedule, Timing};

use crate::common::{TestDatabase, one_task};

/// A schema with a type of one task, `one-task`.
pub struct Stage {
    pub database: TestDatabase,
    pub store: Store,
}

impl Stage {
    pub fn new(test: &str) -> Self {
        Self::with(test, "true")
    }

    pub fn with(test: &str, command: &str) -> Self {
        let database = TestDatabase::new(test);
        let mut store = database.store();
        store.migrate(false).unwrap();
        database.register(&one_task(command));
        Self { database, store }
    }

    /// An hourly schedule, with what `change` does to it, that is at its next time.
    pub fn hourly(&mut self, name: &str, change: impl FnOnce(&mut Schedule)) {
        let mut schedule = Schedule::new(name, "one-task", Timing::Every(Duration::from_secs(3_600)));
        schedule.input = ProcessInputData::new().add_config("n", "1");
        change(&mut schedule);
        self.store.add_schedule(&schedule, None).unwrap();
        self.settle();
    }

    /// Fires until nothing is due.
    pub fn settle(&mut self) {
        while !self.store.fire_due_schedules(100).unwrap().is_empty() {}
    }

    /// Moves the next time of a schedule so many hours into the past, as if nobody had been there since.
    pub fn hours_ago(&mut self, name: &str, hours: i32) {
        let sql = "UPDATE schedules SET next_at = date_trunc('hour', now()) - make_interval(hours => $2) WHERE name = $1";
        assert_eq!(self.database.sql().execute(sql, &[&name, &hours]).unwrap(), 1);
    }

    /// Whole hours before this one, of the processes that a schedule has started.
    pub fn started(&self, name: &str) -> Vec<i32> {
        let sql = "SELECT (extract(epoch FROM date_trunc('hour', now()) - (input_data ->> 'scheduled_at')::timestamptz) / 3600)::int \
                   FROM processes WHERE starts_with(process_id, $1 || '@') ORDER BY process_id COLLATE \"C\"";
        self.database.sql().query(sql, &[&name]).unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// A column of a schedule's row, as text.
    pub fn column(&self, name: &str, column: &str) -> Option<String> {
        let sql = format!("SELECT ({column})::text FROM schedules WHERE name = $1");
        self.database.sql().query_one(&sql, &[&name]).unwrap().get(0)
    }
}
