//! Somebody's lock on rows of one process: that one waits, all others go on, and whoever is in the way is named.

use std::fs;

use super::world::{Serve, World, postgres_place, wait_for_count};
use crate::common::wait_until;
use crate::program::ended;

/// How many others go through while one is locked.
const OTHERS: usize = 200;

/// Another session with a transaction that it does not end.
fn holding(world: &World, statements: &str) -> (postgres::Client, i32) {
    let mut client = world.sql();
    client.batch_execute(&format!("SET application_name = 'report of Monday'; BEGIN; {statements}")).unwrap();
    let pid = client.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    (client, pid)
}

/// Every way to keep a process's row from being written. `$1` is the process.
const WAYS: [(&str, &str); 8] = [
    ("queue", "SELECT FROM scheduled_tasks WHERE task_instance = $1 FOR UPDATE"),
    ("foreign_key", "SELECT FROM scheduled_tasks WHERE task_instance = $1 FOR KEY SHARE"),
    ("process", "SELECT FROM processes WHERE process_id = $1 FOR SHARE"),
    ("task", "SELECT FROM tasks WHERE process_id = $1 AND task_index = 0 FOR UPDATE"),
    ("next_task", "UPDATE tasks SET updated_at = now() WHERE process_id = $1 AND task_index = 1"),
    ("cancel", "SELECT cancel_process($1)"),
    (
        "execution",
        "INSERT INTO task_executions (process_id, task_index, attempt, node_id, outcome, started_at, completed_at, \
         duration_ms, output_bytes) VALUES ($1, 0, 1, 'x', 'LOST', now(), now(), 0, 0)",
    ),
    ("deleted", "DELETE FROM processes WHERE process_id = $1"),
];

fn wait_for_completed(world: &World, how_many: usize) {
    wait_for_count(world, "processes WHERE status = 'COMPLETED'", |it| it == how_many as i64);
}

/// The log names the process and who locks it, and says when it goes on.
fn wait_for_story(serve: &Serve, id: &str, pid: i32) {
    serve.wait_for_line(&format!("process waits for a lock process_id=\"{id}\""));
    let log = serve.log();
    let line = log.lines().find(|it| it.contains("process waits for a lock")).unwrap();
    assert!(
        line.contains(&format!("is locked by pid {pid} (report of Monday, user postgres, idle in ")),
        "{line}"
    );
}

#[test]
fn a_locked_row_keeps_only_its_own_process_from_being_recorded() {
    side_by_side(&WAYS, |name, way| {
        let mut world = World::new(&format!("recorded_{name}"));
        let (gate, wait) = world.gate();
        let victim = world.start("victim", 1, &[&wait, "true"]).remove(0);
        let mut serve = world.serve(&["--no-http"], &[]);
        wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 1);
        let (mut other, pid) = holding(&world, &way.replace("$1", &format!("'{victim}'")));
        fs::write(&gate, "").unwrap();
        let mut ids = world.start("others", OTHERS, &["true", "true"]);
        wait_for_completed(&world, OTHERS);
        // A key share stops nobody but who ends the process.
        if name != "foreign_key" {
            let recorded = world.count("task_executions WHERE process_id LIKE 'victim%'");
            // What has run is kept; what comes next waits.
            assert_eq!(recorded, i64::from(name == "next_task"), "{name}");
            wait_for_story(&serve, &victim, pid);
        }
        other.batch_execute("ROLLBACK").unwrap();
        ids.push(victim.clone());
        world.wait_for_all(&ids);
        if name != "foreign_key" {
            serve.wait_for_line(&format!("process goes on process_id=\"{victim}\" after_s="));
        }
        serve.stop();
        world.assert_ran_once(&ids, 2);
    });
}

/// Two at a time: each has a server's and a node's processes.
fn side_by_side(ways: &[(&'static str, &'static str)], check: impl Fn(&str, &str) + Sync) {
    let half = ways.len().div_ceil(2);
    std::thread::scope(|scope| {
        for part in ways.chunks(half) {
            scope.spawn(|| part.iter().for_each(|(name, way)| check(name, way)));
        }
    });
}

#[test]
fn a_locked_row_keeps_only_its_own_process_from_being_claimed() {
    let ways: Vec<_> =
        WAYS.into_iter().filter(|it| !["next_task", "execution", "cancel"].contains(&it.0)).collect();
    side_by_side(&ways, |name, way| {
        let mut world = World::new(&format!("claimed_{name}"));
        let victim = world.start("victim", 1, &["true", "true"]).remove(0);
        let (mut other, pid) = holding(&world, &way.replace("$1", &format!("'{victim}'")));
        let mut ids = world.start("others", OTHERS, &["true", "true"]);
        let mut serve = world.serve(&["--no-http"], &[]);
        wait_for_completed(&world, OTHERS);
        assert_eq!(world.count("task_executions WHERE process_id LIKE 'victim%'"), 0, "{name}");
        wait_for_story(&serve, &victim, pid);
        other.batch_execute("ROLLBACK").unwrap();
        ids.push(victim);
        world.wait_for_all(&ids);
        serve.stop();
        world.assert_ran_once(&ids, 2);
    });
}

/// Many rows, and the lock of a row that is met while others were met.
#[test]
fn as_many_locked_processes_as_there_are_executors_keep_none_of_them() {
    let mut world = World::new("many_locked");
    let (gate, wait) = world.gate();
    let mut ids = world.start("victims", 4, &[&wait, "true"]);
    let mut serve = world.serve(&["--no-http"], &[]);
    wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 4);
    let (mut other, _) = holding(&world, "SELECT FROM processes WHERE process_id LIKE 'victims%' FOR UPDATE");
    fs::write(&gate, "").unwrap();
    ids.extend(world.start("others", OTHERS, &["true", "true"]));
    wait_for_completed(&world, OTHERS);
    other.batch_execute("ROLLBACK").unwrap();
    world.wait_for_all(&ids);
    serve.stop();
    world.assert_ran_once(&ids, 2);
}

#[test]
fn processes_that_are_locked_one_after_the_other_keep_no_executor() {
    let mut world = World::new("ever_more_locked");
    let mut serve = world.serve(&["--no-http"], &[]);
    let (mut ids, mut others) = (Vec::new(), Vec::new());
    // Three times as many as there are executors.
    for round in 0..3 {
        let gate = world.bench.folder.join(format!("gate-{round}"));
        let wait = format!("while [ ! -e '{}' ]; do sleep 0.02; done", gate.display());
        let victims = format!("victims{round}");
        ids.extend(world.start(&victims, 4, &[&wait, "true"]));
        let running = format!("tasks WHERE status = 'IN_PROGRESS' AND process_id LIKE '{victims}%'");
        wait_for_count(&world, &running, |it| it == 4);
        let lock = format!("SELECT FROM processes WHERE process_id LIKE '{victims}%' FOR UPDATE");
        others.push(holding(&world, &lock).0);
        fs::write(&gate, "").unwrap();
    }
    ids.extend(world.start("others", OTHERS, &["true", "true"]));
    wait_for_completed(&world, OTHERS);
    assert_eq!(world.count("task_executions WHERE process_id LIKE 'victims%'"), 0);
    others.iter_mut().for_each(|it| it.batch_execute("ROLLBACK").unwrap());
    world.wait_for_all(&ids);
    serve.stop();
    world.assert_ran_once(&ids, 2);
}

#[test]
fn a_stop_loses_what_is_locked_and_nothing_else_and_says_so() {
    let mut world = World::new("locked_stop");
    let (gate, wait) = world.gate();
    let victim = world.start("victim", 1, &[&wait]).remove(0);
    let others = world.start("others", 3, &[&wait]);
    let mut serve = world.serve(&["--no-http", "--drain-timeout", "1s"], &[]);
    wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 4);
    let (mut other, pid) =
        holding(&world, &format!("SELECT FROM processes WHERE process_id = '{victim}' FOR UPDATE"));
    fs::write(&gate, "").unwrap();
    serve.send("-TERM");
    serve.wait();
    wait_for_completed(&world, 3);
    assert_eq!(world.count("task_executions WHERE outcome = 'SUCCEEDED'"), 3);
    let log = serve.log();
    let told = format!(
        "result not recorded process_id=\"{victim}\" task=\"t0\" outcome=SUCCEEDED: a row of the process is locked by pid {pid} (report of Monday"
    );
    assert!(log.contains(&told), "{log}");
    assert_eq!(log.matches("result not recorded").count(), 1, "{log}");
    assert!(!log.contains("process goes on"), "{log}");
    other.batch_execute("ROLLBACK").unwrap();
    let mut next = world.serve(&["--no-http", "--heartbeat", "200ms", "--dead-after", "600ms"], &[]);
    let ids = [others, vec![victim]].concat();
    world.wait_for_all(&ids);
    next.stop();
    assert_eq!(world.assert_whole(&ids, 1), 1, "the locked one was lost, and run again");
}

#[test]
fn a_takeover_leaves_what_is_locked_and_takes_all_others() {
    let mut world = World::new("locked_takeover");
    let (gate, wait) = world.gate();
    let victim = world.start("victim", 1, &[&wait]).remove(0);
    let others = world.start("others", 3, &[&wait]);
    let times = ["--no-http", "--heartbeat", "200ms", "--dead-after", "600ms"];
    let mut first = world.serve(&times, &[]);
    wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 4);
    let (mut other, pid) =
        holding(&world, &format!("SELECT FROM tasks WHERE process_id = '{victim}' FOR UPDATE"));
    first.send("-KILL");
    first.wait();
    let mut second = world.serve(&times, &[]);
    wait_for_count(&world, "task_executions WHERE outcome = 'LOST'", |it| it == 3);
    fs::write(&gate, "").unwrap();
    wait_for_completed(&world, 3);
    wait_for_story(&second, &victim, pid);
    other.batch_execute("ROLLBACK").unwrap();
    let ids = [others, vec![victim]].concat();
    world.wait_for_all(&ids);
    second.stop();
    assert_eq!(world.assert_whole(&ids, 1), 4, "each was lost once");
}

#[test]
fn a_lock_on_a_nodes_own_row_is_told_and_stops_nothing_else() {
    let mut world = World::new("locked_node");
    let times = ["--no-http", "--heartbeat", "200ms", "--dead-after", "600ms"];
    let (_, wait) = world.gate();
    let held = world.start("held", 1, &[&wait]).remove(0);
    let mut serve = world.serve(&times, &[]);
    wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 1);
    // A node that could not yet say which session of its holds its lock claims nothing.
    wait_for_count(&world, "nodes WHERE lock_pid IS NOT NULL", |it| it == 1);
    let (mut other, pid) = holding(&world, "SELECT FROM nodes FOR UPDATE");
    let ids = world.start("others", OTHERS, &["true", "true"]);
    wait_for_completed(&world, OTHERS);
    serve.wait_for_line(&format!(
        "heartbeat waits for a lock: the node's row is locked by pid {pid} (report of Monday"
    ));
    // What else the heartbeat's thread does, it does.
    world.store().cancel_process(&held, Default::default()).unwrap();
    wait_for_count(&world, "processes WHERE status = 'CANCELLED'", |it| it == 1);
    other.batch_execute("ROLLBACK").unwrap();
    serve.wait_for_line("heartbeat goes on: the node's row was locked after_s=");
    serve.stop();
    assert_eq!(world.count("processes WHERE status = 'COMPLETED'"), ids.len() as i64);
}

#[test]
fn explain_doctor_and_a_metric_name_whoever_is_in_the_way() {
    let mut world = World::new("locked_told");
    let (gate, wait) = world.gate();
    let held = world.start("held", 1, &[&wait]).remove(0);
    let url = postgres_place(&world.settings);
    let serve = world.serve(&["--listen", "127.0.0.1:0"], &[]);
    let run = |words: &[&str]| ended(world.bench.command(words).env("DATABASE_URL", &url)).out;
    wait_for_count(&world, "tasks WHERE status = 'IN_PROGRESS'", |it| it == 1);
    // A foreign key of somebody's own table stops nothing.
    let key =
        format!("SELECT FROM processes WHERE process_id = '{held}' FOR KEY SHARE; SELECT pg_sleep(0.3)");
    let (mut referring, _) = holding(&world, &key);
    assert!(!run(&["explain", &held]).contains("locked"));
    referring.batch_execute("ROLLBACK").unwrap();
    assert!(run(&["doctor"]).contains("ok    row locks"));
    let row =
        format!("SELECT FROM processes WHERE process_id = '{held}' FOR UPDATE; SELECT FROM nodes FOR UPDATE");
    let (_other, pid) = holding(&world, &row);
    fs::write(&gate, "").unwrap();
    serve.wait_for_line("process waits for a lock");
    let log = serve.log();
    let port =
        log.split("http://127.0.0.1:").nth(1).unwrap().split(|c: char| !c.is_ascii_digit()).next().unwrap();
    let metrics = || {
        let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        std::io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        std::io::read_to_string(stream).unwrap()
    };
    wait_until("the metric counts it", || {
        metrics().contains("process_orchestrator_locked_processes 1\n").then_some(())
    });
    let told = run(&["explain", &held, "--json"]);
    let document: serde_json::Value = serde_json::from_str(&told).unwrap();
    let first = &document["reasons"][0];
    assert_eq!((&first["reason"], &first["by"][0]["pid"]), (&"LOCKED".into(), &pid.into()), "{told}");
    let sentence = document["sentences"][0].as_str().unwrap();
    assert!(
        sentence.starts_with(&format!("a row of it is locked by pid {pid} (report of Monday, ")),
        "{sentence}"
    );
    assert!(sentence.ends_with(&format!("to end it: SELECT pg_terminate_backend({pid})")), "{sentence}");
    let report = wait_until("the doctor sees it", || {
        let report: serde_json::Value = serde_json::from_str(&run(&["doctor", "--json"])).unwrap();
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|it| it["name"] == "row locks" && it["verdict"] == "warn").cloned()
    });
    let found = report["found"].as_str().unwrap();
    assert!(found.starts_with(&format!("rows of {held}, node ")), "{found}");
    assert!(found.contains(&format!(" are locked by pid {pid} (report of Monday")), "{found}");
}

#[test]
fn the_doctor_says_why_a_queue_stands() {
    let mut world = World::new("stands");
    let id = world.start("old", 1, &["true"]).remove(0);
    world
        .sql()
        .execute("UPDATE scheduled_tasks SET execution_time = now() - interval '10 min'", &[])
        .unwrap();
    let url = postgres_place(&world.settings);
    let doctor = |world: &World| {
        let report = ended(world.bench.command(&["doctor", "--json"]).env("DATABASE_URL", &url)).json();
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|it| it["name"] == "queue moves").unwrap();
        format!("{}: {}", check["verdict"].as_str().unwrap(), check["found"].as_str().unwrap())
    };
    let alone = doctor(&world);
    let expected = format!("warn: the oldest of 1 due processes ({id}) has waited for 10 min ");
    assert!(alone.starts_with(&expected) && alone.ends_with("no node is alive"), "{alone}");
    let lock = format!("SELECT FROM scheduled_tasks WHERE task_instance = '{id}' FOR UPDATE");
    let (mut other, _) = holding(&world, &lock);
    let mut serve = world.serve(&["--no-http"], &[]);
    serve.wait_for_line("process waits for a lock");
    let locked = doctor(&world);
    assert!(locked.starts_with(&expected) && locked.ends_with(": a row of it is locked"), "{locked}");
    other.batch_execute("ROLLBACK").unwrap();
    world.wait_for_all(&[id]);
    assert_eq!(doctor(&world), "ok: nothing waits");
    serve.stop();
}

#[test]
fn a_locked_row_keeps_only_its_own_output_from_being_shown() {
    let mut world = World::new("locked_output");
    let (gate, _) = world.gate();
    let print = format!("while [ ! -e '{}' ]; do echo x; sleep 0.05; done", gate.display());
    let ids = world.start("printing", 2, &[&print]);
    let mut serve = world.serve(&["--no-http", "--heartbeat", "200ms", "--dead-after", "600ms"], &[]);
    wait_for_count(&world, "live_output", |it| it == 2);
    let lock = format!("SELECT FROM live_output WHERE process_id = '{}' FOR UPDATE", ids[0]);
    let (mut other, _) = holding(&world, &lock);
    let mut watcher = world.sql();
    let mut printed = || -> i64 {
        let query = "SELECT output_bytes FROM live_output WHERE process_id = $1";
        watcher.query_one(query, &[&ids[1]]).unwrap().get(0)
    };
    for _ in 0..3 {
        let before = printed();
        wait_until("the other's output is shown", || (printed() > before).then_some(()));
    }
    other.batch_execute("ROLLBACK").unwrap();
    fs::write(&gate, "").unwrap();
    world.wait_for_all(&ids);
    serve.stop();
}

/// Rows that a node repairs, lets go or ends by itself, each with a locked one among others.
#[test]
fn sweeps_pass_over_what_is_locked() {
    let mut world = World::new("locked_sweeps");
    let ids = world.start("others", 4, &["true"]);
    let mut sql = world.sql();
    let damage = "UPDATE scheduled_tasks SET state = 'HELD', held_by = NULL WHERE task_instance = ANY ($1)";
    sql.execute(damage, &[&&ids[..2]]).unwrap();
    let cancel = "UPDATE scheduled_tasks SET cancel_requested_at = now() WHERE task_instance = ANY ($1)";
    sql.execute(cancel, &[&&ids[2..]]).unwrap();
    let lock = format!(
        "SELECT FROM scheduled_tasks WHERE task_instance = '{}' FOR UPDATE; \
         SELECT FROM processes WHERE process_id = '{}' FOR UPDATE",
        ids[0], ids[2]
    );
    let (mut other, _) = holding(&world, &lock);
    let mut serve = world.serve(&["--no-http", "--heartbeat", "200ms", "--dead-after", "600ms"], &[]);
    wait_for_count(&world, "processes WHERE status = 'COMPLETED'", |it| it == 1);
    wait_for_count(&world, "processes WHERE status = 'CANCELLED'", |it| it == 1);
    assert_eq!(world.count("scheduled_tasks"), 2);
    other.batch_execute("ROLLBACK").unwrap();
    wait_until("the others follow", || (world.count("scheduled_tasks") == 0).then_some(()));
    serve.stop();
}
