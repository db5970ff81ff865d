//! The rate of `serve` seen from outside, as a user runs it, beside the yardsticks of the same round.
//!
//! The program runs as `serve` in a process of its own, with its defaults; the processes are started by one call, as
//! `start --inputs` does; the time is what the tables say, from the first task's begin to the last process's end.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::bench::args::ServeExecutors;
use crate::bench::bare::{self, Bare};
use crate::bench::cost::{Cost, Meter};
use crate::bench::error::{BenchError, STALL};
use crate::bench::lines::Lines;
use crate::bench::quantile::median;
use crate::bench::served::Served;
use crate::bench::stage::{Stage, TYPE, start_many};

/// How often it is looked whether all have ended: a look costs a millisecond, and what comes after the end is not in the
/// rate, which the tables tell.
const END_LOOK: Duration = Duration::from_millis(200);

/// What is compared: processes of so many tasks on a node of so many executors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    processes: u32,
    tasks: u32,
    executors: ServeExecutors,
}

/// One run of a case, or the medians of all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Run {
    /// Processes that were started.
    pub processes: u32,
    /// Tasks of each.
    pub tasks: u32,
    /// Commands at once.
    pub executors: usize,
    /// Whether these are what `serve` has without the option.
    pub is_default: bool,
    /// Tasks a second, from the first one's begin to the last process's end.
    pub rate: f64,
    /// Over the fastest bare loop of the round.
    pub ratio_to_bare: f64,
    /// Over `xargs -P 8` of the round.
    pub ratio_to_xargs: f64,
    /// What it cost.
    pub cost: Cost,
    /// Processor seconds per 1,000 tasks that nobody named here has used: idle, or the system's own.
    pub idle_cpu_s: Option<f64>,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Round {
    /// The fastest bare loop.
    pub bare: Bare,
    /// Commands a second of `xargs -P 8`.
    pub xargs_rate: f64,
    /// The cases.
    pub runs: Vec<Run>,
}

/// The rounds and each figure's median.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The command of every task.
    pub command: String,
    /// Processors of this machine.
    pub processors: usize,
    /// The rounds.
    pub rounds: Vec<Round>,
    /// Of the fastest bare loops.
    pub bare: Bare,
    /// Of `xargs -P 8`.
    pub xargs_rate: f64,
    /// Of each case.
    pub runs: Vec<Run>,
}

/// Does the rounds: processes of `--tasks` tasks and as many tasks in processes of one, for each number of executors.
pub fn run(stage: &Stage<'_>, executors: &[ServeExecutors]) -> Result<Report, BenchError> {
    let args = stage.args;
    let singles = u32::try_from(args.total()).unwrap_or(u32::MAX);
    let mut shapes = vec![(args.processes, args.tasks), (singles, 1)];
    shapes.dedup();
    let cases: Vec<Case> = shapes
        .iter()
        .flat_map(|&(processes, tasks)| {
            executors.iter().map(move |&executors| Case { processes, tasks, executors })
        })
        .collect();
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        let round = one_round(stage, &cases, number)?;
        eprintln!(
            "round {number} of {}: bare loop {:.0}/s, xargs -P 8 {:.0}/s",
            args.rounds, round.bare.rate, round.xargs_rate
        );
        round.runs.iter().for_each(|run| eprintln!("  {}: {}", run.label(), run.headline()));
        rounds.push(round);
    }
    let none = || BenchError::System("no round was done; give --rounds 1 or more".to_owned());
    let runs = (0..cases.len()).map(|at| median_run(rounds.iter().filter_map(move |it| it.runs.get(at))));
    Ok(Report {
        command: args.command.clone(),
        processors: processors(),
        bare: Bare::median(rounds.iter().map(|it| it.bare)).ok_or_else(none)?,
        xargs_rate: median(rounds.iter().map(|it| Some(it.xargs_rate))).ok_or_else(none)?,
        runs: runs.collect::<Option<_>>().ok_or_else(none)?,
        rounds,
    })
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Each round begins with another one of what is compared.
fn one_round(stage: &Stage<'_>, cases: &[Case], number: u32) -> Result<Round, BenchError> {
    let steps = cases.len() + 2;
    let (mut bare, mut xargs_rate, mut runs) = (None, None, Vec::new());
    for step in 0..steps {
        match (step + number as usize - 1) % steps {
            0 => bare = Some(bare::best_loop(stage, number)?),
            1 => xargs_rate = Some(bare::run_xargs(stage)?),
            case => {
                let at = case - 2;
                let label = format!("serve_{number}_{at}");
                runs.push((at, stage.in_schema(&label, |schema| one_run(stage, schema, cases[at]))?));
            }
        }
    }
    runs.sort_by_key(|(at, _)| *at);
    let (Some(bare), Some(xargs_rate)) = (bare, xargs_rate) else {
        return Err(BenchError::System("a round has no yardstick".to_owned()));
    };
    let compared =
        |run: Run| Run { ratio_to_bare: run.rate / bare.rate, ratio_to_xargs: run.rate / xargs_rate, ..run };
    Ok(Round { runs: runs.into_iter().map(|(_, run)| compared(run)).collect(), bare, xargs_rate })
}

fn one_run(stage: &Stage<'_>, schema: &str, case: Case) -> Result<Run, BenchError> {
    let Case { processes, tasks, executors } = case;
    stage.register(schema, TYPE, tasks, &stage.args.command)?;
    let mut served = Served::start(stage, schema, executors)?;
    let Timed { rate, cost } = time(stage, schema, &mut served, (processes, tasks), &mut |_| ())?;
    served.stop()?;
    stage.check(&mut stage.store(schema)?, u64::from(processes), tasks)?;
    let used = [cost.node_cpu_s, cost.commands_cpu_s, cost.postgresql_cpu_s].into_iter().sum::<Option<f64>>();
    Ok(Run {
        processes,
        tasks,
        executors: executors.count(),
        is_default: executors == ServeExecutors::Default,
        rate,
        ratio_to_bare: 0.0,
        ratio_to_xargs: 0.0,
        cost,
        idle_cpu_s: used.map(|used| processors() as f64 * 1000.0 / rate - used),
    })
}

/// What a node did with processes that were started in one call.
pub(super) struct Timed {
    /// Tasks a second, from the first one's begin to the last process's end.
    pub(super) rate: f64,
    pub(super) cost: Cost,
}

/// Starts so many processes of so many tasks and waits for their end; `look` looks at the node's process meanwhile.
pub(super) fn time(
    stage: &Stage<'_>,
    schema: &str,
    served: &mut Served,
    (processes, tasks): (u32, u32),
    look: &mut dyn FnMut(u32),
) -> Result<Timed, BenchError> {
    let total = u64::from(processes) * u64::from(tasks);
    let mut meter = Meter::of(stage, schema, served.pid())?;
    let mut starter = stage.store(schema)?;
    start_many(&mut starter, processes, 0)?;
    // The start itself is not to be counted, and what has run since its commit neither: its tasks are left out as well.
    let begun = meter.read()?;
    let before = u64::try_from(meter.store().recorded_of(TYPE)?.executions).unwrap_or_default();
    let ended = wait_until_ended(&mut meter, served, total, look);
    let done = meter.read()?;
    ended?;
    let seconds = meter.store().span_seconds(TYPE)?;
    let cost = done.since(&begun, None, total.saturating_sub(before).max(1));
    Ok(Timed { rate: total as f64 / seconds, cost })
}

/// The queue holds what has not ended.
fn wait_until_ended(
    meter: &mut Meter,
    served: &mut Served,
    expected: u64,
    look: &mut dyn FnMut(u32),
) -> Result<(), BenchError> {
    let (mut recorded, mut last_change) = (0, Instant::now());
    while !meter.store().is_queue_empty()? {
        served.check()?;
        look(served.pid());
        std::thread::park_timeout(END_LOOK);
        let now = u64::try_from(meter.store().writes()?.executions).unwrap_or_default();
        if now != recorded {
            (recorded, last_change) = (now, Instant::now());
        } else if last_change.elapsed() > STALL {
            return Err(BenchError::Stalled { recorded, expected });
        }
    }
    Ok(())
}

fn median_run<'a>(runs: impl Iterator<Item = &'a Run> + Clone) -> Option<Run> {
    let of = |figure: fn(&Run) -> Option<f64>| median(runs.clone().map(figure));
    Some(Run {
        rate: of(|it| Some(it.rate))?,
        ratio_to_bare: of(|it| Some(it.ratio_to_bare))?,
        ratio_to_xargs: of(|it| Some(it.ratio_to_xargs))?,
        cost: Cost::median(runs.clone().map(|it| &it.cost)),
        idle_cpu_s: of(|it| it.idle_cpu_s),
        ..*runs.clone().next()?
    })
}

impl Run {
    fn label(&self) -> String {
        let usual = if self.is_default { " (default)" } else { "" };
        format!("{} x {}, {} executors{usual}", self.processes, self.tasks, self.executors)
    }

    fn headline(&self) -> String {
        format!(
            "{:.0} tasks/s, over the bare loop {:.3}, over xargs {:.3}",
            self.rate, self.ratio_to_bare, self.ratio_to_xargs
        )
    }
}

impl Report {
    /// For people.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
        let Self { command, processors, .. } = self;
        lines.add(
            "run",
            format!("serve, {command}, {processors} processors; medians of {} rounds", self.rounds.len()),
        );
        lines.add("bare loop", self.bare.shown());
        lines.add("xargs -P 8", format!("{:.0}/s", self.xargs_rate));
        for run in &self.runs {
            lines.add(&run.label(), run.headline());
            let parts = [
                ("node", run.cost.node_cpu_s),
                ("commands", run.cost.commands_cpu_s),
                ("PostgreSQL", run.cost.postgresql_cpu_s),
                ("idle", run.idle_cpu_s),
            ];
            let told = parts.iter().filter_map(|(name, it)| it.map(|it| format!("{name} {it:.3}")));
            let told: Vec<String> = told.collect();
            if !told.is_empty() {
                lines.add("  CPU s per 1,000 tasks", told.join(", "));
            }
        }
        Vec::new()
    }
}
