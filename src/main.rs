//! argv in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    process_orchestrator::cli::main(std::env::args_os())
}
