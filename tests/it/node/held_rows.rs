//! Somebody's transaction has locked one row: who cancels, retries, prunes, pauses, registers or starts hears whose it is, and
//! all other processes are as if nobody had.

use process_orchestrator::store::StoreError;
use process_orchestrator::store::cancel::{CancelOutcome, CancelReason};
use process_orchestrator::store::prune::PruneFilter;
use process_orchestrator::store::retry::{RetryOptions, RetryOutcome};
use process_orchestrator::store::start::{StartOptions, StartRequest};
use process_orchestrator::{ProcessInputData, ProcessStatus};

use crate::common::{TestDatabase, one_task};

/// A session that is told by its name.
fn stranger(database: &TestDatabase) -> postgres::Client {
    let mut client = database.sql();
    client.batch_execute("SET application_name = 'a stranger'").unwrap();
    client.batch_execute("BEGIN").unwrap();
    client
}

fn assert_names_the_stranger(told: &str, client: &mut postgres::Client) {
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    for part in [format!("pid {pid} (a stranger, user "), "idle in transaction since 20".to_owned()] {
        assert!(told.contains(&part), "no {part:?} in {told}");
    }
}

/// What anybody may do to a row that keeps others from it.
const LOCKS: [&str; 4] = [
    "SELECT FROM scheduled_tasks WHERE task_instance = $1 FOR UPDATE",
    "SELECT FROM processes WHERE process_id = $1 FOR SHARE",
    "UPDATE tasks SET updated_at = now() WHERE process_id = $1",
    "SELECT cancel_process($1)",
];

#[test]
fn of_a_list_to_cancel_only_what_is_locked_stays() {
    let database = TestDatabase::new("held_cancel");
    database.register(&one_task("true"));
    for lock in LOCKS {
        let ids = database.start_many("one-task", 3);
        let mut client = stranger(&database);
        client.query(lock, &[&ids[1]]).unwrap();
        let mut told = database.store().cancel_processes(&ids, CancelReason::default()).unwrap();
        let outcomes: Vec<_> = told.iter().map(|it| (it.process_id.clone(), it.outcome)).collect();
        use CancelOutcome::{Cancelled, Locked};
        let expected = [Cancelled, Locked, Cancelled];
        assert_eq!(outcomes, ids.iter().cloned().zip(expected).collect::<Vec<_>>(), "{lock}");
        assert_names_the_stranger(told[1].locked_by.as_deref().unwrap(), &mut client);
        let error = database.store().cancel_process(&ids[1], CancelReason::default()).unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }), "{error}");
        assert!(
            error.to_string().starts_with(&format!("lock process {:?}: it is locked by pid ", ids[1])),
            "{error}"
        );
        client.batch_execute("ROLLBACK").unwrap();
        told = database.store().cancel_processes(&ids[1..2], CancelReason::default()).unwrap();
        assert_eq!(told[0].outcome, Cancelled);
    }
}

#[test]
fn of_a_list_to_retry_only_what_is_locked_stays_and_prune_leaves_it() {
    let database = TestDatabase::new("held_retry");
    database.register(&one_task("true"));
    let ids = database.start_many("one-task", 3);
    let node = database.node();
    ids.iter().for_each(|id| drop(database.wait_for(id)));
    node.stop();
    let again = RetryOptions { from_task: Some("only".to_owned()), ..Default::default() };
    for lock in &LOCKS[1..3] {
        let mut client = stranger(&database);
        client.query(*lock, &[&ids[1]]).unwrap();
        let mut store = database.store();
        let told = store.retry_processes(&ids, &again).unwrap();
        let outcomes: Vec<_> = told.iter().map(|it| it.outcome).collect();
        assert_eq!(outcomes, [RetryOutcome::Retried, RetryOutcome::Locked, RetryOutcome::Retried], "{lock}");
        assert_names_the_stranger(told[1].locked_by.as_deref().unwrap(), &mut client);
        let error = store.retry_process(&ids[1], &again).unwrap_err().to_string();
        assert_names_the_stranger(&error, &mut client);
        store.cancel_processes(&ids, CancelReason::default()).unwrap();
        client.batch_execute("ROLLBACK").unwrap();
    }
    assert_eq!(database.store().process(&ids[1]).unwrap().unwrap().status, ProcessStatus::Completed);

    let all = PruneFilter::default();
    let trail = "SELECT FROM task_executions WHERE process_id = $1 FOR UPDATE";
    // Two at once, each in its way: both are named.
    let mut clients = [stranger(&database), stranger(&database)];
    clients[0].query(LOCKS[1], &[&ids[1]]).unwrap();
    clients[1].query(trail, &[&ids[2]]).unwrap();
    let pruned = database.store().prune(&all, None).unwrap();
    assert_eq!((pruned.processes, pruned.locked.len()), (1, 2));
    let mut told = database.store().who_keeps(&ids[1..3]).unwrap();
    told.iter_mut().zip(&mut clients).for_each(|(told, client)| {
        assert_names_the_stranger(told, client);
        client.batch_execute("ROLLBACK").unwrap();
    });
    for (n, lock) in [LOCKS[1], LOCKS[2], trail].iter().enumerate() {
        let mut client = stranger(&database);
        client.query(*lock, &[&ids[1]]).unwrap();
        let pruned = database.store().prune(&all, None).unwrap();
        assert_eq!(
            (pruned.processes, &pruned.locked[..]),
            (if n == 0 { 1 } else { 0 }, &ids[1..2]),
            "{lock}"
        );
        let told = database.store().who_keeps(&pruned.locked).unwrap();
        assert_names_the_stranger(&told[0], &mut client);
        client.batch_execute("ROLLBACK").unwrap();
    }
    assert_eq!(database.store().prune(&all, None).unwrap().processes, 1);
    assert_eq!(database.count("tasks"), 0);
}

#[test]
fn a_locked_process_type_is_neither_paused_nor_replaced_and_what_is_there_needs_no_lock() {
    let database = TestDatabase::new("held_type");
    database.register(&one_task("true"));
    let mut client = stranger(&database);
    client.batch_execute("UPDATE process_types SET max_concurrent = NULL").unwrap();
    let mut store = database.store();
    let told = [
        store.pause_process_type("one-task", None).unwrap_err(),
        store.register(&one_task("false")).unwrap_err(),
        store.register_unless_superseded(&one_task("false"), None).unwrap_err(),
    ];
    for error in told {
        assert!(error.to_string().starts_with("lock process type \"one-task\": it is locked by "), "{error}");
        assert_names_the_stranger(&error.to_string(), &mut client);
    }
    store.register(&one_task("true")).unwrap();
    store.register_unless_superseded(&one_task("true"), None).unwrap();
    client.batch_execute("ROLLBACK").unwrap();
    assert!(store.pause_process_type("one-task", None).unwrap());
    client
        .batch_execute("BEGIN; SELECT pause_process_type('one-task'); SELECT FROM process_types FOR UPDATE")
        .unwrap();
    let error = store.resume_process_type("one-task").unwrap_err().to_string();
    assert_names_the_stranger(&error, &mut client);

    // A new name that nobody can see yet.
    client.batch_execute("ROLLBACK; BEGIN; INSERT INTO process_types (name, definition, tasks) VALUES ('new', '{}', '[1]')").unwrap();
    let mut new = one_task("true");
    new.name = "new".to_owned();
    let error = store.register(&new).unwrap_err().to_string();
    assert_names_the_stranger(&error, &mut client);
}

#[test]
fn an_id_that_somebody_is_starting_is_waited_for_and_told() {
    let database = TestDatabase::new("held_start");
    database.register(&one_task("true"));
    let mut client = stranger(&database);
    client.batch_execute("SELECT start_process('one-task', '{}', 'taken')").unwrap();
    let request = |id: &str| StartRequest { input: ProcessInputData::new(), process_id: Some(id.to_owned()) };
    let mut store = database.store();
    let told = [
        store.start_processes("one-task", &[request("taken")], StartOptions::default()).unwrap_err(),
        store.start_or_find("one-task", &request("taken"), StartOptions::default()).unwrap_err(),
        store.start_reserved("one-task", &request("taken"), "node").unwrap_err(),
    ];
    for error in told {
        assert!(error.to_string().starts_with("lock process \"taken\": it is locked by "), "{error}");
        assert_names_the_stranger(&error.to_string(), &mut client);
    }
    let many = [request("taken"), request("free")];
    let error = store.start_processes("one-task", &many, StartOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("lock one of 2 process ids: it is locked by "), "{error}");
    client.batch_execute("COMMIT").unwrap();
    let ids = store.start_processes("one-task", &many, StartOptions::default()).unwrap();
    assert_eq!(ids, ["taken", "free"]);
}
