//! What a process type says about how many of its processes, or of their commands, run at once.

use serde_json::{Map, Value, json};

use crate::model::template::{Part, Template};

/// Most characters of a group's name.
pub const GROUP_CHARS_MAX: usize = 100;
/// Most characters of a key's template: it is part of the limit's name.
pub const KEY_CHARS_MAX: usize = 200;
/// Most limits of a process type or a task: a claim locks them all.
pub const LIMITS_MAX: usize = 20;

/// One limit: at most `max` at once, among all that share its group, its key's value, or else its process type.
///
/// ```
/// use process_orchestrator::{Concurrency, ProcessType, TaskDefinition};
///
/// let train = ProcessType::new("train", "One model of a customer at a time, on one of two cards")
///     .limit(Concurrency::max(1).key("${config.customer}"))
///     .add(TaskDefinition::new("fit", "fit ${input_file}").limit(Concurrency::max(2).group("gpu")));
/// assert_eq!(train.concurrency[0].limit_name("train"), "type:train:config.customer");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concurrency {
    /// How many at once, at least 1; `None` (in a group only): as another process type or `limits set` says, no bound until then.
    pub max: Option<u32>,
    /// A text with variables of the input, such as `${config.customer}`: each value has a count of its own.
    pub key: Option<String>,
    /// The name that several process types share; `None`: it is the process type's own.
    pub group: Option<String>,
    /// For how long a slot is held.
    pub holds: Holds,
}

/// For how long a slot is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Holds {
    /// From the first claim of a process to its end, waits for retries included.
    #[default]
    Process,
    /// While a command runs.
    Task,
}

impl Holds {
    /// The word used in documents and in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Task => "task",
        }
    }

    /// Reads the word used in documents and in the table.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Process, Self::Task].into_iter().find(|it| it.as_str() == word)
    }
}

impl Concurrency {
    /// At most so many processes of the type at once.
    pub const fn max(max: u32) -> Self {
        Self { max: Some(max), key: None, group: None, holds: Holds::Process }
    }

    /// Counted together with all others of this group.
    #[must_use]
    pub fn group(self, group: impl Into<String>) -> Self {
        Self { group: Some(group.into()), ..self }
    }

    /// Counted for each value of this text, such as `${config.customer}`.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Held only while a command runs.
    #[must_use]
    pub fn while_a_command_runs(self) -> Self {
        Self { holds: Holds::Task, ..self }
    }

    /// The name of the limit in a process type of this name: the group, or `type:TYPE`, or `type:TYPE:KEY`.
    pub fn limit_name(&self, process_type: &str) -> String {
        match (&self.group, &self.key) {
            (Some(group), _) => group.clone(),
            (None, None) => format!("type:{}", escaped(process_type)),
            (None, Some(key)) => format!("type:{}:{}", escaped(process_type), key_name(key)),
        }
    }

    /// As the table `process_types` has it, for whoever claims; the entry of a task says nothing of how long it is held.
    pub fn to_row(&self, process_type: &str, is_of_task: bool) -> Value {
        let mut row = Map::new();
        row.insert("name".to_owned(), json!(self.limit_name(process_type)));
        row.insert("max".to_owned(), json!(self.max));
        if !is_of_task {
            row.insert("holds".to_owned(), json!(self.holds.as_str()));
        }
        if let Some(key) = &self.key {
            // A faulty one has been refused.
            let parts = Template::parse(key).map(|it| it.parts).unwrap_or_default();
            row.insert("key".to_owned(), parts.iter().map(part_row).collect());
        }
        Value::Object(row)
    }

    /// As a document says it.
    pub fn to_value(&self, is_of_task: bool) -> Value {
        let mut value = Map::new();
        for (key, text) in [("group", &self.group), ("key", &self.key)] {
            value.extend(text.as_ref().map(|text| (key.to_owned(), json!(text))));
        }
        value.extend(self.max.map(|max| ("max".to_owned(), json!(max))));
        // A task's is held while its command runs: what says otherwise is refused by the rules of documents.
        if !is_of_task || self.holds == Holds::Process {
            value.insert("holds".to_owned(), json!(self.holds.as_str()));
        }
        Value::Object(value)
    }
}

fn part_row(part: &Part<'_>) -> Value {
    match part {
        Part::Text(text) => json!({ "text": text }),
        Part::Variable { variable, default: None } => json!({ "variable": variable.to_string() }),
        Part::Variable { variable, default: Some(default) } => {
            json!({ "variable": variable.to_string(), "default": default })
        }
    }
}

/// A process type's name within that of a limit, whose own marks are `:` and `=`.
fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace('=', "%3D").replace(':', "%3A")
}

/// A key's template without the marks of its variables.
fn key_name(key: &str) -> String {
    let parts = Template::parse(key).map(|it| it.parts).unwrap_or_default();
    let shown = |part: &Part<'_>| match part {
        Part::Text(text) => (*text).to_owned(),
        Part::Variable { variable, default: None } => variable.to_string(),
        Part::Variable { variable, default: Some(default) } => format!("{variable}:-{default}"),
    };
    let name: String = parts.iter().map(shown).collect();
    name.replace('%', "%25").replace('=', "%3D")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_by_its_group_its_type_and_its_key() {
        let name = |it: Concurrency, process_type| it.limit_name(process_type);
        assert_eq!(name(Concurrency::max(2).group("gpu"), "a"), "gpu");
        assert_eq!(name(Concurrency::max(2).group("gpu").key("${user_id}"), "a"), "gpu");
        assert_eq!(name(Concurrency::max(2), "a=b:c%"), "type:a%3Db%3Ac%25");
        let key = "${config.customer}/${config.region:-50%}";
        assert_eq!(name(Concurrency::max(2).key(key), "a"), "type:a:config.customer/config.region:-50%25");
    }

    #[test]
    fn a_row_says_what_a_claim_needs() {
        let limit =
            Concurrency::max(1).key("c-${config.customer}/${metadata.region:-eu}").while_a_command_runs();
        assert_eq!(
            limit.to_row("invoice", false),
            json!({
                "name": "type:invoice:c-config.customer/metadata.region:-eu", "max": 1, "holds": "task",
                "key": [{"text": "c-"}, {"variable": "config.customer"}, {"text": "/"},
                        {"variable": "metadata.region", "default": "eu"}],
            })
        );
        let group = Concurrency { max: None, ..Concurrency::max(1).group("gpu") };
        assert_eq!(group.to_row("invoice", true), json!({"name": "gpu", "max": null}));
    }
}
