//! Databases that are set up for something else: encodings, settings of a role or a database, locks that nobody sees.

use process_orchestrator::ProcessType;

use super::world::{World, postgres_place};
use crate::common::{one_task, wait_until};
use crate::program::{Ended, ended};

impl World {
    /// The program on this database.
    fn program(&self, words: &[&str]) -> Ended {
        self.program_as("postgres", words)
    }

    fn program_as(&self, role: &str, words: &[&str]) -> Ended {
        let place = postgres_place(&self.settings).replace("user=postgres", &format!("user={role}"));
        ended(self.bench.command(words).env("DATABASE_URL", place))
    }
}

/// The text of one check of the doctor's.
fn found(doctor: &Ended, name: &str) -> (String, String) {
    let checks = doctor.json()["checks"].as_array().unwrap().clone();
    let check = checks.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("{name}: {doctor:#?}"));
    let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
    (text("verdict"), format!("{} {}", text("found"), text("remedy")))
}

#[test]
fn a_database_that_is_not_utf8_is_refused_by_whoever_would_write_and_told_by_the_doctor() {
    let bench = crate::program::Bench::new("encodings");
    let file = bench.file(&one_task("true"));
    let mut owner = bench.database.sql();
    for encoding in ["LATIN1", "SQL_ASCII", "WIN1252", "EUC_JP"] {
        let name = format!("{}_{encoding}", bench.database.schema);
        let make = format!(
            "CREATE DATABASE \"{name}\" ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        );
        owner.batch_execute(&make).unwrap();
        let sockets: String = owner.query_one("SHOW unix_socket_directories", &[]).unwrap().get(0);
        let url = format!("host='{}' user=postgres dbname='{name}'", sockets.trim_matches('"'));
        let program = |words: &[&str]| ended(bench.command(words).env("DATABASE_URL", &url));
        for words in [&["migrate"][..], &["run", &file], &["start", "one-task"], &["serve", "--no-http"]] {
            let refused = program(words);
            assert_ne!(refused.code, Some(0), "{refused:#?}");
            for part in [format!("keeps text in {encoding}"), "ENCODING 'UTF8' TEMPLATE template0".to_owned()]
            {
                assert!(refused.err.contains(&part), "{words:?}: {part:?} is not in {refused:#?}");
            }
        }
        let doctor = program(&["doctor", "--json"]).expect(1);
        let (verdict, text) = found(&doctor, "encoding");
        assert!(
            verdict == "fail" && text.contains(encoding) && text.contains("template0"),
            "{verdict} {text}"
        );
        // A library's user comes by without that check.
        let settings =
            process_orchestrator::database::ConnectionSettings::from_url("test", &url, &|_| None).unwrap();
        let mut store = process_orchestrator::store::Store::open(&settings, "test", "anywhere").unwrap();
        let refused = store.migrate(false).unwrap_err().to_string();
        assert!(refused.contains(&format!("keeps text in {encoding}")), "{refused}");
        drop(store);
        owner.batch_execute(&format!("DROP DATABASE \"{name}\"")).unwrap();
    }
}

/// What a role or a database may have been given for statements of another kind, by the oldest version that knows it.
const SETTINGS: &[(i32, &str)] = &[
    (12, "standard_conforming_strings = off"),
    (12, "backslash_quote = on"),
    (12, "escape_string_warning = on"),
    (12, "bytea_output = escape"),
    (12, "client_encoding = LATIN1"),
    (12, "DateStyle = 'SQL, DMY'"),
    (12, "IntervalStyle = iso_8601"),
    (12, "TimeZone = 'Asia/Kathmandu'"),
    (12, "extra_float_digits = -15"),
    (12, "array_nulls = off"),
    (12, "transform_null_equals = on"),
    (12, "quote_all_identifiers = on"),
    (12, "check_function_bodies = off"),
    (12, "xmlbinary = hex"),
    (12, "default_transaction_isolation = serializable"),
    (12, "default_transaction_deferrable = on"),
    (12, "row_security = off"),
    (12, "synchronous_commit = off"),
    (12, "track_activities = off"),
    (12, "search_path = pg_temp, public, pg_catalog"),
    (12, "statement_timeout = '300ms'"),
    (12, "lock_timeout = '1ms'"),
    (12, "idle_in_transaction_session_timeout = '1ms'"),
    (14, "idle_session_timeout = '300ms'"),
    (17, "transaction_timeout = '300ms'"),
    (12, "jit = on"),
    (12, "plan_cache_mode = force_custom_plan"),
    (12, "enable_indexscan = off"),
    (12, "enable_nestloop = off"),
    (12, "enable_sort = off"),
    (12, "temp_file_limit = 0"),
    (12, "client_min_messages = debug1"),
    (12, "default_tablespace = pg_default"),
    (14, "default_toast_compression = pglz"),
    (12, "geqo = off"),
    (12, "from_collapse_limit = 1"),
    (12, "join_collapse_limit = 1"),
    (12, "lc_messages = 'C'"),
];

#[test]
fn settings_of_a_database_or_a_role_that_are_meant_for_others_change_nothing() {
    let mut world = World::new("odd_settings");
    let version: i32 = world
        .sql()
        .query_one("SELECT current_setting('server_version_num')::int / 10000", &[])
        .unwrap()
        .get(0);
    let role = format!("{}_role", world.schema);
    // Needed to have the role own a schema of its own.
    world.sql().batch_execute(&format!("CREATE ROLE \"{role}\" LOGIN SUPERUSER")).unwrap();
    let name = world.settings.database().to_owned();
    let file = world.bench.file(
        &ProcessType::new("two", "")
            .add_task("a", "echo ${config.who}", "", 1.0, 0)
            .add_task("b", "false", "", 1.0, 0),
    );
    for subject in [format!("DATABASE \"{name}\""), format!("ROLE \"{role}\"")] {
        for (_, setting) in SETTINGS.iter().filter(|it| it.0 <= version) {
            world.sql().batch_execute(&format!("ALTER {subject} SET {setting}")).unwrap();
        }
        // The tables anew, under these settings.
        world.sql().batch_execute(&format!("DROP SCHEMA \"{}\" CASCADE", world.schema)).unwrap();
        let who = r"C:\new 'näme' \ 12";
        let config = format!("who={who}");
        let run = |words: &[&str]| world.program_as(&role, words);
        run(&["migrate"]).expect(0);
        run(&["run", &file, "--process-id", "ran", "--config", &config]).expect(1);
        let ran = run(&["show", "ran", "--json"]).expect(0).json();
        assert_eq!(ran["tasks"][0]["output"], format!("{who}\n"), "{ran:#}");
        assert_eq!(ran["input_data"]["config"]["who"], who, "{ran:#}");
        run(&["start", "two", "--process-id", "one", "--config", &config]).expect(0);
        let listed = run(&["list", "--json"]).expect(0).json();
        assert_eq!(listed["processes"].as_array().unwrap().len(), 2, "{listed:#}");
        let place = postgres_place(&world.settings).replace("user=postgres", &format!("user={role}"));
        let mut serve = world.serve_on(&place, &["--no-http", "--node-name", "odd"], &[]);
        wait_until("it has run", || {
            let one = world.program_as(&role, &["show", "one", "--json"]).expect(0).json();
            (one["status"] == "FAILED").then_some(())
        });
        world.program_as(&role, &["retry", "one", "--from", "a"]).expect(0);
        wait_until("it has run again", || {
            (world.count("task_executions WHERE process_id = 'one'") == 4).then_some(())
        });
        if version >= 14 {
            // Longer than a session of the role's may be idle: of ours none was ended.
            let quiet = "pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%listener' \
                         AND backend_start < clock_timestamp() - interval '1 second'";
            wait_until("the listener is still there", || (world.count(quiet) == 1).then_some(()));
        }
        let doctor = world.program_as(&role, &["doctor", "--json"]).expect(0);
        assert_eq!(found(&doctor, "encoding").0, "ok", "{doctor:#?}");
        assert_eq!(found(&doctor, "locks").0, "ok", "{doctor:#?}");
        assert!(!serve.log().contains("failed to"), "{}", serve.log());
        serve.stop();
        world.sql().batch_execute(&format!("ALTER {subject} RESET ALL")).unwrap();
    }
    world.sql().batch_execute(&format!("DROP OWNED BY \"{role}\" CASCADE; DROP ROLE \"{role}\"")).unwrap();
}

#[test]
fn what_a_session_cannot_set_for_itself_is_refused_with_the_remedy() {
    let world = World::new("odd_refused");
    for (setting, part) in [
        ("session_replication_role = replica", "RESET session_replication_role"),
        ("default_transaction_read_only = on", "take back default_transaction_read_only"),
    ] {
        world.alter_database(&format!("SET {setting}"));
        for words in [&["migrate"][..], &["start", "any"]] {
            let refused = world.program(words);
            assert_ne!(refused.code, Some(0), "{setting}: {refused:#?}");
            assert!(refused.err.contains(part), "{setting}: {refused:#?}");
        }
        world.program(&["list"]).expect(0);
        let doctor = world.program(&["doctor"]).expect(1);
        assert!(doctor.out.contains("fail"), "{doctor:#?}");
        world.alter_database("RESET ALL");
    }
}

/// Any role that may connect can hold the lock of the node that forgets.
#[test]
fn a_stranger_who_holds_the_lock_of_retention_does_not_keep_what_is_old() {
    let mut world = World::new("held_retention");
    let mut stranger = world.sql();
    // 'POP1'
    stranger.execute("SELECT pg_advisory_lock(1347375153, hashtext($1))", &[&world.schema]).unwrap();
    let ids = world.start("old", 3, &["true"]);
    let mut serve = world.serve(&["--no-http", "--retention", "1s"], &[]);
    let held = "pg_locks WHERE locktype = 'advisory' AND classid = 1347375153 AND granted";
    assert_eq!(world.count(held), 1);
    wait_until("they have run and are forgotten", || {
        let is_over = world.count("scheduled_tasks") == 0;
        (is_over && world.count("processes") == 0).then_some(())
    });
    assert_eq!(ids.len(), 3);
    serve.stop();
}

#[test]
fn where_nobody_can_see_locks_the_lease_alone_decides_and_that_is_said() {
    let mut world = World::new("unseen_locks");
    let version = "SELECT current_setting('server_version_num')::int >= 130000";
    if !world.sql().query_one(version, &[]).unwrap().get::<_, bool>(0) {
        return crate::common::leave_out("PostgreSQL 12 lets nobody replace a view of its own while it runs");
    }
    // What stands behind the words of a system that only speaks the protocol.
    let hide = "DO $$ BEGIN \
        PERFORM set_config('allow_system_table_mods', 'on', true); \
        EXECUTE 'CREATE OR REPLACE VIEW pg_catalog.pg_locks AS ' \
            || rtrim(pg_get_viewdef('pg_catalog.pg_locks'::regclass), '; ') || ' WHERE l.locktype <> ''advisory'''; \
        END $$";
    world.sql().batch_execute(hide).unwrap();
    let doctor = world.program(&["doctor", "--json"]);
    let (verdict, text) = found(&doctor, "locks");
    assert!(verdict == "warn" && text.contains("shows no advisory locks"), "{verdict} {text}");
    let ids = world.start("two", 2, &["true"]);
    let mut serve =
        world.serve(&["--no-http", "--heartbeat", "200ms", "--dead-after", "1s", "--lease", "300s"], &[]);
    world.wait_for_all(&ids);
    serve.wait_for_line("shows no advisory locks in pg_locks");
    wait_until("it says that it has no lock", || {
        (world.count("nodes WHERE lock_key IS NULL AND state = 'RUNNING'") == 1).then_some(())
    });
    // Cut off or frozen, it is not taken for dead: others can't know.
    serve.send("-STOP");
    let config = process_orchestrator::engine::NodeConfig {
        heartbeat: std::time::Duration::from_millis(100),
        dead_after: std::time::Duration::from_millis(300),
        ..world.config()
    };
    let node = world.node(&world.settings, config);
    // One whose lock was known to others and is gone is declared dead meanwhile.
    world
        .sql()
        .execute(
            "INSERT INTO nodes (node_id, name, host, pid, version, executors, lease_seconds, lock_key, lock_pid, \
             dead_after_seconds) VALUES ('gone', 'gone', 'elsewhere', 1, '0', 1, 300, 1, 1, 2)",
            &[],
        )
        .unwrap();
    wait_until("that one is dead", || {
        (world.count("nodes WHERE node_id = 'gone' AND state = 'DEAD'") == 1).then_some(())
    });
    assert_eq!(world.count("nodes WHERE lock_key IS NULL AND state = 'RUNNING' AND node_id <> 'gone'"), 2);
    serve.send("-CONT");
    node.stop();
    serve.stop();
}
