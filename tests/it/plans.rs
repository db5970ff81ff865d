//! The plans of the engine's statements, made at the worst moment: while the statistics know of no rows.

use std::collections::HashSet;
use std::path::Path;

use postgres::SimpleQueryMessage;
use process_orchestrator::ProcessType;
use serde_json::Value;

use crate::common::{TestDatabase, wait_until};

/// Whether it holds thousands of rows or millions: of an era, or of all.
fn is_large(table: &str) -> bool {
    ["processes", "scheduled_tasks"].contains(&table)
        || ["tasks_", "executions_", "outputs_"]
            .iter()
            .any(|it| table.strip_prefix(it).is_some_and(|number| number.parse::<i32>().is_ok()))
}

/// What `Store::open_hot` sets, as far as plans depend on it.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; \
    SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";

/// A statement that joins, and how many of its scans may have no condition: claims begin with the highest priority
/// that waits.
struct Joins(&'static str, &'static str, usize);

macro_rules! joins {
    ($($name:literal $whole:literal),+ $(,)?) => {
        [$(Joins($name, include_str!(concat!("../../sql/", $name, ".sql")), $whole)),+]
    };
}

const STATEMENTS: [Joins; 17] = joins![
    "queue/claim" 0, "queue/claim_one" 0, "queue/record" 0, "queue/release" 0, "queue/recorded" 0, "queue/revoked_claims" 0, "nodes/abandoned_claims" 0,
    "queue/quarantine" 0, "queue/quarantine_unclaimed" 0, "nodes/rejoin" 1, "queue/promote" 0, "queue/waiting_priorities" 0,
    "queue/hold_paused" 1, "queue/release_held" 0, "queue/lock_free" 0, "queue/claimable" 0, "queue/waiting_types" 0,
];

fn analyzed_while_empty(test: &str) -> TestDatabase {
    let database = TestDatabase::alone(test);
    // Several eras whose processes have not ended: what is read of each would be read of all.
    for _ in 0..3 {
        database.sql().batch_execute("SELECT use_era(add_era('STARTED'))").unwrap();
    }
    let analyze = "ANALYZE processes, all_tasks, executions, outputs, scheduled_tasks";
    database.sql().batch_execute(analyze).unwrap();
    database
}

/// The tables that a plan reads as a whole, by the names they have in the statement.
fn whole_scans(plan: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let relation = plan["Relation Name"].as_str().unwrap_or_default();
    let reads = plan["Node Type"].as_str().unwrap_or_default().ends_with("Scan");
    if reads && is_large(relation) && plan["Index Cond"].is_null() {
        found.push(format!("{relation} {}", plan["Alias"]));
    }
    for below in plan["Plans"].as_array().into_iter().flatten() {
        found.extend(whole_scans(below));
    }
    found
}

#[test]
fn statements_that_join_descend_an_index_for_each_row_though_the_tables_were_empty_when_they_were_planned() {
    let database = analyzed_while_empty("plans_empty");
    let mut client = database.sql();
    client.batch_execute(SETTINGS).unwrap();
    for Joins(name, text, allowed) in STATEMENTS {
        let parameters = (1..).take_while(|n| text.contains(&format!("${n}"))).count();
        let nulls = vec!["NULL"; parameters].join(", ");
        let list = if parameters == 0 { String::new() } else { format!("({nulls})") };
        let explain = format!("PREPARE it AS {text};\nEXPLAIN (FORMAT JSON) EXECUTE it {list}");
        let answers = client.simple_query(&explain).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        client.batch_execute("DEALLOCATE it").unwrap();
        let lines = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        let plan: Value = serde_json::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap();
        let found = whole_scans(&plan[0]["Plan"]);
        assert_eq!(found.len(), allowed, "{name} reads {found:?} as a whole:\n{plan:#}");
    }
}

/// Views are for people and for programs of the release before, and of the history a node knows nothing: however many eras
/// there are, its statements look at those that are open.
#[test]
fn the_engines_statements_name_no_tasks_but_those_that_are_open() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    let files = ["queue", "nodes"].map(|name| std::fs::read_dir(folder.join(name)).unwrap());
    let files: Vec<_> = files.into_iter().flatten().map(|file| file.unwrap().path()).collect();
    assert!(files.len() > 20);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.lines().map(|line| line.split("--").next().unwrap_or_default());
        let found: Vec<&str> = code
            .flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'))
            .filter(|word| ["tasks", "all_tasks", "task_executions"].contains(word))
            .collect();
        assert_eq!(found, Vec::<&str>::new(), "{}", file.display());
    }
}

/// What a node reads is in proportion to what it does; read as a whole for each claim or batch, each of these indexes
/// would be read hundreds of times.
#[test]
fn a_node_that_began_on_empty_tables_reads_no_more_as_they_grow() {
    const PROCESSES: usize = 1500;
    /// Descents for a task and its process: the claim's, the record's, what the keeper looks at.
    const READ_FOR_EACH_TASK: i64 = 30;
    let database = analyzed_while_empty("plans_grow");
    database.register(
        &ProcessType::new("two", "").add_task("a", "true", ".", 1.0, 0).add_task("b", "true", ".", 1.0, 0),
    );
    let node = database.node();
    let first = database.start_many("two", 1).remove(0);
    database.wait_for(&first);
    database.start_many("two", PROCESSES);
    wait_until("all have ended", || (database.count("scheduled_tasks") == 0).then_some(()));
    node.stop();

    // The sessions that have ended told what they read.
    let query = "SELECT indexrelname::text, idx_tup_read, relname::text FROM pg_stat_user_indexes \
        WHERE schemaname = current_schema()";
    let read = |client: &mut postgres::Client| {
        let rows = client.query(query, &[]).unwrap();
        let large = rows.iter().filter(|row| is_large(row.get(2)));
        large.map(|row| (row.get::<_, String>(0), row.get::<_, i64>(1))).collect::<Vec<_>>()
    };
    let mut client = database.sql();
    let counts = wait_until("the reads are told", || {
        client.batch_execute("SELECT pg_stat_clear_snapshot()").unwrap();
        let counts = read(&mut client);
        let total: i64 = counts.iter().map(|(_, count)| count).sum();
        (total >= 4 * PROCESSES as i64).then_some(counts)
    });
    let tasks = 2 * PROCESSES as i64;
    let seen: HashSet<&str> = counts.iter().map(|(name, _)| name.as_str()).collect();
    for index in ["tasks_5_pkey", "processes_pkey", "scheduled_tasks_ready", "scheduled_tasks_scheduled"] {
        assert!(seen.contains(index), "{index}: {counts:?}");
    }
    for (name, count) in &counts {
        assert!(*count <= READ_FOR_EACH_TASK * tasks, "{name} was read {count} times for {tasks} tasks");
    }
}
