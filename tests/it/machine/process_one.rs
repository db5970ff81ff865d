//! The program as process 1 of a container.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use process_orchestrator::ProcessType;

use super::door::{Door, Pace};
use super::{Served, all_complete_at_once, database_url, is_granted, status_of};
use crate::common::{script, tool, wait_until};
use crate::program::{Bench, ended};

const OWN_NAMESPACE: [&str; 4] = ["unshare", "--pid", "--fork", "--mount-proc"];

fn can_have_a_namespace() -> bool {
    tool("unshare").is_some() && is_granted(&[&OWN_NAMESPACE[..], &["true"]].concat())
}

fn children_of(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

#[test]
fn as_process_one_it_reaps_orphans_heeds_signals_and_gives_the_exit_code() {
    if !can_have_a_namespace() {
        return;
    }
    let bench = Bench::with_tables("process_one");
    let mut serve = bench.started_by(&OWN_NAMESPACE, &["serve", "--no-http"]);
    let node = Served::ready(serve.env("DATABASE_URL", database_url()));
    let init = wait_until("process 1 is there", || children_of(node.pid()).first().copied());
    assert!(status_of(init, "NSpid:").unwrap().ends_with("\t1"), "it is process 1 of its namespace");
    // Each command leaves an orphan behind that ends a moment later: process 1 inherits it.
    let orphans = bench.folder.join("orphans");
    let text = format!("setsid sh -c 'echo $$ >> {}; exec sleep 0.05' >/dev/null 2>&1 &", orphans.display());
    bench.database.register(&ProcessType::new("parent", "").add(script("only", &text)));
    let ids = bench.database.start_many("parent", 20);
    all_complete_at_once(&bench.database, &ids);
    wait_until("every orphan has begun", || (super::read(&orphans).lines().count() == 20).then_some(()));
    wait_until("every orphan is reaped: only the node is left as a child of process 1", || {
        (children_of(init).len() == 1).then_some(())
    });
    bench.database.register(&ProcessType::new("slow", "").add(script("only", "sleep 600")));
    let slow = bench.database.start_many("slow", 1).remove(0);
    wait_until("the command runs", || {
        let tasks = bench.database.store().tasks(&slow).unwrap();
        (tasks[0].status == process_orchestrator::TaskStatus::InProgress).then_some(())
    });
    crate::program::send(init, "-TERM");
    node.says("SIGTERM: no more processes are claimed");
    crate::program::send(init, "-TERM");
    node.says("1 command ended before their time; they are due again");
    wait_until("it has ended", || (!Path::new(&format!("/proc/{init}")).exists()).then_some(()));
    assert_eq!(bench.database.count("scheduled_tasks WHERE NOT picked"), 1, "due again");
}

#[test]
fn as_process_one_it_ends_as_its_work_ends() {
    if !can_have_a_namespace() {
        return;
    }
    let bench = Bench::with_tables("process_one_code");
    let run =
        |words: &[&str]| ended(bench.started_by(&OWN_NAMESPACE, words).env("DATABASE_URL", database_url()));
    run(&["list"]).expect(0);
    run(&["show", "nobody"]).expect(3);
    run(&["lits"]).expect(2);
}

#[test]
fn as_process_one_it_keeps_the_password_that_it_was_given_too() {
    if !can_have_a_namespace() || tool("setpriv").is_none() {
        return;
    }
    let bench = Bench::with_tables("process_one_secrecy");
    let program = super::program_for_all(&bench);
    let user = super::user_of_nobody();
    let starter = super::starter_as(&user);
    if !is_granted(&[&OWN_NAMESPACE[..], &starter, &["true"]].concat()) {
        return;
    }
    let url = Door::open(Pace::AtOnce).url().replace("postgres@", "postgres:canary-in-a-url@");
    let words = [&OWN_NAMESPACE[..], &starter, &[&program, "serve", "--no-http"]].concat();
    let mut serve = bench.started_by_alone(&words, &["--database-url", &url]);
    let node = Served::ready(serve.env("HOME", "/"));
    let init = wait_until("process 1 is there", || children_of(node.pid()).first().copied());
    let child = wait_until("the one that works is there", || children_of(init).first().copied());
    for pid in [init, child] {
        // Root's are those files of a process that is closed to its own user.
        let owner = fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(owner == 0 && !line.contains("canary"), "process {pid} is open: owner {owner}, {line:?}");
    }
    crate::program::send(init, "-TERM");
    wait_until("it has ended", || (!Path::new(&format!("/proc/{init}")).exists()).then_some(()));
}
