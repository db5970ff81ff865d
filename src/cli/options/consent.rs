//! `--yes`: what is done to many processes at once is asked about first, where there is somebody to ask.

use std::io::{IsTerminal, stderr, stdin};

use clap::Args;

use crate::cli::error::CliError;
use crate::cli::screen::terminal;

/// Whether somebody has agreed beforehand.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Consent {
    /// Do it without asking
    #[arg(short = 'y', long)]
    pub yes: bool,
}

impl Consent {
    /// Asks on a terminal. `question` gives nothing when there is nothing to do, and `done` is the word for what is not
    /// done after a no. A script has named what it wants; only everything (`is_everything`) needs `--yes` there.
    ///
    /// # Errors
    /// When the answer is no, or a script wants everything without `--yes`.
    pub fn get(
        self,
        done: &str,
        is_everything: bool,
        question: impl FnOnce() -> Result<Option<String>, CliError>,
    ) -> Result<(), CliError> {
        if self.yes {
            return Ok(());
        }
        let can_ask = stdin().is_terminal() && stderr().is_terminal();
        if !can_ask && !is_everything {
            return Ok(());
        }
        let Some(question) = question()? else { return Ok(()) };
        if !can_ask {
            let question = question.trim_end_matches('?');
            return Err(CliError::Usage(format!(
                "there is no terminal to ask on: {question}? Add --yes if that is meant, or say which: --type, --status"
            )));
        }
        match terminal::ask(&question)? {
            true => Ok(()),
            false => Err(CliError::Failed(format!("the answer was no: nothing was {done}"))),
        }
    }
}

/// ` of type "x"`, or nothing.
pub fn of_type(process_type: Option<&str>) -> String {
    process_type.map(|name| format!(" of type {name:?}")).unwrap_or_default()
}

/// `1 FAILED process`, `2 processes`; the word before the noun ends with a blank.
pub fn counted_in(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "process" } else { "processes" })
}
