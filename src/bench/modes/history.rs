//! The rate in a schema that has been in use for years, beside that of an empty one.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::priority::start_to_spawn;
use crate::bench::error::BenchError;
use crate::bench::lines::Lines;
use crate::bench::quantile::{Quantiles, median};
use crate::bench::stage::{Cast, Stage, TYPE, start_many};
use crate::store::bench::{Past, buffers, looks};

/// Ready processes are started by so many in a call.
const READY_BATCH: u32 = 10_000;
/// Starts whose time to the spawn is taken.
const STARTS: u32 = 50;

/// Rates in tasks a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Round {
    /// In an empty schema.
    pub empty_rate: f64,
    /// In the filled one.
    pub filled_rate: f64,
    /// Filled over empty.
    pub ratio: f64,
}

/// What one of the engine's looks at the queue reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Look {
    /// Which.
    pub name: &'static str,
    /// Pages of the database that it has read, from memory or not.
    pub buffers: u64,
}

/// The rounds and the medians.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What lies in the filled schema.
    #[serde(flatten)]
    pub past: Past,
    /// Processes in each round.
    pub processes: u32,
    /// Tasks of each.
    pub tasks: u32,
    /// Commands at once.
    pub executors: usize,
    /// The command; `None` for the engine alone.
    pub command: Option<String>,
    /// Seconds that filling the schema took.
    pub fill_seconds: f64,
    /// What the engine's looks at the queue read there, before the rounds.
    pub looks: Vec<Look>,
    /// The rounds.
    pub rounds: Vec<Round>,
    /// The median of the rates in an empty schema.
    pub empty_rate: Option<f64>,
    /// The median of those in the filled one.
    pub filled_rate: Option<f64>,
    /// The median of the ratios.
    pub ratio: Option<f64>,
    /// From a committed start to its command's spawn in an empty schema, beside nothing else.
    pub idle_start: Quantiles,
    /// The same in the filled one, at a priority above all others, while the node works the ready ones off.
    pub highest_start: Quantiles,
    /// The median of the latter over that of the former, unless half of these took no time that could be seen.
    pub start_ratio: Option<f64>,
    /// How the server runs a claim in the filled schema, line by line.
    pub plan: Option<Vec<String>>,
}

/// Fills a schema once, then does the rounds.
pub fn run(stage: &Stage<'_>, past: Past, with_plan: bool) -> Result<Report, BenchError> {
    let args = stage.args;
    stage.in_schema("history", |filled| {
        eprintln!("filling {filled}");
        let began = Instant::now();
        stage.register(filled, TYPE, args.tasks, &args.command)?;
        let mut store = stage.store(filled)?;
        for first in (0..past.ready).step_by(READY_BATCH as usize) {
            start_many(&mut store, READY_BATCH.min(past.ready - first), 0)?;
        }
        store.fill(past)?;
        let fill_seconds = began.elapsed().as_secs_f64();
        let (looks, plan) = looks_at(stage, filled)?;
        looks.iter().for_each(|it| eprintln!("{}: {} buffers", it.name, it.buffers));
        let mut rounds = Vec::new();
        for number in 1..=args.rounds {
            let round = one_round(stage, filled, number)?;
            eprintln!(
                "round {number} of {}: empty {:.0} tasks/s, filled {:.0}/s (ratio {:.3})",
                args.rounds, round.empty_rate, round.filled_rate, round.ratio
            );
            rounds.push(round);
        }
        let idle_start = stage.in_schema("idle", |schema| {
            stage.register(schema, TYPE, args.tasks, &args.command)?;
            starts(stage, schema, 0)
        })?;
        let highest_start = starts(stage, filled, i32::try_from(past.priorities).unwrap_or(i32::MAX))?;
        Ok(Report {
            past,
            processes: args.processes,
            tasks: args.tasks,
            executors: args.executors(),
            command: (!args.noop).then(|| args.command.clone()),
            fill_seconds,
            looks,
            empty_rate: median(rounds.iter().map(|it| Some(it.empty_rate))),
            filled_rate: median(rounds.iter().map(|it| Some(it.filled_rate))),
            ratio: median(rounds.iter().map(|it| Some(it.ratio))),
            rounds,
            idle_start,
            highest_start,
            start_ratio: (idle_start.p50_ms > 0.0).then(|| highest_start.p50_ms / idle_start.p50_ms),
            plan: with_plan.then_some(plan),
        })
    })
}

fn one_round(stage: &Stage<'_>, filled: &str, number: u32) -> Result<Round, BenchError> {
    let empty = || {
        stage.in_schema(&format!("empty_{number}"), |schema| {
            stage.register(schema, TYPE, stage.args.tasks, &stage.args.command)?;
            rate(stage, schema, true)
        })
    };
    let in_filled = || rate(stage, filled, false);
    let (empty_rate, filled_rate) = if number.is_multiple_of(2) {
        let filled_rate = in_filled()?;
        (empty()?, filled_rate)
    } else {
        (empty()?, in_filled()?)
    };
    Ok(Round { empty_rate, filled_rate, ratio: filled_rate / empty_rate })
}

/// As many processes are started as are run; where others are ready already, these are run, and as many stay.
fn rate(stage: &Stage<'_>, schema: &str, is_empty: bool) -> Result<f64, BenchError> {
    let (args, total) = (stage.args, stage.args.total());
    let mut store = stage.store(schema)?;
    start_many(&mut store, args.processes, 0)?;
    let began = Instant::now();
    let played = stage.node(schema, stage.cast())?;
    let run = played.follow(began, 0, total);
    played.node.stop();
    let seconds = run?.seconds;
    match is_empty {
        true => stage.check(&mut store, u64::from(args.processes), args.tasks)?,
        false => stage.check_ended(&mut store)?,
    }
    Ok(total as f64 / seconds)
}

/// From the start of a process of that priority to its spawn, on a node whose tasks run nothing. What else waits is not
/// waited for.
fn starts(stage: &Stage<'_>, schema: &str, priority: i32) -> Result<Quantiles, BenchError> {
    let mut store = stage.store(schema)?;
    let cast = Cast { is_noop: true, drain: Duration::ZERO, ..stage.cast() };
    let played = stage.node(schema, cast)?;
    let times: Result<Vec<f64>, BenchError> =
        (0..STARTS).map(|_| start_to_spawn(&mut store, &played, priority)).collect();
    played.node.stop();
    Quantiles::of(times?).ok_or_else(|| BenchError::System("no start was timed".to_owned()))
}

/// Each of the engine's looks, and how the server runs the first of them, a claim.
fn looks_at(stage: &Stage<'_>, schema: &str) -> Result<(Vec<Look>, Vec<String>), BenchError> {
    let mut store = stage.hot_store(schema)?;
    store.register_probe()?;
    let mut claim = None;
    let read = looks().into_iter().map(|look| {
        let plan = store.explain_look(&look)?;
        let buffers = buffers(&plan);
        claim.get_or_insert(plan);
        Ok(Look { name: look.name, buffers })
    });
    let read = read.collect::<Result<_, BenchError>>()?;
    Ok((read, claim.unwrap_or_default()))
}

impl Report {
    /// For people; the plan comes last.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
        let past = &self.past;
        lines.add(
            "schema",
            format!(
                "{} finished, {} waiting of {} priorities, {} held and {} ready processes, filled in {:.1} s",
                past.finished, past.waiting, past.priorities, past.held, past.ready, self.fill_seconds
            ),
        );
        for look in &self.looks {
            lines.add(look.name, format!("{} buffers", look.buffers));
        }
        let what = self.command.as_deref().unwrap_or("no command (the engine alone)");
        lines.add(
            "run",
            format!(
                "{} processes of {} tasks, {} executors, {what}; medians of {} rounds",
                self.processes,
                self.tasks,
                self.executors,
                self.rounds.len()
            ),
        );
        lines.add_some("empty", self.empty_rate, |it| format!("{it:.0} tasks/s"));
        lines.add_some("filled", self.filled_rate, |it| format!("{it:.0} tasks/s"));
        lines.add_some("ratio", self.ratio, |it| format!("{it:.3}"));
        lines.add("start to spawn, empty and idle", self.idle_start.shown());
        lines.add("start to spawn, highest priority", self.highest_start.shown());
        lines.add_some("ratio of the medians", self.start_ratio, |it| format!("{it:.2}"));
        self.plan.clone().unwrap_or_default()
    }
}
