//! What it costs to forget half of a long history by hand, and the rest by retention, beside a node that works.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use serde::Serialize;

use crate::bench::child::own_program;
use crate::bench::error::{BenchError, STALL};
use crate::bench::feeder::while_fed;
use crate::bench::lines::Lines;
use crate::bench::stage::{Played, Stage, TYPE};
use crate::engine::Retention;
use crate::engine::retention::policy::{Ages, Policy};
use crate::store::Store;
use crate::store::bench::Bytes;
use crate::store::prune::PruneFilter;

/// Executions before the time begins.
const WARM_UP: u64 = 500;
/// Half of the history is older.
const BY_HAND_AGE: Duration = Duration::from_secs(30 * 86_400);
/// All of the rest but the last hour is older, and nothing that the node runs meanwhile.
const RETENTION_AGE: Duration = Duration::from_secs(3600);
/// How often it is looked whether anything that is old is left: a page of an index.
const LOOK: Duration = Duration::from_millis(100);

/// What a part of the history has cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Part {
    /// Processes that went.
    pub processes: u64,
    /// How long that took.
    pub seconds: f64,
    /// Bytes of the log for each, without what the node's executions take: as much as before or afterwards, whichever is less,
    /// since the first changes after a checkpoint write whole pages.
    pub wal_bytes_per_process: f64,
    /// Bytes of the log in all.
    pub wal_bytes: f64,
    /// Executions that the node recorded meanwhile.
    pub executions: u64,
    /// Tasks a second beside it.
    pub rate: f64,
    /// That over the rate before.
    pub ratio: f64,
    /// What lies on the disk at its end.
    pub bytes: Bytes,
}

/// The parts, and what was before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Processes that had ended.
    pub finished: u32,
    /// Seconds that filling the schema took.
    pub fill_seconds: f64,
    /// Commands at once; its tasks run nothing with --noop.
    pub executors: usize,
    /// Tasks a second before anything was forgotten.
    pub rate_before: f64,
    /// What lay on the disk then.
    pub bytes_before: Bytes,
    /// `prune --older-than 30d`
    pub by_hand: Part,
    /// `serve --retention 1h`
    pub by_retention: Part,
    /// Tasks a second afterwards.
    pub rate_after: f64,
    /// That over the rate before.
    pub ratio_after: f64,
}

/// A moment of the run.
struct Mark {
    at: Instant,
    executions: u64,
    wal: f64,
}

impl Mark {
    fn now(store: &mut Store, played: &Played) -> Result<Self, BenchError> {
        let wal = store.wal_bytes()?;
        Ok(Self { at: Instant::now(), executions: played.node.health().executions(), wal })
    }

    fn seconds_to(&self, end: &Self) -> f64 {
        (end.at - self.at).as_secs_f64()
    }

    fn wal_of_execution(&self, end: &Self) -> f64 {
        (end.wal - self.wal) / (end.executions - self.executions).max(1) as f64
    }

    fn rate_to(&self, end: &Self) -> f64 {
        (end.executions - self.executions) as f64 / self.seconds_to(end)
    }
}

/// Fills a schema and forgets it; `window` is how long the rates before and after are taken.
pub fn run(stage: &Stage<'_>, finished: u32, window: Duration) -> Result<Report, BenchError> {
    stage.in_schema("forget", |schema| {
        eprintln!("filling {schema}");
        let began = Instant::now();
        stage.register(schema, TYPE, stage.args.tasks, &stage.args.command)?;
        let mut store = stage.store(schema)?;
        store.fill_forgettable(finished)?;
        let fill_seconds = began.elapsed().as_secs_f64();
        let bytes_before = store.bytes_on_disk()?;
        let played = stage.node(schema, stage.cast())?;
        let measured = while_fed(stage, schema, &played, WARM_UP, || {
            let begin = Mark::now(&mut store, &played)?;
            pause(window);
            let end = Mark::now(&mut store, &played)?;
            let (rate_before, wal_before) = (begin.rate_to(&end), begin.wal_of_execution(&end));
            let mut part = |what: &str, work: &mut dyn FnMut(&mut Store) -> Result<u64, BenchError>| {
                let begin = Mark::now(&mut store, &played)?;
                let processes = work(&mut store)?;
                let end = Mark::now(&mut store, &played)?;
                let (rate, seconds) = (begin.rate_to(&end), begin.seconds_to(&end));
                eprintln!("{what}: {processes} processes in {seconds:.1} s");
                Ok::<_, BenchError>(Part {
                    processes,
                    seconds,
                    wal_bytes_per_process: 0.0,
                    wal_bytes: end.wal - begin.wal,
                    executions: end.executions - begin.executions,
                    rate,
                    ratio: rate / rate_before,
                    bytes: store.bytes_on_disk()?,
                })
            };
            let by_hand = part("by hand", &mut |_| by_hand(stage, schema))?;
            let by_retention = part("by retention", &mut |store| by_retention(stage, schema, store))?;
            let begin = Mark::now(&mut store, &played)?;
            pause(window);
            let end = Mark::now(&mut store, &played)?;
            let wal = wal_before.min(begin.wal_of_execution(&end));
            Ok((rate_before, by_hand.beside(wal), by_retention.beside(wal), begin.rate_to(&end)))
        });
        played.node.stop();
        let ((rate_before, by_hand, by_retention, rate_after), _) = measured?;
        Ok(Report {
            finished,
            fill_seconds,
            executors: stage.args.executors(),
            rate_before,
            bytes_before,
            by_hand,
            by_retention,
            rate_after,
            ratio_after: rate_after / rate_before,
        })
    })
}

/// `park_timeout` may end early.
fn pause(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// As an operator does it.
fn by_hand(stage: &Stage<'_>, schema: &str) -> Result<u64, BenchError> {
    let age = format!("{}d", BY_HAND_AGE.as_secs() / 86_400);
    let mut command = own_program(stage, schema)?;
    command.args(["prune", "--older-than", &age, "--yes", "--json"]).stdin(Stdio::null());
    let output = command.output().map_err(|it| BenchError::system("run prune", &it))?;
    let document: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
    let processes = document.and_then(|it| it["processes"].as_u64()).filter(|_| output.status.success());
    processes.ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        BenchError::System(format!("prune has ended with {}; it has said: {said}", output.status))
    })
}

/// As `serve --retention` does it, on a thread and a connection of its own.
fn by_retention(stage: &Stage<'_>, schema: &str, store: &mut Store) -> Result<u64, BenchError> {
    let filter = PruneFilter { older_than: RETENTION_AGE, ..PruneFilter::default() };
    let processes = store.prunable(&filter)?.processes;
    let policy = Policy { processes: Ages::all(RETENTION_AGE), outputs: Ages::default() };
    let (report_failure, failed) = bounded(1);
    let source = std::sync::Arc::clone(stage.source);
    let retention = Retention::start(source, schema.to_owned(), policy, None, &report_failure)
        .map_err(|it| BenchError::system("start a thread", &it))?;
    let (mut left, mut last_change) = (store.finished_page(&filter, None)?.ids, Instant::now());
    while !left.is_empty() {
        std::thread::park_timeout(LOOK);
        if let Ok(problem) = failed.try_recv() {
            return Err(BenchError::System(problem));
        }
        let now = store.finished_page(&filter, None)?.ids;
        if now != left {
            (left, last_change) = (now, Instant::now());
        } else if last_change.elapsed() > STALL {
            return Err(BenchError::System("retention forgets nothing any more".to_owned()));
        }
    }
    retention.stop();
    Ok(processes)
}

impl Part {
    /// With its share of the log, where each execution of the node takes so many bytes.
    fn beside(self, wal_of_execution: f64) -> Self {
        let own = self.wal_bytes - self.executions as f64 * wal_of_execution;
        Self { wal_bytes_per_process: own.max(0.0) / self.processes.max(1) as f64, ..self }
    }

    fn shown(&self) -> String {
        format!(
            "{} processes in {:.1} s, {:.0} bytes of log for each; beside it {:.0} tasks/s (ratio {:.3}); then {}",
            self.processes,
            self.seconds,
            self.wal_bytes_per_process,
            self.rate,
            self.ratio,
            shown(self.bytes)
        )
    }
}

fn shown(bytes: Bytes) -> String {
    let mib = |bytes: i64| bytes as f64 / (1024.0 * 1024.0);
    format!("{:.1} MiB in tables, {:.1} MiB in the database", mib(bytes.tables), mib(bytes.database))
}

impl Report {
    /// For people.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
        let schema = format!(
            "{} finished processes of 3 tasks over 60 days, filled in {:.1} s; {}",
            self.finished,
            self.fill_seconds,
            shown(self.bytes_before)
        );
        lines.add("schema", schema);
        lines.add("before", format!("{:.0} tasks/s, {} executors", self.rate_before, self.executors));
        lines.add("prune --older-than 30d", self.by_hand.shown());
        lines.add("serve --retention 1h", self.by_retention.shown());
        lines.add("after", format!("{:.0} tasks/s (ratio {:.3})", self.rate_after, self.ratio_after));
        Vec::new()
    }
}
