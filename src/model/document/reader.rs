//! Reads a tree and collects everything that is wrong with it, in the order of the document.

use std::collections::BTreeSet;

use super::rules::NumberRule;
use super::tree::{Node, shown_text};
use crate::model::faults::{Fault, Faults};
use crate::model::suggest;

/// The faults found so far. Every method that finds one notes it and gives `None`, so that reading
/// goes on with what stands beside it.
#[derive(Debug, Default)]
pub struct Reader {
    faults: Vec<Fault>,
    /// What was registered once goes on, whatever it means: only what can't be read is a fault.
    is_stored: bool,
}

/// What an object is and which keys it may have.
pub struct Shape {
    /// Such as `a task`.
    pub what: &'static str,
    /// What such an object looks like.
    pub example: &'static str,
    /// All keys.
    pub keys: &'static [&'static str],
    /// The keys that must be there, each with what to write.
    pub required: &'static [(&'static str, &'static str)],
}

impl Reader {
    /// Reads what was registered by some release.
    pub fn of_stored() -> Self {
        Self { is_stored: true, ..Self::default() }
    }

    /// Notes that what stands there can be read, but can't mean what it says.
    pub fn no_sense(&mut self, at: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) {
        if !self.is_stored {
            self.fault(at, problem, remedy);
        }
    }

    /// How many faults there are.
    pub fn count(&self) -> usize {
        self.faults.len()
    }

    /// Notes a fault.
    pub fn fault(&mut self, at: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) {
        self.faults.push(Fault::new(at, problem, remedy));
    }

    /// `value` if nothing was wrong.
    pub fn finish<T>(self, source: &str, value: T) -> Result<T, Faults> {
        if self.faults.is_empty() {
            Ok(value)
        } else {
            Err(Faults { source: source.to_owned(), faults: self.faults })
        }
    }

    /// Visits the known keys of an object once each; notes the unknown, the repeated and the missing.
    pub fn object(
        &mut self,
        at: &str,
        node: &Node,
        shape: &Shape,
        mut visit: impl FnMut(&mut Self, &str, &str, &Node),
    ) {
        let Some(entries) = self.entries(at, node, shape.what, shape.example) else { return };
        for (key, at_key, node) in &entries {
            if shape.keys.contains(key) {
                visit(self, key, at_key, node);
            } else {
                let remedy = match suggest::closest(key, shape.keys.iter().copied()) {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None => format!("the keys of {} are {}", shape.what, shape.keys.join(", ")),
                };
                self.fault(at_key, "unknown key", remedy);
            }
        }
        for (key, remedy) in shape.required {
            if !entries.iter().any(|(present, ..)| present == key) {
                self.fault(path(at, key), "is missing", *remedy);
            }
        }
    }

    /// The first entry of every key of an object, with its path; notes keys that are given twice.
    pub fn entries<'n>(
        &mut self,
        at: &str,
        node: &'n Node,
        what: &str,
        example: &str,
    ) -> Option<Vec<(&'n str, String, &'n Node)>> {
        let Node::Object(entries) = node else {
            self.fault(at, format!("{} is not {what}", node.shown()), format!("write {example}"));
            return None;
        };
        let mut seen = BTreeSet::new();
        let mut firsts = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            let at_key = path(at, key);
            if seen.insert(key.as_str()) {
                firsts.push((key.as_str(), at_key, node));
            } else {
                let problem = format!("the key {} is given twice", shown_text(key));
                self.fault(at_key, problem, "keep one of them");
            }
        }
        Some(firsts)
    }

    /// A text without NUL, which neither a command nor PostgreSQL can hold.
    pub fn text<'n>(&mut self, at: &str, node: &'n Node, remedy: &str) -> Option<&'n str> {
        match node {
            Node::Text(text) if text.contains('\0') => {
                self.nul(at, text);
                None
            }
            Node::Text(text) => Some(text),
            Node::Number(_) | Node::Bool(_) => {
                let shown = node.shown();
                self.fault(at, format!("{shown} is not a text"), format!("quote it: \"{shown}\""));
                None
            }
            _ => {
                self.fault(at, format!("{} is not a text", node.shown()), remedy);
                None
            }
        }
    }

    /// Notes that `text` holds a NUL character.
    pub fn nul(&mut self, at: &str, text: &str) {
        let problem = format!("{} holds a NUL character", shown_text(text));
        self.fault(at, problem, "remove the \\u0000: neither commands nor PostgreSQL can hold it");
    }

    /// A number that keeps `rule`.
    pub fn number(&mut self, at: &str, node: &Node, rule: &NumberRule) -> Option<f64> {
        let number = match node {
            Node::Number(number) => number.as_f64(),
            _ => None,
        };
        if let Some(number) = number.filter(|it| rule.allows(*it)) {
            return Some(number);
        }
        let is_quoted = matches!(node, Node::Text(text) if text.parse().is_ok_and(|it| rule.allows(it)));
        let remedy = if is_quoted { "remove the quotes" } else { rule.remedy };
        self.fault(at, format!("{} is not {}", node.shown(), rule.phrase()), remedy);
        None
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, at: &str, node: &Node) -> Option<bool> {
        if let Node::Bool(value) = node {
            return Some(*value);
        }
        self.fault(
            at,
            format!("{} is neither true nor false", node.shown()),
            "write true or false, unquoted",
        );
        None
    }

    /// The elements of an array.
    pub fn array<'n>(&mut self, at: &str, node: &'n Node, remedy: &str) -> Option<&'n [Node]> {
        if let Node::Array(items) = node {
            return Some(items);
        }
        self.fault(at, format!("{} is not an array", node.shown()), remedy);
        None
    }
}

/// The path of `key` below `at`; a key that would be misread is quoted.
pub fn path(at: &str, key: &str) -> String {
    let is_plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-$".contains(c));
    match (at.is_empty(), is_plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{at}.{key}"),
        (_, false) => format!("{at}[{}]", shown_text(key)),
    }
}
