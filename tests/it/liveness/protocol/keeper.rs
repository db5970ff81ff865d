//! Only the heartbeat is cut off: its session has ended and it gets no other, while those of the node's other threads
//! live. Others declare the node dead, so it must have let go of everything by then.

use super::super::Served;
use super::stage::{LONG_LEASE, Stage};
use crate::common::wait_until;

/// A node of a role whose connections can be used up.
struct Limited {
    stage: Stage,
    role: String,
    a: Served,
}

impl Limited {
    fn new(test: &str) -> Self {
        let stage = Stage::new(test);
        let role = format!("{}_app", stage.bench.database.schema);
        stage.bench.database.sql().batch_execute(&format!("CREATE ROLE {role} LOGIN")).unwrap();
        stage.bench.run(&["migrate", "--grant-to", &role]).expect(0);
        let a = stage.node_of(&role, "a", LONG_LEASE, &[]);
        // All of its threads have a session now.
        let first = stage.start("first", &["true"]);
        stage.assert_whole(&[&first]);
        Self { stage, role, a }
    }

    fn limit(&self, connections: i32) {
        let alter = format!("ALTER ROLE {} CONNECTION LIMIT {connections}", self.role);
        self.stage.bench.database.sql().batch_execute(&alter).unwrap();
    }

    /// No new connection comes, and the heartbeat's ends.
    fn cut_keeper(&self) {
        self.stage.wait_for_locks();
        self.limit(0);
        self.stage.end_sessions("a keeper");
    }

    fn wait_for_death(&self) {
        let is_dead = || (self.stage.row("a", "state") == "DEAD").then_some(());
        wait_until("the node is declared dead", is_dead);
    }

    /// Connections are free again.
    fn heal(&self) {
        self.limit(-1);
        wait_until("the node goes on", || self.a.log().contains("node goes on").then_some(()));
        let last = self.stage.start("last", &["true", "true"]);
        self.stage.bench.database.wait_for(&last);
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.a.stop();
            let role = &self.role;
            let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
            self.stage.bench.database.sql().batch_execute(&drop).unwrap();
        }
    }
}

#[test]
fn a_node_whose_heartbeat_alone_is_cut_off_has_no_command_beside_those_of_its_heir() {
    let limited = Limited::new("keeper_commands");
    let stage = &limited.stage;
    // Their time is short: they are not asked first.
    let then =
        format!("[ $TASK_ATTEMPT != 1 ] || {{ trap '' TERM; exec sleep 100; }}; {}", stage.until("go"));
    let ids: Vec<_> = (0..3).map(|at| stage.start(&format!("running-{at}"), &[&then, "true"])).collect();
    ids.iter().for_each(|id| drop(stage.wait_for(id, 0, 1)));
    let mut b = stage.node("b", LONG_LEASE, &[]);
    limited.cut_keeper();
    limited.wait_for_death();
    ids.iter().for_each(|id| drop(stage.wait_for(id, 0, 2)));
    stage.release("go");
    stage.assert_whole(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    limited.heal();
    b.stop();
}

#[test]
fn a_node_that_was_declared_dead_claims_nothing_until_it_has_rejoined() {
    let limited = Limited::new("keeper_claims");
    let stage = &limited.stage;
    let mut b = stage.node("b", &[&["--executors", "1"], LONG_LEASE].concat(), &[]);
    // An executor more would claim what is started below.
    limited.a.signal("-STOP");
    let blocker = stage.start("blocker", &[&stage.until("go")]);
    stage.wait_for(&blocker, 0, 1);
    limited.a.signal("-CONT");
    limited.cut_keeper();
    limited.wait_for_death();
    let ids: Vec<_> = (0..3).map(|at| stage.start(&format!("later-{at}"), &["true", "true"])).collect();
    // Only one that claims what is due while nobody else has room would have begun it by now or begin it soon.
    let poll = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state_change > $2";
    let poller = format!("{} a poller", stage.bench.database.schema);
    let started: std::time::SystemTime =
        stage.bench.database.sql().query_one("SELECT clock_timestamp()", &[]).unwrap().get(0);
    let began = std::time::Instant::now();
    wait_until("the dead node has looked at the queue, or does not any more", || {
        let looked = stage.bench.database.sql().query_one(poll, &[&poller, &started]).unwrap();
        (looked.get::<_, i64>(0) > 0 || began.elapsed().as_secs() >= 1).then_some(())
    });
    stage.release("go");
    stage.assert_whole(&ids.iter().chain([&blocker]).map(String::as_str).collect::<Vec<_>>());
    for id in &ids {
        let outcomes = stage.outcomes(id);
        assert!(outcomes.len() == 2 && outcomes.iter().all(|it| it.1 == "b"), "{id}: {outcomes:?}");
    }
    limited.heal();
    b.stop();
}
