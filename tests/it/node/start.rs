//! The SQL functions that start processes: what they refuse, and that they hold inside the caller's transaction.

use process_orchestrator::store::start::{StartOptions, StartRequest};
use process_orchestrator::store::{RefusalReason, StoreError};
use process_orchestrator::{ProcessInputData, ProcessType};

use crate::common::{TestDatabase, one_task};

fn copy_type() -> ProcessType {
    ProcessType::new("copy", "").add_task("copy", "cp ${input_file} ${config.target}", ".", 1.0, 0)
}

fn refusal(error: StoreError) -> (RefusalReason, String) {
    match error {
        StoreError::Refused(refusal) => (refusal.reason, format!("{}; {}", refusal.message, refusal.remedy)),
        other => panic!("not a refusal: {other}"),
    }
}

/// Calls the SQL function as another program would; the error's text and SQLSTATE.
fn sql_error(database: &TestDatabase, call: &str) -> (String, String) {
    let error = database.sql().query(&format!("SELECT {call}"), &[]).unwrap_err();
    let answer = error.as_db_error().unwrap_or_else(|| panic!("{error}"));
    (answer.code().code().to_owned(), answer.message().to_owned())
}

#[test]
fn any_client_starts_processes_inside_its_own_transaction() {
    let database = TestDatabase::new("own_transaction");
    database.register(&one_task("true"));
    let mut client = database.sql();
    let mut transaction = client.transaction().unwrap();
    let id: String = transaction.query_one("SELECT start_process('one-task')", &[]).unwrap().get(0);
    assert_eq!(id, "one-task-1");
    transaction.rollback().unwrap();
    assert_eq!(database.count("processes") + database.count("tasks") + database.count("scheduled_tasks"), 0);

    let id: String = client.query_one("SELECT start_process('one-task', '{}', 'mine')", &[]).unwrap().get(0);
    assert_eq!(id, "mine");
    assert_eq!(database.store().process("mine").unwrap().unwrap().total_tasks, 1);
}

#[test]
fn an_unknown_type_is_refused_and_the_known_ones_named() {
    let database = TestDatabase::new("unknown_type");
    database.register(&one_task("true"));
    let error = database
        .store()
        .start_processes("nope", &[StartRequest::default()], StartOptions::default())
        .unwrap_err();
    let (reason, message) = refusal(error);
    assert_eq!(reason, RefusalReason::UnknownProcessType);
    assert_eq!(message, "unknown process type \"nope\"; register it first; known are: one-task");
}

#[test]
fn missing_variables_are_named_all_at_once() {
    let database = TestDatabase::new("missing_variables");
    database.register(&copy_type());
    let (state, message) = sql_error(&database, "start_process('copy', '{\"config\": {}}')");
    assert_eq!(state, "PO003");
    assert_eq!(message, "input lacks ${config.target}, ${input_file}, which process type \"copy\" needs");
    let bulk = "start_processes('copy', ARRAY['{\"input_file\": \"a\", \"config\": {\"target\": \"b\"}}'::jsonb, '{}'])";
    let (_, message) = sql_error(&database, bulk);
    assert!(message.starts_with("input number 2 lacks"), "{message}");
    assert_eq!(database.count("processes"), 0, "all or none");
}

#[test]
fn invalid_input_is_refused_with_the_key() {
    let database = TestDatabase::new("invalid_input");
    database.register(&one_task("true"));
    for (input, part) in [
        ("[]", "it is of type array, not an object"),
        ("{\"conf\": {}}", "unknown key \"conf\""),
        ("{\"user_id\": 7}", "user_id is of type number, not a string"),
        ("{\"config\": []}", "config is of type array, not an object"),
        ("{\"config\": {\"a\": {}}}", "config.a is not a string, number or boolean"),
    ] {
        let (state, message) = sql_error(&database, &format!("start_process('one-task', '{input}')"));
        assert_eq!(state, "PO002", "{message}");
        assert!(message.contains(part), "{input}: {message}");
    }
}

#[test]
fn the_same_id_gives_back_the_process_or_is_refused() {
    let database = TestDatabase::new("same_id");
    database.register(&one_task("true"));
    let mut store = database.store();
    let request = |user: &str| StartRequest {
        input: ProcessInputData::new().user_id(user),
        process_id: Some("order 7".to_owned()),
    };
    for _ in 0..2 {
        let ids = store.start_processes("one-task", &[request("a")], StartOptions::default()).unwrap();
        assert_eq!(ids, ["order 7"]);
    }
    assert_eq!(database.count("scheduled_tasks"), 1);
    let error = store.start_processes("one-task", &[request("b")], StartOptions::default()).unwrap_err();
    let (reason, message) = refusal(error);
    assert_eq!(reason, RefusalReason::ProcessIdTaken);
    assert!(
        message.contains("\"order 7\" is taken by a process of type \"one-task\" with other input"),
        "{message}"
    );
}

#[test]
fn ids_with_control_characters_or_too_long_are_refused() {
    let database = TestDatabase::new("bad_ids");
    database.register(&one_task("true"));
    for id in ["a\nb".to_owned(), "x".repeat(256), " a".to_owned(), String::new()] {
        let request = StartRequest { process_id: Some(id.clone()), ..StartRequest::default() };
        let error =
            database.store().start_processes("one-task", &[request], StartOptions::default()).unwrap_err();
        let (reason, message) = refusal(error);
        assert_eq!(reason, RefusalReason::InvalidProcessId, "{id:?}: {message}");
        assert!(message.contains("1 to 255 characters"), "{message}");
    }
}

#[test]
fn generated_ids_pass_over_those_that_somebody_took_by_hand() {
    let database = TestDatabase::new("generated_ids");
    database.register(&one_task("true"));
    let mut store = database.store();
    let taken = StartRequest { process_id: Some("one-task-2".to_owned()), ..StartRequest::default() };
    store.start_processes("one-task", &[taken], StartOptions::default()).unwrap();
    let ids = store.start_processes("one-task", &vec![StartRequest::default(); 3], StartOptions::default());
    assert_eq!(ids.unwrap(), ["one-task-1", "one-task-4", "one-task-3"]);
}

#[test]
fn later_edits_of_a_type_do_not_change_what_was_started() {
    let database = TestDatabase::new("later_edits");
    database.register(&one_task("true"));
    let id = database.start("one-task", ProcessInputData::new());
    database.register(&one_task("false"));
    assert_eq!(database.store().tasks(&id).unwrap()[0].command, "true");
}

#[test]
fn thousands_are_started_in_one_call() {
    let database = TestDatabase::new("thousands");
    let ten = (0..10)
        .fold(ProcessType::new("ten", ""), |kind, i| kind.add_task(format!("t{i}"), "true", ".", 1.0, 0));
    database.register(&ten);
    let ids = database.start_many("ten", 5_000);
    assert_eq!(ids.len(), 5_000);
    assert_eq!(database.count("tasks"), 50_000);
    assert_eq!(database.count("scheduled_tasks WHERE execution_time <= now()"), 5_000);
}
