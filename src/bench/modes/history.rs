//! The rate in a schema that has been in use for years, beside that of an empty one.

use std::time::Instant;

use serde::Serialize;

use crate::bench::error::BenchError;
use crate::bench::lines::Lines;
use crate::bench::quantile::median;
use crate::bench::stage::{Stage, TYPE, start_many};
use crate::store::bench::Past;

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

/// The rounds and the medians.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Processes that have ended, of one task each.
    pub finished: u32,
    /// Processes that are due tomorrow.
    pub waiting: u32,
    /// Processes that are due while their type is paused.
    pub held: u32,
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
    /// The rounds.
    pub rounds: Vec<Round>,
    /// The median of the rates in an empty schema.
    pub empty_rate: Option<f64>,
    /// The median of those in the filled one.
    pub filled_rate: Option<f64>,
    /// The median of the ratios.
    pub ratio: Option<f64>,
    /// How the server runs a claim in the filled schema, line by line.
    pub plan: Option<Vec<String>>,
}

/// Fills a schema once, then does the rounds.
pub fn run(stage: &Stage<'_>, past: Past, with_plan: bool) -> Result<Report, BenchError> {
    let args = stage.args;
    let Past { finished, waiting, held } = past;
    stage.in_schema("history", |filled| {
        eprintln!("filling {filled}");
        let began = Instant::now();
        stage.store(filled)?.fill(past)?;
        let fill_seconds = began.elapsed().as_secs_f64();
        stage.register(filled, TYPE, args.tasks, &args.command)?;
        let mut rounds = Vec::new();
        for number in 1..=args.rounds {
            let round = one_round(stage, filled, number)?;
            eprintln!(
                "round {number} of {}: empty {:.0} tasks/s, filled {:.0}/s (ratio {:.3})",
                args.rounds, round.empty_rate, round.filled_rate, round.ratio
            );
            rounds.push(round);
        }
        let plan = if with_plan { Some(plan(stage, filled)?) } else { None };
        Ok(Report {
            finished,
            waiting,
            held,
            processes: args.processes,
            tasks: args.tasks,
            executors: args.executors(),
            command: (!args.noop).then(|| args.command.clone()),
            fill_seconds,
            empty_rate: median(rounds.iter().map(|it| Some(it.empty_rate))),
            filled_rate: median(rounds.iter().map(|it| Some(it.filled_rate))),
            ratio: median(rounds.iter().map(|it| Some(it.ratio))),
            rounds,
            plan,
        })
    })
}

fn one_round(stage: &Stage<'_>, filled: &str, number: u32) -> Result<Round, BenchError> {
    let empty = || {
        stage.in_schema(&format!("empty_{number}"), |schema| {
            stage.register(schema, TYPE, stage.args.tasks, &stage.args.command)?;
            rate(stage, schema, 1)
        })
    };
    let in_filled = || rate(stage, filled, number);
    let (empty_rate, filled_rate) = if number.is_multiple_of(2) {
        let filled_rate = in_filled()?;
        (empty()?, filled_rate)
    } else {
        (empty()?, in_filled()?)
    };
    Ok(Round { empty_rate, filled_rate, ratio: filled_rate / empty_rate })
}

/// `round` counts how often processes were started in the schema, this time included.
fn rate(stage: &Stage<'_>, schema: &str, round: u32) -> Result<f64, BenchError> {
    let (args, total) = (stage.args, stage.args.total());
    let mut store = stage.store(schema)?;
    start_many(&mut store, args.processes, 0)?;
    let began = Instant::now();
    let played = stage.node(schema, stage.cast())?;
    let run = played.follow(began, 0, total);
    played.node.stop();
    let seconds = run?.seconds;
    stage.check(&mut store, u64::from(args.processes) * u64::from(round), args.tasks)?;
    Ok(total as f64 / seconds)
}

/// Of a claim as the node makes it, while processes are due.
fn plan(stage: &Stage<'_>, schema: &str) -> Result<Vec<String>, BenchError> {
    start_many(&mut stage.store(schema)?, stage.args.processes, 0)?;
    let mut store = stage.hot_store(schema)?;
    Ok(store.explain_claim(stage.args.executors())?)
}

impl Report {
    /// For people; the plan comes last.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
        lines.add(
            "schema",
            format!(
                "{} finished, {} waiting and {} held processes, filled in {:.1} s",
                self.finished, self.waiting, self.held, self.fill_seconds
            ),
        );
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
        self.plan.clone().unwrap_or_default()
    }
}
