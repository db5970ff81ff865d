//! Output on standard output, headings and remarks on standard error, in an order that makes sense where both are the
//! same terminal.

use std::time::Duration;

use super::tail::Piece;
use crate::cli::error::CliError;
use crate::cli::options::bulk::argument;
use crate::cli::options::global::GlobalOptions;
use crate::cli::screen::lines::Lines;
use crate::cli::screen::terminal::{Face, is_one_place, message, print};
use crate::cli::screen::text::{self, Clock};
use crate::model::records::TaskExecution;
use crate::store::live::LiveExecution;

/// Prints executions.
pub struct Printer {
    face: Face,
    clock: Clock,
    /// The program as it has to be called, and the process's id as its argument.
    program: String,
    id: String,
    /// What the lines are shown by; `None` prints them as they are stored.
    lines: Option<Lines>,
    /// What was printed last did not end its line.
    is_mid_line: bool,
    /// Standard error goes to the same place.
    is_shared: bool,
}

impl Printer {
    /// For the executions of a process; `raw` leaves their output as it is.
    pub fn new(process_id: &str, raw: bool, global: &GlobalOptions) -> Self {
        let face = Face::stdout();
        Self {
            face,
            clock: Clock::system(),
            program: global.program(),
            id: argument(process_id),
            lines: (!raw).then(|| Lines::new(face.way())),
            is_mid_line: false,
            is_shared: is_one_place(),
        }
    }

    /// The heading of one that has ended; its output follows by [`Printer::text`], then [`Printer::end_line`].
    ///
    /// # Errors
    /// When standard output can't be written.
    pub fn begin(&mut self, execution: &TaskExecution, is_deleted: bool) -> Result<(), CliError> {
        self.heading(&heading(execution, is_deleted))
    }

    /// The heading of one that runs.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub fn running(&mut self, live: &LiveExecution) -> Result<(), CliError> {
        let since = self.clock.short(live.started_at);
        let (name, node) = (text::escape(&live.task_name), text::escape(&live.node));
        self.heading(&format!("==> {name}, attempt {}: running on {node} since {since}", live.attempt))
    }

    /// What one has written since the last time.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub fn piece(&mut self, piece: &Piece, name: &str, attempt: u32) -> Result<(), CliError> {
        if piece.unseen > 0 {
            let bytes = if piece.unseen == 1 { "byte" } else { "bytes" };
            let remark = format!(
                "... {} {bytes} not seen; what is kept of them is shown once it has ended: {} logs --attempt {attempt} \
                 {} {}",
                piece.unseen,
                self.program,
                self.id,
                shell_words::quote(name)
            );
            self.remark(&remark)?;
        }
        self.text(&piece.text)
    }

    /// How one has ended whose output was printed while it ran.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub fn ended(&mut self, execution: &TaskExecution) -> Result<(), CliError> {
        self.remark(&heading(execution, false))
    }

    /// What stands above an output: that of another one before it has ended its line by then.
    fn heading(&mut self, line: &str) -> Result<(), CliError> {
        self.begin_line(true)?;
        message(line);
        Ok(())
    }

    /// A line on standard error. It begins its own line where that goes to the same place as the output.
    ///
    /// # Errors
    /// When standard output, whose last line it must not spoil, can't be written.
    pub fn remark(&mut self, line: &str) -> Result<(), CliError> {
        self.begin_line(false)?;
        message(line);
        Ok(())
    }

    fn begin_line(&mut self, is_for_output: bool) -> Result<(), CliError> {
        self.flush()?;
        let ends = self.face.is_terminal || (self.lines.is_some() && (is_for_output || self.is_shared));
        if ends && std::mem::take(&mut self.is_mid_line) { print("\n") } else { Ok(()) }
    }

    /// The end of the output, for now: a prompt begins its own line. In a pipe its last line stays as it was written.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub fn end_line(&mut self) -> Result<(), CliError> {
        self.flush()?;
        match self.face.is_terminal && std::mem::take(&mut self.is_mid_line) {
            true => print("\n"),
            false => Ok(()),
        }
    }

    /// Gives out what is there of a line that has not ended.
    fn flush(&mut self) -> Result<(), CliError> {
        let Some(lines) = &mut self.lines else { return Ok(()) };
        let (rest, is_open) = lines.finish();
        self.is_mid_line |= is_open;
        print(rest)
    }

    /// Output, or a piece of it.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub fn text(&mut self, text: &str) -> Result<(), CliError> {
        if text.is_empty() {
            return Ok(());
        }
        match &mut self.lines {
            None => {
                self.is_mid_line = !text.ends_with('\n');
                print(text)
            }
            Some(lines) => print(lines.take(text)),
        }
    }
}

fn heading(execution: &TaskExecution, is_deleted: bool) -> String {
    let time = Duration::try_from_secs_f64(execution.duration_ms / 1000.0).unwrap_or_default();
    let time = text::duration(time);
    let name = text::escape(&execution.task_name);
    let mut line = format!("==> {name}, attempt {}: {} after {time}", execution.attempt, execution.outcome);
    match (&execution.error_message, execution.output_bytes) {
        (Some(error), _) => line.push_str(&format!("; {}", text::escape(error))),
        (None, 0) => line.push_str("; no output"),
        (None, _) => {}
    }
    if is_deleted {
        line.push_str(&format!("; its output of {} has been deleted", text::size(execution.output_bytes)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lifecycle::Outcome;
    use jiff::Timestamp;

    fn execution() -> TaskExecution {
        let at = Timestamp::from_second(1_000_000_000).expect("a time");
        TaskExecution {
            process_id: "p-1".to_owned(),
            task_index: 0,
            task_name: "load".to_owned(),
            attempt: 2,
            node: "n".to_owned(),
            command: None,
            outcome: Outcome::Failed,
            exit_code: Some(3),
            signal: None,
            started_at: at,
            completed_at: at,
            duration_ms: 840.0,
            cpu_ms: None,
            peak_memory_bytes: None,
            output: None,
            output_bytes: 0,
            error_message: Some("exit code 3".to_owned()),
        }
    }

    #[test]
    fn a_heading_says_whose_output_follows() {
        assert_eq!(heading(&execution(), false), "==> load, attempt 2: FAILED after 0.8 s; exit code 3");
        let silent = TaskExecution { outcome: Outcome::Succeeded, error_message: None, ..execution() };
        assert_eq!(heading(&silent, false), "==> load, attempt 2: SUCCEEDED after 0.8 s; no output");
        let old = TaskExecution {
            outcome: Outcome::Succeeded,
            error_message: None,
            output_bytes: 1_250_000,
            ..execution()
        };
        let told = "==> load, attempt 2: SUCCEEDED after 0.8 s; its output of 1.2 MB has been deleted";
        assert_eq!(heading(&old, true), told);
    }
}
