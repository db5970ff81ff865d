//! The output of a running command, seen from elsewhere.

use std::fs;
use std::time::Duration;

use process_orchestrator::engine::NodeConfig;
use process_orchestrator::{ProcessInputData, ProcessType};

use crate::common::{TestDatabase, script, wait_until};

#[test]
fn what_a_running_command_has_printed_is_seen_from_elsewhere_and_gone_when_it_has_ended() {
    let database = TestDatabase::new("live");
    let go = |which: &str| std::env::temp_dir().join(format!("{}-{which}", database.schema));
    let until = |which| format!("while [ ! -e '{}' ]; do sleep 0.05; done", go(which).display());
    let wait = format!("printf first; {}; printf more; {}", until("one"), until("two"));
    database.register(&ProcessType::new("slow", "").add(script("print", &wait)));
    let id = database.start("slow", ProcessInputData::new());
    let node = database.node_with(NodeConfig {
        heartbeat: Duration::from_millis(200),
        dead_after: Duration::from_secs(1),
        ..database.config()
    });
    let mut store = database.store();
    let live = wait_until("the output is seen", || store.live(&id).unwrap());
    assert_eq!((live.task_index, live.attempt, live.output_bytes), (0, 1, 5));
    assert_eq!(live.tail, b"first");
    assert!(live.memory_bytes.is_some_and(|bytes| bytes > 100_000), "{live:?}");
    assert!(live.started_at < live.updated_at, "{live:?}");
    let printed = live.printed_at.expect("it has printed");
    assert!(printed >= live.started_at && printed <= live.updated_at, "{live:?}");
    let first = live.started_at;
    fs::write(go("one"), "").unwrap();
    let later = wait_until("more is seen", || store.live(&id).unwrap().filter(|it| it.output_bytes > 5));
    assert_eq!((later.started_at, &*later.tail), (first, &b"firstmore"[..]));
    assert!(later.printed_at.is_some_and(|it| it > printed), "{later:?}");

    fs::write(go("two"), "").unwrap();
    database.wait_for(&id);
    assert_eq!(store.live(&id).unwrap(), None);
    wait_until("the row is gone", || (database.count("live_output") == 0).then_some(()));
    node.stop();
    for which in ["one", "two"] {
        fs::remove_file(go(which)).unwrap();
    }
}

/// Two tasks in a row that print equally much look alike but for their place.
#[test]
fn the_next_task_is_seen_as_soon_as_the_one_before_it() {
    let database = TestDatabase::new("live_next");
    let gate = |which: &str| std::env::temp_dir().join(format!("{}-{which}", database.schema));
    let until = |which| format!("while [ ! -e '{}' ]; do sleep 0.05; done", gate(which).display());
    let process_type = ProcessType::new("two", "")
        .add(script("first", &format!("printf one; {}", until("a"))))
        .add(script("second", &format!("printf two; {}", until("b"))));
    database.register(&process_type);
    let id = database.start("two", ProcessInputData::new());
    let node = database.node_with(NodeConfig {
        heartbeat: Duration::from_millis(200),
        dead_after: Duration::from_secs(1),
        ..database.config()
    });
    let mut store = database.store();
    wait_until("the first is seen", || store.live(&id).unwrap());
    fs::write(gate("a"), "").unwrap();
    let began = std::time::Instant::now();
    let live = wait_until("the second is seen", || store.live(&id).unwrap().filter(|it| it.task_index == 1));
    let took = began.elapsed();
    assert_eq!(live.tail, b"two");
    fs::write(gate("b"), "").unwrap();
    database.wait_for(&id);
    node.stop();
    for which in ["a", "b"] {
        fs::remove_file(gate(which)).unwrap();
    }
    // A command is shown when it is a second old; one that seems to be known is shown again after ten.
    assert!(took < Duration::from_secs(8), "{took:?}");
}
