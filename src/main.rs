//! argv in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    process_orchestrator::engine::guard::run_if_asked();
    #[cfg(unix)]
    process_orchestrator::platform::keep_descriptors();
    #[cfg(target_os = "linux")]
    if let Some(code) =
        process_orchestrator::platform::init::run_in_child_if_init(process_orchestrator::cli::keep_as_init)
    {
        return ExitCode::from(code);
    }
    process_orchestrator::cli::main(std::env::args_os())
}
