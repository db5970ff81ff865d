//! Who starts or retries beside the end of an era: what runs again is where what runs is.

use postgres::Client;
use process_orchestrator::store::eras::Done::{Began, Closed, Dropped, Moved};

use super::{age, assert_whole, homes, keep, printing, run, run_to_end};
use crate::common::TestDatabase;

const RETRY: &str = "SELECT outcome FROM retry_processes($1, '1')";

fn outcomes(client: &mut Client, ids: &[String]) -> Vec<String> {
    client.query(RETRY, &[&ids]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn processes_of_closed_eras_are_retried_together_and_leave_nothing_there() {
    let database = TestDatabase::new("era_bulk");
    let mut store = database.store();
    let mut ids = run(&database, &printing(), 3);
    assert_eq!(keep(&mut store), [Began(3), Closed(2)]);
    ids.extend(run(&database, &printing(), 3));
    assert_eq!(keep(&mut store), [Began(4), Closed(3)]);
    ids.extend(run(&database, &printing(), 1));
    assert_eq!(outcomes(&mut database.sql(), &ids), ["RETRIED"; 7]);
    assert_eq!(homes(&database, &ids), [4; 7]);
    assert_eq!(database.count("tasks WHERE output IS NOT NULL"), 0);
    run_to_end(&database, &ids);
    ids.iter().for_each(|id| assert_whole(&database, id, 2));
    let steps = keep(&mut store);
    assert_eq!(steps, [Dropped(2), Dropped(3), Began(5), Closed(4)]);
}

/// What such a transaction sees is older than the era in which it writes.
#[test]
fn a_transaction_that_began_before_its_era_was_closed_starts_and_retries() {
    let database = TestDatabase::new("era_early");
    let ids = run(&database, &printing(), 2);
    let mut early = database.sql();
    early.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM processes").unwrap();
    let mut store = database.store();
    assert_eq!(keep(&mut store), [Began(3), Closed(2)]);
    assert_eq!(outcomes(&mut early, &ids[..1]), ["RETRIED"]);
    early.batch_execute("SELECT start_process('prints', '{}', 'early'); COMMIT").unwrap();
    let started = [ids[0].clone(), "early".to_owned()];
    assert_eq!(homes(&database, &started), [3, 3]);
    run_to_end(&database, &started);
    assert_whole(&database, &ids[0], 2);
    assert_whole(&database, &ids[1], 1);
    assert_whole(&database, "early", 1);
}

/// It is told to try again, as with every other row that somebody has changed since.
#[test]
fn a_transaction_that_does_not_see_where_a_process_was_moved_is_refused_and_harms_nothing() {
    let database = TestDatabase::new("era_moved");
    database.register(&printing());
    database
        .sql()
        .batch_execute("SELECT start_process('prints', '{}', 'late', now() + interval '1 day')")
        .unwrap();
    run(&database, &printing(), 1);
    let mut store = database.store();
    let late = ["late".to_owned()];
    assert_eq!(keep(&mut store), [Began(3), Moved { processes: 1, from: 2 }, Closed(2)]);
    database.sql().batch_execute("UPDATE scheduled_tasks SET execution_time = now()").unwrap();
    run_to_end(&database, &late);
    age(&database);
    let mut early = database.sql();
    early.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM processes").unwrap();
    assert_eq!(keep(&mut store), [Moved { processes: 1, from: 1 }]);
    let refused = early.query(RETRY, &[&&late[..]]).unwrap_err();
    assert_eq!(refused.code().map(|it| it.code()), Some("40001"), "{refused:?}");
    early.batch_execute("ROLLBACK").unwrap();
    assert_eq!(outcomes(&mut early, &late), ["RETRIED"]);
    run_to_end(&database, &late);
    assert_whole(&database, "late", 2);
}
