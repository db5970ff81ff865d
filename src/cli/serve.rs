//! `serve`: a node that runs whatever is due, with its status endpoint.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use crossbeam_channel::{Receiver, Sender, bounded, never, select};

use super::error::CliError;
use super::options::global::GlobalOptions;
use super::options::{documents, endpoint, forgetting};
use super::screen::background;
use super::screen::terminal::message;
use super::surroundings::service_manager::ServiceManager;
use super::surroundings::session::{Need, Session};
use super::surroundings::signals::{self, Signals};
use super::surroundings::stopping;
use super::types;
use crate::database::ConnectionSource;
use crate::engine::retention::policy::Policy;
use crate::engine::{
    BatchKeeper, Bookkeeper, CommandRunners, EraKeeper, Health, INTERVAL_MAX, INTERVAL_MIN, Node, NodeConfig,
    Retention, Scheduler, StartError, check_settings, guard,
};
use crate::http::{Endpoint, HttpError, TokenFile};
use crate::model::duration::{parse_duration, show_duration};
use crate::store::Store;
use crate::store::types::Registered;

/// Reached from this machine only: whoever reaches it can read every input and output.
const LISTEN_DEFAULT: &str = "127.0.0.1:8710";
/// The defaults of [`NodeConfig`] as the help shows them.
const DRAIN_TIMEOUT_DEFAULT: &str = "30s";
const POLL_INTERVAL_DEFAULT: &str = "1s";
const HEARTBEAT_DEFAULT: &str = "2s";
const DEAD_AFTER_DEFAULT: &str = "10s";
const LEASE_DEFAULT: &str = "5m";
/// Where process types are looked for if no option names them; several are separated as in PATH.
const PROCESS_TYPES_VARIABLE: &str = "PROCESS_ORCHESTRATOR_PROCESS_TYPES";

/// Where help lists what hardly anybody has to change.
const CLOCKS: &str = "Clocks (the defaults suit most)";

/// How to serve.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// A process type's JSON file, or a directory of them, registered at the start and again at SIGHUP; may be repeated
    /// [env: PROCESS_ORCHESTRATOR_PROCESS_TYPES, several separated by colons]
    #[arg(long, value_name = "PATH")]
    pub process_types: Vec<PathBuf>,
    /// Replace also process types that somebody has registered later than what the files hold; without it a node with an old
    /// file leaves them as they are, with a warning
    #[arg(long, env = "PROCESS_ORCHESTRATOR_REPLACE_TYPES", hide_env_values = true)]
    pub replace_types: bool,
    /// How many commands run at once, 1 to 1024
    #[arg(long, value_name = "N", env = "PROCESS_ORCHESTRATOR_EXECUTORS", hide_env_values = true,
        default_value_t = NodeConfig::default().executors, allow_negative_numbers = true, value_parser = parse_executors)]
    pub executors: usize,
    /// The name this node goes by [default: the host's name]
    #[arg(long, value_name = "NAME", env = "PROCESS_ORCHESTRATOR_NODE_NAME", hide_env_values = true,
        value_parser = parse_name)]
    pub node_name: Option<String>,
    /// How long SIGTERM or SIGINT waits for running commands before it ends them; a second one ends them at once
    #[arg(long, value_name = "TIME", env = "PROCESS_ORCHESTRATOR_DRAIN_TIMEOUT", hide_env_values = true,
        default_value = DRAIN_TIMEOUT_DEFAULT, allow_hyphen_values = true, value_parser = parse_duration)]
    pub drain_timeout: Duration,
    #[command(flatten)]
    pub forgetting: forgetting::Options,
    /// Where the status endpoint listens
    #[arg(long, value_name = "ADDR", help_heading = endpoint::HEADING, env = "PROCESS_ORCHESTRATOR_LISTEN", hide_env_values = true,
        default_value = LISTEN_DEFAULT, value_parser = parse_address)]
    pub listen: SocketAddr,
    /// Run without the status endpoint
    #[arg(long, help_heading = endpoint::HEADING, env = "PROCESS_ORCHESTRATOR_NO_HTTP", hide_env_values = true)]
    pub no_http: bool,
    #[command(flatten)]
    pub endpoint: endpoint::Options,
    /// How often it looks for due processes at the least; what is started wakes it at once
    #[arg(long, value_name = "TIME", help_heading = CLOCKS, env = "PROCESS_ORCHESTRATOR_POLL_INTERVAL", hide_env_values = true,
        default_value = POLL_INTERVAL_DEFAULT, allow_hyphen_values = true, value_parser = parse_interval)]
    pub poll_interval: Duration,
    /// How often it renews its lease
    #[arg(long, value_name = "TIME", help_heading = CLOCKS, env = "PROCESS_ORCHESTRATOR_HEARTBEAT", hide_env_values = true,
        default_value = HEARTBEAT_DEFAULT, allow_hyphen_values = true, value_parser = parse_interval)]
    pub heartbeat: Duration,
    /// How long a node whose session has ended is silent before this one takes it for dead, at least 3 heartbeats
    #[arg(long, value_name = "TIME", help_heading = CLOCKS, env = "PROCESS_ORCHESTRATOR_DEAD_AFTER", hide_env_values = true,
        default_value = DEAD_AFTER_DEFAULT, allow_hyphen_values = true, value_parser = parse_duration)]
    pub dead_after: Duration,
    /// How long it keeps its claims while it cannot reach the database, at least 3 times --dead-after; its commands
    /// are ended at two thirds of it
    #[arg(long, value_name = "TIME", help_heading = CLOCKS, env = "PROCESS_ORCHESTRATOR_LEASE", hide_env_values = true,
        default_value = LEASE_DEFAULT, allow_hyphen_values = true, value_parser = parse_duration)]
    pub lease: Duration,
}

/// A number of executors that a node can have.
pub(super) fn parse_executors(text: &str) -> Result<usize, String> {
    let most = crate::engine::EXECUTORS_MAX;
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("write a number from 1 to {most}"))
}

/// How often something is done.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let range = INTERVAL_MIN..=INTERVAL_MAX;
    let interval = parse_duration(text)?;
    let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
    range.contains(&interval).then_some(interval).ok_or_else(|| format!("it must be {least} to {most}"))
}

/// An address and port, a host's name and port, or a port of this machine.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let found = text.to_socket_addrs().map(|mut addresses| addresses.next());
    match found {
        Ok(Some(address)) => Ok(address),
        _ => Err(format!(
            "write an address and a port, such as {LISTEN_DEFAULT}, [::1]:8710 or localhost:8710"
        )),
    }
}

fn parse_name(text: &str) -> Result<String, String> {
    match crate::model::names::name_problem(text) {
        Some(problem) => Err(format!("the name {problem}")),
        None => Ok(text.to_owned()),
    }
}

fn is_empty_directory(path: &Path) -> bool {
    let is_empty = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty {
        log::warn!(
            "{} of {PROCESS_TYPES_VARIABLE} is empty: no process type is registered from it",
            path.display()
        );
    }
    is_empty
}

impl Options {
    /// The paths of the options or, without any, of the environment.
    fn type_paths(&self) -> Vec<PathBuf> {
        match std::env::var_os(PROCESS_TYPES_VARIABLE) {
            Some(paths) if self.process_types.is_empty() => {
                // A service is installed with a directory that is empty at first.
                std::env::split_paths(&paths)
                    .filter(|path| !path.as_os_str().is_empty() && !is_empty_directory(path))
                    .collect()
            }
            _ => self.process_types.clone(),
        }
    }

    fn registrar(&self) -> types::Registrar {
        types::Registrar::node(&self.node_name(), self.replace_types)
    }

    fn node_name(&self) -> String {
        self.node_name.clone().unwrap_or_else(crate::platform::host_name)
    }

    fn node_config(&self, schema: &str) -> NodeConfig {
        let usual = NodeConfig::default();
        NodeConfig {
            schema: schema.to_owned(),
            name: self.node_name(),
            executors: self.executors,
            poll_interval: self.poll_interval,
            drain_timeout: self.drain_timeout,
            heartbeat: self.heartbeat,
            dead_after: self.dead_after,
            lease: self.lease,
            guard: guard::own_program(),
            ..usual
        }
    }
}

/// Serves until a signal comes or a thread fails.
///
/// # Errors
/// Faults of process types, settings or addresses that can't be used, a failure of the database at the start, or of
/// a thread later.
pub fn run(global: &GlobalOptions, options: &Options) -> Result<(), CliError> {
    background::begin();
    crate::platform::return_large_blocks();
    check_settings(&options.node_config(&global.schema))?;
    let policy = options.forgetting.policy()?;
    options.forgetting.check_archive()?;
    let documents = documents::read(&options.type_paths());
    if documents.iter().any(|it| it.result.is_err() && it.formerly.is_none()) {
        return documents::all_or_faults(documents).map(drop);
    }
    let token = if options.no_http { None } else { options.endpoint.open(options.listen)? };
    let signals = Signals::listen_for_reloads()?;
    let reporter = ServiceManager::of_environment().report().map_err(StartError::from)?;
    let (session, mut store) = Session::open_as(global, Need::Migrated, Some(&options.node_name()))?;
    types::register_documents(&mut store, documents, &options.registrar())?;
    forgetting::warn_of_unknown(&policy, &mut store)?;
    drop(store);
    if !options.no_http {
        probe(options.listen)?;
    }
    // The node tells of its own threads; this one is not the node's.
    let (report_failure, retention_failed) = bounded(1);
    let retention = start_retention(&session, options, policy, &report_failure)?;
    let node = Node::start(
        session.source(),
        options.node_config(session.schema()),
        Arc::new(CommandRunners::new()),
    )?;
    // After the node: what it needs comes first where threads are short.
    let beside = start_endpoint(&session, options, node.health(), token)
        .and_then(|endpoint| Ok((endpoint, start_keepers(&session, &node, &report_failure)?)));
    let (endpoint, (eras, bookkeeper, batches, scheduler)) = match beside {
        Ok(beside) => beside,
        Err(error) => {
            node.stopper().interrupt();
            stopping::stop(node, &signals, options.drain_timeout)?;
            return Err(error);
        }
    };
    message(ready_line(&node.health(), endpoint.as_ref().map(Endpoint::address), &session));
    reporter.begun(node.health());
    start_reloads(&session, options, &signals)?;
    let outcome = until_signal(&signals, &node, &retention_failed);
    // The endpoint answers to the end: whoever asks sees that the node is stopping.
    reporter.stopping(options.drain_timeout);
    let stopped = match outcome {
        Ok(signal) => {
            message(format!("{}: no more processes are claimed", signals::name(signal)));
            stopping::stop(node, &signals, options.drain_timeout)
        }
        Err(problem) => stopping::stop_failed(node, &problem),
    };
    scheduler.stop();
    bookkeeper.stop();
    batches.stop();
    if let Some(retention) = retention {
        retention.stop();
    }
    eras.stop();
    if let Some(endpoint) = endpoint {
        endpoint.stop();
    }
    drop(reporter);
    stopped?;
    message("stopped");
    Ok(())
}

/// Sees before the node starts whether the address can be had: a node that has to stop at once would end the
/// commands it had just begun.
fn probe(listen: SocketAddr) -> Result<(), HttpError> {
    TcpListener::bind(listen).map(drop).map_err(|source| HttpError::Listen { address: listen, source })
}

fn start_endpoint(
    session: &Session,
    options: &Options,
    health: Arc<Health>,
    token: Option<TokenFile>,
) -> Result<Option<Endpoint>, CliError> {
    if options.no_http {
        return Ok(None);
    }
    let schema = session.schema().to_owned();
    Ok(Some(Endpoint::start(options.listen, session.source(), schema, Some(health), token)?))
}

fn start_retention(
    session: &Session,
    options: &Options,
    policy: Policy,
    failed: &Sender<String>,
) -> Result<Option<Retention>, CliError> {
    if policy.is_nothing() {
        return Ok(None);
    }
    let (schema, archive) = (session.schema().to_owned(), options.forgetting.archive.clone());
    Retention::start(session.source(), schema, policy, archive, failed)
        .map(Some)
        .map_err(|cause| CliError::Failed(format!("failed to start the thread that deletes: {cause}")))
}

/// Who keeps the eras, who counts what has ended, who keeps batches, and who fires schedules.
fn start_keepers(
    session: &Session,
    node: &Node,
    failed: &Sender<String>,
) -> Result<(EraKeeper, Bookkeeper, BatchKeeper, Scheduler), CliError> {
    let named =
        |what| move |cause| CliError::Failed(format!("failed to start the thread that {what}: {cause}"));
    let (source, schema) = (session.source(), session.schema().to_owned());
    let eras = EraKeeper::start(source, schema.clone(), failed).map_err(named("keeps the eras"))?;
    let bookkeeper = Bookkeeper::start(session.source(), schema.clone(), failed)
        .map_err(named("counts what has ended"))?;
    let batches = BatchKeeper::start(session.source(), schema.clone(), node.batches().clone(), failed)
        .map_err(named("keeps batches"))?;
    let scheduler = Scheduler::start(session.source(), schema, failed).map_err(named("fires schedules"))?;
    Ok((eras, bookkeeper, batches, scheduler))
}

/// The first signal, or the message of a thread that failed.
fn until_signal(signals: &Signals, node: &Node, retention_failed: &Receiver<String>) -> Result<i32, String> {
    let mut failed = node.failed().clone();
    let mut retention_failed = retention_failed.clone();
    loop {
        select! {
            // Without that thread nobody could stop the node in order any more.
            recv(signals.receiver()) -> signal => {
                return signal.map_err(|_| "the thread that hears signals has ended".to_owned());
            }
            recv(failed) -> problem => match problem {
                Ok(problem) => return Err(problem),
                Err(_) => failed = never(),
            },
            recv(retention_failed) -> problem => match problem {
                Ok(problem) => return Err(problem),
                Err(_) => retention_failed = never(),
            },
        }
    }
}

/// Reloads when asked to, one at a time, on a thread of its own: while the database is away a reload may take long, and
/// nothing waits for it, the end of the program included.
fn start_reloads(session: &Session, options: &Options, signals: &Signals) -> Result<(), CliError> {
    let asked = signals.reloads().clone();
    let (source, schema, options) = (session.source(), session.schema().to_owned(), options.clone());
    let run = move || asked.iter().for_each(|()| reload(&*source, &schema, &options));
    std::thread::Builder::new()
        .name("reload".to_owned())
        .spawn(run)
        .map(drop)
        .map_err(|cause| CliError::Failed(format!("failed to start the thread that reloads: {cause}")))
}

/// Registers the process types of the files again. Nothing changes if one of them has a fault.
fn reload(source: &dyn ConnectionSource, schema: &str, options: &Options) {
    log::info!("SIGHUP: reading the process types again");
    match try_reload(source, schema, options) {
        Ok(told) => log::info!("SIGHUP: {told}"),
        Err(error) => {
            error.lines().iter().for_each(|line| log::error!("SIGHUP: {line}"));
            log::error!("SIGHUP: the process types stay as they are");
        }
    }
}

fn try_reload(source: &dyn ConnectionSource, schema: &str, options: &Options) -> Result<String, CliError> {
    let process_types = documents::load(&options.type_paths())?;
    if process_types.is_empty() {
        return Ok("no process types to read again: none are named by --process-types".to_owned());
    }
    let mut store = Store::open(source, "reload", schema)?;
    let done = types::register_all(&mut store, &process_types, &options.registrar())?;
    let of = |wanted: fn(&Registered) -> bool| {
        done.iter().filter(move |(_, change)| wanted(change)).map(|(name, _)| format!("{name:?}"))
    };
    let news: Vec<String> = of(|it| *it == Registered::New)
        .map(|name| format!("{name} is new"))
        .chain(of(|it| *it == Registered::Changed).map(|name| format!("{name} has changed")))
        .chain(of(|it| matches!(it, Registered::Superseded(_))).map(|name| format!("{name} stays as it is")))
        .collect();
    let same = stopping::counted(of(|it| *it == Registered::Unchanged).count(), "process type");
    Ok(match news.is_empty() {
        true => format!("{same} read again, nothing has changed"),
        false => format!("{}; {same} as before", news.join(", ")),
    })
}

fn ready_line(health: &Health, address: Option<SocketAddr>, session: &Session) -> String {
    let endpoint = address.map_or("no status endpoint".to_owned(), |address| format!("http://{address}"));
    format!(
        "process-orchestrator {} ready: node {:?} with {}, {endpoint}, {}, schema {:?}",
        env!("CARGO_PKG_VERSION"),
        health.node_name(),
        stopping::counted(health.executors(), "executor"),
        session.shown(),
        session.schema(),
    )
}

impl From<HttpError> for CliError {
    fn from(error: HttpError) -> Self {
        Self::Failed(format!("failed to {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_usual_form() {
        for (text, expected) in [
            ("127.0.0.1:8710", "127.0.0.1:8710"),
            ("[::1]:80", "[::1]:80"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("9000", "127.0.0.1:9000"),
        ] {
            assert_eq!(parse_address(text).map(|it| it.to_string()).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "127.0.0.1", "here", "1.2.3.4:99999"] {
            assert!(parse_address(text).expect_err(text).contains("write an address and a port"), "{text}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_engine() {
        let usual = NodeConfig::default();
        assert_eq!(parse_duration(DRAIN_TIMEOUT_DEFAULT), Ok(usual.drain_timeout));
        assert_eq!(parse_duration(POLL_INTERVAL_DEFAULT), Ok(usual.poll_interval));
        assert_eq!(parse_duration(HEARTBEAT_DEFAULT), Ok(usual.heartbeat));
        assert_eq!(parse_duration(DEAD_AFTER_DEFAULT), Ok(usual.dead_after));
        assert_eq!(parse_duration(LEASE_DEFAULT), Ok(usual.lease));
    }

    #[test]
    fn intervals_have_limits() {
        assert_eq!(parse_interval("10ms"), Ok(INTERVAL_MIN));
        for text in ["0s", "9ms", "2h"] {
            assert_eq!(parse_interval(text), Err("it must be 10ms to 1h".to_owned()), "{text}");
        }
    }

    #[test]
    fn executors_and_names_have_limits() {
        assert_eq!(parse_executors("1024"), Ok(1024));
        for text in ["0", "1025", "-1", "many"] {
            assert_eq!(parse_executors(text), Err("write a number from 1 to 1024".to_owned()), "{text}");
        }
        assert_eq!(parse_name("worker 1"), Ok("worker 1".to_owned()));
        assert!(parse_name("a\nb").expect_err("control").contains("control character"));
    }
}
