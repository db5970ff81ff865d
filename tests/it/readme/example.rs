//! The guide's example in Rust, of the page `starting`: from the mark on, this file's text stands there; the
//! tests beside it run it.

// --- starting.md ---
use std::error::Error;
use std::time::Duration;

use postgres::NoTls;
use process_orchestrator::{
    ProcessInputData, ProcessOrchestrator, ProcessStatus, ProcessType, ProcessTypeRegistry,
};
use r2d2_postgres::PostgresConnectionManager;

pub fn run_pipeline(database_url: &str, output_dir: &str) -> Result<(), Box<dyn Error>> {
    let load = "python3 scripts/load_data.py ${input_file} ${output_dir}/loaded.json";
    let process = "python3 scripts/process_data.py ${output_dir}/loaded.json ${output_dir}/processed.json";
    let generate =
        "python3 scripts/generate_report.py ${output_dir}/processed.json ${output_dir}/report.html";
    let analyze = "python3 scripts/analyze_results.py ${output_dir}/report.html ${output_dir}/analysis.json";
    // name, command, working directory, timeout in minutes, retries
    let pipeline = ProcessType::new("data-processing-pipeline", "Complete data processing pipeline")
        .add_task("load", load, ".", 30.0, 2)
        .add_task("process", process, ".", 60.0, 3)
        .add_task("generate", generate, ".", 45.0, 2)
        .add_task("analyze", analyze, ".", 30.0, 2);
    let mut registry = ProcessTypeRegistry::new();
    registry.register(pipeline)?;

    let manager = PostgresConnectionManager::new(database_url.parse()?, NoTls);
    let pool = r2d2::Pool::builder().max_size(8).build(manager)?;
    let orchestrator = ProcessOrchestrator::new(pool, registry);
    orchestrator.start()?; // makes the tables, registers the process types, runs what is due

    let input = ProcessInputData::new()
        .input_file("scripts/sample_input.json")
        .output_dir(output_dir)
        .user_id("user123")
        .add_config("batch_size", "100")
        .add_config("quality_threshold", "95.0")
        .add_metadata("source_system", "legacy_database");
    let id = orchestrator.start_process("data-processing-pipeline", input)?;
    orchestrator.wait_for_process(&id, Duration::from_secs(600))?;

    if let Some(process) = orchestrator.get_process(&id)? {
        println!("{id} {} {:?}", process.status, process.process_context.get("verdict"));
    }
    for task in orchestrator.get_process_tasks(&id)? {
        println!("{} {}, exit code {:?}", task.name, task.status, task.exit_code);
    }
    // Both lists are iterators that read one page after the other, newest first.
    for process in orchestrator.get_all_processes().take(10) {
        println!("{}", process?.process_id);
    }
    for process in orchestrator.get_processes_by_status(ProcessStatus::Failed) {
        println!("{:?}", process?.error_message);
    }
    orchestrator.stop();
    Ok(())
}
