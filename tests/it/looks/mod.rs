//! Looks at a long history and a long queue: what they read, whatever the statistics, and that it is right.

use jiff::{Span, Timestamp};
use process_orchestrator::store::Store;
use process_orchestrator::store::cancel::BULK_MAX;
use process_orchestrator::store::read::bulk::{BulkFilter, BulkPage};
use process_orchestrator::store::read::{Page, ProcessFilter};
use process_orchestrator::{ProcessStatus, ProcessType};

use crate::common::{TestDatabase, wait_until};

/// Pages of tables and indexes that one look may read, here where the processes with their indexes are 9,000 pages, and looked up
/// one by one 400,000.
const BUFFERS_MAX: i64 = 5_000;

const FILL: &str = include_str!("fill.sql");

/// When the tables are analyzed, if at all.
#[derive(Clone, Copy, PartialEq)]
enum Statistics {
    Never,
    WhileEmpty,
    Full,
}

fn filled(test: &str, statistics: Statistics) -> TestDatabase {
    let database = TestDatabase::alone(test);
    let mut sql = database.sql();
    let analyze = "ANALYZE processes, executions, scheduled_tasks, settled_counts";
    for table in ["processes", "executions_1", "scheduled_tasks"] {
        sql.batch_execute(&format!("ALTER TABLE {table} SET (autovacuum_enabled = off)")).unwrap();
    }
    if statistics == Statistics::WhileEmpty {
        sql.batch_execute(analyze).unwrap();
    }
    sql.batch_execute(FILL).unwrap();
    if statistics == Statistics::Full {
        sql.batch_execute(analyze).unwrap();
    }
    database
}

/// One condition: which option it is of, how it is set, and the same in SQL.
struct Condition {
    option: &'static str,
    name: &'static str,
    set: fn(&mut ProcessFilter),
    sql: String,
}

fn ago(span: Span) -> Timestamp {
    Timestamp::now() - span
}

fn statuses(filter: &mut ProcessFilter, statuses: &[ProcessStatus]) {
    filter.statuses = statuses.to_vec();
}

fn metadata(filter: &mut ProcessFilter, key: &str, value: &str) {
    filter.metadata.insert(key.to_owned(), value.into());
}

/// Times are set when the filter is made: those of the naive answer are parameters.
fn conditions() -> Vec<Condition> {
    use ProcessStatus::*;
    let ran_on = |node: &str| {
        format!(
            "(EXISTS (SELECT FROM scheduled_tasks s WHERE s.task_instance = p.process_id AND s.picked_by = '{node}') \
             OR EXISTS (SELECT FROM task_executions e WHERE e.process_id = p.process_id AND e.node_id = '{node}'))"
        )
    };
    let holds = |json: &str| format!("p.input_data -> 'metadata' @> '{json}'");
    let one = |option, name, set, sql: &str| Condition { option, name, set, sql: sql.to_owned() };
    vec![
        one("status", "not started", |f| statuses(f, &[NotStarted]), "p.status = 'NOT_STARTED'"),
        one("status", "in progress", |f| statuses(f, &[InProgress]), "p.status = 'IN_PROGRESS'"),
        one("status", "completed", |f| statuses(f, &[Completed]), "p.status = 'COMPLETED'"),
        one("status", "failed", |f| statuses(f, &[Failed]), "p.status = 'FAILED'"),
        one(
            "status",
            "two",
            |f| statuses(f, &[Cancelled, InProgress]),
            "p.status IN ('CANCELLED', 'IN_PROGRESS')",
        ),
        one("type", "etl", |f| f.process_type = Some("etl".into()), "p.process_type = 'etl'"),
        one("type", "rare", |f| f.process_type = Some("rare".into()), "p.process_type = 'rare'"),
        one("type", "held", |f| f.process_type = Some("held".into()), "p.process_type = 'held'"),
        one("node", "old", |f| f.node = Some("n5".into()), &ran_on("node-5")),
        one("node", "busy", |f| f.node = Some("node-1".into()), &ran_on("node-1")),
        one("metadata", "few", |f| metadata(f, "customer", "c1001"), &holds(r#"{"customer": "c1001"}"#)),
        one("metadata", "many", |f| metadata(f, "kind", "k1"), &holds(r#"{"kind": "k1"}"#)),
        one("prefix", "few", |f| f.id_prefix = Some("etl-1234".into()), "p.process_id LIKE 'etl-1234%'"),
        one("prefix", "many", |f| f.id_prefix = Some("etl".into()), "p.process_id LIKE 'etl%'"),
        one("search", "few", |f| f.search = Some("w1234".into()), "p.process_id LIKE '%w1234%'"),
        one("search", "many", |f| f.search = Some("e".into()), "p.process_id LIKE '%e%'"),
        one("search", "none", |f| f.search = Some("zzz".into()), "p.process_id LIKE '%zzz%'"),
        one(
            "started since",
            "1h",
            |f| f.started_since = Some(ago(Span::new().hours(1))),
            "p.started_at >= $1",
        ),
        one(
            "started before",
            "9h",
            |f| f.started_before = Some(ago(Span::new().hours(9))),
            "p.started_at < $2",
        ),
        one(
            "finished since",
            "1h",
            |f| f.finished_since = Some(ago(Span::new().hours(1))),
            "p.completed_at >= $3",
        ),
        one(
            "finished since",
            "1m",
            |f| f.finished_since = Some(ago(Span::new().minutes(1))),
            "p.completed_at >= $3",
        ),
        one(
            "finished before",
            "12h",
            |f| f.finished_before = Some(ago(Span::new().hours(12))),
            "p.completed_at < $4",
        ),
    ]
}

/// Each filter alone and each pair, with what it is.
fn alone_and_in_pairs() -> Vec<(String, ProcessFilter, String)> {
    let all = conditions();
    let mut cases = vec![("none".to_owned(), ProcessFilter::default(), "true".to_owned())];
    for (place, one) in all.iter().enumerate() {
        let mut filter = ProcessFilter::default();
        (one.set)(&mut filter);
        cases.push((format!("{} {}", one.option, one.name), filter.clone(), one.sql.clone()));
        for other in all[place + 1..].iter().filter(|other| other.option != one.option) {
            let mut both = filter.clone();
            (other.set)(&mut both);
            let name = format!("{} {} and {} {}", one.option, one.name, other.option, other.name);
            cases.push((name, both, format!("{} AND {}", one.sql, other.sql)));
        }
    }
    cases
}

/// What sessions that have ended have read of the tables of processes.
fn blocks(client: &mut postgres::Client) -> i64 {
    let sum = "SELECT pg_stat_clear_snapshot()::text, sum(coalesce(heap_blks_read, 0) + coalesce(heap_blks_hit, 0) \
        + coalesce(idx_blks_read, 0) + coalesce(idx_blks_hit, 0))::bigint FROM pg_statio_user_tables \
        WHERE relname ~ '^(processes|scheduled_tasks|settled|settled_counts|(tasks|executions|outputs)_[0-9]+)$'";
    client.batch_execute("SELECT pg_stat_clear_snapshot()").unwrap();
    client.query_one(sum, &[]).unwrap().get(1)
}

/// What `look` reads; a session tells when it ends.
fn read_by<T>(
    database: &TestDatabase,
    client: &mut postgres::Client,
    look: impl FnOnce(&mut Store) -> T,
) -> (T, i64) {
    let before = blocks(client);
    let mut store = database.store();
    let found = look(&mut store);
    let pid = store.backend_pid().unwrap() as i32;
    drop(store);
    let gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)";
    wait_until("the session has ended", || {
        client.query_one(gone, &[&pid]).unwrap().get::<_, bool>(0).then_some(())
    });
    (found, blocks(client) - before)
}

fn every_look_is_bounded(test: &str, statistics: Statistics) {
    let database = filled(test, statistics);
    let mut client = database.sql();
    let mut over = Vec::new();
    // All pairs where plans have least to go by; of the other tables some of them.
    let all = alone_and_in_pairs().into_iter().enumerate();
    let some =
        all.filter(|(n, it)| statistics == Statistics::WhileEmpty || !it.0.contains(" and ") || n % 5 == 0);
    for (name, filter, _) in some.map(|it| it.1) {
        let mut filter = ProcessFilter { limit: 50, ..filter };
        // The first page, and of those alone the next.
        for page in 1..=if name.contains(" and ") { 1 } else { 2 } {
            let (page_found, read): (Page, i64) =
                read_by(&database, &mut client, |store| store.processes(&filter).unwrap());
            if read > BUFFERS_MAX {
                over.push(format!("{name}, page {page}: {read}"));
            }
            let Some(next) = page_found.next else { break };
            filter.after = Some(next);
        }
    }
    let mut look = |name: &str, look: &mut dyn FnMut(&mut Store)| {
        let read = read_by(&database, &mut client, |store| look(store)).1;
        if read > BUFFERS_MAX {
            over.push(format!("{name}: {read}"));
        }
    };
    for status in [None, Some(ProcessStatus::NotStarted), Some(ProcessStatus::InProgress)] {
        for process_type in [None, Some("etl".to_owned()), Some("rare".to_owned())] {
            let filter = BulkFilter { process_type, status };
            look(&format!("a page of {filter:?}"), &mut |store| {
                store.unfinished_ids(&filter, None, BULK_MAX).unwrap();
            });
            look(&format!("a count of {filter:?}"), &mut |store| {
                store.count_unfinished(&filter).unwrap();
            });
        }
    }
    // Told before the next look begins.
    read_by(&database, &mut client, |store| while store.settle(0.0).unwrap() {});
    let mut look = |name: &str, look: &mut dyn FnMut(&mut Store)| {
        let read = read_by(&database, &mut client, |store| look(store)).1;
        if read > BUFFERS_MAX {
            over.push(format!("{name}: {read}"));
        }
    };
    for status in [ProcessStatus::Completed, ProcessStatus::Failed, ProcessStatus::Cancelled] {
        for process_type in [None, Some("etl".to_owned()), Some("rare".to_owned())] {
            let filter = BulkFilter { process_type: process_type.clone(), status: Some(status) };
            look(&format!("a page of {filter:?}"), &mut |store| {
                let now = store.now().unwrap();
                store.finished_ids(&filter, None, now, BULK_MAX).unwrap();
            });
            look(&format!("a count of {filter:?}"), &mut |store| {
                store.count_finished(status, process_type.as_deref()).unwrap();
            });
        }
    }
    look("the status", &mut |store| {
        store.counts().unwrap();
    });
    look("why one waits", &mut |store| {
        store.explain("etl-w29998").unwrap();
    });
    assert!(over.is_empty(), "{} looks read more than {BUFFERS_MAX} pages:\n{}", over.len(), over.join("\n"));
}

#[test]
fn no_look_reads_much_of_tables_that_were_never_analyzed() {
    every_look_is_bounded("looks_never", Statistics::Never);
}

#[test]
fn no_look_reads_much_of_tables_that_were_analyzed_while_empty() {
    every_look_is_bounded("looks_empty", Statistics::WhileEmpty);
}

#[test]
fn no_look_reads_much_of_tables_whose_statistics_are_full() {
    every_look_is_bounded("looks_full", Statistics::Full);
}

/// Page after page, with what a look through everything gives.
#[test]
fn lists_are_what_a_look_through_everything_gives() {
    const FOUND: usize = 150;
    let database = filled("looks_right", Statistics::Full);
    let (mut sql, mut store) = (database.sql(), database.store());
    for (name, filter, condition) in alone_and_in_pairs() {
        let mut filter = ProcessFilter { limit: 40, ..filter };
        let naive = format!(
            "SELECT p.process_id FROM processes p WHERE {condition} \
             AND ($1::timestamptz, $2::timestamptz, $3::timestamptz, $4::timestamptz) IS DISTINCT FROM (now(), NULL, NULL, NULL) \
             ORDER BY p.created_at DESC, p.process_id COLLATE \"C\" DESC LIMIT {FOUND}"
        );
        let times =
            [filter.started_since, filter.started_before, filter.finished_since, filter.finished_before];
        let rows = sql.query(&naive, &[&times[0], &times[1], &times[2], &times[3]]).unwrap();
        let expected: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let mut found = Vec::new();
        loop {
            let page = store.processes(&filter).unwrap();
            assert!(page.unreadable.is_empty() && page.processes.len() <= 40, "{name}");
            found.extend(page.processes.into_iter().map(|it| it.process_id));
            filter.after = page.next;
            if filter.after.is_none() || found.len() >= FOUND {
                break;
            }
        }
        found.truncate(FOUND);
        assert_eq!(found, expected, "{name}");
    }
}

/// All pages of a verb.
fn all_of(
    mut page_after: impl FnMut(Option<&process_orchestrator::store::read::bulk::BulkPlace>) -> BulkPage,
) -> Vec<String> {
    let mut page = page_after(None);
    let mut ids = Vec::new();
    loop {
        ids.append(&mut page.ids);
        let Some(next) = page.next.take() else { break };
        page = page_after(Some(&next));
    }
    ids.sort();
    ids
}

#[test]
fn the_pages_of_a_verb_hold_each_process_that_it_is_about_once_and_counts_agree() {
    let database = filled("looks_bulk", Statistics::Never);
    let (mut sql, mut store) = (database.sql(), database.store());
    sql.batch_execute(
        "UPDATE scheduled_tasks SET cancel_requested_at = now() WHERE task_instance = 'report-w301'",
    )
    .unwrap();
    while store.settle(0.0).unwrap() {}
    let now = store.now().unwrap();
    for status in
        [None, Some("NOT_STARTED"), Some("IN_PROGRESS"), Some("COMPLETED"), Some("FAILED"), Some("CANCELLED")]
    {
        for process_type in [None, Some("etl"), Some("report"), Some("rare")] {
            let filter = BulkFilter {
                process_type: process_type.map(str::to_owned),
                status: status.and_then(ProcessStatus::parse),
            };
            let is_ended = status.is_some_and(|it| ["COMPLETED", "FAILED", "CANCELLED"].contains(&it));
            let found = all_of(|after| match is_ended {
                true => store.finished_ids(&filter, after, now, BULK_MAX).unwrap(),
                false => store.unfinished_ids(&filter, after, BULK_MAX).unwrap(),
            });
            let naive = "SELECT process_id FROM processes p WHERE completed_at IS NULL = NOT $1 \
                AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR process_type = $3) \
                AND (completed_at IS NULL OR completed_at <= $4) AND process_id <> 'report-w301' ORDER BY process_id";
            let rows = sql.query(naive, &[&is_ended, &status, &process_type, &now]).unwrap();
            let expected: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            assert_eq!(found.len(), expected.len(), "{filter:?}");
            assert!(found == expected, "{filter:?}");
            if is_ended {
                let all = "SELECT count(*) FROM processes WHERE status = $1 AND ($2::text IS NULL OR process_type = $2)";
                let all: i64 = sql.query_one(all, &[&status, &process_type]).unwrap().get(0);
                assert_eq!(
                    store.count_finished(filter.status.unwrap(), process_type).unwrap(),
                    all,
                    "{filter:?}"
                );
            } else {
                let count = store.count_unfinished(&filter).unwrap();
                assert!(count.is_all && count.how_many == expected.len(), "{filter:?}: {count:?}");
            }
        }
    }
}

/// What a migration of large tables has left to be made: an index of which half is there, one that replaces another, and one of
/// a table that is gone.
#[test]
fn indexes_are_made_beside_the_work_whatever_was_broken_off() {
    let database = TestDatabase::new("looks_indexes");
    let (mut sql, mut store) = (database.sql(), database.store());
    sql.batch_execute(
        "CREATE INDEX half ON processes (priority); CREATE INDEX replaced ON processes (status); \
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'half'::regclass; \
         INSERT INTO pending_indexes VALUES ('half', 'processes', 'ON processes (priority)', NULL), \
             ('whole', 'processes', 'ON processes (status)', 'replaced'), ('gone', 'no_table', 'ON no_table (id)', NULL)",
    )
    .unwrap();
    let valid = |sql: &mut postgres::Client| -> Vec<String> {
        let query = "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             WHERE i.indisvalid AND c.relname IN ('half', 'whole', 'replaced') ORDER BY 1";
        sql.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(valid(&mut sql), ["replaced"]);
    assert_eq!(store.make_indexes().unwrap(), Some(vec!["half".to_owned(), "whole".to_owned()]));
    assert_eq!(valid(&mut sql), ["half", "whole"]);
    assert_eq!(store.make_indexes().unwrap(), Some(Vec::new()), "once");
}

/// Everything that changes what has been counted, before and after it is settled.
#[test]
fn counts_are_exact_whatever_is_pruned_retried_inserted_or_changed_by_hand() {
    let database = TestDatabase::new("looks_counts");
    let (mut sql, mut store) = (database.sql(), database.store());
    database.register(&ProcessType::new("one", "").add_task("a", "true", ".", 1.0, 0));
    sql.batch_execute(
        "INSERT INTO processes (process_id, process_type, status, total_tasks, completed_at, error_message) \
         SELECT 'p' || n, 'one', CASE WHEN n % 3 = 0 THEN 'FAILED' ELSE 'COMPLETED' END, 1, now() - n * interval '1 second', \
             CASE WHEN n % 3 = 0 THEN 'x' END FROM generate_series(1, 300) AS n",
    )
    .unwrap();
    sql.batch_execute(
        "INSERT INTO tasks (task_id, process_id, task_index, name, command, shell, timeout_minutes, max_retries, on_crash, \
             max_output_bytes, status) SELECT process_id || ':0', process_id, 0, 'a', 'true', false, 1, 0, 'rerun', 1000, status::text \
         FROM processes",
    )
    .unwrap();
    database.start_many("one", 5);
    let mut check = |what: &str, settle: bool| {
        if settle {
            while store.settle(0.0).unwrap() {}
        }
        let counted: Vec<(String, String, i64)> = store
            .counts()
            .unwrap()
            .processes
            .by_type
            .into_iter()
            .filter(|it| it.1 > 0)
            .map(|((process_type, status), count)| (process_type, status.to_string(), count))
            .collect();
        let naive = "SELECT process_type, status::text, count(*) FROM processes GROUP BY 1, 2";
        let rows = database.sql().query(naive, &[]).unwrap();
        let mut expected: Vec<(String, String, i64)> =
            rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        let mut counted = counted;
        counted.sort();
        expected.sort();
        assert_eq!(counted, expected, "{what}");
    };
    check("before anything was settled", false);
    check("settled", true);
    let until = |client: &mut postgres::Client| -> bool {
        client.query_one("SELECT until > now() - interval '2 minutes' FROM settled", &[]).unwrap().get(0)
    };
    assert!(until(&mut sql), "the counts have been moved on");
    for (what, statement) in [
        ("deleted", "DELETE FROM processes WHERE process_id IN ('p3', 'p250', 'p200')"),
        ("changed by hand", "UPDATE processes SET status = 'CANCELLED' WHERE process_id IN ('p6', 'p252')"),
        (
            "moved to another type",
            "UPDATE processes SET process_type = 'other' WHERE process_id IN ('p9', 'p255')",
        ),
        ("retried", "SELECT * FROM retry_processes(ARRAY['p12', 'p258'])"),
        ("ended later than settled", "UPDATE processes SET completed_at = now() WHERE process_id = 'p261'"),
        (
            "ended long ago by hand, or in a transaction that took long",
            "WITH one AS (DELETE FROM scheduled_tasks WHERE task_instance = (SELECT min(task_instance) FROM scheduled_tasks \
                 WHERE task_instance NOT LIKE 'p%') RETURNING task_instance) \
             UPDATE processes SET status = 'COMPLETED', completed_at = now() - interval '1 hour' FROM one \
             WHERE process_id = task_instance",
        ),
        (
            "inserted with an old end",
            "INSERT INTO processes (process_id, process_type, status, total_tasks, completed_at) \
             SELECT 'q' || n, 'one', 'COMPLETED', 1, now() - n * interval '1 second' FROM generate_series(1, 300) AS n",
        ),
        (
            "ended at one moment, more than are counted at once",
            "INSERT INTO processes (process_id, process_type, status, total_tasks, completed_at) \
             SELECT 'r' || n, 'one', 'COMPLETED', 1, now() - interval '1 day' FROM generate_series(1, 100010) AS n",
        ),
    ] {
        sql.batch_execute(statement).unwrap();
        check(what, false);
        check(what, true);
        assert!(until(&mut sql), "{what}: the counts have been moved on");
    }
    sql.batch_execute("UPDATE settled SET until = now() + interval '1 hour'").unwrap();
    check("counted while the clock was ahead", true);
    sql.batch_execute("BEGIN; DELETE FROM processes WHERE process_id IN ('p270', 'q299'); ROLLBACK").unwrap();
    check("rolled back", true);
    sql.batch_execute("TRUNCATE processes, scheduled_tasks").unwrap();
    check("truncated", false);
    check("truncated", true);
}
