//! Rolling upgrades: two releases on one schema, several that migrate at once, one that is killed while it does.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use process_orchestrator::store::cancel::CancelReason;
use process_orchestrator::store::migrate::known_version;
use process_orchestrator::{ProcessInputData, ProcessStatus, ProcessType};

use super::Served;
use crate::common::{one_task, script, wait_until};
use crate::program::{Bench, ended, signal};

const FAILPOINTS: &str = "PROCESS_ORCHESTRATOR_FAILPOINTS";

/// What the next release's migration leaves: a column more, and the version.
fn expand(bench: &Bench, works_from: Option<i32>) {
    let mut client = bench.database.sql();
    client
        .batch_execute(
            "ALTER TABLE processes ADD COLUMN IF NOT EXISTS of_the_next text NOT NULL DEFAULT 'x'; \
             ALTER TABLE all_tasks ADD COLUMN IF NOT EXISTS of_the_next integer; \
             ALTER TABLE scheduled_tasks ADD COLUMN IF NOT EXISTS of_the_next integer DEFAULT 7; \
             ALTER TABLE nodes ADD COLUMN IF NOT EXISTS of_the_next text; \
             ALTER TABLE executions ADD COLUMN IF NOT EXISTS of_the_next text;",
        )
        .unwrap();
    client
        .execute(
            "INSERT INTO schema_migrations (version, name, checksum, works_from) VALUES ($1, 'next', '', $2) \
             ON CONFLICT (version) DO UPDATE SET works_from = $2",
            &[&(known_version() + 1), &works_from],
        )
        .unwrap();
}

fn runs_one(bench: &Bench) {
    let id = bench.database.start("one-task", ProcessInputData::new());
    assert_eq!(bench.database.wait_for(&id).status, ProcessStatus::Completed);
}

#[test]
fn a_node_goes_on_and_can_be_restarted_when_the_next_release_has_expanded_the_schema() {
    let bench = Bench::with_tables("upgrade_expand");
    bench.database.register(&one_task("true"));
    let mut running = Served::start(&bench, "running", &[], &[]);
    runs_one(&bench);
    expand(&bench, Some(known_version()));
    runs_one(&bench);
    running.stop();
    let mut restarted = Served::start(&bench, "restarted", &[], &[]);
    let (next, ours) = (known_version() + 1, known_version());
    let told = format!("is at version {next}, which also works with this program's {ours}");
    assert!(restarted.log().contains(&told), "{}", restarted.log());
    runs_one(&bench);
    for words in [&["list"][..], &["nodes"], &["start", "one-task", "--wait"], &["migrate", "--dry-run"]] {
        bench.run(words).expect(0);
    }
    let migrate = bench.run(&["migrate", "--json"]).expect(0).json();
    assert_eq!((&migrate["version"], &migrate["migrations"]), (&next.into(), &serde_json::json!([])));

    // The release after that contracts: who runs goes on, who starts is refused.
    expand(&bench, Some(next));
    runs_one(&bench);
    restarted.stop();
    for words in [&["serve", "--no-http"][..], &["list"], &["migrate"]] {
        let refused = bench.run(words).expect(1);
        let versions = format!("it is at version {next}, this binary knows versions up to {ours} only");
        assert!(refused.err.contains(&versions), "{words:?}: {refused:#?}");
    }
}

#[test]
fn the_release_before_runs_beside_this_one_if_the_newest_migration_says_that_it_may() {
    let bench = Bench::with_tables("upgrade_before");
    let before = known_version() - 1;
    let variables = [("PROCESS_ORCHESTRATOR_KNOWN_SCHEMA", &*before.to_string())];
    let works_from: Option<i32> = bench
        .database
        .sql()
        .query_one("SELECT works_from FROM schema_migrations ORDER BY version DESC LIMIT 1", &[])
        .unwrap()
        .get(0);
    if works_from.is_none_or(|from| from > before) {
        let mut old = Served::spawn(&bench, "old", &[], &variables);
        assert_eq!(old.ended().code(), Some(1));
        let versions =
            format!("it is at version {}, this binary knows versions up to {before} only", before + 1);
        assert!(old.log().contains(&versions), "{}", old.log());
        return;
    }
    bench.database.register(&one_task("true"));
    let mut old = Served::start(&bench, "old", &["--executors", "2"], &variables);
    let mut new = Served::start(&bench, "new", &["--executors", "2"], &[]);
    let both = || {
        let of = |name: &str| bench.database.count(&format!("task_executions WHERE node_id LIKE '{name}-%'"));
        runs_one(&bench);
        (of("old") > 0 && of("new") > 0).then_some(())
    };
    wait_until("both have run something", both);
    old.stop();
    new.stop();
}

/// Registers a type as the fifth version did, whose table has no columns for what came later.
fn register_formerly(bench: &Bench, kind: &ProcessType) {
    let row = |(index, task): (usize, &process_orchestrator::TaskDefinition)| {
        serde_json::json!({
            "task_index": index, "name": task.name, "command": task.command, "shell": task.shell,
            "timeout_minutes": task.timeout_minutes, "max_retries": task.max_retries, "on_crash": task.on_crash.as_str(),
            "max_output_bytes": task.max_output_bytes,
        })
    };
    let tasks: serde_json::Value = kind.tasks.iter().enumerate().map(row).collect();
    let insert =
        "INSERT INTO process_types (name, definition, tasks, required_input) VALUES ($1, $2, $3, '{}')";
    bench.database.sql().execute(insert, &[&kind.name, &kind.to_value(), &tasks]).unwrap();
}

/// What was recorded is as it was, what waits goes on, and each row of the queue gets its state.
#[test]
fn migrations_of_tables_in_use_change_no_row_and_name_the_views_that_are_in_their_way() {
    let bench = Bench::new("upgrade_rows");
    let variables = [("PROCESS_ORCHESTRATOR_KNOWN_SCHEMA", "5")];
    let mut migrate = bench.command(&["migrate"]);
    ended(migrate.envs(variables)).expect(0);
    let kinds = [
        ProcessType::new("works", "").add(script("a", "echo äöü")).add(script("b", "seq 1000")),
        ProcessType::new("fails", "").add(script("a", "true")).add(script("b", "echo no >&2; exit 3")),
    ];
    let ids: Vec<_> = kinds
        .iter()
        .flat_map(|kind| {
            register_formerly(&bench, kind);
            bench.database.start_many(&kind.name, 4)
        })
        .collect();
    // As nodes of the fifth version have left them: one has ended, others are claimed, wait for a retry, are reserved.
    bench
        .database
        .sql()
        .batch_execute(
            "DELETE FROM scheduled_tasks WHERE task_instance = 'works-1'; \
             UPDATE processes SET status = 'COMPLETED', completed_at = now() WHERE process_id = 'works-1'; \
             UPDATE tasks SET status = 'COMPLETED', attempt = 1, output = 'äöü' WHERE process_id = 'works-1'; \
             INSERT INTO task_executions (process_id, task_index, attempt, node_id, outcome, started_at, completed_at, \
                 duration_ms, output, output_bytes) \
                 VALUES ('works-1', 0, 1, 'old', 'SUCCEEDED', now(), now(), 1, 'äöü', 5); \
             INSERT INTO nodes (node_id, name, host, pid, version, executors, state, lease_seconds) \
                 VALUES ('old', 'old', '', 1, '', 1, 'DEAD', 300); \
             UPDATE scheduled_tasks SET picked = true, picked_by = 'old', version = 2 WHERE task_instance = 'works-2'; \
             UPDATE processes SET status = 'IN_PROGRESS' WHERE process_id = 'works-2'; \
             UPDATE tasks SET status = 'IN_PROGRESS', attempt = 1, started_at = now() \
                 WHERE process_id = 'works-2' AND task_index = 0; \
             UPDATE scheduled_tasks SET execution_time = now() + interval '5 seconds' WHERE task_instance = 'works-3'; \
             UPDATE scheduled_tasks SET reserved_for = 'old' WHERE task_instance = 'works-4'",
        )
        .unwrap();
    let rows = |bench: &Bench| {
        let of = |table: &str| {
            let added = "'{state,held_by,waiting_since,skipped_tasks,context_values,era,limits,task_limits,\
                 admitted_version,batch,more_limits,xmin,xmax,ctid}'::text[]";
            let rows = format!("SELECT (to_jsonb(t) - {added})::text FROM {table} AS t ORDER BY 1");
            let rows = bench.database.sql().query(&rows, &[]).unwrap();
            rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
        };
        ["processes", "tasks", "task_executions", "scheduled_tasks"].map(of)
    };
    let were = rows(&bench);
    assert_eq!(were.each_ref().map(Vec::len), [8, 16, 1, 7], "{were:#?}");
    bench.database.sql().batch_execute("CREATE VIEW told AS SELECT status FROM processes").unwrap();
    let refused = bench.run(&["migrate"]).expect(1);
    assert!(refused.err.contains("columns that these views show change their type: "), "{refused:#?}");
    assert!(refused.err.contains("told") && refused.err.contains("drop the views, migrate"), "{refused:#?}");
    bench.database.sql().batch_execute("DROP VIEW told").unwrap();
    bench.run(&["migrate"]).expect(0);
    assert_eq!(rows(&bench), were);
    let states = "SELECT string_agg(concat_ws(' ', task_instance, state, held_by), ', ' ORDER BY task_instance) \
        FROM scheduled_tasks WHERE task_name = 'works'";
    let states: String = bench.database.sql().query_one(states, &[]).unwrap().get(0);
    assert_eq!(states, "works-2 CLAIMED, works-3 SCHEDULED, works-4 HELD node:old");

    bench.database.store().cancel_process(&ids[4], CancelReason { reason: Some("so"), by: None }).unwrap();
    let mut new = Served::start(&bench, "new", &[], &[]);
    let statuses: Vec<_> = ids.iter().map(|id| bench.database.wait_for(id).status).collect();
    use ProcessStatus::{Cancelled, Completed, Failed};
    assert_eq!(statuses, [Completed, Completed, Completed, Completed, Cancelled, Failed, Failed, Failed]);
    new.stop();
}

/// Neither is the queue locked while an index of processes is built, nor anything while rows are looked at.
#[test]
fn migrations_lock_no_more_than_they_change() {
    let bench = Bench::new("upgrade_locks");
    for (version, expected) in [
        (
            8,
            "live_output AccessExclusiveLock, processes RowExclusiveLock, scheduled_tasks AccessShareLock, \
             tasks AccessShareLock",
        ),
        (9, "scheduled_tasks ShareRowExclusiveLock"),
        (10, "processes ShareLock"),
    ] {
        let reached = bench.folder.join("in-migration.reached");
        _ = fs::remove_file(&reached);
        let to = |version: i32| {
            let mut command = bench.command(&["migrate"]);
            command.env("PROCESS_ORCHESTRATOR_KNOWN_SCHEMA", version.to_string());
            command
        };
        ended(&mut to(version - 1)).expect(0);
        let mut migrate = to(version);
        migrate.stdout(Stdio::null()).stderr(Stdio::null());
        let hold = format!("in-migration=hold:{}", bench.folder.display());
        let mut migrate = migrate.env(FAILPOINTS, hold).spawn().unwrap();
        wait_until("it has its locks", || reached.exists().then_some(()));
        let query = "SELECT string_agg(name || ' ' || mode, ', ' ORDER BY name) FROM ( \
            SELECT DISTINCT ON (c.relname) c.relname AS name, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation \
            WHERE c.relname IN ('live_output', 'nodes', 'processes', 'scheduled_tasks', 'tasks') \
                AND c.relnamespace = current_schema()::regnamespace AND l.pid <> pg_backend_pid() \
            ORDER BY c.relname, array_position(ARRAY['AccessExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock', \
                'RowExclusiveLock'], l.mode)) AS strongest";
        let locks: Option<String> = bench.database.sql().query_one(query, &[]).unwrap().get(0);
        signal(&migrate, "-KILL");
        assert_eq!(migrate.wait().unwrap().signal(), Some(9));
        assert_eq!(locks.as_deref(), Some(expected), "{version}");
    }
}

#[test]
fn five_nodes_that_start_on_an_empty_database_at_once_migrate_it_once() {
    let bench = Bench::new("upgrade_five");
    let mut nodes: Vec<_> =
        (0..5).map(|n| Served::spawn(&bench, &format!("n{n}"), &["--executors", "1"], &[])).collect();
    for node in &nodes {
        wait_until("it is ready", || {
            assert!(!node.log().contains("error: "), "{}", node.log());
            node.log().contains(" ready: node ").then_some(())
        });
    }
    assert_eq!(bench.database.store().schema_version().unwrap(), known_version());
    assert_eq!(bench.database.count("nodes WHERE state = 'RUNNING'"), 5);
    nodes.iter_mut().for_each(Served::stop);
}

#[test]
fn a_migration_whose_program_is_killed_leaves_nothing_and_the_next_does_it() {
    let bench = Bench::new("upgrade_killed");
    let migrate = |rule: &str| {
        let mut command = bench.command(&["migrate"]);
        command.env(FAILPOINTS, rule).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let schemas = || {
        let query = "SELECT count(*) FROM pg_namespace WHERE nspname = $1";
        bench.database.sql().query_one(query, &[&bench.database.schema]).unwrap().get::<_, i64>(0)
    };
    assert_eq!(migrate("in-migration@1=kill").status().unwrap().signal(), Some(9));
    assert_eq!(schemas(), 0, "not even the schema is there");
    assert_eq!(migrate("in-migration@2=kill").status().unwrap().signal(), Some(9));
    assert_eq!(bench.database.count("schema_migrations"), 1);
    assert_eq!(bench.database.count("pg_proc WHERE pronamespace = current_schema()::regnamespace"), 0);

    // One holds its migration open; another waits for it, and does it when the first is killed.
    let mut first = migrate(&format!("in-migration=hold:{}", bench.folder.display())).spawn().unwrap();
    wait_until("it migrates", || bench.folder.join("in-migration.reached").exists().then_some(()));
    let mut second = Served::spawn(&bench, "second", &[], &[]);
    let holder = "holds the advisory lock of those who migrate";
    wait_until("the other waits for it", || second.log().contains(holder).then_some(()));
    signal(&first, "-KILL");
    assert_eq!(first.wait().unwrap().signal(), Some(9));
    wait_until("it is ready", || second.log().contains(" ready: node ").then_some(()));
    assert_eq!(bench.database.store().schema_version().unwrap(), known_version());
    bench.database.store().check_schema().unwrap();
    second.stop();
    assert!(fs::exists(bench.folder.join("in-migration.reached")).unwrap());
}
