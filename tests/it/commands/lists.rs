//! Filters of the list of processes, held against a plain look at every process.

use jiff::{SignedDuration, Timestamp};
use process_orchestrator::http::Endpoint;
use process_orchestrator::store::Store;
use process_orchestrator::store::read::{Include, ProcessFilter};
use process_orchestrator::{ProcessData, ProcessStatus};

use crate::common::{TestDatabase, one_task};
use crate::http::get_ok;
use crate::program::Bench;

/// 300 processes of three types in every status, over ten hours; two nodes, one of which has been there twice.
const FILL: &str = "
    INSERT INTO nodes (node_id, name, host, pid, version, executors, state, started_at, last_heartbeat, lease_seconds)
    SELECT 'n-' || n, CASE WHEN n = 3 THEN 'other' ELSE 'here' END, 'h', 1, '0', 4, 'STOPPED', now() - interval '1 day',
        now(), 300
    FROM generate_series(1, 3) AS n;
    INSERT INTO processes (process_id, process_type, status, total_tasks, input_data, started_at, completed_at,
        error_message, created_at)
    SELECT 'p-' || n, 't-' || n % 3, status, 1,
        CASE WHEN n % 4 > 0 THEN jsonb_build_object('metadata',
            jsonb_build_object('order', (n % 50)::text, 'source', 'legacy')) ELSE '{}' END,
        CASE WHEN status <> 'NOT_STARTED' THEN created + interval '1 minute' END,
        CASE WHEN status IN ('COMPLETED', 'FAILED', 'CANCELLED') THEN created + n % 7 * interval '30 minutes' END,
        CASE WHEN status IN ('FAILED', 'CANCELLED') THEN 'why' END, created
    FROM (SELECT n, (ARRAY['NOT_STARTED', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'CANCELLED'])[1 + n * 7 % 5] AS status,
        now() - interval '10 hours' + n * interval '2 minutes' AS created FROM generate_series(1, 300) AS n) AS made;
    INSERT INTO scheduled_tasks (task_name, task_instance, execution_time, picked, picked_by, version)
    SELECT process_type, process_id, now(), right(process_id, 1) = '1' AND status = 'IN_PROGRESS',
        CASE WHEN right(process_id, 1) = '1' AND status = 'IN_PROGRESS' THEN 'n-1' END,
        CASE WHEN status = 'NOT_STARTED' THEN 1 ELSE 2 END
    FROM processes WHERE completed_at IS NULL;
    INSERT INTO task_executions (process_id, task_index, attempt, node_id, outcome, started_at, completed_at,
        duration_ms, output_bytes)
    SELECT process_id, 0, 1, 'n-' || 1 + length(process_id) % 3, 'SUCCEEDED', now(), now(), 1, 0
    FROM processes WHERE completed_at IS NOT NULL";

fn walk(store: &mut Store, filter: &ProcessFilter) -> Vec<String> {
    let (mut ids, mut filter) = (Vec::new(), ProcessFilter { limit: 37, ..filter.clone() });
    loop {
        let page = store.processes(&filter).unwrap();
        ids.extend(page.processes.into_iter().map(|it| it.process_id));
        match page.next {
            Some(next) => filter.after = Some(next),
            None => return ids,
        }
    }
}

fn fits(process: &ProcessData, ran_on: &str, filter: &ProcessFilter) -> bool {
    let since = |time: Option<Timestamp>, bound: Option<Timestamp>| {
        bound.is_none_or(|bound| time.is_some_and(|time| time >= bound))
    };
    let before = |time: Option<Timestamp>, bound: Option<Timestamp>| {
        bound.is_none_or(|bound| time.is_some_and(|time| time < bound))
    };
    let nodes: &[&str] = match filter.node.as_deref() {
        None => &["", "n-1", "n-2", "n-3"],
        Some("here") => &["n-1", "n-2"],
        Some("other") => &["n-3"],
        Some(id) => &[["n-1", "n-2", "n-3"].into_iter().find(|it| *it == id).unwrap_or("none")],
    };
    (filter.statuses.is_empty() || filter.statuses.contains(&process.status))
        && filter.process_type.as_ref().is_none_or(|it| *it == process.process_type)
        && since(process.started_at, filter.started_since)
        && before(process.started_at, filter.started_before)
        && since(process.completed_at, filter.finished_since)
        && before(process.completed_at, filter.finished_before)
        && filter.metadata.iter().all(|(key, value)| process.input_data["metadata"][key] == *value)
        && filter.id_prefix.as_ref().is_none_or(|it| process.process_id.starts_with(it))
        && filter.search.as_ref().is_none_or(|it| process.process_id.contains(it))
        && (nodes.contains(&ran_on) || process.picked_by.as_deref().is_some_and(|it| nodes.contains(&it)))
}

/// Every condition alone, and each with every other.
fn filters() -> Vec<ProcessFilter> {
    use ProcessStatus::{Completed, Failed, InProgress, NotStarted};
    let ago = |minutes| Some(Timestamp::now() - SignedDuration::from_mins(minutes));
    let metadata = |key: &str, value: &str| [(key.to_owned(), value.into())].into_iter().collect();
    let none = || ProcessFilter { include: Include::ALL, ..ProcessFilter::default() };
    let single = vec![
        none(),
        ProcessFilter { statuses: vec![InProgress], ..none() },
        ProcessFilter { statuses: vec![NotStarted, InProgress], ..none() },
        ProcessFilter { statuses: vec![Failed], ..none() },
        ProcessFilter { statuses: vec![InProgress, Failed], ..none() },
        ProcessFilter { statuses: vec![NotStarted, Completed], ..none() },
        ProcessFilter { process_type: Some("t-1".to_owned()), ..none() },
        ProcessFilter { process_type: Some("nobody".to_owned()), ..none() },
        ProcessFilter { node: Some("here".to_owned()), ..none() },
        ProcessFilter { node: Some("n-3".to_owned()), ..none() },
        ProcessFilter { node: Some("nobody".to_owned()), ..none() },
        ProcessFilter { started_since: ago(300), ..none() },
        ProcessFilter { started_before: ago(300), ..none() },
        ProcessFilter { finished_since: ago(200), ..none() },
        ProcessFilter { finished_before: ago(400), ..none() },
        ProcessFilter { finished_since: ago(400), finished_before: ago(200), ..none() },
        ProcessFilter { metadata: metadata("order", "7"), ..none() },
        ProcessFilter { metadata: metadata("source", "legacy"), ..none() },
        ProcessFilter { metadata: metadata("order", ""), ..none() },
        ProcessFilter { id_prefix: Some("p-2".to_owned()), ..none() },
        ProcessFilter { id_prefix: Some("p_".to_owned()), ..none() },
        ProcessFilter { search: Some("-1".to_owned()), ..none() },
        ProcessFilter { search: Some("%7".to_owned()), ..none() },
    ];
    let mut all = single.clone();
    for (place, one) in single.iter().enumerate() {
        for other in &single[place + 1..] {
            all.push(ProcessFilter {
                statuses: if one.statuses.is_empty() { other.statuses.clone() } else { one.statuses.clone() },
                process_type: one.process_type.clone().or_else(|| other.process_type.clone()),
                node: one.node.clone().or_else(|| other.node.clone()),
                started_since: one.started_since.or(other.started_since),
                started_before: one.started_before.or(other.started_before),
                finished_since: one.finished_since.or(other.finished_since),
                finished_before: one.finished_before.or(other.finished_before),
                id_prefix: one.id_prefix.clone().or_else(|| other.id_prefix.clone()),
                search: one.search.clone().or_else(|| other.search.clone()),
                metadata: one.metadata.clone().into_iter().chain(other.metadata.clone()).collect(),
                ..none()
            });
        }
    }
    all
}

#[test]
fn every_filter_gives_what_a_look_at_each_process_gives() {
    let database = TestDatabase::new("lists");
    database.sql().batch_execute(FILL).unwrap();
    let mut store = database.store();
    let all = store
        .processes(&ProcessFilter { limit: 1000, include: Include::ALL, ..ProcessFilter::default() })
        .unwrap()
        .processes;
    assert_eq!(all.len(), 300);
    let rows = database.sql().query("SELECT process_id, node_id FROM task_executions", &[]).unwrap();
    let ran_on: std::collections::HashMap<String, String> =
        rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut matched = 0;
    for filter in filters() {
        let node = |it: &ProcessData| ran_on.get(&it.process_id).map_or("", String::as_str).to_owned();
        let expected: Vec<&str> =
            all.iter().filter(|it| fits(it, &node(it), &filter)).map(|it| it.process_id.as_str()).collect();
        assert_eq!(walk(&mut store, &filter), expected, "{filter:?}");
        matched += expected.len();
    }
    assert!(matched > 2000, "the filters matched {matched} only");
    assert!(store.knows_node("here").unwrap() && !store.knows_node("nobody").unwrap());
}

/// More than one look goes through.
const LONG_HISTORY: &str = "
    INSERT INTO processes (process_id, process_type, status, total_tasks, completed_at, created_at)
    SELECT 'p-' || n, 't', 'COMPLETED', 1, now(), now() - n * interval '1 second' FROM generate_series(1, 200300) AS n";

#[test]
fn a_part_of_an_id_is_searched_for_in_looks_that_end_and_by_the_command_through_all() {
    let bench = Bench::with_tables("lists_search");
    bench.database.sql().batch_execute(LONG_HISTORY).unwrap();
    let mut store = bench.database.store();
    let filter = ProcessFilter { search: Some("-200250".to_owned()), ..ProcessFilter::default() };
    let mut page = store.processes(&filter).unwrap();
    assert_eq!(page.processes, []);
    let next = page.next.as_ref().expect("where it goes on");
    assert!(next.to_string().ends_with(".p-40000"), "{next}");
    let (mut found, mut looks) = (Vec::new(), 1);
    while page.next.is_some() {
        page = store.processes(&ProcessFilter { after: page.next, ..filter.clone() }).unwrap();
        found.extend(page.processes.into_iter().map(|it| it.process_id));
        looks += 1;
    }
    assert_eq!((found.as_slice(), looks), (&["p-200250".to_owned()][..], 6));
    // An index leads there at once.
    let filter =
        ProcessFilter { id_prefix: Some("p-20025".to_owned()), search: Some("50".to_owned()), ..filter };
    let page = store.processes(&filter).unwrap();
    assert_eq!((page.processes.len(), page.next), (1, None));
    let list = |words: &[&str]| -> Vec<String> {
        let page = bench.run(&[&["list", "--json"], words].concat()).expect(0).json();
        assert!(page["next"].is_null(), "{page}");
        let ids = page["processes"].as_array().unwrap().iter();
        ids.map(|it| it["process_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(list(&["--search", "200250"]), ["p-200250"]);
    assert_eq!(list(&["--search", "20025"]).len(), 12, "20025, 120025, and 200250 to 200259");
    assert_eq!(list(&["--id-prefix", "p-20025", "--search", "59"]), ["p-200259"]);
    assert_eq!(list(&["--id-prefix", "-20025"]), [""; 0]);
    let refused = bench.run(&["list", "--search", ""]).expect(2);
    assert!(refused.err.contains("write a part of an id"), "{refused:?}");
}

#[test]
fn metadata_is_any_text_and_may_be_empty() {
    let bench = Bench::with_tables("lists_metadata");
    bench.database.register(&one_task("true"));
    for (id, value) in [("empty", ""), ("blanks", " a  b "), ("lines", "a\nb=c"), ("other", "x")] {
        let metadata = format!("order id={value}");
        bench.run(&["start", "one-task", "--process-id", id, "--metadata", &metadata]).expect(0);
    }
    let source = std::sync::Arc::clone(&bench.database.source);
    let listen = ([127, 0, 0, 1], 0).into();
    let endpoint = Endpoint::start(listen, source, bench.database.schema.clone(), None, None).unwrap();
    for (id, value, encoded) in
        [("empty", "", ""), ("blanks", " a  b ", "+a++b+"), ("lines", "a\nb=c", "a%0Ab=c")]
    {
        let listed = bench.run(&["list", "--json", "--metadata", &format!("order id={value}")]).expect(0);
        let page = get_ok(&endpoint, &format!("/processes?metadata.order+id={encoded}"));
        for page in [listed.json(), page] {
            assert_eq!(page["processes"].as_array().map(Vec::len), Some(1), "{page}");
            assert_eq!(page["processes"][0]["process_id"], id);
        }
    }
    endpoint.stop();
}
