//! The library's API as the guide shows it.

use std::time::Duration;

use postgres::NoTls;
use process_orchestrator::database::ConnectionSettings;
use process_orchestrator::engine::NodeConfig;
use process_orchestrator::store::schedules::Added;
use process_orchestrator::{
    OrchestratorError, ProcessInputData, ProcessOrchestrator, ProcessStatus, ProcessType,
    ProcessTypeRegistry, Schedule, TaskStatus, Timing,
};

use crate::common::{PATIENCE, TestDatabase, wait_until};

fn pipeline() -> ProcessType {
    ProcessType::new("data-processing-pipeline", "Complete data processing pipeline")
        .add_task("load", "echo load ${input_file}", ".", 30.0, 2)
        .add_task("process", "echo process ${output_dir} ${config.batch_size}", ".", 60.0, 3)
}

fn orchestrator(database: &TestDatabase) -> ProcessOrchestrator {
    let mut registry = ProcessTypeRegistry::new();
    registry.register(pipeline()).unwrap();
    let config = NodeConfig { schema: database.schema.clone(), executors: 2, ..NodeConfig::default() };
    ProcessOrchestrator::new(database.settings().clone(), registry).with_config(config)
}

fn input() -> ProcessInputData {
    ProcessInputData::new()
        .input_file("/data/in.json")
        .output_dir("/data/out")
        .user_id("user123")
        .add_config("batch_size", "100")
}

#[test]
fn a_pipeline_is_registered_started_and_read_back() {
    let database = TestDatabase::bare("library");
    let orchestrator = orchestrator(&database);
    orchestrator.start().unwrap();
    orchestrator.start().unwrap();
    let id = orchestrator.start_process("data-processing-pipeline", input()).unwrap();
    assert_eq!(id, "data-processing-pipeline-1");
    let process = orchestrator.wait_for_process(&id, PATIENCE).unwrap();
    assert_eq!(process.status, ProcessStatus::Completed);
    let tasks = orchestrator.get_process_tasks(&id).unwrap();
    assert_eq!(tasks[1].output.as_deref(), Some("process /data/out 100\n"));
    assert!(tasks.iter().all(|task| task.status == TaskStatus::Completed));
    assert_eq!(orchestrator.get_process_executions(&id).unwrap().len(), 2);
    assert_eq!(orchestrator.get_process("nope").unwrap(), None);
    assert!(orchestrator.stop().is_some());
    assert!(orchestrator.stop().is_none());
}

#[test]
fn lists_are_read_page_by_page_newest_first() {
    let database = TestDatabase::new("pages");
    database.register(&pipeline());
    let orchestrator = orchestrator(&database);
    let requests =
        vec![process_orchestrator::store::start::StartRequest { input: input(), process_id: None }; 450];
    for part in requests.chunks(150) {
        orchestrator.start_processes("data-processing-pipeline", part, Default::default()).unwrap();
    }
    let all: Vec<_> = orchestrator.get_all_processes().map(|it| it.unwrap()).collect();
    assert_eq!(all.len(), 450);
    assert!(all.windows(2).all(|pair| (pair[0].created_at, &pair[0].process_id) > (pair[1].created_at, &pair[1].process_id)));
    assert_eq!(orchestrator.get_processes_by_status(ProcessStatus::NotStarted).count(), 450);
    for status in [ProcessStatus::Failed, ProcessStatus::Completed, ProcessStatus::InProgress] {
        assert_eq!(orchestrator.get_processes_by_status(status).count(), 0, "{status}");
    }
}

#[test]
fn a_users_own_pool_serves_as_well() {
    let database = TestDatabase::bare("own_pool");
    let manager = r2d2_postgres::PostgresConnectionManager::new(database.settings().config().clone(), NoTls);
    let pool = r2d2::Pool::builder().max_size(6).min_idle(Some(0)).build(manager).unwrap();
    let mut registry = ProcessTypeRegistry::new();
    registry.register(pipeline()).unwrap();
    let config = NodeConfig { schema: database.schema.clone(), executors: 2, ..NodeConfig::default() };
    let orchestrator = ProcessOrchestrator::new(pool, registry).with_config(config);
    orchestrator.start().unwrap();
    let id = orchestrator.start_process("data-processing-pipeline", input()).unwrap();
    assert_eq!(orchestrator.wait_for_process(&id, PATIENCE).unwrap().status, ProcessStatus::Completed);
    orchestrator.stop().unwrap();
}

#[test]
fn a_started_orchestrator_fires_schedules() {
    let database = TestDatabase::bare("library_schedules");
    let orchestrator = orchestrator(&database);
    orchestrator.start().unwrap();
    let timing = Timing::Every(Duration::from_secs(3_600));
    let mut schedule = Schedule::new("hourly", "data-processing-pipeline", timing);
    assert!(
        orchestrator.add_schedule(&schedule).unwrap_err().to_string().contains("lacks ${config.batch_size}")
    );
    schedule.input = input();
    assert_eq!(orchestrator.add_schedule(&schedule).unwrap(), Added::New);
    assert!(orchestrator.pause_schedule("hourly", Some("why")).unwrap());
    assert_eq!(orchestrator.schedules().unwrap()[0].pause_reason.as_deref(), Some("why"));
    assert!(orchestrator.resume_schedule("hourly").unwrap());
    wait_until("its time is computed", || orchestrator.schedules().unwrap()[0].next_at);
    database.sql().execute("UPDATE schedules SET next_at = date_trunc('hour', now())", &[]).unwrap();
    let id = wait_until("it has fired", || orchestrator.schedules().unwrap()[0].last_process_id.clone());
    let by_hand = orchestrator.run_schedule_now("hourly").unwrap();
    for id in [id, by_hand] {
        assert_eq!(orchestrator.wait_for_process(&id, PATIENCE).unwrap().status, ProcessStatus::Completed);
    }
    orchestrator.remove_schedule("hourly").unwrap();
    assert!(orchestrator.schedules().unwrap().is_empty());
    orchestrator.stop().unwrap();
}

#[test]
fn waiting_says_what_it_waited_for_in_vain() {
    let database = TestDatabase::new("waiting");
    database.register(&pipeline());
    let orchestrator = orchestrator(&database);
    let error = orchestrator.wait_for_process("nope", PATIENCE).unwrap_err();
    assert_eq!(error.to_string(), "there is no process \"nope\"");
    let id = orchestrator.start_process("data-processing-pipeline", input()).unwrap();
    let error = orchestrator.wait_for_process(&id, Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, OrchestratorError::StillRunning { .. }), "{error}");
}

#[test]
fn input_that_cannot_be_stored_is_refused_before_it_is_sent() {
    let database = TestDatabase::new("nul_input");
    database.register(&pipeline());
    let error = orchestrator(&database)
        .start_process("data-processing-pipeline", input().user_id("a\0b"))
        .unwrap_err();
    assert!(matches!(error, OrchestratorError::Input(_)), "{error}");
    assert!(error.to_string().contains("user_id"), "{error}");
}

/// The settings type is public so that a program can use what the command line would.
#[allow(dead_code)]
fn settings_are_a_source(settings: ConnectionSettings) -> ProcessOrchestrator {
    ProcessOrchestrator::new(settings, ProcessTypeRegistry::new())
}
