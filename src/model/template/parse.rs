//! Finds the variables of a text.

use std::fmt;

use crate::model::{environment, suggest};

/// A text with its variables found.
///
/// `${name}`, `${name:-default}` and `${name-default}` are variables, `$${` is the text `${`, every other `$` stays
/// as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template<'t> {
    /// In their order; empty for an empty text.
    pub parts: Vec<Part<'t>>,
}

/// A piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'t> {
    /// Stays as it is.
    Text(&'t str),
    /// Is replaced by a value.
    Variable {
        /// Which value.
        variable: Variable<'t>,
        /// The text for a missing value.
        default: Option<&'t str>,
    },
}

/// What a template may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variable<'t> {
    /// `${input_file}`
    InputFile,
    /// `${output_dir}`
    OutputDir,
    /// `${user_id}`
    UserId,
    /// `${scheduled_at}`
    ScheduledAt,
    /// `${previous_scheduled_at}`
    PreviousScheduledAt,
    /// `${process_id}`
    ProcessId,
    /// `${process_type}`
    ProcessType,
    /// `${task_name}`
    TaskName,
    /// `${config.key}`
    Config(&'t str),
    /// `${metadata.key}`
    Metadata(&'t str),
    /// `${processContext.key}`
    ProcessContext(&'t str),
    /// `${env.NAME}`, of the environment of the node that runs the task
    Env(&'t str),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// A `${` without its `}`; holds the text from there on.
    Unterminated(String),
    /// A word of a command that ends inside `${…}`, because a space in it splits it; holds the word.
    Split(String),
    /// No such variable; holds what stands between the braces.
    Unknown(String),
    /// `${config.}` without a key; holds what stands between the braces.
    NoKey(String),
    /// A variable inside a default; holds the outer variable.
    Nested(String),
    /// `${env.NAME}` with a name that no command is given; holds the name.
    Private(String),
}

/// The variables without a key.
const PLAIN: [(&str, Variable<'static>); 8] = [
    ("input_file", Variable::InputFile),
    ("output_dir", Variable::OutputDir),
    ("user_id", Variable::UserId),
    ("scheduled_at", Variable::ScheduledAt),
    ("previous_scheduled_at", Variable::PreviousScheduledAt),
    ("process_id", Variable::ProcessId),
    ("process_type", Variable::ProcessType),
    ("task_name", Variable::TaskName),
];

const KEYED: [&str; 4] = ["config", "metadata", "processContext", "env"];

impl<'t> Template<'t> {
    /// Finds the variables of `text`.
    ///
    /// # Errors
    ///
    /// The first `${…}` that can't be understood.
    pub fn parse(text: &'t str) -> Result<Self, TemplateError> {
        Ok(Self { parts: Parts { rest: text }.collect::<Result<_, _>>()? })
    }

    /// Parses one word of a split command. Where only the splitting has torn a variable apart, the
    /// error says so.
    ///
    /// # Errors
    ///
    /// As [`Template::parse`].
    pub fn parse_word(word: &'t str, command: &str) -> Result<Self, TemplateError> {
        Self::parse(word).map_err(|error| torn(error, command))
    }
}

/// Everything that is wrong with the variables of `text`.
pub fn problems(text: &str) -> Vec<TemplateError> {
    Parts { rest: text }.filter_map(Result::err).collect()
}

/// The parts of `text`, each with the piece of it that it was read from.
pub fn pieces(text: &str) -> impl Iterator<Item = (&str, Result<Part<'_>, TemplateError>)> {
    let mut parts = Parts { rest: text };
    std::iter::from_fn(move || {
        let before = parts.rest;
        let part = parts.next()?;
        Some((&before[..before.len() - parts.rest.len()], part))
    })
}

/// Everything that is wrong with the variables of one word of a split command.
pub fn word_problems(word: &str, command: &str) -> Vec<TemplateError> {
    problems(word).into_iter().map(|error| torn(error, command)).collect()
}

fn torn(error: TemplateError, command: &str) -> TemplateError {
    match error {
        TemplateError::Unterminated(word)
            if !problems(command).iter().any(|it| matches!(it, TemplateError::Unterminated(_))) =>
        {
            TemplateError::Split(word)
        }
        other => other,
    }
}

/// The parts of a text. It goes on behind an error, so that all errors can be found.
struct Parts<'t> {
    rest: &'t str,
}

impl<'t> Iterator for Parts<'t> {
    type Item = Result<Part<'t>, TemplateError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(open) = self.rest.find("${") else {
            return Some(Ok(Part::Text(self.take(self.rest.len()))));
        };
        let is_escaped = self.rest[..open].ends_with('$');
        let text_end = open - usize::from(is_escaped);
        if text_end > 0 {
            return Some(Ok(Part::Text(self.take(text_end))));
        }
        if is_escaped {
            return Some(Ok(Part::Text(&self.take("$${".len())[1..])));
        }
        Some(self.variable())
    }
}

impl<'t> Parts<'t> {
    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    /// Reads the `${…}` at the beginning of the rest.
    fn variable(&mut self) -> Result<Part<'t>, TemplateError> {
        let Some(close) = self.rest.find('}') else {
            return Err(TemplateError::Unterminated(self.take(self.rest.len()).to_owned()));
        };
        let next_open = self.rest[2..close].find("${").map(|at| at + 2);
        let default_at = self.rest[..close].find(":-");
        match (next_open, default_at) {
            (Some(next), Some(default)) if default < next => {
                Err(TemplateError::Nested(self.take(close + 1).to_owned()))
            }
            (Some(next), _) => Err(TemplateError::Unterminated(self.take(next).to_owned())),
            (None, _) => {
                let inside = &self.take(close + 1)[2..close];
                let (name, default) = match inside.split_once(":-") {
                    Some((name, default)) => (name, Some(default)),
                    // A key may hold a dash: see `Variable::split_default`.
                    None => match inside.split_once('-') {
                        Some((name, default)) if !name.contains('.') => (name, Some(default)),
                        _ => (inside, None),
                    },
                };
                Ok(Part::Variable { variable: Variable::parse(name, inside)?, default })
            }
        }
    }
}

impl<'t> Variable<'t> {
    /// The same with what stands before a dash in its key, and what stands after it as the default for a missing value:
    /// `${config.size-100}`. What is meant only if there is no value of the whole name. Many keys hold a dash, so one
    /// before a letter is part of the key: in `${config.out-dir}` a missing value must not become the text `dir`. The
    /// function `missing_variables` of the database has the same rule.
    pub fn split_default(self) -> Option<(Self, &'t str)> {
        let is_of_key = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
        let split = |key: &'t str| {
            let mut dashes = key.match_indices('-').map(|(at, _)| (&key[..at], &key[at + 1..]));
            dashes.find(|(shorter, default)| !shorter.is_empty() && !default.starts_with(is_of_key))
        };
        match self {
            Self::Config(key) => split(key).map(|(key, default)| (Self::Config(key), default)),
            Self::Metadata(key) => split(key).map(|(key, default)| (Self::Metadata(key), default)),
            Self::ProcessContext(key) => {
                split(key).map(|(key, default)| (Self::ProcessContext(key), default))
            }
            Self::Env(key) => split(key).map(|(key, default)| (Self::Env(key), default)),
            _ => None,
        }
    }

    fn parse(name: &'t str, inside: &str) -> Result<Self, TemplateError> {
        if let Some((_, variable)) = PLAIN.iter().find(|(plain, _)| *plain == name) {
            return Ok(*variable);
        }
        match name.split_once('.') {
            Some((group, "")) if KEYED.contains(&group) => Err(TemplateError::NoKey(inside.to_owned())),
            Some(("config", key)) => Ok(Self::Config(key)),
            Some(("metadata", key)) => Ok(Self::Metadata(key)),
            Some(("processContext", key)) => Ok(Self::ProcessContext(key)),
            Some(("env", key)) if environment::is_private(key) => Err(TemplateError::Private(key.to_owned())),
            Some(("env", key)) => match Self::Env(key).split_default() {
                Some((Self::Env(key), _)) if environment::is_private(key) => {
                    Err(TemplateError::Private(key.to_owned()))
                }
                _ => Ok(Self::Env(key)),
            },
            _ => Err(TemplateError::Unknown(inside.to_owned())),
        }
    }
}

impl fmt::Display for Variable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputFile => f.write_str("input_file"),
            Self::OutputDir => f.write_str("output_dir"),
            Self::UserId => f.write_str("user_id"),
            Self::ScheduledAt => f.write_str("scheduled_at"),
            Self::PreviousScheduledAt => f.write_str("previous_scheduled_at"),
            Self::ProcessId => f.write_str("process_id"),
            Self::ProcessType => f.write_str("process_type"),
            Self::TaskName => f.write_str("task_name"),
            Self::Config(key) => write!(f, "config.{key}"),
            Self::Metadata(key) => write!(f, "metadata.{key}"),
            Self::ProcessContext(key) => write!(f, "processContext.{key}"),
            Self::Env(key) => write!(f, "env.{key}"),
        }
    }
}

impl TemplateError {
    /// What is wrong.
    pub fn problem(&self) -> String {
        match self {
            Self::Unterminated(text) => format!("the variable {} is not closed", shortened(text)),
            Self::Split(word) => {
                format!("a space splits the variable {} into several arguments", shortened(word))
            }
            Self::Unknown(inside) => format!("unknown variable {}", shortened(&format!("${{{inside}}}"))),
            Self::NoKey(inside) => format!("the variable ${{{inside}}} has no key"),
            Self::Nested(text) => {
                format!("a variable's default can't hold another variable: {}", shortened(text))
            }
            Self::Private(name) => {
                format!("the variable ${{env.{name}}} is the node's own, and no command is given it")
            }
        }
    }

    /// What to write instead.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unterminated(_) => "close it with }, or write $${ for the text ${ itself".to_owned(),
            Self::Split(_) => "put that argument in quotes, such as \"${config.title:-no title}\"".to_owned(),
            Self::Unknown(inside) => unknown_remedy(inside),
            Self::NoKey(_) => "write the key after the dot, such as ${config.batch_size}".to_owned(),
            Self::Nested(_) => "write plain text as the default".to_owned(),
            Self::Private(name) => match environment::variable_of_task(name) {
                Some(variable) => format!("the command has its own {name}; write {variable} for its value"),
                None => {
                    "give the command what it needs in a file, or by a variable of another name".to_owned()
                }
            },
        }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem(), self.remedy())
    }
}

impl std::error::Error for TemplateError {}

fn unknown_remedy(inside: &str) -> String {
    let before = |separator| inside.split_once(separator).map(|(name, _)| name);
    let name = before(":-").or_else(|| before("-")).unwrap_or(inside);
    if let Some((group, key)) = name.split_once('.')
        && let Some(meant) = suggest::closest(group, KEYED)
    {
        return format!("did you mean ${{{meant}.{key}}}?");
    }
    // `${HOME}`, `${1}`, `${#list}`: somebody means the shell.
    let is_capital = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let is_of_node =
        is_capital && !name.starts_with(|c: char| c.is_ascii_digit()) && !environment::is_private(name);
    let own = if is_of_node && name == inside {
        format!("for the node's own variable write ${{env.{name}}}, ")
    } else {
        String::new()
    };
    let is_for_the_shell = is_capital || name.contains(['#', '%', '!', '?', '*', '@', '/', ':', '=', '+']);
    if is_for_the_shell && !name.is_empty() {
        let plain = if name == inside && is_capital { format!("${name} or ") } else { String::new() };
        return format!(
            "{own}for the shell's own variable write {plain}$${{{inside}}}, with \"shell\": true"
        );
    }
    if let Some(meant) = suggest::closest(name, PLAIN.iter().map(|(plain, _)| *plain)) {
        return format!("did you mean ${{{meant}}}?");
    }
    let known: Vec<&str> = PLAIN.iter().map(|(plain, _)| *plain).collect();
    format!(
        "the variables are {}, {}; write $${{ for the text ${{ itself",
        known.join(", "),
        KEYED.map(|group| format!("{group}.KEY")).join(", ")
    )
}

/// Characters of a template that a message shows.
const SHOWN_CHARS_MAX: usize = 60;

/// The text on one line, its end left out if it is long.
fn shortened(text: &str) -> String {
    let text = text.trim_end();
    let end = text.char_indices().nth(SHOWN_CHARS_MAX).map(|(end, _)| end);
    let mut shown = String::new();
    for c in text[..end.unwrap_or(text.len())].chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    if end.is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(text: &str) -> String {
        Template::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn variables_defaults_and_escapes_are_found() {
        use Part::{Text, Variable as Var};
        let of = |variable, default| Var { variable, default };
        for (text, parts) in [
            ("", vec![]),
            ("plain $ $x $(date) $1 {}", vec![Text("plain $ $x $(date) $1 {}")]),
            ("${input_file}", vec![of(Variable::InputFile, None)]),
            ("a${config.k:-d e}b", vec![Text("a"), of(Variable::Config("k"), Some("d e")), Text("b")]),
            ("${metadata.a.b}", vec![of(Variable::Metadata("a.b"), None)]),
            ("${user_id:-}", vec![of(Variable::UserId, Some(""))]),
            ("${user_id-a.b-c}", vec![of(Variable::UserId, Some("a.b-c"))]),
            ("${config.a-b}", vec![of(Variable::Config("a-b"), None)]),
            ("$${HOME}", vec![Text("${"), Text("HOME}")]),
            ("x$$${HOME}", vec![Text("x$"), Text("${"), Text("HOME}")]),
            ("$${${task_name}", vec![Text("${"), of(Variable::TaskName, None)]),
            ("${process_id}$", vec![of(Variable::ProcessId, None), Text("$")]),
            ("${processContext.rows}", vec![of(Variable::ProcessContext("rows"), None)]),
            ("${env.PATH}", vec![of(Variable::Env("PATH"), None)]),
        ] {
            assert_eq!(Template::parse(text), Ok(Template { parts }), "{text}");
        }
    }

    #[test]
    fn each_error_says_what_to_write() {
        for (text, expected) in [
            (
                "a ${input_file b",
                "the variable ${input_file b is not closed; close it with }, or write $${ for the text ${ itself",
            ),
            (
                "${input_file ${output_dir}",
                "the variable ${input_file is not closed; close it with }, or write $${ for the text ${ itself",
            ),
            ("${inputFile}", "unknown variable ${inputFile}; did you mean ${input_file}?"),
            (
                "${process_context.rows}",
                "unknown variable ${process_context.rows}; did you mean ${processContext.rows}?",
            ),
            (
                "${HOME}",
                "unknown variable ${HOME}; for the node's own variable write ${env.HOME}, for the shell's own variable \
                 write $HOME or $${HOME}, with \"shell\": true",
            ),
            (
                "${HOME:-/root}",
                "unknown variable ${HOME:-/root}; for the shell's own variable write $${HOME:-/root}, with \
                 \"shell\": true",
            ),
            (
                "${HOME-/root}",
                "unknown variable ${HOME-/root}; for the shell's own variable write $${HOME-/root}, with \"shell\": true",
            ),
            (
                "${colour}",
                "unknown variable ${colour}; the variables are input_file, output_dir, user_id, scheduled_at, \
                 previous_scheduled_at, process_id, \
                 process_type, task_name, config.KEY, metadata.KEY, processContext.KEY, env.KEY; write $${ for the \
                 text ${ itself",
            ),
            (
                "${env.PGPASSWORD}",
                "the variable ${env.PGPASSWORD} is the node's own, and no command is given it; give the command what it \
                 needs in a file, or by a variable of another name",
            ),
            (
                "${env.DATABASE_URL-/}",
                "the variable ${env.DATABASE_URL} is the node's own, and no command is given it; give the command what it \
                 needs in a file, or by a variable of another name",
            ),
            (
                "${env.PROCESS_ID:-1}",
                "the variable ${env.PROCESS_ID} is the node's own, and no command is given it; the command has its own \
                 PROCESS_ID; write ${process_id} for its value",
            ),
            (
                "${config.}",
                "the variable ${config.} has no key; write the key after the dot, such as ${config.batch_size}",
            ),
            (
                "${config.a:-${config.b}}",
                "a variable's default can't hold another variable: ${config.a:-${config.b}; write plain text as the \
                 default",
            ),
        ] {
            assert_eq!(message(text), expected);
        }
        let message_of_lines = message(&format!("${{it's\n{}", "x".repeat(100)));
        let start = format!("the variable ${{it's\\n{}… is not closed", "x".repeat(53));
        assert!(message_of_lines.starts_with(&start), "{message_of_lines}");
        assert!(message("${}").contains("the variables are"), "{}", message("${}"));
    }

    #[test]
    fn all_errors_of_a_text_are_found() {
        let found = problems("${a} ${input_file} ${config.} ${b");
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn a_default_torn_apart_by_a_space_asks_for_quotes() {
        let command = "echo ${config.title:-no title}";
        let error = Template::parse_word("${config.title:-no", command).expect_err("torn");
        assert_eq!(
            error.to_string(),
            "a space splits the variable ${config.title:-no into several arguments; put that argument in quotes, \
             such as \"${config.title:-no title}\""
        );
        let error = Template::parse_word("${config.title", "echo ${config.title").expect_err("open");
        assert!(matches!(error, TemplateError::Unterminated(_)), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[${}:\\-.a-z_ ]{0,40}|(?s).{0,40}") {
            if let Err(error) = Template::parse(&text) {
                prop_assert!(!error.to_string().is_empty());
                prop_assert!(!problems(&text).is_empty());
            }
        }

        #[test]
        fn a_text_without_variables_stays_as_it_is(text in "[$a-z(){} \"']{0,40}") {
            let text = text.replace("${", "$");
            prop_assume!(!text.contains("${"));
            let template = Template::parse(&text).expect("no variable");
            let whole: String = template.parts.iter().map(|part| match part {
                Part::Text(text) => *text,
                Part::Variable { .. } => "?",
            }).collect();
            prop_assert_eq!(whole, text);
        }

        #[test]
        fn the_pieces_of_a_text_are_all_of_it(text in "[${}:\\-.a-z_ ]{0,40}|(?s).{0,40}") {
            prop_assert_eq!(pieces(&text).map(|(piece, _)| piece).collect::<String>(), text);
        }
    }
}
