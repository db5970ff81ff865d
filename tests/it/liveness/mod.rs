//! Nodes that crash, freeze, stop, panic or are upgraded: the real binary, real signals, named failpoints.
//!
//! Linux only: guards, and what tells that a process of the same host is gone, are.
#![cfg(target_os = "linux")]
// Much of what is here is for the tests that need failpoints.
#![cfg_attr(not(feature = "failpoints"), allow(dead_code))]

#[cfg(feature = "failpoints")]
mod crash;
#[cfg(feature = "failpoints")]
mod freeze;
mod leftovers;
mod orphans;
#[cfg(feature = "failpoints")]
mod panics;
mod poison;
#[cfg(feature = "failpoints")]
mod protocol;
mod stop;
#[cfg(feature = "failpoints")]
mod upgrade;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use process_orchestrator::engine::NodeConfig;
use process_orchestrator::{Outcome, ProcessStatus, ProcessType};

use crate::common::{TestDatabase, script, wait_until};
use crate::program::{Bench, signal};

/// A node of the real binary, `serve`, that is killed at the end of its test whatever happens.
pub struct Served {
    child: Child,
    log: PathBuf,
}

impl Served {
    /// Starts it without waiting for anything.
    pub fn spawn(bench: &Bench, name: &str, words: &[&str], variables: &[(&str, &str)]) -> Self {
        let log = bench.folder.join(format!("{name}.log"));
        let endpoint: &[&str] = if words.contains(&"--listen") { &[] } else { &["--no-http"] };
        let words = [&["serve", "--node-name", name], endpoint, words].concat();
        let mut command = bench.command(&words);
        command.envs(variables.iter().copied()).stdout(File::create(&log).unwrap());
        command.stderr(File::options().append(true).open(&log).unwrap());
        Self { child: command.spawn().unwrap(), log }
    }

    /// Starts it and waits until it is ready.
    pub fn start(bench: &Bench, name: &str, words: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut node = Self::spawn(bench, name, words, variables);
        wait_until(&format!("node {name} is ready"), || {
            let ended = node.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", node.log());
            node.log().contains(" ready: node ").then_some(())
        });
        node
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        wait_until(&format!("the node of {} has ended", self.log.display()), || {
            self.child.try_wait().unwrap()
        })
    }

    /// Kills it and reaps it.
    pub fn kill(&mut self) {
        self.signal("-KILL");
        assert_eq!(self.ended().signal(), Some(9), "{}", self.log());
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        self.signal("-TERM");
        assert_eq!(self.ended().code(), Some(0), "{}", self.log());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended, and its guard does the rest.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where commands write down what they begin: a line `process task attempt` each.
pub fn journal(bench: &Bench) -> PathBuf {
    bench.folder.join("journal")
}

/// The line of a script that writes its execution into the journal.
pub fn writes(bench: &Bench) -> String {
    format!("echo \"$PROCESS_ID $TASK_INDEX $TASK_ATTEMPT\" >> '{}'", journal(bench).display())
}

/// What is in the journal.
pub fn written(bench: &Bench) -> Vec<String> {
    let text = fs::read_to_string(journal(bench)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Three tasks that only write that they were run.
pub fn three_tasks(bench: &Bench) -> ProcessType {
    (0..3).fold(ProcessType::new("three", ""), |kind, i| kind.add(script(&format!("t{i}"), &writes(bench))))
}

/// A file that a command waits for.
pub fn until_there(file: &Path) -> String {
    format!("while [ ! -e '{}' ]; do sleep 0.01; done", file.display())
}

/// Waits until a command has written a line of process ids into the file.
pub fn pids_in(file: &Path) -> Vec<u32> {
    wait_until(&format!("a command has written {}", file.display()), || {
        let text = fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'))?;
        Some(text.split_whitespace().map(|pid| pid.parse().unwrap()).collect())
    })
}

/// Holds the audit trail against the commands' own journal: every execution that began is in it, once, with one
/// outcome; only crashes were repeated, at no cost of retries. Gives how many executions were lost.
pub fn check_audit(bench: &Bench, ids: &[String]) -> usize {
    let mut begun: BTreeMap<String, usize> = BTreeMap::new();
    for line in written(bench) {
        *begun.entry(line).or_default() += 1;
    }
    assert!(begun.values().all(|times| *times == 1), "an execution was begun twice: {begun:?}");
    let mut store = bench.database.store();
    let mut lost = 0;
    for id in ids {
        let process = store.process(id).unwrap().unwrap();
        assert_eq!(process.status, ProcessStatus::Completed, "{process:?}");
        let executions = store.executions(id).unwrap();
        let mut last_end = None;
        for task in &store.tasks(id).unwrap().rows {
            let of_task: Vec<_> = executions.iter().filter(|it| it.task_index == task.task_index).collect();
            let attempts: Vec<u32> = of_task.iter().map(|it| it.attempt).collect();
            assert_eq!(attempts, (1..=task.attempt).collect::<Vec<_>>(), "{id}: {of_task:#?}");
            assert_eq!(task.retry_count, 0, "{id}: {of_task:#?}");
            let (last, earlier) = of_task.split_last().unwrap();
            assert_eq!(last.outcome, Outcome::Succeeded, "{id}: {of_task:#?}");
            let is_crash = |outcome| matches!(outcome, Outcome::Lost | Outcome::Interrupted);
            assert!(earlier.iter().all(|it| is_crash(it.outcome)), "{id}: {of_task:#?}");
            lost += earlier.iter().filter(|it| it.outcome == Outcome::Lost).count();
            let line = format!("{id} {} {}", task.task_index, last.attempt);
            assert_eq!(begun.get(&line), Some(&1), "{line} is recorded and was not begun");
            assert!(last_end.is_none_or(|end| end <= last.started_at), "{id}: out of order: {executions:#?}");
            last_end = Some(last.completed_at);
        }
    }
    let recorded = bench.database.count("task_executions");
    assert!(begun.len() <= usize::try_from(recorded).unwrap(), "{recorded} recorded of {begun:?}");
    assert_eq!(bench.database.count("scheduled_tasks"), 0);
    lost
}

/// Settings that tell a node's end sooner than the defaults, with room for a machine that is busy.
pub fn quick(database: &TestDatabase) -> NodeConfig {
    NodeConfig {
        heartbeat: Duration::from_millis(50),
        dead_after: Duration::from_millis(300),
        lease: Duration::from_secs(60),
        ..database.config()
    }
}
