//! Reads which shell runs a task's script.

use serde_json::{Value, json};

use super::reader::Reader;
use super::tree::Node;
use crate::model::process_type::TaskDefinition;
use crate::model::shell;

const REMEDY: &str = "write true for sh, a shell's name such as \"bash\", or its words, such as \
                      [\"bash\", \"-euo\", \"pipefail\", \"-c\"]";

/// What runs a task's command.
pub(super) enum Shell {
    /// Nothing but the program itself.
    None,
    /// `sh -c`
    Sh,
    /// A program with the arguments that come before the script.
    Other(Vec<String>),
}

/// Reads `shell`; nothing if it can't be read.
pub(super) fn shell(reader: &mut Reader, at: &str, node: &Node) -> Option<Shell> {
    match node {
        Node::Bool(false) => Some(Shell::None),
        Node::Bool(true) => Some(Shell::Sh),
        Node::Text(text) => named(reader, at, node, text),
        Node::Array(items) => words(reader, at, items),
        _ => {
            reader.fault(at, format!("{} names no shell", node.shown()), REMEDY);
            None
        }
    }
}

fn named(reader: &mut Reader, at: &str, node: &Node, name: &str) -> Option<Shell> {
    if ["true", "false", "yes", "no", "on", "off"].contains(&name.to_lowercase().as_str()) {
        reader.fault(
            at,
            format!("{} is neither true nor false", node.shown()),
            "write true or false, unquoted",
        );
        return None;
    }
    let name = reader.text(at, node, REMEDY)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        reader.fault(at, format!("{} names no program", node.shown()), REMEDY);
        return None;
    }
    if name == "sh" {
        return Some(Shell::Sh);
    }
    read(reader, at, vec![name.to_owned(), "-c".to_owned()])
}

fn words(reader: &mut Reader, at: &str, items: &[Node]) -> Option<Shell> {
    let mut words = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        words.push(reader.text(&format!("{at}[{index}]"), item, REMEDY)?.to_owned());
    }
    if words.first().is_none_or(String::is_empty) {
        reader.fault(at, "names no program", REMEDY);
        return None;
    }
    read(reader, at, words)
}

/// Checks a shell's words.
fn read(reader: &mut Reader, at: &str, mut words: Vec<String>) -> Option<Shell> {
    if let Some(word) = words.iter().find(|word| word.contains("${")) {
        reader.fault(
            at,
            format!("{word:?} holds a variable"),
            "name the shell itself; variables belong into the script",
        );
        return None;
    }
    // Whether the script, behind these words, is what some interpreter reads; of an unknown one nobody can say.
    words.push("SCRIPT".to_owned());
    let takes_it = shell::code_words(&words, false).iter().any(|code| code.index + 1 == words.len());
    words.pop();
    let option = shell::option_for_code(&words[0]);
    if let Some(option) = option.filter(|_| !takes_it) {
        let problem = format!("{} would not take the script that follows", shell_words::join(&words));
        reader.fault(
            at,
            problem,
            format!("write [\"{}\", …, \"{option}\"], with {option} at the end", words[0]),
        );
        return None;
    }
    Some(Shell::Other(words))
}

/// The shell as a document says it.
pub(super) fn to_value(task: &TaskDefinition) -> Value {
    match task.shell_command.as_slice() {
        [name, option] if task.shell && option == "-c" && name != "sh" => json!(name),
        [] => json!(task.shell),
        words if task.shell => json!(words),
        _ => json!(false),
    }
}
