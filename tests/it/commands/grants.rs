//! A role that may start processes of given types, and nothing else: what it can, and that nothing it tries makes it more.

use postgres::{Client, NoTls};
use process_orchestrator::ProcessType;

use crate::program::{Bench, Ended, ended};

/// A database whose owner is no superuser, two process types in a schema of it, and other roles. Two tests that change the
/// rights of one database would meet.
struct Stage {
    bench: Bench,
    superuser: Client,
    sockets: String,
    roles: Vec<String>,
}

/// Names with everything that is something else elsewhere.
const SECRET_TYPE: &str = r#"pay: roll, "ü" $1"#;

impl Stage {
    fn new(test: &str, roles: &[&str]) -> Self {
        let bench = Bench::new(test);
        let mut superuser = bench.database.sql();
        let sockets: String = superuser.query_one("SHOW unix_socket_directories", &[]).unwrap().get(0);
        let roles =
            [&["owner"], roles].concat().iter().map(|it| format!("{}_{it}", bench.database.schema)).collect();
        let mut stage = Self { bench, superuser, sockets: sockets.trim_matches('"').to_owned(), roles };
        for role in stage.roles.clone() {
            stage.sql(&format!("CREATE ROLE {role} LOGIN"));
        }
        let create = format!("CREATE DATABASE {} OWNER {}", stage.bench.database.schema, stage.role("owner"));
        stage.sql(&create);
        stage.superuser = Client::connect(&stage.url_of("postgres"), NoTls).unwrap();
        stage.sql(&format!("SET search_path = {}", stage.bench.database.schema));
        for name in ["echo", SECRET_TYPE] {
            let document = ProcessType::new(name, "").add_task("only", "true", ".", 1.0, 0).to_value();
            std::fs::write(stage.bench.folder.join("type.json"), document.to_string()).unwrap();
            stage.owner(&["types", "register", "type.json"]).expect(0);
        }
        stage
    }

    fn role(&self, name: &str) -> String {
        format!("{}_{name}", self.bench.database.schema)
    }

    /// As the superuser.
    fn sql(&mut self, statements: &str) {
        self.superuser.batch_execute(statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    fn url(&self, role: &str) -> String {
        self.url_of(&self.role(role))
    }

    fn url_of(&self, user: &str) -> String {
        format!("host='{}' user={user} dbname={}", self.sockets, self.bench.database.schema)
    }

    /// The program as the schema's owner.
    fn owner(&self, words: &[&str]) -> Ended {
        self.program(&self.role("owner"), words)
    }

    fn program(&self, user: &str, words: &[&str]) -> Ended {
        ended(self.bench.command(words).env("DATABASE_URL", self.url_of(user)))
    }

    fn grant(&self, role_and_types: &str) -> Ended {
        self.owner(&["migrate", "--grant-start-to", role_and_types]).expect(0)
    }

    fn client(&self, role: &str) -> Client {
        let mut client = Client::connect(&self.url(role), NoTls).unwrap();
        client.batch_execute(&format!("SET search_path = {}", self.bench.database.schema)).unwrap();
        client
    }

    /// What was started: type and command of each task.
    fn commands(&mut self) -> Vec<(String, String)> {
        let query =
            "SELECT DISTINCT process_type, command FROM processes JOIN tasks USING (process_id) ORDER BY 1";
        self.superuser.query(query, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    fn end(self) {
        drop(self.superuser);
        let mut server = self.bench.database.sql();
        server.batch_execute(&format!("DROP DATABASE {}", self.bench.database.schema)).unwrap();
        server.batch_execute(&format!("DROP ROLE {}", self.roles.join(", "))).unwrap();
    }
}

/// SQLSTATE and message of a refusal.
fn refused(client: &mut Client, statement: &str) -> (String, String) {
    let error = client.batch_execute(statement).expect_err(statement);
    let answer = error.as_db_error().unwrap_or_else(|| panic!("{statement}: {error}"));
    let hint = answer.hint().unwrap_or_default();
    (answer.code().code().to_owned(), format!("{}; {hint}", answer.message()))
}

fn texts(client: &mut Client, query: &str) -> Vec<String> {
    client
        .query(query, &[])
        .unwrap_or_else(|error| panic!("{query}: {error:?}"))
        .iter()
        .map(|row| row.get(0))
        .collect()
}

#[test]
fn a_role_starts_processes_of_its_types_and_does_nothing_else() {
    let mut stage = Stage::new("starter", &["web", "cron", "stranger"]);
    let (web, schema) = (stage.role("web"), stage.bench.database.schema.clone());
    let told = stage.grant(&format!("{web}:echo"));
    assert!(
        told.out.contains(&format!("granted starting processes of type \"echo\" to \"{web}\"")),
        "{told:#?}"
    );
    stage.grant(&format!("{web}:echo"));
    // Another type has a function of its own, for somebody else.
    stage.grant(&format!("{}:\"{}\"", stage.role("cron"), SECRET_TYPE.replace('"', "\"\"")));
    let shown = stage.owner(&["types", "show", "echo"]).expect(0);
    assert!(shown.out.contains(&format!("Granted to    {web}\n")), "{shown:#?}");

    let mut client = stage.client("web");
    for (call, expected) in [
        ("start_process('echo')", "echo-1"),
        ("start_process('echo', '{\"user_id\": \"u\"}', 'mine', priority => 2)", "mine"),
        ("start_process('echo', json_build_object('user_id', 'u'), 'mine')", "mine"),
        ("* FROM start_processes('echo', ARRAY['{}'], ARRAY['many'])", "many"),
        ("* FROM start_processes('echo', ARRAY['{}'::jsonb], ARRAY['many'], notify => false)", "many"),
    ] {
        assert_eq!(texts(&mut client, &format!("SELECT {call}")), [expected], "{call}");
    }
    // The same errors as everybody's.
    assert_eq!(refused(&mut client, "SELECT start_process('echo', '{\"x\": 1}')").0, "PO002");
    // Whether a type is there is not said.
    for name in [SECRET_TYPE, "nothing"] {
        let (state, message) = refused(&mut client, &format!("SELECT start_process('{name}', '{{}}')"));
        let expected = format!(
            "role \"{web}\" may not start processes of type \"{name}\"; have the owner of the tables run: \
             process-orchestrator migrate --grant-start-to '{web}:{name}'"
        );
        assert_eq!((&*state, message), ("42501", expected));
    }
    assert_eq!(refused(&mut client, "SELECT start_process(NULL, '{}')").0, "42501");

    // Nothing else, by no other way.
    let key = |stage: &mut Stage, name: &str| -> String {
        stage.superuser.query_one("SELECT type_key($1)", &[&name]).unwrap().get(0)
    };
    let (own, other) = (key(&mut stage, "echo"), key(&mut stage, SECRET_TYPE));
    let arguments = "ARRAY['{}'::jsonb], NULL, NULL, 0, true";
    let mut attempts = vec![
        format!("SELECT start_granted_{other}('{SECRET_TYPE}', {arguments})"),
        format!("SELECT start_granted_{own}('{SECRET_TYPE}', {arguments})"),
        format!("SELECT start_granted_{own}(NULL, {arguments})"),
        format!("SELECT start_processes('echo', {arguments}, true)"),
        format!("SELECT start_processes('echo', {arguments}, false)"),
        "SELECT nextval('process_number')".to_owned(),
        "SELECT cancel_process('mine')".to_owned(),
        "SELECT cancel_processes(ARRAY['mine'])".to_owned(),
        "SELECT end_cancelled_processes()".to_owned(),
        "SELECT retry_process('mine')".to_owned(),
        "SELECT * FROM plan_retries(ARRAY['mine'])".to_owned(),
        "SELECT missing_variables('mine', 0, '{}')".to_owned(),
        "SELECT pause_process_type('echo')".to_owned(),
        "SELECT resume_process_type('echo')".to_owned(),
        "SELECT set_limit('gpu', 0)".to_owned(),
        "SELECT * FROM limit_usage".to_owned(),
        "INSERT INTO process_types (name, definition, tasks) VALUES ('x', '{}', '[{}]')".to_owned(),
        "UPDATE tasks SET command = 'id'".to_owned(),
        "DELETE FROM processes".to_owned(),
        format!(
            "CREATE FUNCTION {schema}.normal_input(text) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb'"
        ),
        format!(
            "ALTER FUNCTION {schema}.start_granted_{own}(text, jsonb[], text[], timestamptz, integer, boolean) RESET search_path"
        ),
        format!(
            "CREATE TRIGGER x AFTER INSERT ON {schema}.all_tasks FOR EACH ROW EXECUTE FUNCTION {schema}.note_late_start()"
        ),
        // It runs with the owner's rights.
        "CREATE TEMP TABLE fake (name text, definition jsonb); CREATE TRIGGER x AFTER INSERT ON fake FOR EACH ROW \
            EXECUTE FUNCTION note_type_version(); INSERT INTO fake VALUES ('echo', '{}')"
            .to_owned(),
        format!("SET ROLE {}", stage.role("owner")),
    ];
    let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()";
    attempts.extend(texts(&mut stage.superuser, tables).iter().map(|table| format!("SELECT * FROM {table}")));
    assert!(attempts.len() > 25);
    for attempt in attempts {
        let (state, message) = refused(&mut client, &attempt);
        assert_eq!(state, "42501", "{attempt}: {message}");
    }
    let mut stranger = stage.client("stranger");
    stage.sql(&format!("GRANT USAGE ON SCHEMA {schema} TO {}", stage.role("stranger")));
    assert_eq!(refused(&mut stranger, "SELECT start_process('echo')").0, "42501");
    let direct = format!("SELECT start_granted_{own}('echo', {arguments})");
    assert_eq!(refused(&mut stranger, &direct).0, "42501", "no function of these is PUBLIC's");
    assert_eq!(stage.commands(), [("echo".to_owned(), "true".to_owned())]);
    drop((client, stranger));
    stage.end();
}

#[test]
fn a_role_that_starts_learns_nothing_of_others() {
    let mut stage = Stage::new("discreet", &["web", "all"]);
    stage.grant(&format!("{}:echo", stage.role("web")));
    stage.grant(&stage.role("all"));
    let hidden =
        "SELECT start_process($1, '{\"user_id\": \"hidden\", \"config\": {\"password\": \"hidden\"}}', $2)";
    stage.superuser.execute(hidden, &[&SECRET_TYPE, &"theirs"]).unwrap();
    stage.superuser.execute(hidden, &[&"echo", &"ours"]).unwrap();
    let mut client = stage.client("web");
    for (id, expected) in [("theirs", "of another type"), ("ours", "of type \"echo\" with other input")] {
        let error =
            client.batch_execute(&format!("SELECT start_process('echo', '{{}}', '{id}')")).unwrap_err();
        let answer = error.as_db_error().unwrap();
        assert_eq!(
            (answer.code().code(), answer.message()),
            ("PO004", &*format!("process id \"{id}\" is taken by a process {expected}"))
        );
        assert!(
            !format!("{answer:?}").contains("hidden") && !format!("{answer:?}").contains("roll"),
            "{answer:?}"
        );
    }
    let mut all = stage.client("all");
    let secret = SECRET_TYPE.to_owned();
    assert_eq!(
        all.query_one("SELECT start_process($1, '{}', 'new')", &[&secret]).unwrap().get::<_, String>(0),
        "new"
    );
    let unknown = refused(&mut all, "SELECT start_process('nothing')");
    assert_eq!(
        unknown,
        ("PO001".to_owned(), "unknown process type \"nothing\"; register it first".to_owned())
    );
    // What everybody reads in the catalogue names no type that others were granted.
    let catalogue = "SELECT concat_ws(' ', proname, prosrc, obj_description(oid)) FROM pg_proc WHERE proname LIKE 'start_granted%'";
    stage.grant(&format!("{}:\"{}\"", stage.role("web"), SECRET_TYPE.replace('"', "\"\"")));
    let seen = texts(&mut all, catalogue);
    assert!(seen.len() >= 3 && seen.iter().all(|it| !it.contains("roll")), "{seen:?}");
    drop((client, all));
    stage.end();
}

/// Whatever a caller has made or set, names mean ours.
#[test]
fn nothing_that_a_caller_makes_or_sets_changes_what_is_started() {
    let mut stage = Stage::new("attack", &["web"]);
    let (web, schema) = (stage.role("web"), stage.bench.database.schema.clone());
    stage.grant(&format!("{web}:echo"));
    // More than it should have: a schema of its own, and what everybody could before PostgreSQL 15.
    let evil = format!("{schema}_evil");
    stage.sql(&format!("CREATE SCHEMA {evil} AUTHORIZATION {web}; GRANT CREATE ON SCHEMA public TO {web}"));
    let mut client = stage.client("web");
    let tables = texts(
        &mut stage.superuser,
        "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()",
    );
    let definition = |table: &str| match table {
        "process_types" => {
            "name text, description text, definition jsonb, tasks jsonb, required_input text[], paused boolean, \
            max_concurrent integer, created_at timestamptz, updated_at timestamptz, paused_at timestamptz, pause_reason text"
        }
        _ => "process_id text, process_type text, input_data jsonb, command text, task_instance text",
    };
    for table in &tables {
        for place in ["pg_temp", &evil] {
            client
                .batch_execute(&format!(
                    "CREATE TABLE {place}.{table} ({}); GRANT ALL ON {place}.{table} TO PUBLIC",
                    definition(table)
                ))
                .unwrap();
        }
    }
    for place in ["pg_temp", &evil] {
        let row = "[{\"task_index\": 0, \"name\": \"only\", \"command\": \"id\", \"shell\": true, \"timeout_minutes\": 1, \"max_retries\": 0, \"on_crash\": \"rerun\", \"max_output_bytes\": 1}]";
        client
            .batch_execute(&format!("INSERT INTO {place}.process_types (name, tasks, required_input, paused) VALUES ('echo', '{row}', '{{}}', false)"))
            .unwrap();
    }
    // Each of these would be told in the log of what it did.
    let place = |place: &str| {
        format!(
            "CREATE TABLE IF NOT EXISTS {evil}.taken (what text); GRANT ALL ON {evil}.taken TO PUBLIC;
            CREATE FUNCTION {place}.note(what text) RETURNS boolean LANGUAGE sql AS 'INSERT INTO {evil}.taken VALUES (what) RETURNING true';
            CREATE FUNCTION {place}.normal_input(jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT {place}.note('normal_input'); SELECT $1$$;
            CREATE FUNCTION {place}.input_problem(jsonb) RETURNS text LANGUAGE sql AS $$SELECT {place}.note('input_problem'); SELECT NULL::text$$;
            CREATE FUNCTION {place}.wake_nodes(integer, text DEFAULT '') RETURNS void LANGUAGE sql AS $$SELECT {place}.note('wake_nodes')$$;
            CREATE FUNCTION {place}.type_key(text) RETURNS text LANGUAGE sql AS $$SELECT {place}.note('type_key'); SELECT 'all'::text$$;
            CREATE FUNCTION {place}.has_table_privilege(regclass, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
            CREATE FUNCTION {place}.start_processes(text, jsonb[], text[], timestamptz, integer, boolean, boolean) RETURNS SETOF text LANGUAGE sql AS $$SELECT 'taken'::text$$;
            CREATE FUNCTION {place}.differ(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT {place}.note('operator')$$;
            CREATE OPERATOR {place}.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = {place}.differ);
            CREATE OPERATOR {place}.= (LEFTARG = text, RIGHTARG = text, FUNCTION = {place}.differ);
            CREATE OPERATOR {place}.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = {place}.differ);
            CREATE DOMAIN {place}.text AS pg_catalog.text CHECK ({place}.note('domain'));
            CREATE TYPE {place}.jsonb AS (x pg_catalog.text)"
        )
    };
    for schema in ["pg_temp", &evil] {
        client.batch_execute(&place(schema)).unwrap_or_else(|error| panic!("{schema}: {error:?}"));
    }
    client
        .batch_execute(
            "CREATE FUNCTION public.normal_input(pg_catalog.jsonb) RETURNS pg_catalog.jsonb LANGUAGE sql AS 'SELECT NULL::pg_catalog.jsonb'",
        )
        .unwrap();
    // A cast of its own type, whose function would run inside.
    client
        .batch_execute(&format!(
            "CREATE TYPE {evil}.mine AS (x pg_catalog.text);
            CREATE FUNCTION {evil}.cast_it({evil}.mine) RETURNS pg_catalog.jsonb LANGUAGE sql AS $$SELECT {evil}.note('cast'); SELECT '{{}}'::pg_catalog.jsonb$$;
            CREATE CAST ({evil}.mine AS pg_catalog.jsonb) WITH FUNCTION {evil}.cast_it({evil}.mine) AS IMPLICIT"
        ))
        .unwrap();
    let before =
        client.query_one(&format!("SELECT count(*) FROM {evil}.taken"), &[]).unwrap().get::<_, i64>(0);
    let mut number = 0;
    for setting in [
        format!("SET search_path = {evil}, pg_temp, {schema}, pg_catalog"),
        format!("SET search_path = pg_temp, {evil}, pg_catalog, {schema}"),
        "SELECT set_config('search_path', 'pg_temp, public', false)".to_owned(),
        "SET search_path = ''".to_owned(),
        "SET standard_conforming_strings = off; SET escape_string_warning = off".to_owned(),
        "SET quote_all_identifiers = on; SET transform_null_equals = on; SET array_nulls = off".to_owned(),
        "SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard'; SET TimeZone = 'Asia/Kathmandu'"
            .to_owned(),
        "SET row_security = off; SET plpgsql.extra_warnings = 'all'; SET synchronous_commit = off".to_owned(),
        "SET default_transaction_isolation = 'serializable'; SET xmlbinary = 'hex'".to_owned(),
        "SET my.is_granted = 'false'; SET client_min_messages = 'debug5'; SET check_function_bodies = off"
            .to_owned(),
        "SET plan_cache_mode = 'force_generic_plan'; SET enable_seqscan = off; SET jit = on".to_owned(),
        "SET lc_numeric = 'C'; SET extra_float_digits = -15; SET bytea_output = 'escape'".to_owned(),
    ] {
        // A new connection, so that nothing is planned already; its temporary tables are made again.
        let mut client = stage.client("web");
        client
            .batch_execute(&format!(
                "CREATE TEMP TABLE process_types AS SELECT * FROM {evil}.process_types; CREATE TEMP TABLE tasks (command text); \
                 CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (false); CREATE TYPE pg_temp.jsonb AS (x integer); \
                 GRANT ALL ON pg_temp.process_types, pg_temp.tasks TO PUBLIC; {setting}"
            ))
            .unwrap_or_else(|error| panic!("{setting}: {error:?}"));
        for call in [
            "start_process('echo', '{\"user_id\": \"a\"}', 'ID')",
            "start_processes('echo', ARRAY['{}'::pg_catalog.jsonb], ARRAY['ID'])",
        ] {
            number += 1;
            let call = format!("SELECT {schema}.{}", call.replace("ID", &format!("p-{number}")));
            let row =
                client.query_one(&call, &[]).unwrap_or_else(|error| panic!("{setting}; {call}: {error:?}"));
            assert_eq!(row.get::<_, String>(0), format!("p-{number}"), "{setting}");
            let other = format!("SELECT {schema}.start_process($${SECRET_TYPE}$$, '{{}}')");
            assert_eq!(refused(&mut client, &other).0, "42501", "{setting}");
        }
    }
    let replication = refused(&mut client, "SET session_replication_role = replica");
    assert_eq!(replication.0, "42501");
    assert_eq!(stage.commands(), [("echo".to_owned(), "true".to_owned())]);
    let states = "SELECT DISTINCT state::text FROM scheduled_tasks";
    assert_eq!(texts(&mut stage.superuser, states), ["READY"]);
    let taken =
        client.query_one(&format!("SELECT count(*) FROM {evil}.taken"), &[]).unwrap().get::<_, i64>(0);
    assert_eq!(taken, before, "a function of the caller's ran");
    drop(client);
    stage.end();
}

#[test]
fn rights_to_start_follow_roles_and_are_taken_back() {
    let mut stage = Stage::new("members", &["web", "cron", "member", "switcher"]);
    let [web, cron, member, switcher] = ["web", "cron", "member", "switcher"].map(|it| stage.role(it));
    let schema = stage.bench.database.schema.clone();
    // Whoever grants, the functions are the owner's.
    let types =
        ["migrate", "--grant-start-to", &format!("{web}:echo"), "--grant-start-to", &format!("{cron}:echo")];
    let told = stage.program("postgres", &[&types[..], &["--json"]].concat()).expect(0).json();
    assert_eq!(told["granted_start_to"][0]["role"], *web);
    let owners = "SELECT DISTINCT proowner::regrole::text FROM pg_proc WHERE proname LIKE 'start_granted_%' \
        AND pronamespace = current_schema()::regnamespace";
    assert_eq!(texts(&mut stage.superuser, owners), [stage.role("owner")]);

    stage
        .sql(&format!("GRANT {web} TO {member}; ALTER ROLE {switcher} NOINHERIT; GRANT {web} TO {switcher}"));
    let start = format!("SELECT {schema}.start_process('echo')");
    stage.client("member").batch_execute(&start).unwrap();
    let mut client = stage.client("switcher");
    assert_eq!(refused(&mut client, &start).0, "42501");
    client.batch_execute(&format!("SET ROLE {web}; {start}")).unwrap();
    // One that has all rights gives them up.
    stage.sql(&format!("SET ROLE {web}; {start}; RESET ROLE"));

    let unknown = stage.owner(&["migrate", "--grant-start-to", &format!("{web}:nothing")]).expect(3);
    assert!(unknown.err.contains("unknown process type \"nothing\"; register it first"), "{unknown:#?}");
    let nobody = stage.owner(&["migrate", "--grant-start-to", &format!("{schema}_nobody")]).expect(1);
    assert!(nobody.err.contains("does not exist") && nobody.err.contains("make it first"), "{nobody:#?}");
    let form = stage.owner(&["migrate", "--grant-start-to", "web:"]).expect(2);
    assert!(form.err.contains("write ROLE, or ROLE:TYPE,TYPE"), "{form:#?}");

    // Taken back of one: the other keeps it; of both: nothing is left.
    let revoke = |stage: &Stage, what: &str| stage.owner(&["migrate", "--revoke-start-from", what]);
    let told = revoke(&stage, &format!("{web}:echo")).expect(0);
    assert!(
        told.out.contains(&format!("revoked starting processes of type \"echo\" from \"{web}\"")),
        "{told:#?}"
    );
    assert_eq!(refused(&mut client, &start).0, "42501");
    stage.client("cron").batch_execute(&start).unwrap();
    let again = revoke(&stage, &format!("{web}:echo")).expect(1);
    assert!(again.err.contains("was not granted starting processes of type \"echo\""), "{again:#?}");
    stage.grant(&cron);
    revoke(&stage, &format!("{cron}:echo")).expect(0);
    let whole = revoke(&stage, &format!("{cron}:echo")).expect(1);
    assert!(whole.err.contains(&format!("revoke it whole (--revoke-start-from {cron})")), "{whole:#?}");
    stage.client("cron").batch_execute(&start).unwrap();
    revoke(&stage, &cron).expect(0);
    assert_eq!(texts(&mut stage.superuser, owners), [""; 0], "nobody needs them any more");
    let rights = format!(
        "SELECT nspacl::text FROM pg_namespace WHERE nspname = '{schema}' AND nspacl::text LIKE '%_cron=%'"
    );
    assert_eq!(texts(&mut stage.superuser, &rights), [""; 0]);

    // Beside the other grants, which stay.
    stage.owner(&["migrate", "--grant-read-to", &web, "--grant-start-to", &format!("{web}:echo")]).expect(0);
    drop(client);
    let mut client = stage.client("web");
    client.batch_execute(&format!("{start}; SELECT * FROM {schema}.processes")).unwrap();
    revoke(&stage, &web).expect(0);
    assert_eq!(refused(&mut client, &start).0, "42501");
    client.batch_execute(&format!("SELECT * FROM {schema}.processes")).unwrap();
    drop(client);
    stage.end();
}

/// What a superuser's migration makes is the owner's as all the rest: usable by it and by whom it has granted rights, and no
/// function of it runs as a superuser.
#[test]
fn a_superuser_who_migrates_leaves_the_schema_its_owners() {
    let mut stage = Stage::new("others_schema", &["node"]);
    let (schema, owner, node) =
        (stage.bench.database.schema.clone(), stage.role("owner"), stage.role("node"));
    stage.sql(&format!("DROP SCHEMA {schema} CASCADE"));
    let old = |words: &[&str]| {
        let mut command = stage.bench.command(words);
        command.env("DATABASE_URL", stage.url_of(&owner)).env("PROCESS_ORCHESTRATOR_KNOWN_SCHEMA", "10");
        ended(&mut command).expect(0)
    };
    old(&["migrate", "--grant-to", &node]);
    stage.program("postgres", &["migrate"]).expect(0);
    let others = "SELECT relname::text FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relowner <> $2::text::regrole \
        UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = $1::text::regnamespace AND proowner <> $2::text::regrole";
    let others: Vec<String> =
        stage.superuser.query(others, &[&schema, &owner]).unwrap().iter().map(|row| row.get(0)).collect();
    assert!(others.is_empty(), "{others:?}");
    for role in [&owner, &node] {
        let document = ProcessType::new("echo", role).add_task(role, "true", ".", 1.0, 0).to_value();
        std::fs::write(stage.bench.folder.join("type.json"), document.to_string()).unwrap();
        stage.program(role, &["types", "register", "type.json"]).expect(0);
        stage.program(role, &["start", "echo"]).expect(0);
    }
    stage.end();
}

/// A dump that is restored without rights (`pg_dump --no-privileges`) has functions that anybody may execute.
#[test]
fn functions_that_a_restore_has_opened_to_anybody_are_found_and_closed() {
    let mut stage = Stage::new("opened", &["web", "stranger"]);
    let (web, stranger, schema) =
        (stage.role("web"), stage.role("stranger"), stage.bench.database.schema.clone());
    stage.grant(&format!("{web}:echo"));
    stage.sql(&format!(
        "GRANT USAGE ON SCHEMA {schema} TO {stranger}; DO $$ BEGIN EXECUTE (SELECT 'GRANT EXECUTE ON FUNCTION ' || \
         oid::regprocedure || ' TO PUBLIC' FROM pg_proc WHERE proname LIKE 'start\\_granted\\__%'); END $$"
    ));
    let mut client = stage.client("stranger");
    assert_eq!(texts(&mut client, "SELECT start_process('echo', '{}', 'before')"), ["before"]);
    let told = "functions that act for anybody with their owner's rights: start_granted_";
    let doctor = stage.owner(&["doctor"]);
    assert!(doctor.out.contains(told), "{doctor:#?}");
    let mended = stage.owner(&["migrate"]).expect(0);
    assert!(mended.out.starts_with(&format!("mended {told}")), "{mended:#?}");
    assert_eq!(refused(&mut client, "SELECT start_process('echo')").0, "42501");
    assert_eq!(texts(&mut stage.client("web"), "SELECT start_process('echo', '{}', 'after')"), ["after"]);
    let doctor = stage.owner(&["doctor"]);
    assert!(!doctor.out.contains(told), "{doctor:#?}");

    // Restored by somebody else they are that one's, with whose rights they would go on, and who alone could revoke.
    stage.sql(
        "DO $$ BEGIN EXECUTE (SELECT 'ALTER FUNCTION ' || oid::regprocedure || ' OWNER TO postgres' FROM pg_proc \
         WHERE proname LIKE 'start\\_granted\\__%'); END $$",
    );
    let refused_to_owner = stage.owner(&["migrate", "--revoke-start-from", &web]).expect(1);
    assert!(refused_to_owner.err.contains("must be owner of function"), "{refused_to_owner:#?}");
    stage.program("postgres", &["migrate", "--grant-start-to", &format!("{stranger}:echo")]).expect(0);
    assert_eq!(texts(&mut client, "SELECT start_process('echo', '{}', 'granted')"), ["granted"]);
    stage.owner(&["migrate", "--revoke-start-from", &web]).expect(0);

    drop(client);
    stage.end();
}

#[test]
fn a_reader_sees_limits_and_who_runs_nodes_sets_them() {
    let mut stage = Stage::new("limited", &["reader", "worker", "web"]);
    let limited = ProcessType::new("echo", "")
        .limit(process_orchestrator::Concurrency::max(2).group("gpu"))
        .add_task("only", "true", ".", 1.0, 0);
    std::fs::write(stage.bench.folder.join("type.json"), limited.to_value().to_string()).unwrap();
    stage.owner(&["types", "register", "type.json"]).expect(0);
    let (reader, worker) = (stage.role("reader"), stage.role("worker"));
    stage.owner(&["migrate", "--grant-read-to", &reader, "--grant-to", &worker]).expect(0);
    stage.grant(&format!("{}:echo", stage.role("web")));
    for words in [&["limits", "list"][..], &["limits", "show", "gpu"]] {
        assert!(stage.program(&reader, words).expect(0).out.contains("gpu"));
    }
    let set = ["limits", "set", "gpu", "--max", "1"];
    let refused = stage.program(&reader, &set).expect(1);
    assert!(refused.err.contains("permission denied"), "{refused:#?}");
    assert_eq!(stage.program(&worker, &set).expect(0).out, "gpu max 1\n");
    // Who only starts meets the limit, and learns nothing of it.
    let mut web = stage.client("web");
    assert_eq!(texts(&mut web, "SELECT start_process('echo', '{}', 'one')"), ["one"]);
    assert_eq!(refused_state(&mut web, "SELECT set_limit('gpu', 5)"), "42501");
    assert_eq!(refused_state(&mut web, "SELECT * FROM limits"), "42501");
    let needs = "SELECT limits[1] FROM scheduled_tasks WHERE task_instance = 'one'";
    assert_eq!(texts(&mut stage.superuser, needs), ["gpu"]);
    drop(web);
    stage.end();
}

fn refused_state(client: &mut Client, statement: &str) -> String {
    refused(client, statement).0
}
