//! The rate under limits: not reached, over that without limits; reached, over what so many executors give.

use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use crate::bench::error::BenchError;
use crate::bench::lines::Lines;
use crate::bench::quantile::median;
use crate::bench::stage::{Cast, Stage, TYPE, start_many};
use crate::store::start::{StartOptions, StartRequest};

/// More than any node runs at once.
const NEVER_REACHED: u32 = 1_000_000;
/// The type of what is held.
const HELD_TYPE: &str = "held";
/// Processes that are started, or held, by one statement.
const BATCH: u32 = 10_000;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// No limit.
    Unlimited,
    /// No limit, beside processes of another type that are held.
    BesideHeld,
    /// A limit of processes that is never reached.
    NotReached,
    /// The same of commands.
    NotReachedByTasks,
    /// No limit, with as many executors as the limit lets run.
    FewExecutors,
    /// A limit of processes that is reached all the time.
    Reached,
    /// The same of commands.
    ReachedByTasks,
}

const CASES: [Case; 7] = [
    Case::Unlimited,
    Case::BesideHeld,
    Case::NotReached,
    Case::NotReachedByTasks,
    Case::FewExecutors,
    Case::Reached,
    Case::ReachedByTasks,
];

/// The medians of one case.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// Which.
    pub case: Case,
    /// Tasks a second.
    pub rate: Option<f64>,
    /// Over that of the case that it is compared with, within a round.
    pub ratio: Option<f64>,
}

/// The rounds and the medians.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Processes in each run.
    pub processes: u32,
    /// Tasks of each.
    pub tasks: u32,
    /// Executors, but where there are as many as the limit lets run.
    pub executors: usize,
    /// What the limit lets run where it is reached.
    pub max: u32,
    /// Processes that are held beside.
    pub held: u32,
    /// The command; `None` for the engine alone.
    pub command: Option<String>,
    /// The rates of each round, in the order of the figures.
    pub rounds: Vec<Vec<f64>>,
    /// The medians.
    pub figures: Vec<Figure>,
}

impl Case {
    /// What the rate is compared with.
    fn yardstick(self) -> Option<Self> {
        match self {
            Self::Unlimited | Self::FewExecutors => None,
            Self::BesideHeld | Self::NotReached | Self::NotReachedByTasks => Some(Self::Unlimited),
            Self::Reached | Self::ReachedByTasks => Some(Self::FewExecutors),
        }
    }

    /// The type's limit, as its row has it.
    fn concurrency(self, max: u32) -> Option<Value> {
        let limit = |max: u32, holds: &str| Some(json!([{"name": "bench", "max": max, "holds": holds}]));
        match self {
            Self::Unlimited | Self::BesideHeld | Self::FewExecutors => None,
            Self::NotReached => limit(NEVER_REACHED, "process"),
            Self::NotReachedByTasks => limit(NEVER_REACHED, "task"),
            Self::Reached => limit(max, "process"),
            Self::ReachedByTasks => limit(max, "task"),
        }
    }

    fn shown(self, max: u32, held: u32) -> String {
        match self {
            Self::Unlimited => "no limit".to_owned(),
            Self::BesideHeld => format!("no limit, {held} others held"),
            Self::NotReached => "a limit that is not reached".to_owned(),
            Self::NotReachedByTasks => "the same for each command".to_owned(),
            Self::FewExecutors => format!("no limit, {max} executors"),
            Self::Reached => format!("a limit of {max}"),
            Self::ReachedByTasks => "the same for each command".to_owned(),
        }
    }
}

/// Does the rounds; each has one run for every case, and begins with another one.
pub fn run(stage: &Stage<'_>, max: u32, held: u32) -> Result<Report, BenchError> {
    let args = stage.args;
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        let mut rates = vec![0.0; CASES.len()];
        for step in 0..CASES.len() {
            let at = (step + number as usize) % CASES.len();
            let label = format!("limits_{number}_{at}");
            rates[at] = stage.in_schema(&label, |schema| one_run(stage, schema, CASES[at], max, held))?;
            eprintln!(
                "round {number} of {}: {}: {:.0} tasks/s",
                args.rounds,
                CASES[at].shown(max, held),
                rates[at]
            );
        }
        rounds.push(rates);
    }
    let figure = |(at, case): (usize, Case)| {
        let beside = case.yardstick().and_then(|it| CASES.iter().position(|other| *other == it));
        Figure {
            case,
            rate: median(rounds.iter().map(|rates: &Vec<f64>| Some(rates[at]))),
            ratio: beside.and_then(|beside| median(rounds.iter().map(|it| Some(it[at] / it[beside])))),
        }
    };
    Ok(Report {
        processes: args.processes,
        tasks: args.tasks,
        executors: args.executors(),
        max,
        held,
        command: (!args.noop).then(|| args.command.clone()),
        figures: CASES.into_iter().enumerate().map(figure).collect(),
        rounds,
    })
}

fn one_run(stage: &Stage<'_>, schema: &str, case: Case, max: u32, held: u32) -> Result<f64, BenchError> {
    let (args, total) = (stage.args, stage.args.total());
    let mut store = stage.store(schema)?;
    if case == Case::BesideHeld {
        stage.register(schema, HELD_TYPE, 1, &args.command)?;
        store.limit_type(HELD_TYPE, &json!([{"name": "held", "max": 0, "holds": "process"}]))?;
        for first in (0..held).step_by(BATCH as usize) {
            let requests = vec![StartRequest::default(); BATCH.min(held - first) as usize];
            store.start_processes(HELD_TYPE, &requests, StartOptions::default())?;
        }
        while store.hold_front(BATCH)? > 0 {}
    }
    stage.register(schema, TYPE, args.tasks, &args.command)?;
    if let Some(concurrency) = case.concurrency(max) {
        store.limit_type(TYPE, &concurrency)?;
    }
    start_many(&mut store, args.processes, 0)?;
    let executors = if case == Case::FewExecutors { max as usize } else { args.executors() };
    let began = Instant::now();
    let played = stage.node(schema, Cast { executors, ..stage.cast() })?;
    let run = played.follow(began, 0, total);
    played.node.stop();
    let seconds = run?.seconds;
    stage.check(&mut store, u64::from(args.processes), args.tasks)?;
    Ok(total as f64 / seconds)
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
        for figure in &self.figures {
            let ratio = figure.ratio.map_or_else(String::new, |it| format!(" (ratio {it:.3})"));
            let rate = figure.rate.unwrap_or_default();
            lines.add(&figure.case.shown(self.max, self.held), format!("{rate:.0} tasks/s{ratio}"));
        }
        Vec::new()
    }
}
