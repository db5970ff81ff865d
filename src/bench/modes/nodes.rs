//! Several nodes on one database.

use std::time::Instant;

use serde::Serialize;

use crate::bench::child::Child;
use crate::bench::cost::Meter;
use crate::bench::error::BenchError;
use crate::bench::lines::Lines;
use crate::bench::quantile::median;
use crate::bench::stage::{Stage, TYPE, start_many};
use crate::bench::waiting::follow;
use crate::platform::process_times;

/// One run of so many nodes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Run {
    /// How many.
    pub nodes: u32,
    /// Tasks a second of all of them.
    pub rate: f64,
    /// The share of one core that all nodes use, commands not included: 2 is two cores.
    pub nodes_cores: Option<f64>,
    /// The share that the server uses.
    pub postgresql_cores: Option<f64>,
    /// Of the nodes, the one that has recorded the fewest, in tasks.
    pub fewest: u64,
    /// And the most.
    pub most: u64,
}

/// The medians for one number of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Count {
    /// How many.
    pub nodes: u32,
    /// Tasks a second of all of them.
    pub rate: Option<f64>,
    /// The rate over that of the first number of nodes, within a round.
    pub ratio_to_first: Option<f64>,
    /// Cores that all nodes use.
    pub nodes_cores: Option<f64>,
    /// Cores that the server uses.
    pub postgresql_cores: Option<f64>,
}

/// The rounds and the medians.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Processes in each run.
    pub processes: u32,
    /// Tasks of each.
    pub tasks: u32,
    /// Executors of each node.
    pub executors: usize,
    /// The command; `None` for the engine alone.
    pub command: Option<String>,
    /// Processors of this machine.
    pub processors: usize,
    /// Every task has one execution, and no result was refused: anything else is an error.
    pub duplicates: u64,
    /// The runs, round by round.
    pub rounds: Vec<Vec<Run>>,
    /// The medians, by the number of nodes.
    pub counts: Vec<Count>,
}

/// Does the rounds; each has one run for every number of nodes.
pub fn run(stage: &Stage<'_>, counts: &[u32]) -> Result<Report, BenchError> {
    let args = stage.args;
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        let one = |&nodes: &u32| {
            let label = format!("nodes_{nodes}_{number}");
            let run = stage.in_schema(&label, |schema| one_run(stage, schema, nodes))?;
            eprintln!("round {number} of {}: {nodes} nodes {:.0} tasks/s", args.rounds, run.rate);
            Ok(run)
        };
        rounds.push(counts.iter().map(one).collect::<Result<Vec<Run>, BenchError>>()?);
    }
    let count = |at: usize, nodes: u32| {
        let of = |figure: &dyn Fn(&Run) -> Option<f64>| {
            median(rounds.iter().map(|round| round.get(at).and_then(figure)))
        };
        let ratios = rounds.iter().map(|round| Some(round.get(at)?.rate / round.first()?.rate));
        Count {
            nodes,
            rate: of(&|it| Some(it.rate)),
            ratio_to_first: median(ratios),
            nodes_cores: of(&|it| it.nodes_cores),
            postgresql_cores: of(&|it| it.postgresql_cores),
        }
    };
    Ok(Report {
        processes: args.processes,
        tasks: args.tasks,
        executors: args.executors(),
        command: (!args.noop).then(|| args.command.clone()),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        duplicates: 0,
        counts: counts.iter().enumerate().map(|(at, &nodes)| count(at, nodes)).collect(),
        rounds,
    })
}

/// The nodes are ready before the processes are started, all by one call: the time begins at its commit.
fn one_run(stage: &Stage<'_>, schema: &str, nodes: u32) -> Result<Run, BenchError> {
    let (args, total) = (stage.args, stage.args.total());
    stage.register(schema, TYPE, args.tasks, &args.command)?;
    let mut store = stage.store(schema)?;
    let meter = Meter::new(stage, schema)?;
    let children = (0..nodes)
        .map(|_| Ok(Child::start(stage, schema, args.executors())?.0))
        .collect::<Result<Vec<Child>, BenchError>>()?;
    start_many(&mut store, args.processes, 0)?;
    let (began, own, server) = (Instant::now(), cpu_of(&children), meter.server_seconds());
    let recorded = || Ok(children.iter().map(Child::recorded).sum());
    let seconds = follow(began, total, recorded)?.seconds;
    let cores = |then: Option<f64>, now: Option<f64>| Some((now? - then?) / seconds);
    let nodes_cores = cores(own, cpu_of(&children));
    let postgresql_cores = cores(server, meter.server_seconds());
    let shares: Vec<u64> = children.iter().map(Child::recorded).collect();
    let stale = children.into_iter().map(Child::stop).sum::<Result<u64, BenchError>>()?;
    stage.check(&mut store, u64::from(args.processes), args.tasks)?;
    if stale > 0 || shares.iter().sum::<u64>() != total {
        return Err(BenchError::Wrong(format!(
            "of {total} tasks the nodes have recorded {shares:?}, and {stale} results were refused"
        )));
    }
    Ok(Run {
        nodes,
        rate: total as f64 / seconds,
        nodes_cores,
        postgresql_cores,
        fewest: shares.iter().copied().min().unwrap_or_default(),
        most: shares.iter().copied().max().unwrap_or_default(),
    })
}

fn cpu_of(children: &[Child]) -> Option<f64> {
    children.iter().map(|child| Some(process_times(child.pid())?.cpu_seconds)).sum()
}

impl Report {
    /// For people.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
        let what = self.command.as_deref().unwrap_or("no command (the engine alone)");
        lines.add(
            "run",
            format!(
                "{} processes of {} tasks, {} executors for each node, {what}; medians of {} rounds",
                self.processes,
                self.tasks,
                self.executors,
                self.rounds.len()
            ),
        );
        for count in &self.counts {
            let Some((rate, ratio)) = count.rate.zip(count.ratio_to_first) else { continue };
            let mut text = format!("{rate:.0} tasks/s (ratio {ratio:.3})");
            if let Some((own, server)) = count.nodes_cores.zip(count.postgresql_cores) {
                text.push_str(&format!(
                    ", cores: nodes {own:.2}, PostgreSQL {server:.2} of {}",
                    self.processors
                ));
            }
            let plural = if count.nodes == 1 { "" } else { "s" };
            lines.add(&format!("{} node{plural}", count.nodes), text);
        }
        lines.add("duplicates", self.duplicates.to_string());
        Vec::new()
    }
}
