//! How soon a process of higher priority begins on a node that has more than enough to do.

use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::bench::error::{BenchError, STALL};
use crate::bench::feeder::while_fed;
use crate::bench::lines::Lines;
use crate::bench::quantile::Quantiles;
use crate::bench::stage::{Cast, Played, Stage, TYPE, start_many};
use crate::store::Store;

/// Above that of the backlog.
const HIGH: i32 = 10;
/// How often it is looked whether the process has begun.
const BEGUN_LOOK: Duration = Duration::from_millis(5);
/// The most between two starts: they must not fall in step with the commands.
const PAUSE_MS_MAX: u64 = 40;

/// Milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Commands at once.
    pub executors: usize,
    /// The command of every task.
    pub command: String,
    /// From the committed start of a process of higher priority to its command's spawn, as recorded.
    pub start_to_spawn: Quantiles,
    /// What a command of the backlog took from its spawn to its end: one task's time.
    pub task_time: Quantiles,
    /// The delay's p99 over the longest of the commands.
    pub p99_to_longest_task: f64,
    /// The delay's median over the commands'.
    pub p50_to_median_task: f64,
}

/// Starts one process at a time on a saturated node.
pub fn run(stage: &Stage<'_>, starts: u32) -> Result<Report, BenchError> {
    stage.in_schema("priority", |schema| {
        stage.register(schema, TYPE, stage.args.tasks, &stage.args.command)?;
        let mut store = stage.store(schema)?;
        // What is left of the backlog at the end is not waited for.
        let cast = Cast { drain: Duration::ZERO, ..Cast::of(stage.args.executors()) };
        let played = stage.node(schema, cast)?;
        let warm_up = cast.executors as u64 * 2;
        let measured = while_fed(stage, schema, &played, warm_up, || {
            (0..starts)
                .map(|_| start_to_spawn(&mut store, &played, HIGH))
                .collect::<Result<Vec<f64>, BenchError>>()
        });
        played.node.stop();
        let none = || BenchError::System("nothing was timed; give --priority 1 or more".to_owned());
        let delays = Quantiles::of(measured?.0).ok_or_else(none)?;
        let task_time = Quantiles::of(store.durations_ms(TYPE)?).ok_or_else(none)?;
        Ok(Report {
            executors: cast.executors,
            command: stage.args.command.clone(),
            start_to_spawn: delays,
            task_time,
            p99_to_longest_task: delays.p99_ms / task_time.max_ms,
            p50_to_median_task: delays.p50_ms / task_time.p50_ms,
        })
    })
}

/// Starts one process after a short pause: the milliseconds from its committed start to its first command's spawn.
pub fn start_to_spawn(store: &mut Store, played: &Played, priority: i32) -> Result<f64, BenchError> {
    std::thread::park_timeout(Duration::from_millis(fastrand::u64(1..=PAUSE_MS_MAX)));
    let id = start_many(store, 1, priority)?.pop().unwrap_or_default();
    let (committed, waiting) = (SystemTime::now(), Instant::now());
    loop {
        if let Some(begun) = store.first_begun(&id)? {
            // The server computes it from its own clock; on the same machine it may be a moment before ours.
            return Ok(begun.duration_since(committed).unwrap_or_default().as_secs_f64() * 1000.0);
        }
        if waiting.elapsed() > STALL {
            return Err(BenchError::Stalled { recorded: played.node.health().executions(), expected: 1 });
        }
        std::thread::park_timeout(BEGUN_LOOK);
    }
}

impl Report {
    /// For people.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
        lines.add("saturated node", format!("{} executors, {}", self.executors, self.command));
        lines.add("start to spawn, higher priority", self.start_to_spawn.shown());
        lines.add("one task's time", self.task_time.shown());
        lines.add(
            "ratio",
            format!(
                "p99 to the longest task {:.2}, p50 to the median task {:.2}",
                self.p99_to_longest_task, self.p50_to_median_task
            ),
        );
        Vec::new()
    }
}
