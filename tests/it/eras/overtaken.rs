//! Statements that meet a process which others move, retry or change before they have locked it.

use std::time::Duration;

use process_orchestrator::store::eras::Done::{Began, Closed};
use process_orchestrator::store::eras::Step;

use super::{age, assert_whole, forget, homes, is_there, keep, printing, run, run_to_end};
use crate::common::{TestDatabase, one_task, wait_until};

const KEEP_OTHERS: &str = include_str!("../../../sql/eras/keep_others.sql");
const PRUNE: &str = include_str!("../../../sql/control/prune.sql");

/// Runs a statement that waits behind its look at `met`, before it locks anything; `meanwhile` happens there.
fn overtake(
    database: &TestDatabase,
    sql: &str,
    met: &str,
    values: &[&(dyn postgres::types::ToSql + Sync)],
    meanwhile: &str,
) {
    let key = format!("hashtext('{}')", database.schema);
    let look = format!("FROM {met} JOIN");
    assert_eq!(sql.matches(&look).count(), 1, "{sql}");
    let waits = format!(
        "FROM (SELECT {met}.* FROM {met}, (SELECT pg_advisory_xact_lock_shared({key})) AS gate OFFSET 0) AS {met} JOIN"
    );
    let mut holder = database.sql();
    holder.batch_execute(&format!("SELECT pg_advisory_lock({key})")).unwrap();
    std::thread::scope(|scope| {
        let overtaken = scope.spawn(|| database.sql().query(&sql.replace(&look, &waits), values).map(drop));
        let waiting = format!(
            "pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid::bigint = ({key}::bigint & 4294967295)"
        );
        wait_until("the statement has looked", || (database.count(&waiting) > 0).then_some(()));
        database.sql().batch_execute(meanwhile).unwrap();
        holder.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
        overtaken.join().unwrap().unwrap();
    });
}

#[test]
fn what_is_retried_while_the_rest_of_its_era_is_moved_stays_among_what_runs() {
    let database = TestDatabase::new("era_kept_retried");
    let ids = run(&database, &printing(), 2);
    assert_eq!(keep(&mut database.store()), [Began(3), Closed(2)]);
    let to: i32 = database.sql().query_one("SELECT add_era('ENDED')", &[]).unwrap().get(0);
    let none: Vec<String> = Vec::new();
    let seconds: Vec<f64> = Vec::new();
    overtake(
        &database,
        KEEP_OTHERS,
        "process",
        &[&2_i32, &None::<f64>, &none, &none, &seconds, &None::<Vec<String>>, &to, &500_i64],
        &format!("SELECT retry_process('{}', '1')", ids[0]),
    );
    assert_eq!(homes(&database, &ids), [3, to]);
    run_to_end(&database, &ids[..1]);
    assert_whole(&database, &ids[0], 2);
    assert_whole(&database, &ids[1], 1);
}

#[test]
fn what_is_moved_while_old_processes_are_deleted_goes_with_all_that_is_its_own_or_not_at_all() {
    let database = TestDatabase::new("era_pruned_moved");
    let ids = run(&database, &printing(), 2);
    assert_eq!(keep(&mut database.store()), [Began(3), Closed(2)]);
    age(&database);
    let to: i32 = database.sql().query_one("SELECT add_era('ENDED')", &[]).unwrap().get(0);
    let none = None::<Vec<String>>;
    overtake(
        &database,
        PRUNE,
        "met",
        &[
            &60_f64,
            &none,
            &None::<String>,
            &None::<std::time::SystemTime>,
            &None::<String>,
            &200_i64,
            &false,
            &none,
            &Vec::<i32>::new(),
        ],
        &format!("SELECT move_processes(ARRAY['{}'], {to})", ids[0]),
    );
    assert_eq!(database.count("processes"), 1);
    assert_whole(&database, &ids[0], 1);
    let orphans = "FROM tasks t WHERE NOT EXISTS (SELECT FROM processes p WHERE p.process_id = t.process_id AND p.era = t.era)";
    assert_eq!(database.count(&orphans["FROM ".len()..]), 0);
}

/// Whoever restores or corrects a history writes ends that the eras know nothing of.
#[test]
fn an_era_whose_ends_were_written_by_hand_goes_as_a_whole() {
    let database = TestDatabase::new("era_by_hand");
    database.register(&one_task("true"));
    let ids = database.start_many("one-task", 120);
    let mut other = database.sql();
    let ended = "DELETE FROM scheduled_tasks; \
        UPDATE processes SET status = 'COMPLETED', completed_at = now() - interval '60 days'; \
        UPDATE eras SET opened_at = now() - interval '29 days'";
    other.batch_execute(ended).unwrap();
    let mut store = database.store();
    while store.close_eras().unwrap() != Step::Idle {}
    assert_eq!(database.count("eras WHERE era = 2 AND closed_at IS NOT NULL AND processes = 120"), 1);
    other.batch_execute("UPDATE eras SET ended_from = now(), ended_to = now() WHERE era = 2").unwrap();
    other
        .execute("UPDATE processes SET completed_at = 'infinity' WHERE process_id = $1", &[&ids[0]])
        .unwrap();
    assert_eq!(forget(&mut store), 0);
    store.measure_changed_eras(Duration::from_secs(60)).unwrap();
    assert_eq!(forget(&mut store), 0, "one of them has not ended so long ago");
    assert_eq!(database.count("processes"), 120);
    other
        .execute("UPDATE processes SET completed_at = '-infinity' WHERE process_id = $1", &[&ids[0]])
        .unwrap();
    store.measure_changed_eras(Duration::from_secs(60)).unwrap();
    assert_eq!(forget(&mut store), 120);
    assert!(!is_there(&database, "tasks_2"));
}
