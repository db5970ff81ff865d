//! argv in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    process_orchestrator::engine::guard::run_if_asked();
    process_orchestrator::cli::main(std::env::args_os())
}
