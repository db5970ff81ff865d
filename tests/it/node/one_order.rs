//! Many sessions change overlapping lists of processes beside a node at work: nobody waits for somebody who waits for them.

use std::sync::Barrier;

use postgres::types::ToSql;
use process_orchestrator::ProcessStatus;

use crate::common::{TestDatabase, one_task};

const IDS: usize = 40;
const ROUNDS: usize = 60;

fn some_of(ids: &[String], random: &mut fastrand::Rng) -> Vec<String> {
    let mut some = ids.to_vec();
    random.shuffle(&mut some);
    some.truncate(ids.len() / 2);
    some
}

fn again_and_again(database: &TestDatabase, ids: &[String], seed: u64, verb: &str) {
    let (mut client, mut random) = (database.sql(), fastrand::Rng::with_seed(seed));
    for round in 0..ROUNDS {
        let some = some_of(ids, &mut random);
        let params: [&(dyn ToSql + Sync); 1] = [&some];
        if let Err(error) = client.query(verb, &params) {
            panic!("{verb}, round {round}: {error}: {:?}", error.as_db_error());
        }
    }
}

#[test]
fn cancelling_and_retrying_overlapping_lists_beside_a_node_meets_no_deadlock() {
    let database = TestDatabase::new("one_order");
    database.register(&one_task("true"));
    let ids = database.start_many("one-task", IDS);
    let node = database.node();
    let cancel = "SELECT * FROM cancel_processes($1)";
    let retry = "SELECT * FROM retry_processes($1, 'only')";
    std::thread::scope(|scope| {
        for (seed, verb) in [(1, cancel), (2, retry), (3, cancel), (4, retry), (5, retry)] {
            let (database, ids) = (&database, &ids);
            scope.spawn(move || again_and_again(database, ids, seed, verb));
        }
    });
    for id in &ids {
        assert!(matches!(database.wait_for(id).status, ProcessStatus::Completed | ProcessStatus::Cancelled));
    }
    let health = node.health();
    node.stop();
    assert_eq!(health.database_errors(), 0);
}

#[test]
fn starting_the_same_ids_in_any_order_meets_no_deadlock() {
    let database = TestDatabase::new("one_order_start");
    database.register(&one_task("true"));
    let barrier = Barrier::new(4);
    let start =
        "SELECT start_processes('one-task', array_fill('{}'::jsonb, ARRAY[cardinality($1::text[])]), $1)";
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (database, barrier) = (&database, &barrier);
            scope.spawn(move || {
                let (mut client, mut random) = (database.sql(), fastrand::Rng::with_seed(seed));
                for round in 0..ROUNDS / 4 {
                    // Names that a language orders otherwise than their bytes; and those that others get made.
                    let mut ids: Vec<String> =
                        (0..IDS).flat_map(|n| [format!("a-{round}-{n}"), format!("B{round}-{n}")]).collect();
                    random.shuffle(&mut ids);
                    barrier.wait();
                    let told = client.query(start, &[&ids]);
                    let made = client
                        .query("SELECT start_processes('one-task', array_fill('{}'::jsonb, ARRAY[9]))", &[]);
                    for told in [told, made] {
                        if let Err(error) = told {
                            panic!("round {round}: {error}: {:?}", error.as_db_error());
                        }
                    }
                }
            });
        }
    });
    let each = i64::try_from(ROUNDS / 4).unwrap();
    assert_eq!(database.count("processes"), each * (2 * IDS as i64 + 4 * 9));
}
