//! JSON as it was written: unlike `serde_json::Value`, an object keeps keys that are given twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use crate::model::faults::Fault;

/// A JSON value with every key of its objects, in their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Under this key `serde_json` hands on a number as it was written.
const NUMBER_KEY: &str = "$serde_json::private::Number";

/// Characters of a value that a message shows.
const SHOWN_CHARS_MAX: usize = 60;

impl Node {
    /// Reads one JSON document; the fault names line and column.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        // Editors on Windows may begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        serde_json::from_str(text).map_err(|error| malformed(&error))
    }

    /// The first value of a key, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(entries) = self else { return None };
        entries.iter().find(|(it, _)| it == key).map(|(_, node)| node)
    }

    /// The value for a message: shortened text, or what kind of thing it is.
    pub fn shown(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => shown_text(text),
            Self::Array(_) => "an array".to_owned(),
            Self::Object(_) => "an object".to_owned(),
        }
    }
}

/// Text for a message: quoted, control characters escaped, shortened.
pub fn shown_text(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn malformed(error: &serde_json::Error) -> Fault {
    let (what, remedy) = crate::model::malformed::malformed(error);
    let (line, column) = (error.line(), error.column());
    Fault::new("", format!("malformed JSON at line {line}, column {column}: {what}"), remedy)
}

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::Array(items.iter().map(Self::from).collect()),
            Value::Object(map) => {
                Self::Object(map.iter().map(|(key, value)| (key.clone(), Self::from(value))).collect())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        // JSON has no NaN and no infinity, so a number is always there.
        Ok(Number::from_f64(value).map_or(Node::Null, Node::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Node::Array(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            nodes.push(entry);
        }
        if let [(key, Node::Text(text))] = &*nodes
            && key == NUMBER_KEY
            && let Ok(number) = text.parse()
        {
            return Ok(Node::Number(number));
        }
        Ok(Node::Object(nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_keeps_its_text() {
        for number in ["19.90", "40028922250000000000123", "-0.0", "1e+400", "7"] {
            let Ok(Node::Number(read)) = Node::parse(number) else { panic!("{number} is no number") };
            assert_eq!(read.to_string(), number);
            assert_eq!(Node::from(&serde_json::from_str::<Value>(number).unwrap()), Node::Number(read));
        }
    }
}
