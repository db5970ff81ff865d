//! Limits as people meet them: what is taken and what waits, changing them, and what is said of them elsewhere.
//!
//! Claims are made here by what they are made of, the schema's own functions, so that every state stands still.

use postgres::Client;
use process_orchestrator::store::types::Registered;
use process_orchestrator::{
    Concurrency, OrchestratorError, ProcessOrchestrator, ProcessType, ProcessTypeRegistry, TaskDefinition,
};
use serde_json::{Value, json};

use crate::program::Bench;

/// `train`: one of each customer at a time, two on a card; `disk` has no max.
pub fn train() -> ProcessType {
    let no_max = Concurrency { max: None, ..Concurrency::max(1).group("disk") };
    ProcessType::new("train", "")
        .limit(Concurrency::max(1).key("${config.customer}"))
        .limit(Concurrency::max(2).group("vram"))
        .add(TaskDefinition::new("fit", "true").limit(no_max))
}

/// Five processes, of which `a1` and `b1` run on `node-1`; `a2` waits for its customer, `c1` and `keyless` for a card.
pub fn fill(sql: &mut Client) {
    sql.batch_execute(
        "INSERT INTO nodes (node_id, name, host, pid, version, executors, lease_seconds)
        VALUES ('node-1', 'node-1', 'elsewhere', 1, '0', 4, 1e6)",
    )
    .unwrap();
    for (id, customer) in [("a1", "acme"), ("b1", "b"), ("a2", "acme"), ("c1", "c"), ("keyless", "")] {
        let input = json!({"config": {"customer": customer}});
        sql.execute("SELECT start_process('train', $1::jsonb, $2)", &[&input, &id]).unwrap();
    }
    let admitted = "SELECT count(*) FROM admit_processes(ARRAY['a1', 'b1']) WHERE blocked_by IS NULL";
    let mut claim = sql.transaction().unwrap();
    assert_eq!(claim.query_one(admitted, &[]).unwrap().get::<_, i64>(0), 2);
    claim
        .batch_execute(
            "UPDATE scheduled_tasks SET picked = true, picked_by = 'node-1', state = 'CLAIMED', version = version + 1,
                admitted_version = version + 1 WHERE task_instance IN ('a1', 'b1');
            UPDATE processes SET status = 'IN_PROGRESS', started_at = now() WHERE process_id IN ('a1', 'b1');
            UPDATE tasks SET status = 'IN_PROGRESS', started_at = now(), attempt = 1 WHERE process_id IN ('a1', 'b1')",
        )
        .unwrap();
    claim.commit().unwrap();
    let held: i64 = sql.query_one("SELECT hold_blocked(100)", &[]).unwrap().get(0);
    assert_eq!(held, 3);
}

fn stage(test: &str) -> Bench {
    let bench = Bench::with_tables(test);
    bench.database.register(&train());
    fill(&mut bench.database.sql());
    bench
}

fn listed(bench: &Bench) -> Vec<Value> {
    bench.run(&["limits", "list", "--json"]).expect(0).json()["limits"].as_array().unwrap().clone()
}

fn held_by(bench: &Bench, id: &str) -> Option<String> {
    let query = "SELECT held_by FROM scheduled_tasks WHERE task_instance = $1";
    bench.database.sql().query_one(query, &[&id]).unwrap().get(0)
}

#[test]
fn a_list_says_what_is_taken_and_what_waits_since_when() {
    let bench = stage("limits_list");
    let limits = listed(&bench);
    let told: Vec<_> =
        limits.iter().map(|it| (&it["name"], &it["max"], &it["taken"], &it["waiting"])).collect();
    let key = json!("type:train:config.customer");
    assert_eq!(
        told.iter().map(|it| json!([it.0, it.1, it.2, it.3])).collect::<Vec<_>>(),
        [json!(["disk", null, 2, 0]), json!([key, 1, 2, 1]), json!(["vram", 2, 2, 2])]
    );
    assert!(limits[2]["waiting_since"].is_string() && limits[0]["waiting_since"].is_null(), "{limits:#?}");
    let table = bench.run(&["limits", "list"]).expect(0).out;
    assert!(table.contains("disk                        no bound      2        0"), "{table}");
    assert_eq!(limits[2]["taken_by"], json!(["a1", "b1"]));
    assert!(table.contains("a1, b1"), "{table}");
    let waiting = bench.run(&["limits", "list", "--waiting", "vram", "disk"]).expect(0).out;
    assert!(waiting.contains("vram") && !waiting.contains("disk"), "{waiting}");
    let usage =
        "SELECT taken, waiting FROM limit_usage WHERE name = 'type:train:config.customer' AND key = 'acme'";
    let row = bench.database.sql().query_one(usage, &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 1));
}

#[test]
fn one_limit_says_who_has_its_slots_and_who_waits_in_order() {
    let bench = stage("limits_show");
    bench
        .database
        .sql()
        .batch_execute("UPDATE scheduled_tasks SET priority = 5 WHERE task_instance = 'keyless'")
        .unwrap();
    let shown = bench.run(&["limits", "show", "vram", "--json"]).expect(0).json();
    let of = |list: &str, key: &str| -> Vec<Value> {
        shown[list].as_array().unwrap().iter().map(|it| it[key].clone()).collect()
    };
    assert_eq!(of("holders", "process_id"), ["a1", "b1"]);
    assert_eq!(
        (of("holders", "node"), of("holders", "task")),
        (vec![json!("node-1"); 2], vec![json!("fit"); 2])
    );
    assert_eq!(of("line", "process_id"), ["keyless", "c1"], "the higher priority comes first");
    assert_eq!(shown["declared_by"], json!([{"process_type": "train", "task": null, "max": 2}]));
    let text = bench.run(&["limits", "show", "type:train:config.customer=acme"]).expect(0).out;
    for part in ["Taken     1", "Waiting   1", "a1", "a2", "Made by   train (max 1)"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!text.contains("b1"), "another key's: {text}");
    let unknown = bench.run(&["limits", "show", "vramm"]).expect(3).err;
    assert!(unknown.contains("unknown limit \"vramm\"; did you mean \"vram\"?"), "{unknown}");
}

#[test]
fn a_max_is_raised_lowered_and_given_back_to_the_documents() {
    let bench = stage("limits_set");
    let raised = bench.run(&["limits", "set", "vram", "--max", "3"]).expect(0);
    assert_eq!(raised.out, "vram max 3\n");
    assert_eq!(held_by(&bench, "c1"), None, "the first in line may go");
    assert_eq!(held_by(&bench, "keyless").as_deref(), Some("limit:vram"), "there is room for one");
    let lowered = bench.run(&["limits", "set", "vram", "--max", "1"]).expect(0).err;
    assert!(lowered.contains("2 are taken: they go on"), "{lowered}");
    let note = bench.run(&["limits", "list", "vram"]).expect(0).out;
    assert!(note.contains("set by ") && note.contains("drains"), "{note}");
    let stopped = bench.run(&["limits", "set", "vram", "--max", "0"]).expect(0).err;
    assert!(stopped.contains("nothing more of it begins"), "{stopped}");
    let shown = bench.run(&["limits", "set", "vram", "--max", "default", "--json"]).expect(0).json();
    assert_eq!((&shown["max"], &shown["is_set"]), (&json!(2), &json!(false)));
    let unknown = bench.run(&["limits", "set", "vran", "--max", "1"]).expect(3).err;
    assert!(unknown.contains("did you mean \"vram\"?"), "{unknown}");
    for max in ["-1", "many", "1.5"] {
        let refused = bench.run(&["limits", "set", "vram", "--max", max]).expect(2).err;
        assert!(refused.contains("a whole number from 0 on, or default"), "{refused}");
    }
    let key = bench.run(&["limits", "set", "vram=acme", "--max", "1"]).expect(2).err;
    assert!(key.contains("all values of a key have the same max"), "{key}");
}

#[test]
fn a_process_that_waits_says_for_what() {
    let bench = stage("limits_explain");
    let explained = bench.run(&["explain", "c1"]).expect(0).out.replace("\n  ", " ");
    for part in [
        "it waits for limit vram (2 of 2 taken) since ",
        "it is the next in line",
        "taken by a1 on node node-1 since ",
        " limits show vram",
    ] {
        assert!(explained.contains(part), "no {part:?} in {explained}");
    }
    let keyless = bench.run(&["explain", "keyless", "--json"]).expect(0).json();
    assert_eq!(keyless["keyless_limits"], json!(["type:train:config.customer"]));
    assert_eq!(
        (&keyless["reasons"][0]["reason"], &keyless["reasons"][0]["ahead"]),
        (&json!("LIMIT"), &json!(1))
    );
    let keyless = bench.run(&["explain", "keyless"]).expect(0).out.replace("\n  ", " ");
    let said =
        "limit type:train:config.customer does not count for it, as its key is missing or empty in its input";
    assert!(keyless.contains(said) && keyless.contains("it is number 2 in line"), "{keyless}");
    bench.run(&["limits", "set", "vram", "--max", "1"]).expect(0);
    let lowered = bench.run(&["explain", "c1"]).expect(0).out.replace("\n  ", " ");
    assert!(lowered.contains("(2 of 1 taken)") && lowered.contains("has set the max to 1"), "{lowered}");
    bench.run(&["limits", "set", "vram", "--max", "default"]).expect(0);
    let shown = bench.run(&["show", "a2"]).expect(0).out.replace("\n          ", " ");
    assert!(shown.contains("waits for limit type:train:config.customer=acme (1 of 1 taken)"), "{shown}");
    let list = bench.run(&["list"]).expect(0).out;
    assert!(list.contains("waits for limit vram (2 of 2 taken)"), "{list}");
    let started = bench.run(&["start", "train", "--config", "customer=d"]).expect(0).err;
    assert!(
        started.contains("waits for limit vram (2 of 2 taken)") && started.contains(" limits show vram"),
        "{started}"
    );
}

#[test]
fn a_retry_says_for_which_limit_it_waits() {
    let bench = stage("limits_retry");
    bench.run(&["cancel", "c1"]).expect(0);
    let told = bench.run(&["retry", "c1"]).expect(0).err;
    assert!(told.contains("process c1 waits for limit vram (2 of 2 taken); see "), "{told}");
}

#[test]
fn a_document_says_which_limits_it_makes_and_whose_it_overrules() {
    let bench = Bench::with_tables("limits_types");
    let file = bench.file(&train());
    let limits = "limits: type:train:config.customer (max 1), vram (max 2), disk (no max here: no bound until another process \
                  type or `limits set` gives one, while task \"fit\" runs)";
    for words in [["types", "validate", &file], ["types", "register", &file]] {
        let told = bench.run(&words).expect(0);
        assert!(told.out.contains(limits) && told.err.is_empty(), "{told:#?}");
    }
    let shown = bench.run(&["types", "show", "train", "--json"]).expect(0).json();
    assert_eq!(
        ProcessType::from_value(&shown["definition"], "shown"),
        Ok(train()),
        "it comes back as it was"
    );
    // Another type says another max of the same group: the last one counts, and whoever registers is told.
    let other = ProcessType::new("other", "")
        .limit(Concurrency::max(5).group("vram"))
        .add_task("a", "true", "", 1.0, 0);
    let other = bench.file(&other);
    let told = bench.run(&["types", "register", &other]).expect(0).err;
    assert!(
        told.contains(
            "max 5 of process type \"other\", registered last, counts now; process type \"train\" says 2"
        ),
        "{told}"
    );
    assert_eq!(listed(&bench)[2]["max"], 5);
    // What is set by hand stays.
    bench.run(&["limits", "set", "vram", "--max", "7"]).expect(0);
    let changed = ProcessType::new("other", "")
        .limit(Concurrency::max(6).group("vram"))
        .add_task("a", "true", "", 1.0, 0);
    let told = bench.run(&["types", "register", &bench.file(&changed)]).expect(0).err;
    assert!(told.contains("does not count, as ") && told.contains("has set it to 7"), "{told}");
    assert_eq!(listed(&bench)[2]["max"], 7);
    // A change of limits alone is a change.
    let mut store = bench.database.store();
    assert_eq!(store.register(&changed).unwrap(), Registered::Unchanged);
    let alone = ProcessType { concurrency: Vec::new(), ..changed };
    assert_eq!(store.register(&alone).unwrap(), Registered::Changed);
}

#[test]
fn a_type_without_limits_has_none() {
    let bench = Bench::with_tables("limits_none");
    let plain = ProcessType::new("plain", "").add_task("a", "true", "", 1.0, 0);
    let file = bench.file(&plain);
    let told = bench.run(&["types", "register", &file]).expect(0).out;
    assert_eq!(told, "plain new\n");
    assert_eq!(bench.database.count("process_types WHERE concurrency IS NULL"), 1);
    let empty = bench.run(&["limits", "list"]).expect(0);
    assert!(empty.out.is_empty() && empty.err.contains("no process type has limits"), "{empty:#?}");
}

#[test]
fn doctor_tells_of_limits_that_hold_back_more_than_was_meant() {
    let bench = stage("limits_doctor");
    let check = || {
        let document = bench.run(&["doctor", "--json"]).json();
        let checks = document["checks"].as_array().unwrap();
        checks.iter().find(|it| it["name"] == "limits").unwrap()["found"].as_str().unwrap().to_owned()
    };
    assert!(check().contains("no bound: disk"), "{}", check());
    bench.run(&["limits", "set", "vram", "--max", "0"]).expect(0);
    assert!(check().contains("nothing more begins of vram (max 0, 2 taken, 2 wait, set by "), "{}", check());
    let mut sql = bench.database.sql();
    sql.batch_execute("INSERT INTO limit_slots (limit_name, slot_key, process_id, of_task) VALUES ('vram', '', 'gone', false)").unwrap();
    assert!(check().contains("have left the queue: gone of vram"), "{}", check());
    sql.batch_execute("DELETE FROM limit_slots WHERE process_id IN ('gone', 'a1')").unwrap();
    sql.batch_execute("UPDATE limits SET max = 2 WHERE name = 'vram'").unwrap();
    sql.batch_execute(
        "UPDATE scheduled_tasks SET execution_time = now() - interval '1 hour', waiting_since = NULL",
    )
    .unwrap();
    assert!(
        check().contains("wait although there is room: a2 of type:train:config.customer=acme, c1 of vram"),
        "{}",
        check()
    );
}

#[test]
fn names_are_completed() {
    let bench = stage("limits_completion");
    for (line, expected) in
        [("limits set v", "vram"), ("limits show type:", "type:train:config.customer"), ("limits s", "set")]
    {
        let found = super::completions::asked(&bench, &format!("po {line}"));
        assert!(found.iter().any(|it| it.starts_with(expected)), "{line}: {found:?}");
    }
}

#[test]
fn the_library_reads_and_sets_limits() {
    let bench = stage("limits_library");
    let config = process_orchestrator::engine::NodeConfig {
        schema: bench.database.schema.clone(),
        ..process_orchestrator::engine::NodeConfig::default()
    };
    let orchestrator =
        ProcessOrchestrator::new(bench.database.settings().clone(), ProcessTypeRegistry::new())
            .with_config(config);
    assert_eq!(orchestrator.set_limit("vram", Some(4)).unwrap(), Some(4));
    let limits = orchestrator.limits().unwrap();
    let vram = limits.iter().find(|it| it.name == "vram").unwrap();
    assert_eq!((vram.max, vram.is_set, limits.len()), (Some(4), true, 3));
    assert!(vram.changed_by.as_ref().unwrap().starts_with("the library, node "));
    assert_eq!(orchestrator.set_limit("vram", None).unwrap(), Some(2));
    let unknown = orchestrator.set_limit("nothing", Some(1)).unwrap_err();
    assert!(
        matches!(unknown, OrchestratorError::Store(_)) && unknown.to_string().contains("unknown limit"),
        "{unknown}"
    );
}

#[test]
fn a_backlog_of_thousands_over_a_thousand_keys_is_counted_quickly() {
    let bench = stage("limits_many");
    let mut sql = bench.database.sql();
    sql.batch_execute(
        "SELECT count(*) FROM start_processes('train', ARRAY(
            SELECT jsonb_build_object('config', jsonb_build_object('customer', 'k' || i % 1000)) FROM generate_series(1, 5000) i));
        UPDATE scheduled_tasks SET state = 'HELD', held_by = 'limit:' || limits[1] WHERE state = 'READY'",
    )
    .unwrap();
    let limits = listed(&bench);
    let keyed = limits.iter().find(|it| it["name"] == "type:train:config.customer").unwrap();
    assert_eq!((&keyed["waiting"], &keyed["keys_waiting"]), (&json!(5001), &json!(1000)));
    // Whatever waits for other limits is not looked at.
    let read = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE usage('{vram}', NULL, 1000, 100000, 1000, NULL, true)";
    let prepare = format!(
        "PREPARE usage (text[], text, bigint, bigint, bigint, text, boolean) AS {}",
        include_str!("../../../sql/limits/usage.sql")
    );
    sql.batch_execute(&format!(
        "ANALYZE scheduled_tasks; {prepare}; SET plan_cache_mode = force_generic_plan"
    ))
    .unwrap();
    let plan: Value = sql.query_one(read, &[]).unwrap().get(0);
    let buffers = plan[0]["Plan"]["Shared Hit Blocks"].as_i64().unwrap();
    assert!(buffers < 100, "{buffers} buffers to read one limit beside 5,000 held rows: {plan:#}");
}

#[test]
fn whoever_waits_for_processes_hears_for_which_limit_they_wait() {
    let bench = stage("limits_wait");
    std::fs::write(bench.folder.join("two.jsonl"), "{}\n{}\n").unwrap();
    for words in [&["start", "train", "--wait"][..], &["start", "train", "--wait", "--inputs", "two.jsonl"]] {
        let mut start = bench.spawn(words);
        let started = "scheduled_tasks WHERE state = 'READY'";
        crate::common::wait_until("it is started", || (bench.database.count(started) > 0).then_some(()));
        bench.database.sql().batch_execute("SELECT hold_blocked(100)").unwrap();
        let (told, mut rest) = crate::program::until_line_kept(&mut start, " for limit vram");
        assert!(told.contains(" limits show vram"), "{told}");
        bench
            .database
            .sql()
            .batch_execute("SELECT cancel_process(task_instance) FROM scheduled_tasks WHERE NOT picked")
            .unwrap();
        let mut more = String::new();
        std::io::Read::read_to_string(&mut rest, &mut more).unwrap();
        assert_eq!(start.wait().unwrap().code(), Some(1), "{told}{more}");
        assert!(!more.contains("for limit vram"), "told once: {more}");
    }
}
