//! A node that runs out of file descriptors.

use process_orchestrator::{ProcessType, TaskDefinition};

use super::{Served, all_complete_at_once, limit};
use crate::common::script;
use crate::program::{Bench, ended};

/// The limit that leaves a process this many files to open. What it has open above the limit it keeps.
fn limit_with_room_for(pid: u32, room: usize) -> usize {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open: Vec<usize> =
        files.map(|file| file.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    let is_free = |number: &usize| !open.contains(number);
    (0..).filter(is_free).nth(room).unwrap()
}

#[test]
fn commands_wait_for_file_descriptors_and_no_retry_is_spent() {
    if process_orchestrator::platform::files::effective_uid() != 0 {
        return crate::common::leave_out("only root can see which files a node has open");
    }
    let bench = Bench::with_tables("few_files");
    let node = Served::ready(&mut bench.command(&["serve", "--no-http", "--executors", "6"]));
    let task = |name: &str| TaskDefinition { max_retries: 0, ..TaskDefinition::new(name, "sleep 0.1") };
    let passes_on = script("last", "echo seen=$TASK_INDEX >> $PROCESS_CONTEXT_FILE");
    bench.database.register(&ProcessType::new("busy", "").add(task("one")).add(task("two")).add(passes_on));
    // One command has it opened once and for all what every command needs.
    let first = bench.database.start_many("busy", 1);
    bench.database.wait_for(&first[0]);
    // Enough for one command at a time: the two ends of its pipe, of which one is closed for its exit.
    limit(&[], node.pid(), "--nofile", limit_with_room_for(node.pid(), 3));
    let mut ids = bench.database.start_many("busy", 12);
    node.says("Too many open files");
    ids.extend(first);
    all_complete_at_once(&bench.database, &ids);
    let passed_on = bench.database.count("processes WHERE process_context ->> 'seen' = '2'");
    assert_eq!(passed_on, 13, "what a command passes on arrives although files are short");
    let log = node.stop();
    let told = log.lines().find(|line| line.contains("Too many open files")).unwrap();
    assert!(
        told.contains("raise this process's limit of ") && told.contains("(ulimit -n, LimitNOFILE="),
        "{told}"
    );
    assert!(told.contains("it is tried again for up to 60s"), "{told}");
}

#[test]
fn a_node_that_is_given_too_few_files_says_what_it_needs() {
    let bench = Bench::with_tables("too_few_files");
    let with_limit = |files: u32, executors: &str| {
        let starter = ["sh", "-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"];
        bench.started_by(&starter, &["serve", "--no-http", "--executors", executors])
    };
    let refused = ended(&mut with_limit(64, "100")).expect(1);
    assert!(
        refused.err.contains("error: failed to start the node's threads: Too many open files"),
        "{refused:#?}"
    );
    assert!(refused.err.contains("raise this process's limit of 64 open files (ulimit -n, "), "{refused:#?}");

    let warned = Served::ready(&mut with_limit(128, "4"));
    let log = warned.stop();
    let part = "this process may have 128 files open and may need 192 + 5 x 4 executors = 212: ";
    assert!(log.contains(part) && log.contains("LimitNOFILE=212"), "{log}");
}
