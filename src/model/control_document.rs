//! The documents that ask for a process to be cancelled or retried, as the endpoint takes them. An empty body is as
//! good as an empty object.

use super::document::reader::{Reader, Shape};
use super::document::rules::NumberRule;
use super::document::tree::Node;
use super::faults::Faults;
use super::input::{self, ProcessInputData};

const SOURCE: &str = "body";
const CANCEL: Shape = Shape {
    what: "a cancellation",
    example: "an object such as {\"reason\": \"the input was wrong\"}",
    keys: &["reason"],
    required: &[],
};
const RETRY: Shape = Shape {
    what: "a retry",
    example: "an object such as {\"from_task\": \"load\", \"input\": {\"config\": {\"batch_size\": \"50\"}}}",
    keys: &["from_task", "skip", "input"],
    required: &[],
};

const PAUSE: Shape = Shape {
    what: "a pause",
    example: "an object such as {\"reason\": \"the source system is down\"}",
    keys: &["reason"],
    required: &[],
};
const BARE: Shape =
    Shape { what: "what this call takes", example: "nothing, or an empty object", keys: &[], required: &[] };

/// Why something is to be held back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PauseDocument {
    /// Is told to whoever asks.
    pub reason: Option<String>,
}

impl PauseDocument {
    /// Reads one JSON document; one of a call that takes no reason has nothing in it.
    ///
    /// # Errors
    /// Everything that is wrong with it, in its order.
    pub fn from_json(text: &str, takes_reason: bool) -> Result<Self, Faults> {
        let mut pause = Self::default();
        let shape = if takes_reason { &PAUSE } else { &BARE };
        read(text, shape, |reader, _, at, node| pause.reason = line(reader, at, node))?;
        Ok(pause)
    }
}

const LIMIT: Shape = Shape {
    what: "a change of a limit",
    example: "an object such as {\"max\": 4}, or {\"max\": null} for what the documents say",
    keys: &["max", "by"],
    required: &[("max", MAX_REMEDY)],
};
const MAX_REMEDY: &str =
    "write how many at once, 0 to let nothing more begin, or null for what the documents say";
/// From nothing to more than anybody runs.
const MAX: NumberRule = NumberRule { min: 0.0, max: 2_147_483_647.0, is_integer: true, remedy: MAX_REMEDY };

/// What the max of a limit is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitDocument {
    /// `None`: what the documents say.
    pub max: Option<u32>,
    /// Who does it.
    pub by: Option<String>,
}

impl LimitDocument {
    /// Reads one JSON document.
    ///
    /// # Errors
    /// Everything that is wrong with it, in its order.
    pub fn from_json(text: &str) -> Result<Self, Faults> {
        let mut limit = Self::default();
        read(text, &LIMIT, |reader, key, at, node| match key {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "within the rule's bounds"
            )]
            "max" => limit.max = reader.number(at, node, &MAX).map(|it| it as u32),
            _ => limit.by = line(reader, at, node),
        })?;
        Ok(limit)
    }
}

/// Why a process is to be cancelled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CancelDocument {
    /// Becomes part of its error message.
    pub reason: Option<String>,
}

/// How a process is to go again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetryDocument {
    /// The name or number of the task from which on everything is run again, 1 is the first; `None` is the one that failed.
    pub from_task: Option<String>,
    /// Whether tasks before it that have not completed are skipped.
    pub skip: bool,
    /// What is put on top of its input.
    pub changes: Option<ProcessInputData>,
}

impl CancelDocument {
    /// Reads one JSON document. `null` is as good as absent.
    ///
    /// # Errors
    /// Everything that is wrong with it, in its order.
    pub fn from_json(text: &str) -> Result<Self, Faults> {
        let mut cancel = Self::default();
        read(text, &CANCEL, |reader, _, at, node| cancel.reason = line(reader, at, node))?;
        Ok(cancel)
    }
}

impl RetryDocument {
    /// Reads one JSON document. `null` is as good as absent.
    ///
    /// # Errors
    /// Everything that is wrong with it, in its order.
    pub fn from_json(text: &str) -> Result<Self, Faults> {
        let mut retry = Self::default();
        read(text, &RETRY, |reader, key, at, node| match key {
            "from_task" => retry.from_task = line(reader, at, node),
            "skip" => match node {
                Node::Bool(skip) => retry.skip = *skip,
                _ => {
                    reader.fault(at, format!("{} is not true or false", node.shown()), "write true or false")
                }
            },
            _ => retry.changes = Some(input::read_at(reader, at, node)),
        })?;
        Ok(retry)
    }
}

fn read(
    text: &str,
    shape: &Shape,
    mut visit: impl FnMut(&mut Reader, &str, &str, &Node),
) -> Result<(), Faults> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let node =
        Node::parse(text).map_err(|fault| Faults { source: SOURCE.to_owned(), faults: vec![fault] })?;
    let mut reader = Reader::default();
    reader.object("", &node, shape, |reader, key, at, node| {
        if *node != Node::Null {
            visit(reader, key, at, node);
        }
    });
    reader.finish(SOURCE, ())
}

fn line(reader: &mut Reader, at: &str, node: &Node) -> Option<String> {
    reader.text(at, node, "write a text, or leave the key out").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_say_as_little_or_as_much_as_they_want() {
        for nothing in ["", " \n", "{}", r#"{"reason": null}"#] {
            assert_eq!(CancelDocument::from_json(nothing), Ok(CancelDocument::default()), "{nothing}");
        }
        let reason = CancelDocument::from_json(r#"{"reason": "wrong input"}"#).expect("a reason").reason;
        assert_eq!(reason.as_deref(), Some("wrong input"));
        assert_eq!(RetryDocument::from_json("{}"), Ok(RetryDocument::default()));
        let retry =
            RetryDocument::from_json(r#"{"from_task": "load", "skip": true, "input": {"config": {"a": 1}}}"#);
        let changes = Some(ProcessInputData::new().add_config("a", "1"));
        assert_eq!(retry, Ok(RetryDocument { from_task: Some("load".to_owned()), skip: true, changes }));
    }

    #[test]
    fn a_limit_is_changed_by_a_number_or_null() {
        let limit = |text| LimitDocument::from_json(text);
        assert_eq!(limit("{\"max\": 0}"), Ok(LimitDocument { max: Some(0), by: None }));
        let default = LimitDocument { max: None, by: Some("ann".to_owned()) };
        assert_eq!(limit("{\"max\": null, \"by\": \"ann\"}"), Ok(default));
        for (text, part) in
            [("{}", "max: is missing; write how many"), ("{\"max\": -1}", "max: -1 is not an integer from 0")]
        {
            let faults = limit(text).expect_err(text).to_string();
            assert!(faults.contains(part), "{faults}");
        }
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let faults = RetryDocument::from_json(r#"{"from": "load", "from_task": 1, "input": {"user": 1}}"#);
        let faults = faults.expect_err("faults").faults;
        let paths: Vec<&str> = faults.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, ["from", "from_task", "input.user"]);
        assert_eq!(CancelDocument::from_json("[").expect_err("no JSON").faults.len(), 1);
    }
}
