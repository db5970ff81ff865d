//! What a command passes on: reading the text of its context file.

use serde_json::{Map, Value};

use crate::model::jsonb::{self, NUMBER_PROBLEM, NUMBER_REMEDY};

/// The largest context file: it joins a document that is rewritten with every task of the process.
pub const CONTEXT_BYTES_MAX: u64 = 256 * 1024;

/// The largest context of a process, what all of its tasks have passed on (1 MiB): each node that claims the process reads it.
pub const CONTEXT_OF_PROCESS_BYTES_MAX: usize = 1024 * 1024;

/// What is wrong with `new` values beside those that a process has already, which they join or replace; nothing if they fit.
pub fn context_problem(old: &Map<String, Value>, new: &Map<String, Value>) -> Option<String> {
    if new.is_empty() {
        return None;
    }
    let kept = old.iter().filter(|(key, _)| !new.contains_key(*key));
    let bytes = jsonb::written_bytes(kept.chain(new));
    let most = CONTEXT_OF_PROCESS_BYTES_MAX;
    (bytes > most).then(|| {
        format!(
            "the command succeeded, but with the values that it passes on ($PROCESS_CONTEXT_FILE) those of the process have \
             {bytes} bytes; at most {most} (1 MiB) are allowed; pass the name of a file instead of its content"
        )
    })
}

/// Reads the text of a context file: `key=value` lines, or one JSON object.
///
/// Blank lines and lines that begin with `#` are skipped; a value is everything after the first `=`, as a
/// string; the last of several values of one key counts. After `key<<WORD` the lines up to one that is `WORD` are the
/// value. Values are as the database will give them back. The error is a phrase that completes "the context file …".
pub fn parse(text: &[u8]) -> Result<Map<String, Value>, String> {
    if text.len() as u64 > CONTEXT_BYTES_MAX {
        return Err(format!(
            "is too big: more than the {} KiB allowed; pass the name of a file instead of its content",
            CONTEXT_BYTES_MAX / 1024
        ));
    }
    let text = std::str::from_utf8(text).map_err(|e| {
        let line = text[..e.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("is not UTF-8 text (line {line})")
    })?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let values = if text.trim_start().starts_with('{') { parse_object(text)? } else { parse_lines(text)? };
    match values.iter().find(|(_, value)| has_nul(value)) {
        Some((key, _)) => Err(format!("has a NUL character in the value of `{key}`, which can't be stored")),
        None => Ok(values),
    }
}

fn parse_object(text: &str) -> Result<Map<String, Value>, String> {
    let values: Map<String, Value> =
        serde_json::from_str(text).map_err(|e| format!("begins with `{{` but is no JSON object: {e}"))?;
    if let Some(key) = values.keys().find(|key| !is_key(key)) {
        let written = serde_json::to_string(key).unwrap_or_default();
        let line = text.find(&written).map(|at| text[..at].matches('\n').count() + 1);
        let place = line.map_or(String::new(), |line| format!("in line {line} "));
        return Err(format!("has {place}{}", bad_key(key)));
    }
    let settle = |(key, value)| match jsonb::settled(value) {
        Some(value) => Ok((key, value)),
        None => Err(format!("has a number in `{key}` that {NUMBER_PROBLEM}; {NUMBER_REMEDY}")),
    };
    values.into_iter().map(settle).collect()
}

fn parse_lines(text: &str) -> Result<Map<String, Value>, String> {
    let mut values = Map::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let (key, value) = match (line.split_once("<<"), line.split_once('=')) {
            (Some((key, word)), pair) if pair.is_none_or(|(before, _)| before.len() > key.len()) => {
                (key, block(word.trim(), number, &mut lines)?)
            }
            (_, Some((key, value))) => (key, value.to_owned()),
            _ => {
                return Err(format!(
                    "has neither `=` nor `<<` in line {number}: {}; write key=value, or key<<WORD, the lines of the value \
                     and WORD",
                    shown(line)
                ));
            }
        };
        let key = key.trim();
        if !is_key(key) {
            return Err(format!("has in line {number} {}", bad_key(key)));
        }
        values.insert(key.to_owned(), Value::String(value));
    }
    Ok(values)
}

/// The lines up to one that is `word`, which the line `number` has announced.
fn block<'t>(
    word: &str,
    number: usize,
    lines: &mut impl Iterator<Item = (usize, &'t str)>,
) -> Result<String, String> {
    if word.is_empty() {
        return Err(format!(
            "has no word after `<<` in line {number}; write key<<WORD and end the value with WORD"
        ));
    }
    let mut value: Vec<&str> = Vec::new();
    for (_, line) in lines {
        if line == word {
            return Ok(value.join("\n"));
        }
        value.push(line);
    }
    let word = shown(word);
    Err(format!(
        "has no line {word} that ends the value begun in line {number}; write it after the value, alone on its line"
    ))
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn bad_key(key: &str) -> String {
    format!("the key {}; keys are letters, digits, `_`, `.` and `-`, at least one", shown(key))
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Quoted, escaped, and no longer than a message bears.
fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn values(text: &str) -> Value {
        Value::Object(parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text:?}: the context file {e}")))
    }

    #[test]
    fn lines() {
        assert_eq!(
            values("# counts\r\n\n rows = 12\nquery=a=b \r\nempty=\nrows=13"),
            json!({"rows": "13", "query": "a=b ", "empty": ""})
        );
        assert_eq!(values(""), json!({}));
        assert_eq!(
            values("a<<END\none = 1\n\n# two\n END\nEND\nb=x<<END\r\nc <<  _E_\r\n_E_\nd<<E\nq=1\nE"),
            json!({"a": "one = 1\n\n# two\n END", "b": "x<<END", "c": "", "d": "q=1"})
        );
        assert_eq!(values("\u{FEFF}a.b-c_D9=ä\u{1F600}"), json!({"a.b-c_D9": "ä\u{1F600}"}));
    }

    #[test]
    fn one_json_object() {
        assert_eq!(
            values(" \n{\"rows\": 12, \"nested\": {\"list\": [1, null]}}\n"),
            json!({"rows": 12, "nested": {"list": [1, null]}})
        );
        let text = r#"{"order": 40028922250000000000123, "price": 19.90, "n": {"zz": 1e2, "a": 0}}"#;
        let shown = values(text).to_string();
        assert_eq!(shown, r#"{"order":40028922250000000000123,"price":19.90,"n":{"a":0,"zz":100}}"#);
    }

    #[test]
    fn faults_name_the_place_and_the_remedy() {
        let key = "keys are letters, digits, `_`, `.` and `-`, at least one";
        for (text, message) in [
            (
                &b"a=1\nrows 12"[..],
                "has neither `=` nor `<<` in line 2: \"rows 12\"; write key=value, or key<<WORD, the lines of the value \
                 and WORD"
                    .to_owned(),
            ),
            (
                b"a=1\nb<<EOF\ntext\n",
                "has no line \"EOF\" that ends the value begun in line 2; write it after the value, alone on its line"
                    .to_owned(),
            ),
            (
                b"b<<\n",
                "has no word after `<<` in line 1; write key<<WORD and end the value with WORD".to_owned(),
            ),
            (b"a b<<E\nE", format!("has in line 1 the key \"a b\"; {key}")),
            (
                b"{\"a\": [1e400]}",
                "has a number in `a` that has more than 400 characters when it is written out; put the number in quotes"
                    .to_owned(),
            ),
            (b"=1", format!("has in line 1 the key \"\"; {key}")),
            (b"a b=1", format!("has in line 1 the key \"a b\"; {key}")),
            (b"{\n\"a b\": 1}", format!("has in line 2 the key \"a b\"; {key}")),
            (b"a=1\nb=\xff", "is not UTF-8 text (line 2)".to_owned()),
            (b"a=1\0", "has a NUL character in the value of `a`, which can't be stored".to_owned()),
            (
                b"{\"a\": {\"b\": [\"\\u0000\"]}}",
                "has a NUL character in the value of `a`, which can't be stored".to_owned(),
            ),
            (
                b"{\"a\": 1",
                "begins with `{` but is no JSON object: EOF while parsing an object at line 1 column 7"
                    .to_owned(),
            ),
            (
                b"{} {}",
                "begins with `{` but is no JSON object: trailing characters at line 1 column 4".to_owned(),
            ),
            (
                &vec![b'a'; CONTEXT_BYTES_MAX as usize + 1],
                "is too big: more than the 256 KiB allowed; pass the name of a file instead of its content"
                    .to_owned(),
            ),
        ] {
            assert_eq!(
                parse(text).unwrap_err(),
                message,
                "{:?}",
                String::from_utf8_lossy(&text[..text.len().min(80)])
            );
        }
    }
}
