//! One command of a script, and what its variables are to the programs that read them.

use std::collections::HashMap;

use super::code::{Code, code_words, loses_environment};
use super::interpreters::{base_name, is_posix_shell, runs_another};
use super::vocabulary::is_assignment;

/// A variable that stands where it can't mean its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misplaced {
    /// In single quotes; holds the variable as it is written, and the program if they hold code that one reads.
    SingleQuotes(String, Option<String>),
    /// In a here-document; holds the variable and the document's word.
    HereDocument(String, String),
    /// Behind a backslash.
    Escaped(String),
    /// In code that a program reads; holds the variable and the program.
    Code(String, String),
}

/// One command of the script, as far as it has been read.
#[derive(Default)]
pub(super) struct Command<'s> {
    pub words: Vec<Word<'s>>,
    pub is_in_word: bool,
    pub here_documents: Vec<HereDocument>,
}

#[derive(Default)]
pub(super) struct Word<'s> {
    pub text: String,
    /// As they are written, and whether in single quotes.
    pub variables: Vec<(&'s str, bool)>,
    pub is_quoted: bool,
}

pub(super) struct HereDocument {
    pub word: String,
    pub is_quoted: bool,
    /// `<<-`
    pub has_tabs: bool,
}

/// Behind these a command begins.
const OPENING: &[&str] = &["if", "then", "elif", "else", "while", "until", "do", "!", "{", "time"];

impl<'s> Command<'s> {
    pub fn word(&mut self) -> &mut Word<'s> {
        if !self.is_in_word {
            self.words.push(Word::default());
            self.is_in_word = true;
        }
        let last = self.words.len() - 1;
        &mut self.words[last]
    }

    pub fn variable(&mut self, variable: &'s str, is_in_single_quotes: bool) {
        self.word().variables.push((variable, is_in_single_quotes));
    }

    /// Ends the word; returns how it changes the number of `case`s that are open.
    pub fn end_word(&mut self) -> i32 {
        if !std::mem::take(&mut self.is_in_word) {
            return 0;
        }
        let Some((last, before)) = self.words.split_last() else { return 0 };
        if last.is_quoted || !last.variables.is_empty() || before.iter().any(|word| !word.is_opening()) {
            return 0;
        }
        match last.text.as_str() {
            "case" => 1,
            "esac" => -1,
            _ => 0,
        }
    }

    /// Notes its variables that stand where they can't mean their values; returns the program that reads its standard
    /// input as code, if one does.
    pub fn judge(&self, found: &mut Vec<Misplaced>) -> Option<Code<'static>> {
        let is_prefix =
            |word: &Word<'_>| word.is_opening() || !word.is_quoted && is_assignment(&word.text).is_some();
        let begin = self.words.iter().position(|word| !is_prefix(word)).unwrap_or(self.words.len());
        let texts: Vec<&str> = self.words[begin..].iter().map(|word| word.text.as_str()).collect();
        let codes: HashMap<usize, Code<'_>> =
            code_words(&texts, true).into_iter().map(|code| (code.index + begin, code)).collect();
        for (index, word) in self.words.iter().enumerate() {
            let code = codes.get(&index);
            for &(variable, is_in_single_quotes) in &word.variables {
                let variable = variable.to_owned();
                match code {
                    // The other shell puts its value there.
                    Some(code) if is_in_single_quotes && code.reads_environment => {}
                    Some(code) if !is_in_single_quotes => {
                        found.push(Misplaced::Code(variable, code.program.to_owned()));
                    }
                    _ if is_in_single_quotes => {
                        let program = code.map(|code| code.program.to_owned());
                        found.push(Misplaced::SingleQuotes(variable, program));
                    }
                    _ => {}
                }
            }
        }
        reader_of_input(&texts)
    }
}

impl Word<'_> {
    pub fn is_opening(&self) -> bool {
        !self.is_quoted && OPENING.contains(&self.text.as_str())
    }
}

/// A shell or a language that is given no script reads its standard input.
fn reader_of_input(words: &[&str]) -> Option<Code<'static>> {
    const READERS: &[&str] =
        &["sh", "bash", "dash", "ksh", "zsh", "python", "perl", "ruby", "node", "php", "ssh"];
    let name = |word: &&str| READERS.iter().find(|reader| **reader == base_name(word)).copied();
    let most = if words.first().is_some_and(|first| runs_another(first)) { words.len() } else { 1 };
    let (at, program) = words.iter().take(most).enumerate().find_map(|(at, word)| Some((at, name(word)?)))?;
    let codes = code_words(words, true);
    let is_code = if program == "ssh" {
        // A login shell, or the one that is asked for: `ssh HOST bash -s`.
        let is_shell =
            |code: &Code<'_>| is_posix_shell(words[code.index].split(' ').next().unwrap_or_default());
        codes.first().is_none_or(is_shell)
    } else {
        let is_file = |word: &&str| !word.starts_with(['-', '+']);
        codes.is_empty() && (!words[at + 1..].iter().any(is_file) || words[at + 1..].contains(&"-s"))
    };
    let reads_environment = is_posix_shell(program) && !loses_environment(words);
    is_code.then_some(Code { index: at, program, reads_environment })
}
