//! A connection to the database that is slow, or trickles.

use std::time::Duration;

use process_orchestrator::ProcessType;

use super::door::{Door, Pace};
use super::{Served, all_complete_at_once};
use crate::common::script;
use crate::program::Bench;

fn works_over(pace: Pace) {
    let bench = Bench::with_tables("slow_network");
    let mut serve = bench.command(&["serve", "--no-http"]);
    let node = Served::ready(serve.env("DATABASE_URL", Door::open(pace).url()));
    let print = "head -c 20000 /dev/zero | tr '\\0' x; echo at=$TASK_INDEX >$PROCESS_CONTEXT_FILE";
    let chain = ProcessType::new("chain", "").add(script("one", print)).add(script("two", print));
    bench.database.register(&chain);
    let ids = bench.database.start_many("chain", 10);
    all_complete_at_once(&bench.database, &ids);
    for id in &ids {
        let tasks = bench.database.store().tasks(id).unwrap();
        assert!(tasks.iter().all(|task| task.output.as_ref().unwrap().len() == 20_000), "{pace:?}");
    }
    assert_eq!(bench.database.count("processes WHERE process_context ->> 'at' = '1'"), 10, "{pace:?}");
    let log = node.stop();
    assert!(!log.contains("query failed"), "{pace:?}: {log}");
}

#[test]
fn round_trips_of_two_hundred_milliseconds_only_take_longer() {
    works_over(Pace::Late(Duration::from_millis(100)));
}

#[test]
fn a_connection_that_trickles_byte_by_byte_only_takes_longer() {
    works_over(Pace::ByteByByte);
}
