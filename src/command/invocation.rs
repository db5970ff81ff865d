//! One command as it is to be run.

use std::path::PathBuf;
use std::time::Duration;

use super::interrupt::Interrupt;
use super::live::Live;
use crate::model::process_type::Leftovers;

/// Time between SIGTERM and SIGKILL: enough to flush and to remove temporary files, short enough that a
/// stopping node ends within the time that service managers allow (systemd: 90 s).
pub const GRACE: Duration = Duration::from_secs(5);

/// One command, every word of it final.
#[derive(Debug)]
pub struct Invocation<'a> {
    /// The program and its arguments; never empty.
    pub argv: Vec<String>,
    /// Where it runs; none means our own working directory.
    pub working_directory: Option<PathBuf>,
    /// Variables on top of the base environment; the last of several of one name counts.
    pub environment: Vec<(String, String)>,
    /// From the spawn on; after it everything of the execution is ended.
    pub timeout: Duration,
    /// Time between SIGTERM and SIGKILL, [`GRACE`] outside tests.
    pub grace: Duration,
    /// Of what is printed, the bytes kept (half of them from its begin, half from its end).
    pub max_output_bytes: u64,
    /// What becomes of what it has left running when it succeeds.
    pub leftovers: Leftovers,
    /// Whether the command is given a `$PROCESS_CONTEXT_FILE`.
    pub context_file: bool,
    /// How other threads ask the executor that runs it to end it.
    pub interrupt: &'a Interrupt,
    /// Where it shows what it prints while it runs, if anybody may look.
    pub live: Option<&'a Live>,
    /// What is called when it turns out not to be one of the shortest, or has to wait before it can be started.
    pub lasting: Option<Lasting<'a>>,
}

/// Called, once or more often, on the thread that runs the command.
#[derive(Clone, Copy)]
pub struct Lasting<'a>(pub &'a dyn Fn());

impl std::fmt::Debug for Lasting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lasting")
    }
}

impl Invocation<'_> {
    pub(super) fn note_lasting(&self) {
        if let Some(Lasting(note)) = self.lasting {
            note();
        }
    }

    /// The command's program as it was asked for; a script's shell by its name alone.
    pub(super) fn program(&self) -> &str {
        self.argv.first().map_or("", |program| if program == "/bin/sh" { "sh" } else { program })
    }
}
