//! `doctor` on real servers.

use serde_json::Value;

use crate::common::{one_task, script};
use crate::program::{Bench, Ended, ended};

fn verdicts(ended: &Ended) -> Vec<(String, String)> {
    let checks = ended.json()["checks"].as_array().unwrap().clone();
    let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    checks.iter().map(|it| (text(it, "name"), text(it, "verdict"))).collect()
}

fn verdict(ended: &Ended, name: &str) -> String {
    let all = verdicts(ended);
    all.iter().find(|it| it.0 == name).unwrap_or_else(|| panic!("no check {name:?} in {all:?}")).1.clone()
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let bench = Bench::new("doctor");
    let nothing = bench.run(&["doctor"]).expect(1);
    assert!(nothing.out.contains("\nfail  schema"), "{nothing:#?}");
    assert!(
        nothing.out.contains("→ make or update the tables: process-orchestrator migrate\n"),
        "{nothing:#?}"
    );

    bench.run(&["migrate"]).expect(0);
    bench.database.register(&one_task("true"));
    let node = bench.database.node();
    let fine = bench.run(&["doctor", "--json"]).expect(0);
    for name in ["program", "database", "schema", "wake-ups", "rights", "nodes", "commands", "clock"] {
        assert_eq!(verdict(&fine, name), "ok", "{name} in {fine:#?}");
    }
    // The suite's server saves itself the fsync.
    assert_eq!(verdict(&fine, "durability"), "warn");
    node.stop();

    bench.database.register(&one_task("no-such-program-anywhere --now"));
    bench
        .database
        .register(&process_orchestrator::ProcessType::new("scripted", "").add(script("a", "nonsense")));
    bench.database.start("one-task", process_orchestrator::ProcessInputData::new());
    let worse = bench.run(&["doctor", "--json"]).expect(1);
    assert_eq!(verdict(&worse, "nodes"), "fail");
    assert_eq!(verdict(&worse, "commands"), "warn");
    let text = bench.run(&["doctor"]).expect(1).out;
    assert!(text.contains("not found here: no-such-program-anywhere\n"), "{text}");
}

/// Its heartbeats come every 20 s: nobody may take it for gone after 10 or 15.
#[test]
fn every_command_judges_a_node_by_what_its_own_row_says() {
    let bench = Bench::with_tables("own_row");
    bench.database.register(&one_task("sleep 600"));
    let words = ["serve", "--no-http", "--node-name", "slow", "--heartbeat", "20s", "--dead-after", "60s"];
    let mut node = bench.spawn(&words);
    let rest = crate::program::until_line(&mut node, " ready: node ");
    bench.run(&["start", "one-task", "--process-id", "runs"]).expect(0);
    crate::common::wait_until("it runs", || {
        (bench.database.count("tasks WHERE status = 'IN_PROGRESS'") == 1).then_some(())
    });
    let heard = |seconds: u32| {
        let set = format!("UPDATE nodes SET last_heartbeat = clock_timestamp() - interval '{seconds} s'");
        assert_eq!(bench.database.sql().execute(&set, &[]).unwrap(), 1);
    };
    let reason =
        || bench.run(&["explain", "runs", "--json"]).expect(0).json()["reasons"][0]["reason"].clone();
    let nodes = || bench.run(&["nodes"]).expect(0).out;
    let doctor = |code| verdict(&bench.run(&["doctor", "--json"]).expect(code), "nodes");
    let next = |id: &str| bench.run(&["start", "one-task", "--process-id", id]).expect(0).err;
    heard(40);
    assert_eq!((reason().as_str(), &*doctor(0)), (Some("CLAIMED"), "ok"));
    assert!(!nodes().contains("SILENT") && !next("a").contains("no node"), "{}", nodes());
    heard(70);
    assert_eq!((reason().as_str(), &*doctor(0)), (Some("NODE_SILENT"), "warn"));
    assert!(nodes().contains("SILENT") && next("b").contains("no node"), "{}", nodes());
    let row = &bench.run(&["nodes", "--json"]).expect(0).json()["nodes"][0];
    assert_eq!(
        (row["heartbeat_seconds"].as_f64(), row["dead_after_seconds"].as_f64()),
        (Some(20.0), Some(60.0))
    );
    node.kill().unwrap();
    node.wait().unwrap();
    drop(rest);
}

#[test]
fn without_a_database_the_doctor_says_so() {
    let bench = Bench::new("doctor_away");
    let away = bench.run(&["doctor", "--database-url", "postgresql://me@127.0.0.1:1/db"]).expect(4);
    assert!(away.out.contains("fail  database"), "{away:#?}");
    assert!(away.out.contains("connection refused"), "{away:#?}");
}

#[test]
fn all_rights_that_are_missing_are_told_at_once_and_the_rest_is_looked_at() {
    let bench = Bench::with_tables("doctor_rights");
    let schema = &bench.database.schema;
    let role = format!("{schema}_role");
    let mut owner = bench.database.sql();
    owner
        .batch_execute(&format!(
            "CREATE ROLE \"{role}\" LOGIN; GRANT USAGE ON SCHEMA \"{schema}\" TO \"{role}\""
        ))
        .unwrap();
    let sockets: String = owner.query_one("SHOW unix_socket_directories", &[]).unwrap().get(0);
    let sockets = sockets.trim_matches('"');
    // As the one who may connect to the suite's own server, and then be no more than that role.
    let doctor = |words: &[&str]| {
        let mut command = bench.command(&[&["doctor"], words].concat());
        let url = format!("host='{sockets}' user=postgres dbname=postgres options='-c role={role}'");
        ended(command.env("DATABASE_URL", url))
    };
    let nothing = doctor(&["--json"]).expect(1);
    let rights = |told: &Ended| {
        let all = told.json()["checks"].as_array().unwrap().clone();
        all.iter().find(|it| it["name"] == "rights").unwrap()["found"].as_str().unwrap().to_owned()
    };
    for part in [
        "SELECT and INSERT and UPDATE and DELETE on processes",
        "on tasks",
        "on nodes",
        "SELECT on schema_migrations",
        "sequence process_number",
    ] {
        assert!(rights(&nothing).contains(part), "{part}: {nothing:?}");
    }
    assert_eq!(verdict(&nothing, "schema"), "fail");
    let grant = format!(
        "GRANT SELECT ON ALL TABLES IN SCHEMA \"{schema}\" TO \"{role}\"; REVOKE SELECT ON \"{schema}\".nodes, \"{schema}\".process_types FROM \"{role}\""
    );
    owner.batch_execute(&grant).unwrap();
    let some = doctor(&["--json"]).expect(1);
    assert_eq!(verdict(&some, "schema"), "ok");
    for name in ["nodes", "process types", "rights"] {
        assert_eq!(verdict(&some, name), "fail", "{some:?}");
    }
    assert!(rights(&some).contains("SELECT and INSERT and UPDATE and DELETE on nodes"), "{some:?}");
    assert!(rights(&some).contains("INSERT and UPDATE and DELETE on tasks"), "{some:?}");
    assert!(doctor(&[]).out.contains("migrate --grant-to"));
    bench.run(&["migrate", "--grant-to", &role]).expect(0);
    assert_eq!(verdict(&doctor(&["--json"]), "rights"), "ok");
    owner.batch_execute(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\"")).unwrap();
}
