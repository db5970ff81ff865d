//! The fence, and what is known after a connection was lost at a commit.

use std::time::{Duration, Instant};

use process_orchestrator::model::lifecycle::{Ending, Outcome, TaskPosition, after_execution};
use process_orchestrator::store::claims::{Claim, ClaimRequest, Claimed, ClaimedTask, QueuePart};
use process_orchestrator::store::record::{ExecutionResult, Next, TaskResult};
use process_orchestrator::store::start::{StartOptions, StartRequest};
use process_orchestrator::store::{Store, StoreError};
use process_orchestrator::{ProcessStatus, ProcessType};

use crate::common::{TestDatabase, one_task, settings};

fn claim_one(database: &TestDatabase, node: &str) -> (Claim, ClaimedTask) {
    database.lives(node);
    match database.store().claim_due(node, &ClaimRequest::of(1)).unwrap().claimed.remove(0) {
        Claimed::Ready(claim, task) => (claim, task),
        other => panic!("{other:?}"),
    }
}

fn success(claim: &Claim, task: &ClaimedTask) -> TaskResult {
    let at = TaskPosition { has_next: task.index + 1 < claim.total_tasks, retry_count: 0, max_retries: 0 };
    TaskResult {
        process_id: claim.process_id.clone(),
        version: claim.version,
        task_index: task.index,
        attempt: task.attempt,
        transition: after_execution(at, Ending { outcome: Outcome::Succeeded, fatal: false }),
        wait: Duration::ZERO,
        execution: ExecutionResult {
            command: Some("true".to_owned()),
            outcome: Outcome::Succeeded,
            exit_code: Some(0),
            signal: None,
            ended: Instant::now(),
            duration: Duration::from_millis(3),
            cpu: None,
            peak_memory_bytes: None,
            output: None,
            output_bytes: 0,
            error_message: None,
        },
        process_error: None,
        context: None,
    }
}

fn two_tasks(test: &str) -> TestDatabase {
    let database = TestDatabase::new(test);
    let kind =
        ProcessType::new("two", "").add_task("a", "true", ".", 1.0, 0).add_task("b", "true", ".", 1.0, 0);
    database.register(&kind);
    database
}

/// The task that goes on.
fn task(next: &Result<Next, StoreError>) -> &ClaimedTask {
    match next {
        Ok(Next::Task(task)) => task,
        other => panic!("no task goes on: {other:?}"),
    }
}

#[test]
fn a_result_whose_claim_was_taken_changes_nothing() {
    let database = two_tasks("fence");
    let id = database.start_many("two", 1).remove(0);
    let (claim, task) = claim_one(&database, "node-a");
    database
        .sql()
        .execute("UPDATE scheduled_tasks SET picked_by = 'node-b', version = version + 1", &[])
        .unwrap();
    let before = database.store().tasks(&id).unwrap();
    let recorded = database.store().record("node-a", &[success(&claim, &task)]).unwrap();
    assert!(recorded.is_empty(), "{recorded:?}");
    assert_eq!(database.store().tasks(&id).unwrap(), before);
    assert_eq!(database.count("task_executions"), 0);
    let lost =
        database.store().revoked_claims("node-a", &[(claim.process_id.clone(), claim.version)]).unwrap();
    assert_eq!(lost, [(id, claim.version)]);
}

#[test]
fn neighbours_of_a_stale_result_are_recorded() {
    let database = two_tasks("neighbours");
    database.start_many("two", 2);
    let (stale, stale_task) = claim_one(&database, "node-a");
    let (good, good_task) = claim_one(&database, "node-a");
    let results = [
        TaskResult { version: stale.version - 1, ..success(&stale, &stale_task) },
        success(&good, &good_task),
    ];
    let recorded = database.store().record("node-a", &results).unwrap();
    assert_eq!(recorded.len(), 1);
    let next = task(&recorded[&*good.process_id]);
    assert_eq!(next.name, "b");
}

#[test]
fn of_long_outputs_only_those_are_written_whose_claims_are_ours() {
    let database = two_tasks("long_outputs");
    database.start_many("two", 3);
    let claims: Vec<_> = (0..3).map(|_| claim_one(&database, "node-a")).collect();
    let printed = |at: usize| format!("{at}").repeat(5_000 * (at + 1));
    let results: Vec<_> = claims
        .iter()
        .enumerate()
        .map(|(at, (claim, task))| {
            let mut result = success(claim, task);
            result.version -= i64::from(at == 1); // another node has it by now
            result.execution.output = Some(printed(at));
            result.execution.output_bytes = printed(at).len() as u64;
            result
        })
        .collect();
    drop(database.store().record("node-a", &results[..2]).unwrap());
    drop(database.store().record_beside_locks("node-a", &results[1..]).unwrap());
    let mut client = database.sql();
    for table in ["outputs", "task_executions"] {
        let rows = client.query(&format!("SELECT process_id, output FROM {table}"), &[]).unwrap();
        let mut found: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let mut ours: Vec<_> = [0, 2].map(|at| (claims[at].0.process_id.to_string(), printed(at))).into();
        found.sort();
        ours.sort();
        assert!(
            found == ours,
            "{table}: {:?}",
            found.iter().map(|it| (&it.0, it.1.len())).collect::<Vec<_>>()
        );
    }
}

#[test]
fn what_was_committed_before_the_answer_was_lost_is_found_and_goes_on() {
    let database = two_tasks("lost_answer");
    database.start_many("two", 2);
    let (first, first_task) = claim_one(&database, "node-a");
    let (second, second_task) = claim_one(&database, "node-a");
    let results = [success(&first, &first_task), success(&second, &second_task)];
    // The first was committed, the second was not, and the node heard of neither.
    database.store().record("node-a", &results[..1]).unwrap();
    let known = database.store().recorded("node-a", &results).unwrap();
    assert_eq!(known.len(), 1);
    let next = task(&known[&*first.process_id]);
    assert_eq!((next.index, next.attempt), (1, 1));
}

#[test]
fn claims_that_were_never_begun_go_back_as_they_were() {
    let database = two_tasks("release");
    let id = database.start_many("two", 1).remove(0);
    let (claim, _) = claim_one(&database, "node-a");
    let held = [(claim.process_id.clone(), claim.version)];
    assert_eq!(database.store().release("node-b", &held).unwrap(), 0, "not its claim");
    assert_eq!(database.store().release("node-a", &held).unwrap(), 1);
    let process = database.store().process(&id).unwrap().unwrap();
    assert_eq!((process.status, process.started_at), (ProcessStatus::NotStarted, None));
    let task = database.store().tasks(&id).unwrap().remove(0);
    assert_eq!((task.attempt, task.started_at), (0, None));
    let (again, task) = claim_one(&database, "node-b");
    assert_eq!(task.attempt, 1);
    assert_eq!(again.version, claim.version + 2);
}

#[test]
fn claims_never_take_a_row_twice_and_skip_what_is_not_due() {
    let database = two_tasks("claims");
    database.start_many("two", 50);
    database
        .sql()
        .execute(
            "UPDATE scheduled_tasks SET execution_time = now() + interval '1 hour', priority = 9 \
                  WHERE task_instance IN (SELECT task_instance FROM scheduled_tasks LIMIT 20)",
            &[],
        )
        .unwrap();
    let claimed: usize = std::thread::scope(|scope| {
        let claimers: Vec<_> = (0..4)
            .map(|n| {
                let database = &database;
                scope.spawn(move || {
                    let mut store = database.store();
                    database.lives(&format!("node-{n}"));
                    (0..10)
                        .map(|_| {
                            store.claim_due(&format!("node-{n}"), &ClaimRequest::of(3)).unwrap().claimed.len()
                        })
                        .sum::<usize>()
                })
            })
            .collect();
        claimers.into_iter().map(|claimer| claimer.join().unwrap()).sum()
    });
    assert_eq!(claimed, 30);
    assert_eq!(database.count("scheduled_tasks WHERE picked AND version = 2"), 30);
    let wait = database.store().promote_due(None).unwrap().next_due.unwrap();
    assert!((3000..=3600).contains(&wait.as_secs()), "{wait:?}");
}

#[test]
fn a_claim_of_what_has_not_been_due_for_long_leaves_the_rest_and_other_priorities_as_they_are() {
    let database = TestDatabase::new("claim_within");
    database.register(&one_task("true"));
    let mut store = database.store();
    for (priority, ago_s) in [(0, 60), (0, 5), (3, 60), (3, 5), (7, 60)] {
        let options = StartOptions { priority, ..StartOptions::default() };
        let ids = store.start_processes("one-task", &[StartRequest::default()], options).unwrap();
        let late = format!(
            "UPDATE scheduled_tasks SET execution_time = now() - interval '{ago_s} s' WHERE task_instance = $1"
        );
        assert_eq!(database.sql().execute(&*late, &[&ids[0]]).unwrap(), 1);
    }
    database.lives("node");
    let mut claim = |limit, parts: &[(i32, i32, Option<Duration>)]| {
        let part = |&(lowest, highest, within)| QueuePart { lowest, highest, within };
        let parts: Vec<_> = parts.iter().map(part).collect();
        let request = ClaimRequest { parts: &parts, ..ClaimRequest::of(limit) };
        priorities_and_minutes(store.claim_due("node", &request).unwrap().claimed)
    };
    let thirty = Some(Duration::from_secs(30));
    let [above, below] = [(4, i32::MAX, None), (i32::MIN, -1, None)];
    assert_eq!(
        claim(2, &[above, (3, 3, thirty), (0, 0, thirty)]),
        [(3, 0), (7, 1)],
        "in the order of the parts"
    );
    assert_eq!(claim(9, &[above, (3, 3, thirty), (1, 2, None), (0, 0, thirty), below]), [(0, 0)]);
    assert_eq!(claim(9, &[(3, 3, None), (0, 0, thirty)]), [(3, 1)]);
    assert_eq!(claim(9, &[]), []);
    assert_eq!(claim(9, &[(i32::MIN, i32::MAX, None)]), [(0, 1)]);
}

/// What was claimed, in the order of priorities, each with the whole minutes that it has been due for.
fn priorities_and_minutes(claimed: Vec<Claimed>) -> Vec<(i32, u64)> {
    let mut claimed: Vec<_> = claimed
        .into_iter()
        .map(|one| match one {
            Claimed::Ready(claim, _) => (claim.priority, claim.queue_delay.as_secs() / 60),
            Claimed::Unreadable { error, .. } => panic!("{error}"),
        })
        .collect();
    claimed.sort_unstable();
    claimed
}

#[test]
fn a_claim_above_a_priority_takes_the_highest_and_nothing_of_that_one() {
    let database = TestDatabase::new("claim_above");
    database.register(&one_task("true"));
    let mut store = database.store();
    for priority in [i32::MIN, 0, 1, 1, 7, i32::MAX] {
        let options = StartOptions { priority, ..StartOptions::default() };
        store.start_processes("one-task", &[StartRequest::default()], options).unwrap();
    }
    let later = "UPDATE scheduled_tasks SET execution_time = now() + interval '1 hour' WHERE priority = 7";
    database.sql().batch_execute(later).unwrap();
    let part = |lowest: i32| QueuePart { lowest, ..QueuePart::WHOLE };
    database.lives("node");
    let mut claim = |limit, lowest| {
        let request = ClaimRequest { parts: &[part(lowest)], ..ClaimRequest::of(limit) };
        priorities_and_minutes(store.claim_due("node", &request).unwrap().claimed)
    };
    assert_eq!(claim(2, 1), [(1, 0), (i32::MAX, 0)]);
    let waiting = |lowest| database.store().waiting_priorities(&[part(lowest)], 9).unwrap().0;
    assert_eq!((waiting(1), waiting(0), waiting(2)), (vec![1], vec![1, 0], vec![]));
    assert_eq!(claim(9, 1), [(1, 0)]);
    assert_eq!(claim(9, 1), []);
    assert_eq!(claim(9, i32::MIN + 1), [(0, 0)]);
    assert_eq!(claim(9, i32::MIN), [(i32::MIN, 0)]);
}

#[test]
fn a_session_that_the_server_has_ended_is_known_for_that() {
    let database = TestDatabase::new("ended_session");
    let mut store = Store::open(settings(), &database.schema, &database.schema).unwrap();
    let ended = database
        .sql()
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%' || $1",
            &[&database.schema],
        )
        .unwrap();
    assert_eq!(ended, 1);
    // The server's farewell first, then the silence after it: the program ends with code 4 for both.
    for _ in 0..2 {
        let error = store.running_nodes(1).unwrap_err();
        assert!(error.is_connection_lost(), "{error}");
    }
    let refused = database.store().set_statement_timeout(Duration::MAX).unwrap_err();
    assert!(!refused.is_connection_lost(), "{refused}");
}
