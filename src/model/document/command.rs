//! Reads a task's command: its words or its script, and whether they can mean what they say.

use super::reader::Reader;
use super::shell::Shell;
use super::tree::{Node, shown_text};
use crate::model::shell::{self, ARGUMENT_BYTES_MAX, Finding, Kind, Misplaced};
use crate::model::template::{self, Part, pieces};

pub(super) const COMMAND_REMEDY: &str =
    "write the program and its arguments, such as \"sort ${input_file}\" or [\"sort\", \"${input_file}\"]";
const TRUSTED: &str = "\"unsafe_interpolation\": true if whoever gives the value may run any command";
const LITERAL: &str = "if it is meant literally, put it in single quotes or write the command as an array";
/// Of what only a shell understands, as much is shown.
const FINDINGS_SHOWN: usize = 3;

/// Reads a command; `shell` is nothing where its own setting can't be read, and then it isn't looked at closely.
pub(super) fn command(
    reader: &mut Reader,
    at: &str,
    node: &Node,
    shell: Option<&Shell>,
    is_unsafe: bool,
) -> String {
    match node {
        Node::Array(_) if matches!(shell, Some(Shell::Sh | Shell::Other(_))) => {
            let is_true = matches!(shell, Some(Shell::Sh));
            reader.fault(
                at,
                format!(
                    "an array is no script, and \"shell\" is {}",
                    if is_true { "true" } else { "a shell" }
                ),
                "write the script as one text, or leave \"shell\" out",
            );
            String::new()
        }
        Node::Array(items) => array_command(reader, at, items, is_unsafe),
        _ => {
            let text = reader.text(at, node, COMMAND_REMEDY).unwrap_or_default();
            if matches!(node, Node::Text(text) if text.trim().is_empty()) {
                reader.fault(at, "is empty", COMMAND_REMEDY);
            } else {
                match shell {
                    None => templates(reader, at, text),
                    Some(Shell::None) => text_command(reader, at, text, is_unsafe),
                    Some(Shell::Sh) => script(reader, at, text, &[], is_unsafe),
                    Some(Shell::Other(words)) => script(reader, at, text, words, is_unsafe),
                }
            }
            text.to_owned()
        }
    }
}

fn array_command(reader: &mut Reader, at: &str, items: &[Node], is_unsafe: bool) -> String {
    if items.is_empty() {
        reader.fault(at, "is empty", COMMAND_REMEDY);
    }
    let before = reader.count();
    let mut words = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let Some(word) = reader.text(&at, item, "write each argument as one text") else { continue };
        if index == 0 && word.is_empty() {
            reader.fault(&at, "the program is empty", COMMAND_REMEDY);
        }
        templates(reader, &at, word);
        words.push(word.to_owned());
    }
    if reader.count() == before {
        words_make_sense(reader, |index| format!("{at}[{index}]"), &words, is_unsafe);
    }
    joined(&words)
}

/// One text that splits into these words, and in which nothing looks as if it were meant for a shell.
fn joined(words: &[String]) -> String {
    let quoted = words.iter().enumerate().map(|(index, word)| {
        let quoted = shell_words::quote(word);
        let command = if index == 0 { quoted.to_string() } else { format!("x {quoted}") };
        let is_plain = !quoted.trim().is_empty() && shell::in_words(&command).is_empty();
        if is_plain { quoted } else { format!("'{word}'").into() }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Checks a command that is split by shell-word rules.
fn text_command(reader: &mut Reader, at: &str, command: &str, is_unsafe: bool) {
    let Ok(words) = shell_words::split(command) else {
        let problem = format!("{} has an unbalanced quote", shown_text(command));
        let remedy = match shell::in_words(command).is_empty() {
            true => "close it, or escape it with \\ (in JSON \\\\)",
            false => {
                "close it, or escape it with \\ (in JSON \\\\); add \"shell\": true if it is a shell's script"
            }
        };
        reader.fault(at, problem, remedy);
        return;
    };
    let before = reader.count();
    match words.first() {
        None if command.is_empty() => {} // faulted before
        None => reader.fault(at, format!("{} names no program", shown_text(command)), COMMAND_REMEDY),
        Some(program) if program.is_empty() => reader.fault(at, "the program is empty", COMMAND_REMEDY),
        Some(_) => {}
    }
    for error in words.iter().flat_map(|word| template::word_problems(word, command)) {
        reader.fault(at, error.problem(), error.remedy());
    }
    if reader.count() > before {
        return; // what can't be read means nothing yet
    }
    let findings = shell::in_words(command);
    if !findings.is_empty() {
        let problem =
            format!("{} holds {}, which only a shell understands", shown_text(command), shown(&findings));
        reader.no_sense(at, problem, remedy(&findings));
    }
    words_make_sense(reader, |_| at.to_owned(), &words, is_unsafe);
}

/// What was found, each once.
fn shown(findings: &[Finding]) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for finding in findings {
        if !texts.contains(&finding.text.as_str()) {
            texts.push(&finding.text);
        }
        if texts.len() > FINDINGS_SHOWN {
            break;
        }
    }
    let more = texts.len() > FINDINGS_SHOWN;
    texts.truncate(FINDINGS_SHOWN);
    let texts: Vec<String> =
        texts.iter().map(|text| text.chars().take(40).flat_map(char::escape_debug).collect()).collect();
    match texts.split_last() {
        Some((last, before)) if !before.is_empty() && !more => format!("{} and {last}", before.join(", ")),
        _ => format!("{}{}", texts.join(", "), if more { " and more" } else { "" }),
    }
}

fn remedy(findings: &[Finding]) -> String {
    let first = |kind| findings.iter().find(|it| it.kind == kind).map(|it| it.text.as_str());
    let shell = if first(Kind::Bash).is_some() { "\"bash\"" } else { "true" };
    // Other programs have patterns and braces of their own, JSON among them.
    let is_pattern =
        |it: &Finding| it.kind == Kind::Glob || it.kind == Kind::Bash && !it.text.starts_with('$');
    if findings.iter().all(is_pattern) {
        return format!("{LITERAL}; add \"shell\": {shell} to have a shell expand it");
    }
    let mut remedy = format!("add \"shell\": {shell} to have a shell run it");
    if let Some((name, value)) = first(Kind::Assignment).and_then(shell::is_assignment) {
        let value = if value.contains(['$', '"', '\'', '\\', ' ']) { "…" } else { value };
        remedy.push_str(&format!("; write a variable as \"environment\": {{\"{name}\": \"{value}\"}}"));
    }
    if let Some(variable) = first(Kind::Variable) {
        remedy.push_str(&format!("; for the node's own variable write ${{env.{}}}", &variable[1..]));
    }
    if first(Kind::Tilde).is_some() {
        remedy.push_str("; for the home directory of the node's user write ${env.HOME}");
    }
    if first(Kind::Builtin) == Some("cd") {
        remedy.push_str("; name the directory in \"working_directory\"");
    }
    remedy.push_str("; ");
    remedy.push_str(LITERAL);
    remedy
}

/// Checks words, wherever they come from: code, and what is too long.
fn words_make_sense(reader: &mut Reader, at: impl Fn(usize) -> String, words: &[String], is_unsafe: bool) {
    for code in shell::code_words(words, false) {
        if let Some(variable) = first_variable(&words[code.index]).filter(|_| !is_unsafe) {
            is_code(reader, at(code.index), variable, code.program, shell::is_posix_shell(code.program));
        }
    }
    for (index, word) in words.iter().enumerate() {
        is_short(reader, at(index), "an argument", word);
    }
}

fn first_variable(text: &str) -> Option<&str> {
    pieces(text).find(|(_, part)| matches!(part, Ok(Part::Variable { .. }))).map(|(piece, _)| piece)
}

/// Notes a variable in code.
fn is_code(reader: &mut Reader, at: impl Into<String>, variable: &str, program: &str, is_shell: bool) {
    let problem =
        format!("{variable} stands in code that {program} reads, and its value would be read as code too");
    let remedy = match is_shell {
        true => {
            let shell = if program == "sh" { "true".to_owned() } else { format!("\"{program}\"") };
            format!(
                "write the script alone, with \"shell\": {shell}, which passes values safely; or write {TRUSTED}"
            )
        }
        false => format!(
            "pass the value as an argument of its own or in \"environment\" and have the code read it there; or write {TRUSTED}"
        ),
    };
    reader.no_sense(at, problem, remedy);
}

/// Checks a script; `shell` is empty for `sh -c`.
fn script(reader: &mut Reader, at: &str, script: &str, shell: &[String], is_unsafe: bool) {
    let before = reader.count();
    templates(reader, at, script);
    if reader.count() > before {
        return;
    }
    is_short(reader, at, "a script", script);
    let Some(variable) = first_variable(script) else { return };
    // Behind `env` or `nice` the shell is not the first word.
    let words: Vec<&str> = shell.iter().map(String::as_str).chain([script]).collect();
    let code = shell::code_words(&words, false).into_iter().find(|it| it.index + 1 == words.len());
    if !shell.is_empty() && !code.is_some_and(|it| it.reads_environment) {
        let (program, why) = match code {
            Some(code) if shell::is_posix_shell(code.program) => {
                (code.program, "is run in another environment than the command's")
            }
            _ => (
                code.map_or(words[0], |it| it.program),
                "does not read ${NAME} as a variable of its environment",
            ),
        };
        let remedy = "put the value into \"environment\" and have the script read it from there, or name a shell such \
                      as \"bash\"";
        reader.no_sense(at, format!("{variable} has no value in this script: {program} {why}"), remedy);
        return;
    }
    for fault in shell::misplaced(script) {
        match fault {
            Misplaced::SingleQuotes(variable, program) => {
                let problem = format!("{variable} stands in single quotes, where a shell puts no value in its place");
                let remedy = match program {
                    Some(program) => format!(
                        "pass the value as an argument of its own, \"{variable}\", and have the code that {program} reads take \
                         it from there"
                    ),
                    None => format!(
                        "put it in double quotes: \"{variable}\", or end the single quotes before it: '…'\"{variable}\"'…'"
                    ),
                };
                reader.no_sense(at, problem, remedy);
            }
            Misplaced::HereDocument(variable, word) => reader.no_sense(
                at,
                format!("{variable} stands in a here-document whose word is quoted, where a shell puts no value in its place"),
                format!("write the word without quotes: <<{word}"),
            ),
            Misplaced::Escaped(variable) => reader.no_sense(
                at,
                format!("{variable} stands behind a backslash, and a shell puts no value in its place"),
                "remove the backslash, or write $${…} for the text itself, in single quotes".to_owned(),
            ),
            Misplaced::Code(variable, program) if !is_unsafe => {
                let problem =
                    format!("{variable} stands in code that {program} reads, and its value would be read as code too");
                let remedy = match shell::is_posix_shell(&program) || ["eval", "trap", "source"].contains(&program.as_str()) {
                    true => format!("put that code in single quotes, and the variable in double quotes within; or write {TRUSTED}"),
                    false => format!("pass the value as an argument of its own, and have the code read it there; or write {TRUSTED}"),
                };
                reader.no_sense(at, problem, remedy);
            }
            Misplaced::Code(..) => {}
        }
    }
}

/// Checks the variables of a text.
pub(super) fn templates(reader: &mut Reader, at: &str, text: &str) {
    for error in template::problems(text) {
        reader.fault(at, error.problem(), error.remedy());
    }
}

/// Checks that what is there whatever the values are can be passed to a program.
pub(super) fn is_short(reader: &mut Reader, at: impl Into<String>, what: &str, text: &str) {
    let literal = |part| if let Ok(Part::Text(text)) = part { text.len() } else { 0 };
    let bytes: usize = pieces(text).map(|(_, part)| literal(part)).sum();
    if bytes > ARGUMENT_BYTES_MAX {
        let problem =
            format!("{what} of {bytes} bytes can't be passed to a program; Linux takes {ARGUMENT_BYTES_MAX}");
        let remedy = match what {
            "a script" => {
                "write the script into a file and run that, such as [\"bash\", \"/opt/scripts/load.sh\"]"
            }
            _ => "write it into a file and pass the file's name",
        };
        reader.no_sense(at, problem, remedy);
    }
}
