//! What a process is started with.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::document::reader::{Reader, Shape};
use super::document::tree::Node;
use super::faults::{Fault, Faults};
use super::jsonb::{NUMBER_PROBLEM, NUMBER_REMEDY, number_text};

/// Most bytes of an input as JSON (1 MiB): it is kept with every process; data belongs in files.
pub const INPUT_BYTES_MAX: usize = 1024 * 1024;

const SHAPE: Shape = Shape {
    what: "an input",
    example: "an object such as {\"input_file\": \"/data/orders.json\", \"config\": {\"batch_size\": \"100\"}}",
    keys: &[
        "input_file",
        "output_dir",
        "user_id",
        "config",
        "metadata",
        "scheduled_at",
        "previous_scheduled_at",
    ],
    required: &[],
};

/// The input of one process. Configuration and metadata are pairs of text. `normal_input` in `sql/migrations` makes the same
/// of a JSON document as [`ProcessInputData::from_json`], so that an input is the same whichever door it came through. An
/// empty file, directory or user counts as missing.
///
/// ```
/// use process_orchestrator::ProcessInputData;
///
/// let input = ProcessInputData::new()
///     .input_file("/data/sample_input.json")
///     .output_dir("/data/output")
///     .user_id("user123")
///     .add_config("batch_size", "100")
///     .add_metadata("source_system", "legacy_database");
/// assert_eq!(input.config["batch_size"], "100");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProcessInputData {
    /// `${input_file}` in commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_file: Option<String>,
    /// `${output_dir}` in commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_dir: Option<String>,
    /// `${user_id}` in commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// `${config.key}` in commands.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// `${metadata.key}` in commands.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// `${scheduled_at}` in commands: the time of a schedule that has started the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<String>,
    /// `${previous_scheduled_at}` in commands: the time before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_scheduled_at: Option<String>,
}

impl ProcessInputData {
    /// An empty input.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one JSON document. `source` is where it came from, for messages. `null` is as good as
    /// absent; numbers and booleans in `config` and `metadata` become their JSON text, and what an object in them holds is
    /// named by its path: `{"db": {"host": "x"}}` is `db.host`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the document, in its order.
    pub fn from_json(text: &str, source: &str) -> Result<Self, Faults> {
        let failed = |fault| Faults { source: source.to_owned(), faults: vec![fault] };
        if text.len() > INPUT_BYTES_MAX {
            return Err(failed(too_large(text.len())));
        }
        read(&Node::parse(text).map_err(failed)?, source)
    }

    /// Reads a document that is parsed already.
    ///
    /// # Errors
    ///
    /// As [`ProcessInputData::from_json`].
    pub fn from_value(value: &Value, source: &str) -> Result<Self, Faults> {
        read(&Node::from(value), source)
    }

    /// Reads a document as it was written, with the keys that it holds twice.
    pub(crate) fn from_node(node: &Node, source: &str) -> Result<Self, Faults> {
        read(node, source)
    }

    /// The document; [`ProcessInputData::from_value`] makes the same input of it.
    pub fn to_value(&self) -> Value {
        let mut document = serde_json::Map::new();
        let texts =
            [("input_file", &self.input_file), ("output_dir", &self.output_dir), ("user_id", &self.user_id)];
        for (key, text) in texts {
            document.extend(text.as_ref().map(|text| (key.to_owned(), json!(text))));
        }
        for (key, pairs) in [("config", &self.config), ("metadata", &self.metadata)] {
            if !pairs.is_empty() {
                document.insert(key.to_owned(), json!(pairs));
            }
        }
        let times =
            [("scheduled_at", &self.scheduled_at), ("previous_scheduled_at", &self.previous_scheduled_at)];
        for (key, text) in times {
            document.extend(text.as_ref().map(|text| (key.to_owned(), json!(text))));
        }
        Value::Object(document)
    }

    /// Those of the variables that a process type requires which this input of a schedule does not give; its times are given
    /// when it fires.
    pub(crate) fn missing<'n>(&self, required: &'n [String]) -> Vec<&'n str> {
        let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let has = |name: &str| match (name, name.split_once('.')) {
            ("input_file", _) => is_given(&self.input_file),
            ("output_dir", _) => is_given(&self.output_dir),
            ("user_id", _) => is_given(&self.user_id),
            (_, Some(("config", key))) => self.config.contains_key(key),
            (_, Some(("metadata", key))) => self.metadata.contains_key(key),
            _ => true,
        };
        required.iter().map(String::as_str).filter(|name| !has(name)).collect()
    }

    /// Checks an input that code has built, by the rules of documents.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn validate(&self, source: &str) -> Result<(), Faults> {
        Self::from_value(&self.to_value(), source).map(drop)
    }

    /// Sets the source file's path.
    #[must_use]
    pub fn input_file(mut self, path: impl Into<String>) -> Self {
        self.input_file = Some(path.into());
        self
    }

    /// Sets the path of the directory for results.
    #[must_use]
    pub fn output_dir(mut self, path: impl Into<String>) -> Self {
        self.output_dir = Some(path.into());
        self
    }

    /// Sets the user the process runs for.
    #[must_use]
    pub fn user_id(mut self, id: impl Into<String>) -> Self {
        self.user_id = Some(id.into());
        self
    }

    /// Adds a configuration value.
    #[must_use]
    pub fn add_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Adds a metadata value.
    #[must_use]
    pub fn add_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }
}

fn read(node: &Node, source: &str) -> Result<ProcessInputData, Faults> {
    let mut reader = Reader::default();
    let input = read_at(&mut reader, "", node);
    reader.finish(source, input)
}

/// Reads an input that stands at `at` in a larger document.
pub(crate) fn read_at(reader: &mut Reader, at: &str, node: &Node) -> ProcessInputData {
    let mut input = ProcessInputData::new();
    reader.object(at, node, &SHAPE, |reader, key, at, node| match key {
        _ if *node == Node::Null => {}
        "input_file" => input.input_file = text(reader, at, node),
        "output_dir" => input.output_dir = text(reader, at, node),
        "user_id" => input.user_id = text(reader, at, node),
        "config" => input.config = pairs(reader, at, node),
        "metadata" => input.metadata = pairs(reader, at, node),
        "scheduled_at" => input.scheduled_at = text(reader, at, node),
        "previous_scheduled_at" => input.previous_scheduled_at = text(reader, at, node),
        _ => {}
    });
    let bytes = written_bytes(&input);
    if bytes > INPUT_BYTES_MAX {
        let Fault { problem, remedy, .. } = too_large(bytes);
        reader.fault(at, problem, remedy);
    }
    input
}

/// Bytes of the input as the database writes it: with a blank after each colon, and after each comma between pairs.
fn written_bytes(input: &ProcessInputData) -> usize {
    let value = input.to_value();
    let blanks = |pairs: usize| (2 * pairs).saturating_sub(1);
    let keys = value.as_object().map_or(0, serde_json::Map::len);
    value.to_string().len() + blanks(keys) + blanks(input.config.len()) + blanks(input.metadata.len())
}

fn too_large(bytes: usize) -> Fault {
    let problem = format!("the input has {bytes} bytes; at most {INPUT_BYTES_MAX} (1 MiB) are allowed");
    Fault::new("", problem, "put the data in a file and pass its path")
}

fn text(reader: &mut Reader, at: &str, node: &Node) -> Option<String> {
    reader.text(at, node, "write a text, or leave the key out").map(str::to_owned)
}

fn pairs(reader: &mut Reader, at: &str, node: &Node) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    add_pairs(reader, at, "", 1, node, &mut pairs);
    pairs
}

/// Objects in each other below `config` or `metadata`: their paths are written out with every value.
const LEVELS_MAX: usize = 8;

/// Adds what an object holds, with `prefix` before its keys.
fn add_pairs(
    reader: &mut Reader,
    at: &str,
    prefix: &str,
    level: usize,
    node: &Node,
    pairs: &mut BTreeMap<String, String>,
) {
    let example = "an object of texts such as {\"batch_size\": \"100\"}";
    for (key, at, node) in reader.entries(at, node, "an object of pairs", example).into_iter().flatten() {
        if key.is_empty() {
            reader.fault(&at, "the key is empty", "write a name that ${config.name} can ask for");
        } else if key.contains('\0') {
            reader.nul(&at, key);
        }
        let path = format!("{prefix}{key}");
        let value = match node {
            Node::Null => continue,
            Node::Object(entries) if entries.is_empty() => text_value(reader, &at, node),
            Node::Object(_) if level == LEVELS_MAX => {
                let problem = format!("an object is nested more than {LEVELS_MAX} levels deep");
                reader.fault(&at, problem, "write its values nearer to the top");
                continue;
            }
            Node::Object(_) => {
                add_pairs(reader, &at, &format!("{path}."), level + 1, node, pairs);
                continue;
            }
            Node::Bool(value) => Some(value.to_string()),
            Node::Number(number) => {
                let text = number_text(number);
                if text.is_none() {
                    reader.fault(&at, format!("{} {NUMBER_PROBLEM}", node.shown()), NUMBER_REMEDY);
                }
                text
            }
            _ => text_value(reader, &at, node),
        };
        if pairs.contains_key(&path) {
            reader.fault(&at, format!("the key {path:?} is given twice"), "keep one of them");
        }
        pairs.extend(value.map(|value| (path, value)));
    }
}

fn text_value(reader: &mut Reader, at: &str, node: &Node) -> Option<String> {
    reader
        .text(at, node, "write a text, a number, true or false; JSON in it must be quoted")
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = ProcessInputData::from_json(text, "in.json").expect_err(text);
        faults.to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_whole_input_is_read() {
        let text = r#"{"input_file": "/a b", "output_dir": "/out", "user_id": null,
            "config": {"batch_size": 100, "ratio": 0.50, "dry": false, "none": null, "text": "x",
            "order": 40028922250000000000123, "db": {"host": "h", "port": 1e3, "none": null}}, "metadata": {}}"#;
        let input = ProcessInputData::from_json(text, "in.json").expect("valid");
        let expected = ProcessInputData::new()
            .input_file("/a b")
            .output_dir("/out")
            .add_config("batch_size", "100")
            .add_config("ratio", "0.50")
            .add_config("order", "40028922250000000000123")
            .add_config("db.host", "h")
            .add_config("db.port", "1000")
            .add_config("dry", "false")
            .add_config("text", "x");
        assert_eq!(input, expected);
        assert_eq!(ProcessInputData::from_json("{}", "in.json"), Ok(ProcessInputData::new()));
    }

    #[test]
    fn every_fault_is_told_at_once_in_order() {
        let text = r#"{"inputFile": "x", "output_dir": 7, "user_id": "a\u0000b", "colour": 1,
            "config": {"a": [], "b": {}, "e": {"d": 1}, "e.d": 2, "c": 1e100000, "": "x", "a": "y"}, "metadata": "x"}"#;
        assert_eq!(
            faults(text),
            [
                "in.json: inputFile: unknown key; did you mean \"input_file\"?",
                "in.json: output_dir: 7 is not a text; quote it: \"7\"",
                "in.json: user_id: \"a\\0b\" holds a NUL character; remove the \\u0000: neither commands nor \
                 PostgreSQL can hold it",
                "in.json: colour: unknown key; the keys of an input are input_file, output_dir, user_id, config, \
                 metadata, scheduled_at, previous_scheduled_at",
                "in.json: config.a: the key \"a\" is given twice; keep one of them",
                "in.json: config.a: an array is not a text; write a text, a number, true or false; JSON in it must \
                 be quoted",
                "in.json: config.b: an object is not a text; write a text, a number, true or false; JSON in it must \
                 be quoted",
                "in.json: config[\"e.d\"]: the key \"e.d\" is given twice; keep one of them",
                "in.json: config.c: 1e+100000 has more than 400 characters when it is written out; put the number in \
                 quotes",
                "in.json: config[\"\"]: the key is empty; write a name that ${config.name} can ask for",
                "in.json: metadata: \"x\" is not an object of pairs; write an object of texts such as \
                 {\"batch_size\": \"100\"}",
            ]
        );
    }

    #[test]
    fn what_is_no_input_at_all_is_refused() {
        assert_eq!(
            faults("{\"config\": {\"a\": 1,}}"),
            [
                "in.json: malformed JSON at line 1, column 20: trailing comma; remove the comma before the closing \
                 bracket"
            ]
        );
        assert!(faults("[]")[0].starts_with("in.json: an array is not an input; write an object such as"));
    }

    #[test]
    fn an_input_of_more_than_a_mebibyte_is_refused() {
        let half = "x".repeat(INPUT_BYTES_MAX / 2);
        let fits = ProcessInputData::new().input_file(half.as_str());
        assert_eq!(fits.validate("input"), Ok(()));
        let large = fits.user_id(half.as_str());
        let message = large.validate("input").expect_err("too large").to_string();
        assert_eq!(
            message,
            "input: the input has 1048609 bytes; at most 1048576 (1 MiB) are allowed; put the data in a file and \
             pass its path"
        );
        let text = large.to_value().to_string();
        assert!(ProcessInputData::from_json(&text, "input").is_err());
    }

    proptest! {
        #[test]
        fn an_input_comes_back_from_its_document(
            file in prop::option::of("[^\0]{0,20}"),
            pairs in prop::collection::btree_map("[^\0]{1,8}", "[^\0]{0,8}", 0..4),
        ) {
            let input = ProcessInputData { input_file: file, config: pairs.clone(), metadata: pairs, ..Default::default() };
            let text = input.to_value().to_string();
            prop_assert_eq!(ProcessInputData::from_json(&text, "input"), Ok(input));
        }
    }
}
