//! `completions`: a script that teaches a shell the commands, the options and what the database knows; and `complete`,
//! which that script asks for candidates at each key press.
//!
//! `clap_complete` has no values from a database, and its script for bash is broken for a name with a hyphen.

mod line;
mod values;

use std::ffi::OsString;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use clap_complete::Shell;

use self::line::Line;
use self::values::{Candidate, Kind};
use super::error::CliError;
use super::screen::terminal::print;
use super::screen::text;

/// The word that asks for candidates in the place of a command: `complete SHELL LINE [PIECE]`. Only scripts use it.
const ASK: &str = "complete";
/// Somebody waits with a finger on the key. What is there by then is offered.
const PATIENCE: Duration = Duration::from_millis(170);

/// For which shell.
#[derive(Debug, Args)]
pub struct Options {
    /// The shell
    pub shell: Shell,
}

/// Prints the script of a shell.
///
/// # Errors
/// When standard output can't be written.
pub fn run(options: &Options, definition: clap::Command) -> Result<(), CliError> {
    match options.shell {
        Shell::Bash => print(include_str!("bash.sh")),
        Shell::Zsh => print(include_str!("zsh.sh")),
        Shell::Fish => print(include_str!("fish.fish")),
        // These complete commands and options only.
        other => {
            let mut script = Vec::new();
            let mut definition = super::help::for_completions(definition);
            clap_complete::generate(other, &mut definition, "process-orchestrator", &mut script);
            print(script)
        }
    }
}

/// Answers if these are the arguments with which a shell asks for candidates: a line that says what they are, then one
/// line each with its explanation behind a tab. Whatever fails, there are fewer of them and no message: the user is in the
/// middle of a line.
pub fn answer_if_asked(arguments: &[OsString], definition: fn() -> clap::Command) -> bool {
    let words: Vec<String> = arguments.iter().skip(1).map(|it| it.to_string_lossy().into_owned()).collect();
    let [ask, shell, line, piece @ ..] = words.as_slice() else { return false };
    if ask != ASK {
        return false;
    }
    let (line, shell, piece) = (line.clone(), shell.clone(), piece.first().cloned());
    let (sender, receiver) = mpsc::channel();
    // The thread is left alone when it takes too long: the program ends, and with it the connection.
    let asked = std::thread::Builder::new().name("candidates".to_owned()).spawn(move || {
        let mut definition = definition();
        definition.build();
        let found = values::of(&Line::read(&definition, &line), &definition);
        // Nobody listens once the time is over.
        drop(sender.send(found));
    });
    let found = asked.ok().and_then(|_| receiver.recv_timeout(PATIENCE).ok());
    if let Some((kind, candidates, word)) = found {
        let skipped = match shell.as_str() {
            "bash" => piece.map_or(0, |piece| already_there(&word, &piece)),
            _ => 0,
        };
        // A shell that has gone needs no answer.
        drop(print(answer(kind, &candidates, skipped)));
    }
    true
}

fn answer(kind: Kind, candidates: &[Candidate], skipped: usize) -> String {
    let lines = candidates.iter().filter_map(|it| {
        let value = it.value.get(skipped..)?;
        // Lines and tabs are what separates them.
        let is_clean = !value.chars().any(char::is_control);
        is_clean.then(|| format!("{value}\t{}\n", text::escape(&it.about)))
    });
    std::iter::once(format!("{}\n", kind.as_str())).chain(lines).collect()
}

/// Bytes of a word that bash leaves where they are: what it completes begins behind the last `=`, `:` or `@`.
fn already_there(word: &str, piece: &str) -> usize {
    let bare = shell_words::split(piece).ok().and_then(|words| words.into_iter().next());
    let ends = [piece, bare.as_deref().unwrap_or(piece)];
    ends.iter().find(|end| word.ends_with(**end)).map_or(0, |end| word.len() - end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bash_gets_what_follows_its_word_break() {
        for (word, piece, skipped) in [
            ("--status=fa", "fa", 9),
            ("--status=", "", 9),
            ("show", "show", 0),
            ("a b", r"a\ b", 0),
            ("--type=a b", r"a\ b", 7),
            ("a", "other", 0),
        ] {
            assert_eq!(already_there(word, piece), skipped, "{word} {piece}");
        }
    }

    #[test]
    fn candidates_are_lines_without_surprises() {
        let candidate =
            |value: &str, about: &str| Candidate { value: value.to_owned(), about: about.to_owned() };
        let all = [candidate("--type=a b", "one\ttwo\n"), candidate("x\ny", "")];
        assert_eq!(answer(Kind::Words, &all, 7), "words\na b\tone\\ttwo\\n\n");
    }
}
