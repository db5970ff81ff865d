//! The engine on real commands: order, parallelism, values passed on, retries, stops, priorities.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use process_orchestrator::command::{Interrupt, Lasting, Live, NODE_VARIABLE};
use process_orchestrator::engine::{Node, NodeConfig, NoopRunners, RunReport, Runner, Runners, Scope, Work};
use process_orchestrator::model::retry::RetryPolicy;
use process_orchestrator::store::start::{StartOptions, StartRequest};
use process_orchestrator::{
    Outcome, ProcessInputData, ProcessStatus, ProcessType, TaskDefinition, TaskStatus,
};

use crate::common::{TestDatabase, one_task, script, wait_until};

fn quick_retry() -> RetryPolicy {
    RetryPolicy { initial_delay: Duration::from_millis(1), ..RetryPolicy::default() }
}

#[test]
fn tasks_of_a_process_run_one_after_the_other_each_after_its_predecessor_is_recorded() {
    let database = TestDatabase::new("sequence");
    let kind =
        (0..10).fold(ProcessType::new("sequence", ""), |kind, i| kind.add(script(&format!("t{i}"), "true")));
    database.register(&kind);
    let ids = database.start_many("sequence", 20);
    let node = database.node();
    for id in &ids {
        assert_eq!(database.wait_for(id).status, ProcessStatus::Completed);
    }
    node.stop();
    let mut store = database.store();
    for id in &ids {
        let executions = store.executions(id).unwrap();
        assert_eq!(executions.len(), 10);
        for (earlier, later) in executions.iter().zip(&executions[1..]) {
            assert!(earlier.completed_at <= later.started_at, "{earlier:?} overlaps {later:?}");
        }
        let process = store.process(id).unwrap().unwrap();
        assert_eq!((process.current_task_index, process.total_tasks), (10, 10));
    }
    assert_eq!(database.count("scheduled_tasks"), 0);
}

#[test]
fn processes_run_in_parallel() {
    let database = TestDatabase::new("parallel");
    // Each waits until all four are there: one after the other they would never end.
    let directory = tempdir("parallel");
    let text = format!(
        "touch {0}/$PROCESS_ID; while [ $(ls {0} | wc -l) -lt 4 ]; do sleep 0.01; done",
        directory.display()
    );
    database.register(&ProcessType::new("meeting", "").add(script("meet", &text)));
    let ids = database.start_many("meeting", 4);
    let node = database.node();
    for id in ids {
        assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    }
    node.stop();
}

fn tempdir(test: &str) -> std::path::PathBuf {
    let path =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn hostile_input_arrives_as_one_argument_unchanged() {
    let database = TestDatabase::new("hostile");
    let kind = ProcessType::new("hostile", "")
        .add_task("words", "printf '[%s]\\n' ${input_file} --x=${config.x}", ".", 1.0, 0)
        .add(script("script", "printf '[%s]\\n' \"${input_file}\""));
    let hostile = "-rf a  b'c\"d;e $(touch /tmp/po-hostile) `id` $HOME\n--end\\";
    let input = ProcessInputData::new().input_file(hostile).add_config("x", "1 2");
    let finished = database.run(&kind, input);
    assert_eq!(finished.process.status, ProcessStatus::Completed, "{finished:?}");
    assert_eq!(finished.output(0), format!("[{hostile}]\n[--x=1 2]\n"));
    assert_eq!(finished.output(1), format!("[{hostile}]\n"));
    assert!(!std::path::Path::new("/tmp/po-hostile").exists());
}

#[test]
fn values_pass_from_task_to_task_and_into_the_process() {
    let database = TestDatabase::new("context");
    let kind = ProcessType::new("context", "")
        .add(script("write", "printf 'rows=17\\nnote=a b\\n' > \"$PROCESS_CONTEXT_FILE\""))
        .add(script("json", "printf '{\"rows\": 18, \"nested\": {\"k\": [1]}}' > \"$PROCESS_CONTEXT_FILE\""))
        .add_task(
            "read",
            "echo ${processContext.rows} ${processContext.note} ${processContext.nested}",
            ".",
            1.0,
            0,
        );
    let finished = database.run(&kind, ProcessInputData::new());
    assert_eq!(finished.output(2), "18 a b {\"k\":[1]}\n");
    assert_eq!(finished.process.process_context["rows"], 18);
    assert_eq!(finished.process.process_context["note"], "a b");
}

#[test]
fn a_missing_context_value_fails_the_task_for_good_and_names_it() {
    let database = TestDatabase::new("no_context");
    let kind =
        ProcessType::new("no-context", "").add_task("read", "echo ${processContext.rows}", ".", 1.0, 3);
    let finished = database.run(&kind, ProcessInputData::new());
    assert_eq!(finished.process.status, ProcessStatus::Failed);
    assert!(finished.error().contains("processContext.rows"), "{}", finished.error());
    let executions = database.store().executions(&finished.process.process_id).unwrap();
    assert_eq!(executions.len(), 1, "no attempt heals it");
    assert_eq!(executions[0].outcome, Outcome::SpawnFailed);
}

#[test]
fn a_failing_task_is_retried_with_growing_waits_and_then_fails_the_process() {
    let database = TestDatabase::new("retries");
    let task = TaskDefinition {
        max_retries: 2,
        retry: quick_retry(),
        ..script("fail", "echo attempt $TASK_ATTEMPT; exit 3")
    };
    let kind = ProcessType::new("retries", "").add(task).add(script("never", "true"));
    let finished = database.run(&kind, ProcessInputData::new());
    assert_eq!(finished.process.status, ProcessStatus::Failed);
    assert!(
        finished.error().starts_with("task \"fail\" (1 of 2) failed after 3 attempts: "),
        "{}",
        finished.error()
    );
    assert!(finished.error().ends_with(": attempt 3"), "{}", finished.error());
    assert_eq!(finished.tasks[0].status, TaskStatus::Failed);
    assert_eq!((finished.tasks[0].retry_count, finished.tasks[0].exit_code), (2, Some(3)));
    assert_eq!(finished.tasks[1].status, TaskStatus::NotStarted);
    let executions = database.store().executions(&finished.process.process_id).unwrap();
    let outputs: Vec<_> = executions.iter().map(|it| it.output.clone().unwrap()).collect();
    assert_eq!(outputs, ["attempt 1\n", "attempt 2\n", "attempt 3\n"]);
}

#[test]
fn a_retry_that_succeeds_lets_the_process_go_on() {
    let database = TestDatabase::new("heals");
    let task =
        TaskDefinition { max_retries: 1, retry: quick_retry(), ..script("heals", "test $TASK_ATTEMPT = 2") };
    let finished = database.run(&ProcessType::new("heals", "").add(task), ProcessInputData::new());
    assert_eq!(finished.process.status, ProcessStatus::Completed);
    assert_eq!(finished.process.error_message, None);
    assert_eq!((finished.tasks[0].retry_count, finished.tasks[0].attempt), (1, 2));
}

#[test]
fn a_fatal_exit_code_ends_all_attempts() {
    let database = TestDatabase::new("fatal_code");
    let retry = RetryPolicy { fatal_exit_codes: vec![9], ..quick_retry() };
    let task = TaskDefinition { max_retries: 5, retry, ..script("fatal", "exit 9") };
    let finished = database.run(&ProcessType::new("fatal", "").add(task), ProcessInputData::new());
    assert_eq!(finished.process.status, ProcessStatus::Failed);
    assert_eq!(finished.tasks[0].attempt, 1);
}

#[test]
fn a_program_that_is_not_there_fails_at_once_with_its_name() {
    let database = TestDatabase::new("no_program");
    let kind = ProcessType::new("none", "").add_task("none", "no-such-program-anywhere x", ".", 1.0, 3);
    let finished = database.run(&kind, ProcessInputData::new());
    assert_eq!(finished.tasks[0].attempt, 1);
    assert!(finished.error().contains("no-such-program-anywhere"), "{}", finished.error());
}

#[test]
fn a_timeout_ends_the_whole_group_and_is_recorded_as_such() {
    let database = TestDatabase::new("timeout");
    let task =
        TaskDefinition { timeout_minutes: 0.005, ..script("slow", "echo begun; sleep 600 & sleep 600") };
    let finished = database.run(&ProcessType::new("timeout", "").add(task), ProcessInputData::new());
    assert_eq!(finished.process.status, ProcessStatus::Failed);
    assert!(finished.error().contains("timeout"), "{}", finished.error());
    let executions = database.store().executions(&finished.process.process_id).unwrap();
    assert_eq!(executions[0].outcome, Outcome::TimedOut);
    assert_eq!(executions[0].output.as_deref(), Some("begun\n"));
}

#[test]
fn output_that_postgresql_cannot_hold_is_replaced_not_lost() {
    let database = TestDatabase::new("odd_output");
    let finished = database.run(
        &ProcessType::new("odd", "").add(script("odd", "printf 'a\\000b\\377c'")),
        ProcessInputData::new(),
    );
    assert_eq!(finished.output(0), "a\u{fffd}b\u{fffd}c");
}

#[test]
fn a_context_that_postgresql_cannot_hold_fails_its_task_and_nobody_else() {
    let database = TestDatabase::new("odd_context");
    let kind = ProcessType::new("odd", "")
        .add(script("odd", "printf '{\"a\": \"\\\\u0000\"}' > $PROCESS_CONTEXT_FILE"));
    database.register(&kind);
    database.register(&one_task("true"));
    let good: Vec<_> = database.start_many("one-task", 20);
    let bad = database.start("odd", ProcessInputData::new());
    let node = database.node();
    let failed = database.wait_for(&bad);
    assert_eq!(failed.status, ProcessStatus::Failed);
    for id in good {
        assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    }
    node.stop();
}

#[test]
fn a_stop_waits_for_commands_that_end_in_time_and_gives_the_rest_back() {
    let database = TestDatabase::new("drain");
    let release = tempdir("drain").join("go");
    let text = format!("while [ ! -e {} ]; do sleep 0.01; done", release.display());
    database
        .register(&ProcessType::new("drain", "").add(script("first", &text)).add(script("second", "true")));
    let ids = database.start_many("drain", 6);
    let node = database.node();
    let health = node.health();
    wait_until("four commands run", || (health.busy() == 4).then_some(()));
    let stopping = std::thread::spawn(move || node.stop());
    wait_until("the node stops claiming", || (!health.is_ready()).then_some(()));
    std::fs::write(&release, "").unwrap();
    let report = stopping.join().unwrap();
    assert_eq!((report.interrupted, report.unrecorded), (0, 0));
    let mut store = database.store();
    let first: Vec<_> = ids.iter().map(|id| store.tasks(id).unwrap()[0].status).collect();
    assert_eq!(first.iter().filter(|&&status| status == TaskStatus::Completed).count(), 4, "{first:?}");
    assert_eq!(database.count("scheduled_tasks WHERE NOT picked AND execution_time <= now()"), 6);
    assert_eq!(database.count("tasks WHERE status = 'IN_PROGRESS'"), 0);
    // Another node goes on where this one stopped.
    let node = database.node();
    for id in &ids {
        assert_eq!(database.wait_for(id).status, ProcessStatus::Completed);
    }
    node.stop();
    for id in &ids {
        assert_eq!(store.executions(id).unwrap().len(), 2);
    }
}

#[test]
fn a_stop_ends_commands_that_outlast_the_drain_timeout_and_spends_no_retry() {
    let database = TestDatabase::new("interrupt");
    database.register(&one_task("sleep 600"));
    let id = database.start("one-task", ProcessInputData::new());
    let node =
        database.node_with(NodeConfig { drain_timeout: Duration::from_millis(50), ..database.config() });
    let health = node.health();
    wait_until("the command runs", || (health.busy() == 1).then_some(()));
    assert_eq!(node.stop().interrupted, 1);
    let mut store = database.store();
    let task = store.tasks(&id).unwrap().remove(0);
    assert_eq!((task.status, task.retry_count), (TaskStatus::NotStarted, 0));
    assert_eq!(store.executions(&id).unwrap()[0].outcome, Outcome::Interrupted);
    assert_eq!(database.count("scheduled_tasks WHERE NOT picked AND execution_time <= now()"), 1);
    assert_eq!(database.count("nodes WHERE state = 'STOPPED'"), 1);
}

#[test]
fn a_second_signal_cuts_the_drain_short() {
    let database = TestDatabase::new("second_signal");
    database.register(&one_task("sleep 600"));
    database.start("one-task", ProcessInputData::new());
    let node =
        database.node_with(NodeConfig { drain_timeout: Duration::from_secs(600), ..database.config() });
    let (health, stopper) = (node.health(), node.stopper());
    wait_until("the command runs", || (health.busy() == 1).then_some(()));
    let stopping = std::thread::spawn(move || node.stop());
    wait_until("the node stops claiming", || (!health.is_ready()).then_some(()));
    stopper.interrupt();
    stopping.join().unwrap();
    assert_eq!(database.count("task_executions WHERE outcome = 'INTERRUPTED'"), 1);
}

#[test]
fn higher_priorities_run_first() {
    let database = TestDatabase::new("priorities");
    // The order is the commands' own: the trail's times are of the transaction that records, less what went by since.
    let order = tempdir("priorities").join("order");
    let note = format!("echo \"$PROCESS_ID\" >> {}", order.display());
    database.register(&ProcessType::new("one-task", "").add(script("note", &note)));
    let mut store = database.store();
    let mut expected = Vec::new();
    for priority in [0, 7, -3, 100] {
        let options = StartOptions { priority, ..StartOptions::default() };
        let ids = store.start_processes("one-task", &vec![StartRequest::default(); 2], options).unwrap();
        expected.push((-priority, ids));
    }
    expected.sort();
    let node = database.node_with(NodeConfig { executors: 1, ..database.config() });
    for (_, ids) in &expected {
        ids.iter().for_each(|id| drop(database.wait_for(id)));
    }
    node.stop();
    let order = std::fs::read_to_string(order).unwrap();
    let ran: Vec<&str> = order.lines().collect();
    let expected: Vec<String> = expected.into_iter().flat_map(|(_, ids)| ids).collect();
    assert_eq!(ran, expected);
}

#[test]
fn a_running_process_gives_way_to_a_higher_priority_between_two_tasks() {
    let database = TestDatabase::new("give_way");
    let directory = tempdir("give_way");
    let (gate, order) = (directory.join("go"), directory.join("order"));
    let note = format!("echo \"$PROCESS_TYPE\" >> {}", order.display());
    let wait = format!("while [ ! -e {} ]; do sleep 0.01; done", gate.display());
    let long = ProcessType::new("long", "").add(script("wait", &wait)).add(script("after", &note));
    database.register(&long);
    database.register(&ProcessType::new("one-task", "").add(script("note", &note)));
    let low = database.start("long", ProcessInputData::new());
    let node = database.node_with(NodeConfig { executors: 1, ..database.config() });
    let health = node.health();
    wait_until("the low one runs", || (health.busy() == 1).then_some(()));
    let options = StartOptions { priority: 5, ..StartOptions::default() };
    let high =
        database.store().start_processes("one-task", &[StartRequest::default()], options).unwrap().remove(0);
    // The poller has to have looked while the executor was taken: it does at every interval.
    let polled = database.config().poll_interval * 2;
    std::thread::park_timeout(polled);
    std::fs::write(&gate, "").unwrap();
    database.wait_for(&low);
    database.wait_for(&high);
    node.stop();
    assert_eq!(std::fs::read_to_string(order).unwrap(), "one-task\nlong\n");
}

#[test]
fn a_higher_priority_that_becomes_due_while_every_executor_is_taken_comes_next() {
    let database = TestDatabase::new("due_high");
    let long = (0..100)
        .fold(ProcessType::new("long", ""), |kind, n| kind.add(script(&format!("task-{n}"), "sleep 0.03")));
    database.register(&long);
    database.register(&one_task("true"));
    let low = database.start("long", ProcessInputData::new());
    let options = StartOptions {
        priority: 5,
        start_at: Some(jiff::Timestamp::now() + jiff::SignedDuration::from_millis(500)),
    };
    let high =
        database.store().start_processes("one-task", &[StartRequest::default()], options).unwrap().remove(0);
    // The poll interval is far longer: the poller has to know when the high one is due.
    let config = NodeConfig { executors: 1, poll_interval: Duration::from_secs(60), ..database.config() };
    let node = database.node_with(config);
    database.wait_for(&high);
    let low = database.store().process(&low).unwrap().unwrap();
    assert_eq!(low.completed_at, None, "{low:?} ran to its end first");
    node.stop();
}

#[test]
fn a_start_in_the_future_waits_for_its_time() {
    let database = TestDatabase::new("future");
    database.register(&one_task("true"));
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(700);
    let options = StartOptions { start_at: Some(at), ..StartOptions::default() };
    let id =
        database.store().start_processes("one-task", &[StartRequest::default()], options).unwrap().remove(0);
    // The poll interval is far longer: the poller has to know when the next one is due.
    let node = database.node_with(NodeConfig { poll_interval: Duration::from_secs(60), ..database.config() });
    let process = database.wait_for(&id);
    node.stop();
    assert!(process.started_at.unwrap() >= at, "{process:?}");
}

#[test]
fn a_paused_type_is_not_claimed() {
    let database = TestDatabase::new("paused");
    database.register(&one_task("true"));
    database.register(&ProcessType::new("other", "").add(script("t", "true")));
    database.sql().execute("UPDATE process_types SET paused = true WHERE name = 'one-task'", &[]).unwrap();
    let paused = database.start("one-task", ProcessInputData::new());
    let other = database.start("other", ProcessInputData::new());
    let node = database.node();
    database.wait_for(&other);
    node.stop();
    assert_eq!(database.store().process(&paused).unwrap().unwrap().status, ProcessStatus::NotStarted);
}

#[test]
fn a_node_for_one_process_leaves_the_others_alone() {
    let database = TestDatabase::new("scope");
    database.register(&one_task("true"));
    let ids = database.start_many("one-task", 3);
    let node = database.node_with(NodeConfig { scope: Scope::Process(ids[1].clone()), ..database.config() });
    database.wait_for(&ids[1]);
    node.stop();
    assert_eq!(database.count("processes WHERE status = 'NOT_STARTED'"), 2);
}

#[test]
fn two_nodes_share_the_work_and_nothing_runs_twice() {
    let database = TestDatabase::new("two_nodes");
    // The first commands of the one node wait for those of the other.
    let directory = tempdir("two_nodes");
    let meet = format!(
        "touch {0}/${NODE_VARIABLE}; while [ $(ls {0} | wc -l) -lt 2 ]; do sleep 0.01; done",
        directory.display()
    );
    let kind = (1..3).fold(ProcessType::new("three", "").add(script("meet", &meet)), |kind, i| {
        kind.add_task(format!("t{i}"), "true", ".", 1.0, 0)
    });
    database.register(&kind);
    let ids = database.start_many("three", 200);
    let nodes = [database.node(), database.node()];
    for id in &ids {
        assert_eq!(database.wait_for(id).status, ProcessStatus::Completed);
    }
    for node in nodes {
        node.stop();
    }
    assert_eq!(database.count("task_executions"), 600);
    assert_eq!(database.count("(SELECT DISTINCT node_id FROM task_executions) AS worked"), 2);
    assert_eq!(database.count("task_executions WHERE attempt > 1"), 0);
}

#[test]
fn usage_is_recorded() {
    let database = TestDatabase::new("usage");
    let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let finished =
        database.run(&ProcessType::new("busy", "").add(script("busy", busy)), ProcessInputData::new());
    let execution = database.store().executions(&finished.process.process_id).unwrap().remove(0);
    if cfg!(target_os = "linux") {
        assert!(execution.cpu_ms.unwrap() > 10.0, "{execution:?}");
        assert!(execution.peak_memory_bytes.unwrap() > 100_000, "{execution:?}");
    }
    assert!(execution.duration_ms >= 10.0, "{execution:?}");
}

#[test]
fn a_process_that_is_kept_for_a_node_is_run_by_no_other_retries_included() {
    let database = TestDatabase::new("reserved");
    let task =
        TaskDefinition { max_retries: 1, retry: quick_retry(), ..script("heals", "test $TASK_ATTEMPT = 2") };
    database.register(&ProcessType::new("heals", "").add(task));
    database.register(&one_task("true"));
    let everybody = database.node();
    let (id, is_reserved) =
        database.store().start_reserved("heals", &StartRequest::default(), "only-me").unwrap();
    assert!(is_reserved);
    database.wait_for(&database.start("one-task", ProcessInputData::new()));
    assert_eq!(database.store().process(&id).unwrap().unwrap().status, ProcessStatus::NotStarted);

    let own = NodeConfig {
        node_id: Some("only-me".to_owned()),
        scope: Scope::Process(id.clone()),
        ..database.config()
    };
    let node = database.node_with(own);
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    node.stop();
    everybody.stop();
    let executions = database.store().executions(&id).unwrap();
    let nodes: Vec<_> = executions.iter().map(|it| it.node.as_str()).collect();
    assert_eq!(nodes, ["only-me", "only-me"]);
}

#[test]
fn a_reservation_ends_with_its_node() {
    let database = TestDatabase::new("reservation_ends");
    database.register(&one_task("sleep 600"));
    let (id, _) = database.store().start_reserved("one-task", &StartRequest::default(), "only-me").unwrap();
    let own = NodeConfig {
        node_id: Some("only-me".to_owned()),
        scope: Scope::Process(id),
        drain_timeout: Duration::ZERO,
        ..database.config()
    };
    let node = database.node_with(own);
    let health = node.health();
    wait_until("the command runs", || (health.busy() == 1).then_some(()));
    assert_eq!(database.count("scheduled_tasks WHERE reserved_for = 'only-me'"), 1);
    node.stop();
    assert_eq!(database.count("scheduled_tasks WHERE reserved_for IS NULL AND NOT picked"), 1);
}

/// Runs nothing; tasks named `stuck` take until the test lets go, without saying so, as a spawn does that hangs.
pub struct StuckRunners(pub Arc<Mutex<()>>);

struct StuckRunner(Arc<Mutex<()>>, Box<dyn Runner>);

impl Runners for StuckRunners {
    fn of_node(&self, _node_id: &str) -> Arc<dyn Runners> {
        Arc::new(Self(Arc::clone(&self.0)))
    }

    fn runner(&self, executor: usize) -> Box<dyn Runner> {
        Box::new(StuckRunner(Arc::clone(&self.0), NoopRunners.runner(executor)))
    }
}

impl Runner for StuckRunner {
    fn run(&mut self, work: &Work, interrupt: &Interrupt, live: &Live, lasting: Lasting<'_>) -> RunReport {
        if work.task.name == "stuck" {
            drop(self.0.lock().unwrap());
        }
        self.1.run(work, interrupt, live, lasting)
    }
}

#[test]
fn others_run_beside_as_many_spawns_that_hang_as_there_are_turns() {
    let database = TestDatabase::new("stuck_turns");
    let kind = |name: &str| ProcessType::new(name, "").add_task(name, "true", ".", 1.0, 0);
    database.register(&kind("stuck"));
    database.register(&kind("quick"));
    let at_once = 4 * std::thread::available_parallelism().unwrap().get();
    let (executors, stuck) = (at_once + 4, at_once);
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let config = NodeConfig { executors, ..database.config() };
    let runners = Arc::new(StuckRunners(Arc::clone(&gate)));
    let node = Node::start(Arc::clone(&database.source), config, runners).unwrap();
    let slow = database.start_many("stuck", stuck);
    wait_until("all that can hang do", || (node.health().busy() >= stuck).then_some(()));
    for id in database.start_many("quick", 9) {
        assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    }
    assert_eq!(node.health().busy(), stuck);
    drop(held);
    for id in slow {
        assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    }
    node.stop();
}
