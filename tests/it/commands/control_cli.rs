//! The operator's commands as the real binary has them: cancel, retry, pause, resume, explain, prune.

use std::io::Read;

use process_orchestrator::{ProcessInputData, ProcessStatus, ProcessType, TaskStatus};

use crate::common::{one_task, script, wait_until};
use crate::control::Gate;
use crate::program::{Bench, signal, until_line};

fn waiting(gate: &Gate) -> ProcessType {
    ProcessType::new("waiting", "").add(script("wait", &gate.wait())).add(script("end", "true"))
}

#[test]
fn cancel_names_what_it_did_to_each() {
    let bench = Bench::with_tables("cli_cancel");
    bench.database.register(&one_task("true"));
    let ids = bench.database.start_many("one-task", 6);
    let cancel = bench.run(&["cancel", &ids[0], "--reason", "wrong file", "--wait"]).expect(0);
    assert_eq!(cancel.out, format!("{} CANCELLED\n", ids[0]));
    let again = bench.run(&["cancel", &ids[0], "nobody", &ids[1]]).expect(3);
    assert_eq!(again.out, format!("{} already CANCELLED\n{} CANCELLED\n", ids[0], ids[1]));
    assert!(again.err.starts_with("error: no process has the id \"nobody\"; see them all: "), "{again:#?}");
    let error = bench.database.store().process(&ids[0]).unwrap().unwrap().error_message.unwrap();
    assert!(error.starts_with("cancelled") && error.ends_with(": wrong file"), "{error}");

    let usage = bench.run(&["cancel"]).expect(2);
    assert!(usage.err.contains("give ids, or say which by --type or --status"), "{usage:#?}");
    let misspelt = bench.run(&["cancel", "--type", "one-tsak"]).expect(3);
    assert!(
        misspelt.err.contains("unknown process type \"one-tsak\"; did you mean \"one-task\"?"),
        "{misspelt:#?}"
    );
    let plan = bench.run(&["cancel", "--type", "one-task", "--dry-run", "--json"]).expect(0).json();
    assert_eq!((&plan["dry_run"], &plan["counts"]["CANCELLED"]), (&true.into(), &4.into()));
    assert_eq!(bench.database.count("scheduled_tasks"), 4);
    let all = bench.run(&["cancel", "--status", "not_started"]).expect(0);
    assert_eq!((all.out.lines().count(), all.err.as_str()), (4, "4 processes cancelled\n"));
    assert_eq!(bench.database.count("scheduled_tasks"), 0);
}

#[test]
fn cancel_waits_for_the_node_that_runs_it_and_retry_goes_on() {
    let bench = Bench::with_tables("cli_cancel_wait");
    let gate = Gate::new("cli_cancel_wait");
    bench.database.register(&waiting(&gate));
    let id = bench.database.start("waiting", ProcessInputData::new());
    let node = bench.database.node();
    wait_until("the command runs", || (node.health().busy() == 1).then_some(()));
    let refused = bench.run(&["retry", &id]).expect(1);
    assert!(
        refused.err.contains("is IN_PROGRESS, only one that has ended can be retried; cancel it first: ")
    );
    assert!(refused.err.contains(&format!("cancel {id}")), "{refused:#?}");
    let document = bench.run(&["cancel", &id, "--wait", "--json"]).expect(0).json();
    assert_eq!(document["processes"][0]["outcome"], "CANCELLED");
    let explained = bench.run(&["explain", &id]).expect(0);
    assert!(
        explained.out.contains(&format!("; have it go again: process-orchestrator retry {id}")),
        "{explained:#?}"
    );

    gate.open();
    let plan = bench.run(&["retry", &id, "--dry-run"]).expect(0);
    assert_eq!(plan.out, format!("{id} would go again from task wait\n"));
    let retry = bench.run(&["retry", &id]).expect(0);
    assert_eq!(retry.out, format!("{id} goes again from task wait\n"));
    assert_eq!(bench.database.wait_for(&id).status, ProcessStatus::Completed);
    let completed = bench.run(&["retry", &id]).expect(1);
    assert!(
        completed.err.contains("is COMPLETED, nothing of it has failed; say from which task"),
        "{completed:#?}"
    );
    let unknown = bench.run(&["retry", &id, "--from", "nothing"]).expect(3);
    assert!(unknown.err.contains("has no task \"nothing\"; its tasks are: wait, end"), "{unknown:#?}");
    bench.run(&["retry", &id, "--from", "end", "--json"]).expect(0);
    node.stop();
}

#[test]
fn retry_by_filter_meets_each_failed_process_once() {
    let bench = Bench::with_tables("cli_retry_filter");
    bench.database.register(&one_task("test ${config.size:-0} = 7"));
    let ids = bench.database.start_many("one-task", 5);
    let node = bench.database.node();
    ids.iter().for_each(|id| drop(bench.database.wait_for(id)));
    let usage = bench.run(&["retry"]).expect(2);
    assert!(usage.err.contains("give ids, or say which by --type or --status"), "{usage:#?}");
    let plan = bench.run(&["retry", "--type", "one-task", "--dry-run"]).expect(0);
    assert_eq!((plan.out.lines().count(), plan.err.as_str()), (5, "5 processes would be retried\n"));
    let some = bench.run(&["retry", "--type", "one-task", "--limit", "2", "--config", "size=7"]).expect(0);
    assert_eq!(some.out.lines().count(), 2, "{some:#?}");
    for id in &ids[..2] {
        assert_eq!(bench.database.wait_for(id).status, ProcessStatus::Completed);
    }
    // They fail again at once, and are not met a second time.
    let rest = bench.run(&["retry", "--status", "failed", "--json"]).expect(0).json();
    assert_eq!(rest["counts"]["RETRIED"], 3);
    ids[2..].iter().for_each(|id| drop(bench.database.wait_for(id)));
    node.stop();
    assert_eq!(bench.database.count("task_executions"), 10);
    let usage = bench.run(&["retry", "--status", "completed"]).expect(2);
    assert!(usage.err.contains("--from TASK"), "{usage:#?}");
}

#[test]
fn explain_says_why_a_process_waits_or_runs() {
    let bench = Bench::with_tables("cli_explain");
    let gate = Gate::new("cli_explain");
    bench.database.register(&waiting(&gate));
    bench.database.register(&one_task("true"));
    let explain = |id: &str, parts: &[&str]| {
        let told = bench.run(&["explain", id]).expect(0);
        for part in parts {
            assert!(told.out.contains(part), "no {part:?} in {told:#?}");
        }
    };
    let reasons = |id: &str| -> Vec<String> {
        let told = bench.run(&["explain", id, "--json"]).expect(0).json();
        let reasons = told["reasons"].as_array().unwrap();
        assert_eq!(told["sentences"].as_array().unwrap().len(), reasons.len());
        reasons.iter().map(|it| it["reason"].as_str().unwrap().to_owned()).collect()
    };
    let later = bench.run(&["start", "one-task", "--at", "+2h", "--process-id", "later"]).expect(0);
    assert_eq!(later.out, "later\n");
    assert_eq!(reasons("later"), ["NOT_DUE", "NO_NODE"]);
    explain(
        "later",
        &["later is NOT_STARTED\n", "it is not due until ", "(in 1 h ", "no node is running; start one"],
    );
    bench.run(&["pause", "one-task", "--reason", "the source is down"]).expect(0);
    let paused = bench.run(&["pause", "one-task", "--json"]).expect(0).json();
    assert_eq!((&paused["paused"], &paused["changed"]), (&true.into(), &false.into()));
    assert_eq!(reasons("later")[0], "PAUSED");
    explain("later", &["process type \"one-task\" is paused since ", ": the source is down; go on with: "]);
    assert_eq!(bench.run(&["resume", "one-task"]).expect(0).out, "one-task resumed\n");
    assert_eq!(bench.run(&["resume", "one-task"]).expect(0).out, "one-task was not paused\n");

    let ids = bench.database.start_many("waiting", 3);
    let config = process_orchestrator::engine::NodeConfig { executors: 1, ..bench.database.config() };
    let node = bench.database.node_with(config);
    wait_until("the command runs", || (node.health().busy() == 1).then_some(()));
    assert_eq!(reasons(&ids[0]), ["CLAIMED"]);
    explain(&ids[0], &["task \"wait\" (1 of 2) is IN_PROGRESS", " runs it since ", "the node is RUNNING"]);
    assert_eq!(reasons(&ids[2]), ["EXECUTORS_FULL"]);
    explain(&ids[2], &["all executors are taken: 1 of 1 on 1 node; 1 due process comes before it"]);
    gate.open();
    ids.iter().for_each(|id| drop(bench.database.wait_for(id)));
    node.stop();
    assert_eq!(reasons(&ids[0]), ["FINISHED"]);
    bench.run(&["explain", "nobody"]).expect(3);
}

#[test]
fn prune_deletes_what_has_ended_long_ago_and_nothing_else() {
    let bench = Bench::with_tables("cli_prune");
    bench.database.register(&one_task("true"));
    let mut failing = one_task("false");
    failing.name = "failing".to_owned();
    bench.database.register(&failing);
    let old = bench.database.start_many("one-task", 450);
    let failed = bench.database.start("failing", ProcessInputData::new());
    let node = bench.database.node();
    old.iter().chain([&failed]).for_each(|id| drop(bench.database.wait_for(id)));
    node.stop();
    let fresh = bench.database.start("one-task", ProcessInputData::new());
    bench
        .database
        .sql()
        .execute("UPDATE processes SET completed_at = completed_at - interval '40 days' WHERE completed_at IS NOT NULL", &[])
        .unwrap();
    let plan = bench.run(&["prune", "--older-than", "30d", "--dry-run"]).expect(0);
    assert!(plan.out.starts_with("would delete 451 processes, the oldest ended "), "{plan:#?}");
    assert_eq!(bench.run(&["prune", "--older-than", "60d"]).expect(0).out, "deleted 0 processes\n");
    let done =
        bench.run(&["prune", "--older-than", "30d", "--status", "completed", "--json"]).expect(0).json();
    assert_eq!(done["processes"], 450);
    for table in ["processes", "tasks"] {
        assert_eq!(bench.database.count(table), 2, "{table}");
    }
    assert_eq!(bench.database.count("task_executions"), 1);
    assert!(bench.database.store().process(&failed).unwrap().is_some());
    assert_eq!(
        bench.run(&["prune", "--older-than", "0s", "--type", "failing"]).expect(0).out,
        "deleted 1 process\n"
    );
    assert_eq!(bench.run(&["prune", "--older-than", "0s"]).expect(0).out, "deleted 0 processes\n");
    assert!(bench.database.store().process(&fresh).unwrap().is_some(), "it is unfinished");
    bench.run(&["prune"]).expect(2);
}

#[test]
fn serve_forgets_what_is_older_than_its_retention() {
    let bench = Bench::with_tables("cli_retention");
    bench.database.register(&one_task("true"));
    let kept = bench.run(&["start", "one-task", "--at", "+1h", "--process-id", "later"]).expect(0).out;
    bench.database.start_many("one-task", 3);
    let mut serve = bench.spawn(&["serve", "--listen", "127.0.0.1:0", "--retention", "2s"]);
    let rest = until_line(&mut serve, " ready: node ");
    wait_until("all but the unfinished one are forgotten", || {
        (bench.database.count("processes") == 1).then_some(())
    });
    assert_eq!(bench.database.count("task_executions"), 0);
    assert!(bench.database.store().process(kept.trim()).unwrap().is_some());
    signal(&serve, "-TERM");
    drop(rest);
    assert_eq!(serve.wait().unwrap().code(), Some(0));
}

#[test]
fn serve_ends_while_a_lock_keeps_it_from_forgetting() {
    let bench = Bench::with_tables("cli_retention_lock");
    bench.database.register(&one_task("true"));
    let mut serve = bench.spawn(&["serve", "--no-http", "--retention", "1s"]);
    let mut rest = until_line(&mut serve, " ready: node ");
    let id = bench.database.start_many("one-task", 1).remove(0);
    bench.database.wait_for(&id);
    let (mut client, mut watcher) = (bench.database.sql(), bench.database.sql());
    let mut blocking = client.transaction().unwrap();
    blocking.batch_execute("LOCK TABLE task_executions IN ACCESS EXCLUSIVE MODE").unwrap();
    let waiting = "SELECT FROM pg_stat_activity a JOIN pg_locks l USING (pid) WHERE NOT l.granted \
                   AND a.application_name LIKE '%retention' AND l.relation = 'executions'::regclass";
    wait_until("the deletion waits", || watcher.query_opt(waiting, &[]).unwrap().map(drop));
    signal(&serve, "-TERM");
    let status = wait_until("it has ended all the same", || serve.try_wait().unwrap());
    blocking.rollback().unwrap();
    let mut said = String::new();
    rest.read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    // It does not wait for ever, and says whose lock it is.
    assert!(said.contains("failed to lock a table of finished processes: it is locked by pid "), "{said}");
}

/// The command has ended by itself and its result is on the way when somebody cancels.
#[cfg(feature = "failpoints")]
#[test]
fn a_result_that_is_on_the_way_when_its_process_is_cancelled_is_kept_and_goes_no_further() {
    use process_orchestrator::Outcome;
    use process_orchestrator::store::cancel::{CancelOutcome, CancelReason};

    let bench = Bench::with_tables("cli_cancel_race");
    bench
        .database
        .register(&ProcessType::new("two", "").add(script("a", "echo done")).add(script("b", "true")));
    let id = bench.database.start("two", ProcessInputData::new());
    let mut serve = bench
        .command(&["serve", "--listen", "127.0.0.1:0"])
        .env("PROCESS_ORCHESTRATOR_FAILPOINTS", format!("before-record@1=hold:{}", bench.folder.display()))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let rest = until_line(&mut serve, " ready: node ");
    let reached = bench.folder.join("before-record.reached");
    wait_until("the result is on its way", || reached.exists().then_some(()));
    let why = CancelReason { reason: Some("too late"), by: None };
    let told = bench.database.store().cancel_process(&id, why).unwrap();
    assert_eq!(told.outcome, CancelOutcome::Requested);
    std::fs::write(bench.folder.join("before-record.go"), "").unwrap();
    let process = bench.database.wait_for(&id);
    signal(&serve, "-TERM");
    drop(rest);
    assert_eq!(serve.wait().unwrap().code(), Some(0));
    assert_eq!(process.status, ProcessStatus::Cancelled);
    assert_eq!(process.error_message.as_deref(), Some("cancelled: too late"));
    let mut store = bench.database.store();
    let executions = store.executions(&id).unwrap();
    assert_eq!(executions.len(), 1, "{executions:?}");
    assert_eq!(
        (executions[0].outcome, executions[0].output.as_deref()),
        (Outcome::Succeeded, Some("done\n"))
    );
    let statuses: Vec<_> = store.tasks(&id).unwrap().iter().map(|it| it.status).collect();
    assert_eq!(statuses, [TaskStatus::Completed, TaskStatus::Cancelled]);
}

/// A command may hold back what it prints: whoever looks is told how long nothing has come.
#[test]
fn explain_tells_of_a_command_that_has_long_printed_nothing() {
    let bench = Bench::with_tables("cli_silent");
    let gate = Gate::new("cli_silent");
    bench.database.register(&waiting(&gate));
    let id = bench.database.start("waiting", ProcessInputData::new());
    let node = bench.database.node();
    wait_until("the command is seen", || (bench.database.count("live_output") == 1).then_some(()));
    let quiet = bench.run(&["explain", &id]).expect(0);
    assert!(!quiet.out.contains("has printed nothing"), "{quiet:#?}");
    // Its node says anew when the command prints, or after ten seconds.
    let aged = "UPDATE live_output SET printed_at = printed_at - interval '5 min'";
    let told = wait_until("explain tells of it", || {
        bench.database.sql().batch_execute(aged).unwrap();
        Some(bench.run(&["explain", &id]).expect(0).out).filter(|out| out.contains("has printed nothing for"))
    });
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("PYTHONUNBUFFERED=1 or stdbuf -oL"), "{told}");
    gate.open();
    bench.database.wait_for(&id);
    node.stop();
}

#[test]
fn retry_behind_a_failed_task_is_refused_unless_it_is_to_be_skipped() {
    let bench = Bench::with_tables("cli_retry_skip");
    let kind = ProcessType::new("steps", "")
        .add(script("load", "true"))
        .add(script("clean", "exit 3"))
        .add(script("publish", "true"));
    bench.database.register(&kind);
    let id = bench.database.start("steps", ProcessInputData::new());
    let node = bench.database.node();
    assert_eq!(bench.database.wait_for(&id).status, ProcessStatus::Failed);
    for words in [&["retry", &id, "--from", "publish"][..], &["retry", &id, "--from", "3", "--dry-run"]] {
        let refused = bench.run(words).expect(1);
        for part in ["comes behind \"clean\" (2 of 3), which is FAILED; ", "skipped: --skip"] {
            assert!(refused.err.contains(part), "no {part:?} in {refused:#?}");
        }
    }
    let refused = bench.run(&["retry", &id, "--from", "publish", "--json"]).expect(1);
    let error: serde_json::Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!(error["error"]["code"], "would_skip");
    assert!(bench.run(&["retry", &id, "--skip"]).expect(2).err.contains("--from"));
    assert_eq!(
        bench.run(&["retry", &id, "--from", "2", "--dry-run"]).expect(0).out,
        format!("{id} would go again from task clean\n")
    );

    bench.run(&["retry", &id, "--from", "publish", "--skip"]).expect(0);
    assert_eq!(bench.database.wait_for(&id).status, ProcessStatus::Completed);
    node.stop();
    let list = bench.run(&["list"]).expect(0).out;
    assert!(list.contains("3/3") && list.contains("1 skipped"), "{list}");
    let explained = bench.run(&["explain", &id]).expect(0).out;
    assert!(explained.contains("task \"clean\" was SKIPPED by a retry"), "{explained}");
    let shown = bench.run(&["show", &id]).expect(0).out;
    let row = shown.lines().find(|it| it.contains("clean") && it.contains("SKIPPED")).unwrap();
    assert!(row.starts_with("2  clean"), "{shown}");
    assert!(shown.contains("clean: skipped by a retry from task \"publish\", it was FAILED"), "{shown}");
    let document = bench.run(&["show", &id, "--json"]).expect(0).json();
    assert_eq!((&document["skipped_tasks"], &document["tasks"][1]["status"]), (&1.into(), &"SKIPPED".into()));
}

/// People count from one, and see the same number wherever one is shown.
#[test]
fn tasks_are_counted_from_one() {
    let bench = Bench::with_tables("cli_numbers");
    let kind = ["a", "b", "c"].iter().fold(ProcessType::new("abc", ""), |kind, name| {
        kind.add(script(name, &format!("echo this is {name}; test {name} != b")))
    });
    bench.database.register(&kind);
    let id = bench.database.start("abc", ProcessInputData::new());
    let node = bench.database.node();
    bench.database.wait_for(&id);
    node.stop();
    let told = |words: &[&str]| bench.run(words).expect(0).out;
    assert_eq!(told(&["logs", &id, "2", "--raw"]), told(&["logs", &id, "b", "--raw"]));
    assert!(told(&["logs", &id, "1"]).contains("this is a"));
    assert!(bench.run(&["logs", &id, "0"]).expect(3).err.contains("has no task \"0\"; it has a, b, c"));
    for (words, rows) in [(&["show", &id][..], 4), (&["types", "show", "abc"], 3)] {
        let out = told(words);
        let numbers: Vec<_> =
            out.lines().filter_map(|it| it.split_once("  ")).filter(|it| it.0.len() == 1).collect();
        let first: Vec<_> = numbers.iter().map(|it| (it.0, it.1.chars().next().unwrap())).collect();
        assert_eq!(first, [("#", 'T'), ("1", 'a'), ("2", 'b'), ("3", 'c')], "{rows}: {out}");
    }
    assert!(told(&["explain", &id]).contains("task \"b\" (2 of 3)"));
    assert!(
        bench.database.store().process(&id).unwrap().unwrap().error_message.unwrap().contains("(2 of 3)")
    );
    assert!(told(&["retry", &id, "--from", "1", "--dry-run"]).ends_with("from task a\n"));
}

#[test]
fn a_locked_process_is_told_with_whose_lock_it_is_and_the_others_are_done() {
    let bench = Bench::with_tables("cli_locked");
    bench.database.register(&one_task("true"));
    let ids = bench.database.start_many("one-task", 3);
    let mut client = bench.database.sql();
    client.batch_execute("SET application_name = 'a stranger'").unwrap();
    let mut stranger = client.transaction().unwrap();
    stranger.query("SELECT cancel_process($1)", &[&ids[1]]).unwrap();
    let words = ["cancel", &ids[0], &ids[1], &ids[2]];
    let told = bench.run(&words).expect(1);
    assert_eq!(told.out, format!("{} CANCELLED\n{} CANCELLED\n", ids[0], ids[2]));
    let line = format!("error: failed to lock process {:?}: it is locked by pid ", ids[1]);
    assert!(told.err.starts_with(&line) && told.err.contains("(a stranger, user "), "{told:#?}");
    let told = bench.run(&[&words[..], &["--json"]].concat()).expect(1);
    assert_eq!(told.json()["counts"], serde_json::json!({"FINISHED": 2, "LOCKED": 1}));
    assert!(told.json()["processes"][1]["locked_by"].as_str().unwrap().contains("a stranger"), "{told:#?}");
    let error: serde_json::Value = serde_json::from_str(&told.err).unwrap();
    assert_eq!(error["error"]["code"], "locked");
    stranger.rollback().unwrap();
    bench.run(&["cancel", &ids[1]]).expect(0);
    let mut stranger = client.transaction().unwrap();
    stranger.query("SELECT FROM processes WHERE process_id = $1 FOR SHARE", &[&ids[1]]).unwrap();
    let pruned = bench.run(&["prune", "--older-than", "0s", "--yes"]).expect(0);
    assert_eq!(pruned.out, "deleted 2 processes\n");
    assert!(
        pruned.err.contains("a stranger") && pruned.err.contains("1 process locked by others"),
        "{pruned:#?}"
    );
    stranger.rollback().unwrap();
}
