//! How soon an idle node starts a command, and the next task of a process.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use crate::bench::args::Latency;
use crate::bench::error::{BenchError, STALL};
use crate::bench::lines::Lines;
use crate::bench::quantile::{Quantiles, median};
use crate::bench::stage::{Cast, Played, Stage, TYPE, start_many};
use crate::bench::waiting::LOOK;
use crate::command::bare_spawn_and_capture;
use crate::engine::NodeConfig;
use crate::store::Store;

/// The command's first instruction that we can see: it prints nanoseconds since 1970. Its clock is ours.
const CLOCK: &str = "date +%s%N";
/// Tasks of a chain.
const CHAIN_TASKS: u32 = 40;
/// The process type of the chains.
const CHAIN: &str = "chain";
/// How often it is looked for the end of a chain: a hundredth of what one takes.
const CHAIN_LOOK: Duration = Duration::from_micros(500);

/// Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether the node heard notifications.
    pub listens: bool,
    /// The longest that it sleeps without one.
    pub poll_interval_ms: f64,
    /// From a committed start to the time that the command, `date`, reads first of all: its own start-up is in it.
    pub start_to_first_instruction: Quantiles,
    /// From a bare spawn of the same command to the time that it reads.
    pub spawn_alone: Quantiles,
    /// From the end of a task's command to the spawn of the next one's, as recorded.
    pub exit_to_next_spawn: Option<Quantiles>,
    /// Tasks of a chain.
    pub chain_tasks: u32,
    /// The command of each.
    pub chain_command: String,
    /// From the committed start of a chain to its last result's commit.
    pub chain: Option<Quantiles>,
    /// Half of the chains were at most that.
    pub chain_median_ms: Option<f64>,
}

/// Starts one process at a time.
pub fn run(stage: &Stage<'_>, asked: Latency) -> Result<Report, BenchError> {
    let cast = Cast { is_deaf: asked.is_deaf, ..Cast::of(stage.args.executors()) };
    let (mut first, mut bare) = (Vec::new(), Vec::new());
    stage.in_schema("latency", |schema| {
        stage.register(schema, TYPE, 1, CLOCK)?;
        let mut store = stage.store(schema)?;
        let played = stage.node(schema, cast)?;
        let result = (0..asked.starts).try_for_each(|_| {
            first.push(one_start(&mut store, &played)?);
            bare.push(bare_spawn()?);
            Ok(())
        });
        played.node.stop();
        result
    })?;
    let (chains, gaps) = stage.in_schema("chains", |schema| {
        stage.register(schema, CHAIN, CHAIN_TASKS, &stage.args.command)?;
        let mut store = stage.store(schema)?;
        let played = stage.node(schema, cast)?;
        let result: Result<Vec<f64>, BenchError> =
            (0..asked.chains).map(|_| one_chain(&mut store, &played)).collect();
        played.node.stop();
        Ok((result?, store.gaps_ms()?))
    })?;
    let none = || BenchError::System("nothing was timed; give --latency 1 or more".to_owned());
    Ok(Report {
        listens: !cast.is_deaf,
        poll_interval_ms: NodeConfig::default().poll_interval.as_secs_f64() * 1000.0,
        start_to_first_instruction: Quantiles::of(first).ok_or_else(none)?,
        spawn_alone: Quantiles::of(bare).ok_or_else(none)?,
        exit_to_next_spawn: Quantiles::of(gaps),
        chain_tasks: CHAIN_TASKS,
        chain_command: stage.args.command.clone(),
        chain_median_ms: median(chains.iter().copied().map(Some)),
        chain: Quantiles::of(chains),
    })
}

fn one_start(store: &mut Store, played: &Played) -> Result<f64, BenchError> {
    let before = played.node.health().executions();
    // An idle moment, so that each start finds the node asleep.
    std::thread::park_timeout(LOOK * 5);
    let ids = start_many(store, 1, 0)?;
    let committed = Timestamp::now();
    played.follow(Instant::now(), before, 1)?;
    let id = ids.first().map_or("", String::as_str);
    let output = store.tasks(id)?.rows.pop().and_then(|task| task.output).unwrap_or_default();
    millis_since(committed, &output)
}

fn bare_spawn() -> Result<f64, BenchError> {
    let argv: Vec<String> = CLOCK.split(' ').map(str::to_owned).collect();
    std::thread::park_timeout(LOOK * 5);
    let began = Timestamp::now();
    let (_, output) =
        bare_spawn_and_capture(&argv).map_err(|error| BenchError::Command(format!("{CLOCK:?}: {error}")))?;
    millis_since(began, &String::from_utf8_lossy(&output))
}

fn millis_since(then: Timestamp, printed: &str) -> Result<f64, BenchError> {
    let nanos: i128 = printed.trim().parse().map_err(|_| {
        BenchError::Command(format!(
            "{CLOCK:?} printed {printed:?}, not nanoseconds; put GNU's date first in PATH"
        ))
    })?;
    Ok((nanos - then.as_nanosecond()) as f64 / 1e6)
}

fn one_chain(store: &mut Store, played: &Played) -> Result<f64, BenchError> {
    let health = played.node.health();
    let expected = health.executions() + u64::from(CHAIN_TASKS);
    std::thread::park_timeout(LOOK * 5);
    store.start_processes(CHAIN, &[Default::default()], Default::default())?;
    let committed = Instant::now();
    while health.executions() < expected {
        if committed.elapsed() > STALL {
            return Err(BenchError::Stalled { recorded: health.executions(), expected });
        }
        std::thread::park_timeout(CHAIN_LOOK);
    }
    Ok(committed.elapsed().as_secs_f64() * 1000.0)
}

impl Report {
    /// For people.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
        let heard = match self.listens {
            true => "woken by notifications".to_owned(),
            false => format!("without notifications, polling every {:.0} ms", self.poll_interval_ms),
        };
        lines.add("idle node", heard);
        lines.add("start to first instruction", self.start_to_first_instruction.shown());
        lines.add("spawn alone", self.spawn_alone.shown());
        lines.add_some("exit to spawn of the next", self.exit_to_next_spawn, |it| it.shown());
        let label = format!("chain of {} x {}", self.chain_tasks, self.chain_command);
        lines.add_some(&label, self.chain, |it| it.shown());
        Vec::new()
    }
}
