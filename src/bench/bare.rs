//! The yardsticks: the same command run by those who record nothing.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

use super::cost::own_times;
use super::error::BenchError;
use super::stage::Stage;
use crate::command::bare_spawn_and_capture;

/// Processes that xargs is told to run at once.
const XARGS_PROCESSES: &str = "8";

/// How fast commands run when nothing is promised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bare {
    /// Commands a second.
    pub rate: f64,
    /// Processor seconds of the loop's own threads per 1,000 commands.
    pub loop_cpu_s: Option<f64>,
    /// Processor seconds of the commands per 1,000 of them.
    pub commands_cpu_s: Option<f64>,
}

/// As many threads as the node has executors, the same command, its output read.
pub fn run_loop(stage: &Stage<'_>) -> Result<Bare, BenchError> {
    let argv = stage.argv()?;
    let total = stage.args.total();
    let left = AtomicU64::new(total);
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
    let (own, commands) = own_times();
    let began = Instant::now();
    let outcomes: Vec<io::Result<()>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..stage.args.executors())
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
    let rate = total as f64 / began.elapsed().as_secs_f64();
    let (own_after, commands_after) = own_times();
    let outcome: io::Result<()> = outcomes.into_iter().collect();
    outcome.map_err(|error| BenchError::Command(format!("{:?}: {error}", stage.args.command)))?;
    let each = |then: Option<f64>, now: Option<f64>| Some((now? - then?) * 1000.0 / total as f64);
    Ok(Bare { rate, loop_cpu_s: each(own, own_after), commands_cpu_s: each(commands, commands_after) })
}

/// Commands a second of `xargs`.
pub fn run_xargs(stage: &Stage<'_>) -> Result<f64, BenchError> {
    let failed = |error: io::Error| BenchError::Command(format!("xargs: {error}"));
    let argv = stage.argv()?;
    let total = stage.args.total();
    let lines: String = (0..total).map(|n| format!("{n}\n")).collect();
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
    Ok(total as f64 / began.elapsed().as_secs_f64())
}
