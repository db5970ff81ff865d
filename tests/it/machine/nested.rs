//! A command that is this program itself, of a user without rights.

use process_orchestrator::platform::files::effective_uid;
use process_orchestrator::platform::processes::is_alive;
use process_orchestrator::{ProcessInputData, ProcessType};

use super::door::{Door, Pace};
use super::{Served, is_granted};
use crate::common::{script, tool, wait_until};
use crate::program::{Bench, signal};

#[test]
fn a_nested_orchestrator_ends_with_the_node_whose_command_it_is() {
    let bench = Bench::with_tables("nested");
    let program = super::program_for_all(&bench);
    let user = super::user_of_nobody();
    // Root sees everything: the guard has to find it without that.
    let starter = super::starter_as(&user);
    let starter = if effective_uid() == 0 { &starter[..] } else { &[] };
    if !starter.is_empty() && (tool("setpriv").is_none() || !is_granted(&[starter, &["true"]].concat())) {
        return;
    }
    let url = Door::open(Pace::AtOnce).url();
    let inner = bench.file(&ProcessType::new("inner", "").add(script("sleep", "exec sleep 600")));
    let outer = format!(
        "exec {program} run {}/{inner} --database-url '{url}' --schema {}",
        bench.folder.display(),
        bench.database.schema
    );
    bench.database.register(&ProcessType::new("outer", "").add(script("nest", &outer)));
    bench.database.start("outer", ProcessInputData::new());
    let words = [starter, &[&program]].concat();
    let mut serve = bench.started_by_alone(&words, &["serve", "--no-http"]);
    let node = Served::ready(serve.env("DATABASE_URL", &url).env("HOME", "/"));
    let mut client = bench.database.sql();
    let inner: i32 = wait_until("the inner process runs", || {
        let asked = "SELECT n.pid FROM scheduled_tasks s JOIN nodes n ON n.node_id = s.picked_by \
                     WHERE s.task_name = 'inner'";
        client.query_opt(asked, &[]).unwrap().map(|row| row.get(0))
    });
    let inner = u32::try_from(inner).unwrap();
    assert!(inner != node.pid() && is_alive(inner));
    signal(&node.child, "-KILL");
    wait_until("the inner one has ended", || (!is_alive(inner)).then_some(()));
}
