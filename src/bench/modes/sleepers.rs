//! The rate of short commands beside many that sleep.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::bench::error::{BenchError, STALL};
use crate::bench::lines::Lines;
use crate::bench::quantile::median;
use crate::bench::stage::{Cast, Stage, TYPE, start_many};
use crate::bench::waiting::LOOK;
use crate::engine::EXECUTORS_MAX;

/// The process type of the long commands.
const SLEEPER: &str = "sleeper";
/// They are ended when the short ones have.
const SLEEP: &str = "sleep 86400";

/// Rates in tasks a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Round {
    /// Without long commands.
    pub alone_rate: f64,
    /// Beside them.
    pub beside_rate: f64,
    /// Beside over alone.
    pub ratio: f64,
}

/// The rounds and the medians.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Commands that sleep.
    pub sleepers: u32,
    /// Executors for the short ones.
    pub executors: usize,
    /// The short command.
    pub command: String,
    /// Processes in each round.
    pub processes: u32,
    /// Tasks of each.
    pub tasks: u32,
    /// The rounds.
    pub rounds: Vec<Round>,
    /// The median without long commands.
    pub alone_rate: Option<f64>,
    /// The median beside them.
    pub beside_rate: Option<f64>,
    /// The median of the ratios.
    pub ratio: Option<f64>,
}

/// Does the rounds.
pub fn run(stage: &Stage<'_>, sleepers: u32) -> Result<Report, BenchError> {
    let args = stage.args;
    let needed = args.executors() + sleepers as usize;
    if needed > EXECUTORS_MAX {
        return Err(BenchError::System(format!(
            "{sleepers} sleepers and {} executors are {needed}, and a node has at most {EXECUTORS_MAX}; lower one",
            args.executors()
        )));
    }
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        let alone = || stage.in_schema(&format!("alone_{number}"), |schema| rate(stage, schema, 0));
        let beside = || stage.in_schema(&format!("beside_{number}"), |schema| rate(stage, schema, sleepers));
        let (alone_rate, beside_rate) = if number.is_multiple_of(2) {
            let beside_rate = beside()?;
            (alone()?, beside_rate)
        } else {
            (alone()?, beside()?)
        };
        let round = Round { alone_rate, beside_rate, ratio: beside_rate / alone_rate };
        eprintln!(
            "round {number} of {}: alone {alone_rate:.0} tasks/s, beside {sleepers} sleepers {beside_rate:.0}/s \
             (ratio {:.3})",
            args.rounds, round.ratio
        );
        rounds.push(round);
    }
    Ok(Report {
        sleepers,
        executors: args.executors(),
        command: args.command.clone(),
        processes: args.processes,
        tasks: args.tasks,
        alone_rate: median(rounds.iter().map(|it| Some(it.alone_rate))),
        beside_rate: median(rounds.iter().map(|it| Some(it.beside_rate))),
        ratio: median(rounds.iter().map(|it| Some(it.ratio))),
        rounds,
    })
}

fn rate(stage: &Stage<'_>, schema: &str, sleepers: u32) -> Result<f64, BenchError> {
    let (args, total) = (stage.args, stage.args.total());
    stage.register(schema, TYPE, args.tasks, &args.command)?;
    stage.register(schema, SLEEPER, 1, SLEEP)?;
    let mut store = stage.store(schema)?;
    let executors = args.executors() + sleepers as usize;
    let played = stage.node(schema, Cast { drain: Duration::ZERO, ..Cast::of(executors) })?;
    let measured = (|| {
        if sleepers > 0 {
            let requests = vec![Default::default(); sleepers as usize];
            store.start_processes(SLEEPER, &requests, Default::default())?;
        }
        let began = Instant::now();
        while played.node.health().busy() < sleepers as usize {
            if began.elapsed() > STALL {
                let recorded = played.node.health().busy() as u64;
                return Err(BenchError::Stalled { recorded, expected: sleepers.into() });
            }
            std::thread::park_timeout(LOOK);
        }
        let before = played.node.health().executions();
        start_many(&mut store, args.processes, 0)?;
        played.follow(Instant::now(), before, total)
    })();
    played.node.stop();
    let seconds = measured?.seconds;
    stage.check(&mut store, u64::from(args.processes), args.tasks)?;
    Ok(total as f64 / seconds)
}

impl Report {
    /// For people.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
        lines.add(
            "run",
            format!(
                "{} processes of {} tasks, {}, {} executors for them; medians of {} rounds",
                self.processes,
                self.tasks,
                self.command,
                self.executors,
                self.rounds.len()
            ),
        );
        lines.add_some("alone", self.alone_rate, |it| format!("{it:.0} tasks/s"));
        let label = format!("beside {} sleepers", self.sleepers);
        lines.add_some(&label, self.beside_rate, |it| format!("{it:.0} tasks/s"));
        lines.add_some("ratio", self.ratio, |it| format!("{it:.3}"));
        Vec::new()
    }
}
