//! How many processes sessions start that call `start_process` one by one: due at once, beside starts in the future,
//! of which no node has to hear.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::bench::error::BenchError;
use crate::bench::feeder::while_fed;
use crate::bench::lines::Lines;
use crate::bench::quantile::median;
use crate::bench::stage::{Cast, Stage, TYPE};

/// The process type that the sessions start; the node's own load is another one.
const STARTED: &str = "started";
/// What is due then is of no interest to a node today.
const FUTURE: Duration = Duration::from_secs(86_400);

/// Starts a second of all sessions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Due at once.
    pub now: f64,
    /// Due tomorrow.
    pub future: f64,
    /// Now over future.
    pub ratio: f64,
}

/// One round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Round {
    /// Beside a node that has nothing else to do; its tasks run nothing, so that commands are no part of the ratio.
    pub idle: Rates,
    /// Beside one with a backlog of the command.
    pub busy: Rates,
}

/// The rounds and the medians.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Sessions that start one process after the other.
    pub sessions: u32,
    /// How long each part of a round lasts.
    pub seconds: u32,
    /// Executors of the node.
    pub executors: usize,
    /// The command of the busy node.
    pub command: String,
    /// The rounds.
    pub rounds: Vec<Round>,
    /// The medians beside an idle node.
    pub idle: Option<Rates>,
    /// And beside a busy one.
    pub busy: Option<Rates>,
}

/// Does the rounds.
pub fn run(stage: &Stage<'_>, sessions: u32, seconds: u32) -> Result<Report, BenchError> {
    let args = stage.args;
    let part = Part { stage, sessions, time: Duration::from_secs(seconds.into()) };
    let mut rounds = Vec::new();
    for number in 1..=args.rounds {
        let round = Round { idle: part.rates(number, false)?, busy: part.rates(number, true)? };
        eprintln!(
            "round {number} of {}: idle node {}; busy node {}",
            args.rounds,
            round.idle.shown(),
            round.busy.shown()
        );
        rounds.push(round);
    }
    let medians = |of: fn(&Round) -> Rates| {
        let figure = |figure: fn(Rates) -> f64| median(rounds.iter().map(|round| Some(figure(of(round)))));
        Some(Rates {
            now: figure(|it| it.now)?,
            future: figure(|it| it.future)?,
            ratio: figure(|it| it.ratio)?,
        })
    };
    Ok(Report {
        sessions,
        seconds,
        executors: args.executors(),
        command: args.command.clone(),
        idle: medians(|it| it.idle),
        busy: medians(|it| it.busy),
        rounds,
    })
}

/// What all parts of the rounds have in common.
struct Part<'a> {
    stage: &'a Stage<'a>,
    sessions: u32,
    time: Duration,
}

impl Part<'_> {
    /// Every other round begins with the future.
    fn rates(&self, number: u32, is_busy: bool) -> Result<Rates, BenchError> {
        let one = |wait: Option<Duration>| {
            let label = format!("starts_{number}_{}_{}", u8::from(is_busy), u8::from(wait.is_some()));
            self.stage.in_schema(&label, |schema| self.rate(schema, is_busy, wait))
        };
        let (now, future) = if number.is_multiple_of(2) {
            let future = one(Some(FUTURE))?;
            (one(None)?, future)
        } else {
            (one(None)?, one(Some(FUTURE))?)
        };
        Ok(Rates { now, future, ratio: now / future })
    }

    fn rate(&self, schema: &str, is_busy: bool, wait: Option<Duration>) -> Result<f64, BenchError> {
        let stage = self.stage;
        stage.register(schema, TYPE, stage.args.tasks, &stage.args.command)?;
        stage.register(schema, STARTED, 1, &stage.args.command)?;
        // What still waits at the end is not waited for.
        let cast = Cast { is_noop: !is_busy, drain: Duration::ZERO, ..Cast::of(stage.args.executors()) };
        let played = stage.node(schema, cast)?;
        let rate = match is_busy {
            true => {
                let warm_up = cast.executors as u64 * 2;
                while_fed(stage, schema, &played, warm_up, || self.start(schema, wait)).map(|(rate, _)| rate)
            }
            false => self.start(schema, wait),
        };
        played.node.stop();
        rate
    }

    /// All sessions begin at once; each stops when the time is over.
    fn start(&self, schema: &str, wait: Option<Duration>) -> Result<f64, BenchError> {
        let stores = (0..self.sessions).map(|_| self.stage.store(schema));
        let stores = stores.collect::<Result<Vec<_>, BenchError>>()?;
        let together = Barrier::new(stores.len());
        let counts = std::thread::scope(|scope| {
            let sessions: Vec<_> = stores
                .into_iter()
                .map(|mut store| {
                    let together = &together;
                    scope.spawn(move || {
                        // Of a session's statements the first one is prepared.
                        let first = store.start_one(STARTED, wait);
                        together.wait();
                        first?;
                        let (began, mut count) = (Instant::now(), 0_u64);
                        while began.elapsed() < self.time {
                            store.start_one(STARTED, wait)?;
                            count += 1;
                        }
                        Ok(count as f64 / began.elapsed().as_secs_f64())
                    })
                })
                .collect();
            // A panic in one of them is one of ours: pass it on.
            let joined =
                sessions.into_iter().map(|it| it.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
            joined.collect::<Vec<Result<f64, BenchError>>>()
        });
        counts.into_iter().sum()
    }
}

impl Rates {
    fn shown(&self) -> String {
        format!("{:.0}/s due at once, {:.0}/s tomorrow (ratio {:.3})", self.now, self.future, self.ratio)
    }
}

impl Report {
    /// For people.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
        lines.add(
            "starts",
            format!(
                "{} sessions, {} s each, {} executors; medians of {} rounds",
                self.sessions,
                self.seconds,
                self.executors,
                self.rounds.len()
            ),
        );
        lines.add_some("beside an idle node", self.idle, |it| it.shown());
        lines.add_some(&format!("beside a node busy with {}", self.command), self.busy, |it| it.shown());
        Vec::new()
    }
}
