//! Those who end what a dead node has left die in the midst of it; and a result that the database refuses just when the
//! connection breaks.

use process_orchestrator::platform::processes::is_alive;

use super::stage::{LONG_LEASE, Stage};
use crate::common::{settings, wait_until};

#[test]
fn commands_of_a_dead_node_are_ended_although_the_node_that_declares_it_dead_dies_meanwhile() {
    let stage = Stage::new("declarer");
    let mut a = stage.node("a", LONG_LEASE, &[]);
    let id = stage.start("left", &["[ $TASK_ATTEMPT = 2 ] || exec sleep 600"]);
    let command = stage.wait_for(&id, 0, 1).pid;
    let mut c = stage.node("c", LONG_LEASE, &["before-heartbeat"]);
    stage.shut("c", "before-heartbeat");
    stage.wait_at("c", "before-heartbeat");
    let mut b = stage.node_by(settings().user(), "b", LONG_LEASE, "declaring=kill");
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

/// The database refuses the first two tries to record an execution, and breaks every session of the node when that is
/// then to end the process.
const REFUSAL: &str = "
    CREATE SEQUENCE refusals; CREATE SEQUENCE blows;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('SCHEMA.refusals') <= 2 THEN
            RAISE 'not this one' USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END $$;
    CREATE FUNCTION blow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('SCHEMA.blows') = 1 THEN
            PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name LIKE 'SCHEMA a %' AND pid <> pg_backend_pid();
            PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10);
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON task_executions FOR EACH ROW EXECUTE FUNCTION refuse();
    CREATE TRIGGER blow BEFORE UPDATE ON processes FOR EACH ROW WHEN (NEW.status = 'FAILED') EXECUTE FUNCTION blow();
";

#[test]
fn a_result_that_is_refused_while_the_connection_breaks_leaves_its_execution_in_the_trail() {
    let stage = Stage::new("refused");
    let schema = &stage.bench.database.schema;
    stage.bench.database.sql().batch_execute(&REFUSAL.replace("SCHEMA", schema)).unwrap();
    let mut a = stage.node("a", LONG_LEASE, &[]);
    let id = stage.start("refused", &["true"]);
    stage.wait_for(&id, 0, 1);
    let blows = || stage.bench.database.count("blows WHERE is_called");
    wait_until("the connection breaks", || (blows() == 1).then_some(()));
    stage.bench.database.wait_for(&id);
    let mut times: Vec<_> = stage.begun().iter().map(|it| it.attempt).collect();
    let begun = times.len();
    times.dedup();
    let trail = stage.outcomes(&id);
    assert_eq!(times.len(), begun, "an attempt was begun twice: {:#?}", stage.begun());
    assert_eq!(trail.len(), begun, "begun {:#?}, in the trail {trail:?}: {}", stage.begun(), a.log());
    a.stop();
}
