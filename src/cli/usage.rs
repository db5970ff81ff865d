//! A command line that is not understood: what is wrong with it, and how it is used.

use std::ffi::OsString;
use std::process::ExitCode;

use super::error::{self, CliError};
use super::screen::terminal;
use crate::model::suggest::closest;

/// Prints help and version, which are data; tells anything else, and gives the exit code.
pub fn tell(message: &clap::Error, arguments: &[OsString], mut definition: clap::Command) -> ExitCode {
    if !message.use_stderr() {
        // There is nobody to tell if a closed pipe does not take the help.
        _ = message.print();
        return ExitCode::SUCCESS;
    }
    definition.build();
    let problem = readable(&message.render().to_string());
    if error::is_json() {
        let line = problem.split_whitespace().collect::<Vec<_>>().join(" ");
        terminal::tell(&CliError::Usage(line));
    } else {
        let (name, usage) = usage_of(&definition, arguments);
        terminal::fatal(format!("error: {problem}\n\n{usage}\n\nMore about it: {name} --help"));
    }
    ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2))
}

/// The command that was meant, as far as it is known, and its line of usage: not what the parser makes of the arguments
/// and of variables of the environment.
fn usage_of(definition: &clap::Command, arguments: &[OsString]) -> (String, String) {
    let words = arguments.iter().skip(1).filter_map(|it| it.to_str());
    let command = words.fold(definition, |command, word| command.find_subcommand(word).unwrap_or(command));
    let usage = command.clone().render_usage().to_string();
    (command.get_bin_name().unwrap_or("process-orchestrator").to_owned(), usage)
}

/// The parser's message without its own usage, with numbers in words and without suggestions that nobody meant.
fn readable(rendered: &str) -> String {
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|it| rendered.find(it)).min();
    let problem = rendered[..end.unwrap_or(rendered.len())].trim_start_matches("error: ").trim_end();
    let quoted = |line: &str| line.split('\'').nth(1).map(str::to_owned);
    let given = problem.lines().next().and_then(quoted).unwrap_or_default();
    let is_meant = |line: &&str| {
        let is_suggestion = line.starts_with("  tip: ") && line.contains(" similar ");
        !is_suggestion || quoted(line).is_some_and(|it| closest(&given, [it.as_str()]).is_some())
    };
    let lines: Vec<String> = problem.lines().filter(is_meant).map(in_words).collect();
    lines.join("\n").trim_end().replace("\n\n\n", "\n\n")
}

/// What the parser of numbers says, in words that name the remedy.
fn in_words(line: &str) -> String {
    let Some((start, what)) = line.rsplit_once(": ") else { return line.to_owned() };
    let bounds = what.split_once(" is not in ").and_then(|(_, range)| range.split_once("..="));
    let remedy = match (what, bounds) {
        (_, Some((least, most))) if most.len() >= NO_LIMIT_DIGITS => {
            format!("write a whole number of {least} or more")
        }
        (_, Some((least, most))) => format!("write a whole number from {least} to {most}"),
        ("invalid digit found in string" | "cannot parse integer from empty string", _) => {
            "write a whole number".to_owned()
        }
        ("invalid float literal" | "cannot parse float from empty string", _) => "write a number".to_owned(),
        ("number too large to fit in target type" | "number too small to fit in target type", _) => {
            "the number is too long; write one of up to nine digits".to_owned()
        }
        _ => return line.to_owned(),
    };
    format!("{start}: {remedy}")
}

/// A bound of so many digits is that of the number's type, not of ours.
const NO_LIMIT_DIGITS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_asked_for_in_words_and_only_near_words_suggested() {
        let value = |what: &str| {
            format!(
                "error: invalid value 'x' for '--limit <N>': {what}\n\nFor more information, try '--help'.\n"
            )
        };
        for (what, told) in [
            ("invalid digit found in string", "write a whole number"),
            ("0 is not in 1..=1000", "write a whole number from 1 to 1000"),
            ("0 is not in 1..=4294967295", "write a whole number of 1 or more"),
            ("write KEY=VALUE", "write KEY=VALUE"),
        ] {
            assert_eq!(readable(&value(what)), format!("invalid value 'x' for '--limit <N>': {told}"));
        }
        let tip = |given: &str, tip: &str| {
            readable(&format!(
                "error: unexpected argument '{given}' found\n\n  tip: a similar argument exists: '{tip}'\n\nUsage: x\n"
            ))
        };
        assert!(tip("--confg", "--config").ends_with("\n\n  tip: a similar argument exists: '--config'"));
        assert_eq!(tip("tcsh", "zsh"), "unexpected argument 'tcsh' found");
    }

    #[test]
    fn the_usage_is_the_commands_own() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let mut definition = crate::cli::command();
        definition.build();
        let (name, usage) = usage_of(&definition, &words("po start --confg x"));
        assert_eq!(name, "process-orchestrator start");
        assert_eq!(usage, "Usage: process-orchestrator start [OPTIONS] <TYPE>");
        let mut definition = crate::cli::command();
        definition.build();
        assert_eq!(usage_of(&definition, &words("po types show")).0, "process-orchestrator types show");
    }
}
