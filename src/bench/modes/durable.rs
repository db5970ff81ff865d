//! The durable rate, beside the bare loop's, and what a task costs.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::bench::bare::{self, Bare};
use crate::bench::cost::{Cost, Meter};
use crate::bench::error::BenchError;
use crate::bench::lines::{Lines, shown_connections};
use crate::bench::quantile::median;
use crate::bench::stage::{Stage, TYPE, start_many};

/// One round: rates are tasks a second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Round {
    /// Seconds that the one call took which started all processes.
    pub start_call_seconds: f64,
    /// From the node's start to the last recorded result.
    pub durable_rate: f64,
    /// The rate of the last tenth over that of the first, leaving out 2 % at either end; for 1,000 tasks and more.
    pub last_tenth_to_first: Option<f64>,
    /// The fastest bare loop.
    pub bare: Option<Bare>,
    /// Durable over bare.
    pub ratio_to_bare: Option<f64>,
    /// Rate of xargs.
    pub xargs_rate: Option<f64>,
    /// Durable over xargs.
    pub ratio_to_xargs: Option<f64>,
    /// What running cost.
    pub run: Cost,
    /// What starting the processes cost.
    pub start: Cost,
    /// The node's connections, by the thread that holds them.
    pub connections: BTreeMap<String, usize>,
}

/// The rounds and each figure's median.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Processes in each round.
    pub processes: u32,
    /// Tasks of each.
    pub tasks: u32,
    /// Commands at once.
    pub executors: usize,
    /// The command; `None` for the engine alone.
    pub command: Option<String>,
    /// Every task of every round has one execution, which succeeded: anything else is an error.
    pub all_recorded_once: bool,
    /// The rounds.
    pub rounds: Vec<Round>,
    /// Each figure's median.
    pub median: Round,
}

/// Does the rounds; progress goes to stderr.
pub fn run(stage: &Stage<'_>, with_xargs: bool) -> Result<Report, BenchError> {
    let args = stage.args;
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        let round = one_round(stage, number, with_xargs)?;
        eprintln!("round {number} of {}: {}", args.rounds, round.headline());
        rounds.push(round);
    }
    let median = median_round(&rounds)
        .ok_or_else(|| BenchError::System("no round was done; give --rounds 1 or more".to_owned()))?;
    Ok(Report {
        processes: args.processes,
        tasks: args.tasks,
        executors: args.executors(),
        command: (!args.noop).then(|| args.command.clone()),
        all_recorded_once: true,
        rounds,
        median,
    })
}

fn one_round(stage: &Stage<'_>, number: u32, with_xargs: bool) -> Result<Round, BenchError> {
    let (mut bare, mut xargs_rate, mut round) = (None, None, None);
    // Each round begins with another one: none has the warm caches every time.
    for step in 0..3 {
        match (step + number) % 3 {
            0 if !stage.args.noop => bare = Some(bare::best_loop(stage, number)?),
            1 => round = Some(stage.in_schema(&format!("round_{number}"), |it| durable(stage, it))?),
            2 if with_xargs => xargs_rate = Some(bare::run_xargs(stage)?),
            _ => {}
        }
    }
    let round = round.ok_or_else(|| BenchError::System("a round has no rate".to_owned()))?;
    Ok(Round {
        ratio_to_bare: bare.map(|it| round.durable_rate / it.rate),
        bare,
        ratio_to_xargs: xargs_rate.map(|it| round.durable_rate / it),
        xargs_rate,
        ..round
    })
}

fn durable(stage: &Stage<'_>, schema: &str) -> Result<Round, BenchError> {
    let (args, total) = (stage.args, stage.args.total());
    let all = i64::try_from(total).unwrap_or(i64::MAX);
    stage.register(schema, TYPE, args.tasks, &args.command)?;
    let mut meter = Meter::new(stage, schema)?;
    let rows_before = meter.writes(|_| true)?;
    let mut store = stage.store(schema)?;
    let before = meter.read()?;
    let began = Instant::now();
    start_many(&mut store, args.processes, 0)?;
    let start_call_seconds = began.elapsed().as_secs_f64();
    let started = meter.read()?;
    drop(store);
    let rows_started = meter.writes(|it| it.tasks >= all)?;

    let idle = meter.read()?;
    let began = Instant::now();
    let played = stage.node(schema, stage.cast())?;
    let followed = played.follow(began, 0, total);
    let connections = played.connections();
    let done = meter.read();
    played.node.stop();
    let (run, done) = (followed?, done?);
    let rows_done = meter.writes(|it| it.executions >= all)?;
    stage.check(meter.store(), u64::from(args.processes), args.tasks)?;
    Ok(Round {
        start_call_seconds,
        durable_rate: total as f64 / run.seconds,
        last_tenth_to_first: run.last_tenth_to_first,
        bare: None,
        ratio_to_bare: None,
        xargs_rate: None,
        ratio_to_xargs: None,
        run: done.since(&idle, (rows_done.executions >= all).then_some((rows_started, rows_done)), total),
        start: started.since(
            &before,
            (rows_started.tasks >= all).then_some((rows_before, rows_started)),
            total,
        ),
        connections,
    })
}

fn median_round(rounds: &[Round]) -> Option<Round> {
    let of = |figure: fn(&Round) -> Option<f64>| median(rounds.iter().map(figure));
    Some(Round {
        start_call_seconds: of(|it| Some(it.start_call_seconds))?,
        durable_rate: of(|it| Some(it.durable_rate))?,
        last_tenth_to_first: of(|it| it.last_tenth_to_first),
        bare: Bare::median(rounds.iter().filter_map(|it| it.bare)),
        ratio_to_bare: of(|it| it.ratio_to_bare),
        xargs_rate: of(|it| it.xargs_rate),
        ratio_to_xargs: of(|it| it.ratio_to_xargs),
        run: Cost::median(rounds.iter().map(|it| &it.run)),
        start: Cost::median(rounds.iter().map(|it| &it.start)),
        connections: rounds.last()?.connections.clone(),
    })
}

impl Round {
    fn headline(&self) -> String {
        let mut text = format!("durable {:.0} tasks/s", self.durable_rate);
        for (name, rate, ratio) in [
            ("bare loop", self.bare.map(|it| it.rate), self.ratio_to_bare),
            ("xargs -P 8", self.xargs_rate, self.ratio_to_xargs),
        ] {
            if let (Some(rate), Some(ratio)) = (rate, ratio) {
                text.push_str(&format!(", {name} {rate:.0}/s (ratio {ratio:.3})"));
            }
        }
        text.push_str(&format!(", all started in {:.2} s", self.start_call_seconds));
        text
    }
}

impl Report {
    /// For people.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
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
        let median = &self.median;
        lines.add("rate", median.headline());
        lines.add_some("last tenth to first", median.last_tenth_to_first, |it| format!("{it:.3}"));
        lines.add_some("bare loop", median.bare, |it| it.shown());
        median.run.show("run", lines);
        median.start.show("start", lines);
        lines.add("connections", shown_connections(&median.connections));
        lines.add("recorded", "every task once, none failed");
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_round_there_is_no_median() {
        assert_eq!(median_round(&[]), None);
    }
}
