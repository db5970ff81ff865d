//! Cancelling, retrying, pausing: what operators ask of processes that are there.

use std::time::Duration;

use process_orchestrator::engine::NodeConfig;
use process_orchestrator::store::StoreError;
use process_orchestrator::store::cancel::{CancelOutcome, CancelReason};
use process_orchestrator::store::claims::{Claim, ClaimRequest, Claimed, ClaimedTask};
use process_orchestrator::store::retry::{RetryOptions, RetryOutcome};
use process_orchestrator::{
    Outcome, ProcessInputData, ProcessStatus, ProcessType, TaskDefinition, TaskStatus,
};

use crate::common::{TestDatabase, one_task, script, wait_until};

const WHY: CancelReason<'_> = CancelReason { reason: Some("wrong file"), by: Some("anna") };

/// A file that a command waits for.
pub struct Gate(std::path::PathBuf);

impl Gate {
    pub fn new(test: &str) -> Self {
        Self(std::env::temp_dir().join(format!("po-gate-{test}-{}", std::process::id())))
    }

    /// A script that waits until the gate is open.
    pub fn wait(&self) -> String {
        format!("while [ ! -e {} ]; do sleep 0.01; done", self.0.display())
    }

    pub fn open(&self) {
        std::fs::write(&self.0, "").unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

fn three_tasks(name: &str, middle: &str) -> ProcessType {
    ProcessType::new(name, "")
        .add(script("first", "echo n=1 > \"$PROCESS_CONTEXT_FILE\""))
        .add(script("middle", middle))
        .add(script("last", "echo ${processContext.n}"))
}

fn task_statuses(database: &TestDatabase, id: &str) -> Vec<TaskStatus> {
    database.store().tasks(id).unwrap().iter().map(|it| it.status).collect()
}

fn outcomes(database: &TestDatabase, id: &str) -> Vec<(u32, u32, Outcome)> {
    let executions = database.store().executions(id).unwrap();
    executions.iter().map(|it| (it.task_index, it.attempt, it.outcome)).collect()
}

fn claim_one(database: &TestDatabase, node: &str) -> (Claim, ClaimedTask) {
    database.lives(node);
    let mut batch = database.store().claim_due(node, &ClaimRequest::of(1)).unwrap();
    database.forget(node);
    match batch.claimed.remove(0) {
        Claimed::Ready(claim, task) => (claim, task),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_process_that_waits_is_cancelled_at_once_and_by_any_language() {
    let database = TestDatabase::new("cancel_waiting");
    database.register(&three_tasks("three", "true"));
    let ids = database.start_many("three", 3);
    let told = database.store().cancel_process(&ids[0], WHY).unwrap();
    assert_eq!((told.outcome, told.status), (CancelOutcome::Cancelled, Some(ProcessStatus::Cancelled)));
    let process = database.store().process(&ids[0]).unwrap().unwrap();
    assert_eq!(process.error_message.as_deref(), Some("cancelled by anna: wrong file"));
    assert!(process.completed_at.is_some());
    assert_eq!(task_statuses(&database, &ids[0]), [TaskStatus::Cancelled; 3]);

    // Inside somebody's transaction: undone with it.
    let mut client = database.sql();
    let mut transaction = client.transaction().unwrap();
    let row = transaction.query_one("SELECT cancel_process($1)", &[&ids[1]]).unwrap();
    assert_eq!(row.get::<_, &str>(0), "CANCELLED");
    transaction.rollback().unwrap();
    assert_eq!(database.store().process(&ids[1]).unwrap().unwrap().status, ProcessStatus::NotStarted);

    let bulk = database
        .store()
        .cancel_processes(&[ids[2].clone(), ids[0].clone(), "nobody".to_owned(), ids[2].clone()], WHY)
        .unwrap();
    let bulk: Vec<_> = bulk.iter().map(|it| (it.process_id.as_str(), it.outcome)).collect();
    assert_eq!(
        bulk,
        [
            (ids[2].as_str(), CancelOutcome::Cancelled),
            (ids[0].as_str(), CancelOutcome::Finished),
            ("nobody", CancelOutcome::NotFound)
        ]
    );
    assert_eq!(database.count("scheduled_tasks"), 1, "the rolled back one");
    let error = client.query_one("SELECT cancel_process('nobody')", &[]).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "PO007");
    assert!(matches!(database.store().cancel_process("nobody", WHY), Err(StoreError::Refused(_))));
}

#[test]
fn the_command_of_a_cancelled_process_is_ended_and_its_output_kept() {
    let database = TestDatabase::new("cancel_running");
    database.register(&three_tasks("three", "echo at it; exec sleep 600"));
    let id = database.start("three", ProcessInputData::new());
    let node = database.node();
    wait_until("the second command runs", || {
        (task_statuses(&database, &id)[1] == TaskStatus::InProgress).then_some(())
    });
    let told = database.store().cancel_process(&id, WHY).unwrap();
    assert_eq!(told.outcome, CancelOutcome::Requested);
    assert!(told.node.is_some());
    let process = database.wait_for(&id);
    node.stop();
    assert_eq!(process.status, ProcessStatus::Cancelled);
    assert_eq!(process.error_message.as_deref(), Some("cancelled by anna: wrong file"));
    assert_eq!(
        task_statuses(&database, &id),
        [TaskStatus::Completed, TaskStatus::Cancelled, TaskStatus::Cancelled]
    );
    assert_eq!(outcomes(&database, &id), [(0, 1, Outcome::Succeeded), (1, 1, Outcome::Cancelled)]);
    let ended = database.store().executions(&id).unwrap().remove(1);
    // Cancelled in the very moment of its start it has printed nothing.
    assert!(["", "at it\n"].contains(&ended.output.as_deref().unwrap_or_default()), "{ended:?}");
    assert!(ended.error_message.unwrap().contains("its process was cancelled"));
    assert_eq!(database.count("scheduled_tasks"), 0);
}

#[test]
fn without_notifications_the_heartbeat_finds_what_is_cancelled() {
    let database = TestDatabase::new("cancel_polled");
    database.register(&one_task("sleep 600"));
    let id = database.start("one-task", ProcessInputData::new());
    let config = NodeConfig { heartbeat: Duration::from_millis(100), ..database.config() };
    let node = database.node_with(config);
    let health = node.health();
    wait_until("the command runs", || (health.busy() == 1).then_some(()));
    // As cancel_processes writes it, but nobody is told.
    database
        .sql()
        .execute("UPDATE scheduled_tasks SET cancel_requested_at = now(), cancel_reason = 'quietly'", &[])
        .unwrap();
    let process = database.wait_for(&id);
    node.stop();
    assert_eq!(
        (process.status, process.error_message.as_deref()),
        (ProcessStatus::Cancelled, Some("quietly"))
    );
}

#[test]
fn a_cancelled_process_goes_no_further_when_its_claim_is_given_back_or_its_node_dies() {
    let database = TestDatabase::new("cancel_released");
    database.register(&three_tasks("three", "true"));
    let ids = database.start_many("three", 2);
    let mut store = database.store();
    let (first, _) = claim_one(&database, "node-a");
    let (second, _) = claim_one(&database, "gone");
    for id in &ids {
        assert_eq!(store.cancel_process(id, WHY).unwrap().outcome, CancelOutcome::Requested);
    }
    assert_eq!(store.cancel_requests("node-a").unwrap(), [(ids[0].clone(), first.version)]);
    // The first is given back unbegun: nobody claims it, and whoever looks next ends it.
    store.release("node-a", &[(first.process_id.clone(), first.version)]).unwrap();
    assert!(store.claim_due("node-b", &ClaimRequest::of(5)).unwrap().claimed.is_empty());
    assert!(store.claim_one("node-b", &ids[0]).unwrap().is_none());
    assert_eq!(store.promote_due(None).unwrap().next_due, None);
    // The node of the second is unknown to the table of nodes: that is as good as dead.
    assert_eq!(&*second.process_id, &ids[1]);
    let config = NodeConfig {
        heartbeat: Duration::from_millis(50),
        dead_after: Duration::from_millis(300),
        lease: Duration::from_secs(60),
        ..database.config()
    };
    let node = database.node_with(config);
    let ended = [database.wait_for(&ids[0]), database.wait_for(&ids[1])];
    node.stop();
    for process in ended {
        assert_eq!(process.status, ProcessStatus::Cancelled);
        assert_eq!(process.error_message.as_deref(), Some("cancelled by anna: wrong file"));
        assert_eq!(task_statuses(&database, &process.process_id), [TaskStatus::Cancelled; 3]);
    }
    assert!(outcomes(&database, &ids[0]).is_empty());
    assert_eq!(outcomes(&database, &ids[1]), [(0, 1, Outcome::Lost)]);
}

#[test]
fn bulk_cancelling_beside_a_busy_node_meets_every_process_once() {
    let database = TestDatabase::new("cancel_busy");
    let kind = (0..4).fold(ProcessType::new("quick", ""), |kind, i| {
        kind.add_task(format!("t{i}").as_str(), "true", ".", 1.0, 0)
    });
    database.register(&kind);
    let ids = database.start_many("quick", 400);
    let node = database.node();
    wait_until("it is at it", || (node.health().executions() > 20).then_some(()));
    std::thread::scope(|scope| {
        for half in ids.chunks(200) {
            let database = &database;
            scope.spawn(move || {
                for some in half.chunks(50) {
                    database.store().cancel_processes(some, WHY).unwrap();
                }
            });
        }
    });
    let ended: Vec<_> = ids.iter().map(|id| database.wait_for(id)).collect();
    node.stop();
    assert_eq!(database.count("scheduled_tasks"), 0);
    assert!(ended.iter().any(|it| it.status == ProcessStatus::Cancelled));
    for process in ended {
        let statuses = task_statuses(&database, &process.process_id);
        match process.status {
            ProcessStatus::Completed => assert_eq!(statuses, [TaskStatus::Completed; 4]),
            ProcessStatus::Cancelled => {
                let done = statuses.iter().take_while(|it| **it == TaskStatus::Completed).count();
                assert!(statuses[done..].iter().all(|it| *it == TaskStatus::Cancelled), "{statuses:?}");
                assert!(done < 4, "{statuses:?}");
            }
            other => panic!("{} is {other}", process.process_id),
        }
    }
}

#[test]
fn a_failed_process_goes_again_from_the_task_that_failed() {
    let database = TestDatabase::new("retry");
    let gate = Gate::new("retry");
    let middle =
        TaskDefinition { max_retries: 1, ..script("middle", &format!("test -e {}", gate.0.display())) };
    let middle = TaskDefinition {
        retry: process_orchestrator::model::retry::RetryPolicy {
            initial_delay: Duration::from_millis(1),
            ..Default::default()
        },
        ..middle
    };
    let kind = ProcessType::new("three", "")
        .add(script("first", "echo n=1 > \"$PROCESS_CONTEXT_FILE\""))
        .add(middle)
        .add(script("last", "echo ${processContext.n}"));
    database.register(&kind);
    let id = database.start("three", ProcessInputData::new());
    let node = database.node();
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Failed);
    gate.open();
    assert_eq!(database.store().retry_process(&id, &RetryOptions::default()).unwrap(), "middle");
    let process = database.wait_for(&id);
    node.stop();
    assert_eq!((process.status, process.error_message), (ProcessStatus::Completed, None));
    let seen = [
        (0, 1, Outcome::Succeeded),
        (1, 1, Outcome::Failed),
        (1, 2, Outcome::Failed),
        (1, 3, Outcome::Succeeded),
        (2, 1, Outcome::Succeeded),
    ];
    assert_eq!(outcomes(&database, &id), seen);
    let tasks = database.store().tasks(&id).unwrap();
    assert_eq!((tasks[1].retry_count, tasks[2].output.as_deref()), (0, Some("1\n")));
}

#[test]
fn a_retry_may_begin_anywhere_and_with_other_input() {
    let database = TestDatabase::new("retry_from");
    let kind = ProcessType::new("three", "")
        .add(script("a", "echo a ${config.size:-none}"))
        .add(script("b", "echo b ${input_file}"))
        .add(script("2", "echo named two"));
    database.register(&kind);
    let id = database.start("three", ProcessInputData::new().input_file("/x").add_metadata("m", "1"));
    let node = database.node();
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    let retry = |from: &str, changes: Option<ProcessInputData>| {
        database
            .store()
            .retry_process(&id, &RetryOptions { from_task: Some(from.to_owned()), skip: false, changes })
    };
    let changes = ProcessInputData::new().input_file("/y").add_config("size", "5");
    assert_eq!(retry("1", Some(changes)).unwrap(), "a");
    let process = database.wait_for(&id);
    let outputs = || -> Vec<String> {
        database.store().tasks(&id).unwrap().into_iter().filter_map(|it| it.output).collect()
    };
    assert_eq!(outputs(), ["a 5\n", "b /y\n", "named two\n"]);
    assert_eq!(
        process.input_data,
        serde_json::json!({"input_file": "/y", "config": {"size": "5"}, "metadata": {"m": "1"}})
    );
    // A task's name comes before another one's number.
    assert_eq!(retry("2", None).unwrap(), "2");
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed);
    node.stop();
    let attempts: Vec<u32> = database.store().tasks(&id).unwrap().iter().map(|it| it.attempt).collect();
    assert_eq!(attempts, [2, 2, 3]);
    let message = retry("c", None).unwrap_err().to_string();
    assert_eq!(message, format!("process '{id}' has no task 'c'; its tasks are: a, b, 2"));
}

#[test]
fn what_cannot_be_retried_is_told_and_stays_as_it_is() {
    let database = TestDatabase::new("retry_refused");
    let mut failing = one_task("sh -c 'exit 1' ${config.size} $${config.not_one}");
    failing.name = "failing".to_owned();
    database.register(&failing);
    database.register(&one_task("true"));
    let waiting = database.start("one-task", ProcessInputData::new());
    let retry = |id: &str, options: &RetryOptions| {
        database.store().retry_process(id, options).unwrap_err().to_string()
    };
    let plain = RetryOptions::default();
    assert_eq!(
        retry(&waiting, &plain),
        format!(
            "process '{waiting}' is NOT_STARTED, only a finished one can be retried; cancel it first, or wait for \
                 its end"
        )
    );
    assert!(retry("nobody", &plain).starts_with("no process has the id 'nobody'"));
    let failed = database.start("failing", ProcessInputData::new().add_config("size", "1"));
    let node = database.node();
    let completed = database.wait_for(&waiting);
    assert_eq!(database.wait_for(&failed).status, ProcessStatus::Failed);
    node.stop();
    assert!(retry(&completed.process_id, &plain).contains("is COMPLETED, nothing of it has failed"));

    // Only SQL can take a value away.
    database
        .sql()
        .execute("UPDATE processes SET input_data = '{}' WHERE process_id = $1", &[&failed])
        .unwrap();
    let error = database
        .sql()
        .query_one("SELECT retry_process($1, NULL, '{\"metadata\": {\"a\": 1}}')", &[&failed])
        .unwrap_err();
    let answer = error.as_db_error().unwrap();
    assert_eq!(
        (answer.code().code(), answer.message()),
        (
            "PO003",
            format!("input lacks ${{config.size}}, which the tasks of process '{failed}' need").as_str()
        )
    );
    let error = database.sql().query_one("SELECT retry_process($1, NULL, '{\"x\": 1}')", &[&failed]);
    assert_eq!(error.unwrap_err().code().unwrap().code(), "PO002");

    let ids = [failed.clone(), completed.process_id.clone(), "nobody".to_owned()];
    let told = database.store().retry_processes(&ids, &plain).unwrap();
    let told: Vec<_> = told.iter().map(|it| it.outcome).collect();
    assert_eq!(told, [RetryOutcome::Retried, RetryOutcome::Completed, RetryOutcome::NotFound]);
    assert_eq!(database.store().process(&completed.process_id).unwrap().unwrap(), completed);
}

#[test]
fn two_retries_at_once_make_one() {
    let database = TestDatabase::new("retry_twice");
    database.register(&one_task("false"));
    let ids = database.start_many("one-task", 50);
    let node = database.node();
    ids.iter().for_each(|id| drop(database.wait_for(id)));
    node.stop();
    let retried: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let (database, mut ids) = (&database, ids.clone());
                if n % 2 == 0 {
                    ids.reverse();
                }
                scope.spawn(move || {
                    let done = database.store().retry_processes(&ids, &RetryOptions::default()).unwrap();
                    done.iter().filter(|it| it.outcome == RetryOutcome::Retried).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(retried, 50);
    assert_eq!(database.count("scheduled_tasks WHERE NOT picked"), 50);
}

#[test]
fn a_node_that_still_holds_a_claim_from_before_the_retry_changes_nothing() {
    let database = TestDatabase::new("retry_stale");
    database.register(&one_task("false"));
    let id = database.start("one-task", ProcessInputData::new());
    let (stale, _) = claim_one(&database, "stale");
    // Others take it over, it fails there, and it is retried; the same node claims it again.
    database
        .sql()
        .execute("UPDATE scheduled_tasks SET picked = false, picked_by = NULL, version = version + 1", &[])
        .unwrap();
    let node = database.node();
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Failed);
    node.stop();
    database.store().retry_process(&id, &RetryOptions::default()).unwrap();
    let (fresh, task) = claim_one(&database, "stale");
    assert!(fresh.version > stale.version + 1000, "{} after {}", fresh.version, stale.version);
    assert_eq!(task.attempt, 3, "the audit trail goes on");
    let held = [(stale.process_id.clone(), stale.version)];
    assert_eq!(database.store().revoked_claims("stale", &held).unwrap().len(), 1);
    assert_eq!(database.store().release("stale", &held).unwrap(), 0);
    assert_eq!(database.count("scheduled_tasks WHERE picked"), 1);
}

#[test]
fn a_paused_type_is_not_claimed_and_its_processes_stop_before_their_next_task() {
    let database = TestDatabase::new("pause");
    let gate = Gate::new("pause");
    let mut other = one_task("true");
    other.name = "other".to_owned();
    database.register(&other);
    database
        .register(&ProcessType::new("two", "").add(script("wait", &gate.wait())).add(script("end", "true")));
    let running = database.start("two", ProcessInputData::new());
    let config = NodeConfig { heartbeat: Duration::from_millis(50), ..database.config() };
    let node = database.node_with(config);
    let health = node.health();
    wait_until("the command runs", || (health.busy() == 1).then_some(()));
    let mut store = database.store();
    assert!(store.pause_process_type("two", Some("broken")).unwrap());
    assert!(!store.pause_process_type("two", None).unwrap(), "time and reason are kept");
    assert_eq!(database.count("process_types WHERE paused_at <= now() AND pause_reason = 'broken'"), 1);
    let waiting = database.start("two", ProcessInputData::new());
    // Two heartbeats from now it has heard of it for sure.
    let heartbeat = || -> jiff::Timestamp {
        database.sql().query_one("SELECT last_heartbeat FROM nodes", &[]).unwrap().get(0)
    };
    for _ in 0..2 {
        let before = heartbeat();
        wait_until("another heartbeat", || (heartbeat() > before).then_some(()));
    }
    gate.open();
    wait_until("its first task has ended", || {
        (task_statuses(&database, &running) == [TaskStatus::Completed, TaskStatus::NotStarted]).then_some(())
    });
    let id = database.start("other", ProcessInputData::new());
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Completed, "others go on");
    for id in [&running, &waiting] {
        assert_eq!(store.process(id).unwrap().unwrap().picked_by, None);
    }
    assert!(store.resume_process_type("two").unwrap());
    assert!(!store.resume_process_type("two").unwrap());
    for id in [&running, &waiting] {
        assert_eq!(database.wait_for(id).status, ProcessStatus::Completed);
    }
    node.stop();
    let error = store.pause_process_type("tow", None).unwrap_err().to_string();
    assert_eq!(error, "unknown process type \"tow\"; register it first; known are: other, two");
}

#[test]
fn what_a_node_of_the_version_before_writes_is_taken() {
    let database = TestDatabase::new("expand");
    database.register(&three_tasks("three", "true"));
    database.start_many("three", 1);
    // What such a node writes: the columns it knows, as they were.
    let written = database
        .sql()
        .execute(
            "INSERT INTO scheduled_tasks (task_name, task_instance, execution_time, picked, picked_by, priority, \
             consecutive_failures, version, reserved_for) VALUES ('three', 'x', now(), false, NULL, 0, 0, 1, NULL)",
            &[],
        )
        .unwrap();
    assert_eq!(written, 1);
}
