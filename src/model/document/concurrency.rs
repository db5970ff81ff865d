//! Reads the limits of a process type and of its tasks.

use super::reader::{Reader, Shape, path};
use super::rules::LIMIT_MAX;
use super::tree::{Node, shown_text};
use crate::model::limits::definition::{Concurrency, GROUP_CHARS_MAX, Holds, KEY_CHARS_MAX, LIMITS_MAX};
use crate::model::suggest;
use crate::model::template::{self, Part, Template, Variable};

/// The keys of a limit of a process type.
pub const LIMIT_KEYS: &[&str] = &["max", "key", "group", "holds"];
/// The keys of a limit of a task.
pub const TASK_LIMIT_KEYS: &[&str] = &["max", "key", "group"];

const GROUP_REMEDY: &str = "write 1 to 100 letters, digits, dots, dashes and underscores, such as \"gpu\"";
const KEY_REMEDY: &str = "write a text with variables of the input, such as \"${config.customer}\"";
const MAX_REMEDY: &str = "write how many may run at once, such as 1; only a group can leave it to another process type or to \
                          `limits set`";
const NONE_REMEDY: &str = "write 1 or more; to hold everything back use `process-orchestrator pause TYPE`, or \
                           `process-orchestrator limits set NAME --max 0`";

const LIMIT: Shape = Shape {
    what: "a limit",
    example: "an object such as {\"max\": 1, \"key\": \"${config.customer}\"} or {\"group\": \"gpu\", \"max\": 2}",
    keys: LIMIT_KEYS,
    required: &[],
};
const TASK_LIMIT: Shape = Shape {
    what: "a task's limit",
    example: "an object such as {\"group\": \"gpu\", \"max\": 2}",
    keys: LIMIT_KEYS,
    required: &[(
        "group",
        "write the group of which the command holds a slot, such as \"gpu\"; a limit without a group belongs to the process \
         type",
    )],
};

/// A limit and where it stands.
pub struct Placed {
    at: String,
    /// The place of its list; all of one list have the same.
    list: String,
    limit: Concurrency,
}

/// Reads the limits of a process type or, with `is_of_task`, of a task: a list, or a single one. Those without a fault are put
/// into `placed` too.
pub fn concurrency(
    reader: &mut Reader,
    at: &str,
    node: &Node,
    is_of_task: bool,
    placed: &mut Vec<Placed>,
) -> Vec<Concurrency> {
    let items = match node {
        Node::Object(_) => std::slice::from_ref(node),
        _ => {
            let remedy = "write a list of limits, such as [{\"group\": \"gpu\", \"max\": 2}]";
            reader.array(at, node, remedy).unwrap_or_default()
        }
    };
    if items.len() > LIMITS_MAX {
        let problem = format!("has {} limits; at most {LIMITS_MAX} are allowed", items.len());
        reader.fault(at, problem, "keep those that matter: a claim has to look at all of them");
        return Vec::new();
    }
    let mut limits = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = if matches!(node, Node::Array(_)) { format!("{at}[{index}]") } else { at.to_owned() };
        let before = reader.count();
        let limit = one(reader, &place, item, is_of_task);
        if reader.count() == before {
            placed.push(Placed { at: place, list: at.to_owned(), limit: limit.clone() });
        }
        limits.push(limit);
    }
    limits
}

fn one(reader: &mut Reader, at: &str, node: &Node, is_of_task: bool) -> Concurrency {
    let holds = if is_of_task { Holds::Task } else { Holds::Process };
    let mut limit = Concurrency { max: None, key: None, group: None, holds };
    let shape = if is_of_task { &TASK_LIMIT } else { &LIMIT };
    reader.object(at, node, shape, |reader, key, at, node| match key {
        "max" => limit.max = max(reader, at, node),
        "key" => limit.key = self::key(reader, at, node),
        "group" => limit.group = group(reader, at, node),
        _ if is_of_task => reader.fault(
            at,
            format!("{} is of no use on a task", node.shown()),
            "leave the key out: a task's limit is held while its command runs; one for the whole process belongs to the \
             process type's own \"concurrency\"",
        ),
        _ => limit.holds = self::holds(reader, at, node).unwrap_or(limit.holds),
    });
    let is_free = node.get("max").is_none() && node.get("group").is_none();
    if !is_of_task && is_free && matches!(node, Node::Object(_)) {
        reader.fault(path(at, "max"), "is missing", MAX_REMEDY);
    }
    limit
}

fn max(reader: &mut Reader, at: &str, node: &Node) -> Option<u32> {
    if matches!(node, Node::Number(number) if number.as_f64() == Some(0.0)) {
        reader.fault(at, "0 would let nothing start", NONE_REMEDY);
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the rule's bounds")]
    reader.number(at, node, &LIMIT_MAX).map(|it| it as u32)
}

fn holds(reader: &mut Reader, at: &str, node: &Node) -> Option<Holds> {
    let text = if let Node::Text(text) = node { text.as_str() } else { "" };
    let found = Holds::parse(text);
    if found.is_none() {
        let remedy = match suggest::closest(text, [Holds::Process, Holds::Task].map(Holds::as_str)) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => "write \"process\" to hold a slot from the first claim to the end, \"task\" to hold it only while a \
                     command runs"
                .to_owned(),
        };
        reader.fault(at, format!("{} is neither \"process\" nor \"task\"", node.shown()), remedy);
    }
    found
}

fn group(reader: &mut Reader, at: &str, node: &Node) -> Option<String> {
    let text = reader.text(at, node, GROUP_REMEDY)?;
    let odd = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"_.-".contains(*c));
    let problem = match (text.chars().count(), odd) {
        (0, _) => "is empty".to_owned(),
        (_, Some(odd)) => format!("{} holds the character {odd:?}", shown_text(text)),
        (chars, None) if chars > GROUP_CHARS_MAX => {
            format!("is {chars} characters long; at most {GROUP_CHARS_MAX} are allowed")
        }
        _ => return Some(text.to_owned()),
    };
    reader.fault(at, problem, GROUP_REMEDY);
    None
}

fn key(reader: &mut Reader, at: &str, node: &Node) -> Option<String> {
    let text = reader.text(at, node, KEY_REMEDY)?;
    let before = reader.count();
    for error in template::problems(text) {
        reader.fault(at, error.problem(), error.remedy());
    }
    if let Some((problem, remedy)) = key_problem(text).filter(|_| reader.count() == before) {
        reader.fault(at, problem, remedy);
    }
    (reader.count() == before).then(|| text.to_owned())
}

/// What keeps a text from being a key, though its variables can be read.
fn key_problem(text: &str) -> Option<(String, String)> {
    let shown = shown_text(text);
    let because = |problem: String, remedy: &str| Some((problem, remedy.to_owned()));
    let chars = text.chars().count();
    if chars > KEY_CHARS_MAX {
        return because(
            format!("is {chars} characters long; at most {KEY_CHARS_MAX} are allowed"),
            KEY_REMEDY,
        );
    }
    if let Some(odd) = text.chars().find(|c| c.is_control()) {
        return because(format!("{shown} holds the control character {odd:?}"), KEY_REMEDY);
    }
    if text.contains('=') {
        let remedy =
            "write another sign: = stands between a limit's name and the key's value, such as in gpu=acme";
        return because(format!("{shown} holds a ="), remedy);
    }
    let parts = Template::parse(text).ok()?.parts;
    let variables = || {
        parts.iter().filter_map(|it| {
            if let Part::Variable { variable, default } = it { Some((variable, default)) } else { None }
        })
    };
    for (variable, default) in variables() {
        match variable {
            Variable::ProcessContext(_) | Variable::TaskName => {
                let problem = format!("${{{variable}}} is not known when a process starts");
                return because(
                    problem,
                    "use a variable of the input: config.KEY, metadata.KEY, input_file, output_dir or user_id",
                );
            }
            Variable::Env(_) => {
                let problem = format!("${{{variable}}} is the node's own, and a limit counts on all nodes");
                return because(problem, "pass the value in the input, such as ${config.site}");
            }
            Variable::ProcessId => {
                return because(
                    "${process_id} gives each process a limit of its own, which limits nothing".to_owned(),
                    "use a variable of the input that several processes share",
                );
            }
            Variable::ProcessType => {
                return because(
                    "${process_type} is the same for all processes of the type".to_owned(),
                    "leave the key out: a limit without a group is the type's own",
                );
            }
            _ => {}
        }
        if let (None, Some((shorter, default))) = (default, variable.split_default()) {
            let problem = format!("${{{variable}}} may mean a default");
            return Some((problem, format!("write ${{{shorter}:-{default}}}")));
        }
    }
    if variables().next().is_none() {
        let remedy = "write a variable of the input, such as \"${config.customer}\", or leave the key out: without one all are \
                      counted together";
        return because(format!("{shown} holds no variable, so that all would have the same key"), remedy);
    }
    None
}

/// Checks what several limits of one document say together.
pub fn agree(reader: &mut Reader, process_type: &str, placed: &[Placed]) {
    for (index, it) in placed.iter().enumerate() {
        let name = it.limit.limit_name(process_type);
        let same = |other: &&Placed| other.limit.limit_name(process_type) == name;
        let earlier: Vec<&Placed> = placed[..index].iter().filter(same).collect();
        let shown = shown_text(&name);
        if let Some(other) = earlier.iter().find(|other| other.list == it.list) {
            let problem = format!("{} makes the limit {shown} already", other.at);
            reader.fault(&it.at, problem, "keep one of them");
        } else if let Some(other) = earlier.iter().find(|other| is_of_type(other) || is_of_type(it)) {
            let (of_type, of_task) = if is_of_type(it) { (it, *other) } else { (*other, it) };
            let problem =
                format!("every command of the process has a slot of {shown} already, by {}", of_type.at);
            reader.fault(&of_task.at, problem, "leave one of them out");
        } else if let Some(other) = earlier
            .iter()
            .find(|other| it.limit.max.zip(other.limit.max).is_some_and(|(one, another)| one != another))
        {
            let (one, another) = (it.limit.max.unwrap_or_default(), other.limit.max.unwrap_or_default());
            let problem = format!("{one} is another max of group {shown} than the {another} of {}", other.at);
            reader.fault(
                path(&it.at, "max"),
                problem,
                "a group has one: write it in one place and leave it out in the others",
            );
        }
    }
}

fn is_of_type(it: &Placed) -> bool {
    it.list == "concurrency"
}
