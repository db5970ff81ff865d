//! Process types as JSON documents: the same in files, in the database and over HTTP.

mod command;
mod concurrency;
mod name;
pub(crate) mod reader;
pub(crate) mod rules;
pub mod secrets;
mod shell;
mod surroundings;
mod task;
pub(crate) mod tree;

pub use concurrency::{LIMIT_KEYS, TASK_LIMIT_KEYS};
pub use task::{RETRY_KEYS, TASK_KEYS};

use serde_json::{Map, Value, json};

use self::concurrency::Placed;
use self::name::{NAME_REMEDY, name};
use self::reader::{Reader, Shape};
use self::rules::TASKS_MAX;
use self::tree::{Node, shown_text};
use super::faults::Faults;
use super::process_type::{ProcessType, TaskDefinition};
use super::schedule::definition::{self, Schedule};
use super::template::required_input;

/// The keys of a process type's document.
pub const PROCESS_TYPE_KEYS: &[&str] =
    &["$schema", "name", "description", "concurrency", "tasks", "schedules"];

const TASKS_REMEDY: &str =
    "write at least one task, such as [{\"name\": \"load\", \"command\": \"load-data\"}]";

const SHAPE: Shape = Shape {
    what: "a process type",
    example: "an object such as {\"name\": \"nightly\", \"tasks\": [{\"name\": \"load\", \"command\": \"load-data\"}]}",
    keys: PROCESS_TYPE_KEYS,
    required: &[("name", NAME_REMEDY), ("tasks", TASKS_REMEDY)],
};

impl ProcessType {
    /// Reads one JSON document. `source` is where it came from, for messages.
    ///
    /// ```
    /// use process_orchestrator::ProcessType;
    ///
    /// let text = r#"{"name": "nightly", "tasks": [{"name": "fetch", "comand": "fetch-orders"}]}"#;
    /// let faults = ProcessType::from_json(text, "nightly.json").unwrap_err();
    /// assert!(faults.to_string().starts_with(
    ///     "nightly.json: tasks[0].comand: unknown key; did you mean \"command\"?"
    /// ));
    /// ```
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the document, in its order.
    pub fn from_json(text: &str, source: &str) -> Result<Self, Faults> {
        let node =
            Node::parse(text).map_err(|fault| Faults { source: source.to_owned(), faults: vec![fault] })?;
        read(&node, source, Reader::default())
    }

    /// Reads a document that is parsed already.
    ///
    /// # Errors
    ///
    /// As [`ProcessType::from_json`].
    pub fn from_value(value: &Value, source: &str) -> Result<Self, Faults> {
        read(&Node::from(value), source, Reader::default())
    }

    /// Reads a document as releases before this one did: what can't mean what it says, such as a shell's operator in a
    /// command that no shell runs, is none of its faults. Types that were registered with it go on.
    ///
    /// # Errors
    ///
    /// Everything that can't be read.
    pub fn from_stored(value: &Value, source: &str) -> Result<Self, Faults> {
        read(&Node::from(value), source, Reader::of_stored())
    }

    /// The document, with every setting written out: whoever reads it needs to know no default.
    /// Delays are numbers of seconds. [`ProcessType::from_value`] makes the same process type of it.
    pub fn to_value(&self) -> Value {
        let mut document = Map::new();
        document.insert("name".to_owned(), json!(self.name));
        if !self.description.is_empty() {
            document.insert("description".to_owned(), json!(self.description));
        }
        if !self.concurrency.is_empty() {
            let limits = self.concurrency.iter().map(|it| it.to_value(false)).collect();
            document.insert("concurrency".to_owned(), limits);
        }
        document.insert("tasks".to_owned(), self.tasks.iter().map(TaskDefinition::to_value).collect());
        if !self.schedules.is_empty() {
            document.insert("schedules".to_owned(), self.schedules.iter().map(Schedule::to_value).collect());
        }
        Value::Object(document)
    }

    /// Checks a process type that code has built, by the rules of documents.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn validate(&self, source: &str) -> Result<(), Faults> {
        // Its document says everything it says, so one set of checks serves both.
        Self::from_value(&self.to_value(), source).map(drop)
    }
}

fn read(document: &Node, source: &str, mut reader: Reader) -> Result<ProcessType, Faults> {
    let mut process_type = ProcessType::new("", "");
    let mut placed = Vec::new();
    reader.object("", document, &SHAPE, |reader, key, at, node| match key {
        "name" => process_type.name = name(reader, at, node),
        "description" => {
            let text = reader.text(at, node, "write what the process type is for, in a sentence");
            process_type.description = text.unwrap_or_default().to_owned();
        }
        "concurrency" => {
            process_type.concurrency = concurrency::concurrency(reader, at, node, false, &mut placed);
        }
        "tasks" => process_type.tasks = tasks(reader, at, node, &mut placed),
        "schedules" => {
            let of_type = match document.get("name") {
                Some(Node::Text(name)) => name.as_str(),
                _ => "",
            };
            process_type.schedules = schedules(reader, at, node, of_type);
        }
        _ => {
            // `$schema` is for editors.
            reader.text(at, node, "write the address of the JSON Schema, or leave the key out");
        }
    });
    concurrency::agree(&mut reader, &process_type.name, &placed);
    for (index, schedule) in process_type.schedules.iter().enumerate() {
        for variable in schedule.input.missing(&required_input(&process_type)) {
            reader.no_sense(
                format!("schedules[{index}].input"),
                format!("lacks {variable}, which a task needs as ${{{variable}}}"),
                "add it to the input, or give the variable a default: ${name:-default}",
            );
        }
    }
    reader.finish(source, process_type)
}

fn schedules(reader: &mut Reader, at: &str, node: &Node, of_type: &str) -> Vec<Schedule> {
    let remedy = "write [{\"name\": \"nightly\", \"cron\": \"30 2 * * *\"}]";
    let mut schedules: Vec<Schedule> = Vec::new();
    for (index, item) in reader.array(at, node, remedy).unwrap_or_default().iter().enumerate() {
        let at = format!("{at}[{index}]");
        let schedule = definition::read_at(reader, &at, item, Some(of_type));
        if schedules.iter().any(|it| it.name == schedule.name && !it.name.is_empty()) {
            let problem = format!("{} is the name of an earlier one", shown_text(&schedule.name));
            reader.fault(format!("{at}.name"), problem, "give each schedule its own name");
        }
        schedules.push(schedule);
    }
    schedules
}

fn tasks(reader: &mut Reader, at: &str, node: &Node, placed: &mut Vec<Placed>) -> Vec<TaskDefinition> {
    let Some(items) = reader.array(at, node, TASKS_REMEDY) else { return Vec::new() };
    if items.is_empty() {
        reader.fault(at, "is empty", TASKS_REMEDY);
    }
    if items.len() > TASKS_MAX {
        let problem = format!("has {} tasks; at most {TASKS_MAX} are allowed", items.len());
        reader.fault(at, problem, "split the process type into several");
        return Vec::new();
    }
    let mut tasks: Vec<TaskDefinition> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let task = task::read(reader, &at, item, placed);
        let earlier = tasks.iter().position(|it| it.name == task.name && !task.name.is_empty());
        if let Some(earlier) = earlier {
            let problem = format!("tasks[{earlier}] is named {} already", shown_text(&task.name));
            reader.fault(format!("{at}.name"), problem, "give each task of a process type its own name");
        }
        tasks.push(task);
    }
    tasks
}

#[cfg(test)]
mod tests;
