//! Standard output for data, standard error for messages, and the lines of a live view that both must not spoil.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::journal;
use super::lines::Way;
use crate::cli::error::{self, CliError};
use crate::store::read::Listed;

/// Width of a terminal that doesn't tell.
const COLUMNS_DEFAULT: usize = 80;
/// Height of a terminal that doesn't tell.
const ROWS_DEFAULT: usize = 24;

/// What is at the other end of a standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Face {
    /// A terminal, so control characters must be kept from it.
    pub is_terminal: bool,
    /// Colours are welcome.
    pub has_color: bool,
    /// The terminal can redraw lines in place.
    pub can_redraw: bool,
    /// Characters beyond ASCII can be shown.
    pub has_unicode: bool,
}

/// Columns and rows of the terminal, or the usual ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

impl Face {
    /// Of standard output.
    pub fn stdout() -> Self {
        Self::new(io::stdout().is_terminal(), &environment)
    }

    /// Of standard error.
    pub fn stderr() -> Self {
        Self::new(io::stderr().is_terminal(), &environment)
    }

    fn new(is_terminal: bool, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let can_redraw = is_terminal && env("TERM").is_none_or(|term| term != "dumb");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| env(name)).unwrap_or_default();
        // A terminal of today shows UTF-8 whether or not somebody has set a locale, unless that says otherwise.
        let is_other_charset =
            locale.split_once('.').is_some_and(|(_, set)| !set.to_ascii_uppercase().starts_with("UTF"));
        Self {
            is_terminal,
            has_color: can_redraw && env("NO_COLOR").is_none(),
            can_redraw,
            has_unicode: !is_other_charset,
        }
    }

    /// How the output of commands is shown here, line by line.
    pub fn way(&self) -> Way {
        let columns = Size::of_stdout().map_or(COLUMNS_DEFAULT, |size| size.columns);
        Way {
            is_terminal: self.is_terminal,
            has_color: self.has_color,
            redraws: self.can_redraw.then_some(columns),
        }
    }
}

/// Whether standard output and standard error go to the same file, pipe or terminal.
pub fn is_one_place() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    let place = |stream: std::os::fd::BorrowedFd<'_>| {
        let file = std::fs::File::from(stream.try_clone_to_owned().ok()?);
        file.metadata().ok().map(|it| (it.dev(), it.ino()))
    };
    let (out, error) = (place(io::stdout().as_fd()), place(io::stderr().as_fd()));
    out.is_some() && out == error
}

/// A variable that is set to something.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Size {
    /// Of the terminal on standard output.
    fn of_stdout() -> Option<Self> {
        terminal_size::terminal_size_of(io::stdout()).map(Self::from)
    }

    /// Columns that a table on standard output may take up: in a pipe or file as many as it needs.
    pub fn stdout_columns() -> usize {
        let width = Self::of_stdout().map(|size| size.columns);
        let usual = if io::stdout().is_terminal() { COLUMNS_DEFAULT } else { usize::MAX };
        width.unwrap_or(usual)
    }

    /// Of the terminal on standard error, or the usual one.
    pub fn of_stderr() -> Self {
        let usual = Self { columns: COLUMNS_DEFAULT, rows: ROWS_DEFAULT };
        terminal_size::terminal_size_of(io::stderr()).map_or(usual, Self::from)
    }
}

impl From<(terminal_size::Width, terminal_size::Height)> for Size {
    fn from((width, height): (terminal_size::Width, terminal_size::Height)) -> Self {
        // Some pseudo-terminals say 0 by 0.
        let or_usual = |value: u16, usual| if value == 0 { usual } else { usize::from(value) };
        Self { columns: or_usual(width.0, COLUMNS_DEFAULT), rows: or_usual(height.0, ROWS_DEFAULT) }
    }
}

/// Writes data to standard output, with nothing left in a buffer.
///
/// # Errors
/// When it can't be written; [`CliError::exit_code`] makes a closed pipe a quiet end.
pub fn print(data: impl AsRef<[u8]>) -> Result<(), CliError> {
    // What was said before has to stand before.
    super::message_queue::finish();
    let mut stdout = io::stdout().lock();
    stdout.write_all(data.as_ref()).and_then(|()| stdout.flush()).map_err(CliError::Output)
}

/// Writes lines to standard output.
///
/// # Errors
/// As [`print`].
pub fn print_lines(lines: &[String]) -> Result<(), CliError> {
    print(lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>())
}

/// The same for many: they are made while they are written.
///
/// # Errors
/// As [`print`].
pub fn print_each(lines: impl Iterator<Item = String>) -> Result<(), CliError> {
    const TOGETHER: usize = 64 * 1024;
    let mut text = String::new();
    for line in lines {
        text.push_str(&line);
        text.push('\n');
        if text.len() >= TOGETHER {
            print(&text)?;
            text.clear();
        }
    }
    print(text)
}

/// Writes one JSON document to standard output.
///
/// # Errors
/// As [`print`].
pub fn print_json(document: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|cause| CliError::Failed(format!("failed to write JSON: {cause}")))?;
    print(text + "\n")
}

/// Prints the document of a list: its rows under `key`, and what is wrong with those that can't be read.
///
/// # Errors
/// When standard output can't be written.
pub fn print_list<T: Serialize>(list: &Listed<T>, key: &str) -> Result<(), CliError> {
    let document = list.to_document(key);
    print_json(&document.map_err(|cause| CliError::Failed(format!("failed to write JSON: {cause}")))?)
}

/// Says what is wrong with rows that can't be read and are therefore missing from what is printed.
pub fn tell_unreadable(problems: &[String]) {
    problems.iter().for_each(|problem| message(format!("failed to read {problem}")));
}

/// The lines of a live view that stand at the end of standard error now.
///
/// There is one standard error, which the live view, messages and log records share; so there is one of these.
static DRAWN_LINES: Mutex<usize> = Mutex::new(0);

fn drawn_lines() -> MutexGuard<'static, usize> {
    DRAWN_LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Moves to the first of the drawn lines and clears everything from there.
fn erase(drawn: &mut usize) -> String {
    match std::mem::take(drawn) {
        0 => String::new(),
        lines => format!("\r\x1b[{lines}A\x1b[J"),
    }
}

/// Writes to standard error. There is nobody to tell when that fails.
fn write_stderr(text: String) {
    let Err(text) = super::message_queue::offer(text) else { return };
    let mut stderr = io::stderr().lock();
    _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Writes a line to standard error, above a live view if one is drawn.
pub fn message(line: impl AsRef<str>) {
    let mut drawn = drawn_lines();
    let line = line.as_ref();
    let shown = if Face::stderr().is_terminal { super::text::escape_lines(line) } else { line.into() };
    write_stderr(format!("{}{shown}\n", erase(&mut drawn)));
}

/// The same for what ends the program or a thread: the journal has it as an error.
pub fn fatal(text: impl AsRef<str>) {
    message(journal::marked(journal::ERROR, text.as_ref()));
}

/// Tells an error on standard error: in lines for people or, beside data in JSON, as a line of JSON.
pub fn tell(error: &CliError) {
    match error::is_json() {
        true => error.to_json().iter().for_each(|it| fatal(it.to_string())),
        false => error.lines().iter().for_each(|line| fatal(format!("error: {line}"))),
    }
}

/// Asks on standard error, where the answer is typed behind the question; true for `y` and `yes`.
///
/// # Errors
/// When standard input can't be read.
pub fn ask(question: &str) -> Result<bool, CliError> {
    write_stderr(format!("{} [y/N] ", super::text::escape(question)));
    super::message_queue::finish();
    let mut answer = String::new();
    let failed = |cause| CliError::Failed(format!("failed to read the answer: {cause}"));
    io::stdin().read_line(&mut answer).map_err(failed)?;
    if !answer.ends_with('\n') {
        write_stderr("\n".to_owned());
    }
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Standard error for log records: they stand above a live view too.
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        message(String::from_utf8_lossy(record).trim_end_matches('\n'));
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines at the end of standard error that are redrawn in place; the cursor is hidden as long as it lives.
pub struct Canvas(());

impl Canvas {
    /// Hides the cursor.
    pub fn begin() -> Self {
        write_stderr("\x1b[?25l".to_owned());
        Self(())
    }

    /// Replaces the lines that are there; each must fit the terminal's width.
    pub fn draw(&mut self, lines: &[String]) {
        let mut drawn = drawn_lines();
        let up = if *drawn > 0 { format!("\r\x1b[{}A", *drawn) } else { String::new() };
        let lines_text: String = lines.iter().flat_map(|line| [line.as_str(), "\x1b[K\n"]).collect();
        // One write, so that the terminal never shows half a picture.
        write_stderr(format!("{up}{lines_text}\x1b[J"));
        *drawn = lines.len();
    }
}

impl Drop for Canvas {
    /// Leaves the last picture where it is and gives the cursor back.
    fn drop(&mut self) {
        *drawn_lines() = 0;
        write_stderr("\x1b[?25h".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(is_terminal: bool, variables: &[(&str, &str)]) -> Face {
        let find =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Face::new(is_terminal, &find)
    }

    #[test]
    fn colour_and_redrawing_are_for_terminals_that_want_them() {
        assert!(face(true, &[("TERM", "xterm")]).has_color);
        assert!(!face(false, &[("TERM", "xterm")]).has_color);
        assert!(!face(true, &[("NO_COLOR", "1")]).has_color);
        assert!(face(true, &[("NO_COLOR", "1")]).can_redraw);
        assert!(!face(true, &[("TERM", "dumb")]).can_redraw);
    }

    #[test]
    fn a_locale_without_utf_8_gets_ascii() {
        assert!(face(true, &[]).has_unicode);
        assert!(face(true, &[("LANG", "de_DE.UTF-8")]).has_unicode);
        assert!(!face(true, &[("LANG", "de_DE.ISO-8859-1")]).has_unicode);
        assert!(face(true, &[("LANG", "de_DE.ISO-8859-1"), ("LC_ALL", "C.utf8")]).has_unicode);
    }
}
