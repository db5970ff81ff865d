//! Eras go as a whole, beside those who hold something of them.

use process_orchestrator::store::eras::Done::{Began, Closed, Dropped};

use super::{age, assert_whole, forget, homes, is_there, keep, printing, run, run_to_end};
use crate::common::{TestDatabase, one_task};

#[test]
fn an_era_of_which_somebody_has_locked_a_process_stays_until_the_lock_is_gone() {
    let database = TestDatabase::new("era_locked");
    let ids = run(&database, &printing(), 5);
    let mut store = database.store();
    assert_eq!(keep(&mut store), [Began(3), Closed(2)]);
    age(&database);
    let mut other = database.sql();
    let lock = format!("BEGIN; SELECT FROM processes WHERE process_id = '{}' FOR UPDATE", ids[2]);
    other.batch_execute(&lock).unwrap();
    assert_eq!(forget(&mut store), 0);
    assert_eq!(keep(&mut store), []);
    ids.iter().for_each(|id| assert_whole(&database, id, 1));
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(forget(&mut store), 5);
    assert!(!is_there(&database, "tasks_2"));
}

/// What is kept of an era is moved out of it, so that the rest can go as a whole.
#[test]
fn an_era_of_which_most_is_to_go_waits_for_the_lock_on_one_that_is_kept() {
    let database = TestDatabase::new("era_split");
    database.register(&one_task("true"));
    let ids = database.start_many("one-task", 1_100);
    let kept = &ids[..40];
    let mut other = database.sql();
    let ended = "DELETE FROM scheduled_tasks; UPDATE processes SET status = 'COMPLETED', completed_at = now() - interval '1 hour'";
    other.batch_execute(ended).unwrap();
    other.execute("UPDATE processes SET completed_at = now() WHERE process_id = ANY ($1)", &[&kept]).unwrap();
    other.batch_execute("SELECT use_era(add_era('STARTED'))").unwrap();
    let mut store = database.store();
    assert_eq!(keep(&mut store), [Closed(2)]);
    let lock = format!("BEGIN; SELECT FROM processes WHERE process_id = '{}' FOR UPDATE", kept[7]);
    other.batch_execute(&lock).unwrap();
    assert_eq!(forget(&mut store), 0);
    assert_eq!(database.count("processes WHERE era = 2"), 1_061);
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(forget(&mut store), 1_060);
    assert_eq!(
        (database.count("processes"), database.count("tasks"), is_there(&database, "tasks_2")),
        (40, 40, false)
    );
}

#[test]
fn a_process_that_is_retried_while_its_era_goes_stays_with_all_that_is_its_own() {
    let database = TestDatabase::new("era_kept");
    let ids = run(&database, &printing(), 4);
    let mut store = database.store();
    assert_eq!(keep(&mut store), [Began(3), Closed(2)]);
    age(&database);
    let mut other = database.sql();
    other.batch_execute(&format!("BEGIN; SELECT retry_process('{}', '1')", ids[1])).unwrap();
    assert_eq!(forget(&mut store), 0, "it is not known yet whether it is to go");
    other.batch_execute("COMMIT").unwrap();
    assert_eq!(forget(&mut store), 3);
    assert!(!is_there(&database, "tasks_2"));
    run_to_end(&database, &ids[1..2]);
    assert_whole(&database, &ids[1], 2);
    assert_eq!(database.count("processes"), 1);
}

/// Both at once, again and again: whoever comes second has to find what the first has left.
#[test]
fn retries_beside_forgetting_lose_nothing() {
    let database = TestDatabase::new("era_both");
    let mut store = database.store();
    for round in 0..8 {
        let ids = run(&database, &printing(), 6);
        keep(&mut store);
        age(&database);
        let begin = std::sync::Barrier::new(2);
        let retried: Vec<String> = std::thread::scope(|scope| {
            let retry = scope.spawn(|| {
                let mut client = database.sql();
                begin.wait();
                let mut retried = Vec::new();
                for id in ids.iter().step_by(2) {
                    let told = client.query_one("SELECT retry_process($1, '1')", &[id]);
                    match told {
                        Ok(_) => retried.push(id.clone()),
                        Err(error) => {
                            assert_eq!(error.code().map(|it| it.code()), Some("PO007"), "{error:?}")
                        }
                    }
                }
                retried
            });
            begin.wait();
            forget(&mut store);
            retry.join().unwrap()
        });
        assert!(homes(&database, &retried).iter().all(|era| *era > 0), "{round}: {retried:?}");
        run_to_end(&database, &retried);
        retried.iter().for_each(|id| assert_whole(&database, id, 2));
        keep(&mut store);
        age(&database);
        while forget(&mut store) > 0 {}
    }
}

/// Who reads for long keeps neither others from starting nor an era from going later.
#[test]
fn tables_that_somebody_reads_for_long_go_later_and_nobody_waits_for_that() {
    let database = TestDatabase::new("era_read");
    run(&database, &printing(), 2);
    let mut store = database.store();
    assert_eq!(keep(&mut store), [Began(3), Closed(2)]);
    age(&database);
    let mut reader = database.sql();
    reader.batch_execute("BEGIN; SELECT count(*) FROM tasks").unwrap();
    assert_eq!(forget(&mut store), 2);
    let mut other = database.sql();
    // Who waits for the drop waits for the reader.
    other.batch_execute("SET lock_timeout = '3s'").unwrap();
    for _ in 0..3 {
        assert_eq!(keep(&mut store), []);
        other.batch_execute("SELECT start_process('prints'); SELECT count(*) FROM tasks").unwrap();
    }
    assert!(is_there(&database, "tasks_2"));
    assert_eq!((database.count("processes"), database.count("tasks WHERE era = 2")), (3, 4));
    reader.batch_execute("COMMIT").unwrap();
    assert_eq!(keep(&mut store), [Dropped(2)]);
    assert!(!is_there(&database, "tasks_2"));
}
