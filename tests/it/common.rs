//! What every test needs: a database, process types, a node, and waiting for conditions.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use process_orchestrator::database::private_cluster::PrivateCluster;
use process_orchestrator::database::{ConnectionSettings, ConnectionSource};
use process_orchestrator::engine::{CommandRunners, Node, NodeConfig, StartError};
use process_orchestrator::store::Store;
use process_orchestrator::store::start::{StartOptions, StartRequest};
use process_orchestrator::{ProcessData, ProcessInputData, ProcessType, TaskData, TaskDefinition};

/// Long enough for the slowest machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The suite's own private cluster: the first test starts it, the end of the program stops it.
pub fn data_dir() -> PathBuf {
    // Not under the target directory: as root the server runs as another user, who may not enter it.
    let user = process_orchestrator::platform::files::effective_uid();
    std::env::temp_dir().join(format!("process-orchestrator-tests-{user}"))
}

pub fn settings() -> &'static ConnectionSettings {
    static SETTINGS: OnceLock<ConnectionSettings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        process_orchestrator::platform::prepare_signals().unwrap();
        let options = [("fsync", "off"), ("max_connections", "300"), ("max_prepared_transactions", "20")];
        let cluster = PrivateCluster::open_with(&data_dir(), &options).unwrap_or_else(|e| panic!("{e}"));
        cluster.release_at_exit().unwrap()
    })
}

/// A schema of the test's own, gone when the test has passed; a failed test leaves it to be looked at.
pub struct TestDatabase {
    pub source: Arc<dyn ConnectionSource>,
    pub schema: String,
    /// A server of its own, which ends with it.
    own: Option<(PrivateCluster, PathBuf)>,
}

impl TestDatabase {
    /// An empty place: no schema yet.
    pub fn bare(test: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let schema = format!("{test}_{}_{number}", std::process::id());
        Self { source: Arc::new(settings().clone()), schema, own: None }
    }

    /// A schema with all tables on a server of its own: a transaction that stays open, whosever and in which database, keeps
    /// dead rows from being passed over, and what is counted here would be that.
    pub fn alone(test: &str) -> Self {
        let mut database = Self::bare(test);
        let folder = std::env::temp_dir().join(format!("po-{}", database.schema));
        let cluster = PrivateCluster::open_with(&folder, &[("fsync", "off"), ("shared_buffers", "16MB")]);
        let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
        database.source = Arc::new(cluster.settings());
        database.own = Some((cluster, folder));
        database.store().migrate(false).unwrap();
        database
    }

    /// A schema with all tables.
    pub fn new(test: &str) -> Self {
        let database = Self::bare(test);
        database.store().migrate(false).unwrap();
        database
    }

    pub fn settings(&self) -> &'static ConnectionSettings {
        settings()
    }

    pub fn store(&self) -> Store {
        Store::open(&*self.source, "test", &self.schema).unwrap()
    }

    /// A plain connection that looks into the schema.
    pub fn sql(&self) -> postgres::Client {
        let settings = self.own.as_ref().map_or_else(|| settings().clone(), |own| own.0.settings());
        let mut client = settings.open("test", &process_orchestrator::database::Patience::DEFAULT).unwrap();
        client.batch_execute(&format!("SET search_path = \"{}\"", self.schema)).unwrap();
        client
    }

    /// Claims are made for nodes whose row says that they live.
    pub fn lives(&self, node_id: &str) {
        let row = "INSERT INTO nodes (node_id, name, host, pid, version, executors, lease_seconds, last_heartbeat) \
                   VALUES ($1, $1, 'elsewhere', 1, '0', 1, 1e6, now()) ON CONFLICT DO NOTHING";
        self.sql().execute(row, &[&node_id]).unwrap();
    }

    /// Nobody knows the node any more, which is as good as dead.
    pub fn forget(&self, node_id: &str) {
        assert_eq!(self.sql().execute("DELETE FROM nodes WHERE node_id = $1", &[&node_id]).unwrap(), 1);
    }

    pub fn count(&self, what: &str) -> i64 {
        self.sql().query_one(&format!("SELECT count(*) FROM {what}"), &[]).unwrap().get(0)
    }

    pub fn register(&self, process_type: &ProcessType) {
        process_type.validate("test").unwrap_or_else(|faults| panic!("{faults}"));
        self.store().register(process_type).unwrap();
    }

    pub fn start(&self, process_type: &str, input: ProcessInputData) -> String {
        let request = StartRequest { input, process_id: None };
        self.store().start_processes(process_type, &[request], StartOptions::default()).unwrap().remove(0)
    }

    pub fn start_many(&self, process_type: &str, how_many: usize) -> Vec<String> {
        let requests = vec![StartRequest::default(); how_many];
        self.store().start_processes(process_type, &requests, StartOptions::default()).unwrap()
    }

    pub fn config(&self) -> NodeConfig {
        NodeConfig {
            schema: self.schema.clone(),
            executors: 4,
            poll_interval: Duration::from_millis(200),
            ..NodeConfig::default()
        }
    }

    pub fn node(&self) -> Node {
        self.node_with(self.config())
    }

    pub fn node_with(&self, config: NodeConfig) -> Node {
        self.try_node(config).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_node(&self, config: NodeConfig) -> Result<Node, StartError> {
        Node::start(Arc::clone(&self.source), config, Arc::new(CommandRunners::new()))
    }

    /// Runs one process of the type on a node of its own, to its end.
    pub fn run(&self, process_type: &ProcessType, input: ProcessInputData) -> Finished {
        self.register(process_type);
        let id = self.start(&process_type.name, input);
        let node = self.node();
        let process = self.wait_for(&id);
        node.stop();
        let tasks = self.store().tasks(&id).unwrap().rows;
        Finished { process, tasks }
    }

    /// Waits until the process has ended.
    pub fn wait_for(&self, process_id: &str) -> ProcessData {
        let mut store = self.store();
        wait_until(&format!("process {process_id} has ended"), || {
            store.process(process_id).unwrap().filter(|process| process.status.is_final())
        })
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some((cluster, folder)) = self.own.take() {
            drop(cluster);
            _ = std::fs::remove_dir_all(folder);
        } else if !std::thread::panicking() {
            let drop_schema = format!("DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.schema);
            self.sql().batch_execute(&drop_schema).unwrap();
        }
    }
}

/// A process that has ended.
#[derive(Debug)]
pub struct Finished {
    pub process: ProcessData,
    pub tasks: Vec<TaskData>,
}

impl Finished {
    pub fn output(&self, task: usize) -> &str {
        self.tasks[task].output.as_deref().unwrap_or_default()
    }

    pub fn error(&self) -> &str {
        self.process.error_message.as_deref().unwrap_or_default()
    }
}

/// A process type of one task.
pub fn one_task(command: &str) -> ProcessType {
    ProcessType::new("one-task", "")
        .add(TaskDefinition { max_retries: 0, ..TaskDefinition::new("only", command) })
}

/// A task that is a script.
pub fn script(name: &str, text: &str) -> TaskDefinition {
    TaskDefinition { shell: true, max_retries: 0, ..TaskDefinition::new(name, text) }
}

/// Takes a database away, and whoever is connected to it: `WITH (FORCE)` came with PostgreSQL 13.
pub fn drop_database(client: &mut postgres::Client, name: &str) -> Result<(), postgres::Error> {
    client.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", &[&name])?;
    client.batch_execute(&format!("DROP DATABASE IF EXISTS \"{name}\""))
}

/// How the tests' servers keep passwords; not the default before PostgreSQL 14.
pub const SCRAM: (&str, &str) = ("password_encryption", "scram-sha-256");

/// A program that only some tests need, such as `pgbouncer`; a machine may be without it, CI may not.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = places.map(|place| place.join(name)).find(|it| it.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is not installed: scripts/test installs it in CI");
        leave_out(format_args!("{name} is not installed"));
    }
    found
}

/// Says that the test that calls it leaves itself out, and why: its caller returns then. To the runner it has passed, so
/// `scripts/test` gathers these lines and ends with them.
pub fn leave_out(why: impl std::fmt::Display) {
    let test = std::thread::current();
    let line = format!("{}: {why}\n", test.name().unwrap_or("a helper's thread"));
    eprint!("left out: {line}");
    if let Some(file) = std::env::var_os("LEFT_OUT_TESTS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        // One write: tests run side by side.
        std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
    }
}

/// Asks until there is an answer; what is waited for is named when there is none.
pub fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
