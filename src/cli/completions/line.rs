//! What stands on a command line before the cursor, and so what is to be completed there. Pure.

use clap::{Arg, ArgAction, Command};

/// A letter that no line ends with: it makes the word at the cursor one even where that is empty.
const CURSOR: char = '\u{1}';

/// A command line up to the cursor.
pub struct Line<'d> {
    /// The command whose words these are: the innermost.
    pub command: &'d Command,
    /// Its arguments that are no options.
    pub positionals: Vec<String>,
    /// Its options and those of the commands around it, with their values.
    pub options: Vec<(&'d Arg, String)>,
    /// What is to be completed.
    pub want: Want<'d>,
    /// Of the word at the cursor what stays as it is: `--status=`, `--status=failed,`.
    pub before: String,
    /// The rest of it.
    pub typed: String,
}

/// What is to be completed.
#[derive(Debug, Clone, Copy)]
pub enum Want<'d> {
    /// One of the command's own commands.
    Command,
    /// The name of an option.
    Option,
    /// The value of an option, or an argument.
    Value(&'d Arg),
    /// Nothing more can follow.
    Nothing,
}

impl<'d> Line<'d> {
    /// Reads a line, whose first word is the program. The definition has to be built.
    pub fn read(definition: &'d Command, line: &str) -> Self {
        let mut words = split(line).into_iter().skip(1).peekable();
        let mut read = Self {
            command: definition,
            positionals: Vec::new(),
            options: Vec::new(),
            want: Want::Nothing,
            before: String::new(),
            typed: String::new(),
        };
        let mut is_options_end = false;
        // The option whose value comes next.
        let mut pending: Option<&'d Arg> = None;
        while let Some(word) = words.next() {
            if words.peek().is_none() {
                read.typed = word;
                read.finish(pending, is_options_end);
                break;
            }
            if let Some(option) = pending.take() {
                read.options.push((option, word));
            } else if word == "--" && !is_options_end {
                is_options_end = true;
            } else if word.starts_with('-') && word.len() > 1 && !is_options_end {
                pending = read.take_option(&word);
            } else if let Some(command) = read.subcommand(&word) {
                (read.command, read.positionals) = (command, Vec::new());
            } else {
                read.positionals.push(word);
            }
        }
        read
    }

    /// The whole word at the cursor.
    pub fn word(&self) -> String {
        format!("{}{}", self.before, self.typed)
    }

    /// The value that an option was given.
    pub fn option(&self, id: &str) -> Option<&str> {
        self.options.iter().rev().find(|(arg, _)| arg.get_id() == id).map(|(_, value)| value.as_str())
    }

    fn subcommand(&self, word: &str) -> Option<&'d Command> {
        self.command.find_subcommand(word).filter(|_| self.positionals.is_empty())
    }

    /// Notes an option; gives it back if its value is the next word.
    fn take_option(&mut self, word: &str) -> Option<&'d Arg> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let arg = self.find(name)?;
        match (takes_value(arg), value) {
            (true, None) => return Some(arg),
            (_, value) => self.options.push((arg, value.unwrap_or_default().to_owned())),
        }
        None
    }

    fn find(&self, name: &str) -> Option<&'d Arg> {
        self.command.get_arguments().find(|arg| match name.strip_prefix("--") {
            Some(long) => arg.get_long() == Some(long),
            None => arg.get_short().is_some_and(|short| name.strip_prefix('-') == Some(&short.to_string())),
        })
    }

    /// Says what the word at the cursor is.
    fn finish(&mut self, pending: Option<&'d Arg>, is_options_end: bool) {
        self.want = match (pending, self.typed.clone()) {
            (Some(option), _) => Want::Value(option),
            (None, typed) if typed.starts_with('-') && !is_options_end => match typed.split_once('=') {
                None => Want::Option,
                Some((name, value)) => {
                    (self.before, self.typed) = (format!("{name}="), value.to_owned());
                    self.find(name).filter(|it| takes_value(it)).map_or(Want::Nothing, Want::Value)
                }
            },
            _ if self.command.has_subcommands() && self.positionals.is_empty() => Want::Command,
            _ => self.positional().map_or(Want::Nothing, Want::Value),
        };
        let Want::Value(arg) = self.want else { return };
        let Some(delimiter) = arg.get_value_delimiter() else { return };
        if let Some(at) = self.typed.rfind(delimiter) {
            let rest = self.typed.split_off(at + delimiter.len_utf8());
            self.before.push_str(&std::mem::replace(&mut self.typed, rest));
        }
    }

    /// The argument at the cursor; one that may be repeated takes all the rest.
    fn positional(&self) -> Option<&'d Arg> {
        let mut all: Vec<&Arg> = self.command.get_positionals().collect();
        all.sort_by_key(|it| it.get_index());
        let repeated = || all.last().copied().filter(|it| matches!(it.get_action(), ArgAction::Append));
        all.get(self.positionals.len()).copied().or_else(repeated)
    }
}

/// Whether an option has a value.
pub fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// The words of a line by the rules that shells share; a quote that is still open ends at the cursor.
fn split(line: &str) -> Vec<String> {
    let closings = ["", "'", "\""];
    let whole = closings.iter().find_map(|quote| shell_words::split(&format!("{line}{CURSOR}{quote}")).ok());
    let mut words = whole.unwrap_or_default();
    if let Some(last) = words.last_mut() {
        last.retain(|c| c != CURSOR);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Command {
        let status = Arg::new("status").long("status").value_delimiter(',').action(ArgAction::Append);
        let second = Arg::new("second").index(2);
        let follow = Arg::new("follow").short('f').long("follow").action(ArgAction::SetTrue);
        let ids = Arg::new("ids").action(ArgAction::Append).num_args(1..);
        let schema = Arg::new("schema").long("schema").global(true);
        let inner = Command::new("show").arg(second).arg(Arg::new("name").index(1));
        let mut all = Command::new("program")
            .arg(schema)
            .subcommand(Command::new("list").args([status, follow, ids]))
            .subcommand(Command::new("types").subcommand(inner));
        all.build();
        all
    }

    fn read(line: &str) -> (String, String, String) {
        let definition = definition();
        let line = Line::read(&definition, &format!("program {line}"));
        let want = match line.want {
            Want::Command => "command".to_owned(),
            Want::Option => "option".to_owned(),
            Want::Value(arg) => arg.get_id().to_string(),
            Want::Nothing => "nothing".to_owned(),
        };
        (format!("{} {want}", line.command.get_name()), line.before, line.typed)
    }

    #[test]
    fn the_word_at_the_cursor_is_known_for_what_it_is() {
        for (line, place, before, typed) in [
            ("", "program command", "", ""),
            ("li", "program command", "", "li"),
            ("--schema x ", "program command", "", ""),
            ("--schema ", "program schema", "", ""),
            ("--schema=te", "program schema", "--schema=", "te"),
            ("list ", "list ids", "", ""),
            ("list a b c", "list ids", "", "c"),
            ("list 'a b' \"c d", "list ids", "", "c d"),
            ("list 'it", "list ids", "", "it"),
            (r"list a\ b", "list ids", "", "a b"),
            ("list a\\", "list ids", "", "a"),
            ("list --", "list option", "", "--"),
            ("list -- --", "list ids", "", "--"),
            ("list -f ", "list ids", "", ""),
            ("list --status ", "list status", "", ""),
            ("list --status failed,ca", "list status", "failed,", "ca"),
            ("list --status=failed,ca", "list status", "--status=failed,", "ca"),
            ("list --schema s --sta", "list option", "", "--sta"),
            ("list --follow=x", "list nothing", "--follow=", "x"),
            ("list --unknown=x", "list nothing", "--unknown=", "x"),
            ("types show list", "show name", "", "list"),
            ("types show list ", "show second", "", ""),
            ("types show list a ", "show nothing", "", ""),
            ("types ", "types command", "", ""),
        ] {
            let (was, left, rest) = read(line);
            assert_eq!((&*was, &*left, &*rest), (place, before, typed), "{line:?}");
        }
    }
}
