//! Puts values in the place of variables.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use serde_json::{Map, Value};

use super::parse::{Part, Template, TemplateError, Variable};
use crate::model::input::ProcessInputData;
use crate::model::jsonb::at_path;
use crate::model::process_type::{ProcessType, TaskDefinition};

/// The values a task's variables have.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// `${process_id}`
    pub process_id: &'a str,
    /// `${process_type}`
    pub process_type: &'a str,
    /// `${task_name}`
    pub task_name: &'a str,
    /// What the process was started with.
    pub input: &'a ProcessInputData,
    /// What earlier tasks passed on.
    pub context: &'a Map<String, Value>,
    /// Looks up a variable of the node's environment.
    pub env: fn(&str) -> Option<String>,
}

/// Why a command could not be made ready. No further attempt can heal it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderError {
    /// A variable without a default has no value; holds its name.
    Missing(String),
    /// The same, as an earlier task has passed on `null`; holds its name.
    Null(String),
    /// The text is no template.
    Template(TemplateError),
    /// The command can't be split into words; holds the command.
    Quotes(String),
    /// The command has no words.
    Empty,
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Missing(name) => name,
            Self::Null(name) => {
                return write!(
                    f,
                    "an earlier task has passed on null as {name}, which is no value; have it write another, or give it \
                     a default in the command: ${{{name}:-VALUE}}"
                );
            }
            Self::Template(error) => return error.fmt(f),
            Self::Quotes(command) => {
                return write!(
                    f,
                    "the command {command:?} has an unbalanced quote; close it, or escape it with \\"
                );
            }
            Self::Empty => return f.write_str("the command is empty; write the program to run"),
        };
        let default = format!("give it a default in the command: ${{{name}:-VALUE}}");
        match name.split_once('.') {
            Some(("processContext", key)) => write!(
                f,
                "no earlier task has written {name}; have one write the line {key}=VALUE to the file that \
                 $PROCESS_CONTEXT_FILE names, or {default}"
            ),
            Some(("env", key)) => write!(
                f,
                "the node's environment has no {key}; set it where the node is started, or {default}"
            ),
            Some((group, key)) => write!(
                f,
                "the input has no {name}; start the process with --{group} {key}=VALUE, or {default}"
            ),
            None => write!(
                f,
                "the input has no {name}; start the process with --{} VALUE, or {default}",
                name.replace('_', "-")
            ),
        }
    }
}

impl std::error::Error for RenderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Template(error) => Some(error),
            _ => None,
        }
    }
}

impl From<TemplateError> for RenderError {
    fn from(error: TemplateError) -> Self {
        Self::Template(error)
    }
}

impl<'a> Scope<'a> {
    /// The value of `variable`. Text of the context is itself, `null` is missing, everything else
    /// its JSON text. An empty file, directory or user is missing.
    pub fn value(&self, variable: Variable<'_>) -> Option<Cow<'a, str>> {
        let input = self.input;
        match variable {
            Variable::InputFile => input.input_file.as_deref().filter(|it| !it.is_empty()),
            Variable::OutputDir => input.output_dir.as_deref().filter(|it| !it.is_empty()),
            Variable::UserId => input.user_id.as_deref().filter(|it| !it.is_empty()),
            Variable::ScheduledAt => input.scheduled_at.as_deref().filter(|it| !it.is_empty()),
            Variable::PreviousScheduledAt => {
                input.previous_scheduled_at.as_deref().filter(|it| !it.is_empty())
            }
            Variable::ProcessId => Some(self.process_id),
            Variable::ProcessType => Some(self.process_type),
            Variable::TaskName => Some(self.task_name),
            Variable::Config(key) => input.config.get(key).map(String::as_str),
            Variable::Metadata(key) => input.metadata.get(key).map(String::as_str),
            Variable::Env(key) => return (self.env)(key).map(Cow::Owned),
            Variable::ProcessContext(key) => {
                return match at_path(self.context, key)? {
                    Value::Null => None,
                    Value::String(text) => Some(Cow::Borrowed(text)),
                    other => Some(Cow::Owned(other.to_string())),
                };
            }
        }
        .map(Cow::Borrowed)
    }

    fn value_or<'v>(
        &self,
        variable: Variable<'_>,
        default: Option<&'v str>,
    ) -> Result<Cow<'v, str>, RenderError>
    where
        'a: 'v,
    {
        let value = self.value(variable);
        if let Some(default) = default {
            // As in the shell, `:-` stands for an empty value too.
            return Ok(value.filter(|it| !it.is_empty()).unwrap_or(Cow::Borrowed(default)));
        }
        if let Some(value) = value {
            return Ok(value);
        }
        match (variable, variable.split_default()) {
            (_, Some((shorter, default))) => {
                Ok(self.value(shorter).unwrap_or_else(|| Cow::Owned(default.to_owned())))
            }
            (Variable::ProcessContext(key), None) if at_path(self.context, key).is_some() => {
                Err(RenderError::Null(variable.to_string()))
            }
            _ => Err(RenderError::Missing(variable.to_string())),
        }
    }
}

/// Splits a command into its words, then substitutes the variables of each.
///
/// # Errors
///
/// What makes the command impossible to run, such as a missing value.
pub fn render_words(command: &str, scope: &Scope<'_>) -> Result<Vec<String>, RenderError> {
    let words = shell_words::split(command).map_err(|_| RenderError::Quotes(command.to_owned()))?;
    if words.is_empty() {
        return Err(RenderError::Empty);
    }
    let mut rendered = Vec::with_capacity(words.len());
    for word in words {
        let is_plain = !word.contains("${");
        rendered.push(if is_plain { word } else { render(&Template::parse_word(&word, command)?, scope)? });
    }
    Ok(rendered)
}

/// Substitutes the variables of a working directory or an environment value.
///
/// # Errors
///
/// As [`render_words`].
pub fn render_text(text: &str, scope: &Scope<'_>) -> Result<String, RenderError> {
    render(&Template::parse(text)?, scope)
}

fn render(template: &Template<'_>, scope: &Scope<'_>) -> Result<String, RenderError> {
    let mut text = String::new();
    for part in &template.parts {
        match *part {
            Part::Text(piece) => text.push_str(piece),
            Part::Variable { variable, default } => text.push_str(&scope.value_or(variable, default)?),
        }
    }
    Ok(text)
}

/// Makes a script for `sh -c`: each variable becomes a reference such as `${PO_CONFIG_BATCH_SIZE}`
/// to an environment variable, and the environment that gives it its value is returned beside it.
///
/// To the shell they are variables like its own: between double quotes a value is one argument
/// whatever it holds, between single quotes nothing is substituted. The text of a value is never
/// read as shell code.
///
/// # Errors
///
/// As [`render_words`].
pub fn render_script(
    script: &str,
    scope: &Scope<'_>,
) -> Result<(String, Vec<(String, String)>), RenderError> {
    let template = Template::parse(script)?;
    let mut rendered = String::with_capacity(script.len());
    let mut environment: Vec<(String, String)> = Vec::new();
    let mut names = Names::default();
    let mut known: HashMap<(Variable<'_>, Cow<'_, str>), usize> = HashMap::new();
    for part in &template.parts {
        let (variable, default) = match *part {
            Part::Text(piece) => {
                rendered.push_str(piece);
                continue;
            }
            Part::Variable { variable, default } => (variable, default),
        };
        let value = scope.value_or(variable, default)?;
        // One variable with two defaults may have two values, and then needs two names.
        let at = *known.entry((variable, value)).or_insert_with_key(|(variable, value)| {
            environment.push((names.free(*variable), value.clone().into_owned()));
            environment.len() - 1
        });
        rendered.push_str("${");
        rendered.push_str(&environment[at].0);
        rendered.push('}');
    }
    Ok((rendered, environment))
}

/// The names of the environment variables that stand for the variables of a script.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashSet<String>,
    /// The last number behind each name.
    numbers: HashMap<String, usize>,
}

impl Names {
    /// One for `variable`: readable and not yet taken.
    pub fn free(&mut self, variable: Variable<'_>) -> String {
        let (group, key) = match variable {
            Variable::Config(key) => ("CONFIG_", Cow::Borrowed(key)),
            Variable::Metadata(key) => ("METADATA_", Cow::Borrowed(key)),
            Variable::ProcessContext(key) => ("PROCESS_CONTEXT_", Cow::Borrowed(key)),
            Variable::Env(key) => ("ENV_", Cow::Borrowed(key)),
            plain => ("", Cow::Owned(plain.to_string())),
        };
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = "PO_".chars().chain(group.chars()).chain(key.chars().map(plain)).collect();
        let mut free = name.clone();
        let number = self.numbers.entry(name).or_insert(1);
        while self.taken.contains(&free) {
            *number += 1;
            free.truncate("PO_".len() + group.len() + key.chars().count());
            free.push_str(&format!("_{number}"));
        }
        self.taken.insert(free.clone());
        free
    }
}

/// What the input must supply when a process of this type starts: the names of all variables that
/// stand somewhere without a default, such as `input_file` or `config.batch_size`, sorted.
/// Variables the orchestrator or earlier tasks supply are not among them.
pub fn required_input(process_type: &ProcessType) -> Vec<String> {
    let mut names = BTreeSet::new();
    for task in &process_type.tasks {
        for text in texts(task) {
            // A faulty template asks for nothing; validation names the fault.
            let Ok(template) = Template::parse(&text) else { continue };
            names.extend(template.parts.iter().filter_map(|part| match part {
                Part::Variable { variable, default: None }
                    if is_input(*variable) && variable.split_default().is_none() =>
                {
                    Some(variable.to_string())
                }
                _ => None,
            }));
        }
    }
    names.into_iter().collect()
}

/// The variables in a text, such as `config.batch_size`; none in one that can't be read.
pub fn variables(text: &str) -> Vec<String> {
    let parts = Template::parse(text).map(|it| it.parts).unwrap_or_default();
    let name = |part: &Part<'_>| match part {
        Part::Variable { variable, .. } => Some(variable.to_string()),
        _ => None,
    };
    parts.iter().filter_map(name).collect()
}

/// Every text of a task in which variables are substituted.
fn texts(task: &TaskDefinition) -> Vec<Cow<'_, str>> {
    let mut texts: Vec<Cow<'_, str>> = if task.shell {
        vec![Cow::Borrowed(&task.command)]
    } else {
        shell_words::split(&task.command).unwrap_or_default().into_iter().map(Cow::Owned).collect()
    };
    texts.extend(task.working_directory.as_deref().map(Cow::Borrowed));
    texts.extend(task.environment.values().map(|value| Cow::Borrowed(value.as_str())));
    texts
}

fn is_input(variable: Variable<'_>) -> bool {
    match variable {
        Variable::InputFile | Variable::OutputDir | Variable::UserId => true,
        Variable::ScheduledAt | Variable::PreviousScheduledAt => true,
        Variable::Config(_) | Variable::Metadata(_) => true,
        Variable::ProcessId | Variable::ProcessType | Variable::TaskName => false,
        Variable::ProcessContext(_) | Variable::Env(_) => false,
    }
}

#[cfg(test)]
mod tests;
