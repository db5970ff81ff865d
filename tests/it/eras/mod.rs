//! Eras: sets of processes whose tables are begun, closed, moved between and dropped while all else goes on.

mod beside;
mod doors;
mod forgetting;
mod keeping;
mod overtaken;
mod retries;

use std::time::{Duration, Instant};

use process_orchestrator::ProcessType;
use process_orchestrator::store::Store;
use process_orchestrator::store::eras::{Ages, Done, Step};

use crate::common::{PATIENCE, TestDatabase, script};

/// Its first task prints more than is kept in the row of an execution, the second less.
fn printing() -> ProcessType {
    ProcessType::new("prints", "").add(script("long", "seq 1000")).add(script("short", "echo $PROCESS_ID"))
}

/// What the first task prints.
fn long() -> String {
    (1..=1000).map(|n| format!("{n}\n")).collect()
}

/// Takes all steps that there are, eras being as small as can be.
fn keep(store: &mut Store) -> Vec<Done> {
    let (mut done, began) = (Vec::new(), Instant::now());
    loop {
        assert!(done.len() < 200, "it does not come to an end: {done:?}");
        match store.keep_eras(1).unwrap() {
            Step::Did(what) => done.push(what),
            Step::Idle => return done,
            // The server's own vacuum locks tables for a moment.
            Step::Busy => assert!(began.elapsed() < PATIENCE, "somebody is in the way"),
        }
    }
}

/// Starts processes of the type and runs them on a node of its own, to their end.
fn run(database: &TestDatabase, process_type: &ProcessType, how_many: usize) -> Vec<String> {
    database.register(process_type);
    let ids = database.start_many(&process_type.name, how_many);
    run_to_end(database, &ids);
    ids
}

fn run_to_end(database: &TestDatabase, ids: &[String]) {
    let node = database.node();
    ids.iter().for_each(|id| drop(database.wait_for(id)));
    node.stop();
}

/// Has all that has ended have ended an hour before.
fn age(database: &TestDatabase) {
    let hour = "interval '1 hour'";
    let sql = format!(
        "UPDATE processes SET completed_at = completed_at - {hour} WHERE completed_at IS NOT NULL; \
         UPDATE eras SET ended_from = ended_from - {hour}, ended_to = ended_to - {hour}"
    );
    database.sql().batch_execute(&sql).unwrap();
}

/// What ended longer than a minute ago.
fn old() -> Ages {
    Ages { of_all: Some(Duration::from_secs(60)), ..Ages::default() }
}

fn forget(store: &mut Store) -> u64 {
    let mut turns = 0;
    let rest = |_| {
        turns += 1;
        assert!(turns < 200, "it does not come to an end");
        true
    };
    store.forget_eras(&old(), |_| false, rest).unwrap().0
}

/// The era of each.
fn homes(database: &TestDatabase, ids: &[String]) -> Vec<i32> {
    let query = "SELECT (SELECT era FROM processes WHERE process_id = id) FROM unnest($1::text[]) AS id";
    database.sql().query(query, &[&ids]).unwrap().iter().map(|row| row.get(0)).collect()
}

fn is_there(database: &TestDatabase, table: &str) -> bool {
    database.sql().query_one("SELECT to_regclass($1) IS NOT NULL", &[&table]).unwrap().get(0)
}

/// That the record of a process of [`printing`] is whole: each task ran so many times, all outputs can be read.
fn assert_whole(database: &TestDatabase, id: &str, times: usize) {
    let mut store = database.store();
    let tasks = store.tasks(id).unwrap().rows;
    let outputs: Vec<_> = tasks.iter().map(|it| it.output.clone().unwrap_or_default()).collect();
    assert_eq!(outputs, [long(), format!("{id}\n")], "{id}");
    let executions = store.executions(id).unwrap();
    let ran: Vec<_> = executions.iter().map(|it| (it.task_index as usize, it.attempt as usize)).collect();
    let expected: Vec<_> = (0..2).flat_map(|task| (1..=times).map(move |attempt| (task, attempt))).collect();
    assert_eq!(ran, expected, "{id}");
    for it in executions {
        let printed = if it.task_index == 0 { long() } else { format!("{id}\n") };
        assert_eq!(it.output.as_deref(), Some(&*printed), "{id}: {} {}", it.task_index, it.attempt);
    }
}
