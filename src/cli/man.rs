//! `man`: manual pages, from the definition that the help is from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use clap_mangen::Man;

use super::error::{CliError, EXIT_CODES};
use super::screen::terminal::{print, print_lines};

/// Where to.
#[derive(Debug, Args)]
pub struct Options {
    /// Write a page for each command into this directory, which is made if need be, and print their paths; without it
    /// the program's own page goes to standard output
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// Prints or writes the pages of the command line's definition.
///
/// # Errors
/// When a file or standard output can't be written.
pub fn run(options: &Options, mut command: clap::Command) -> Result<(), CliError> {
    command.build();
    let Some(directory) = &options.directory else {
        return print(page(&command, &[]).map_err(CliError::Output)?);
    };
    let failed = |path: &Path, cause: &io::Error| {
        CliError::Failed(format!(
            "failed to write {}: {cause}; name a directory that can be written to",
            path.display()
        ))
    };
    fs::create_dir_all(directory).map_err(|cause| failed(directory, &cause))?;
    let mut paths = Vec::new();
    for (name, text) in pages(&command).map_err(CliError::Output)? {
        let path = directory.join(format!("{name}.1"));
        fs::write(&path, text).map_err(|cause| failed(&path, &cause))?;
        paths.push(path.display().to_string());
    }
    print_lines(&paths)
}

/// The names of the pages and their text, the program's own first.
fn pages(command: &clap::Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = Vec::new();
    let mut waiting = vec![(command, Vec::new())];
    while let Some((command, parents)) = waiting.pop() {
        pages.push((page_name(command), page(command, &parents)?));
        let above: Vec<&clap::Command> = parents.iter().copied().chain([command]).collect();
        waiting.extend(command.get_subcommands().map(|it| (it, above.clone())));
    }
    Ok(pages)
}

fn page_name(command: &clap::Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &clap::Command, parents: &[&clap::Command]) -> io::Result<Vec<u8>> {
    let version = concat!("process-orchestrator ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(version).manual("Process Orchestrator");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if let Some(examples) = command.get_before_help() {
        text.extend(section("EXAMPLES", &literal(&examples.to_string())).into_bytes());
    }
    man.render_options_section(&mut text)?;
    let subcommands: Vec<&clap::Command> = command.get_subcommands().collect();
    if !subcommands.is_empty() {
        let listed: String = subcommands.iter().map(|it| entry(it)).collect();
        text.extend(section("COMMANDS", &listed).into_bytes());
    }
    // The one of the program itself is about exit codes, which are the same for all commands.
    if let Some(notes) = command.get_after_help().filter(|_| !parents.is_empty()) {
        text.extend(section("NOTES", &paragraph(&notes.to_string())).into_bytes());
    }
    let codes = EXIT_CODES.strip_prefix("Exit codes: ").unwrap_or(EXIT_CODES);
    text.extend(section("EXIT STATUS", &paragraph(codes)).into_bytes());
    let others: Vec<String> = parents
        .iter()
        .chain(&subcommands)
        .map(|it| format!("\\fB{}\\fR(1)", escape(&page_name(it))))
        .collect();
    if !others.is_empty() {
        text.extend(section("SEE ALSO", &format!("{}\n", others.join(", "))).into_bytes());
    }
    Ok(text)
}

fn section(heading: &str, body: &str) -> String {
    format!(".SH \"{heading}\"\n{body}")
}

/// A command in the list of another's.
fn entry(command: &clap::Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    format!(".TP\n\\fB{}\\fR(1)\n{}", escape(&page_name(command)), paragraph(&about))
}

/// The examples of the help, as they stand there, without the heading.
fn literal(examples: &str) -> String {
    let lines = examples.lines().filter(|line| *line != "Examples:");
    let lines: String = lines.map(|line| text_line(line.strip_prefix("  ").unwrap_or(line))).collect();
    format!(".RS 4\n.nf\n{lines}.fi\n.RE\n")
}

fn paragraph(text: &str) -> String {
    text.lines().map(text_line).collect()
}

/// A line that begins no request.
fn text_line(line: &str) -> String {
    let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
    format!("{guard}{}\n", escape(line))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('…', "...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_page_with_its_options_and_examples() {
        let mut command = super::super::command();
        command.build();
        let pages = pages(&command).expect("pages");
        let find = |name: &str| {
            let text = &pages.iter().find(|it| it.0 == name).unwrap_or_else(|| panic!("no page {name}")).1;
            String::from_utf8(text.clone()).expect("UTF-8")
        };
        let own = find("process-orchestrator");
        for part in
            [".TH process-orchestrator 1", ".SH \"COMMANDS\"", "\\fBprocess\\-orchestrator\\-run\\fR(1)"]
        {
            assert!(own.contains(part), "{part} is missing in {own}");
        }
        let serve = find("process-orchestrator-serve");
        for part in [
            "\nprocess\\-orchestrator serve \\-\\-process\\-types types/ \\-\\-executors 16\n",
            "\\-\\-drain\\-timeout",
            "PROCESS_ORCHESTRATOR_DRAIN_TIMEOUT",
            "30s",
            "\n4 database unreachable;",
            "\\fBprocess\\-orchestrator\\fR(1)",
        ] {
            assert!(serve.contains(part), "{part} is missing in {serve}");
        }
        let schema = find("process-orchestrator-types-schema");
        assert!(schema.contains("\\&... and in a process type: {\"$schema\""), "{schema}");
        let help = find("process-orchestrator-help");
        assert!(help.contains(".SH \"NOTES\"\nTopics, ") && help.contains("\n  process_types "), "{help}");
    }

    #[test]
    fn nothing_of_a_text_is_taken_for_a_request() {
        assert_eq!(text_line(".so /etc/passwd"), "\\&.so /etc/passwd\n");
        assert_eq!(text_line("a\\fB '--x'"), "a\\efB \\(aq\\-\\-x\\(aq\n");
    }
}
