//! The document that asks for a batch to be started, as the endpoint takes it.

use serde_json::Value;

use super::halt::{HALT_REMEDY, Halt};
use super::ids::BatchIds;
use super::name::{BATCH_NAME_REMEDY, batch_name_problem};
use crate::model::document::reader::{Reader, Shape};
use crate::model::document::rules::NumberRule;
use crate::model::document::tree::Node;
use crate::model::faults::Faults;
use crate::model::input::{self, ProcessInputData};
use crate::model::names::{PROCESS_ID_REMEDY, process_id_problem};

const SHAPE: Shape = Shape {
    what: "a batch",
    example: "an object such as {\"name\": \"nightly\", \"process_type\": \"data-processing-pipeline\", \"inputs\": [{\"user_id\": \
              \"user123\"}]}",
    keys: &["name", "process_type", "inputs", "halt", "max", "then", "priority"],
    required: &[
        ("name", "name the batch"),
        ("process_type", "name a registered process type"),
        ("inputs", "list the inputs, one for each process"),
    ],
};
const THEN: Shape = Shape {
    what: "what follows a batch",
    example: "an object such as {\"process_type\": \"report\", \"input\": {\"user_id\": \"user123\"}}",
    keys: &["process_type", "input"],
    required: &[("process_type", "name a registered process type")],
};
const MAX: NumberRule = NumberRule {
    min: 0.0,
    max: 1_000_000.0,
    is_integer: true,
    remedy: "write how many may run at once, or 0 for any number",
};

/// A batch that somebody wants started.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchDocument {
    /// Its name.
    pub name: String,
    /// The name of a registered process type.
    pub process_type: String,
    /// What its processes work on, each with its id.
    pub processes: Vec<(String, ProcessInputData)>,
    /// When it halts.
    pub halt: Option<String>,
    /// How many of it may run at once.
    pub max: Option<u32>,
    /// What follows it: a process type and its input.
    pub then: Option<(String, Option<Value>)>,
    /// Higher runs first.
    pub priority: i32,
}

impl BatchDocument {
    /// Reads one JSON document. `null` is as good as absent. Inputs are as the lines of `start --inputs`: each may have a
    /// `process_id`, and gets one by what it holds otherwise.
    ///
    /// # Errors
    /// Everything that is wrong with it, in its order.
    pub fn from_json(text: &str) -> Result<Self, Faults> {
        const SOURCE: &str = "body";
        let node =
            Node::parse(text).map_err(|fault| Faults { source: SOURCE.to_owned(), faults: vec![fault] })?;
        let (mut reader, mut batch, mut inputs) = (Reader::default(), Self::default(), Vec::new());
        reader.object("", &node, &SHAPE, |reader, key, at, node| match key {
            "name" => {
                let name = reader.text(at, node, "name the batch").unwrap_or_default();
                if let Some(problem) = batch_name_problem(name) {
                    reader.fault(at, format!("the name {problem}"), BATCH_NAME_REMEDY);
                }
                batch.name = name.to_owned();
            }
            "process_type" => {
                let text = reader.text(at, node, "name a registered process type");
                batch.process_type = text.unwrap_or_default().to_owned();
            }
            "inputs" => inputs = read_inputs(reader, at, node),
            _ if *node == Node::Null => {}
            "halt" => {
                let text = reader.text(at, node, HALT_REMEDY).unwrap_or_default();
                match Halt::parse(text) {
                    Ok(halt) => batch.halt = Some(halt.map(|it| it.to_string()).unwrap_or_default()),
                    Err(problem) => {
                        let problem = problem
                            .strip_suffix(HALT_REMEDY)
                            .map_or(&*problem, |it| it.trim_end_matches("; "));
                        reader.fault(at, problem, HALT_REMEDY);
                    }
                }
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "within the rule's bounds"
            )]
            "max" => batch.max = reader.number(at, node, &MAX).map(|it| it as u32),
            "then" => {
                let (mut process_type, mut then_input) = (String::new(), None);
                reader.object(at, node, &THEN, |reader, key, at, node| match key {
                    "process_type" => {
                        let text = reader.text(at, node, "name a registered process type");
                        process_type = text.unwrap_or_default().to_owned();
                    }
                    _ if *node == Node::Null => {}
                    _ => then_input = Some(input::read_at(reader, at, node).to_value()),
                });
                batch.then = Some((process_type, then_input));
            }
            _ => match node {
                Node::Number(number) if number.as_i64().is_some_and(|it| i32::try_from(it).is_ok()) => {
                    batch.priority =
                        number.as_i64().and_then(|it| i32::try_from(it).ok()).unwrap_or_default();
                }
                _ => reader.fault(
                    at,
                    format!("{} is not a priority", node.shown()),
                    "write a whole number; 0 is usual",
                ),
            },
        });
        let mut ids = BatchIds::new(&batch.name);
        batch.processes = inputs
            .into_iter()
            .map(|(id, input): (Option<String>, ProcessInputData)| {
                (id.unwrap_or_else(|| ids.next(&input)), input)
            })
            .collect();
        reader.finish(SOURCE, batch)
    }
}

fn read_inputs(reader: &mut Reader, at: &str, node: &Node) -> Vec<(Option<String>, ProcessInputData)> {
    let Node::Array(nodes) = node else {
        reader.fault(at, format!("{} is not a list", node.shown()), "list the inputs, one for each process");
        return Vec::new();
    };
    if nodes.is_empty() {
        reader.fault(at, "is empty".to_owned(), "list the inputs, one for each process; {} is an empty one");
    }
    let mut inputs = Vec::with_capacity(nodes.len());
    for (n, node) in nodes.iter().enumerate() {
        let at = format!("{at}[{n}]");
        let (mut node, mut id) = (node.clone(), None);
        if let Node::Object(entries) = &mut node {
            let given = entries.iter().position(|(key, _)| key == "process_id");
            match given.map(|it| entries.remove(it).1) {
                None | Some(Node::Null) => {}
                Some(Node::Text(text)) => match process_id_problem(&text) {
                    None => id = Some(text),
                    Some(problem) => {
                        reader.fault(
                            format!("{at}.process_id"),
                            format!("the process id {problem}"),
                            PROCESS_ID_REMEDY,
                        );
                    }
                },
                Some(other) => {
                    let problem = format!("{} is not a text", other.shown());
                    reader.fault(format!("{at}.process_id"), problem, "quote it, or leave the key out");
                }
            }
        }
        inputs.push((id, input::read_at(reader, &at, &node)));
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_says_as_little_or_as_much_as_it_wants() {
        let least = BatchDocument::from_json(
            r#"{"name": "b", "process_type": "t", "inputs": [{}, {}, {"process_id": "p"}]}"#,
        );
        let ids: Vec<String> = least.expect("a batch").processes.into_iter().map(|it| it.0).collect();
        assert!(ids[1] == format!("{}-2", ids[0]) && ids[2] == "p", "{ids:?}");
        let most = BatchDocument::from_json(
            r#"{"name": "b", "process_type": "t", "inputs": [{"user_id": "u"}], "halt": "soon,fail=5%", "max": 4,
                "then": {"process_type": "r", "input": {"user_id": "v"}}, "priority": -1}"#,
        )
        .expect("a batch");
        assert_eq!((most.halt.as_deref(), most.max, most.priority), (Some("soon,fail=5%"), Some(4), -1));
        assert_eq!(most.then, Some(("r".to_owned(), Some(serde_json::json!({ "user_id": "v" })))));
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_place() {
        let faults = BatchDocument::from_json(
            r#"{"name": "", "inputs": [{"colour": 1}, {"process_id": 7}], "halt": "often", "max": 1.5, "then": {}, "priority": "x"}"#,
        )
        .expect_err("faults");
        let paths: Vec<&str> = faults.faults.iter().map(|it| it.path.as_str()).collect();
        for path in [
            "name",
            "inputs[0].colour",
            "inputs[1].process_id",
            "halt",
            "max",
            "then.process_type",
            "priority",
            "process_type",
        ] {
            assert!(paths.contains(&path), "{path} in {paths:?}");
        }
    }
}
