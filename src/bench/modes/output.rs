//! The rate of commands that print much, beside the bare loop that reads as many bytes, and what it costs: log, memory.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::serve::{self, Timed};
use crate::bench::args::{Args, ServeExecutors};
use crate::bench::bare::{self, Bare};
use crate::bench::cost::Cost;
use crate::bench::error::BenchError;
use crate::bench::lines::Lines;
use crate::bench::quantile::median;
use crate::bench::served::Served;
use crate::bench::stage::{Stage, TYPE};
use crate::platform::resident_memory;

/// What is printed in a round of a case at the most: some seconds of it say as much as minutes.
const PRINTED_BYTES_MAX: u64 = 300_000_000;
/// Bytes of a line of what is not like a log.
const LINE_BYTES: usize = 100;

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Lines of times, levels, names and numbers: it shrinks to less than half.
    Log,
    /// Characters by chance: it does not shrink.
    Random,
}

/// One run, or the medians of all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Run {
    /// Bytes that each command prints.
    pub bytes: u32,
    /// Of this kind.
    pub kind: Kind,
    /// Commands in a round.
    pub commands: u32,
    /// The fastest bare loop.
    pub bare: Bare,
    /// Tasks a second, from the first one's begin to the last process's end.
    pub rate: f64,
    /// Over the bare loop of the round.
    pub ratio_to_bare: f64,
    /// Bytes of write-ahead log for each byte that was printed.
    pub wal_per_byte: Option<f64>,
    /// What it cost.
    pub cost: Cost,
    /// The most of the node that was resident at any look, in bytes; absent where the system does not show it.
    pub busy_bytes: Option<u64>,
    /// When all was recorded.
    pub end_bytes: Option<u64>,
    /// After it had nothing to do for a while.
    pub idle_bytes: Option<u64>,
}

/// The rounds and each figure's median.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Executors of the node.
    pub executors: usize,
    /// How long the node had nothing to do before its memory was looked at last.
    pub idle_seconds: u32,
    /// The rounds.
    pub rounds: Vec<Vec<Run>>,
    /// Of each size and kind.
    pub runs: Vec<Run>,
}

/// Does the rounds: each size of each kind.
pub fn run(stage: &Stage<'_>, sizes: &[u32], idle_seconds: u32) -> Result<Report, BenchError> {
    let mut rounds: Vec<Vec<Run>> = Vec::new();
    for number in 1..=stage.args.rounds {
        eprintln!("round {number} of {}", stage.args.rounds);
        let mut runs = Vec::new();
        for (at, &bytes) in sizes.iter().enumerate() {
            for kind in [Kind::Log, Kind::Random] {
                let label = format!("output_{number}_{at}_{}", runs.len());
                let run = one_run(stage, &label, (bytes, kind), (number, idle_seconds))?;
                eprintln!("  {}: {}", run.label(), run.headline());
                runs.push(run);
            }
        }
        rounds.push(runs);
    }
    let cases = rounds.first().map_or(0, Vec::len);
    let runs = (0..cases).filter_map(|at| median_run(rounds.iter().filter_map(move |it| it.get(at))));
    Ok(Report { executors: stage.args.executors(), idle_seconds, runs: runs.collect(), rounds })
}

fn one_run(
    stage: &Stage<'_>,
    label: &str,
    (bytes, kind): (u32, Kind),
    (round, idle_seconds): (u32, u32),
) -> Result<Run, BenchError> {
    let printed =
        Printed::new(kind, bytes as usize).map_err(|it| BenchError::system("write what is printed", &it))?;
    let tasks = stage.args.tasks;
    let most = (PRINTED_BYTES_MAX / u64::from(bytes)).div_ceil(tasks.into()).max(1);
    let processes = stage.args.processes.min(u32::try_from(most).unwrap_or(u32::MAX));
    let args = Args { command: printed.command(), processes, ..stage.args.clone() };
    let stage = &Stage { args: &args, ..*stage };
    // Each round begins with another part.
    let bare_first = if round.is_multiple_of(2) { None } else { Some(bare::best_loop(stage, round)?) };
    let mut run = stage.in_schema(label, |schema| {
        stage.register(schema, TYPE, tasks, &args.command)?;
        let mut served = Served::start(stage, schema, ServeExecutors::Number(args.executors()))?;
        let resident = |pid| resident_memory(pid).map(|it| it.bytes);
        let mut busy_bytes = None;
        let mut look = |pid| busy_bytes = busy_bytes.max(resident(pid));
        let Timed { rate, cost } = serve::time(stage, schema, &mut served, (processes, tasks), &mut look)?;
        let end_bytes = resident(served.pid());
        std::thread::park_timeout(Duration::from_secs(idle_seconds.into()));
        let idle_bytes = resident(served.pid());
        served.stop()?;
        stage.check(&mut stage.store(schema)?, processes.into(), tasks)?;
        Ok(Run {
            bytes,
            kind,
            commands: processes * tasks,
            bare: Bare { threads: 0, rate: 0.0, loop_cpu_s: None, commands_cpu_s: None },
            rate,
            ratio_to_bare: 0.0,
            wal_per_byte: cost.wal_bytes.map(|it| it / f64::from(bytes)),
            cost,
            busy_bytes,
            end_bytes,
            idle_bytes,
        })
    })?;
    run.bare = bare_first.map_or_else(|| bare::best_loop(stage, round), Ok)?;
    run.ratio_to_bare = run.rate / run.bare.rate;
    Ok(run)
}

fn median_run<'a>(runs: impl Iterator<Item = &'a Run> + Clone) -> Option<Run> {
    let of = |figure: fn(&Run) -> Option<f64>| median(runs.clone().map(figure));
    let memory = |figure: fn(&Run) -> Option<u64>| {
        median(runs.clone().map(|it| figure(it).map(|bytes| bytes as f64))).map(|bytes| bytes as u64)
    };
    Some(Run {
        bare: Bare::median(runs.clone().map(|it| it.bare))?,
        rate: of(|it| Some(it.rate))?,
        ratio_to_bare: of(|it| Some(it.ratio_to_bare))?,
        wal_per_byte: of(|it| it.wal_per_byte),
        cost: Cost::median(runs.clone().map(|it| &it.cost)),
        busy_bytes: memory(|it| it.busy_bytes),
        end_bytes: memory(|it| it.end_bytes),
        idle_bytes: memory(|it| it.idle_bytes),
        ..*runs.clone().next()?
    })
}

/// A file with what commands print, gone with this.
struct Printed(PathBuf);

impl Printed {
    fn new(kind: Kind, bytes: usize) -> io::Result<Self> {
        let name = format!("process-orchestrator-bench-{:016x}", fastrand::u64(..));
        let printed = Self(std::env::temp_dir().join(name));
        let mut file = OpenOptions::new().write(true).create_new(true).open(&printed.0)?;
        file.write_all(text(kind, bytes).as_bytes())?;
        Ok(printed)
    }

    fn command(&self) -> String {
        format!("cat {}", shell_words::quote(&self.path().to_string_lossy()))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Printed {
    fn drop(&mut self) {
        // The directory for such files is cleaned by others too.
        let _ = fs::remove_file(&self.0);
    }
}

/// The same text every time.
fn text(kind: Kind, bytes: usize) -> String {
    const LEVELS: [&str; 5] = ["INFO", "INFO", "INFO", "DEBUG", "WARN"];
    const WORDS: [&str; 16] = [
        "connection",
        "accepted",
        "from",
        "worker",
        "finished",
        "batch",
        "processed",
        "retrying",
        "upstream",
        "timeout",
        "cache",
        "miss",
        "loading",
        "segment",
        "checksum",
        "written",
    ];
    let mut chance = fastrand::Rng::with_seed(bytes as u64);
    let mut text = String::with_capacity(bytes + 2 * LINE_BYTES);
    let mut millis = 0;
    while text.len() < bytes {
        if kind == Kind::Random {
            text.extend((1..LINE_BYTES).map(|_| char::from(chance.u8(b'!'..=b'~'))).chain(['\n']));
            continue;
        }
        millis += chance.u32(1..900);
        let (hour, minute, second) = (millis / 3_600_000 % 24, millis / 60_000 % 60, millis / 1000 % 60);
        let (level, worker, request) =
            (LEVELS[chance.usize(0..LEVELS.len())], chance.u8(1..17), chance.u32(..));
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "2026-11-29T{hour:02}:{minute:02}:{second:02}.{:03}Z {level} worker-{worker} request={request:08x}",
            millis % 1000
        );
        for _ in 0..chance.usize(3..9) {
            text.push(' ');
            text.push_str(WORDS[chance.usize(0..WORDS.len())]);
        }
        let _ = writeln!(text, " elapsed_ms={} rows={}", chance.u32(1..5000), chance.u32(1..100_000));
    }
    text.truncate(bytes);
    text
}

impl Run {
    fn label(&self) -> String {
        let kind = match self.kind {
            Kind::Log => "a log",
            Kind::Random => "random",
        };
        format!("{} x {} bytes, {kind}", self.commands, self.bytes)
    }

    fn headline(&self) -> String {
        let mut text = format!("{:.0} tasks/s, over the bare loop {:.3}", self.rate, self.ratio_to_bare);
        if let Some(wal) = self.wal_per_byte {
            text.push_str(&format!(", {wal:.3} bytes of WAL per byte"));
        }
        text
    }
}

impl Report {
    /// For people.
    pub fn show(&self, lines: &mut Lines) -> Vec<String> {
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0);
        lines.add(
            "run",
            format!("serve, {} executors; medians of {} rounds", self.executors, self.rounds.len()),
        );
        for run in &self.runs {
            lines.add(&run.label(), run.headline());
            lines.add("  bare loop", run.bare.shown());
            run.cost.show("  serve", lines);
            if let (Some(busy), Some(end), Some(idle)) = (run.busy_bytes, run.end_bytes, run.idle_bytes) {
                let text = format!(
                    "{} busy, {} at the end, {} {} s later",
                    mib(busy),
                    mib(end),
                    mib(idle),
                    self.idle_seconds
                );
                lines.add("  node's memory", text);
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_has_its_length_and_no_nul() {
        for kind in [Kind::Log, Kind::Random] {
            let text = text(kind, 10_000);
            assert_eq!((text.len(), text.is_ascii(), text.contains('\0')), (10_000, true, false));
            assert!(text.lines().count() > 50, "{text}");
        }
    }
}
