//! The yardsticks: the same command run by those who record nothing.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

use super::cost::own_times;
use super::error::BenchError;
use super::quantile::median;
use super::stage::Stage;
use crate::command::bare_spawn_and_capture;

/// Threads of the loops, of which the fastest is the yardstick. One of as many threads as a node has executors is slower.
const THREADS: [usize; 3] = [2, 4, 8];
/// Commands of one loop and of xargs: some seconds of them say as much as minutes.
const COMMANDS_MAX: u64 = 10_000;
/// Processes that xargs is told to run at once.
const XARGS_PROCESSES: &str = "8";
/// With it xargs starts a command for each line. Where the command does not hold it, that gets no argument more than the
/// node's: /bin/true with an argument (`-n 1`) loads a locale, which makes it slower by a seventh.
const XARGS_LINE: &str = "-I{}";
/// Its exit code when a command has one from 1 to 125.
const XARGS_COMMAND_FAILED: i32 = 123;

/// How fast commands run when nothing is promised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bare {
    /// Threads of the fastest loop; the other figures are its own.
    pub threads: usize,
    /// Commands a second.
    pub rate: f64,
    /// Processor seconds of the loop's own threads per 1,000 commands.
    pub loop_cpu_s: Option<f64>,
    /// Processor seconds of the commands per 1,000 of them.
    pub commands_cpu_s: Option<f64>,
}

impl Bare {
    /// Each figure's median.
    pub fn median(found: impl Iterator<Item = Self> + Clone) -> Option<Self> {
        let of = |figure: fn(Self) -> Option<f64>| median(found.clone().map(figure));
        Some(Self {
            threads: of(|it| Some(it.threads as f64))? as usize,
            rate: of(|it| Some(it.rate))?,
            loop_cpu_s: of(|it| it.loop_cpu_s),
            commands_cpu_s: of(|it| it.commands_cpu_s),
        })
    }

    /// For people.
    pub fn shown(&self) -> String {
        let Self { threads, rate, .. } = self;
        let mut text = format!("{rate:.0}/s with {threads} threads, the fastest of 2, 4 and 8");
        if let (Some(own), Some(commands)) = (self.loop_cpu_s, self.commands_cpu_s) {
            text.push_str(&format!("; CPU s per 1,000: loop {own:.3}, commands {commands:.3}"));
        }
        text
    }
}

/// The fastest of the loops, which are run one after the other, each of them first in every third round.
pub fn best_loop(stage: &Stage<'_>, round: u32) -> Result<Bare, BenchError> {
    let mut order = THREADS;
    order.rotate_left(round as usize % THREADS.len());
    let loops = order.map(|threads| run_loop(stage, threads));
    let loops: Vec<Bare> = loops.into_iter().collect::<Result<_, BenchError>>()?;
    let best = loops.into_iter().max_by(|a, b| a.rate.total_cmp(&b.rate));
    best.ok_or_else(|| BenchError::System("no loop was run".to_owned()))
}

/// So many threads, the same command, its output read.
fn run_loop(stage: &Stage<'_>, threads: usize) -> Result<Bare, BenchError> {
    let argv = stage.argv()?;
    let total = stage.args.total().min(COMMANDS_MAX);
    let left = AtomicU64::new(total);
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
    let (own, commands) = own_times();
    let began = Instant::now();
    let outcomes: Vec<io::Result<()>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
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
        running.into_iter().map(|it| it.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    });
    let rate = total as f64 / began.elapsed().as_secs_f64();
    let (own_after, commands_after) = own_times();
    let outcome: io::Result<()> = outcomes.into_iter().collect();
    outcome.map_err(|error| BenchError::Command(format!("{:?}: {error}", stage.args.command)))?;
    let each = |then: Option<f64>, now: Option<f64>| Some((now? - then?) * 1000.0 / total as f64);
    Ok(Bare {
        threads,
        rate,
        loop_cpu_s: each(own, own_after),
        commands_cpu_s: each(commands, commands_after),
    })
}

/// Commands a second of `xargs`.
pub fn run_xargs(stage: &Stage<'_>) -> Result<f64, BenchError> {
    let failed = |error: io::Error| BenchError::Command(format!("xargs: {error}"));
    let argv = stage.argv()?;
    let total = stage.args.total().min(COMMANDS_MAX);
    let lines: String = (0..total).map(|n| format!("{n}\n")).collect();
    let began = Instant::now();
    let mut xargs = Command::new("xargs")
        .args(["-P", XARGS_PROCESSES, XARGS_LINE])
        .args(&argv)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = xargs.stdin.take() {
        stdin.write_all(lines.as_bytes()).map_err(failed)?;
    }
    let status = xargs.wait().map_err(failed)?;
    // A yardstick looks at no exit code: whether the command fails is told where it is recorded.
    if ![Some(0), Some(XARGS_COMMAND_FAILED)].contains(&status.code()) {
        return Err(BenchError::Command(format!("xargs ended with {status}")));
    }
    Ok(total as f64 / began.elapsed().as_secs_f64())
}
