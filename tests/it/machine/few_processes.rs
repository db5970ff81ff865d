//! A machine that refuses to make another process.

use process_orchestrator::platform::files::effective_uid;
use process_orchestrator::{ProcessType, TaskDefinition};

use super::door::{Door, Pace};
use super::{Served, all_complete_at_once, is_granted, limit, status_of};
use crate::common::{tool, wait_until};
use crate::program::{Bench, ended};

#[test]
fn commands_wait_for_room_in_the_process_table_and_no_retry_is_spent() {
    // Root is not bound by the limit, so the node runs as a user that nobody is.
    if effective_uid() != 0 {
        return crate::common::leave_out("only root can start a node as another user");
    }
    if tool("setpriv").is_none() {
        return;
    }
    let bench = Bench::with_tables("few_processes");
    let program = super::program_for_all(&bench);
    let user = super::user_of_nobody();
    let starter = super::starter_as(&user);
    if !is_granted(&[&starter[..], &["true"]].concat()) {
        return;
    }
    let url = Door::open(Pace::AtOnce).url();
    let serve = |words: &[&str]| {
        let template = bench.command(&[]);
        let mut command = std::process::Command::new(starter[0]);
        command.args(&starter[1..]).args(words).current_dir(&bench.folder);
        for (name, value) in template.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("DATABASE_URL", &url).env("HOME", "/");
        command
    };
    let node = Served::ready(&mut serve(&[&program, "serve", "--no-http", "--executors", "6"]));
    let task = |name: &str| TaskDefinition { max_retries: 0, ..TaskDefinition::new(name, "sleep 0.1") };
    bench.database.register(&ProcessType::new("busy", "").add(task("one")).add(task("two")));
    // The guard is the one process that the user has besides the node's threads; there is room for one command.
    let threads: usize =
        wait_until("the node's threads are known", || status_of(node.pid(), "Threads:")?.parse().ok());
    limit(&starter, node.pid(), "--nproc", threads + 2);
    let ids = bench.database.start_many("busy", 12);
    node.says("Resource temporarily unavailable");
    all_complete_at_once(&bench.database, &ids);
    let log = node.stop();
    let told = log.lines().find(|line| line.contains("Resource temporarily unavailable")).unwrap();
    assert!(told.contains("failed to start `sleep`: ") && told.contains("(ulimit -u, TasksMax="), "{told}");

    let limited = ["prlimit", "--nproc=6", &program, "serve", "--no-http", "--executors", "64"];
    let refused = ended(&mut serve(&limited)).expect(1);
    assert!(refused.err.contains("Resource temporarily unavailable"), "{refused:#?}");
    assert!(refused.err.contains("(ulimit -u, TasksMax="), "{refused:#?}");
}
