//! What is asked of a bench.

use std::path::PathBuf;

use log::LevelFilter;

use crate::database::Pooler;
use crate::engine::{EXECUTORS_MAX, NodeConfig};
use crate::store::bench::Past;

/// Executors for the engine alone: results come in batches that make a commit worth its while.
const NOOP_EXECUTORS: usize = 128;
/// Executors for each processor where the rate of short commands is measured: with fewer the groups of results are
/// smaller, with more there is little to gain.
const RATE_EXECUTORS_PER_PROCESSOR: usize = 64;
/// Executors of the node whose commands print much.
const OUTPUT_EXECUTORS: usize = 32;
/// Executors of the node whose memory is measured.
const MANY_EXECUTORS: usize = 256;

/// What all modes have in common, and the mode.
#[derive(Debug, Clone)]
pub struct Args {
    /// Processes in each round.
    pub processes: u32,
    /// Tasks of each process.
    pub tasks: u32,
    /// Commands that run at once; `None`: what suits the mode.
    pub executors: Option<usize>,
    /// The command of every task.
    pub command: String,
    /// Whether to run nothing: what is measured is the engine alone.
    pub noop: bool,
    /// How many rounds.
    pub rounds: u32,
    /// Whether to keep the schemas.
    pub keep: bool,
    /// What to measure.
    pub mode: Mode,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// The rate of a node in this process.
    Rate {
        /// Whether to time `xargs` as well.
        xargs: bool,
    },
    /// The rate of `serve`, seen from outside.
    Serve {
        /// What is compared.
        executors: Vec<ServeExecutors>,
    },
    /// The rate of commands that print much.
    Output {
        /// Bytes that each command prints; these are compared.
        sizes: Vec<u32>,
        /// How long the node rests before its memory is looked at last.
        idle_seconds: u32,
    },
    /// The rate of single starts.
    Starts {
        /// Sessions that start processes one by one.
        sessions: u32,
        /// How long each part of a round lasts.
        seconds: u32,
    },
    /// How soon an idle node starts a command.
    Latency(Latency),
    /// What an idle node uses.
    Idle {
        /// Over this time.
        seconds: u32,
    },
    /// The rate in a schema with a past, and what is read there.
    History {
        /// What lies in it.
        past: Past,
        /// Whether to show how the server runs a claim.
        plan: bool,
    },
    /// What it costs to forget.
    Forget {
        /// Processes that have ended.
        finished: u32,
        /// For how many seconds the rates before and after are taken.
        window: u32,
    },
    /// Claims beside a transaction that is open all the time.
    Churn {
        /// How long the load lasts.
        seconds: u32,
    },
    /// The rate beside commands that sleep.
    Sleepers {
        /// How many.
        count: u32,
    },
    /// The rate of several nodes.
    Nodes {
        /// The numbers of nodes that are compared.
        counts: Vec<u32>,
    },
    /// The rate under limits.
    Limits {
        /// What a limit lets run that is reached.
        max: u32,
        /// Processes that are held beside.
        held: u32,
    },
    /// What a node takes up.
    Memory,
    /// How soon a process of higher priority begins.
    Priority {
        /// How many are started.
        starts: u32,
    },
}

/// What an idle node is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Processes that are started one by one.
    pub starts: u32,
    /// Chains of tasks after them.
    pub chains: u32,
    /// Whether the node hears no notifications.
    pub is_deaf: bool,
}

/// With how many executors `serve` is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServeExecutors {
    /// Without the option.
    Default,
    /// With `--executors`.
    Number(usize),
}

/// How a program of ours that is started finds the database, as the options have told us.
#[derive(Debug, Clone)]
pub struct Reach {
    /// `--database-url`
    pub database_url: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--pooler`
    pub pooler: Pooler,
    /// `--log-level`
    pub log_level: Option<LevelFilter>,
}

impl ServeExecutors {
    /// How many these are.
    pub fn count(self) -> usize {
        match self {
            Self::Default => NodeConfig::default().executors,
            Self::Number(number) => number,
        }
    }
}

impl Args {
    /// How many commands, or steps of the engine alone, run at once.
    pub fn executors(&self) -> usize {
        let usual = match self.mode {
            Mode::Memory => MANY_EXECUTORS,
            Mode::Output { .. } => OUTPUT_EXECUTORS,
            _ if self.noop || matches!(self.mode, Mode::Churn { .. }) => NOOP_EXECUTORS,
            Mode::Rate { .. }
            | Mode::History { .. }
            | Mode::Forget { .. }
            | Mode::Nodes { .. }
            | Mode::Limits { .. } => {
                let processors = std::thread::available_parallelism().map_or(2, usize::from);
                (processors * RATE_EXECUTORS_PER_PROCESSOR).min(EXECUTORS_MAX)
            }
            _ => NodeConfig::default().executors,
        };
        self.executors.unwrap_or(usual)
    }

    /// All tasks of a round.
    pub fn total(&self) -> u64 {
        u64::from(self.processes) * u64::from(self.tasks)
    }
}
