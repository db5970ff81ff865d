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
    /// What the next word is.
    pub next: Role,
    pub here_documents: Vec<HereDocument>,
}

#[derive(Default)]
pub(super) struct Word<'s> {
    pub text: String,
    /// As they are written, and whether in single quotes.
    pub variables: Vec<(&'s str, bool)>,
    pub is_quoted: bool,
    pub role: Role,
}

/// What a word is for its command.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Role {
    #[default]
    Argument,
    /// A file behind `<` or `>`, or the number before it.
    Target,
    /// Behind `<<<`.
    HereString,
}

pub(super) struct HereDocument {
    pub word: String,
    pub is_quoted: bool,
    /// `<<-`
    pub has_tabs: bool,
}

/// These print their arguments.
const PRINTERS: &[&str] = &["echo", "printf"];
/// These print what they read, more or less.
const PASSERS: &[&str] = &["cat", "tee", "sed", "tr", "grep", "head", "tail", "sort", "uniq", "envsubst"];

/// Behind these a command begins.
const OPENING: &[&str] = &["if", "then", "elif", "else", "while", "until", "do", "!", "{", "time"];

impl<'s> Command<'s> {
    pub fn word(&mut self) -> &mut Word<'s> {
        if !self.is_in_word {
            self.words.push(Word { role: std::mem::take(&mut self.next), ..Word::default() });
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

    /// Behind a word that `<` or `>` follows: the digits of `2>` are no argument.
    pub fn redirect(&mut self) {
        if self.is_in_word
            && let Some(last) = self.words.last_mut()
            && !last.is_quoted
            && last.variables.is_empty()
            && !last.text.is_empty()
            && last.text.chars().all(|c| c.is_ascii_digit())
        {
            last.role = Role::Target;
        }
        self.next = Role::Target;
    }

    /// The program and its arguments, each with its place.
    fn arguments(&self) -> (Vec<usize>, Vec<&str>) {
        let is_prefix =
            |word: &Word<'_>| word.is_opening() || !word.is_quoted && is_assignment(&word.text).is_some();
        let words = self.words.iter().enumerate().filter(|(_, word)| word.role == Role::Argument);
        words.skip_while(|(_, word)| is_prefix(word)).map(|(at, word)| (at, word.text.as_str())).unzip()
    }

    /// The program that reads as code what a file named by the next word holds, if it does.
    pub fn reader_of_file(&self) -> Option<Code<'static>> {
        match self.arguments().1.as_slice() {
            ["source" | "."] => Some(Code { index: 0, program: "source", reads_environment: true }),
            words => reader_of_input(words),
        }
    }

    /// Notes its variables that stand where they can't mean their values; `sink` is the program that reads what it prints
    /// as code. Returns the one that reads its standard input as code, if one does.
    pub fn judge(&self, sink: Option<Code<'static>>, found: &mut Vec<Misplaced>) -> Option<Code<'static>> {
        let (places, texts) = self.arguments();
        let program = texts.first().copied().map(base_name).unwrap_or_default();
        let printed = sink.filter(|_| PRINTERS.contains(&program));
        let reader = reader_of_input(&texts).or(sink.filter(|_| PASSERS.contains(&program)));
        let codes: HashMap<usize, Code<'_>> =
            code_words(&texts, true).into_iter().map(|code| (places[code.index], code)).collect();
        for (index, word) in self.words.iter().enumerate() {
            let code = match word.role {
                Role::Target => None,
                Role::HereString => reader,
                Role::Argument => codes.get(&index).copied().or(printed),
            };
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
        reader
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
        &["sh", "bash", "dash", "ksh", "zsh", "python", "perl", "ruby", "node", "php", "ssh", "su"];
    if let [sudo, .., "-i" | "-s" | "--login" | "--shell"] = words
        && base_name(sudo) == "sudo"
    {
        return Some(Code { index: 0, program: "sudo", reads_environment: false });
    }
    let name = |word: &&str| READERS.iter().find(|reader| **reader == base_name(word)).copied();
    let most = if words.first().is_some_and(|first| runs_another(first)) { words.len() } else { 1 };
    let (at, program) = words.iter().take(most).enumerate().find_map(|(at, word)| Some((at, name(word)?)))?;
    let codes = code_words(words, true);
    let is_code = if program == "ssh" {
        // A login shell, or the one that is asked for: `ssh HOST bash -s`.
        let is_shell =
            |code: &Code<'_>| is_posix_shell(words[code.index].split(' ').next().unwrap_or_default());
        codes.first().is_none_or(is_shell)
    } else if program == "su" {
        codes.is_empty()
    } else {
        let is_file = |word: &&str| !word.starts_with(['-', '+']);
        codes.is_empty() && (!words[at + 1..].iter().any(is_file) || words[at + 1..].contains(&"-s"))
    };
    let reads_environment = is_posix_shell(program) && !loses_environment(words);
    is_code.then_some(Code { index: at, program, reads_environment })
}
