use process_orchestrator::store::Store;

use crate::common::{TestDatabase, wait_until};

#[test]
fn five_nodes_that_start_at_once_apply_every_migration_once() {
    let database = TestDatabase::bare("five_nodes");
    let applied: usize = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..5).map(|_| scope.spawn(|| database.store().migrate(false).unwrap().len())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let migrations = database.count("schema_migrations");
    assert!(migrations >= 2);
    assert_eq!(applied, migrations as usize, "each was applied by exactly one");
    database.store().check_schema().unwrap();
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let database = TestDatabase::bare("dry_run");
    let mut store = database.store();
    let planned = store.migrate(true).unwrap();
    assert_eq!(planned[0].name, "0001_tables");
    let message = store.check_schema().unwrap_err().to_string();
    assert!(message.contains("holds no tables yet; run: process-orchestrator migrate"), "{message}");
}

#[test]
fn a_schema_newer_than_the_binary_is_refused_with_both_versions() {
    let database = TestDatabase::new("newer");
    database
        .sql()
        .execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'future', '')", &[])
        .unwrap();
    let mut store: Store = database.store();
    for message in
        [store.migrate(false).unwrap_err().to_string(), store.check_schema().unwrap_err().to_string()]
    {
        assert!(message.contains("at version 9999"), "{message}");
        let known = process_orchestrator::store::migrate::known_version();
        assert!(message.contains(&format!("knows versions up to {known} only")), "{message}");
    }
}

#[test]
fn a_migration_that_was_applied_with_other_content_is_named() {
    let database = TestDatabase::new("edited");
    database.sql().execute("UPDATE schema_migrations SET checksum = 'other' WHERE version = 2", &[]).unwrap();
    let message = database.store().migrate(false).unwrap_err().to_string();
    assert!(message.contains("migration 2 (0002_start_process)"), "{message}");
}

/// Its own wait for the lock would hold everybody else up.
#[test]
fn a_migration_waits_for_a_reader_without_anybody_waiting_for_it_for_long() {
    let database = TestDatabase::new("migrate_lock");
    // As if the last migration that changes the queue were still to come.
    let undo = "DELETE FROM schema_migrations WHERE version >= 7";
    database.sql().batch_execute(undo).unwrap();
    let mut reader = database.sql();
    reader.batch_execute("BEGIN; SELECT count(*) FROM scheduled_tasks").unwrap();
    std::thread::scope(|scope| {
        let migrates = scope.spawn(|| database.store().migrate(false).unwrap_err().to_string());
        let waits = "pg_locks WHERE NOT granted AND relation = 'scheduled_tasks'::regclass";
        wait_until("it waits for the reader", || (database.count(waits) > 0).then_some(()));
        let mut other = database.sql();
        other.batch_execute("SET statement_timeout = '20s'; SELECT count(*) FROM scheduled_tasks").unwrap();
        reader.batch_execute("COMMIT").unwrap();
        // It goes on once nothing is in its way, and finds what is there already.
        let told = migrates.join().unwrap();
        assert!(told.contains("already exists"), "{told}");
    });
}
