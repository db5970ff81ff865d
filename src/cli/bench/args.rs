//! The options of `bench`.

use clap::{ArgGroup, Args};

use crate::cli::serve::parse_executors;
use crate::engine::{EXECUTORS_MAX, NodeConfig};

/// Where help lists the modes.
const MODES: &str = "Instead of the rate, one of";
/// Executors for the engine alone: results come in batches that make a commit worth its while.
const NOOP_EXECUTORS: usize = 128;
/// Executors for each processor where the rate of short commands is measured: with fewer the groups of results are
/// smaller, with more there is little to gain.
const RATE_EXECUTORS_PER_PROCESSOR: usize = 64;
/// Executors beside those of the long commands, and of the node whose memory is measured.
pub const MANY_EXECUTORS: usize = 256;

/// Measure the durable task rate beside a bare spawn-and-capture loop, or one of the other figures.
#[derive(Debug, Clone, Args)]
#[command(
    group = ArgGroup::new("mode").multiple(false),
    after_help = "A round runs what is compared in turn, the database included, on the same processors; what counts \
                        is the ratio within a round and the median of the rounds. The tables lie in schemas of \
                        their own, which are dropped afterwards. CPU time is shown where the server runs on this \
                        machine; it is the whole server's, so nothing else should use it meanwhile."
)]
pub struct BenchArgs {
    /// Processes in each round.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub processes: u32,
    /// Tasks of each process.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub tasks: u32,
    /// Commands that run at once; the bare loop gets as many threads [default: 64 for each processor; 128 with --noop
    /// or --churn, 256 with --memory, as `serve` has with --latency, --idle, --sleepers and --priority].
    #[arg(long, value_name = "N", value_parser = parse_executors)]
    pub executors: Option<usize>,
    /// The command of every task.
    #[arg(long, default_value = "/bin/true")]
    pub command: String,
    /// Run nothing: what is measured is the engine alone.
    #[arg(long, conflicts_with_all = ["xargs", "latency", "sleepers", "priority", "memory"])]
    pub noop: bool,
    /// Rounds; medians are over these.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Time `xargs -P 8 -n 1` on the same command as well.
    #[arg(long, conflicts_with = "mode")]
    pub xargs: bool,
    /// Keep the schemas, to look at what was recorded.
    #[arg(long)]
    pub keep: bool,

    /// On an idle node: start this many processes one by one and time each from its committed start to its command's
    /// first instruction; then the tasks of a chain, one after the other.
    #[arg(long, group = "mode", help_heading = MODES, value_name = "STARTS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub latency: Option<u32>,
    /// With --latency: how many chains of 40 tasks.
    #[arg(long, requires = "latency", help_heading = MODES, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub chains: u32,
    /// With --latency: the node hears no notifications, as behind some poolers; it polls every second.
    #[arg(long, requires = "latency", help_heading = MODES)]
    pub no_listen: bool,
    /// The share of a core that an idle node and its server use, over this many seconds.
    #[arg(long, group = "mode", help_heading = MODES, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub idle: Option<u32>,
    /// The rate in a schema with this many finished processes, over the rate in an empty one.
    #[arg(long, group = "mode", help_heading = MODES, value_name = "FINISHED", num_args = 0..=1, default_missing_value = "1000000", value_parser = clap::value_parser!(u32).range(0..=20_000_000))]
    pub history: Option<u32>,
    /// With --history: and this many that are due tomorrow.
    #[arg(long, requires = "history", help_heading = MODES, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(0..=20_000_000))]
    pub waiting: u32,
    /// With --history: and this many that are due while their type is paused.
    #[arg(long, requires = "history", help_heading = MODES, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=20_000_000))]
    pub held: u32,
    /// With --history: print how the server runs a claim there, with what it reads.
    #[arg(long, requires = "history", help_heading = MODES)]
    pub plan: bool,
    /// How long a claim takes at the begin and at the end of this many seconds of full load without commands, beside a
    /// transaction that is open all the time.
    #[arg(long, group = "mode", help_heading = MODES, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub churn: Option<u32>,
    /// The rate beside this many commands that sleep, over the rate without them.
    #[arg(long, group = "mode", help_heading = MODES, value_name = "N", num_args = 0..=1, default_missing_value = "256", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub sleepers: Option<u32>,
    /// The rate of so many nodes on one database, each a process of its own; several numbers are compared.
    #[arg(long, group = "mode", help_heading = MODES, value_name = "N,...", num_args = 0..=1, default_missing_value = "1,2,4", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=32))]
    pub nodes: Vec<u32>,
    /// A node as `serve` runs it: memory under load, time to be ready, connections, size of the program.
    #[arg(long, group = "mode", help_heading = MODES)]
    pub memory: bool,
    /// On a saturated node: start this many processes of higher priority one by one and time each from its committed
    /// start to its command's spawn.
    #[arg(long, group = "mode", help_heading = MODES, value_name = "STARTS", num_args = 0..=1, default_missing_value = "100", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub priority: Option<u32>,

    /// Run a node until standard input ends; what the modes with nodes of their own start.
    #[arg(long, hide = true)]
    pub as_node: bool,
}

impl BenchArgs {
    /// How many commands, or steps of the engine alone, run at once.
    pub fn executors(&self) -> usize {
        let usual = if self.memory {
            MANY_EXECUTORS
        } else if self.noop || self.churn.is_some() {
            NOOP_EXECUTORS
        } else if self.latency.is_some()
            || self.idle.is_some()
            || self.sleepers.is_some()
            || self.priority.is_some()
        {
            NodeConfig::default().executors
        } else {
            let processors = std::thread::available_parallelism().map_or(2, usize::from);
            (processors * RATE_EXECUTORS_PER_PROCESSOR).min(EXECUTORS_MAX)
        };
        self.executors.unwrap_or(usual)
    }

    /// All tasks of a round.
    pub fn total(&self) -> u64 {
        u64::from(self.processes) * u64::from(self.tasks)
    }
}
