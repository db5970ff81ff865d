//! Several hosts in one connection string: one that hangs, and a primary that is lost for good.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres::config::Host;
use process_orchestrator::database::{ConnectionSettings, ConnectionSource, Patience};
use process_orchestrator::engine::{CommandRunners, Node, NodeConfig};
use process_orchestrator::store::Store;
use process_orchestrator::store::start::{StartOptions, StartRequest};
use process_orchestrator::{ProcessType, TaskDefinition};

use crate::common::{settings, wait_until};
use crate::replication::Pair;

const SCHEMA: &str = "failover";
const PROCESSES: usize = 150;
const TASKS: usize = 3;

fn connections(url: &str) -> ConnectionSettings {
    ConnectionSettings::from_url("test", url, &|_| None).unwrap()
}

/// A number out of the database that takes writes now.
fn count(source: &dyn ConnectionSource, what: &str) -> i64 {
    let mut client = wait_until("the database answers", || source.connect("test").ok());
    client.query_one(&format!("SELECT count(*) FROM {SCHEMA}.{what}"), &[]).unwrap().get(0)
}

/// Runs processes on two nodes while `fail` takes the primary away, and looks whether each task was executed once.
fn assert_nothing_is_lost(pair: &mut Pair, fail: impl FnOnce(&mut Pair)) {
    let source: Arc<dyn ConnectionSource> = Arc::new(connections(&pair.url()));
    let mut store = Store::open(&*source, "test", SCHEMA).unwrap();
    store.migrate(false).unwrap();
    let kind = (0..TASKS).fold(ProcessType::new("chain", ""), |kind, i| {
        kind.add(TaskDefinition { max_retries: 0, ..TaskDefinition::new(format!("t{i}"), "true") })
    });
    store.register(&kind).unwrap();
    store
        .start_processes("chain", &vec![StartRequest::default(); PROCESSES], StartOptions::default())
        .unwrap();
    drop(store);
    let nodes: Vec<Node> = (0..2)
        .map(|at| {
            let config = NodeConfig {
                schema: SCHEMA.to_owned(),
                name: format!("node-{at}"),
                executors: 4,
                poll_interval: Duration::from_millis(200),
                ..NodeConfig::default()
            };
            Node::start(Arc::clone(&source), config, Arc::new(CommandRunners::new())).unwrap()
        })
        .collect();
    let health: Vec<_> = nodes.iter().map(Node::health).collect();
    let confirmed = || health.iter().map(|it| it.executions()).sum::<u64>();
    wait_until("the nodes are at work", || (confirmed() > 50).then_some(()));
    fail(pair);
    let before = confirmed();
    assert!(before < (PROCESSES * TASKS) as u64, "the failover came after the work was done");
    pair.promote_standby();
    wait_until("every process has ended", || (count(&*source, "scheduled_tasks") == 0).then_some(()));
    for node in nodes {
        node.stop();
    }
    let all = (PROCESSES * TASKS) as i64;
    assert_eq!(count(&*source, "processes WHERE status = 'COMPLETED'"), PROCESSES as i64);
    assert_eq!(count(&*source, "task_executions WHERE outcome = 'SUCCEEDED' AND attempt = 1"), all);
    assert_eq!(count(&*source, "task_executions"), all, "nothing ran twice, nothing was lost");
    assert_eq!(confirmed(), all as u64, "what a node was told is what the new primary has");
    assert!(health.iter().all(|it| it.database_errors() > 0), "the nodes noticed");
}

#[test]
fn a_lost_primary_is_replaced_by_its_standby_and_no_result_is_lost() {
    let Some(mut pair) = Pair::start("lost") else { return };
    assert_nothing_is_lost(&mut pair, Pair::stop_primary);
}

#[test]
fn a_host_that_hangs_costs_its_timeout_and_only_once() {
    // It takes connections, into its backlog, and never says a word.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = hanging.local_addr().unwrap().port();
    let [Host::Unix(sockets)] = settings().config().get_hosts() else { panic!("no socket") };
    let url = format!(
        "postgresql:///{}?host=127.0.0.1,{}&port={port},{}&user={}&target_session_attrs=read-write&connect_timeout=2",
        settings().database(),
        sockets.display(),
        settings().config().get_ports()[0],
        settings().user()
    );
    let connections = connections(&url);
    let began = Instant::now();
    connections.open("test", &Patience::DEFAULT).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2), "the first host was not asked first");
    // More often than there may be attempts that hang: the one that was reached last goes first.
    let began = Instant::now();
    for _ in 0..20 {
        connections.open("test", &Patience::DEFAULT).unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(20), "each attempt waited for the host that hangs");
}
