use std::process::Stdio;

use process_orchestrator::store::Store;

use crate::common::{TestDatabase, wait_until};
use crate::program::{Bench, ended, until_line};

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

/// Any role that may connect can hold the lock of those who migrate.
#[test]
fn who_is_in_a_migrations_way_is_named_and_not_waited_for_without_bound() {
    let bench = Bench::new("migrate_held");
    let schema = &bench.database.schema;
    let role = format!("{schema}_nobody");
    let mut stranger = bench.database.sql();
    stranger.batch_execute(&format!("CREATE ROLE \"{role}\"; SET SESSION AUTHORIZATION \"{role}\"")).unwrap();
    // 'POM1'
    stranger.execute("SELECT pg_advisory_lock(1347374385, hashtext($1))", &[schema]).unwrap();
    let pid: i32 = stranger.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let refused = bench.run(&["migrate", "--wait", "3s"]).expect(1);
    for part in [
        "apply migration 0001_tables: waited 3 s in vain",
        &format!("server process {pid} (process-orchestrator test, role "),
        "holds the advisory lock of those who migrate",
        &format!("SELECT pg_terminate_backend({pid})"),
        "migrate --wait 1h",
        // Before that it has said for whom it waits.
        "warn wait: migration 0001_tables waits, for 2 s so far, ",
    ] {
        assert!(refused.err.contains(part), "{part:?} is not in {refused:#?}");
    }
    // Later migrations begin when these are there.
    let to = |version: i32, words: &[&str]| {
        let mut command = bench.command(words);
        command.env("PROCESS_ORCHESTRATOR_KNOWN_SCHEMA", version.to_string());
        command
    };
    // Who starts a node is told the same, and goes on once the way is free.
    let mut serve = to(13, &["serve", "--no-http"]);
    let mut serve = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let rest = until_line(&mut serve, &format!("server process {pid} "));
    drop(stranger);
    serve.stderr = Some(rest.into_inner());
    drop(until_line(&mut serve, " ready: node "));
    serve.kill().unwrap();
    serve.wait().unwrap();
    bench.database.sql().batch_execute(&format!("DROP ROLE \"{role}\"")).unwrap();

    // Tables that somebody reads, in a transaction that he has left open.
    let undo = "DELETE FROM schema_migrations WHERE version >= 13; ALTER TABLE nodes DROP COLUMN lock_pid, \
                DROP COLUMN lock_role, DROP COLUMN lock_began, DROP COLUMN heartbeat_seconds, \
                DROP COLUMN dead_after_seconds";
    bench.database.sql().batch_execute(undo).unwrap();
    let mut reader = bench.database.sql();
    reader.batch_execute("BEGIN; SELECT count(*) FROM nodes").unwrap();
    let pid: i32 = reader.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let refused = ended(&mut to(13, &["migrate", "--wait", "2s"])).expect(1);
    for part in
        [&*format!("server process {pid} ("), "has locks on the tables, for ", "apply migration 0013_node"]
    {
        assert!(refused.err.contains(part), "{part:?} is not in {refused:#?}");
    }
    assert_eq!(bench.database.count("schema_migrations WHERE version >= 13"), 0, "nothing is left of it");
    reader.batch_execute("COMMIT").unwrap();
    ended(&mut to(13, &["migrate"])).expect(0);
    // A migration that fails is named.
    let damage = "DELETE FROM schema_migrations WHERE version >= 13";
    bench.database.sql().batch_execute(damage).unwrap();
    let failed = ended(&mut to(13, &["migrate"])).expect(1);
    assert!(failed.err.contains("apply migration 0013_node_sessions: "), "{failed:#?}");
    assert!(failed.err.contains("already exists"), "{failed:#?}");
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
