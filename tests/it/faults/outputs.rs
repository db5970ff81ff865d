//! What commands print, of every length and kind, arrives whole and lies there once, whatever happens at its record.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use process_orchestrator::ProcessType;
use process_orchestrator::database::Pooler;
use process_orchestrator::platform::resident_memory;

use super::world::World;
use crate::common::{script, wait_until};

const LENGTHS: [usize; 9] = [1, 1023, 1024, 1025, 2_100, 10_000, 65_537, 300_000, 1_000_000];
const MIB: u64 = 1024 * 1024;

/// Bytes that a command prints, and the text that is to be read: of each kind, `length` bytes long or a little less.
fn kinds(length: usize) -> [(Vec<u8>, String); 3] {
    let log: String = (0..)
        .flat_map(|n| format!("line {n} of a log, and so on\n").into_bytes())
        .map(char::from)
        .take(length)
        .collect();
    let mut chance = fastrand::Rng::with_seed(length as u64);
    let random: String = (0..length).map(|_| char::from(chance.u8(b' '..=b'~'))).collect();
    // A character of three bytes, one that is replaced, and a byte that is.
    let odd = "€\u{0}".bytes().chain([0xff]).cycle().take(length / 5 * 5).collect::<Vec<u8>>();
    let replaced = "€\u{fffd}\u{fffd}".repeat(length / 5);
    [(log.clone().into_bytes(), log), (random.clone().into_bytes(), random), (odd, replaced)]
}

/// Scripts that print all that, and what is to be read of each.
fn printing(world: &World) -> (Vec<String>, Vec<String>) {
    let all = LENGTHS.into_iter().flat_map(kinds).filter(|(bytes, _)| !bytes.is_empty());
    all.enumerate()
        .map(|(at, (bytes, text))| (format!("cat {}", file(world, at, &bytes).display()), text))
        .unzip()
}

fn file(world: &World, at: usize, bytes: &[u8]) -> PathBuf {
    let path = world.bench.folder.join(format!("printed-{at}"));
    fs::write(&path, bytes).unwrap();
    path
}

/// That each task's output is what it is to be, in both places where it is read, and lies in the tables once.
fn assert_whole_and_once(world: &World, ids: &[String], expected: &[String]) {
    let mut client = world.sql();
    let texts = |rows: Vec<postgres::Row>| -> BTreeMap<(String, usize), String> {
        let key = |row: &postgres::Row| (row.get(0), usize::try_from(row.get::<_, i32>(1)).unwrap());
        rows.iter().map(|row| (key(row), row.get::<_, Option<String>>(2).unwrap_or_default())).collect()
    };
    for table in ["tasks", "task_executions"] {
        let found =
            texts(client.query(&format!("SELECT process_id, task_index, output FROM {table}"), &[]).unwrap());
        assert_eq!(found.len(), ids.len() * expected.len(), "{table}");
        for ((id, index), text) in &found {
            let right = text == &expected[*index];
            assert!(
                right,
                "{table}: task {index} of {id} has {} bytes of {}",
                text.len(),
                expected[*index].len()
            );
        }
    }
    let printed: usize = expected.iter().map(String::len).sum();
    let stored: i64 = client
        .query_one(
            "SELECT (SELECT coalesce(sum(octet_length(output)), 0) FROM executions) \
             + (SELECT coalesce(sum(octet_length(output)), 0) FROM outputs) \
             + (SELECT coalesce(sum(octet_length(output)), 0) FROM all_tasks)",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(usize::try_from(stored).unwrap(), ids.len() * printed, "each is written once");
    let long = expected.iter().filter(|it| it.len() > 1024).count() * ids.len();
    assert_eq!(usize::try_from(world.count("outputs")).unwrap(), long, "short ones lie with their execution");
}

#[test]
fn outputs_of_every_length_and_kind_arrive_whole_and_lie_there_once() {
    // On sessions that a pooler lends they go another way.
    for (test, pooler) in [("outputs_whole", Pooler::Auto), ("outputs_lent", Pooler::Transaction)] {
        let world = World::new(test);
        let (scripts, expected) = printing(&world);
        let ids = world.start("prints", 3, &scripts.iter().map(String::as_str).collect::<Vec<_>>());
        let node = world.node(&world.settings.clone().with_pooler(pooler), world.config());
        world.wait_for_all(&ids);
        node.stop();
        assert_whole_and_once(&world, &ids, &expected);
    }
}

#[test]
fn outputs_whose_record_is_lost_on_the_way_are_written_once() {
    // Lost before the outputs follow nothing is committed; lost with the commit's answer all is.
    for (test, statement) in [("outputs_begun", "INSERT INTO executions"), ("outputs_commit", "COMMIT")] {
        let world = World::new(test);
        let proxy = world.proxy();
        let text = kinds(100_000)[1].1.clone();
        let script = format!("cat {}", file(&world, 0, text.as_bytes()).display());
        let ids = world.start("prints", 6, &[&script, &script]);
        let sprung = proxy.lose_answer_to(statement);
        let node = world.node(&world.through(&proxy), world.config());
        wait_until("the answer was lost", || sprung.load(Ordering::SeqCst).then_some(()));
        world.wait_for_all(&ids);
        node.stop();
        world.assert_ran_once(&ids, 2);
        assert_whole_and_once(&world, &ids, &[text.clone(), text]);
    }
}

#[test]
fn each_attempt_has_its_own_output_and_the_task_that_of_the_last() {
    let world = World::new("outputs_retried");
    let long = kinds(20_000)[0].1.clone();
    let printed = file(&world, 0, long.as_bytes());
    let text = format!("cat {}; echo attempt $TASK_ATTEMPT; [ $TASK_ATTEMPT -eq 3 ]", printed.display());
    let mut task = script("prints", &text);
    task.max_retries = 2;
    task.retry.initial_delay = Duration::from_millis(1);
    let mut store = world.store();
    store.register(&ProcessType::new("retried", "").add(task)).unwrap();
    let ids = store.start_processes("retried", &[Default::default()], Default::default()).unwrap();
    let node = world.node(&world.settings, world.config());
    world.wait_for_all(&ids);
    node.stop();
    let mut client = world.sql();
    let rows = client.query("SELECT attempt, output FROM task_executions ORDER BY attempt", &[]).unwrap();
    let found: Vec<(i32, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected = [1, 2, 3].map(|it| (it, format!("{long}attempt {it}\n")));
    assert!(found == expected, "{:?}", found.iter().map(|it| (it.0, it.1.len())).collect::<Vec<_>>());
    let last: String = client.query_one("SELECT output FROM tasks", &[]).unwrap().get(0);
    assert_eq!(last, expected[2].1);
}

#[test]
fn a_node_that_has_recorded_much_output_gives_its_memory_back() {
    let mut world = World::new("outputs_memory");
    let text = kinds(1_000_000)[1].1.clone();
    let (large, middle) = (file(&world, 0, text.as_bytes()), file(&world, 1, &text.as_bytes()[..100_000]));
    let mut serve = world.serve(&["--no-http", "--executors", "32"], &[]);
    let resident = |serve: &super::world::Serve| resident_memory(serve.pid()).unwrap();
    let fresh = resident(&serve).bytes;
    let (large, middle) = (format!("cat {}", large.display()), format!("cat {}", middle.display()));
    let ids = world.start("prints", 60, &[&large, &middle, &middle, &large]);
    world.wait_for_all(&ids);
    let peak = resident(&serve).peak_bytes;
    // 32 commands and the results that wait, each of 1 MB at the most; the same again is what a slow machine may need.
    assert!(peak < fresh + 128 * MIB, "{} MiB at the peak, {} MiB before", peak / MIB, fresh / MIB);
    wait_until("memory goes back", || (resident(&serve).bytes < fresh + 12 * MIB).then_some(()));
    serve.stop();
}
