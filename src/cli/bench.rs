//! `bench`: how fast this machine runs commands durably, beside how fast it runs them at all.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::command::bare_spawn_and_capture;
use crate::database::ConnectionSource;
use crate::engine::{CommandRunners, Node, NodeConfig, NoopRunners, Runners, StartError};
use crate::model::process_type::{ProcessType, TaskDefinition};
use crate::store::start::{StartOptions, StartRequest};
use crate::store::{Store, StoreError};

/// Processes that xargs is told to run at once.
const XARGS_PROCESSES: &str = "8";
/// How often the end of a run is looked for: a ten-thousandth of the shortest run that means anything.
const LOOK: Duration = Duration::from_millis(2);
/// A run that records nothing for this long has failed.
const STALL: Duration = Duration::from_secs(60);

/// Measure the durable task rate beside a bare spawn-and-capture loop.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Each round runs both in turn, the database included, on the same processors; what counts \
                        is the ratio within a round and the median of the rounds. The tables lie in a schema of \
                        their own, which is dropped afterwards."
)]
pub struct BenchArgs {
    /// Processes in each round.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    processes: u32,
    /// Tasks of each process.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    tasks: u32,
    /// Commands that run at once; the bare loop gets as many threads [default: as `serve`].
    #[arg(long, value_name = "N", value_parser = super::serve::parse_executors)]
    executors: Option<usize>,
    /// The command of every task.
    #[arg(long, default_value = "/bin/true")]
    command: String,
    /// Run nothing: what is measured is the engine alone.
    #[arg(long, conflicts_with_all = ["xargs", "latency"])]
    noop: bool,
    /// Rounds; medians are over these.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Time `xargs -P 8 -n 1` on the same command as well.
    #[arg(long)]
    xargs: bool,
    /// Instead: start this many processes one by one on an idle node and time each from its committed start to
    /// its command's first instruction.
    #[arg(long, value_name = "STARTS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    latency: Option<u32>,
    /// Keep the schema, to look at what was recorded.
    #[arg(long)]
    keep: bool,
}

/// Why a bench could not be done.
#[derive(Debug)]
pub enum BenchError {
    /// The database.
    Store(StoreError),
    /// The node.
    Start(StartError),
    /// A command could not be run.
    Command(String),
    /// Nothing was recorded for a minute.
    Stalled {
        /// Executions recorded by then.
        recorded: u64,
        /// Executions expected.
        expected: u64,
    },
}

impl std::fmt::Display for BenchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => write!(f, "failed to {error}"),
            Self::Start(error) => write!(f, "failed to {error}"),
            Self::Command(problem) => f.write_str(problem),
            Self::Stalled { recorded, expected } => write!(
                f,
                "nothing was recorded for {} s: {recorded} of {expected} executions are; do the commands end?",
                STALL.as_secs()
            ),
        }
    }
}

impl std::error::Error for BenchError {}

impl From<StoreError> for BenchError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<StartError> for BenchError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

/// One round: rates are tasks a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Round {
    /// Seconds that the one call took which started all processes.
    pub start_call_seconds: f64,
    /// Durable rate.
    pub durable_rate: f64,
    /// Rate of the bare loop.
    pub bare_rate: Option<f64>,
    /// Durable over bare.
    pub ratio_to_bare: Option<f64>,
    /// Rate of xargs.
    pub xargs_rate: Option<f64>,
    /// Durable over xargs.
    pub ratio_to_xargs: Option<f64>,
}

/// What `bench` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchReport {
    /// Processes in each round.
    pub processes: u32,
    /// Tasks of each.
    pub tasks: u32,
    /// Commands at once.
    pub executors: usize,
    /// The command; `None` for the engine alone.
    pub command: Option<String>,
    /// The rounds.
    pub rounds: Vec<Round>,
    /// Each figure's median.
    pub median: Option<Round>,
    /// Milliseconds from a committed start to the first instruction.
    pub latency_ms: Option<Latency>,
}

/// Milliseconds from a committed start to the command's first instruction, on an idle node.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// How many starts.
    pub starts: usize,
    /// Half of them were faster.
    pub p50: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

/// Runs the bench; progress goes to stderr.
///
/// # Errors
/// When the database fails, a command can't be run, or nothing is recorded any more.
pub fn bench(args: &BenchArgs, source: &Arc<dyn ConnectionSource>) -> Result<BenchReport, BenchError> {
    let executors = args.executors.unwrap_or_else(|| NodeConfig::default().executors);
    let mut report = BenchReport {
        processes: args.processes,
        tasks: args.tasks,
        executors,
        command: (!args.noop).then(|| args.command.clone()),
        rounds: Vec::new(),
        median: None,
        latency_ms: None,
    };
    let stage = Stage { args, source, executors };
    if let Some(starts) = args.latency {
        report.latency_ms = Some(stage.in_schema(0, |schema| stage.latency(schema, starts))?);
        return Ok(report);
    }
    for round in 1..=args.rounds {
        let done = stage.round(round)?;
        eprintln!("round {round} of {}: {}", args.rounds, show_round(&done));
        report.rounds.push(done);
    }
    report.median = median_round(&report.rounds);
    Ok(report)
}

/// Prints the report for people.
///
/// # Errors
/// When stdout can't be written to.
pub fn print(report: &BenchReport, out: &mut impl Write) -> io::Result<()> {
    if let Some(latency) = &report.latency_ms {
        return writeln!(
            out,
            "start to first instruction, {} starts: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            latency.starts, latency.p50, latency.p99, latency.max
        );
    }
    let what = report.command.as_deref().unwrap_or("no command (the engine alone)");
    writeln!(
        out,
        "{} processes of {} tasks, {} executors, {what}; medians of {} rounds",
        report.processes,
        report.tasks,
        report.executors,
        report.rounds.len()
    )?;
    match &report.median {
        Some(median) => writeln!(out, "{}", show_round(median)),
        None => Ok(()),
    }
}

fn show_round(round: &Round) -> String {
    let mut text = format!("durable {:.0} tasks/s", round.durable_rate);
    for (name, rate, ratio) in [
        ("bare loop", round.bare_rate, round.ratio_to_bare),
        ("xargs -P 8", round.xargs_rate, round.ratio_to_xargs),
    ] {
        if let (Some(rate), Some(ratio)) = (rate, ratio) {
            text.push_str(&format!(", {name} {rate:.0}/s (ratio {ratio:.3})"));
        }
    }
    text.push_str(&format!(", all started in {:.2} s", round.start_call_seconds));
    text
}

struct Stage<'a> {
    args: &'a BenchArgs,
    source: &'a Arc<dyn ConnectionSource>,
    executors: usize,
}

impl Stage<'_> {
    fn total(&self) -> usize {
        self.args.processes as usize * self.args.tasks as usize
    }

    fn round(&self, number: u32) -> Result<Round, BenchError> {
        // Every other round begins with the other one: neither has the warm caches every time.
        let is_bare_first = number.is_multiple_of(2);
        let early_bare = if is_bare_first { self.bare()? } else { None };
        let (start_call_seconds, durable_rate) = self.in_schema(number, |schema| self.durable(schema))?;
        let bare_rate = if is_bare_first { early_bare } else { self.bare()? };
        let xargs_rate = if self.args.xargs { Some(self.xargs()?) } else { None };
        Ok(Round {
            start_call_seconds,
            durable_rate,
            bare_rate,
            ratio_to_bare: bare_rate.map(|rate| durable_rate / rate),
            xargs_rate,
            ratio_to_xargs: xargs_rate.map(|rate| durable_rate / rate),
        })
    }

    /// Does `work` in a schema of its own and drops it, also when `work` fails.
    fn in_schema<T>(
        &self,
        number: u32,
        work: impl FnOnce(&str) -> Result<T, BenchError>,
    ) -> Result<T, BenchError> {
        let schema = format!("process_orchestrator_bench_{}_{number}", std::process::id());
        let mut store = Store::open(&**self.source, "bench", &schema)?;
        store.migrate(false)?;
        let result = work(&schema);
        if self.args.keep {
            eprintln!("kept: schema {schema}");
        } else {
            store.drop_schema()?;
        }
        result
    }

    fn node(&self, schema: &str) -> Result<Node, BenchError> {
        let runners: Arc<dyn Runners> =
            if self.args.noop { Arc::new(NoopRunners) } else { Arc::new(CommandRunners::new()) };
        let config =
            NodeConfig { schema: schema.to_owned(), executors: self.executors, ..NodeConfig::default() };
        Ok(Node::start(Arc::clone(self.source), config, runners)?)
    }

    /// Seconds of the starting call, and tasks a second from the node's start to the last recorded result.
    fn durable(&self, schema: &str) -> Result<(f64, f64), BenchError> {
        let mut store = Store::open(&**self.source, "bench", schema)?;
        let kind = (0..self.args.tasks).fold(ProcessType::new("bench", ""), |kind, i| {
            kind.add(TaskDefinition::new(format!("task-{i}"), &self.args.command))
        });
        kind.validate("--command").map_err(|faults| BenchError::Command(faults.to_string()))?;
        store.register(&kind)?;
        let requests = vec![StartRequest::default(); self.args.processes as usize];
        let began = Instant::now();
        store.start_processes("bench", &requests, StartOptions::default())?;
        let start_call = began.elapsed().as_secs_f64();

        let began = Instant::now();
        let node = self.node(schema)?;
        let waited = wait_for(&node, self.total() as u64);
        let seconds = began.elapsed().as_secs_f64();
        node.stop();
        waited?;
        let failed = store.status()?.processes[&crate::model::lifecycle::ProcessStatus::Failed];
        if failed > 0 {
            return Err(BenchError::Command(format!(
                "{failed} processes failed; does {:?} end with exit code 0?",
                self.args.command
            )));
        }
        Ok((start_call, self.total() as f64 / seconds))
    }

    /// The yardstick: as many threads, the same command, its output read, nothing recorded.
    fn bare(&self) -> Result<Option<f64>, BenchError> {
        if self.args.noop {
            return Ok(None);
        }
        let argv = shell_words::split(&self.args.command)
            .map_err(|error| BenchError::Command(format!("--command {:?}: {error}", self.args.command)))?;
        let left = AtomicUsize::new(self.total());
        let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
        let began = Instant::now();
        let outcomes: Vec<io::Result<()>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.executors)
                .map(|_| {
                    scope.spawn(|| {
                        while take() {
                            bare_spawn_and_capture(&argv)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            // A panic in one of them is one of ours: pass it on.
            threads.into_iter().map(|it| it.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        });
        let rate = self.total() as f64 / began.elapsed().as_secs_f64();
        let outcome: io::Result<()> = outcomes.into_iter().collect();
        outcome.map_err(|error| BenchError::Command(format!("{:?}: {error}", self.args.command)))?;
        Ok(Some(rate))
    }

    fn xargs(&self) -> Result<f64, BenchError> {
        let failed = |error: io::Error| BenchError::Command(format!("xargs: {error}"));
        let argv = shell_words::split(&self.args.command)
            .map_err(|error| BenchError::Command(format!("--command {:?}: {error}", self.args.command)))?;
        let mut lines = String::new();
        (0..self.total()).for_each(|n| lines.push_str(&format!("{n}\n")));
        let began = Instant::now();
        let mut xargs = Command::new("xargs")
            .args(["-P", XARGS_PROCESSES, "-n", "1"])
            .args(&argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = xargs.stdin.take() {
            stdin.write_all(lines.as_bytes()).map_err(failed)?;
        }
        let status = xargs.wait().map_err(failed)?;
        if !status.success() {
            return Err(BenchError::Command(format!("xargs ended with {status}")));
        }
        Ok(self.total() as f64 / began.elapsed().as_secs_f64())
    }

    /// The command prints the time at which it runs; the clock is the same as ours.
    fn latency(&self, schema: &str, starts: u32) -> Result<Latency, BenchError> {
        let mut store = Store::open(&**self.source, "bench", schema)?;
        store.register(&ProcessType::new("bench", "").add(TaskDefinition::new("date", "date +%s%N")))?;
        let node = self.node(schema)?;
        let result = (0..starts).map(|_| one_latency(&mut store, &node)).collect::<Result<Vec<_>, _>>();
        node.stop();
        let mut millis = result?;
        millis.sort_by(f64::total_cmp);
        Ok(Latency {
            starts: millis.len(),
            p50: quantile(&millis, 0.5),
            p99: quantile(&millis, 0.99),
            max: quantile(&millis, 1.0),
        })
    }
}

fn one_latency(store: &mut Store, node: &Node) -> Result<f64, BenchError> {
    let expected = node.vitals().executions() + 1;
    let id = store.start_processes("bench", &[StartRequest::default()], StartOptions::default())?.remove(0);
    let committed = jiff::Timestamp::now();
    wait_for(node, expected)?;
    let output = store.tasks(&id)?.pop().and_then(|task| task.output).unwrap_or_default();
    let nanos: i128 = output
        .trim()
        .parse()
        .map_err(|_| BenchError::Command(format!("date printed {output:?}, not nanoseconds")))?;
    // An idle moment, so that the next start finds the node asleep as well.
    std::thread::park_timeout(LOOK * 5);
    Ok((nanos - committed.as_nanosecond()) as f64 / 1e6)
}

fn wait_for(node: &Node, expected: u64) -> Result<(), BenchError> {
    let vitals = node.vitals();
    let (mut recorded, mut last_change) = (vitals.executions(), Instant::now());
    while recorded < expected {
        std::thread::park_timeout(LOOK);
        let now = vitals.executions();
        if now != recorded {
            (recorded, last_change) = (now, Instant::now());
        } else if last_change.elapsed() > STALL || !node.failed().is_empty() {
            return Err(BenchError::Stalled { recorded, expected });
        }
    }
    Ok(())
}

/// The smallest value that at least the share `q` of them do not exceed. `sorted` is not empty.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn median_round(rounds: &[Round]) -> Option<Round> {
    let median = |figure: fn(&Round) -> Option<f64>| {
        let mut values: Vec<f64> = rounds.iter().filter_map(figure).collect();
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then(|| quantile(&values, 0.5))
    };
    Some(Round {
        start_call_seconds: median(|it| Some(it.start_call_seconds))?,
        durable_rate: median(|it| Some(it.durable_rate))?,
        bare_rate: median(|it| it.bare_rate),
        ratio_to_bare: median(|it| it.ratio_to_bare),
        xargs_rate: median(|it| it.xargs_rate),
        ratio_to_xargs: median(|it| it.ratio_to_xargs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&values, 0.5), 2.0);
        assert_eq!(quantile(&values, 0.99), 4.0);
        assert_eq!(quantile(&[7.0], 0.5), 7.0);
    }

    #[test]
    fn the_median_is_taken_figure_by_figure() {
        let round = |rate: f64, ratio: f64| Round {
            start_call_seconds: 1.0,
            durable_rate: rate,
            bare_rate: Some(100.0),
            ratio_to_bare: Some(ratio),
            xargs_rate: None,
            ratio_to_xargs: None,
        };
        let median = median_round(&[round(3.0, 0.1), round(1.0, 0.3), round(2.0, 0.2)]);
        let median = median.unwrap_or_else(|| panic!("no median"));
        assert_eq!((median.durable_rate, median.ratio_to_bare), (2.0, Some(0.2)));
        assert_eq!(median_round(&[]), None);
    }
}
