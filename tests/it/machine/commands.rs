//! Commands that print, spawn or crash beyond measure.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use process_orchestrator::platform::processes::is_alive;
use process_orchestrator::{Outcome, ProcessStatus, ProcessType, TaskDefinition};

use super::disk_full::SmallDisk;
use super::{Served, peak_memory_kib};
use crate::common::{TestDatabase, one_task, script, wait_until};
use crate::program::Bench;

#[test]
fn one_line_of_a_hundred_megabytes_takes_little_memory_whatever_it_is_made_of() {
    /// The node itself, some copies of what is kept (1 MiB; a NUL becomes three bytes), and what an unoptimised
    /// build needs besides.
    const PEAK_KIB_MAX: u64 = 64 * 1024;
    const BYTES: u64 = 100_000_000;
    let bench = Bench::with_tables("long_line");
    let head = format!("head -c {BYTES} /dev/zero");
    bench.database.register(&ProcessType::new("nul", "").add(script("only", &head)));
    bench
        .database
        .register(&ProcessType::new("text", "").add(script("only", &format!("{head} | tr '\\0' x"))));
    let node = Served::ready(&mut bench.command(&["serve", "--no-http"]));
    let ids = ["nul", "text"].map(|name| bench.database.start_many(name, 1).remove(0));
    for id in &ids {
        assert_eq!(bench.database.wait_for(id).status, ProcessStatus::Completed);
        let execution = bench.database.store().executions(id).unwrap().remove(0);
        assert_eq!(execution.output_bytes, i64::try_from(BYTES).unwrap());
        let output = execution.output.unwrap();
        assert!(output.len() < 3_200_000 && output.contains("bytes left out ...]"), "{} bytes", output.len());
    }
    let peak = peak_memory_kib(node.pid());
    node.stop();
    assert!(peak < PEAK_KIB_MAX, "the node took {peak} KiB");
}

/// The task of the guide for a command that runs as another user.
#[test]
fn a_command_of_another_user_passes_its_values_on_as_the_guide_says() {
    use process_orchestrator::platform::files::effective_uid;
    if effective_uid() != 0 {
        return crate::common::leave_out("only root can run a command as another user");
    }
    if crate::common::tool("runuser").is_none() {
        return;
    }
    let guide = include_str!("../../../src/guide/process_types.md");
    let task = guide
        .split("```")
        .find(|block| block.starts_with("json") && block.contains("runuser"))
        .unwrap()
        .trim_start_matches("json");
    let document = format!(
        "{{\"name\": \"other\", \"tasks\": [{task}, {{\"name\": \"show\", \"command\": \"echo \
         ${{processContext.rows}}\"}}]}}"
    );
    let database = TestDatabase::new("other_user");
    let ended = database.run(&ProcessType::from_json(&document, "the guide").unwrap(), Default::default());
    assert_eq!(ended.output(1), "12\n");
}

#[test]
fn a_crash_is_recorded_by_its_signal_and_whether_it_left_a_core() {
    let bench = Bench::with_tables("crash");
    let crash = "ulimit -c unlimited 2>/dev/null; kill -SEGV $$";
    let status = Command::new("sh").args(["-c", crash]).current_dir(&bench.folder).status().unwrap();
    let core = if status.core_dumped() { ", core dumped" } else { "" };
    let task = TaskDefinition {
        working_directory: Some(bench.folder.to_str().unwrap().to_owned()),
        ..script("only", crash)
    };
    let ended = bench.database.run(&ProcessType::new("crashing", "").add(task), Default::default());
    let expected = format!("task \"only\" (1 of 1) failed: `sh` was ended by signal 11 (SIGSEGV){core}");
    assert_eq!(ended.error(), expected);
    let execution = bench.database.store().executions("crashing-1").unwrap().remove(0);
    assert_eq!((execution.outcome, execution.exit_code, execution.signal), (Outcome::Failed, None, Some(11)));
}

#[test]
fn a_small_fork_bomb_is_ended_whole_by_its_timeout() {
    let bench = Bench::with_tables("fork_bomb");
    let pids = bench.folder.join("pids");
    let text = format!(
        "i=0; while [ $i -lt 300 ]; do sleep 600 & echo $! >> '{}'; i=$((i + 1)); done; wait",
        pids.display()
    );
    // Long enough for all of them on a loaded machine.
    let task = TaskDefinition { timeout_minutes: 0.05, ..script("only", &text) };
    let ended = bench.database.run(&ProcessType::new("bomb", "").add(task), Default::default());
    assert!(ended.error().contains("exceeded its timeout of 3 s and was ended (SIGTERM)"), "{ended:#?}");
    let pids: Vec<u32> = super::read(&pids).lines().map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.len() > 20, "only {} were started", pids.len());
    wait_until("all are gone", || pids.iter().all(|pid| !is_alive(*pid)).then_some(()));
}

#[test]
fn a_command_that_stops_itself_does_not_outlast_its_timeout() {
    let database = TestDatabase::new("stopped_itself");
    let task =
        TaskDefinition { timeout_minutes: 0.005, ..script("only", "echo before; kill -STOP $$; echo after") };
    let ended = database.run(&ProcessType::new("stopped", "").add(task), Default::default());
    assert!(ended.error().contains("exceeded its timeout of 0.3 s and was ended (SIGTERM)"), "{ended:#?}");
    let execution = database.store().executions("stopped-1").unwrap().remove(0);
    assert_eq!((execution.outcome, ended.output(0)), (Outcome::TimedOut, "before\n"));
}

#[test]
fn a_command_that_reads_finds_nothing_and_does_not_wait() {
    let database = TestDatabase::new("reads_stdin");
    let ended = database.run(&one_task("sh -c 'cat; echo read: $?'"), Default::default());
    assert_eq!((ended.process.status, ended.output(0)), (ProcessStatus::Completed, "read: 0\n"));
}

#[test]
fn a_program_on_a_file_system_without_execution_is_told_so() {
    let bench = Bench::with_tables("noexec");
    let Some(disk) = SmallDisk::mount(&bench.folder.join("disk"), "noexec,size=64k") else { return };
    let tool = disk.0.join("tool");
    fs::write(&tool, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let by_name = TaskDefinition {
        environment: [("PATH".to_owned(), disk.0.to_str().unwrap().to_owned())].into(),
        ..TaskDefinition::new("only", "tool")
    };
    for task in [TaskDefinition::new("only", tool.to_str().unwrap()), by_name] {
        let ended = bench.database.run(&ProcessType::new("noexec", "").add(task), Default::default());
        let expected = format!(
            "task \"only\" (1 of 1) failed: `{0}` is on a file system from which nothing may be executed (it is mounted \
             noexec); move it to another, or have its interpreter read it, such as: sh {0}",
            tool.display()
        );
        assert_eq!(ended.error(), expected);
    }
}
