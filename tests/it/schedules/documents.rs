//! Schedules inside a process type's document, and those that SQL writes.

use process_orchestrator::{ProcessType, Schedule, Timing};

use super::Stage;
use crate::common::one_task;

fn with(cron: &[(&str, &str)]) -> ProcessType {
    let schedules = cron
        .iter()
        .map(|(name, cron)| Schedule::new(*name, "one-task", Timing::Cron((*cron).to_owned())))
        .collect();
    ProcessType { schedules, ..one_task("true") }
}

#[test]
fn schedules_of_a_document_come_change_and_go_with_the_type() {
    let mut stage = Stage::new("sched_type");
    stage.database.register(&with(&[("a", "0 2 * * *"), ("b", "0 3 * * *")]));
    stage.settle();
    assert_eq!(stage.column("a", "source || ' ' || cron").as_deref(), Some("one-task 0 2 * * *"));
    assert_eq!(stage.column("a", "next_at > now()").as_deref(), Some("true"));
    stage.store.pause_schedule("a", Some("holiday"), None).unwrap();
    stage.database.register(&with(&[("a", "30 2 * * *")]));
    assert_eq!(stage.column("a", "cron || ' ' || pause_reason").as_deref(), Some("30 2 * * * holiday"));
    assert_eq!(stage.database.count("schedules"), 1);
    // By hand it is not removed, nor changed.
    let refused = stage.store.remove_schedule("a").unwrap_err().to_string();
    assert!(
        refused.contains("stands in the document of process type \"one-task\"; take it out there"),
        "{refused}"
    );
    let own = Schedule::new("a", "one-task", Timing::Cron("@daily".to_owned()));
    let refused = stage.store.add_schedule(&own, None).unwrap_err().to_string();
    assert!(refused.contains("change it there and register that again"), "{refused}");
    // One made by hand is not touched by a document, which then registers nothing at all.
    stage.store.add_schedule(&Schedule { name: "mine".to_owned(), ..own }, None).unwrap();
    let refused = stage.store.register(&with(&[("mine", "0 2 * * *")])).unwrap_err().to_string();
    assert!(
        refused.contains("schedule \"mine\" was made by hand; give the one in the document another name"),
        "{refused}"
    );
    assert_eq!(stage.column("a", "cron").as_deref(), Some("30 2 * * *"));
    stage.database.register(&with(&[]));
    assert_eq!(stage.database.count("schedules"), 1);
}

#[test]
fn what_a_document_says_of_schedules_is_checked_by_place() {
    let text = r#"{"name": "n", "tasks": [{"name": "a", "command": "sort ${input_file} ${scheduled_at}"}],
        "schedules": [{"name": "s", "cron": "61 * * * *"}, {"name": "s", "every": "5m"}]}"#;
    let faults = ProcessType::from_json(text, "n.json").unwrap_err().to_string();
    for part in [
        "n.json: schedules[0].cron: \"61 * * * *\" is no cron expression",
        "n.json: schedules[1].name: \"s\" is the name of an earlier one; give each schedule its own name",
        "n.json: schedules[1].input: lacks input_file, which a task needs as ${input_file}; add it to the input",
    ] {
        assert!(faults.contains(part), "no {part:?} in {faults}");
    }
    assert!(!faults.contains("lacks scheduled_at"), "{faults}");
}

#[test]
fn sql_adds_changes_and_a_node_computes_and_judges() {
    let mut stage = Stage::new("sched_sql");
    let mut sql = stage.database.sql();
    let mut call = |text: &str| -> Result<String, String> {
        let told = |error: postgres::Error| {
            error.as_db_error().map_or_else(|| error.to_string(), |it| it.message().to_owned())
        };
        sql.query_one(text, &[]).map(|row| row.get(0)).map_err(told)
    };
    let add = r#"SELECT add_schedule('{"name": "s", "process_type": "one-task", "cron": "0 2 * * *", "time_zone": "Europe/Berlin"}')"#;
    assert_eq!(call(add).as_deref(), Ok("added"));
    assert_eq!(call(add).as_deref(), Ok("unchanged"));
    for (wrong, part) in [
        (add.replace("one-task", "gone"), "unknown process type \"gone\""),
        (add.replace("\"s\"", "\"a@b\""), "invalid schedule: its name has to have 1 to 200 characters"),
        (add.replace("time_zone", "zone"), "invalid schedule: unknown key \"zone\""),
        (add.replace("\"cron\"", "\"overlap\": \"no\", \"cron\""), "invalid schedule: overlap is \"no\""),
        (add.replace(", \"cron\": \"0 2 * * *\"", ""), "invalid schedule: it needs one of"),
        ("SELECT remove_schedule('nobody')::text".to_owned(), "unknown schedule \"nobody\""),
    ] {
        let told = call(&wrong).unwrap_err();
        assert!(told.contains(part), "{told}");
    }
    stage.settle();
    assert_eq!(
        stage.column("s", "(next_at AT TIME ZONE 'Europe/Berlin')::time").as_deref(),
        Some("02:00:00")
    );
    // What only a node can judge.
    stage.database.sql().execute("UPDATE schedules SET cron = '0 0 30 2 *'", &[]).unwrap();
    assert_eq!(stage.column("s", "next_at"), None);
    stage.settle();
    let problem = stage.column("s", "problem").unwrap();
    assert!(problem.contains("cron: \"0 0 30 2 *\" never comes"), "{problem}");
    stage
        .database
        .sql()
        .execute("UPDATE schedules SET cron = '@daily', time_zone = 'Mars/Olympus'", &[])
        .unwrap();
    stage.settle();
    let problem = stage.column("s", "problem").unwrap();
    assert!(problem.contains("\"Mars/Olympus\" is no time zone that this machine knows"), "{problem}");
    stage.database.sql().execute("UPDATE schedules SET time_zone = 'UTC'", &[]).unwrap();
    stage.settle();
    assert_eq!(
        (stage.column("s", "problem"), stage.column("s", "next_at > now()")),
        (None, Some("true".to_owned()))
    );
    // Past its end there is nothing more.
    stage
        .database
        .sql()
        .execute("UPDATE schedules SET starts_until = date_trunc('day', now()) - interval '1 day'", &[])
        .unwrap();
    stage.settle();
    assert!(stage.store.schedule("s").unwrap().unwrap().is_over);
}
