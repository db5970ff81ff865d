//! Reads where a command runs, and its environment.

use std::collections::BTreeMap;

use super::command::{is_short, templates};
use super::reader::Reader;
use super::tree::{Node, shown_text};
use crate::model::environment::why_reserved;
use crate::model::shell::{Kind, in_text, in_value};
use crate::model::template::{self, TemplateError};

const HOME_REMEDY: &str =
    "write ${env.HOME} for the home directory of the node's user, or the directory in full";
const DIRECTORY_REMEDY: &str = "write a directory such as \"/data\", or leave the key out";

pub(super) fn directory(reader: &mut Reader, at: &str, node: &Node) -> Option<String> {
    let directory = reader.text(at, node, DIRECTORY_REMEDY)?;
    if directory.is_empty() {
        reader.fault(at, "is empty", DIRECTORY_REMEDY);
    }
    templates(reader, at, directory);
    no_shell_reads(reader, at, directory);
    Some(directory.to_owned())
}

pub(super) fn environment(reader: &mut Reader, at: &str, node: &Node) -> BTreeMap<String, String> {
    let example = "an object such as {\"LANG\": \"C\"}";
    let Some(entries) = reader.entries(at, node, "an environment", example) else { return BTreeMap::new() };
    let mut environment = BTreeMap::new();
    for (key, at, node) in entries {
        if key.is_empty() || key.contains(['=', '\0']) {
            let problem = format!("{} can't be the name of an environment variable", shown_text(key));
            reader.fault(&at, problem, "write a name without = and NUL, such as \"LANG\"");
        } else if let Some((why, remedy)) = why_reserved(key) {
            reader.no_sense(&at, format!("{key} {why}"), remedy);
        }
        if let Some(value) = value(reader, &at, node) {
            is_short(reader, &at, "a value", value);
            environment.insert(key.to_owned(), value.to_owned());
        }
    }
    environment
}

/// Reads the value of a variable, which may be a secret: no message holds it.
fn value<'n>(reader: &mut Reader, at: &str, node: &'n Node) -> Option<&'n str> {
    let text = match node {
        Node::Text(text) if text.contains('\0') => {
            reader.fault(at, "holds a NUL character", "remove the \\u0000: no program can be passed it");
            return None;
        }
        Node::Text(text) => text,
        Node::Number(_) => {
            reader.fault(at, "a number is not a text", "put it in quotes");
            return None;
        }
        _ => return reader.text(at, node, "write the value as text, such as \"C\""),
    };
    for error in template::problems(text) {
        let problem = match &error {
            TemplateError::Unterminated(_) => "a variable is not closed".to_owned(),
            _ => error.problem(),
        };
        reader.fault(at, problem, error.remedy());
    }
    if let Some(finding) = in_value(text) {
        let problem = format!("holds {}, which only a shell understands", finding.text);
        let remedy = match finding.kind {
            Kind::Variable => format!(
                "write ${{env.{}}} for the node's own variable; a text that is meant literally can be set where the node is \
                 started, as commands have its environment",
                &finding.text[1..]
            ),
            Kind::Tilde => HOME_REMEDY.to_owned(),
            _ => "have a command with \"shell\": true find the value".to_owned(),
        };
        reader.no_sense(at, problem, remedy);
    }
    Some(text)
}

/// Notes what only a shell would understand, where there is none. A text has no quotes: a default has their place.
fn no_shell_reads(reader: &mut Reader, at: &str, text: &str) {
    let Some(finding) = in_text(text).into_iter().next() else { return };
    let problem = format!("{} holds {}, which only a shell understands", shown_text(text), finding.text);
    let remedy = match finding.kind {
        Kind::Variable => format!(
            "write ${{env.{}}} for the node's own variable; if it is meant literally, write ${{config.text:-{}}}",
            &finding.text[1..],
            finding.text
        ),
        Kind::Tilde => HOME_REMEDY.to_owned(),
        _ => "have a command with \"shell\": true find the value; if it is meant literally, write it as a default, such \
              as ${config.text:-`x`}"
            .to_owned(),
    };
    reader.no_sense(at, problem, remedy);
}
