//! What is done before finished processes are deleted, which of them go, and outputs that go alone.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use process_orchestrator::{ProcessInputData, ProcessType, TaskDefinition};
use serde_json::{Value, json};

use super::many::LIMITED;
use crate::common::{one_task, script, wait_until};
use crate::program::{Bench, ended, signal, until_line};

/// The whole files of an archive, the oldest first.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|it| it.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|it| !it.file_name().unwrap().to_str().unwrap().starts_with('.')).collect();
    files.sort();
    files
}

/// The lines of all files, as a person would read them.
fn lines(directory: &Path) -> Vec<Value> {
    let read = |path: PathBuf| {
        let zcat = Command::new("gzip").arg("-dc").arg(&path).output().unwrap();
        assert!(zcat.status.success(), "{zcat:?}");
        String::from_utf8(zcat.stdout).unwrap()
    };
    let texts: Vec<String> = files(directory).into_iter().map(read).collect();
    texts.iter().flat_map(|it| it.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `show` and `logs` say of a process, as its line is to be.
fn shown(bench: &Bench, id: &str) -> Value {
    let mut document = bench.run(&["show", id, "--json"]).expect(0).json();
    document["executions"] = bench.run(&["logs", id, "--json"]).expect(0).json()["executions"].take();
    document
}

fn finished(bench: &Bench, process_type: &ProcessType, how_many: usize) -> Vec<String> {
    bench.database.register(process_type);
    let ids = bench.database.start_many(&process_type.name, how_many);
    let node = bench.database.node();
    ids.iter().for_each(|id| drop(bench.database.wait_for(id)));
    node.stop();
    ids
}

fn named(name: &str, task: TaskDefinition) -> ProcessType {
    ProcessType::new(name, "").add(task)
}

fn set(bench: &Bench, sql: &str) {
    bench.database.sql().batch_execute(sql).unwrap();
}

#[test]
fn what_is_deleted_is_in_the_archive_as_it_was_shown_whatever_its_size() {
    let bench = Bench::with_tables("archive_whole");
    let mut ids = finished(
        &bench,
        &named("small", script("only", "printf 'a\"\\\\\\nä'; exit ${config.code:-0}")),
        230,
    );
    let failing = TaskDefinition {
        max_retries: 1,
        ..script("again", "echo no; echo k=v >> $PROCESS_CONTEXT_FILE; exit 3")
    };
    ids.extend(finished(&bench, &named("failing", failing).add(script("never", "true")), 1));
    // One with 40 outputs of a megabyte, the last of more, and a context of 15 MB.
    let large = finished(&bench, &named("large", script("only", "true")), 1).remove(0);
    set(&bench, &format!(
        "UPDATE processes SET process_context = (SELECT jsonb_object_agg('k' || k, repeat('xy', 75000)) FROM generate_series(1, 100) AS k)
         WHERE process_id = '{large}';
         INSERT INTO task_executions (process_id, task_index, attempt, node_id, command, outcome, started_at, completed_at,
             duration_ms, output, output_bytes)
         SELECT '{large}', 0, n, 'n', 'true', 'SUCCEEDED', now(), now(), 1,
             CASE WHEN n = 40 THEN repeat('ä\"\\', 1000000) ELSE repeat(md5(n::text) || E'\\n', 31775) END, 1048575
         FROM generate_series(2, 40) AS n;
         UPDATE tasks SET attempt = 40, output = repeat('ä\"\\', 1000000) WHERE process_id = '{large}'"
    ));
    ids.push(large);
    let before: HashMap<String, Value> =
        ids.iter().step_by(23).chain(&ids[228..]).map(|id| (id.clone(), shown(&bench, id))).collect();
    let fresh = bench.database.start("small", ProcessInputData::new());

    let mut prune =
        bench.started_by(&LIMITED, &["prune", "--older-than", "0s", "--yes", "--archive", "old", "--json"]);
    let told = ended(&mut prune).expect(0).json();
    let directory = bench.folder.join("old");
    let names: Vec<String> = files(&directory)
        .iter()
        .map(|it| it.strip_prefix(&bench.folder).unwrap().display().to_string())
        .collect();
    assert_eq!((names.len(), fs::read_dir(&directory).unwrap().count()), (1, 1));
    let expected = json!({"dry_run": false, "older_than": "0s", "processes": ids.len(), "locked": 0, "changed": 0,
        "unreadable": 0, "archives": names});
    assert_eq!(told, expected);
    for (path, mode) in [(&directory, 0o700), (&files(&directory)[0], 0o600)] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
    let archived: HashMap<String, Value> =
        lines(&directory).into_iter().map(|it| (it["process_id"].as_str().unwrap().to_owned(), it)).collect();
    assert_eq!(archived.keys().collect::<HashSet<_>>(), ids.iter().collect::<HashSet<_>>());
    for (id, document) in before {
        assert!(archived[&id] == document, "{id} is not in the archive as it was shown");
    }
    assert_eq!([bench.database.count("processes"), bench.database.count("task_executions")], [1, 0]);
    assert!(bench.database.store().process(&fresh).unwrap().is_some());
    // Nothing to archive leaves no file.
    bench.run(&["prune", "--older-than", "0s", "--yes", "--archive", "old"]).expect(0);
    assert_eq!(files(&directory).len(), 1);
}

#[test]
fn an_archive_that_can_not_be_written_keeps_everything() {
    let bench = Bench::with_tables("archive_refused");
    finished(&bench, &one_task("true"), 2);
    fs::write(bench.folder.join("file"), "").unwrap();
    for (place, part) in [("none/there", "No such file or directory"), ("file", "Not a directory")] {
        let refused = bench.run(&["prune", "--older-than", "0s", "--yes", "--archive", place]).expect(1);
        let begin = format!("error: failed to archive finished processes in {place}: {part}");
        assert!(refused.err.starts_with(&begin) && refused.err.contains("is not deleted"), "{refused:#?}");
        let serve = ["serve", "--no-http", "--retention", "1s", "--archive", place];
        let refused = bench.run(&serve).expect(1);
        assert!(refused.err.starts_with(&begin), "{refused:#?}");
    }
    assert_eq!(bench.database.count("processes"), 2);
    for (words, part) in [
        (
            &["serve", "--archive", "x"][..],
            "--archive x: no process is ever deleted, so none is archived; add --retention TIME",
        ),
        (
            &["serve", "--archive", "x", "--retention", "one-task=never"],
            "--archive x: no process is ever deleted",
        ),
        (
            &["serve", "--retention", "1d", "--retention", "2d"],
            "--retention: all process types twice, 1d and 2d",
        ),
        (
            &["serve", "--keep-output", "a=1d,a=never"],
            "--keep-output: process type \"a\" twice, 1d and never",
        ),
        (
            &["serve", "--keep-output", "a=7"],
            "invalid value 'a=7' for '--keep-output <[TYPE=]TIME>': \"7\" has no unit",
        ),
        (&["prune", "--older-than", "1d", "--archive", "x", "--output-only"], "cannot be used with"),
    ] {
        let refused = bench.run(words).expect(2);
        assert!(refused.err.contains(part), "no {part:?} in {refused:#?}");
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn a_kill_between_archive_and_deletion_loses_nothing_and_a_retry_in_between_stays() {
    let bench = Bench::with_tables("archive_killed");
    let ids = finished(&bench, &one_task("false"), 3);
    let words = ["prune", "--older-than", "0s", "--yes", "--archive", "old"];
    let mut killed = bench.command(&words);
    killed.env("PROCESS_ORCHESTRATOR_FAILPOINTS", "archived=kill");
    assert_eq!(ended(&mut killed).code, None);
    let directory = bench.folder.join("old");
    assert_eq!((lines(&directory).len(), bench.database.count("processes")), (3, 3));
    // A killed writer has left this.
    fs::write(directory.join(".processes-20200101T000000Z-001.jsonl.gz.part"), "half").unwrap();

    let mut held = bench.command(&words);
    held.env("PROCESS_ORCHESTRATOR_FAILPOINTS", format!("archived=hold:{}", bench.folder.display()));
    let held = held.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let reached = bench.folder.join("archived.reached");
    wait_until("they are archived", || reached.exists().then_some(()));
    bench.run(&["retry", &ids[0]]).expect(0);
    set(&bench, &format!("UPDATE tasks SET exit_code = 7 WHERE process_id = '{}'", ids[1]));
    fs::write(bench.folder.join("archived.go"), "").unwrap();
    let output = held.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(out, "deleted 1 process\n");
    assert!(err.contains("2 processes changed since they were archived: left"), "{err}");
    let of = |id: &String| lines(&directory).iter().filter(|it| it["process_id"] == **id).count();
    assert_eq!(ids.iter().map(of).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "what the killed one had left is gone");
    assert_eq!(bench.database.count("processes"), 2);
    bench.run(&words).expect(0);
    let last = lines(&directory).pop().unwrap();
    assert_eq!((&last["process_id"], &last["tasks"][0]["exit_code"]), (&json!(ids[1]), &json!(7)));
    assert!(bench.database.store().process(&ids[0]).unwrap().is_some(), "it is unfinished");
}

#[test]
fn each_type_goes_at_its_own_age_by_way_of_the_archive() {
    let bench = Bench::with_tables("retention_types");
    let of = |name: &str, how_many| finished(&bench, &named(name, script("only", "echo x")), how_many);
    let (kept, old, short) = (of("kept", 2), of("old", 3), of("short", 3));
    // The oldest of each is 40 days old, the youngest of today.
    set(&bench, "UPDATE processes p SET completed_at = completed_at - (n - 1) * interval '20 days'
        FROM (SELECT process_id, row_number() OVER (PARTITION BY process_type ORDER BY process_id) AS n FROM processes) AS o
        WHERE p.process_id = o.process_id");
    let mut serve = bench.command(&["serve", "--no-http", "--retention", "30d", "--retention", "short=1d"]);
    serve.args(["--retention", "kept=never,lost=1d", "--archive", "old"]).stderr(Stdio::piped());
    let mut serve = serve.spawn().unwrap();
    let mut rest = until_line(&mut serve, " ready: node ");
    wait_until("what is old is forgotten", || (bench.database.count("processes") == 5).then_some(()));
    let left = |ids: &[String]| {
        ids.iter().map(|id| bench.database.store().process(id).unwrap().is_some()).collect::<Vec<_>>()
    };
    assert_eq!(
        (left(&kept), left(&old), left(&short)),
        (vec![true; 2], vec![true, true, false], vec![true, false, false])
    );
    signal(&serve, "-TERM");
    assert_eq!(serve.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    rest.read_to_string(&mut log).unwrap();
    assert!(log.contains("finished processes forgotten processes="), "{log}");
    let archived: HashSet<String> = lines(&bench.folder.join("old"))
        .iter()
        .map(|it| it["process_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(archived, [&old[2], &short[1], &short[2]].into_iter().cloned().collect());
}

#[test]
fn a_rule_for_a_type_that_is_not_there_is_told() {
    let bench = Bench::with_tables("retention_unknown");
    bench.database.register(&named("nightly", script("only", "true")));
    let mut serve = bench.spawn(&["serve", "--no-http", "--keep-output", "nihgtly=1d"]);
    let (said, _rest) = crate::program::until_line_kept(&mut serve, " ready: node ");
    signal(&serve, "-TERM");
    serve.wait().unwrap();
    assert!(
        said.contains(
            "--keep-output names process type \"nihgtly\", which is not registered; did you mean \"nightly\"?"
        ),
        "{said}"
    );
}

#[test]
fn outputs_go_alone_and_the_record_says_so() {
    let bench = Bench::with_tables("keep_output");
    let two = named("two", script("talks", "seq 1000")).add(script("silent", "true"));
    let ids = finished(&bench, &two, 3);
    let other = finished(&bench, &named("other", script("only", "echo kept")), 1).remove(0);
    set(
        &bench,
        &format!(
            "UPDATE processes SET completed_at = completed_at - interval '8 days' WHERE process_id <> '{}'",
            ids[2]
        ),
    );
    let before = shown(&bench, &ids[0]);
    let plan =
        bench.run(&["prune", "--older-than", "7d", "--type", "two", "--output-only", "--dry-run"]).expect(0);
    assert!(
        plan.out.starts_with("would delete the outputs of 2 processes, 7.8 KB, the oldest ended "),
        "{plan:#?}"
    );

    // By itself; and what it has seen to it does not look at again when it is started anew.
    let words = ["serve", "--no-http", "--keep-output", "7d", "--keep-output", "other=never"];
    for round in 0..2 {
        if round == 1 {
            set(
                &bench,
                "UPDATE task_executions SET output = 'again' WHERE output IS NULL AND output_bytes > 0",
            );
        }
        let until =
            bench.database.sql().query_one("SELECT now() - interval '7 days 61 seconds'", &[]).unwrap();
        let until: std::time::SystemTime = until.get(0);
        let mut serve = bench.spawn(&words);
        let rest = until_line(&mut serve, " ready: node ");
        // By the end of a look the place is as near to the age as it may be.
        let mut client = bench.database.sql();
        wait_until("a look is over", || {
            client
                .query_opt("SELECT FROM forgotten_outputs WHERE completed_at >= $1", &[&until])
                .unwrap()
                .map(drop)
        });
        signal(&serve, "-TERM");
        drop(rest);
        serve.wait().unwrap();
    }
    assert_eq!(
        bench.database.count("task_executions WHERE output = 'again'"),
        2,
        "they lie behind the place"
    );
    set(&bench, "UPDATE task_executions SET output = NULL WHERE output = 'again'");

    let mut expected = before;
    for list in ["tasks", "executions"] {
        expected[list][0]["output"] = Value::Null;
        expected[list][0]["output_deleted"] = true.into();
    }
    assert_eq!(shown(&bench, &ids[0]), expected, "all else stays");
    let logs = bench.run(&["logs", &ids[0]]).expect(0);
    assert_eq!(logs.out, "");
    assert!(
        logs.err.contains("; its output of 3.9 KB has been deleted\n") && logs.err.contains("; no output\n"),
        "{logs:#?}"
    );
    let show = bench.run(&["show", &ids[0]]).expect(0);
    assert!(
        show.out.contains("\nThe output of 1 task has been deleted; all else of the record is here.\n"),
        "{show:#?}"
    );
    assert!(!bench.run(&["show", &ids[2]]).expect(0).out.contains("deleted"));
    assert_eq!(bench.run(&["logs", &other]).expect(0).out, "kept\n");

    let done =
        bench.run(&["prune", "--older-than", "0s", "--output-only", "--yes", "--json"]).expect(0).json();
    let expected =
        json!({"dry_run": false, "older_than": "0s", "processes": 2, "locked": 0, "output_bytes": 3898});
    assert_eq!(done, expected);
    assert_eq!(
        [bench.database.count("processes"), bench.database.count("task_executions WHERE output IS NOT NULL")],
        [4, 0]
    );
    let none = bench.run(&["prune", "--older-than", "0s", "--output-only", "--yes"]).expect(0);
    assert_eq!(none.out, "deleted the outputs of 0 processes, 0 bytes\n");
}

#[test]
fn outputs_that_somebody_has_locked_stay_for_the_next_time() {
    let bench = Bench::with_tables("keep_output_locked");
    let ids = finished(&bench, &one_task("echo x"), 4);
    let mut client = bench.database.sql();
    // As it was written before outputs had a place of their own: in the task's row, too.
    client.execute("UPDATE tasks SET output = 'y' WHERE process_id = $1", &[&ids[1]]).unwrap();
    let mut blocking = client.transaction().unwrap();
    for (table, id) in [("processes", &ids[0]), ("tasks", &ids[1]), ("task_executions", &ids[2])] {
        blocking.execute(&format!("SELECT FROM {table} WHERE process_id = $1 FOR UPDATE"), &[id]).unwrap();
    }
    let words = ["prune", "--older-than", "0s", "--output-only", "--yes"];
    let told = bench.run(&words).expect(0);
    assert!(told.out.starts_with("deleted the outputs of 1 process, 2 bytes\n"), "{told:#?}");
    assert!(
        told.err.contains(&format!("process {:?} is locked by ", ids[0]))
            && told.err.contains("3 processes locked by others: left"),
        "{told:#?}"
    );
    blocking.rollback().unwrap();
    let told = bench.run(&words).expect(0);
    assert!(told.out.starts_with("deleted the outputs of 3 processes, 6 bytes\n"), "{told:#?}");
    assert_eq!(bench.database.count("tasks WHERE output IS NOT NULL"), 0);
}
