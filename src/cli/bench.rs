//! `bench` as a command: its options, the session around what they ask for, and the report on standard output.

use clap::{ArgGroup, Args};

use super::background;
use super::error::CliError;
use super::global::GlobalOptions;
use super::serve::parse_executors;
use super::session::{Need, Session};
use super::terminal::{print_json, print_lines};
use crate::bench::args::{Latency, Mode, Reach, ServeExecutors};
use crate::bench::error::BenchError;
use crate::bench::stage::start_node;
use crate::bench::{self, child};
use crate::engine::NodeConfig;
use crate::http::Endpoint;
use crate::store::bench::Past;

/// Where help lists the modes.
const MODES: &str = "Instead of the rate, one of";

/// What to measure.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("mode").multiple(false),
    after_help = "A round runs what is compared in turn, the database included, on the same processors, and each round \
                        begins with another part; what counts is the ratio within a round and the median of the rounds. \
                        The bare loop spawns the command and reads its output, in 2, 4 and 8 threads: the fastest counts. \
                        The tables lie in schemas of their own, which are dropped afterwards. CPU time is shown where \
                        the server runs on this machine; it is the whole server's, so nothing else should use it \
                        meanwhile."
)]
pub struct Options {
    /// Processes in each round.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub processes: u32,
    /// Tasks of each process.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub tasks: u32,
    /// Commands that run at once [default: 64 for each processor; 128 with --noop or --churn, 256 with --memory, 32 with --output, as
    /// `serve` has with --latency, --idle, --sleepers, --priority and --starts].
    #[arg(long, value_name = "N", value_parser = parse_executors, conflicts_with = "serve")]
    pub executors: Option<usize>,
    /// The command of every task.
    #[arg(long, default_value = "/bin/true")]
    pub command: String,
    /// Run nothing: what is measured is the engine alone.
    #[arg(long, conflicts_with_all = ["xargs", "serve", "output", "starts", "latency", "sleepers", "priority", "memory"])]
    pub noop: bool,
    /// Rounds; medians are over these.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Time `xargs -P 8` on the same command as well.
    #[arg(long, conflicts_with = "mode")]
    pub xargs: bool,
    /// Keep the schemas, to look at what was recorded.
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,

    /// The rate of `serve` as a user runs it, in a process of its own, seen from outside: processes of --tasks tasks and
    /// as many tasks in processes of one, with these numbers of executors, beside the bare loop and `xargs -P 8`; and
    /// whose CPU time it takes. `default` is `serve` without the option.
    #[arg(long, group = "mode", help_heading = MODES, value_name = "N,...", num_args = 0..=1, default_missing_value = "default,8,4", value_delimiter = ',', value_parser = parse_serve_executors)]
    pub serve: Vec<ServeExecutors>,
    /// The rate of commands that print so many bytes, such as 100k, of log-like text and by chance, with 32 executors or
    /// --executors, over the bare loop that reads as many; the write-ahead log for each byte; and the node's memory. A
    /// round prints at most 300 MB of each.
    #[arg(long, group = "mode", help_heading = MODES, value_name = "BYTES,...", num_args = 0..=1, default_missing_value = "10k,100k,1m", value_delimiter = ',', value_parser = parse_size)]
    pub output: Vec<u32>,
    /// With --output: how long the node rests before its memory is looked at last.
    #[arg(long, requires = "output", help_heading = MODES, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub rest: u32,
    /// How many processes sessions start that call start_process one by one, for this many seconds each: due at once
    /// over due tomorrow, beside an idle node (whose tasks run nothing) and beside a busy one.
    #[arg(long, group = "mode", help_heading = MODES, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub starts: Option<u32>,
    /// With --starts: how many sessions.
    #[arg(long, requires = "starts", help_heading = MODES, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=90))]
    pub sessions: u32,
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
    /// The rate in a schema with this many finished processes and much that waits, over the rate in an empty one; how
    /// many buffers a claim of 256 and the node's other looks at the queue read there; and how soon a process of the
    /// highest priority is spawned there.
    #[arg(long, group = "mode", help_heading = MODES, value_name = "FINISHED", num_args = 0..=1, default_missing_value = "1000000", value_parser = clap::value_parser!(u32).range(0..=20_000_000))]
    pub history: Option<u32>,
    /// With --history: and this many that are due in the days to come.
    #[arg(long, requires = "history", help_heading = MODES, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(0..=20_000_000))]
    pub waiting: u32,
    /// With --history: each of those has one of this many priorities.
    #[arg(long, requires = "history", help_heading = MODES, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=20_000_000))]
    pub priorities: u32,
    /// With --history: and this many that are due while their type is paused. With --limits: that are held.
    #[arg(long, help_heading = MODES, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(0..=20_000_000))]
    pub held: u32,
    /// With --history: and this many that are due, of --tasks tasks.
    #[arg(long, requires = "history", help_heading = MODES, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(0..=20_000_000))]
    pub ready: u32,
    /// With --history: all these numbers so many times as large, such as 0.1.
    #[arg(long, requires = "history", help_heading = MODES, value_name = "FACTOR", default_value_t = 1.0, value_parser = parse_scale)]
    pub scale: f64,
    /// With --history: print how the server runs a claim there, with what it reads.
    #[arg(long, requires = "history", help_heading = MODES)]
    pub plan: bool,
    /// What it costs to forget: this many finished processes of three tasks lie in a schema; `prune` deletes the half that
    /// is older than 30 days, then retention the rest, beside a node that works. Seconds, log, rates, bytes on the disk.
    #[arg(long, group = "mode", help_heading = MODES, value_name = "FINISHED", num_args = 0..=1, default_missing_value = "1000000", value_parser = clap::value_parser!(u32).range(1..=20_000_000))]
    pub forget: Option<u32>,
    /// With --forget: for how many seconds the rates before and after are taken.
    #[arg(long, requires = "forget", help_heading = MODES, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub window: u32,
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
    /// The rate under limits: one that is never reached over none, and one that lets so many run over as many executors
    /// without it, for processes and for commands; and without a limit beside --held processes that are held.
    #[arg(long, group = "mode", help_heading = MODES, value_name = "MAX", num_args = 0..=1, default_missing_value = "8", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limits: Option<u32>,
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

fn parse_serve_executors(text: &str) -> Result<ServeExecutors, String> {
    match text {
        "default" => Ok(ServeExecutors::Default),
        _ => {
            parse_executors(text).map(ServeExecutors::Number).map_err(|error| format!("{error}, or default"))
        }
    }
}

/// Bytes; `k` is for thousands, `m` for millions.
fn parse_size(text: &str) -> Result<u32, String> {
    let digits = text.trim_end_matches(['k', 'm']);
    let unit = match &text[digits.len()..] {
        "" => Some(1),
        "k" => Some(1000),
        "m" => Some(1_000_000),
        _ => None,
    };
    let bytes = digits.parse().ok().zip(unit).and_then(|(number, unit)| u32::checked_mul(number, unit));
    bytes
        .filter(|it| (1..=100_000_000).contains(it))
        .ok_or_else(|| "write bytes up to 100m, such as 100k".to_owned())
}

fn parse_scale(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor| (0.0..=10.0).contains(factor));
    factor.ok_or_else(|| "write a number from 0 to 10, such as 0.1".to_owned())
}

impl Options {
    fn mode(&self) -> Mode {
        if !self.serve.is_empty() {
            return Mode::Serve { executors: self.serve.clone() };
        }
        if !self.output.is_empty() {
            return Mode::Output { sizes: self.output.clone(), idle_seconds: self.rest };
        }
        if !self.nodes.is_empty() {
            return Mode::Nodes { counts: self.nodes.clone() };
        }
        if let Some(seconds) = self.starts {
            return Mode::Starts { sessions: self.sessions, seconds };
        }
        if let Some(starts) = self.latency {
            return Mode::Latency(Latency { starts, chains: self.chains, is_deaf: self.no_listen });
        }
        if let Some(seconds) = self.idle {
            return Mode::Idle { seconds };
        }
        if let Some(finished) = self.history {
            let Self { waiting, priorities, held, ready, plan, .. } = *self;
            let past = Past { finished, waiting, priorities, held, ready }.scaled(self.scale);
            return Mode::History { past, plan };
        }
        if let Some(finished) = self.forget {
            return Mode::Forget { finished, window: self.window };
        }
        if let Some(seconds) = self.churn {
            return Mode::Churn { seconds };
        }
        if let Some(count) = self.sleepers {
            return Mode::Sleepers { count };
        }
        if let Some(max) = self.limits {
            return Mode::Limits { max, held: self.held };
        }
        if let Some(starts) = self.priority {
            return Mode::Priority { starts };
        }
        if self.memory { Mode::Memory } else { Mode::Rate { xargs: self.xargs } }
    }

    fn args(&self) -> bench::args::Args {
        bench::args::Args {
            processes: self.processes,
            tasks: self.tasks,
            executors: self.executors,
            command: self.command.clone(),
            noop: self.noop,
            rounds: self.rounds,
            keep: self.keep,
            mode: self.mode(),
        }
    }
}

/// Metrics and reports.
///
/// # Errors
/// When the database fails or a command can't be run.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    let args = options.args();
    if options.as_node {
        return run_node(global, &args);
    }
    let (session, store) = Session::open(global, Need::Database)?;
    drop(store);
    let reach = Reach {
        database_url: global.database_url.clone(),
        data_dir: global.data_dir.clone(),
        pooler: global.pooler,
        log_level: global.log_level,
    };
    let report = bench::run(&args, &reach, &session.source())?;
    if options.json { print_json(&report) } else { print_lines(&report.shown()) }
}

/// Runs a node until standard input ends.
fn run_node(global: &GlobalOptions, args: &bench::args::Args) -> Result<(), CliError> {
    background::begin();
    let name = child::node_name(std::process::id());
    let (session, store) = Session::open_as(global, Need::Migrated, Some(&name))?;
    drop(store);
    let schema = session.schema().to_owned();
    let config =
        NodeConfig { schema: schema.clone(), name, executors: args.executors(), ..NodeConfig::default() };
    let node = start_node(session.source(), config, args.noop)?;
    let health = node.health();
    let anywhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint = Endpoint::start(anywhere, session.source(), schema, Some(node.health()), None);
    let told = endpoint.as_ref().map_or(Ok(()), |_| child::tell_until_end(&health));
    node.stop();
    endpoint?.stop();
    told.and_then(|()| child::tell_stale(&health)).map_err(CliError::Output)
}

impl From<BenchError> for CliError {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Store(error) => error.into(),
            BenchError::Start(error) => error.into(),
            _ => Self::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn args(words: &str) -> bench::args::Args {
        let words = std::iter::once("bench").chain(words.split_whitespace());
        <Line as clap::Parser>::try_parse_from(words).unwrap().options.args()
    }

    #[test]
    fn the_options_name_a_mode() {
        use ServeExecutors::{Default, Number};
        let serve = Mode::Serve { executors: vec![Default, Number(8), Number(4)] };
        assert_eq!(args("--serve").mode, serve);
        assert_eq!(args("--serve 2,default").mode, Mode::Serve { executors: vec![Number(2), Default] });
        assert_eq!(args("--output 9,2k").mode, Mode::Output { sizes: vec![9, 2000], idle_seconds: 5 });
        assert_eq!(args("--starts").mode, Mode::Starts { sessions: 16, seconds: 5 });
        assert_eq!(args("--forget 9").mode, Mode::Forget { finished: 9, window: 10 });
        assert_eq!(args("--xargs").mode, Mode::Rate { xargs: true });
        let past =
            Past { finished: 100_000, waiting: 100_000, priorities: 2_000, held: 10_000, ready: 10_000 };
        assert_eq!(args("--history --scale 0.1").mode, Mode::History { past, plan: false });
        assert_eq!(parse_serve_executors("0").unwrap_err(), "write a number from 1 to 1024, or default");
        assert!(parse_size("0").is_err() && parse_size("4km").is_err() && parse_size("9000m").is_err());
        assert!(parse_scale("-1").is_err() && parse_scale("nan").is_err());
    }

    #[test]
    fn executors_suit_the_mode() {
        let usual = NodeConfig::default().executors;
        for (words, executors) in
            [("--noop", 128), ("--churn", 128), ("--memory", 256), ("--latency 1", usual), ("--idle", usual)]
        {
            assert_eq!(args(words).executors(), executors, "{words}");
        }
        assert_eq!(args("--memory --executors 3").executors(), 3);
    }
}
