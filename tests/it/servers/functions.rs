//! The schema's functions look for names in the schema and in pg_temp last, whatever the schema was made by or is called.

use postgres::{Client, NoTls};
use process_orchestrator::ProcessType;
use process_orchestrator::database::{ConnectError, Connection, ConnectionSource, Pooler};
use process_orchestrator::store::Store;
use process_orchestrator::store::start::{StartOptions, StartRequest};
use r2d2::Pool;
use r2d2_postgres::PostgresConnectionManager;

use crate::common::{TestDatabase, one_task};
use crate::program::{Bench, Ended, ended};

/// The check of `doctor` that is about functions: its verdict, what was found, the remedy.
fn checked(bench: &Bench, words: &[&str]) -> [String; 3] {
    let told = bench.run(&[words, &["doctor", "--json"]].concat()).json();
    let checks = told["checks"].as_array().unwrap();
    let check = checks.iter().find(|it| it["name"] == "functions").unwrap_or_else(|| panic!("{told}"));
    ["verdict", "found", "remedy"].map(|it| check[it].as_str().unwrap_or_default().to_owned())
}

/// Has every function look where those of older releases do: in the schema, with pg_temp before it.
fn as_older_releases(bench: &Bench) {
    let alter = "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = current_schema()::regnamespace \
        LOOP EXECUTE format('ALTER FUNCTION %s SET search_path = %I', f, current_schema()); END LOOP; END $$";
    bench.database.sql().batch_execute(alter).unwrap();
}

fn paths(client: &mut Client, which: &str) -> Vec<String> {
    let query = format!(
        "SELECT DISTINCT coalesce(array_to_string(proconfig, ';'), '') FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND ({which})"
    );
    client.query(&query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

/// The list has to have every function that the migrations make, or it would not be mended.
#[test]
fn every_function_of_ours_is_known_and_none_is_made_astray() {
    let bench = Bench::with_tables("known_functions");
    let query = "SELECT proname || '(' || oidvectortypes(proargtypes) || ')' FROM pg_proc \
        WHERE pronamespace = current_schema()::regnamespace";
    let rows = bench.database.sql().query(query, &[]).unwrap();
    let mut made: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    made.sort();
    let known: Vec<&str> = include_str!("../../../sql/schema/functions.txt").lines().collect();
    assert_eq!(
        known, made,
        "sql/schema/functions.txt has a line for each function of the migrations, sorted"
    );
    let schema = &bench.database.schema;
    assert_eq!(paths(&mut bench.database.sql(), "true"), [format!("search_path={schema}, pg_temp")]);
    assert_eq!(bench.database.store().stray_functions().unwrap(), []);
    assert_eq!(checked(&bench, &[])[0], "ok");
}

/// The fault itself: a role that may only execute the owner's wrapper has any command run.
#[test]
fn functions_of_older_releases_are_found_and_mended_and_temporary_tables_come_last() {
    let bench = Bench::with_tables("astray");
    let (database, schema) = (&bench.database, bench.database.schema.clone());
    database.register(&one_task("true"));
    let attacker = format!("{schema}_attacker");
    let mut owner = database.sql();
    owner
        .batch_execute(&format!(
            "CREATE ROLE {attacker} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {attacker};
            CREATE FUNCTION wrapper(id text) RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = {schema}, pg_temp
                AS $$SELECT start_process('one-task', '{{}}'::jsonb, id)$$;
            CREATE FUNCTION theirs() RETURNS int LANGUAGE sql SET search_path = public AS 'SELECT 1';
            CREATE FUNCTION start_process(number integer) RETURNS int LANGUAGE sql SET search_path = public AS 'SELECT 1'"
        ))
        .unwrap();
    let sockets: String = owner.query_one("SHOW unix_socket_directories", &[]).unwrap().get(0);
    let url = format!("host='{}' user={attacker} dbname=postgres", sockets.trim_matches('"'));
    let attack = |id: &str| {
        let mut client = Client::connect(&url, NoTls).unwrap();
        client
            .batch_execute(&format!(
                "CREATE TEMP TABLE process_types (name text, description text, definition jsonb, tasks jsonb, \
                 required_input text[], paused boolean, max_concurrent integer, created_at timestamptz, updated_at timestamptz, \
                 paused_at timestamptz, pause_reason text, concurrency jsonb); GRANT ALL ON pg_temp.process_types TO PUBLIC; \
                 INSERT INTO process_types (name, tasks, required_input, paused) VALUES ('one-task', '[{{\"task_index\": 0, \
                 \"name\": \"only\", \"command\": \"id\", \"shell\": true, \"timeout_minutes\": 1, \"max_retries\": 0, \
                 \"on_crash\": \"rerun\", \"max_output_bytes\": 1}}]', '{{}}', false); SELECT {schema}.wrapper('{id}')"
            ))
            .unwrap();
    };
    let command = |id: &str| -> String {
        let query = "SELECT command FROM tasks WHERE process_id = $1";
        database.sql().query_one(query, &[&id]).unwrap().get(0)
    };
    as_older_releases(&bench);
    owner.batch_execute(&format!("ALTER FUNCTION wrapper(text) SET search_path = {schema}, pg_temp; ALTER FUNCTION theirs() SET search_path = public; ALTER FUNCTION start_process(integer) SET search_path = public")).unwrap();
    attack("before");
    assert_eq!(command("before"), "id", "the fault is there");
    let [verdict, found, remedy] = checked(&bench, &[]);
    assert_eq!(verdict, "warn", "{found}");
    assert!(
        found.contains("temporary tables go before") && found.contains("start_process, start_processes"),
        "{found}"
    );
    assert!(remedy.ends_with("process-orchestrator migrate"), "{remedy}");

    let would = bench.run(&["migrate", "--dry-run"]).expect(0);
    assert!(would.out.starts_with("would mend functions that look for names in pg_temp, "), "{would:#?}");
    let told = bench.run(&["migrate"]).expect(0);
    assert!(told.out.starts_with("mended functions that look for names in pg_temp, "), "{told:#?}");
    assert!(!told.out.contains("theirs") && told.out.contains("wake_nodes"), "{told:#?}");
    attack("after");
    assert_eq!(command("after"), "true");
    assert_eq!(checked(&bench, &[])[0], "ok");
    assert_eq!(bench.run(&["migrate"]).expect(0).out, "");
    assert_eq!(
        paths(
            &mut owner,
            "proname = 'theirs' OR proname = 'start_process' AND oidvectortypes(proargtypes) = 'integer'"
        ),
        ["search_path=public"]
    );

    // Other settings of a function are its owner's, and a path that was taken away is put back.
    owner
        .batch_execute("ALTER FUNCTION set_paused(text, boolean, text) RESET search_path; ALTER FUNCTION set_paused(text, boolean, text) SET work_mem = '1MB'")
        .unwrap();
    let told = bench.run(&["migrate"]).expect(0);
    assert_eq!(told.out, "mended functions that look for names in the path of their callers: set_paused\n");
    assert_eq!(
        paths(&mut owner, "proname = 'set_paused'"),
        [format!("work_mem=1MB;search_path={schema}, pg_temp")]
    );
    // Quoted where it need not be, it is the same.
    owner
        .batch_execute(&format!("SET quote_all_identifiers = on; ALTER FUNCTION set_paused(text, boolean, text) SET search_path = {schema}, pg_temp"))
        .unwrap();
    assert_eq!(bench.run(&["migrate"]).expect(0).out, "");
    owner.batch_execute(&format!("DROP OWNED BY {attacker}; DROP ROLE {attacker}")).unwrap();
}

/// One that renamed the schema and made a new one of the old name, or restored a copy, has two that act on one.
#[test]
fn functions_of_a_renamed_schema_are_found_and_mended_before_they_act_on_the_other() {
    let bench = Bench::with_tables("renamed");
    let (old, new) = (bench.database.schema.clone(), format!("{}, \"new\"", bench.database.schema));
    let quoted = format!("\"{}\"", new.replace('"', "\"\""));
    let role = format!("{old}_node");
    let mut superuser = bench.database.sql();
    superuser
        .batch_execute(&format!("CREATE ROLE {role} LOGIN; ALTER SCHEMA {old} RENAME TO {quoted}"))
        .unwrap();
    bench.database.store().migrate(false).unwrap();
    let file = bench.file(&ProcessType::new("quick", "").add_task("only", "true", ".", 1.0, 0));
    bench.run(&["types", "register", &file]).expect(0);
    let there = |words: &[&str]| {
        [&["--schema", &new], words].concat().iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()
    };
    let run = |words: &[&str]| bench.run(&there(words).iter().map(String::as_str).collect::<Vec<_>>());
    let sockets: String = superuser.query_one("SHOW unix_socket_directories", &[]).unwrap().get(0);
    let as_node = |words: &[&str]| -> Ended {
        let words = there(words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let url = format!("host='{}' user={role} dbname=postgres", sockets.trim_matches('"'));
        ended(bench.command(&words).env("DATABASE_URL", url))
    };
    superuser
        .batch_execute(&format!(
            "GRANT ALL ON SCHEMA {quoted} TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA {quoted} TO {role}; \
             GRANT ALL ON ALL SEQUENCES IN SCHEMA {quoted} TO {role}; GRANT USAGE ON SCHEMA {old} TO {role}; \
             GRANT ALL ON ALL TABLES IN SCHEMA {old} TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA {old} TO {role}"
        ))
        .unwrap();

    let [verdict, found, remedy] = checked(&bench, &["--schema", &new]);
    assert_eq!(verdict, "fail", "{found}");
    assert!(
        found.contains("the schema was renamed")
            && found.contains(&format!("names in {old}, pg_temp: add_era, ")),
        "{found}"
    );
    assert!(remedy.contains("--schema") && remedy.ends_with(" migrate"), "{remedy}");
    for words in [
        &["serve", "--no-http"][..],
        &["start", "quick"],
        &["run", &file],
        &["types", "register", &file],
        &["cancel", "x"],
        &["retry", "x"],
        &["pause", "quick"],
    ] {
        let refused = as_node(words).expect(1);
        assert!(
            refused.err.contains("it was renamed, or restored under another name"),
            "{words:?}: {refused:#?}"
        );
        assert!(refused.err.contains("migrate"), "{words:?}: {refused:#?}");
    }
    // Whoever may only look is refused, too, until it is mended; the owner's commands that change something mend it.
    let told = run(&["migrate"]).expect(0);
    assert!(
        told.out.starts_with(&format!("mended functions that look for names in {old}, pg_temp: ")),
        "{told:#?}"
    );
    assert_eq!(checked(&bench, &["--schema", &new])[0], "ok");
    as_node(&["types", "register", &file]).expect(0);
    as_node(&["start", "quick", "--process-id", "here"]).expect(0);
    let count = |schema: &str, client: &mut Client| -> i64 {
        client.query_one(&format!("SELECT count(*) FROM {schema}.processes"), &[]).unwrap().get(0)
    };
    assert_eq!((count(&old, &mut superuser), count(&quoted, &mut superuser)), (0, 1));
    as_node(&["cancel", "here"]).expect(0);
    superuser
        .batch_execute(&format!("DROP SCHEMA {quoted} CASCADE; DROP OWNED BY {role}; DROP ROLE {role}"))
        .unwrap();
}

/// A pool of one session, of which is said what pooler it leads through.
struct OneSession {
    pool: Pool<PostgresConnectionManager<NoTls>>,
    pooler: Pooler,
}

impl ConnectionSource for OneSession {
    fn connect(&self, role: &str) -> Result<Connection, ConnectError> {
        self.pool.connect(role)
    }

    fn shown(&self) -> String {
        "a pool".to_owned()
    }

    fn is_pooled(&self) -> bool {
        true
    }

    fn pooler(&self) -> Pooler {
        self.pooler
    }
}

/// A temporary table that somebody has left on a session of a pool.
#[test]
fn temporary_tables_on_a_shared_session_do_not_stand_before_the_schema() {
    let database = TestDatabase::new("shared_session");
    database.register(&one_task("true"));
    let manager = PostgresConnectionManager::new(database.settings().config().clone(), NoTls);
    let pool = Pool::builder().max_size(1).build(manager).unwrap();
    let tables = ["process_types", "processes", "tasks", "scheduled_tasks", "schema_migrations", "nodes"];
    for table in tables {
        pool.get().unwrap().batch_execute(&format!("CREATE TEMP TABLE {table} ()")).unwrap();
    }
    for pooler in [Pooler::None, Pooler::Transaction] {
        let source = OneSession { pool: pool.clone(), pooler };
        let mut store = Store::open(&source, "test", &database.schema).unwrap();
        store.check_schema().unwrap();
        assert_eq!(store.process_types().unwrap().len(), 1, "{pooler:?}");
        assert_eq!(store.migrate(false).unwrap(), [], "{pooler:?}");
        let ids = store.start_processes("one-task", &[StartRequest::default()], StartOptions::default());
        assert_eq!(ids.unwrap().len(), 1, "{pooler:?}");
    }
    assert_eq!(database.count("processes"), 2);
    let there = "SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r'";
    let count: i64 = pool.get().unwrap().query_one(there, &[]).unwrap().get(0);
    assert_eq!(count, tables.len() as i64, "it is the same session");
}
