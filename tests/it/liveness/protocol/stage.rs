//! Nodes whose threads are held one by one, and commands that tell exactly whether two were alive at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use process_orchestrator::{Outcome, ProcessInputData, ProcessStatus, ProcessType, TaskDefinition};

use super::super::{Served, until_there};
use crate::common::{script, settings, wait_until};
use crate::program::Bench;

/// A node that holds its lock is not thought dead while a test runs.
pub const LONG_LEASE: &[&str] = &["--heartbeat", "100ms", "--dead-after", "600ms", "--lease", "60s"];
/// One whose end a test waits for, and long enough that a busy machine does not lose one by chance.
pub const SHORT_LEASE: &[&str] = &["--heartbeat", "200ms", "--dead-after", "1500ms", "--lease", "4500ms"];

/// A schema, and what its nodes and commands have written.
pub struct Stage {
    pub bench: Bench,
}

/// A command that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    pub process: String,
    pub task: i32,
    pub attempt: i32,
    pub pid: u32,
    /// Another of its process was alive.
    pub is_beside: bool,
}

impl Stage {
    pub fn new(test: &str) -> Self {
        Self { bench: Bench::with_tables(test) }
    }

    /// Where a node connects; its sessions are named after the test's schema.
    pub fn url(&self, user: &str) -> String {
        let settings = settings();
        let postgres::config::Host::Unix(socket) = &settings.config().get_hosts()[0] else {
            panic!("no socket")
        };
        format!(
            "host='{}' user={user} dbname={} application_name={}",
            socket.display(),
            settings.database(),
            self.bench.database.schema
        )
    }

    /// A node that is ready, with gates at these places.
    pub fn node(&self, name: &str, words: &[&str], gates: &[&str]) -> Served {
        self.node_of(settings().user(), name, words, gates)
    }

    /// The same for a role of the database.
    pub fn node_of(&self, user: &str, name: &str, words: &[&str], gates: &[&str]) -> Served {
        let rules: Vec<_> =
            gates.iter().map(|it| format!("{it}=gate:{}", self.gates(name).display())).collect();
        self.node_by(user, name, words, &rules.join(","))
    }

    /// The same with rules for its places.
    pub fn node_by(&self, user: &str, name: &str, words: &[&str], rules: &str) -> Served {
        fs::create_dir_all(self.gates(name)).unwrap();
        let mut variables = vec![("DATABASE_URL", self.url(user))];
        if !rules.is_empty() {
            variables.push(("PROCESS_ORCHESTRATOR_FAILPOINTS", rules.to_owned()));
        }
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let words = [&["--poll-interval", "200ms"], words].concat();
        Served::start(&self.bench, name, &words, &variables)
    }

    pub fn gates(&self, node: &str) -> PathBuf {
        self.bench.folder.join(format!("gates-{node}"))
    }

    /// Has a node's threads wait at a place from now on.
    pub fn shut(&self, node: &str, place: &str) {
        fs::write(self.gates(node).join(format!("{place}.shut")), "").unwrap();
    }

    pub fn wait_at(&self, node: &str, place: &str) {
        let reached = self.gates(node).join(format!("{place}.reached"));
        wait_until(&format!("node {node} waits at {place}"), || reached.exists().then_some(()));
    }

    pub fn open(&self, node: &str, place: &str) {
        fs::remove_file(self.gates(node).join(format!("{place}.shut"))).unwrap();
    }

    /// The heartbeat of a node is held, and its session with the node's lock is gone.
    pub fn cut_keeper(&self, node: &str) {
        self.hold_heartbeat(node);
        self.end_sessions(&format!("{node} keeper"));
    }

    /// Others know of the node's lock by then.
    pub fn hold_heartbeat(&self, node: &str) {
        self.wait_for_locks();
        self.shut(node, "before-heartbeat");
        self.wait_at(node, "before-heartbeat");
    }

    /// Each node has told of its lock by a heartbeat.
    pub fn wait_for_locks(&self) {
        let untold = || self.bench.database.count("nodes WHERE lock_key IS NULL");
        wait_until("each node has told of its lock", || (untold() == 0).then_some(()));
    }

    /// Ends the sessions of nodes whose name, node and role, is like this.
    pub fn end_sessions(&self, like: &str) {
        let name = format!("{} {like}", self.bench.database.schema.replace('_', "\\_"));
        let mut client = self.bench.database.sql();
        let end =
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE $1 AND pg_terminate_backend(pid)";
        let pids: Vec<i32> = client.query(end, &[&name]).unwrap().iter().map(|row| row.get(0)).collect();
        assert!(!pids.is_empty(), "no sessions like {name}");
        // Before PostgreSQL 14 the server does not wait for that itself.
        let left = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY ($1)";
        wait_until("the sessions have ended", || {
            (client.query_one(left, &[&pids]).unwrap().get::<_, i64>(0) == 0).then_some(())
        });
    }

    /// What nodes wrote down of one, such as `state`, as text.
    pub fn row(&self, node: &str, column: &str) -> String {
        let query = format!("SELECT {column} FROM nodes WHERE name = $1");
        self.bench.database.sql().query_one(&query, &[&node]).unwrap().get(0)
    }

    /// Seconds since a node's last heartbeat.
    pub fn silence(&self, node: &str) -> f64 {
        let query = "SELECT extract(epoch FROM clock_timestamp() - last_heartbeat)::float8 FROM nodes WHERE name = $1";
        self.bench.database.sql().query_one(query, &[&node]).unwrap().get(0)
    }

    fn journal(&self) -> PathBuf {
        self.bench.folder.join("journal")
    }

    /// A task that writes down that it has begun, and whether another of its process is alive, then does `then`. It has
    /// a lock for as long as it lives, however it ends.
    pub fn task(&self, name: &str, then: &str) -> TaskDefinition {
        let (folder, journal) = (self.bench.folder.display(), self.journal());
        let text = format!(
            "exec 9>>'{folder}/'\"$PROCESS_ID\".lock; how=alone; flock -n 9 || how=beside
             echo \"$PROCESS_ID $TASK_INDEX $TASK_ATTEMPT $$ $how\" >>'{}'
             {then}",
            journal.display()
        );
        script(name, &text)
    }

    /// A script that goes on once `name` is released.
    pub fn until(&self, name: &str) -> String {
        until_there(&self.bench.folder.join(name)).replace("sleep 0.01", "sleep 0.01 9>&-")
    }

    pub fn release(&self, name: &str) {
        fs::write(self.bench.folder.join(name), "").unwrap();
    }

    /// Starts a process of a type of its own.
    pub fn start(&self, name: &str, tasks: &[&str]) -> String {
        let named = tasks.iter().enumerate().map(|(at, then)| self.task(&format!("t{at}"), then));
        self.bench.database.register(&named.fold(ProcessType::new(name, ""), ProcessType::add));
        self.bench.database.start(name, ProcessInputData::new())
    }

    pub fn begun(&self) -> Vec<Begun> {
        let text = fs::read_to_string(self.journal()).unwrap_or_default();
        // The last line may not be whole yet.
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole
            .map(|line| {
                let [process, task, attempt, pid, how] = line.split_whitespace().collect::<Vec<_>>()[..]
                else {
                    panic!("{line:?}")
                };
                Begun {
                    process: process.to_owned(),
                    task: task.parse().unwrap(),
                    attempt: attempt.parse().unwrap(),
                    pid: pid.parse().unwrap(),
                    is_beside: how == "beside",
                }
            })
            .collect()
    }

    pub fn find(&self, process: &str, task: i32, attempt: i32) -> Option<Begun> {
        let mut all = self.begun().into_iter();
        all.find(|it| it.process == process && (it.task, it.attempt) == (task, attempt))
    }

    pub fn wait_for(&self, process: &str, task: i32, attempt: i32) -> Begun {
        wait_until(&format!("attempt {attempt} of task {task} of {process} has begun"), || {
            self.find(process, task, attempt)
        })
    }

    pub fn outcomes(&self, process: &str) -> Vec<(Outcome, String)> {
        let executions = self.bench.database.store().executions(process).unwrap();
        executions.iter().map(|it| (it.outcome, it.node.split('-').next().unwrap().to_owned())).collect()
    }

    /// Waits until all have ended; no command was alive beside another of its process, none began after one that
    /// follows it, and each is in the trail, once.
    pub fn assert_whole(&self, ids: &[&str]) {
        for id in ids {
            let process = self.bench.database.wait_for(id);
            assert_eq!(process.status, ProcessStatus::Completed, "{process:?}");
        }
        self.assert_apart();
        let mut trail = BTreeMap::<(String, i32, i32), usize>::new();
        let all = "SELECT process_id, task_index, attempt FROM task_executions";
        for row in self.bench.database.sql().query(all, &[]).unwrap() {
            *trail.entry((row.get(0), row.get(1), row.get(2))).or_default() += 1;
        }
        assert!(trail.values().all(|times| *times == 1), "in the trail more than once: {trail:?}");
        for it in self.begun() {
            let key = (it.process.clone(), it.task, it.attempt);
            assert!(trail.contains_key(&key), "{it:?} is not in the trail: {trail:?}");
        }
    }

    /// What of that can be said while processes run.
    pub fn assert_apart(&self) {
        let begun = self.begun();
        let beside: Vec<_> = begun.iter().filter(|it| it.is_beside).collect();
        assert!(beside.is_empty(), "alive beside another of its process: {beside:#?} of {begun:#?}");
        let mut last = BTreeMap::new();
        for it in &begun {
            let before = last.insert(&it.process, (it.task, it.attempt));
            assert!(before < Some((it.task, it.attempt)), "{it:?} began after {before:?}: {begun:#?}");
        }
    }
}

/// As `wait_until`, for what must not take longer.
pub fn within<T>(time: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    wait_until(what, || {
        assert!(began.elapsed() < time, "it takes more than {time:?} until {what}");
        ask()
    })
}
