//! `completions`: a script that teaches a shell the commands and options.

use clap::Args;
use clap_complete::Shell;

use super::error::CliError;
use super::screen::terminal::print;

/// For which shell.
#[derive(Debug, Args)]
pub struct Options {
    /// The shell
    pub shell: Shell,
}

/// Prints the script for the definition of the command line.
///
/// # Errors
/// When standard output can't be written.
pub fn run(options: &Options, definition: clap::Command) -> Result<(), CliError> {
    let mut script = Vec::new();
    let mut definition = super::help::for_completions(definition);
    clap_complete::generate(options.shell, &mut definition, "process-orchestrator", &mut script);
    print(script)
}
