//! What a piece of work has cost: processor time, write-ahead log, rows.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::error::BenchError;
use super::lines::Lines;
use super::quantile::median;
use super::stage::Stage;
use crate::platform::{children_of, process_times};
use crate::store::Store;
use crate::store::bench::Writes;

/// Readings of a server of which processes end all the time.
const READINGS_MAX: u32 = 20;
/// Sessions tell what they have written when they end, which takes them a moment.
const SETTLE_MAX: Duration = Duration::from_secs(3);
const SETTLE_LOOK: Duration = Duration::from_millis(20);

/// The cost of work, by the task. Times are processor seconds per 1,000 tasks, absent where the system or the server
/// does not show them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Of the node's own threads.
    pub node_cpu_s: Option<f64>,
    /// Of the commands, their spawning included.
    pub commands_cpu_s: Option<f64>,
    /// Of all processes of the server.
    pub postgresql_cpu_s: Option<f64>,
    /// Bytes of write-ahead log, images of whole pages after a checkpoint included.
    pub wal_bytes: Option<f64>,
    /// Rows inserted.
    pub rows_inserted: Option<f64>,
    /// Rows updated.
    pub rows_updated: Option<f64>,
    /// Rows deleted.
    pub rows_deleted: Option<f64>,
    /// The share of the updates that touched no index.
    pub hot_share: Option<f64>,
}

/// Reads the meters; what it reads itself is the smallest part of what it measures.
pub struct Meter {
    store: Store,
    postmaster: Option<u32>,
    /// The process that holds the node.
    node: u32,
}

/// The meters at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    node: Option<f64>,
    commands: Option<f64>,
    postgresql: Option<f64>,
    wal: f64,
}

/// Our own processor seconds and those of the commands that have ended.
pub fn own_times() -> (Option<f64>, Option<f64>) {
    times_of(std::process::id())
}

fn times_of(pid: u32) -> (Option<f64>, Option<f64>) {
    let times = process_times(pid);
    (times.as_ref().map(|it| it.cpu_seconds), times.map(|it| it.reaped_cpu_seconds))
}

impl Meter {
    /// For a node in this process; with a connection of its own.
    pub fn new(stage: &Stage<'_>, schema: &str) -> Result<Self, BenchError> {
        Self::of(stage, schema, std::process::id())
    }

    /// The same for a node that is the process `node`.
    pub fn of(stage: &Stage<'_>, schema: &str, node: u32) -> Result<Self, BenchError> {
        let store = stage.store(schema)?;
        // A process of that id may be another one where the server runs elsewhere.
        let is_server = |name: &str| name.starts_with("postgres") || name.starts_with("postmaster");
        let backend = store.backend_pid().and_then(process_times).filter(|it| is_server(&it.name));
        let postmaster = backend.map(|it| it.parent);
        let postmaster = postmaster.filter(|&pid| process_times(pid).is_some_and(|it| is_server(&it.name)));
        Ok(Self { store, postmaster, node })
    }

    /// Now.
    pub fn read(&mut self) -> Result<Reading, BenchError> {
        let (node, commands) = times_of(self.node);
        Ok(Reading { node, commands, postgresql: self.server_seconds(), wal: self.store.wal_bytes()? })
    }

    /// Processor seconds of the whole server: its processes' own, and what its first one has counted of those that
    /// have ended. That way none is lost; one that ends meanwhile would be counted twice, and has them read again.
    pub fn server_seconds(&self) -> Option<f64> {
        let postmaster = self.postmaster?;
        let mut first = process_times(postmaster)?;
        for _ in 0..READINGS_MAX {
            let running = children_of(postmaster).into_iter().filter_map(process_times);
            let running: f64 = running.map(|it| it.cpu_seconds + it.reaped_cpu_seconds).sum();
            let before = std::mem::replace(&mut first, process_times(postmaster)?);
            if before.reaped_cpu_seconds >= first.reaped_cpu_seconds {
                return Some(running + first.cpu_seconds + first.reaped_cpu_seconds);
            }
        }
        None
    }

    /// The rows written in the schema, once `is_all` of them are told of and no more come.
    pub fn writes(&mut self, is_all: impl Fn(&Writes) -> bool) -> Result<Writes, BenchError> {
        let began = Instant::now();
        let mut last = self.store.writes()?;
        loop {
            std::thread::park_timeout(SETTLE_LOOK);
            let now = self.store.writes()?;
            if now == last && is_all(&now) || began.elapsed() > SETTLE_MAX {
                return Ok(now);
            }
            last = now;
        }
    }

    /// The connection, for what else is asked after the run.
    pub fn store(&mut self) -> &mut Store {
        &mut self.store
    }
}

impl Reading {
    /// The cost of what happened since `earlier`; of the rows, where all were told of.
    pub fn since(&self, earlier: &Self, rows: Option<(Writes, Writes)>, tasks: u64) -> Cost {
        let each = |now: Option<f64>, then: Option<f64>| Some((now? - then?) * 1000.0 / tasks as f64);
        let row = |count: fn(&Writes) -> i64| {
            rows.map(|(then, now)| (count(&now) - count(&then)) as f64 / tasks as f64)
        };
        let updated = row(|it| it.updated);
        Cost {
            node_cpu_s: each(self.node, earlier.node),
            commands_cpu_s: each(self.commands, earlier.commands),
            postgresql_cpu_s: each(self.postgresql, earlier.postgresql),
            wal_bytes: Some((self.wal - earlier.wal) / tasks as f64),
            rows_inserted: row(|it| it.inserted),
            rows_updated: updated,
            rows_deleted: row(|it| it.deleted),
            hot_share: updated.filter(|it| *it > 0.0).and_then(|it| Some(row(|it| it.hot)? / it)),
        }
    }
}

impl Cost {
    /// Each figure's median.
    pub fn median<'a>(costs: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let of = |figure: fn(&Self) -> Option<f64>| median(costs.clone().map(figure));
        Self {
            node_cpu_s: of(|it| it.node_cpu_s),
            commands_cpu_s: of(|it| it.commands_cpu_s),
            postgresql_cpu_s: of(|it| it.postgresql_cpu_s),
            wal_bytes: of(|it| it.wal_bytes),
            rows_inserted: of(|it| it.rows_inserted),
            rows_updated: of(|it| it.rows_updated),
            rows_deleted: of(|it| it.rows_deleted),
            hot_share: of(|it| it.hot_share),
        }
    }

    /// For people.
    pub fn show(&self, what: &str, lines: &mut Lines) {
        let figures = [
            ("node", self.node_cpu_s),
            ("commands", self.commands_cpu_s),
            ("PostgreSQL", self.postgresql_cpu_s),
        ];
        let times: Vec<String> =
            figures.iter().filter_map(|(name, it)| it.map(|it| format!("{name} {it:.3}"))).collect();
        if !times.is_empty() {
            lines.add(&format!("{what}, CPU s per 1,000 tasks"), times.join(", "));
        }
        let Some(wal) = self.wal_bytes else { return };
        let mut written = format!("{wal:.0} bytes of WAL");
        if let (Some(inserted), Some(updated), Some(deleted)) =
            (self.rows_inserted, self.rows_updated, self.rows_deleted)
        {
            written.push_str(&format!(
                ", rows: {inserted:.2} inserted, {updated:.2} updated, {deleted:.2} deleted"
            ));
        }
        if let Some(hot) = self.hot_share {
            written.push_str(&format!(" ({:.0} % heap-only)", hot * 100.0));
        }
        lines.add(&format!("{what}, written per task"), written);
    }
}
