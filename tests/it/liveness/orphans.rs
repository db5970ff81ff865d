//! Nothing of a command outlives its node, its timeout or a stop; nothing else is touched.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use process_orchestrator::command::NODE_VARIABLE;
use process_orchestrator::platform::processes::is_alive;
use process_orchestrator::{Outcome, ProcessInputData, ProcessType, TaskDefinition};

use super::{Served, pids_in};
use crate::common::{script, wait_until};
use crate::program::Bench;

/// A script that hides children in every way, writes all their ids, and stays: in its own group, in a session of
/// their own, forked twice, and forked twice into a session of its own.
fn hiding(pids: &Path) -> String {
    let file = pids.display();
    format!(
        "collect='{file}.part'; : > $collect\n\
         sleep 600 & echo $! >> $collect\n\
         setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $! >> $collect\n\
         (sh -c 'echo $$ >> '$collect'; exec sleep 600' </dev/null >/dev/null 2>&1 & )\n\
         (setsid sh -c 'echo $$ >> '$collect'; trap \"\" TERM; while :; do sleep 600; done' \
             </dev/null >/dev/null 2>&1 & )\n\
         echo $$ >> $collect\n\
         while [ $(wc -l < $collect) -lt 5 ]; do sleep 0.01; done\n\
         mv $collect '{file}'; exec sleep 600"
    )
}

fn all_gone(pids: &[u32], why: &str) {
    assert_eq!(pids.len(), 5, "{pids:?}");
    wait_until(&format!("none of {pids:?} lives {why}"), || {
        pids.iter().all(|pid| !is_alive(*pid)).then_some(())
    });
}

/// What looks like a command of a node and is none: the same line, another node's mark or none at all.
struct LookAlike(Child);

impl LookAlike {
    fn start(mark: Option<&str>) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "read line; exit 7", "sleep", "600"]).stdin(Stdio::piped());
        command.env_remove(NODE_VARIABLE);
        mark.map(|mark| command.env(NODE_VARIABLE, mark));
        Self(command.spawn().unwrap())
    }

    /// One that was killed or stopped does not end like this.
    fn was_left_alone(mut self) -> bool {
        self.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
        self.0.wait().unwrap().code() == Some(7)
    }
}

#[test]
fn a_killed_node_takes_all_its_commands_along_and_nothing_that_looks_like_them() {
    let bench = Bench::with_tables("orphans_killed");
    let pids_file = bench.folder.join("pids");
    bench.database.register(&ProcessType::new("hiding", "").add(script("hide", &hiding(&pids_file))));
    bench.database.start("hiding", ProcessInputData::new());
    let mut node = Served::start(&bench, "node", &[], &[]);
    let pids = pids_in(&pids_file);
    let node_id: String = bench.database.sql().query_one("SELECT node_id FROM nodes", &[]).unwrap().get(0);
    let alike = [
        LookAlike::start(None),
        LookAlike::start(Some("another-1-00000000")),
        LookAlike::start(Some(&format!("{node_id}0"))),
    ];
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    node.kill();
    all_gone(&pids, "after the node was killed");
    for (number, one) in alike.into_iter().enumerate() {
        assert!(one.was_left_alone(), "number {number} was hit: {}", node.log());
    }
}

#[test]
fn a_timeout_takes_everything_along_that_the_command_has_started_and_nothing_of_its_neighbour() {
    let bench = Bench::with_tables("orphans_timeout");
    let (timed_out, neighbour) = (bench.folder.join("timed-out"), bench.folder.join("neighbour"));
    let short = TaskDefinition { timeout_minutes: 0.02, ..script("hide", &hiding(&timed_out)) };
    bench.database.register(&ProcessType::new("short", "").add(short));
    bench.database.register(&ProcessType::new("long", "").add(script("hide", &hiding(&neighbour))));
    let long = bench.database.start("long", ProcessInputData::new());
    let mut node = Served::start(&bench, "node", &["--drain-timeout", "0s"], &[]);
    let neighbours = pids_in(&neighbour);
    let short = bench.database.start("short", ProcessInputData::new());
    let pids = pids_in(&timed_out);
    bench.database.wait_for(&short);
    assert_eq!(bench.database.store().executions(&short).unwrap()[0].outcome, Outcome::TimedOut);
    // At the record, not some time later.
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "{pids:?}: {}", node.log());
    assert!(neighbours.iter().all(|pid| is_alive(*pid)), "{neighbours:?}: {}", node.log());

    node.signal("-TERM");
    assert_eq!(node.ended().code(), Some(0), "{}", node.log());
    assert!(!neighbours.iter().any(|pid| is_alive(*pid)), "after the stop: {neighbours:?}: {}", node.log());
    let outcomes: Vec<_> =
        bench.database.store().executions(&long).unwrap().iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, [Outcome::Interrupted]);
}

#[test]
fn what_a_command_leaves_running_on_purpose_lives_on_when_it_and_its_node_end_in_order() {
    let bench = Bench::with_tables("orphans_daemon");
    let file = bench.folder.join("daemon");
    let text = format!(
        "setsid sh -c 'echo $$ > {0}.part; mv {0}.part {0}; exec sleep 600' </dev/null >/dev/null 2>&1 &",
        file.display()
    );
    bench.database.register(&ProcessType::new("daemon", "").add(script("leave", &text)));
    let id = bench.database.start("daemon", ProcessInputData::new());
    let mut node = Served::start(&bench, "node", &[], &[]);
    let daemon = pids_in(&file)[0];
    bench.database.wait_for(&id);
    node.stop();
    let lived = is_alive(daemon);
    crate::program::send(daemon, "-KILL");
    assert!(lived);
}
