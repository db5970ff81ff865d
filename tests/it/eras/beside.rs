//! Claims, kills and locks in the midst of a move.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use process_orchestrator::engine::NodeConfig;
use process_orchestrator::store::claims::{ClaimRequest, Claimed, Quarantined};
use process_orchestrator::store::eras::Done::{Began, Closed, Dropped, Moved};
use process_orchestrator::store::eras::Step;
use process_orchestrator::store::start::{StartOptions, StartRequest};
use process_orchestrator::{ProcessStatus, ProcessType};

use super::{age, homes, keep, run, run_to_end};
use crate::common::{TestDatabase, one_task, script, wait_until};
use crate::program::Bench;

const HOLD: &str = include_str!("../../../sql/eras/hold_stragglers.sql");

/// Lets the threads of a test end, however it ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn claims_beside_moves_find_every_task() {
    const ROUNDS: usize = 10;
    const EACH: usize = 40;
    let database = TestDatabase::new("era_race");
    database.register(&ProcessType::new("two", "").add(script("a", "true")).add(script("b", "true")));
    let node = database.node_with(NodeConfig { executors: 2, ..database.config() });
    let (is_over, moved) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut ids = Vec::new();
    std::thread::scope(|scope| {
        let over = Over(&is_over);
        for _ in 0..2 {
            scope.spawn(|| {
                let mut store = database.store();
                while !is_over.load(Ordering::Relaxed) {
                    match store.keep_eras(1).unwrap() {
                        Step::Did(Moved { processes, .. }) => {
                            moved.fetch_add(processes as usize, Ordering::Relaxed);
                        }
                        Step::Did(_) => {}
                        Step::Idle | Step::Busy => std::thread::park_timeout(Duration::from_millis(1)),
                    }
                }
            });
        }
        for _ in 0..ROUNDS {
            ids.extend(database.start_many("two", EACH));
            wait_until("half of them have ended", || {
                (database.count("scheduled_tasks") < EACH as i64 / 2).then_some(())
            });
        }
        wait_until("all have ended", || (database.count("scheduled_tasks") == 0).then_some(()));
        drop(over);
    });
    node.stop();
    println!("{} moves of {} processes", moved.load(Ordering::Relaxed), ids.len());
    assert!(moved.load(Ordering::Relaxed) > 0);
    let all = (ROUNDS * EACH) as i64;
    assert_eq!(database.count("processes WHERE status = 'COMPLETED'"), all);
    assert_eq!(database.count("tasks WHERE status = 'COMPLETED' AND attempt = 1"), 2 * all);
    assert_eq!(database.count("task_executions"), 2 * all);
    // An era of which all processes have ended is closed, one behind the other.
    keep(&mut database.store());
    assert_eq!(database.count("eras WHERE closed_at IS NULL AND kind = 'STARTED'"), 1);
}

/// The claim's snapshot shows the task where it was, its lock the queue's row as it is now.
#[test]
fn a_process_that_is_moved_in_the_midst_of_a_claim_is_given_back_and_runs() {
    let database = TestDatabase::new("era_overtaken");
    database.register(&one_task("true"));
    database.lives("n-1");
    let ids = database.start_many("one-task", 2);
    let mut holder = database.sql();
    let stop = format!(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS \
             'BEGIN PERFORM pg_advisory_xact_lock_shared(hashtext(TG_TABLE_SCHEMA)); RETURN NEW; END'; \
         CREATE TRIGGER wait BEFORE UPDATE ON scheduled_tasks FOR EACH ROW \
             WHEN (NEW.picked AND NOT OLD.picked AND NEW.task_instance = '{}') EXECUTE FUNCTION wait(); \
         SELECT pg_advisory_lock(hashtext('{}')), use_era(add_era('STARTED'))",
        ids[0], database.schema
    );
    holder.batch_execute(&stop).unwrap();
    let mut store = database.store();
    let claimed = std::thread::scope(|scope| {
        let claim = scope.spawn(|| database.store().claim_due("n-1", &ClaimRequest::of(2)).unwrap().claimed);
        let waits = format!(
            "pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid::bigint = (hashtext('{}')::bigint & 4294967295)",
            database.schema
        );
        wait_until("the claim waits with one of them", || (database.count(&waits) > 0).then_some(()));
        // Large: it begins no era.
        assert_eq!(store.keep_eras(1_000).unwrap(), Step::Did(Moved { processes: 1, from: 2 }));
        assert_eq!(homes(&database, &ids), [2, 1]);
        holder.batch_execute("SELECT pg_advisory_unlock_all()").unwrap();
        claim.join().unwrap()
    });
    let unread = claimed.iter().find_map(|it| match it {
        Claimed::Unreadable { process_id, version, .. } => Some((process_id.clone(), *version)),
        Claimed::Ready(..) => None,
    });
    let (id, version) = unread.expect("the claim did not meet what was moved");
    assert_eq!((claimed.len(), &id), (2, &ids[1]));
    assert_eq!(store.quarantine("n-1", &id, version, "why", None).unwrap(), Quarantined::GivenBack);
    assert_eq!(store.quarantine("n-1", &id, version, "why", None).unwrap(), Quarantined::NotOurs);
    run_to_end(&database, &ids[1..]);
    let process = store.process(&id).unwrap().unwrap();
    assert_eq!(process.status, ProcessStatus::Completed);
    assert_eq!(database.count("task_executions WHERE attempt = 1"), 1);
    // One whose task is gone is ended, as before.
    let third = database.start_many("one-task", 1);
    holder.execute("DELETE FROM tasks WHERE process_id = $1", &[&third[0]]).unwrap();
    let Some(Claimed::Unreadable { version, .. }) = store.claim_one("n-1", &third[0]).unwrap() else {
        panic!()
    };
    assert_eq!(store.quarantine("n-1", &third[0], version, "why", None).unwrap(), Quarantined::Ended);
}

/// Whoever moves dies when the processes are held.
#[test]
fn what_a_move_that_was_cut_short_has_held_is_told_and_goes_on_with_the_next() {
    let bench = Bench::with_tables("era_cut");
    let database = &bench.database;
    database.register(&one_task("true"));
    let ids = database.start_many("one-task", 2);
    let mut client = database.sql();
    client.batch_execute("SELECT use_era(add_era('STARTED'))").unwrap();
    assert_eq!(client.execute(HOLD, &[&2, &1_i64]).unwrap(), 1);
    let node = database.node();
    let held = "scheduled_tasks WHERE state = 'HELD' AND held_by = 'era:2'";
    wait_until("the other has ended", || (database.count("scheduled_tasks") == 1).then_some(()));
    assert_eq!(database.count(held), 1, "nobody claims what is held");
    let id: String = client.query_one("SELECT task_instance FROM scheduled_tasks", &[]).unwrap().get(0);
    let told = bench.run(&["explain", &id]).expect(0);
    assert!(told.out.contains("moved to the tables of another era"), "{told:#?}");
    let told = bench.run(&["explain", &id, "--json"]).expect(0).json();
    assert_eq!(told["reasons"][0]["reason"], "MOVING", "{told:#}");
    bench.run(&["doctor"]).expect(0);
    let steps = keep(&mut database.store());
    assert_eq!(steps[0], Moved { processes: 1, from: 2 }, "{steps:?}");
    ids.iter().for_each(|id| assert_eq!(database.wait_for(id).status, ProcessStatus::Completed));
    node.stop();
    assert_eq!(homes(database, &[id]), [1]);
}

/// A lock that keeps them from being moved is no reason to let them wait until the next look.
#[test]
fn processes_that_cannot_be_moved_are_due_again_at_once() {
    let database = TestDatabase::new("era_stuck");
    database.register(&one_task("true"));
    let ids = database.start_many("one-task", 3);
    let mut other = database.sql();
    other
        .batch_execute("SELECT use_era(add_era('STARTED')); BEGIN; LOCK TABLE outputs IN SHARE MODE")
        .unwrap();
    let mut store = database.store();
    assert_eq!(store.keep_eras(1_000).unwrap(), Step::Busy);
    assert_eq!(database.count("scheduled_tasks WHERE state = 'READY' AND era = 2"), 3);
    // A lock on one of them alone leaves out that one.
    let lock = format!("ROLLBACK; BEGIN; SELECT FROM processes WHERE process_id = '{}' FOR UPDATE", ids[1]);
    other.batch_execute(&lock).unwrap();
    assert_eq!(store.keep_eras(1_000).unwrap(), Step::Did(Moved { processes: 2, from: 2 }));
    assert_eq!(database.count("scheduled_tasks WHERE state = 'READY'"), 3);
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(store.keep_eras(1_000).unwrap(), Step::Did(Moved { processes: 1, from: 2 }));
    assert_eq!(store.keep_eras(1_000).unwrap(), Step::Did(Closed(2)));
}

/// Those that have ended in the era of those that last long.
#[test]
fn a_finished_process_that_somebody_has_locked_is_moved_later_and_holds_nothing_else_up() {
    let database = TestDatabase::new("era_held_long");
    database.register(&one_task("true"));
    let ids = database.start_many("one-task", 2);
    let mut other = database.sql();
    other.batch_execute("SELECT use_era(add_era('STARTED'))").unwrap();
    let mut store = database.store();
    assert_eq!(keep(&mut store), [Moved { processes: 2, from: 2 }, Closed(2), Dropped(2)]);
    run_to_end(&database, &ids);
    age(&database);
    let lock = format!("BEGIN; SELECT FROM processes WHERE process_id = '{}' FOR UPDATE", ids[0]);
    other.batch_execute(&lock).unwrap();
    let new = run(&database, &one_task("true"), 1);
    assert_eq!(keep(&mut store), [Moved { processes: 1, from: 1 }, Began(6), Closed(3)]);
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(keep(&mut store), [Moved { processes: 1, from: 1 }]);
    assert_eq!(homes(&database, &[&ids[..], &new[..]].concat()), [5, 4, 3]);
}

/// A report that reads for hours: eras are closed when it has ended, and meanwhile nobody waits behind who would close one.
#[test]
fn beside_a_long_reader_an_era_is_closed_later_and_others_start_and_claim() {
    let database = TestDatabase::new("era_reader");
    run(&database, &one_task("true"), 2);
    let mut reader = database.sql();
    reader.batch_execute("BEGIN; SELECT count(*) FROM tasks").unwrap();
    let is_over = AtomicBool::new(false);
    let ids = std::thread::scope(|scope| {
        let over = Over(&is_over);
        let busy = scope.spawn(|| {
            let (mut store, mut busy) = (database.store(), 0);
            while !is_over.load(Ordering::Relaxed) {
                let step = store.keep_eras(1).unwrap();
                assert!(!matches!(step, Step::Did(Closed(_))), "{step:?}");
                busy += usize::from(step == Step::Busy);
            }
            busy
        });
        let node = database.node();
        let mut store = database.store();
        let ids: Vec<String> = (0..20)
            .map(|_| {
                let one = [StartRequest::default()];
                let id = store.start_processes("one-task", &one, StartOptions::default()).unwrap().remove(0);
                database.wait_for(&id);
                id
            })
            .collect();
        node.stop();
        drop(over);
        assert!(busy.join().unwrap() > 0, "nobody was in the way");
        ids
    });
    reader.batch_execute("COMMIT").unwrap();
    let steps = keep(&mut database.store());
    assert!(steps.contains(&Closed(2)), "{steps:?}");
    assert_eq!(database.count("task_executions"), ids.len() as i64 + 2);
}
