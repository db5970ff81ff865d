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
