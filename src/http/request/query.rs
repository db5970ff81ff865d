//! The query of a request: its parameters, decoded, each given once. Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::route::{Route, TrailPart};
use crate::http::answer::{Problem, quoted};
use crate::model::batch::data::BatchState;
use crate::model::lifecycle::ProcessStatus;
use crate::store::batches::JoblogPlace;
use crate::store::read::{Cursor, Include, PAGE_MAX, ProcessFilter};

/// Parameters of the list of processes, and `metadata.KEY` for any key.
const FILTERS: &[&str] = &[
    "status",
    "type",
    "node",
    "started_since",
    "started_before",
    "finished_since",
    "finished_before",
    "batch",
    "id_prefix",
    "search",
    "limit",
    "after",
    "include",
];
/// Of tasks; of executions, which are also told apart by their attempt.
const OF_TASKS: &[&str] = &["output", "task", "offset", "limit", "after"];
const OF_EXECUTIONS: &[&str] = &["output", "task", "attempt", "offset", "limit", "after"];
/// What `metadata.KEY=VALUE` begins with.
const METADATA: &str = "metadata.";

/// Reads the parameters into the route.
pub(in crate::http) fn set_all(route: &mut Route, path: &str, query: &str) -> Result<(), Problem> {
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|it| !it.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode_query(name)?;
        // Metadata is any text that the database can hold.
        let is_any = name.starts_with(METADATA);
        let value = if is_any { decode_query_text(value)? } else { decode_query(value)? };
        if seen.contains(&name) {
            return Err(bad_parameter(format!(
                "parameter {} is there more than once; give it once",
                quoted(&name)
            )));
        }
        set_parameter(route, path, &name, &value)?;
        seen.push(name);
    }
    check_offset(route)
}

/// A place within an output says nothing of several outputs.
fn check_offset(route: &Route) -> Result<(), Problem> {
    let (part, needed) = match route {
        Route::Tasks { part, .. } => (part, "task"),
        Route::Executions { part, .. } if part.task.is_some() => (part, "attempt"),
        Route::Executions { part, .. } => (part, "task"),
        _ => return Ok(()),
    };
    let is_one = part.task.is_some() && (part.attempt.is_some() || matches!(route, Route::Tasks { .. }));
    match part.offset {
        Some(_) if !is_one => {
            Err(bad_parameter(format!("parameter \"offset\" is a place in one output; give {needed} too")))
        }
        _ => Ok(()),
    }
}

/// An empty value counts as not given, as a form sends it; one of metadata may be empty itself.
fn set_parameter(route: &mut Route, path: &str, name: &str, value: &str) -> Result<(), Problem> {
    let known: &[&str] = match route {
        Route::Processes(_) => FILTERS,
        Route::Tasks { .. } => OF_TASKS,
        Route::Executions { .. } => OF_EXECUTIONS,
        Route::Batches(_) => &["state", "after", "limit"],
        Route::Joblog { .. } => &["after", "limit"],
        Route::ProcessTypes { .. } | Route::Limits { .. } | Route::Schedules { .. } => &["after"],
        _ => &[],
    };
    let is_metadata =
        matches!(route, Route::Processes(_)) && name.len() > METADATA.len() && name.starts_with(METADATA);
    if !known.contains(&name) && !is_metadata {
        let remedy = match route {
            _ if known.is_empty() => "it takes none".into(),
            Route::Processes(_) => format!("known are: {}, {METADATA}KEY", known.join(", ")),
            _ => format!("known are: {}", known.join(", ")),
        };
        return Err(Problem::new(
            400,
            "unknown_parameter",
            format!("{path} has no parameter {}; {remedy}", quoted(name)),
        ));
    }
    if value.is_empty() && !is_metadata {
        return Ok(());
    }
    match route {
        Route::Processes(filter) => set_filter(filter, name, value),
        Route::Tasks { part, .. } | Route::Executions { part, .. } => set_part(part, name, value),
        Route::Batches(filter) => match name {
            "state" => {
                let states = value.split(',').map(|it| BatchState::parse(&it.to_ascii_uppercase()));
                filter.states = states.collect::<Option<_>>().ok_or_else(|| {
                    let known = BatchState::ALL.map(BatchState::as_str).join(", ");
                    bad_parameter(format!("parameter \"state\" is {}; give one of {known}", quoted(value)))
                })?;
                Ok(())
            }
            "after" => {
                filter.after = Some(value.to_owned());
                Ok(())
            }
            _ => {
                filter.limit = limit(name, value)?;
                Ok(())
            }
        },
        Route::Joblog { after, limit: most, .. } => match name {
            "after" => match JoblogPlace::parse(value) {
                Some(place) => {
                    *after = place;
                    Ok(())
                }
                None => Err(bad_cursor(name, value)),
            },
            _ => {
                *most = limit(name, value)?;
                Ok(())
            }
        },
        Route::ProcessTypes { after } | Route::Limits { after } | Route::Schedules { after } => {
            *after = Some(value.to_owned());
            Ok(())
        }
        _ => Ok(()),
    }
}

fn set_part(part: &mut TrailPart, name: &str, value: &str) -> Result<(), Problem> {
    match name {
        "task" => part.task = Some(whole(name, value, 0)?),
        "attempt" => part.attempt = Some(whole(name, value, 1)?),
        "offset" => part.offset = Some(whole(name, value, 0)?),
        "limit" => part.limit = Some(limit(name, value)?),
        "after" => {
            let after = value.split_once('.').and_then(|(task, attempt)| {
                Some((whole(name, task, 0).ok()?, whole(name, attempt, 0).ok()?))
            });
            part.after = Some(after.ok_or_else(|| bad_cursor(name, value))?);
        }
        _ => {
            part.output = Some(match value {
                "true" => true,
                "false" => false,
                _ => return Err(bad_value(name, value, "give true or false")),
            });
        }
    }
    Ok(())
}

fn limit(name: &str, value: &str) -> Result<u32, Problem> {
    match value.parse() {
        Ok(limit @ 1..=PAGE_MAX) if value.bytes().all(|it| it.is_ascii_digit()) => Ok(limit),
        _ => Err(bad_value(name, value, &format!("give a number from 1 to {PAGE_MAX}"))),
    }
}

fn bad_cursor(name: &str, value: &str) -> Problem {
    bad_value(name, value, "give what a page before gave as \"next\"")
}

/// What a list holds of each process beside its row, separated by commas.
fn include(name: &str, value: &str) -> Result<Include, Problem> {
    let mut include = Include::default();
    for word in value.split(',').map(str::trim) {
        match word {
            "input" => include.input = true,
            "context" => include.context = true,
            _ => return Err(bad_value(name, value, "give input, context, or both separated by a comma")),
        }
    }
    Ok(include)
}

/// Tasks are counted from 0, attempts from 1; the database's columns hold no more than an int4.
fn whole(name: &str, value: &str, least: u32) -> Result<u32, Problem> {
    const MOST: u32 = i32::MAX as u32;
    match value.parse() {
        Ok(number) if (least..=MOST).contains(&number) && value.bytes().all(|it| it.is_ascii_digit()) => {
            Ok(number)
        }
        _ => Err(bad_value(name, value, &format!("give a whole number from {least} to {MOST}"))),
    }
}

fn set_filter(filter: &mut ProcessFilter, name: &str, value: &str) -> Result<(), Problem> {
    match name {
        "status" => filter.statuses = statuses(name, value)?,
        "type" => filter.process_type = Some(value.to_owned()),
        "node" => filter.node = Some(value.to_owned()),
        "started_since" => filter.started_since = Some(time(name, value)?),
        "started_before" => filter.started_before = Some(time(name, value)?),
        "finished_since" => filter.finished_since = Some(time(name, value)?),
        "finished_before" => filter.finished_before = Some(time(name, value)?),
        "batch" => filter.batch = Some(value.to_owned()),
        "id_prefix" => filter.id_prefix = Some(value.to_owned()),
        "search" => filter.search = Some(value.to_owned()),
        "limit" => filter.limit = limit(name, value)?,
        "include" => filter.include = include(name, value)?,
        "after" => match Cursor::parse(value) {
            Some(cursor) => filter.after = Some(cursor),
            None => return Err(bad_cursor(name, value)),
        },
        _ => {
            // Only metadata's names come here besides; its values are texts, whatever they look like.
            let key = name.strip_prefix(METADATA).unwrap_or(name);
            filter.metadata.insert(key.to_owned(), Value::String(value.to_owned()));
        }
    }
    Ok(())
}

/// One status or several, separated by commas.
fn statuses(name: &str, value: &str) -> Result<Vec<ProcessStatus>, Problem> {
    let parsed = value.split(',').map(|word| ProcessStatus::parse(word.trim()));
    parsed.collect::<Option<Vec<_>>>().ok_or_else(|| {
        let all: Vec<&str> = ProcessStatus::ALL.iter().map(|it| it.as_str()).collect();
        bad_value(name, value, &format!("give one of {}, or several separated by commas", all.join(", ")))
    })
}

fn time(name: &str, value: &str) -> Result<Timestamp, Problem> {
    // In a query, `+` is a space: the offset of a time that was not encoded.
    let text = value.replace(' ', "+");
    text.parse().map_err(|_| bad_value(name, value, "give a time such as 2026-12-01T08:00:00Z"))
}

fn decode_query(text: &str) -> Result<String, Problem> {
    decode(text, true).map_err(|problem| bad_in_query(text, problem))
}

/// The same for a text of several lines.
fn decode_query_text(text: &str) -> Result<String, Problem> {
    let decoded = decode_text(text, true).and_then(|it| match it.contains('\0') {
        true => Err("it holds a NUL, which no text in the database does"),
        false => Ok(it),
    });
    decoded.map_err(|problem| bad_in_query(text, problem))
}

fn bad_in_query(text: &str, problem: &str) -> Problem {
    bad_parameter(format!("in the query, {}: {problem}", quoted(text)))
}

/// Percent-decodes; in a query, `+` is a space. Names and ids have no control characters.
pub(in crate::http) fn decode(text: &str, plus_is_space: bool) -> Result<String, &'static str> {
    let text = decode_text(text, plus_is_space)?;
    if text.chars().any(char::is_control) {
        return Err("it holds a control character");
    }
    Ok(text)
}

fn decode_text(text: &str, plus_is_space: bool) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = (rest.next().and_then(hex), rest.next().and_then(hex));
                let (Some(high), Some(low)) = digits else {
                    return Err("% is not followed by two hexadecimal digits; write a percent sign as %25");
                };
                high << 4 | low
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 once decoded")
}

/// Percent-encodes all but what stands for itself in any part of a path.
pub(in crate::http) fn encode_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok())
}

fn bad_value(name: &str, value: &str, remedy: &str) -> Problem {
    bad_parameter(format!("parameter {} is {}; {remedy}", quoted(name), quoted(value)))
}

fn bad_parameter(message: String) -> Problem {
    Problem::new(400, "bad_parameter", message)
}
