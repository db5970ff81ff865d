//! What the program was started with, beyond its three streams, stays with it.

use std::process::Command;

use crate::common::script;
use crate::program::{Bench, ended};

#[test]
fn nothing_that_the_program_starts_holds_what_it_was_started_with() {
    let bench = Bench::new("descriptors");
    // Whoever has the lock open: commands, the guard, the private server and its children, all that can be seen.
    let look = "for fd in /proc/[0-9]*/fd/*; do [ \"$(readlink $fd)\" = \"$HOLDS\" ] || continue; \
                cat /proc/$(echo $fd | cut -d/ -f3)/comm; done; ls /proc/self/fd | tr '\\n' ' '";
    let lock = bench.folder.join("lock");
    let file = bench.file(&process_orchestrator::ProcessType::new("looks", "").add(script("look", look)));
    let folder = std::env::temp_dir().join(format!("po-fds-{}", std::process::id()));
    let run = format!(
        "exec 9>'{lock}' 7<'{lock}' 200<'{lock}'; flock 9; umask 077; exec \"$@\"",
        lock = lock.display()
    );
    let mut command: Command =
        bench.started_by(&["bash", "-c", &run, "bash"], &["run", &file, "--process-id", "p"]);
    // A server of its own, which this program starts.
    command.env("PROCESS_ORCHESTRATOR_DATA_DIR", &folder).env("HOLDS", &lock);
    ended(&mut command).expect(0);
    let mut logs = bench.command(&["logs", "p"]);
    let told = ended(logs.env("PROCESS_ORCHESTRATOR_DATA_DIR", &folder)).expect(0);
    let lines: Vec<&str> = told.out.lines().filter(|line| !line.starts_with("==>")).collect();
    let (own, holders) = lines.split_last().unwrap();
    assert!(!holders.is_empty(), "the node itself keeps it: {told:#?}");
    assert!(holders.iter().all(|name| *name == "process-orchest"), "{told:#?}");
    assert_eq!(holders.len(), 3, "one process with three descriptors: {told:#?}");
    // The last is that of the list itself.
    assert_eq!(*own, "0 1 2 3 ", "{told:#?}");
    std::fs::remove_dir_all(&folder).unwrap();
}
