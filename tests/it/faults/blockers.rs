//! Who is in the way is found whether or not anybody waits for it.

use process_orchestrator::model::explain::blocker::Blocker;

use crate::common::{TestDatabase, one_task, wait_until};

/// One for each way to lock a row, with what else is locked that must not be told.
#[test]
fn whoever_locks_a_row_is_found_while_nobody_waits() {
    let database = TestDatabase::new("blockers");
    database.register(&one_task("true"));
    let ids = database.start_many("one-task", 9);
    database.lives("n-1");
    let mut store = database.store();
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(store.who_locks(&all).unwrap(), []);
    let ways = [
        ("scheduled_tasks", "SELECT FROM scheduled_tasks WHERE task_instance = $1 FOR UPDATE"),
        ("processes", "SELECT FROM processes WHERE process_id = $1 FOR NO KEY UPDATE"),
        ("tasks", "SELECT FROM tasks WHERE process_id = $1 FOR SHARE"),
        ("scheduled_tasks", "UPDATE scheduled_tasks SET priority = 7 WHERE task_instance = $1"),
        ("processes", "DELETE FROM processes WHERE process_id = $1"),
        ("processes", "SELECT cancel_process($1)"),
        ("scheduled_tasks", "SAVEPOINT s; UPDATE scheduled_tasks SET priority = 7 WHERE task_instance = $1"),
    ];
    for (id, (place, statement)) in ids.iter().zip(ways) {
        let mut other = database.sql();
        other.batch_execute("SET application_name = 'report of Monday'; BEGIN").unwrap();
        other.batch_execute(&statement.replace("$1", &format!("'{id}'"))).unwrap();
        let pid: i32 = other.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
        let found = store.who_locks(&all).unwrap();
        let [(locked, by)] = &*found else { panic!("{statement}: {found:?}") };
        assert_eq!((locked, by.place.as_deref(), by.pid), (id, Some(place), Some(pid)), "{statement}");
        let (text, query) = (by.to_string(), by.query.as_deref().unwrap_or_default());
        let expected = format!("pid {pid} (report of Monday, user postgres, idle in transaction since 2");
        assert!(text.starts_with(&expected) && query == "SELECT pg_backend_pid()", "{text}");
        assert_eq!(by.remedy(), format!("SELECT pg_terminate_backend({pid})"));
        other.batch_execute("ROLLBACK").unwrap();
        assert_eq!(store.who_locks(&all).unwrap(), [], "{statement}");
    }
    shared_and_prepared(&database, &ids[7]);
    let mut other = database.sql();
    other.batch_execute("BEGIN; SELECT FROM nodes WHERE node_id = 'n-1' FOR UPDATE").unwrap();
    assert_eq!(store.who_locks_node("n-1").unwrap().len(), 1);
    assert_eq!(store.who_locks_node("n-2").unwrap(), []);
    assert_eq!(store.who_locks_silent_nodes().unwrap(), [], "it is heard of");
    let silent = "BEGIN; UPDATE nodes SET last_heartbeat = now() - interval '1 min'; COMMIT";
    other.batch_execute(&format!("ROLLBACK; {silent}; BEGIN; SELECT FROM nodes FOR SHARE")).unwrap();
    assert_eq!(store.who_locks_silent_nodes().unwrap().len(), 1);
    other.batch_execute("ROLLBACK; BEGIN; LOCK TABLE tasks IN SHARE MODE").unwrap();
    let tables: Vec<Option<String>> =
        store.who_locks_tables().unwrap().into_iter().map(|it: Blocker| it.place).collect();
    assert_eq!(tables, [Some("tasks".to_owned())]);
}

/// Rows that several sessions lock, and transactions without a session.
fn shared_and_prepared(database: &TestDatabase, id: &str) {
    let mut store = database.store();
    let share = format!("BEGIN; SELECT FROM processes WHERE process_id = '{id}' FOR SHARE");
    let mut sharers = [database.sql(), database.sql()];
    sharers.iter_mut().for_each(|it| it.batch_execute(&share).unwrap());
    assert_eq!(store.who_locks(&[id]).unwrap().len(), 2);
    sharers.iter_mut().for_each(|it| it.batch_execute("ROLLBACK").unwrap());
    let name = format!("{} 'x'", database.schema);
    let quoted = name.replace('\'', "''");
    let mut other = database.sql();
    other.batch_execute(&format!("{share}; PREPARE TRANSACTION '{quoted}'")).unwrap();
    let found = store.who_locks(&[id]).unwrap();
    let [(_, by)] = &*found else { panic!("{found:?}") };
    assert_eq!((by.pid, by.prepared.as_deref()), (None, Some(&*name)));
    other.batch_execute(&by.remedy()).unwrap();
    assert_eq!(store.who_locks(&[id]).unwrap(), []);
}

#[test]
fn whoever_a_session_waits_for_is_found() {
    let database = TestDatabase::new("blocking");
    database.register(&one_task("true"));
    let id = database.start_many("one-task", 1).remove(0);
    let (mut holder, mut waiter, mut store) = (database.sql(), database.sql(), database.store());
    let lock = format!("BEGIN; SELECT FROM processes WHERE process_id = '{id}' FOR UPDATE");
    holder.batch_execute(&lock).unwrap();
    let pid = |client: &mut postgres::Client| -> i32 {
        client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0)
    };
    let (held_by, waits) = (pid(&mut holder), pid(&mut waiter));
    std::thread::scope(|scope| {
        scope.spawn(|| waiter.batch_execute(&lock).unwrap());
        let found = wait_until("it waits", || store.who_blocks(waits).unwrap().pop());
        assert_eq!(found.pid, Some(held_by));
        holder.batch_execute("ROLLBACK").unwrap();
    });
}
