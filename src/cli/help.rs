//! `help`: the help of a command, or a page of the guide.

use clap::Args;
use clap::builder::PossibleValue;

use super::error::CliError;
use super::screen::terminal::print;
use crate::guide::PAGES;

/// About what.
#[derive(Debug, Args)]
pub struct Options {
    /// A command, or a topic of the guide; without it the commands and topics are listed
    #[arg(value_name = "TOPIC", index = 1)]
    pub topic: Option<String>,
    /// One of the command's own commands
    #[arg(value_name = "COMMAND", index = 2)]
    pub subcommand: Option<String>,
}

/// Prints what the words name. A name that is both a command's and a page's (`nodes`) gives both.
///
/// # Errors
/// When a command has no such command, and when standard output can't be written.
pub fn run(options: &Options, definition: clap::Command) -> Result<(), CliError> {
    let words: Vec<&str> =
        [&options.topic, &options.subcommand].into_iter().flatten().map(String::as_str).collect();
    let page = match words[..] {
        [topic] => PAGES.iter().find(|(name, _)| *name == topic.replace('-', "_")),
        _ => None,
    };
    let is_command = words.first().is_some_and(|word| definition.find_subcommand(word).is_some());
    if is_command || page.is_none() {
        of_command(&words, definition)?;
    }
    page.map_or(Ok(()), |(_, text)| {
        print(format!("{}{}", if is_command { "\n" } else { "" }, readable(text)))
    })
}

/// Prints what `--help` behind these words prints.
///
/// # Errors
/// When there is no such command, and when standard output can't be written.
pub fn of_command(words: &[&str], mut all: clap::Command) -> Result<(), CliError> {
    all.build();
    let mut command = &mut all;
    for word in words {
        let known: Vec<String> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
        let refusal = || {
            CliError::Usage(format!(
                "no such command: {:?}; there are: {}",
                words.join(" "),
                known.join(", ")
            ))
        };
        command = command.find_subcommand_mut(word).ok_or_else(refusal)?;
    }
    command.print_help().map_err(CliError::Output)
}

/// Tells `help` which commands and topics there are, so that it lists them and refuses others.
pub fn with_topics(command: clap::Command) -> clap::Command {
    let values: Vec<PossibleValue> = named(&command)
        .map(|it| PossibleValue::new(it.get_name().to_owned()).alias(it.get_name().replace('_', "-")))
        .collect();
    let listed: String = PAGES.iter().map(|(name, text)| format!("\n  {name:<15}{}", title(text))).collect();
    let topics = format!("Topics, printed by process-orchestrator help TOPIC:{listed}");
    command.after_help(format!("{topics}\n\n{}", super::error::EXIT_CODES)).mut_subcommand("help", |help| {
        help.after_help(topics)
            .mut_arg("topic", |topic| topic.value_parser(values).hide_possible_values(true))
    })
}

/// The definition for shells: all of them complete commands, not all of them values, so what `help` can be asked for is
/// its commands here.
pub fn for_completions(command: clap::Command) -> clap::Command {
    let topics: Vec<clap::Command> = named(&command).collect();
    command.mut_subcommand("help", |help| {
        let about = help.get_about().cloned().unwrap_or_default();
        clap::Command::new("help").about(about).subcommands(topics)
    })
}

/// What `help` can be asked for: commands with their own, and pages.
fn named(command: &clap::Command) -> impl Iterator<Item = clap::Command> {
    fn outline(command: &clap::Command) -> clap::Command {
        let about = command.get_about().cloned().unwrap_or_default();
        let own = command.get_subcommands().map(outline);
        clap::Command::new(command.get_name().to_owned()).about(about).subcommands(own)
    }
    let pages = PAGES.iter().filter(|(name, _)| command.find_subcommand(name).is_none());
    let pages = pages.map(|(name, text)| clap::Command::new(*name).about(title(text)));
    command.get_subcommands().map(outline).chain(pages)
}

/// What the heading of a page says behind the page's name.
fn title(text: &'static str) -> &'static str {
    text.lines().next().and_then(|heading| heading.split_once(": ")).map_or("", |(_, title)| title)
}

/// The page without the definitions of its links: `[flow]` says enough to those who can type `help flow`.
fn readable(text: &str) -> String {
    let is_definition = |line: &str| line.starts_with('[') && line.contains("]: ");
    let lines = text.lines().filter(|line| !is_definition(line)).collect::<Vec<_>>().join("\n");
    format!("{}\n", lines.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_a_title_and_no_definitions_of_links_are_shown() {
        for (name, text) in PAGES {
            assert!(!title(text).is_empty(), "{name}");
            let readable = readable(text);
            assert!(readable.starts_with("# ") && !readable.contains(".md\n"), "{readable}");
        }
        assert_eq!(readable("# A: b\n\nSee [flow].\n\n[flow]: flow.md\n"), "# A: b\n\nSee [flow].\n");
    }
}
