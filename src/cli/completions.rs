//! `completions`: a script that teaches a shell the commands and options.

use clap::Args;
use clap_complete::Shell;

use super::error::CliError;
use super::terminal::print;

/// For which shell.
#[derive(Debug, Args)]
pub struct Options {
    /// The shell
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// When standard output can't be written.
pub fn run(options: &Options) -> Result<(), CliError> {
    let mut script = Vec::new();
    let mut command = super::help::for_completions(super::command());
    clap_complete::generate(options.shell, &mut command, "process-orchestrator", &mut script);
    print(script)
}
