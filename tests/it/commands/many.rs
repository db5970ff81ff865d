//! `start --inputs`: however many lines there are, they are sent in parts, and all are started or none.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use crate::common::{TestDatabase, one_task, wait_until};
use crate::program::{Bench, ended};

/// Starts the words that follow with 32 MiB of memory for their data: beyond that they die.
pub const LIMITED: [&str; 3] = ["sh", "-c", "ulimit -d 32768 && exec \"$0\" \"$@\""];

/// Lines with ids of their own, some of which need an escape.
fn lines(count: usize, user: &str) -> String {
    (0..count).fold(String::new(), |mut text, n| {
        writeln!(text, "{{\"process_id\": \"p-{n}\", \"user_id\": \"{user}\", \"config\": {{\"n\": {n}}}}}")
            .unwrap();
        text
    })
}

fn due(database: &TestDatabase) -> Vec<String> {
    let due = "SELECT task_instance FROM scheduled_tasks ORDER BY execution_time";
    database.sql().query(due, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn many_lines_are_started_in_little_memory_in_their_order() {
    let bench = Bench::with_tables("many_lines");
    bench.database.register(&one_task("true"));
    let text = lines(1_200, &"u".repeat(8_000));
    fs::write(bench.folder.join("in.jsonl"), &text).unwrap();
    let started =
        ended(&mut bench.started_by(&LIMITED, &["start", "one-task", "--inputs", "in.jsonl"])).expect(0);
    let ids: Vec<&str> = started.out.lines().collect();
    assert!(ids.iter().enumerate().all(|(n, id)| *id == format!("p-{n}")) && ids.len() == 1_200);
    assert_eq!(due(&bench.database), ids);
    assert_eq!(bench.database.count("(SELECT DISTINCT execution_time FROM scheduled_tasks) AS times"), 1_200);
}

#[test]
fn lines_from_a_pipe_get_ids_in_their_order() {
    let bench = Bench::with_tables("lines_from_a_pipe");
    bench.database.register(&one_task("true"));
    let mut command = bench.command(&["start", "one-task", "--inputs", "-", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(b"{}\n\n").unwrap();
    pipe.write_all("{\"user_id\": \"me\"}\n".repeat(1_499).as_bytes()).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let ids: Vec<String> = document["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["process_id"].as_str().unwrap().into())
        .collect();
    assert!(ids.iter().enumerate().all(|(n, id)| *id == format!("one-task-{}", n + 1)) && ids.len() == 1_500);
    assert_eq!(due(&bench.database), ids);
}

#[test]
fn one_line_that_the_database_refuses_is_named_and_nothing_is_started() {
    let bench = Bench::with_tables("one_bad_line");
    bench.database.register(&one_task("true"));
    bench.run(&["start", "one-task", "--process-id", "p-2345"]).expect(0);
    fs::write(bench.folder.join("in.jsonl"), format!("\n{}", lines(2_500, "me"))).unwrap();
    let refused = bench.run(&["start", "one-task", "--inputs", "in.jsonl"]).expect(2);
    let expected = "error: in.jsonl:2347: process id \"p-2345\" is taken by a process of type \"one-task\" with other input; ";
    assert!(
        refused.err.starts_with(expected) && refused.err.ends_with("; nothing was started\n"),
        "{refused:#?}"
    );
    assert_eq!((refused.out.as_str(), bench.database.count("processes")), ("", 1));

    let same = "{\"process_id\": \"a\"}\n{\"process_id\": \"a\", \"user_id\": \"\"}\n{\"process_id\": \"a\", \"user_id\": \"b\"}\n";
    fs::write(bench.folder.join("in.jsonl"), same).unwrap();
    let refused = bench.run(&["start", "one-task", "--inputs", "in.jsonl"]).expect(2);
    let expected = "error: in.jsonl:3: process_id: \"a\" is that of line 1 too, which has another input; ";
    assert!(refused.err.starts_with(expected), "{refused:#?}");
}

#[test]
fn a_session_that_ends_amid_the_parts_has_started_nothing() {
    let bench = Bench::with_tables("ended_amid");
    bench.database.register(&one_task("true"));
    fs::write(bench.folder.join("in.jsonl"), lines(2_500, "me")).unwrap();
    let mut client = bench.database.sql();
    let mut other = client.transaction().unwrap();
    // The second part waits for this one.
    other.query("SELECT start_process('one-task', '{}', 'p-1500')", &[]).unwrap();
    let child = bench.spawn(&["start", "one-task", "--inputs", "in.jsonl"]);
    let holder: i32 = other.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))";
    let mut third = bench.database.sql();
    wait_until("the second part waits", || (!third.query(end, &[&holder]).unwrap().is_empty()).then_some(()));
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(4), &b""[..]), "{said}");
    assert!(said.trim_end().ends_with("nothing was started"), "{said}");
    other.rollback().unwrap();
    assert_eq!(bench.database.count("processes"), 0);
}

#[test]
fn who_starts_the_same_in_another_order_disturbs_nobody() {
    let bench = Bench::with_tables("another_order");
    bench.database.register(&one_task("true"));
    let same: String = (0..2_000).map(|n| format!("{{\"process_id\": \"p-{n}\"}}\n")).collect();
    fs::write(bench.folder.join("in.jsonl"), same).unwrap();
    let [mut first, mut second] = [bench.database.sql(), bench.database.sql()];
    let (mut other, mut gate) = (first.transaction().unwrap(), second.transaction().unwrap());
    other.query("SELECT start_process('one-task', '{}', 'p-1500')", &[]).unwrap();
    // The second part is held up before it comes to the process of the other one.
    gate.query("SELECT start_process('one-task', '{}', 'p-1400')", &[]).unwrap();
    let child = bench.spawn(&["start", "one-task", "--inputs", "in.jsonl"]);
    let pid = |it: &mut postgres::Transaction<'_>| -> i32 {
        it.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0)
    };
    let (gate_pid, other_pid) = (pid(&mut gate), pid(&mut other));
    let mut third = bench.database.sql();
    let mut wait_for = |blocker: i32| {
        let blocked = "SELECT pid FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))";
        wait_until("one waits for the other", || {
            third.query_opt(blocked, &[&blocker]).unwrap().map(|row| row.get::<_, i32>(0))
        })
    };
    let ours = wait_for(gate_pid);
    std::thread::scope(|scope| {
        let other = scope.spawn(move || {
            // Now the other one waits for the first part. Who is the first to look for a circle is ended: not this one.
            other.batch_execute("SET LOCAL deadlock_timeout = '1min'").unwrap();
            other.query("SELECT start_process('one-task', '{}', 'p-10')", &[]).unwrap();
            other.commit().unwrap();
        });
        assert_eq!(wait_for(ours), other_pid);
        gate.rollback().unwrap();
        other.join().unwrap();
    });
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(bench.database.count("processes"), 2_000);
}
