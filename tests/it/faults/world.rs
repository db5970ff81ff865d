//! A server and a schema for one test of faults, processes that keep a journal, and the checks at its end.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use process_orchestrator::database::private_cluster::PrivateCluster;
use process_orchestrator::database::{ConnectionSettings, Patience};
use process_orchestrator::engine::{CommandRunners, Node, NodeConfig};
use process_orchestrator::platform::processes::is_alive;
use process_orchestrator::store::Store;
use process_orchestrator::store::start::{StartOptions, StartRequest};
use process_orchestrator::{ProcessType, TaskDefinition};

use super::proxy::Proxy;
use crate::common::{drop_database, script, settings, wait_until};
use crate::program::Bench;

/// A server, a schema on it, and a folder with the journal of all commands.
pub struct World {
    /// Goes first: whatever runs is ended before the server.
    serves: Vec<u32>,
    pub settings: ConnectionSettings,
    pub schema: String,
    pub bench: Bench,
    database: Option<String>,
    server: Option<Server>,
}

/// A server of the test's own.
pub struct Server {
    cluster: PrivateCluster,
    data_dir: PathBuf,
}

/// How a server is stopped, by the signal for it.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    Fast,
    Immediate,
}

impl Server {
    fn new(data_dir: PathBuf, options: &[(&str, &str)]) -> Self {
        let small = [("fsync", "off"), ("shared_buffers", "8MB"), ("max_connections", "40")];
        let cluster = PrivateCluster::open_with(&data_dir, &[&small, options].concat());
        Self { cluster: cluster.unwrap_or_else(|error| panic!("{error}")), data_dir }
    }

    /// The server's first process, by the lock file of the cluster.
    pub fn pid(&self) -> u32 {
        let files = fs::read_dir(&self.data_dir).unwrap();
        let file = files.map(|it| it.unwrap().path().join("postmaster.pid")).find(|it| it.exists()).unwrap();
        fs::read_to_string(file).unwrap().lines().next().unwrap().trim().parse().unwrap()
    }

    pub fn stop(&self, how: Stop) {
        let pid = self.pid();
        signal(
            pid,
            match how {
                Stop::Fast => "-INT",
                Stop::Immediate => "-QUIT",
            },
        );
        wait_until("the server has stopped", || (!is_alive(pid)).then_some(()));
    }

    pub fn start(&self) {
        self.cluster.revive().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Stops all its processes as they are: it accepts, and never answers.
    pub fn freeze(&self) -> Frozen {
        let first = self.pid();
        // The first before its children: it makes no more of them then.
        signal(first, "-STOP");
        let children: Vec<u32> = children_of(first);
        children.iter().for_each(|&pid| signal(pid, "-STOP"));
        Frozen([vec![first], children].concat())
    }
}

/// Thaws what was frozen, at the latest when it is dropped.
pub struct Frozen(Vec<u32>);

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.drain(..).filter(|&pid| is_alive(pid)).for_each(|pid| signal(pid, "-CONT"));
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap();
    let pids = all.filter_map(|it| it.unwrap().file_name().to_str()?.parse().ok());
    pids.filter(|&pid| stat(pid).is_some_and(|it| it[1] == parent.to_string())).collect()
}

/// The fields of `/proc/PID/stat` after the program's name, from the state on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

pub use crate::program::send as signal;

impl World {
    /// On the suite's server, in a database of its own, so that its settings are its own.
    pub fn new(test: &str) -> Self {
        let bench = Bench::new(test);
        let name = bench.database.schema.clone();
        bench.database.sql().batch_execute(&format!("CREATE DATABASE \"{name}\"")).unwrap();
        let shown = settings_of(&format!("host='{}' user=postgres dbname={name}", socket_directory()));
        Self::with(bench, shown, Some(name), None)
    }

    /// On a server of its own, which may be stopped and frozen.
    pub fn with_server(test: &str, options: &[(&str, &str)]) -> Self {
        let bench = Bench::new(test);
        let folder = std::env::temp_dir().join(format!("po-{}-{}", test, std::process::id()));
        let server = Server::new(folder, options);
        let settings = server.cluster.settings();
        Self::with(bench, settings, None, Some(server))
    }

    fn with(
        bench: Bench,
        settings: ConnectionSettings,
        database: Option<String>,
        server: Option<Server>,
    ) -> Self {
        let schema = bench.database.schema.clone();
        let world = Self { serves: Vec::new(), settings, schema, bench, database, server };
        world.store().migrate(false).unwrap();
        world
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// A network in front of the server.
    pub fn proxy(&self) -> Proxy {
        let directory = match &self.settings.config().get_hosts()[0] {
            postgres::config::Host::Unix(path) => path.clone(),
            postgres::config::Host::Tcp(name) => PathBuf::from(name),
        };
        Proxy::before(directory.join(".s.PGSQL.5432"))
    }

    /// The settings of a connection through the network.
    pub fn through(&self, proxy: &Proxy) -> ConnectionSettings {
        settings_of(&self.url_through(proxy))
    }

    pub fn url_through(&self, proxy: &Proxy) -> String {
        let database = self.settings.database();
        // The proxy reads what passes; even to ask for TLS would not be a message as it knows them.
        format!(
            "host=127.0.0.1 port={} user=postgres dbname={database} connect_timeout=2 sslmode=disable",
            proxy.port
        )
    }

    /// Past the network, and past whatever is set for the database.
    fn own_settings(&self) -> ConnectionSettings {
        let options = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 \
                       -c default_transaction_read_only=off -c default_transaction_isolation=read\\ committed";
        settings_of(&format!(
            "{} options='{}'",
            postgres_place(&self.settings),
            options.replace('\\', "\\\\")
        ))
    }

    pub fn store(&self) -> Store {
        Store::open(&self.own_settings(), "test", &self.schema).unwrap()
    }

    /// A plain connection that looks into the schema.
    pub fn sql(&self) -> postgres::Client {
        let mut client = self.own_settings().open("test", &Patience::DEFAULT).unwrap();
        client.batch_execute(&format!("SET search_path = \"{}\"", self.schema)).unwrap();
        client
    }

    pub fn count(&self, what: &str) -> i64 {
        self.sql().query_one(&format!("SELECT count(*) FROM {what}"), &[]).unwrap().get(0)
    }

    pub fn alter_database(&self, change: &str) {
        let name = self.settings.database();
        self.sql().batch_execute(&format!("ALTER DATABASE \"{name}\" {change}")).unwrap();
    }

    fn journal(&self) -> PathBuf {
        self.bench.folder.join("journal")
    }

    /// A task that writes into the journal what it is, then does `text`.
    pub fn journalled(&self, name: &str, text: &str) -> TaskDefinition {
        let line = "$PROCESS_ID $TASK_INDEX $TASK_ATTEMPT";
        script(name, &format!("echo \"{line}\" >> '{}'; {text}", self.journal().display()))
    }

    /// Starts so many processes of a type, each with these scripts as its tasks.
    pub fn start(&self, name: &str, how_many: usize, scripts: &[&str]) -> Vec<String> {
        let named = scripts.iter().enumerate().map(|(at, text)| self.journalled(&format!("t{at}"), text));
        let kind = named.fold(ProcessType::new(name, ""), ProcessType::add);
        let mut store = self.store();
        store.register(&kind).unwrap();
        let requests = vec![StartRequest::default(); how_many];
        store.start_processes(name, &requests, StartOptions::default()).unwrap()
    }

    /// A file that is not there yet, and a script that waits for it.
    pub fn gate(&self) -> (PathBuf, String) {
        let gate = self.bench.folder.join("gate");
        let wait = format!("while [ ! -e '{}' ]; do sleep 0.02; done", gate.display());
        (gate, wait)
    }

    pub fn config(&self) -> NodeConfig {
        NodeConfig {
            schema: self.schema.clone(),
            executors: 4,
            poll_interval: Duration::from_millis(200),
            ..NodeConfig::default()
        }
    }

    /// A node in this process.
    pub fn node(&self, settings: &ConnectionSettings, config: NodeConfig) -> Node {
        let runners = Arc::new(CommandRunners::new());
        Node::start(Arc::new(settings.clone()), config, runners).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The real program on this server, ready. Its settings come as words and as variables.
    pub fn serve(&mut self, words: &[&str], variables: &[(&str, String)]) -> Serve {
        let place = postgres_place(&self.settings);
        self.serve_on(&place, words, variables)
    }

    pub fn serve_on(&mut self, url: &str, words: &[&str], variables: &[(&str, String)]) -> Serve {
        let serve = self.begin_serve(url, words, variables);
        serve.wait_for_line(" ready: node ");
        serve
    }

    /// The same, without waiting for it.
    pub fn begin_serve(&mut self, url: &str, words: &[&str], variables: &[(&str, String)]) -> Serve {
        let log = self.bench.folder.join(format!("serve-{}.log", self.serves.len()));
        let few: &[&str] = if words.contains(&"--executors") { &[] } else { &["--executors", "4"] };
        let words = [&["serve", "--poll-interval", "200ms"], few, words].concat();
        let mut command = self.bench.command(&words);
        command.env("DATABASE_URL", url).envs(variables.iter().cloned());
        command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let child = command.spawn().unwrap();
        self.serves.push(child.id());
        Serve { child, log }
    }

    /// Waits until all these have ended, and looks whether each did as it should.
    pub fn wait_for_all(&self, ids: &[String]) {
        let mut client = self.sql();
        wait_until("every process has ended", || {
            let open = client.query_one("SELECT count(*) FROM scheduled_tasks", &[]).unwrap();
            (open.get::<_, i64>(0) == 0).then_some(())
        });
        // A test may have sessions ended that are idle: not before they are needed.
        let mut store = self.store();
        for id in ids {
            let process = store.process(id).unwrap().unwrap();
            assert_eq!(process.status.as_str(), "COMPLETED", "{process:?}");
        }
    }

    /// What was run is what is in the audit trail; every task succeeded exactly once; one that was run twice was lost
    /// or interrupted the first time, which the trail says. Returns how many executions did not succeed.
    pub fn assert_whole(&self, ids: &[String], tasks_each: usize) -> usize {
        self.wait_for_all(ids);
        let mut client = self.sql();
        let rows = client
            .query("SELECT process_id, task_index, attempt, outcome FROM task_executions", &[])
            .unwrap();
        let mut trail: HashMap<String, String> = HashMap::new();
        for row in &rows {
            let (process, task, attempt): (String, i32, i32) = (row.get(0), row.get(1), row.get(2));
            trail.insert(format!("{process} {task} {attempt}"), row.get(3));
        }
        assert_eq!(trail.len(), rows.len(), "an execution is in the trail twice: {rows:?}");
        let journal = fs::read_to_string(self.journal()).unwrap_or_default();
        let mut runs = HashMap::<&str, usize>::new();
        journal.lines().for_each(|line| *runs.entry(line).or_default() += 1);
        for (run, &count) in &runs {
            assert_eq!(count, 1, "execution {run} ran {count} times");
            assert!(trail.contains_key(*run), "execution {run} is not in the trail: {trail:?}");
        }
        let succeeded: Vec<_> = trail.iter().filter(|it| it.1 == "SUCCEEDED").collect();
        assert_eq!(succeeded.len(), ids.len() * tasks_each, "{trail:?}");
        assert!(succeeded.iter().all(|it| runs.contains_key(&**it.0)), "a success that never ran: {trail:?}");
        let others: Vec<_> = trail.iter().filter(|it| it.1 != "SUCCEEDED").collect();
        assert!(others.iter().all(|it| ["LOST", "INTERRUPTED"].contains(&&**it.1)), "{others:?}");
        let retries = "SELECT count(*) FROM tasks WHERE retry_count > 0";
        assert_eq!(client.query_one(retries, &[]).unwrap().get::<_, i64>(0), 0, "a retry was spent");
        others.len()
    }

    /// As [`World::assert_whole`], and nothing was run more than once.
    pub fn assert_ran_once(&self, ids: &[String], tasks_each: usize) {
        assert_eq!(self.assert_whole(ids, tasks_each), 0, "something was run again");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that fails drops its programs itself; these are those that outlived it by a panic elsewhere.
        if let Some(name) = self.database.take()
            && let Err(error) = drop_database(&mut self.bench.database.sql(), &name)
        {
            eprintln!("{error}");
        }
        if let Some(Server { cluster, data_dir }) = self.server.take() {
            if let Err(error) = cluster.close() {
                eprintln!("{error}");
            }
            if !std::thread::panicking() {
                fs::remove_dir_all(&data_dir).unwrap();
            }
        }
    }
}

/// `serve` at work; killed at the end of a test that has not ended it.
pub struct Serve {
    child: Child,
    log: PathBuf,
}

impl Serve {
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn wait_for_line(&self, part: &str) {
        let look = || self.log().contains(part).then_some(());
        wait_until(&format!("the log says {part:?}:\n{}", self.log.display()), look);
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time since it started.
    pub fn cpu(&self) -> Duration {
        let fields = stat(self.child.id()).unwrap();
        // User and system time in ticks, of which Linux counts 100 a second whatever its own clock does.
        let ticks: u64 = fields[11..=12].iter().map(|it| it.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    pub fn send(&self, name: &str) {
        signal(self.child.id(), name);
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn wait(&mut self) -> ExitStatus {
        wait_until(&format!("serve has ended; its log: {}", self.log.display()), || {
            self.child.try_wait().unwrap()
        })
    }

    /// SIGTERM; it has to end in order.
    pub fn stop(&mut self) {
        self.send("-TERM");
        let ended = self.wait();
        assert!(ended.success(), "{ended}:\n{}", self.log());
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        if std::thread::panicking() {
            eprintln!("the log of serve:\n{}", self.log());
        }
    }
}

/// What a node did over a time: it must neither spin nor flood its log.
pub struct Idle {
    began: Instant,
    cpu: Duration,
    lines: usize,
}

impl Idle {
    pub fn begin(serve: &Serve) -> Self {
        Self { began: Instant::now(), cpu: serve.cpu(), lines: serve.log().lines().count() }
    }

    /// Less than a fifth of a processor, and a few lines a second at the most for all threads together.
    pub fn end(self, serve: &Serve, lines_max: usize) {
        let (took, cpu) = (self.began.elapsed(), serve.cpu().saturating_sub(self.cpu));
        let lines = serve.log().lines().count() - self.lines;
        println!("{took:?}: {cpu:?} of processor, {lines} lines");
        assert!(cpu < took / 5, "{cpu:?} of processor in {took:?}:\n{}", serve.log());
        assert!(lines <= lines_max, "{lines} lines in {took:?}:\n{}", serve.log());
    }
}

fn settings_of(url: &str) -> ConnectionSettings {
    ConnectionSettings::from_url("test", url, &|_| None).unwrap()
}

/// Where the socket of the suite's server is.
fn socket_directory() -> String {
    match &settings().config().get_hosts()[0] {
        postgres::config::Host::Unix(path) => path.display().to_string(),
        postgres::config::Host::Tcp(name) => name.clone(),
    }
}

/// `key=value` settings of a server with a Unix socket.
pub fn postgres_place(settings: &ConnectionSettings) -> String {
    let postgres::config::Host::Unix(path) = &settings.config().get_hosts()[0] else { panic!("no socket") };
    format!(
        "host='{}' user={} dbname={} connect_timeout=10",
        path.display(),
        settings.user(),
        settings.database()
    )
}

/// Until something in the tables is as `condition` says.
pub fn wait_for_count(world: &World, what: &str, condition: impl Fn(i64) -> bool) {
    wait_until(&format!("the count of {what} is right"), || condition(world.count(what)).then_some(()));
}
