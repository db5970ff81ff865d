//! What the attempts of a task leave running: nothing that a later attempt could meet, by the real binary.

use std::fs;
use std::time::Duration;

use process_orchestrator::model::retry::RetryPolicy;
use process_orchestrator::platform::processes::is_alive;
use process_orchestrator::{
    Leftovers, Outcome, ProcessInputData, ProcessStatus, ProcessType, TaskDefinition,
};

use super::{Served, pids_in};
use crate::common::script;
use crate::program::Bench;

/// Without a wait.
fn at_once() -> RetryPolicy {
    RetryPolicy { initial_delay: Duration::ZERO, ..RetryPolicy::default() }
}

/// Starts a writer in a session of its own, and waits until that has said its id in a file of the attempt's; says before
/// whether one of an attempt before still runs.
fn starts_a_writer(folder: &str) -> String {
    format!(
        "cd '{folder}'\n\
         for pid in $(cat writers 2>/dev/null); do\n\
           grep -q '^State:.[^ZX]' /proc/$pid/status 2>/dev/null && echo \"$TASK_ATTEMPT beside $pid\" >> overlaps\n\
         done\n\
         setsid sh -c 'echo $$ >> writers; : > \"writes-$TASK_ATTEMPT\"; while :; do sleep 0.01; done' \
             </dev/null >/dev/null 2>&1 &\n\
         until [ -e \"writes-$TASK_ATTEMPT\" ]; do sleep 0.01; done\n"
    )
}

#[test]
fn no_attempt_meets_what_the_one_before_has_left() {
    let bench = Bench::with_tables("leftovers_retry");
    let folder = bench.folder.display().to_string();
    for (name, end) in [("fails", "exit 1"), ("killed", "kill -9 $$"), ("late", "exec sleep 600")] {
        let own = bench.folder.join(name);
        fs::create_dir(&own).unwrap();
        let text = starts_a_writer(&format!("{folder}/{name}")) + end;
        let task = TaskDefinition {
            max_retries: 2,
            timeout_minutes: 0.02,
            retry: at_once(),
            ..script("write", &text)
        };
        bench.database.register(&ProcessType::new(name, "").add(task));
    }
    let mut node = Served::start(&bench, "node", &[], &[]);
    for name in ["fails", "killed", "late"] {
        let id = bench.database.start(name, ProcessInputData::new());
        assert_eq!(bench.database.wait_for(&id).status, ProcessStatus::Failed);
        let writers = pids_in(&bench.folder.join(name).join("writers"));
        assert!(!writers.iter().any(|pid| is_alive(*pid)), "{name}: {writers:?}: {}", node.log());
        let overlaps = fs::read_to_string(bench.folder.join(name).join("overlaps")).unwrap_or_default();
        assert_eq!((writers.len(), overlaps.as_str()), (3, ""), "{name}: {}", node.log());
    }
    node.stop();
}

#[test]
fn a_task_that_says_so_leaves_nothing_when_it_succeeds() {
    let bench = Bench::with_tables("leftovers_kill");
    let text = starts_a_writer(&bench.folder.display().to_string());
    for leftovers in [Leftovers::Keep, Leftovers::Kill] {
        let task = TaskDefinition { leftovers, ..script("write", &text) };
        bench.database.register(&ProcessType::new(leftovers.as_str(), "").add(task));
    }
    let mut node = Served::start(&bench, "node", &[], &[]);
    let ends = |kind: &str| {
        let id = bench.database.start(kind, ProcessInputData::new());
        bench.database.wait_for(&id);
        let execution = bench.database.store().executions(&id).unwrap().remove(0);
        assert_eq!((execution.outcome, execution.error_message), (Outcome::Succeeded, None));
        let pid = pids_in(&bench.folder.join("writers"))[0];
        ["writers", "writes-1"].iter().for_each(|it| fs::remove_file(bench.folder.join(it)).unwrap());
        (pid, is_alive(pid))
    };
    let (kept, lives) = ends("keep");
    crate::program::send(kept, "-KILL");
    assert!(lives, "{}", node.log());
    assert!(!ends("kill").1, "{}", node.log());
    node.stop();
}

/// A look through `/proc` is for those that need it: most commands succeed.
#[test]
fn a_success_costs_no_look() {
    let bench = Bench::with_tables("leftovers_look");
    let looks = |name: &str, command: &str, code: i32| {
        let task = TaskDefinition { max_retries: 0, ..TaskDefinition::new("only", command) };
        let file = bench.file(&ProcessType::new(name, "").add(task));
        let run = bench.run(&["run", &file, "--log-level", "debug"]).expect(code);
        run.err.matches("looked for what is left of a command").count()
    };
    assert_eq!(looks("succeeds", "true", 0), 0);
    assert_eq!(looks("fails", "false", 1), 1);
}
