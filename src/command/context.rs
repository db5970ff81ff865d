//! What a command passes on: reading the text of its context file.

use serde_json::{Map, Value};

/// The largest context file: it joins a document that is rewritten with every task of the process.
pub const CONTEXT_BYTES_MAX: u64 = 256 * 1024;

/// Reads the text of a context file: `key=value` lines, or one JSON object.
///
/// Blank lines and lines that begin with `#` are skipped; a value is everything after the first `=`, as a
/// string; the last of several values of one key counts. The error is a phrase that completes "the context
/// file …".
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
    match values.keys().find(|key| !is_key(key)) {
        Some(key) => Err(format!("has {}", bad_key(key))),
        None => Ok(values),
    }
}

fn parse_lines(text: &str) -> Result<Map<String, Value>, String> {
    let mut values = Map::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(format!("has no `=` in line {number}: {}; write key=value", shown(line)));
        };
        let key = key.trim();
        if !is_key(key) {
            return Err(format!("has in line {number} {}", bad_key(key)));
        }
        values.insert(key.to_owned(), Value::String(value.to_owned()));
    }
    Ok(values)
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
        assert_eq!(values("\u{FEFF}a.b-c_D9=ä\u{1F600}"), json!({"a.b-c_D9": "ä\u{1F600}"}));
    }

    #[test]
    fn one_json_object() {
        assert_eq!(
            values(" \n{\"rows\": 12, \"nested\": {\"list\": [1, null]}}\n"),
            json!({"rows": 12, "nested": {"list": [1, null]}})
        );
    }

    #[test]
    fn faults_name_the_place_and_the_remedy() {
        let key = "keys are letters, digits, `_`, `.` and `-`, at least one";
        for (text, message) in [
            (&b"a=1\nrows 12"[..], "has no `=` in line 2: \"rows 12\"; write key=value".to_owned()),
            (b"=1", format!("has in line 1 the key \"\"; {key}")),
            (b"a b=1", format!("has in line 1 the key \"a b\"; {key}")),
            (b"{\"a b\": 1}", format!("has the key \"a b\"; {key}")),
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
