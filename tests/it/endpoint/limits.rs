//! Limits over HTTP: what is taken, who waits, and changing them.

use serde_json::{Value, json};

use crate::commands::limits::{fill, train};
use crate::http::{get, get_ok};
use crate::http_writes::Writable;

fn stage() -> Writable {
    let writable = Writable::new();
    writable.database.sql("DELETE FROM scheduled_tasks");
    writable.database.store().register(&train()).unwrap();
    fill(&mut writable.database.client());
    writable
}

#[test]
fn limits_are_read_and_set() {
    let stage = stage();
    let limits = get_ok(&stage.endpoint, "/limits");
    let told: Vec<Value> = limits["limits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| json!([it["name"], it["taken"], it["waiting"]]))
        .collect();
    assert_eq!(
        told,
        [json!(["disk", 2, 0]), json!(["type:train:config.customer", 2, 1]), json!(["vram", 2, 2])]
    );
    assert_eq!(limits["next"], Value::Null);
    assert_eq!(get_ok(&stage.endpoint, "/limits?after=type:x")["limits"].as_array().unwrap().len(), 1);
    let vram = get_ok(&stage.endpoint, "/limits/vram");
    assert_eq!(
        (&vram["line"][0]["process_id"], &vram["holders"][0]["node"]),
        (&json!("c1"), &json!("node-1"))
    );
    let acme = get_ok(&stage.endpoint, "/limits/type%3Atrain%3Aconfig.customer%3Dacme");
    assert_eq!(
        (&acme["key"], &acme["taken"], &acme["line"][0]["process_id"]),
        (&json!("acme"), &json!(1), &json!("a2"))
    );
    let unknown = get(&stage.endpoint, "/limits/nothing");
    assert_eq!((unknown.status, unknown.code()), (404, "limit_not_found".to_owned()));
    assert_eq!(get_ok(&stage.endpoint, "/processes/c1")["waits_for_limit"], "vram");
    assert_eq!(get_ok(&stage.endpoint, "/processes/a1")["waits_for_limit"], Value::Null);

    let raised = stage.post("/limits/vram", r#"{"max": 3, "by": "ann"}"#);
    assert_eq!(raised.status, 200, "{raised:?}");
    let raised = raised.json();
    assert_eq!(
        (&raised["max"], &raised["changed_by"], &raised["waiting"]),
        (&json!(3), &json!("ann"), &json!(1))
    );
    let given_back = stage.post("/limits/vram", r#"{"max": null}"#).json();
    assert_eq!((&given_back["max"], &given_back["is_set"]), (&json!(2), &json!(false)));
    for (target, body, status) in [
        ("/limits/vram", r#"{"max": -1}"#, 422),
        ("/limits/vram", "{}", 422),
        ("/limits/nothing", r#"{"max": 1}"#, 404),
        ("/limits/type%3Atrain%3Aconfig.customer%3Dacme", r#"{"max": 1}"#, 404),
    ] {
        assert_eq!(stage.post(target, body).status, status, "{target} {body}");
    }
    assert_eq!(
        stage.post_with("/limits/vram", "Content-Type: application/json\r\n", r#"{"max": 1}"#).status,
        401
    );
}

#[test]
fn what_waits_for_limits_is_counted_by_limit() {
    let stage = stage();
    let status = get_ok(&stage.endpoint, "/status");
    assert_eq!((&status["waiting_for_limits"], &status["due"]), (&json!(3), &json!(0)));
    let metrics = get(&stage.endpoint, "/metrics").body;
    let prefix = "process_orchestrator_limit";
    for line in [
        format!("{prefix}s_waiting_processes 3"),
        format!("{prefix}_max{{limit=\"vram\"}} 2"),
        format!("{prefix}_taken{{limit=\"type:train:config.customer\"}} 2"),
        format!("{prefix}_waiting{{limit=\"vram\"}} 2"),
        format!("{prefix}_oldest_wait_seconds{{limit=\"disk\"}} 0"),
    ] {
        assert!(metrics.lines().any(|it| it == line), "no {line:?} in {metrics}");
    }
    assert!(!metrics.contains("acme"), "no value of a key is a label");
    assert!(!metrics.contains(&format!("{prefix}_max{{limit=\"disk\"}}")), "what has no bound has no max");
    // However many limits there are, the series are bounded; what holds something back is among them.
    stage.database.sql("INSERT INTO limits (name, max) SELECT 'a' || i, 1 FROM generate_series(1, 500) i");
    let many = crate::common::wait_until("it is counted again", || {
        let body = get(&stage.endpoint, "/metrics").body;
        body.contains("limit=\"a1\"").then_some(body)
    });
    assert_eq!(many.lines().filter(|it| it.starts_with(&format!("{prefix}_waiting{{"))).count(), 100);
    assert!(many.contains(&format!("{prefix}_waiting{{limit=\"vram\"}} 2")));
}
