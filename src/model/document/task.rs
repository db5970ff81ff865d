//! Reads one task of a document.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::command::{COMMAND_REMEDY, command};
use super::concurrency::{Placed, concurrency};
use super::name::{NAME_REMEDY, name};
use super::reader::{Reader, Shape};
use super::rules::{
    FATAL_EXIT_CODE, MAX_OUTPUT_BYTES, MAX_RETRIES, RETRY_DELAY_SECONDS, RETRY_MULTIPLIER, TIMEOUT_MINUTES,
    json_number,
};
use super::shell::{Shell, shell};
use super::surroundings::{directory, environment};
use super::tree::Node;
use crate::model::duration::{parse_duration, show_duration};
use crate::model::process_type::{Leftovers, OnCrash, TaskDefinition};
use crate::model::retry::RetryPolicy;
use crate::model::shell::names_in_script;
use crate::model::suggest;

/// The keys of a task.
pub const TASK_KEYS: &[&str] = &[
    "name",
    "command",
    "working_directory",
    "timeout_minutes",
    "max_retries",
    "environment",
    "shell",
    "unsafe_interpolation",
    "retry",
    "on_crash",
    "max_output_bytes",
    "leftovers",
    "concurrency",
];

/// The keys of a task's `retry`.
pub const RETRY_KEYS: &[&str] = &["initial_delay", "multiplier", "max_delay", "fatal_exit_codes"];

const TASK: Shape = Shape {
    what: "a task",
    example: "an object such as {\"name\": \"load\", \"command\": \"load-data ${input_file}\"}",
    keys: TASK_KEYS,
    required: &[("name", NAME_REMEDY), ("command", COMMAND_REMEDY)],
};

const RETRY: Shape = Shape {
    what: "a retry policy",
    example: "an object such as {\"initial_delay\": \"1s\", \"multiplier\": 2, \"max_delay\": \"5m\"}",
    keys: RETRY_KEYS,
    required: &[],
};

/// Reads a task; what can't be read keeps its default beside the fault.
pub fn read(reader: &mut Reader, at: &str, node: &Node, placed: &mut Vec<Placed>) -> TaskDefinition {
    let mut task = TaskDefinition::new("", "");
    // How a command is read depends on these, which may stand behind it. Their faults are told in their place.
    let aside = |key| node.get(key).map(|node| (Reader::default(), node));
    let is_unsafe = aside("unsafe_interpolation").and_then(|(mut reader, node)| reader.boolean("", node));
    let script_of = aside("shell").map(|(mut reader, node)| shell(&mut reader, "", node));
    let script_of = script_of.unwrap_or(Some(Shell::None));
    reader.object(at, node, &TASK, |reader, key, at, node| match key {
        "name" => task.name = name(reader, at, node),
        "command" => task.command = command(reader, at, node, script_of.as_ref(), is_unsafe == Some(true)),
        "working_directory" => task.working_directory = directory(reader, at, node),
        "timeout_minutes" => set(&mut task.timeout_minutes, reader.number(at, node, &TIMEOUT_MINUTES)),
        "max_retries" => set(&mut task.max_retries, reader.number(at, node, &MAX_RETRIES).map(to_u32)),
        "environment" => task.environment = environment(reader, at, node),
        "shell" => match shell(reader, at, node) {
            None | Some(Shell::None) => {}
            Some(Shell::Sh) => task.shell = true,
            Some(Shell::Other(words)) => (task.shell, task.shell_command) = (true, words),
        },
        "unsafe_interpolation" => set(&mut task.unsafe_interpolation, reader.boolean(at, node)),
        "retry" => task.retry = retry(reader, at, node),
        "on_crash" => set(&mut task.on_crash, on_crash(reader, at, node)),
        "leftovers" => set(&mut task.leftovers, leftovers(reader, at, node)),
        "concurrency" => task.concurrency = concurrency(reader, at, node, true, placed),
        "max_output_bytes" => {
            let bytes = reader.number(at, node, &MAX_OUTPUT_BYTES).map(to_u32);
            set(&mut task.max_output_bytes, bytes.map(u64::from));
        }
        _ => {}
    });
    let names = if task.shell { names_in_script(&task.command) } else { Vec::new() };
    for name in names.iter().filter(|name| task.environment.contains_key(*name)) {
        let at = super::reader::path(&format!("{at}.environment"), name);
        reader.no_sense(
            at,
            format!("{name} holds the value of a variable in the script"),
            "choose another name",
        );
    }
    task
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// A whole number that its rule keeps within `u32`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the rule's bounds")]
fn to_u32(number: f64) -> u32 {
    number as u32
}

fn on_crash(reader: &mut Reader, at: &str, node: &Node) -> Option<OnCrash> {
    let words = [OnCrash::Rerun, OnCrash::Fail].map(OnCrash::as_str);
    let text = match node {
        Node::Text(text) => text.as_str(),
        _ => "",
    };
    let found = OnCrash::parse(text);
    if found.is_none() {
        let remedy = match suggest::closest(text, words) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => "write \"rerun\" to run the command again when its node has died, \"fail\" to fail it"
                .to_owned(),
        };
        reader.fault(at, format!("{} is neither \"rerun\" nor \"fail\"", node.shown()), remedy);
    }
    found
}

fn leftovers(reader: &mut Reader, at: &str, node: &Node) -> Option<Leftovers> {
    let found = match node {
        Node::Text(text) => Leftovers::parse(text),
        _ => None,
    };
    if found.is_none() {
        let remedy =
            "write \"keep\" to let what a successful command has left running live on, \"kill\" to end it";
        reader.fault(at, format!("{} is neither \"keep\" nor \"kill\"", node.shown()), remedy);
    }
    found
}

fn retry(reader: &mut Reader, at: &str, node: &Node) -> RetryPolicy {
    let mut policy = RetryPolicy::default();
    let (mut initial, mut max) = (None, None);
    reader.object(at, node, &RETRY, |reader, key, at, node| match key {
        "initial_delay" => initial = Some(delay(reader, at, node)),
        "max_delay" => max = Some(delay(reader, at, node)),
        "multiplier" => set(&mut policy.multiplier, reader.number(at, node, &RETRY_MULTIPLIER)),
        "fatal_exit_codes" => policy.fatal_exit_codes = exit_codes(reader, at, node),
        _ => {}
    });
    let is_faulty = initial == Some(None) || max == Some(None);
    set(&mut policy.initial_delay, initial.flatten());
    set(&mut policy.max_delay, max.flatten());
    // A relation to a value that is wrong itself would be a second message about one fault.
    if !is_faulty && policy.max_delay < policy.initial_delay {
        let default = |given: Option<_>| if given.is_none() { " (its default)" } else { "" };
        let (first, cap) = (show_duration(policy.initial_delay), show_duration(policy.max_delay));
        let problem = format!(
            "max_delay {cap}{} is shorter than initial_delay {first}{}",
            default(max),
            default(initial)
        );
        let remedy = format!("write a max_delay of at least {first}, or an initial_delay of at most {cap}");
        reader.fault(super::reader::path(at, "max_delay"), problem, remedy);
    }
    policy
}

/// Reads a number of seconds or a text such as `500ms`.
fn delay(reader: &mut Reader, at: &str, node: &Node) -> Option<Duration> {
    let Node::Text(text) = node else {
        let seconds = reader.number(at, node, &RETRY_DELAY_SECONDS)?;
        return Some(Duration::from_secs_f64(seconds)); // the rule has excluded what would panic
    };
    match parse_duration(text) {
        Ok(duration) if RETRY_DELAY_SECONDS.allows(duration.as_secs_f64()) => return Some(duration),
        Ok(_) => reader.fault(at, format!("{text:?} is longer than 30 days"), RETRY_DELAY_SECONDS.remedy),
        Err(_) => {
            reader.fault(at, format!("{} is not a length of time", node.shown()), RETRY_DELAY_SECONDS.remedy)
        }
    }
    None
}

fn exit_codes(reader: &mut Reader, at: &str, node: &Node) -> Vec<i32> {
    let Some(items) = reader.array(at, node, FATAL_EXIT_CODE.remedy) else { return Vec::new() };
    let mut codes = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let code = reader.number(&format!("{at}[{index}]"), item, &FATAL_EXIT_CODE);
        codes.extend(code.map(|it| to_u32(it).cast_signed()));
    }
    codes
}

impl TaskDefinition {
    pub(super) fn to_value(&self) -> Value {
        let mut task = Map::new();
        task.insert("name".to_owned(), json!(self.name));
        task.insert("command".to_owned(), json!(self.command));
        task.insert("shell".to_owned(), super::shell::to_value(self));
        if self.unsafe_interpolation {
            task.insert("unsafe_interpolation".to_owned(), json!(true));
        }
        if let Some(directory) = &self.working_directory {
            task.insert("working_directory".to_owned(), json!(directory));
        }
        task.insert("timeout_minutes".to_owned(), json_number(self.timeout_minutes));
        task.insert("max_retries".to_owned(), json!(self.max_retries));
        task.insert("environment".to_owned(), json!(self.environment));
        task.insert(
            "retry".to_owned(),
            json!({
                "initial_delay": json_number(self.retry.initial_delay.as_secs_f64()),
                "multiplier": json_number(self.retry.multiplier),
                "max_delay": json_number(self.retry.max_delay.as_secs_f64()),
                "fatal_exit_codes": self.retry.fatal_exit_codes,
            }),
        );
        task.insert("on_crash".to_owned(), json!(self.on_crash.as_str()));
        task.insert("max_output_bytes".to_owned(), json!(self.max_output_bytes));
        // Left out by default: types that were registered before this key was known are unchanged.
        if self.leftovers != Leftovers::default() {
            task.insert("leftovers".to_owned(), json!(self.leftovers.as_str()));
        }
        if !self.concurrency.is_empty() {
            let limits = self.concurrency.iter().map(|it| it.to_value(true)).collect();
            task.insert("concurrency".to_owned(), limits);
        }
        Value::Object(task)
    }
}
