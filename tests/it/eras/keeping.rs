//! From the begin of an era to the drop of its tables.

use std::time::Duration;

use process_orchestrator::model::retry::RetryPolicy;
use process_orchestrator::store::eras::Done::{Began, Closed, Dropped, Moved};
use process_orchestrator::{ProcessStatus, ProcessType, TaskDefinition};

use postgres::Client;

use super::{age, assert_whole, forget, homes, is_there, keep, long, printing, run, run_to_end};
use crate::common::{TestDatabase, one_task, script, wait_until};

#[test]
fn an_era_is_begun_when_the_one_before_has_ended_which_is_closed_and_goes_as_a_whole() {
    let database = TestDatabase::new("era_whole");
    let ids = run(&database, &printing(), 5);
    let mut store = database.store();
    assert_eq!(keep(&mut store), [Began(3), Closed(2)]);
    assert_eq!((database.count("open_tasks"), database.count("tasks")), (0, 10));
    assert_eq!((database.count("outputs_2"), database.count("task_executions")), (5, 10));
    ids.iter().for_each(|id| assert_whole(&database, id, 1));
    assert_eq!(keep(&mut store), []);
    assert_eq!(forget(&mut store), 0, "none is old enough");

    let others = run(&database, &printing(), 1);
    age(&database);
    assert_eq!(forget(&mut store), 5);
    assert_eq!(["tasks_2", "executions_2", "outputs_2"].map(|it| is_there(&database, it)), [false; 3]);
    assert_eq!((database.count("processes"), database.count("eras WHERE era = 2")), (1, 0));
    assert_whole(&database, &others[0], 1);
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn what_outlasts_its_era_is_moved_as_it_waits_goes_on_and_is_moved_again_when_it_has_ended() {
    let database = TestDatabase::new("era_long");
    let again = TaskDefinition {
        max_retries: 1,
        retry: RetryPolicy { initial_delay: HOUR, max_delay: HOUR, ..RetryPolicy::default() },
        ..script("again", "seq 1000; [ $TASK_ATTEMPT = 2 ]")
    };
    database.register(&ProcessType::new("again", "").add(again));
    database.register(&printing());
    database.register(&ProcessType::new("paused", "").add(script("only", "seq 1000")));
    let mut client = database.sql();
    client
        .batch_execute(
            "SELECT pause_process_type('paused'); \
             SELECT start_process('paused', '{}', 'paused'), start_process('again', '{}', 'again'), \
                 start_process('prints', '{}', 'future', now() + interval '1 day')",
        )
        .unwrap();
    let node = database.node();
    wait_until("it waits for its retry", || {
        (database.count("tasks WHERE status = 'WAITING_RETRY'") == 1).then_some(())
    });
    node.stop();
    run(&database, &one_task("true"), 1);
    let queue = |client: &mut Client| -> Vec<String> {
        let rows = "SELECT (to_jsonb(s) - 'era')::text FROM scheduled_tasks s ORDER BY task_instance";
        client.query(rows, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    };
    let waited = queue(&mut client);
    let mut store = database.store();
    assert_eq!(keep(&mut store), [Began(3), Moved { processes: 3, from: 2 }, Closed(2)]);
    let ids = ["again", "future", "paused"].map(str::to_owned);
    assert_eq!(homes(&database, &ids), [1, 1, 1]);
    assert_eq!(queue(&mut client), waited, "they wait as before");

    client
        .batch_execute(
            "SELECT resume_process_type('paused'); UPDATE scheduled_tasks SET execution_time = now() WHERE state = 'SCHEDULED'",
        )
        .unwrap();
    run_to_end(&database, &ids);
    assert_eq!(database.count("processes WHERE status = 'COMPLETED'"), 4);
    assert_eq!(keep(&mut store), [], "what has ended a moment ago stays for a minute");
    age(&database);
    assert_eq!(keep(&mut store), [Moved { processes: 3, from: 1 }]);
    assert_eq!(homes(&database, &ids), [4, 4, 4]);
    assert_whole(&database, "future", 1);
    let trail = store.executions("again").unwrap();
    assert_eq!(trail.iter().map(|it| it.output.clone()).collect::<Vec<_>>(), [Some(long()), Some(long())]);
    assert_eq!(forget(&mut store), 4);
    assert_eq!(database.count("tasks") + database.count("task_executions") + database.count("outputs"), 0);
}

/// What is in a schema of the release before, in the shape that it had there.
#[test]
fn what_was_there_before_eras_is_moved_into_them_and_its_tables_go() {
    let database = TestDatabase::new("era_earlier");
    let ids = run(&database, &printing(), 3);
    database
        .sql()
        .batch_execute("SELECT start_process('prints', '{}', 'later', now() + interval '1 day')")
        .unwrap();
    // As the release before has left it: all in era 0, each output twice.
    let earlier = "
        INSERT INTO eras (era, kind) VALUES (0, 'EARLIER');
        CREATE TABLE tasks_0 PARTITION OF open_tasks FOR VALUES IN (0);
        CREATE TABLE executions_0 PARTITION OF executions FOR VALUES IN (0);
        CREATE TABLE outputs_0 PARTITION OF outputs FOR VALUES IN (0);
        UPDATE scheduled_tasks SET era = 0;
        WITH printed AS (DELETE FROM outputs RETURNING *), run AS (DELETE FROM executions RETURNING *)
        INSERT INTO executions SELECT (jsonb_populate_record(NULL::executions, to_jsonb(run)
                || jsonb_build_object('era', 0, 'output', coalesce(run.output, p.output)))).*
            FROM run LEFT JOIN printed p USING (process_id, task_index, attempt);
        WITH task AS (DELETE FROM all_tasks RETURNING *)
        INSERT INTO all_tasks SELECT (jsonb_populate_record(NULL::all_tasks, to_jsonb(t)
                || jsonb_build_object('era', 0, 'output_attempt', NULL, 'output', (SELECT output FROM executions e
                    WHERE e.process_id = t.process_id AND e.task_index = t.task_index)))).*
            FROM task t;
        UPDATE processes SET era = 0";
    database.sql().batch_execute(earlier).unwrap();
    ids.iter().for_each(|id| assert_whole(&database, id, 1));
    age(&database);
    let mut store = database.store();
    let told = store.earlier_history().unwrap().unwrap();
    assert_eq!((told.moved, told.left), (0, 3));
    let steps = keep(&mut store);
    assert_eq!(
        steps,
        [Moved { processes: 3, from: 0 }, Moved { processes: 1, from: 0 }, Closed(0), Dropped(0)],
        "{steps:?}"
    );
    assert_eq!(store.earlier_history().unwrap(), None);
    assert_eq!(database.count("outputs"), 3);
    ids.iter().for_each(|id| assert_whole(&database, id, 1));
    database.sql().batch_execute("UPDATE scheduled_tasks SET execution_time = now()").unwrap();
    run_to_end(&database, &["later".to_owned()]);
    assert_whole(&database, "later", 1);
    assert_eq!(database.count("processes WHERE status <> 'COMPLETED'"), 0);
    assert_eq!(store.process("later").unwrap().unwrap().status, ProcessStatus::Completed);
}
