//! Retries from a task that somebody names: what the tasks behind it had passed on is forgotten, and none is skipped unless
//! that is said.

use process_orchestrator::store::retry::{RetryOptions, RetryOutcome};
use process_orchestrator::{ProcessInputData, ProcessStatus, ProcessType, TaskStatus};
use serde_json::{Value, json};

use crate::common::{TestDatabase, script};

fn from(task: &str) -> RetryOptions {
    RetryOptions { from_task: Some(task.to_owned()), ..Default::default() }
}

fn passes(name: &str, values: &str) -> process_orchestrator::TaskDefinition {
    let told = "echo ${processContext.a:-none} ${processContext.b:-none} ${processContext.both:-none}";
    script(name, &format!("{told}; printf '{values}' > \"$PROCESS_CONTEXT_FILE\""))
}

fn chain() -> ProcessType {
    ProcessType::new("chain", "")
        .add(passes("one", "a=1\\nboth=one\\n"))
        .add(passes("two", "b=2\\nboth=two\\n"))
        .add(script("three", "true"))
        .add(passes("four", "d=4\\n"))
}

/// The context right after a retry, which is undone.
fn context_from(database: &TestDatabase, id: &str, task: &str) -> Value {
    let mut client = database.sql();
    let mut transaction = client.transaction().unwrap();
    transaction.query_one("SELECT retry_process($1, $2)", &[&id, &task]).unwrap();
    let row = "SELECT process_context FROM processes WHERE process_id = $1";
    let context = transaction.query_one(row, &[&id]).unwrap().get(0);
    transaction.rollback().unwrap();
    context
}

#[test]
fn a_retry_forgets_what_the_tasks_from_there_on_had_passed_on() {
    let database = TestDatabase::new("again_values");
    database.register(&chain());
    let id = database.start("chain", ProcessInputData::new());
    let node = database.node();
    let process = database.wait_for(&id);
    let all = json!({"a": "1", "b": "2", "both": "two", "d": "4"});
    assert_eq!(process.process_context, all);
    let before_two = json!({"a": "1", "both": "one"});
    let before_three = json!({"a": "1", "b": "2", "both": "two"});
    for (task, context) in [
        ("one", json!({})),
        ("1", json!({})),
        ("two", before_two.clone()),
        ("2", before_two),
        ("three", before_three.clone()),
        ("four", before_three),
    ] {
        assert_eq!(context_from(&database, &id, task), context, "{task}");
    }
    // The command sees what its first run saw.
    for _ in 0..2 {
        database.store().retry_process(&id, &from("two")).unwrap();
        let process = database.wait_for(&id);
        assert_eq!(process.process_context, all);
        let outputs: Vec<_> =
            database.store().tasks(&id).unwrap().iter().map(|it| it.output.clone()).collect();
        assert_eq!(outputs[1].as_deref(), Some("1 none one\n"));
        assert_eq!(outputs[3].as_deref(), Some("1 2 two\n"));
    }
    node.stop();

    // What no task is known to have passed on, as nodes of the release before leave it, stays but for a new beginning.
    database
        .sql()
        .execute("UPDATE processes SET process_context = process_context || '{\"old\": 1}'", &[])
        .unwrap();
    assert_eq!(context_from(&database, &id, "two"), json!({"a": "1", "both": "one", "old": 1}));
    assert_eq!(context_from(&database, &id, "one"), json!({}));
    // A task that such a node has run, between those of others.
    let forget = "UPDATE task_executions SET context_values = NULL WHERE task_index = 1";
    database.sql().execute(forget, &[]).unwrap();
    assert_eq!(
        context_from(&database, &id, "three"),
        json!({"a": "1", "b": "2", "both": "two", "old": 1}),
        "an earlier task's value takes no later one's place"
    );
    database.sql().execute("UPDATE task_executions SET context_values = NULL", &[]).unwrap();
    assert_eq!(context_from(&database, &id, "two").as_object().unwrap().len(), 5);
}

#[test]
fn a_task_that_has_not_completed_is_skipped_only_when_that_is_said() {
    let database = TestDatabase::new("again_skip");
    let kind = ProcessType::new("steps", "")
        .add(passes("load", "a=1\\n"))
        .add(script("clean", "printf 'b=2\\n' > \"$PROCESS_CONTEXT_FILE\"; test -e /nowhere"))
        .add(script("report", "true"))
        .add(passes("publish", "d=4\\n"));
    database.register(&kind);
    let id = database.start("steps", ProcessInputData::new());
    let node = database.node();
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Failed);
    let mut store = database.store();
    let behind = "\"clean\" (2 of 4), which is FAILED";
    for task in ["report", "publish", "3", "4"] {
        let planned = store.plan_retries(std::slice::from_ref(&id), &from(task)).unwrap().remove(0);
        assert_eq!((planned.outcome, planned.detail.as_deref()), (RetryOutcome::WouldSkip, Some(behind)));
        let refused = store.retry_processes(std::slice::from_ref(&id), &from(task)).unwrap().remove(0);
        assert_eq!(refused, planned);
        let error = store.retry_process(&id, &from(task)).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("task '{task}' of process '{id}' comes behind {behind}; ")),
            "{error}"
        );
        assert!(error.ends_with("say that it is to be skipped: skip"), "{error}");
    }
    let error = database.sql().query_one("SELECT retry_process($1, 'publish')", &[&id]).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "PO012");

    let row = database.sql().query_one("SELECT retry_process($1, 'publish', skip => true)", &[&id]).unwrap();
    assert_eq!(row.get::<_, &str>(0), "publish");
    let process = database.wait_for(&id);
    node.stop();
    use TaskStatus::{Completed, NotStarted, Skipped};
    let tasks = store.tasks(&id).unwrap().rows;
    let statuses: Vec<_> = tasks.iter().map(|it| it.status).collect();
    assert_eq!(statuses, [Completed, Skipped, Skipped, Completed]);
    assert_eq!((process.status, process.skipped_tasks), (ProcessStatus::Completed, 2));
    let why = tasks[1].error_message.as_deref().unwrap();
    assert!(why.starts_with("skipped by a retry from task \"publish\", it was FAILED: "), "{why}");
    assert_eq!(
        tasks[2].error_message.as_deref(),
        Some("skipped by a retry from task \"publish\", it was NOT_STARTED")
    );
    assert_eq!(
        tasks[3].output.as_deref(),
        Some("1 none none\n"),
        "what a failed task wrote is not passed on"
    );
    assert_eq!(store.explain(&id).unwrap().unwrap().skipped_tasks, ["clean", "report"]);

    // Behind what is skipped already nothing has to be said; before it, it has its turn again.
    assert_eq!(store.retry_process(&id, &from("publish")).unwrap(), "publish");
    store.cancel_process(&id, Default::default()).unwrap();
    store.retry_process(&id, &from("clean")).unwrap();
    let statuses: Vec<_> = store.tasks(&id).unwrap().iter().map(|it| it.status).collect();
    assert_eq!(statuses, [Completed, NotStarted, NotStarted, NotStarted]);
    assert_eq!(store.process(&id).unwrap().unwrap().skipped_tasks, 0);
    // Of a cancelled process as of a failed one.
    store.cancel_process(&id, Default::default()).unwrap();
    let refused = store.plan_retries(std::slice::from_ref(&id), &from("publish")).unwrap().remove(0);
    assert_eq!(refused.detail.as_deref(), Some("\"clean\" (2 of 4), which is CANCELLED"));
}

/// Releases before let a retry go on behind a task that had failed, and left that as it was.
#[test]
fn what_an_older_release_has_passed_over_is_not_in_the_way_of_a_retry() {
    let database = TestDatabase::new("again_old");
    database.register(&ProcessType::new("old", "").add(script("one", "true")).add(script("two", "false")));
    let id = database.start("old", ProcessInputData::new());
    let node = database.node();
    assert_eq!(database.wait_for(&id).status, ProcessStatus::Failed);
    database.sql().execute("UPDATE tasks SET status = 'FAILED' WHERE task_index = 0", &[]).unwrap();
    let mut store = database.store();
    let planned = store.plan_retries(std::slice::from_ref(&id), &from("two")).unwrap().remove(0);
    assert_eq!(planned.outcome, RetryOutcome::WouldSkip);
    assert_eq!(store.retry_process(&id, &RetryOptions::default()).unwrap(), "two");
    assert_eq!(database.wait_for(&id).skipped_tasks, 1);
    node.stop();
    assert_eq!(store.tasks(&id).unwrap().rows[0].status, TaskStatus::Skipped);
}
