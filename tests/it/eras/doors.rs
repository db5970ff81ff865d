//! Eras for those who are not their owner: nodes, strangers, whoever restores a dump, and who writes by the views.

use std::process::Command;
use std::sync::Arc;

use postgres::Client;
use process_orchestrator::database::{ConnectionSettings, process_environment};
use process_orchestrator::engine::{CommandRunners, Node, NodeConfig};
use process_orchestrator::store::Store;
use process_orchestrator::store::eras::Done::{Began, Closed};

use super::{age, assert_whole, forget, homes, is_there, keep, long, printing, run, run_to_end};
use crate::common::{TestDatabase, drop_database, leave_out, one_task, tool, wait_until};
use crate::program::{Bench, ended};

/// Functions that make, change or drop tables with their owner's rights.
const CALLS: [&str; 5] =
    ["add_era('STARTED')", "use_era(3)", "close_era(2)", "drop_era(2)", "delete_outputs(2)"];

fn url(client: &mut Client, user: &str, database: &str) -> String {
    let sockets: String = client.query_one("SHOW unix_socket_directories", &[]).unwrap().get(0);
    format!("host='{}' user={user} dbname={database}", sockets.trim_matches('"'))
}

fn settings(url: &str) -> ConnectionSettings {
    ConnectionSettings::from_url("a test's URL", url, &process_environment).unwrap()
}

fn refused(client: &mut Client, statement: &str) -> String {
    let error = client.batch_execute(statement).expect_err(statement);
    error.code().map(|it| it.code().to_owned()).unwrap_or_else(|| panic!("{statement}: {error:?}"))
}

#[test]
fn the_runtime_role_keeps_eras_and_a_stranger_does_not() {
    let bench = Bench::with_tables("era_roles");
    let (database, schema) = (&bench.database, &bench.database.schema);
    let roles = ["node", "reader", "stranger"].map(|it| format!("{schema}_{it}"));
    let [node, reader, stranger] = &roles;
    let mut owner = database.sql();
    for role in &roles {
        owner.batch_execute(&format!("CREATE ROLE {role} LOGIN")).unwrap();
    }
    bench.run(&["migrate", "--grant-to", node, "--grant-read-to", reader]).expect(0);
    owner.batch_execute(&format!("GRANT USAGE ON SCHEMA {schema} TO {stranger}")).unwrap();
    let ids = run(database, &printing(), 3);
    let as_node = settings(&url(&mut owner, node, "postgres"));
    let mut store = Store::open(&as_node, "test", schema).unwrap();
    assert_eq!(keep(&mut store), [Began(3), Closed(2)]);
    // In tables that were made for it.
    let config = NodeConfig { schema: schema.clone(), ..NodeConfig::default() };
    let running = Node::start(Arc::new(as_node.clone()), config, Arc::new(CommandRunners::new())).unwrap();
    let new = database.start_many("prints", 1);
    database.wait_for(&new[0]);
    running.stop();
    for (role, table) in
        [(reader, "tasks"), (reader, "task_executions"), (reader, "outputs"), (node, "executions")]
    {
        let url = url(&mut owner, role, "postgres");
        let mut client = Client::connect(&url, postgres::NoTls).unwrap();
        let query = format!("SELECT count(*) FROM {schema}.{table} WHERE process_id = $1");
        let count: i64 = client.query_one(&query, &[&new[0]]).unwrap().get(0);
        assert_eq!(count, if table == "outputs" { 1 } else { 2 }, "{table}");
    }
    let url_of = |owner: &mut Client, role: &str| url(owner, role, "postgres");
    for role in [reader, stranger] {
        let mut client = Client::connect(&url_of(&mut owner, role), postgres::NoTls).unwrap();
        for call in CALLS {
            assert_eq!(refused(&mut client, &format!("SELECT {schema}.{call}")), "42501", "{role}: {call}");
        }
        assert_eq!(refused(&mut client, &format!("DELETE FROM {schema}.task_executions")), "42501");
    }
    // Nobody makes the owner do what the tables do not ask for.
    let mut client = Client::connect(&url_of(&mut owner, node), postgres::NoTls).unwrap();
    for (call, done) in
        [("close_era(3)", "f"), ("drop_era(2)", "f"), ("drop_era(3)", "f"), ("use_era(1)", "f")]
    {
        let told: bool = client.query_one(&format!("SELECT {schema}.{call}"), &[]).unwrap().get(0);
        assert_eq!(if told { "t" } else { "f" }, done, "{call}");
    }
    client.batch_execute(&format!("SELECT {schema}.delete_outputs(2)")).unwrap();
    assert_eq!(refused(&mut client, &format!("SELECT {schema}.add_era('; DROP TABLE x')")), "23514");
    ids.iter().for_each(|id| assert_whole(database, id, 1));
    age(database);
    assert_eq!(forget(&mut store), 3);
    assert!(!is_there(database, "tasks_2"));
    drop((store, client));
    owner.batch_execute(&format!("DROP OWNED BY {0}; DROP ROLE {0}", roles.join(", "))).unwrap();
}

/// Rights are lost by `--no-privileges`, and with them what keeps strangers out.
#[test]
fn a_dump_that_is_restored_without_rights_goes_on_and_is_closed_again() {
    let (Some(pg_dump), Some(psql)) = (tool("pg_dump"), tool("psql")) else { return };
    let bench = Bench::with_tables("era_dump");
    let (database, schema) = (&bench.database, &bench.database.schema);
    let ids = run(database, &printing(), 2);
    assert_eq!(keep(&mut database.store()), [Began(3), Closed(2)]);
    database
        .sql()
        .batch_execute("SELECT start_process('prints', '{}', 'later', now() + interval '1 day')")
        .unwrap();
    let mut client = database.sql();
    let file = bench.folder.join("dump.sql");
    let from = url(&mut client, "postgres", "postgres");
    let mut dump = Command::new(pg_dump);
    dump.args(["--no-privileges", "--schema", schema, "--dbname", &from, "--file"]).arg(&file);
    let dumped = ended(&mut dump);
    if dumped.err.contains("server version mismatch") {
        return leave_out("pg_dump is older than the server");
    }
    dumped.expect(0);
    let copy = format!("{schema}_copy");
    client.batch_execute(&format!("CREATE DATABASE {copy} TEMPLATE template0 ENCODING 'UTF8'")).unwrap();
    let to = url(&mut client, "postgres", &copy);
    let mut restore = Command::new(psql);
    restore
        .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", &to, "--file"])
        .arg(&file);
    ended(&mut restore).expect(0);

    let there = |words: &[&str]| ended(bench.command(words).env("DATABASE_URL", &to));
    let told = there(&["doctor"]);
    let open = "functions that act for anybody with their owner's rights: add_era, close_era, ";
    assert!(told.out.contains(open), "{told:#?}");
    assert!(CALLS.iter().all(|it| told.out.contains(it.split('(').next().unwrap())), "{told:#?}");
    let told = there(&["migrate"]).expect(0);
    assert!(told.out.starts_with("mended ") && told.out.contains(open), "{told:#?}");
    assert_eq!(there(&["migrate"]).expect(0).out, "");
    for id in &ids {
        let shown = there(&["show", id, "--json"]).expect(0).json();
        assert_eq!(shown["tasks"][0]["output"], long(), "{shown:#}");
    }
    let source = Arc::new(settings(&to));
    let mut store = Store::open(&*source, "test", schema).unwrap();
    let mut copied = Client::connect(&to, postgres::NoTls).unwrap();
    copied
        .batch_execute(&format!(
            "SET search_path = {schema}; UPDATE scheduled_tasks SET execution_time = now(); SELECT retry_process('{}', '1')",
            ids[0]
        ))
        .unwrap();
    let config = NodeConfig { schema: schema.clone(), ..NodeConfig::default() };
    let node = Node::start(source.clone(), config, Arc::new(CommandRunners::new())).unwrap();
    wait_until("all have ended", || {
        let left: i64 = copied.query_one("SELECT count(*) FROM scheduled_tasks", &[]).unwrap().get(0);
        (left == 0).then_some(())
    });
    node.stop();
    assert_eq!(keep(&mut store), [Began(4), Closed(3)]);
    copied.batch_execute("UPDATE processes SET completed_at = completed_at - interval '1 hour'; UPDATE eras SET ended_from = ended_from - interval '1 hour'").unwrap();
    assert_eq!(forget(&mut store), 3);
    drop((store, copied, source));
    drop_database(&mut client, &copy).unwrap();
}

#[test]
fn what_people_write_by_the_views_is_where_it_belongs() {
    let database = TestDatabase::new("era_views");
    database.register(&one_task("true"));
    let mut client = database.sql();
    let outputs = |client: &mut Client| -> Vec<(i32, Option<String>)> {
        let rows =
            "SELECT attempt, left(output, 3) FROM task_executions WHERE process_id = 'hand' ORDER BY attempt";
        client.query(rows, &[]).unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let task = "INSERT INTO tasks (task_id, process_id, task_index, name, command, shell, timeout_minutes, max_retries, \
        on_crash, max_output_bytes) VALUES ('hand:0', 'hand', 0, 'only', '\"true\"', false, 1, 0, 'rerun', 100)";
    let execution = |attempt: i32, output: &str| {
        format!(
            "INSERT INTO task_executions (process_id, task_index, attempt, node_id, outcome, started_at, completed_at, \
             duration_ms, output, output_bytes) VALUES ('hand', 0, {attempt}, 'n', 'SUCCEEDED', now(), now(), 1, {output}, 1)"
        )
    };
    client
        .batch_execute(
            "INSERT INTO processes (process_id, process_type, total_tasks, status, completed_at) \
             VALUES ('hand', 'one-task', 1, 'COMPLETED', now())",
        )
        .unwrap();
    let told = client.query_one(&format!("{task} RETURNING status, attempt"), &[]).unwrap();
    assert_eq!((told.get::<_, &str>(0), told.get::<_, i32>(1)), ("NOT_STARTED", 0));
    assert_eq!(refused(&mut client, task), "23505");
    client.batch_execute(&execution(1, "repeat('abc', 1000)")).unwrap();
    client.batch_execute(&execution(2, "'short'")).unwrap();
    // What nodes of the release before put into the trail in place of a result; a result that is there is told to them.
    assert_eq!(client.execute(&execution(2, "'other'"), &[]).unwrap(), 0);
    let again = execution(2, "'other'")
        .replace("(process_id,", "(command, process_id,")
        .replace("('hand',", "('true', 'hand',");
    let error = client.execute(&again, &[]).unwrap_err();
    let told = error.as_db_error().unwrap();
    assert_eq!((told.code().code(), told.table()), ("23505", Some("task_executions")));
    assert_eq!(database.count("outputs_1"), 1);
    assert_eq!(outputs(&mut client), [(1, Some("abc".to_owned())), (2, Some("sho".to_owned()))]);

    let changed = client
        .query_one(
            "UPDATE tasks t SET status = 'COMPLETED', output = 'by hand', attempt = 2 FROM processes p \
             WHERE p.process_id = t.process_id AND p.process_id = 'hand' RETURNING t.output, t.task_index",
            &[],
        )
        .unwrap();
    assert_eq!((changed.get::<_, &str>(0), changed.get::<_, i32>(1)), ("by hand", 0));
    let shown = database.store().tasks("hand").unwrap().rows.remove(0);
    assert_eq!(shown.output.as_deref(), Some("by hand"));
    for (attempt, output, expected) in
        [(1, "NULL", None), (2, "repeat('xyz', 1000)", Some("xyz")), (1, "'new'", Some("new"))]
    {
        let update = format!("UPDATE task_executions SET output = {output} WHERE attempt = {attempt}");
        assert_eq!(client.execute(&update, &[]).unwrap(), 1);
        assert_eq!(outputs(&mut client)[attempt as usize - 1].1.as_deref(), expected, "{update}");
    }
    assert_eq!(client.execute("UPDATE task_executions SET attempt = 9 WHERE attempt = 2", &[]).unwrap(), 1);
    assert_eq!(outputs(&mut client), [(1, Some("new".to_owned())), (9, Some("xyz".to_owned()))]);
    // A long one that is where it was written first.
    client.batch_execute(&execution(7, "repeat('hij', 1000)")).unwrap();
    assert_eq!(client.execute("UPDATE task_executions SET attempt = 8 WHERE attempt = 7", &[]).unwrap(), 1);
    assert_eq!(outputs(&mut client)[1], (8, Some("hij".to_owned())));
    assert_eq!(client.execute("DELETE FROM task_executions WHERE attempt = 8", &[]).unwrap(), 1);
    assert_eq!(database.count("outputs"), 0);
    let versions: i64 = client
        .query_one("SELECT count(DISTINCT (xmin::text, ctid::text)) FROM task_executions", &[])
        .unwrap()
        .get(0);
    assert_eq!(versions, 2, "programs of the release before tell by them whether a row is the same");
    client.batch_execute("BEGIN; SELECT FROM tasks WHERE process_id = 'hand' FOR UPDATE; COMMIT").unwrap();

    // A retry moves what was written by hand with all else.
    client.batch_execute("SELECT retry_process('hand', '1')").unwrap();
    assert_eq!(homes(&database, &["hand".to_owned()]), [2]);
    assert_eq!(outputs(&mut client), [(1, Some("new".to_owned())), (9, Some("xyz".to_owned()))]);
    run_to_end(&database, &["hand".to_owned()]);
    assert_eq!(client.execute("DELETE FROM task_executions WHERE process_id = 'hand'", &[]).unwrap(), 3);
    assert_eq!(client.execute("DELETE FROM tasks WHERE process_id = 'hand'", &[]).unwrap(), 1);
    assert_eq!(database.count("all_tasks") + database.count("executions") + database.count("outputs"), 0);
}
