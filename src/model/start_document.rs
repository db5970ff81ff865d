//! The document that asks for a process to be started, as the endpoint takes it.

use jiff::Timestamp;

use super::document::reader::{Reader, Shape};
use super::document::tree::Node;
use super::faults::Faults;
use super::input::{self, ProcessInputData};
use super::names::{PROCESS_ID_REMEDY, process_id_problem};

const SHAPE: Shape = Shape {
    what: "a start",
    example: "an object such as {\"process_type\": \"data-processing-pipeline\", \"input\": {\"user_id\": \"user123\"}}",
    keys: &["process_type", "input", "process_id", "start_at", "priority"],
    required: &[("process_type", "name a registered process type")],
};

/// A process that somebody wants started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartDocument {
    /// The name of a registered process type.
    pub process_type: String,
    /// What it works on.
    pub input: ProcessInputData,
    /// The caller's own id.
    pub process_id: Option<String>,
    /// When it is due; `None` is now.
    pub start_at: Option<Timestamp>,
    /// Higher runs first.
    pub priority: i32,
}

impl StartDocument {
    /// Reads one JSON document. `null` is as good as absent.
    ///
    /// # Errors
    /// Everything that is wrong with it, in its order.
    pub fn from_json(text: &str) -> Result<Self, Faults> {
        const SOURCE: &str = "body";
        let node =
            Node::parse(text).map_err(|fault| Faults { source: SOURCE.to_owned(), faults: vec![fault] })?;
        let mut reader = Reader::default();
        let mut start = Self::default();
        reader.object("", &node, &SHAPE, |reader, key, at, node| match key {
            "process_type" => {
                let text = reader.text(at, node, "name a registered process type");
                start.process_type = text.unwrap_or_default().to_owned();
            }
            _ if *node == Node::Null => {}
            "input" => start.input = input::read_at(reader, at, node),
            "process_id" => start.process_id = process_id(reader, at, node),
            "start_at" => start.start_at = time(reader, at, node),
            "priority" => start.priority = priority(reader, at, node).unwrap_or_default(),
            _ => {}
        });
        reader.finish(SOURCE, start)
    }
}

fn process_id(reader: &mut Reader, at: &str, node: &Node) -> Option<String> {
    let id = reader.text(at, node, "write a text, or leave the key out to have an id made")?;
    if let Some(problem) = process_id_problem(id) {
        reader.fault(at, format!("the process id {problem}"), PROCESS_ID_REMEDY);
        return None;
    }
    Some(id.to_owned())
}

fn time(reader: &mut Reader, at: &str, node: &Node) -> Option<Timestamp> {
    const REMEDY: &str = "write a time such as \"2026-12-01T08:00:00Z\", or leave the key out for now";
    let text = reader.text(at, node, REMEDY)?;
    let time = text.parse().ok();
    if time.is_none() {
        reader.fault(at, format!("{} is not a time", node.shown()), REMEDY);
    }
    time
}

fn priority(reader: &mut Reader, at: &str, node: &Node) -> Option<i32> {
    let number = match node {
        Node::Number(number) => number.as_i64().and_then(|it| i32::try_from(it).ok()),
        _ => None,
    };
    if number.is_none() {
        let remedy = format!("write a whole number from {} to {}; 0 is usual", i32::MIN, i32::MAX);
        reader.fault(at, format!("{} is not a priority", node.shown()), remedy);
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_says_as_little_or_as_much_as_it_wants() {
        let least = StartDocument::from_json(r#"{"process_type": "a"}"#);
        assert_eq!(least, Ok(StartDocument { process_type: "a".into(), ..StartDocument::default() }));
        let most = StartDocument::from_json(
            r#"{"process_type": "a", "input": {"user_id": "u", "config": {"n": 1}}, "process_id": "p/1",
                "start_at": "2026-12-01T08:00:00Z", "priority": -5}"#,
        );
        let expected = StartDocument {
            process_type: "a".into(),
            input: ProcessInputData::new().user_id("u").add_config("n", "1"),
            process_id: Some("p/1".into()),
            start_at: "2026-12-01T08:00:00Z".parse().ok(),
            priority: -5,
        };
        assert_eq!(most, Ok(expected));
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_place() {
        let faults = StartDocument::from_json(
            r#"{"input": {"user": "u", "config": {"a": []}}, "process_id": " p", "start_at": "soon",
                "priority": 1.5, "when": 1}"#,
        )
        .expect_err("faults");
        let paths: Vec<&str> = faults.faults.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(
            paths,
            ["input.user", "input.config.a", "process_id", "start_at", "priority", "when", "process_type"]
        );
        assert!(faults.to_string().contains("process_type: is missing; name a registered"), "{faults}");
        for text in
            ["", "[]", "{\"process_type\": null}", "{\"process_type\": \"a\", \"process_type\": \"b\"}"]
        {
            assert_eq!(StartDocument::from_json(text).expect_err(text).faults.len(), 1, "{text}");
        }
    }
}
