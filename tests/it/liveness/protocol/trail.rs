//! Those who end what a dead node has left die in the midst of it; and a result that the database refuses just when the
//! connection breaks.

use std::time::Duration;

use process_orchestrator::platform::processes::is_alive;

use super::stage::{LONG_LEASE, Stage, within};
use crate::common::{settings, wait_until};

#[test]
fn commands_of_a_dead_node_are_ended_although_the_node_that_declares_it_dead_dies_meanwhile() {
    let stage = Stage::new("declarer");
    let mut a = stage.node("a", LONG_LEASE, &[]);
    let id = stage.start("left", &["[ $TASK_ATTEMPT = 2 ] || exec sleep 100"]);
    let command = stage.wait_for(&id, 0, 1).pid;
    let mut c = stage.node("c", LONG_LEASE, &["before-heartbeat"]);
    stage.hold_heartbeat("c");
    let mut b = stage.node_by(settings().user(), "b", LONG_LEASE, "before-declaration=kill");
    // It goes with its guard, and leaves its command.
    a.signal("-STOP");
    super::freeze::kill_guard(&a);
    a.kill();
    b.ended();
    stage.open("c", "before-heartbeat");
    stage.wait_for(&id, 0, 2);
    stage.assert_whole(&[&id]);
    assert!(!is_alive(command));
    c.stop();
}

/// Nobody who declares a node dead from another host can end what it has left; a node of its own host can, whenever it
/// comes to see it.
#[test]
fn commands_of_a_dead_node_are_ended_by_a_node_of_its_host_although_one_of_another_host_declared_it_dead() {
    let stage = Stage::new("elsewhere");
    let mut a = stage.node("a", LONG_LEASE, &[]);
    let id = stage.start("left", &["[ $TASK_ATTEMPT = 2 ] || exec sleep 100"]);
    let command = stage.wait_for(&id, 0, 1).pid;
    let place = stage.row("a", "boot_id");
    let move_to = |place: &str| {
        let update = "UPDATE nodes SET boot_id = $1 WHERE name = 'a'";
        assert_eq!(stage.bench.database.sql().execute(update, &[&place]).unwrap(), 1);
    };
    // To the node that declares it dead its host is another.
    move_to("elsewhere");
    let mut b = stage.node("b", LONG_LEASE, &[]);
    a.signal("-STOP");
    super::freeze::kill_guard(&a);
    a.kill();
    wait_until("it is declared dead", || (stage.row("a", "state") == "DEAD").then_some(()));
    assert!(is_alive(command), "there is nothing left to end");
    move_to(&place);
    let mut c = stage.node("c", LONG_LEASE, &[]);
    within(Duration::from_secs(20), "its command is ended", || (!is_alive(command)).then_some(()));
    stage.bench.database.wait_for(&id);
    b.stop();
    c.stop();
}

/// The database refuses the first two tries to record an execution: that of the command's result and that of what is to
/// take its place.
const REFUSAL: &str = "
    CREATE SEQUENCE refusals;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('SCHEMA.refusals') <= 2 THEN
            RAISE 'not this one' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse AFTER INSERT ON executions FOR EACH ROW EXECUTE FUNCTION refuse();
";
/// And it breaks the session that then is to end the process, once.
const BLOW: &str = "
    CREATE SEQUENCE blows;
    CREATE FUNCTION blow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('SCHEMA.blows') = 1 THEN
            PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10);
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER blow BEFORE UPDATE ON processes FOR EACH ROW
        WHEN (NEW.status = 'FAILED' AND NEW.error_message LIKE 'failed to %') EXECUTE FUNCTION blow();
";

/// Every execution that began is in the trail, once, whatever became of its process.
fn assert_in_trail(stage: &Stage, id: &str) {
    let process = stage.bench.database.wait_for(id);
    let mut begun: Vec<_> = stage.begun().iter().map(|it| (it.task, it.attempt)).collect();
    begun.sort_unstable();
    let rows = "SELECT task_index, attempt FROM task_executions ORDER BY task_index, attempt";
    let rows = stage.bench.database.sql().query(rows, &[]).unwrap();
    let trail: Vec<(i32, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(begun, trail, "begun, and in the trail: {:?} {process:?}", stage.outcomes(id));
}

#[test]
fn a_result_that_the_database_refuses_leaves_its_execution_in_the_trail() {
    let stage = Stage::new("refused");
    stage
        .bench
        .database
        .sql()
        .batch_execute(&REFUSAL.replace("SCHEMA", &stage.bench.database.schema))
        .unwrap();
    let mut a = stage.node("a", LONG_LEASE, &[]);
    let id = stage.start("refused", &["true"]);
    assert_in_trail(&stage, &id);
    a.stop();
}

#[test]
fn a_result_that_is_refused_while_the_connection_breaks_leaves_its_execution_in_the_trail() {
    let stage = Stage::new("refused_and_cut");
    let schema = &stage.bench.database.schema;
    let faults = [REFUSAL, BLOW].concat().replace("SCHEMA", schema);
    stage.bench.database.sql().batch_execute(&faults).unwrap();
    let mut a = stage.node("a", LONG_LEASE, &[]);
    let id = stage.start("refused", &["true"]);
    wait_until("the connection breaks", || {
        let at_it = format!(
            "pg_stat_activity WHERE application_name = '{schema} a recorder' AND state = 'active' \
             AND query LIKE '-- Ends a process%'"
        );
        let is_struck = stage.bench.database.count("blows WHERE is_called") == 1;
        (is_struck && stage.bench.database.count(&at_it) == 0).then_some(())
    });
    // With a new session it asks which claims are its own, and gives back those that it does not know.
    stage.end_sessions("a poller");
    assert_in_trail(&stage, &id);
    a.stop();
}
