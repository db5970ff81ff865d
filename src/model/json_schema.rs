//! The format of process types as a JSON Schema, for editors and other tools.

use serde_json::{Value, json};

use super::document::rules::{
    FATAL_EXIT_CODE, LIMIT_MAX, MAX_OUTPUT_BYTES, MAX_RETRIES, NumberRule, RETRY_DELAY_SECONDS,
    RETRY_MULTIPLIER, TASKS_MAX, TIMEOUT_MINUTES, json_number,
};
use super::duration::DURATION_PATTERN;
use super::limits::definition::{GROUP_CHARS_MAX, Holds, KEY_CHARS_MAX, LIMITS_MAX};
use super::names::NAME_CHARS_MAX;
use super::process_type::{
    DEFAULT_MAX_OUTPUT_BYTES, DEFAULT_MAX_RETRIES, DEFAULT_TIMEOUT_MINUTES, Leftovers, OnCrash,
};
use super::retry::RetryPolicy;
use super::schedule::definition::{CatchUp, DEFAULT_CATCH_UP_MAX, Overlap};

/// Any text without NUL.
const TEXT_PATTERN: &str = r"^[^\u0000]*$";
/// Text that is more than white space, without NUL.
const COMMAND_PATTERN: &str = r"^[^\u0000]*[^\s\u0000][^\u0000]*$";
/// No control characters, no white space at the ends.
const NAME_PATTERN: &str =
    r"^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?$";
/// The name of a program: no white space, no variable, none of the words for true and false.
const SHELL_PATTERN: &str = r"^(?!([tT][rR][uU][eE]|[fF][aA][lL][sS][eE]|[yY][eE][sS]|[nN][oO]|[oO][nN]|[oO][fF][fF])$)(?!.*\$\{)[^\s\u0000]+$";
/// Any text without NUL and variable.
const SHELL_WORD_PATTERN: &str = r"^(?![\s\S]*\$\{)[^\u0000]*$";
/// What an operating system takes as the name of an environment variable.
const ENVIRONMENT_KEY_PATTERN: &str = r"^[^=\u0000]+$";

/// A text that holds a variable, no = and no control characters.
const LIMIT_KEY_PATTERN: &str = r"^(?=.*\$\{)[^=\u0000-\u001f\u007f-\u009f]+$";
/// The name of a group.
const GROUP_PATTERN: &str = r"^[A-Za-z0-9_.-]+$";

/// The JSON Schema (draft 2020-12) of a process type's document. Its bounds are the parser's own; it
/// cannot express that task names and limits differ, that quotes are balanced, that variables exist, that
/// a command needs no shell and that `max_delay` is not shorter than `initial_delay`.
pub fn process_type_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Process type",
        "description": "A named template of processes: an ordered list of tasks, run one after the other.",
        "type": "object",
        "required": ["name", "tasks"],
        "additionalProperties": false,
        "properties": {
            "$schema": {
                "description": "The address of this schema, for editors.",
                "type": "string",
                "pattern": TEXT_PATTERN,
            },
            "name": name(
                "Unique name of the process type; it begins every generated process id.",
                "data-processing-pipeline",
            ),
            "description": {
                "description": "What the process type is for, in a sentence.",
                "type": "string",
                "pattern": TEXT_PATTERN,
                "default": "",
            },
            "concurrency": limits("limit", "How many of its processes, or of their commands, run at once."),
            "tasks": {
                "description": "The tasks in the order in which they run.",
                "type": "array",
                "minItems": 1,
                "maxItems": TASKS_MAX,
                "items": { "$ref": "#/$defs/task" },
            },
            "schedules": {
                "description": "When processes of the type are started; registered, changed and removed with it.",
                "type": "array",
                "items": { "$ref": "#/$defs/schedule" },
            },
        },
        "$defs": {
            "task": task(), "retry": retry(), "limit": limit(), "task_limit": task_limit(), "schedule": schedule(),
        },
    })
}

fn task() -> Value {
    json!({
        "description": "One command with its settings.",
        "type": "object",
        "required": ["name", "command"],
        "additionalProperties": false,
        "properties": {
            "name": name("Unique within the process type.", "load"),
            "command": command(),
            "working_directory": {
                "description": "Where the command runs; by default the orchestrator's own directory. May hold variables.",
                "type": "string",
                "minLength": 1,
                "pattern": TEXT_PATTERN,
                "examples": ["/data", "${output_dir}"],
            },
            "timeout_minutes": number(
                &TIMEOUT_MINUTES,
                "Minutes until the command and all it has started are ended; fractions are allowed.",
                DEFAULT_TIMEOUT_MINUTES,
            ),
            "max_retries": number(
                &MAX_RETRIES,
                "Attempts that may follow the first.",
                f64::from(DEFAULT_MAX_RETRIES),
            ),
            "environment": {
                "description": "Extra environment of the command; values may hold variables.",
                "type": "object",
                "propertyNames": { "pattern": ENVIRONMENT_KEY_PATTERN },
                "additionalProperties": { "type": "string", "pattern": TEXT_PATTERN },
                "default": {},
                "examples": [{ "LANG": "C.UTF-8", "BATCH_SIZE": "${config.batch_size:-100}" }],
            },
            "shell": shell(),
            "unsafe_interpolation": {
                "description": "Allow variables in code that the command hands to an interpreter, such as bash -c: \
                                whoever gives their values may run any command.",
                "type": "boolean",
                "default": false,
            },
            "retry": { "$ref": "#/$defs/retry" },
            "on_crash": {
                "description": "What becomes of the task when the node that ran it has died: run it again, or fail it.",
                "enum": [OnCrash::Rerun.as_str(), OnCrash::Fail.as_str()],
                "default": OnCrash::default().as_str(),
            },
            "max_output_bytes": number(
                &MAX_OUTPUT_BYTES,
                "Bytes of output that are kept, as head and tail.",
                DEFAULT_MAX_OUTPUT_BYTES as f64,
            ),
            "leftovers": {
                "description": "What becomes of processes that the command has left running when it succeeds: they live on, \
                                or are ended. After a failure they are ended always.",
                "enum": [Leftovers::Keep.as_str(), Leftovers::Kill.as_str()],
                "default": Leftovers::default().as_str(),
            },
            "concurrency": limits("task_limit", "The groups of which the command holds a slot while it runs."),
        },
        "if": { "properties": { "shell": { "not": { "const": false } } }, "required": ["shell"] },
        "then": { "properties": { "command": { "type": "string" } } },
    })
}

/// What a parser can't tell by patterns alone, such as whether an expression ever comes, is not in it.
fn schedule() -> Value {
    let text = |description: &str, example: &str| json!({ "description": description, "type": "string", "pattern": TEXT_PATTERN, "examples": [example] });
    let pairs = json!({ "type": ["object", "null"] });
    json!({
        "description": "Times at which processes are started.",
        "type": "object",
        "required": ["name"],
        "additionalProperties": false,
        "properties": {
            "name": {
                "description": "Unique among all schedules; it begins the id of each process.",
                "type": "string",
                "minLength": 1,
                "maxLength": NAME_CHARS_MAX,
                "pattern": r"^[^\s\u0000-\u001f\u007f-\u009f@=%]([^\u0000-\u001f\u007f-\u009f@=%]*[^\s\u0000-\u001f\u007f-\u009f@=%])?$",
                "examples": ["nightly"],
            },
            "process_type": text("The type in whose document this stands.", "data-processing-pipeline"),
            "cron": text("minute hour day month weekday, with seconds before them if need be, or @daily and the like.", "30 2 * * *"),
            "every": {
                "description": "A length of real time, counted from `from` or 1970.",
                "type": "string",
                "pattern": DURATION_PATTERN,
                "examples": ["15m"],
            },
            "time_zone": text("Whose clock shows the times of `cron`.", "Europe/Berlin"),
            "input": {
                "description": "What each process works on.",
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "input_file": { "type": ["string", "null"] },
                    "output_dir": { "type": ["string", "null"] },
                    "user_id": { "type": ["string", "null"] },
                    "scheduled_at": { "type": ["string", "null"] },
                    "previous_scheduled_at": { "type": ["string", "null"] },
                    "config": pairs,
                    "metadata": pairs,
                },
            },
            "priority": { "description": "Higher runs first.", "type": "integer", "default": 0 },
            "overlap": {
                "description": "What becomes of a time while the process before has not ended.",
                "enum": Overlap::WORDS,
                "default": Overlap::default().as_str(),
            },
            "catch_up": {
                "description": "What becomes of times when nobody was there.",
                "enum": CatchUp::WORDS,
                "default": CatchUp::default().as_str(),
            },
            "catch_up_max": {
                "description": "How many of them `all` makes up for.",
                "type": "integer",
                "minimum": 1,
                "maximum": 1_000,
                "default": DEFAULT_CATCH_UP_MAX,
            },
            "jitter": {
                "description": "Each start is later by up to so much.",
                "type": "string",
                "pattern": DURATION_PATTERN,
                "default": "0s",
            },
            "from": text("No time before this.", "2026-12-01T08:00:00Z"),
            "until": text("No time after this.", "2027-12-01T08:00:00Z"),
        },
        "oneOf": [{ "required": ["cron"] }, { "required": ["every"] }],
    })
}

fn limits(definition: &str, description: &str) -> Value {
    let one = json!({ "$ref": format!("#/$defs/{definition}") });
    json!({
        "description": description,
        "anyOf": [{ "type": "array", "maxItems": LIMITS_MAX, "items": one }, one],
        "examples": [[{ "group": "gpu", "max": 2 }]],
    })
}

fn limit() -> Value {
    let mut limit = task_limit();
    limit["description"] =
        json!("At most max at once: of the group, of those with the same key, or else of the type.");
    limit["properties"]["holds"] = json!({
        "description": "Whether a slot is held from a process's first claim to its end, or only while a command runs.",
        "enum": [Holds::Process.as_str(), Holds::Task.as_str()],
        "default": Holds::default().as_str(),
    });
    if let Some(limit) = limit.as_object_mut() {
        limit.remove("required");
        limit.insert("anyOf".to_owned(), json!([{ "required": ["max"] }, { "required": ["group"] }]));
    }
    limit
}

fn task_limit() -> Value {
    let mut max = LIMIT_MAX.schema();
    max["description"] = json!(
        "How many at once. A group may leave it to another process type or to `limits set`: no bound until then."
    );
    json!({
        "description": "A slot of a group, held while the command runs.",
        "type": "object",
        "required": ["group"],
        "additionalProperties": false,
        "properties": {
            "max": max,
            "key": {
                "description": "A text with variables of the input: each value has a count of its own. Empty or missing: no \
                                limit.",
                "type": "string",
                "maxLength": KEY_CHARS_MAX,
                "pattern": LIMIT_KEY_PATTERN,
                "examples": ["${config.customer}"],
            },
            "group": {
                "description": "The name that several process types share.",
                "type": "string",
                "maxLength": GROUP_CHARS_MAX,
                "pattern": GROUP_PATTERN,
                "examples": ["gpu"],
            },
        },
    })
}

fn shell() -> Value {
    json!({
        "description": "What runs the command as a script: true for sh -c, a shell's name (NAME -c), or its words; \
                        variables reach it as environment, so quote them: \"${input_file}\".",
        "anyOf": [
            { "type": "boolean" },
            // No white space, no variable, and none of the words that mean true or false.
            { "type": "string", "pattern": SHELL_PATTERN },
            {
                "type": "array",
                "minItems": 1,
                "prefixItems": [{ "type": "string", "minLength": 1, "pattern": SHELL_WORD_PATTERN }],
                "items": { "type": "string", "pattern": SHELL_WORD_PATTERN },
            },
        ],
        "default": false,
        "examples": ["bash", ["bash", "-euo", "pipefail", "-c"]],
    })
}

fn name(description: &str, example: &str) -> Value {
    json!({
        "description": description,
        "type": "string",
        "minLength": 1,
        "maxLength": NAME_CHARS_MAX,
        "pattern": NAME_PATTERN,
        "examples": [example],
    })
}

fn command() -> Value {
    json!({
        "description": "The program and its arguments: a text split by the shell's word rules (with \"shell\": true a \
                        script), or an array. Variables: ${input_file} ${output_dir} ${user_id} ${scheduled_at} ${previous_scheduled_at} \
                        ${process_id} ${process_type} ${task_name} ${config.KEY} ${metadata.KEY} ${processContext.KEY} ${env.NAME}, each also \
                        as ${name:-default}; $${ is the text ${.",
        "anyOf": [
            { "type": "string", "pattern": COMMAND_PATTERN },
            {
                "type": "array",
                "minItems": 1,
                "prefixItems": [{ "type": "string", "minLength": 1, "pattern": TEXT_PATTERN }],
                "items": { "type": "string", "pattern": TEXT_PATTERN },
            },
        ],
        "examples": [
            "python3 scripts/load_data.py ${input_file} ${output_dir}/loaded_data.json",
            ["sort", "--output", "${output_dir}/sorted.txt", "${input_file}"],
        ],
    })
}

fn retry() -> Value {
    let default = RetryPolicy::default();
    json!({
        "description": "How long to wait between attempts, and which exit codes end them.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "initial_delay": delay("Wait before the first retry.", default.initial_delay.as_secs_f64()),
            "multiplier": number(&RETRY_MULTIPLIER, "Factor from one wait to the next.", default.multiplier),
            "max_delay": delay(
                "No wait is longer; at least initial_delay.",
                default.max_delay.as_secs_f64(),
            ),
            "fatal_exit_codes": {
                "description": "Exit codes that fail the task at once, whatever retries are left.",
                "type": "array",
                "items": FATAL_EXIT_CODE.schema(),
                "default": default.fatal_exit_codes,
                "examples": [[2, 64]],
            },
        },
    })
}

fn number(rule: &NumberRule, description: &str, default: f64) -> Value {
    let mut schema = rule.schema();
    schema["description"] = json!(description);
    schema["default"] = json_number(default);
    schema
}

fn delay(description: &str, default: f64) -> Value {
    json!({
        "description": format!(
            "{description} A number of seconds, or a text with a unit: ms, s, m, h or d; up to 30 days."
        ),
        "anyOf": [RETRY_DELAY_SECONDS.schema(), { "type": "string", "pattern": DURATION_PATTERN }],
        "default": json_number(default),
        "examples": ["500ms", "5m", 30],
    })
}

#[cfg(test)]
mod tests;
