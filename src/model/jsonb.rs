//! JSON as PostgreSQL's `jsonb` gives it back, so that a value reads the same whether it has been in the database or not.
//!
//! A number is written out without an exponent, its digits and its trailing zeros as they were given (`19.90`; `1e2` is
//! `100`); an object's keys are in the order of their length, then of their bytes.

use serde_json::{Map, Number, Value};

/// Characters of a number that is written out: room for every number of 64 bits, floating point included, and for
/// integers of some hundred digits. `1e100000` would be a text of 100,001. `input_problem` in `sql/migrations` knows it too.
pub const NUMBER_CHARS_MAX: usize = 400;

/// What is wrong with a number that is longer, and what to do.
pub const NUMBER_PROBLEM: &str = "has more than 400 characters when it is written out";
/// The same.
pub const NUMBER_REMEDY: &str = "put the number in quotes";

/// A number's text as `jsonb` writes it; none if that is too long.
pub fn number_text(number: &Number) -> Option<String> {
    let text = number.to_string();
    let (sign, text) = text.strip_prefix('-').map_or(("", &*text), |rest| ("-", rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i64 = exponent.parse().ok()?;
    let digits = format!("{whole}{fraction}");
    let is_zero = digits.bytes().all(|digit| digit == b'0');
    // Where the point comes to stand in the digits, and how many of them are behind it.
    let length = |text: &str| i64::try_from(text.len()).ok();
    let decimals = length(fraction)?.checked_sub(exponent)?.max(0);
    let point = if is_zero { 1 } else { length(whole)?.checked_add(exponent)? };
    // Zeros may be left out of what stands before the point.
    let most = i64::try_from(2 * NUMBER_CHARS_MAX).ok()?;
    if decimals > most || point > most {
        return None;
    }
    let (point, decimals) = (usize::try_from(point.max(0)).ok()?, usize::try_from(decimals).ok()?);
    let mut all = digits;
    if all.len() < point {
        all.push_str(&"0".repeat(point - all.len()));
    }
    let all = if is_zero {
        "0".repeat(1 + decimals)
    } else {
        "0".repeat((point + decimals).saturating_sub(all.len())) + &all
    };
    let (before, after) = all.split_at(all.len() - decimals);
    let before = before.trim_start_matches('0');
    let before = if before.is_empty() { "0" } else { before };
    let sign = if is_zero { "" } else { sign };
    let written =
        if after.is_empty() { format!("{sign}{before}") } else { format!("{sign}{before}.{after}") };
    (written.len() <= NUMBER_CHARS_MAX).then_some(written)
}

/// A value as it comes back from the database; none if it holds a number that is too long.
pub fn settled(value: Value) -> Option<Value> {
    Some(match value {
        Value::Number(number) => Value::Number(number_text(&number)?.parse().ok()?),
        Value::Array(items) => Value::Array(items.into_iter().map(settled).collect::<Option<_>>()?),
        Value::Object(members) => Value::Object(settled_object(members)?),
        other => other,
    })
}

/// The same of an object.
pub fn settled_object(members: Map<String, Value>) -> Option<Map<String, Value>> {
    let mut members =
        members.into_iter().map(|(key, it)| Some((key, settled(it)?))).collect::<Option<Vec<_>>>()?;
    members.sort_by(|(one, _), (other, _)| (one.len(), one).cmp(&(other.len(), other)));
    Some(members.into_iter().collect())
}

/// Bytes of an object as `jsonb` writes it: with a blank after each colon, and after each comma between members or items.
pub fn written_bytes<'v>(members: impl IntoIterator<Item = (&'v String, &'v Value)>) -> usize {
    let each =
        |(key, value): (&String, &Value)| text_bytes(key) + ": ".len() + value_bytes(value) + ", ".len();
    let all: usize = members.into_iter().map(each).sum();
    "{}".len() + all.saturating_sub(", ".len())
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Object(members) => written_bytes(members),
        Value::Array(items) => {
            let all: usize = items.iter().map(|it| value_bytes(it) + ", ".len()).sum();
            "[]".len() + all.saturating_sub(", ".len())
        }
        Value::String(text) => text_bytes(text),
        other => other.to_string().len(),
    }
}

fn text_bytes(text: &str) -> usize {
    let more = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 1,
        0..=31 => "\\u0000".len() - 1,
        _ => 0,
    };
    "\"\"".len() + text.len() + text.bytes().map(more).sum::<usize>()
}

/// What stands at a dotted path: `a.b` is the member `b` of the object `a`, or a member that is itself called `a.b`, which
/// goes first. A number is a place in an array.
pub fn at_path<'v>(members: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    if let Some(value) = members.get(path) {
        return Some(value);
    }
    // The longest key that there is goes first.
    path.rmatch_indices('.').find_map(|(dot, _)| below(members.get(&path[..dot])?, &path[dot + 1..]))
}

fn below<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => at_path(members, path),
        Value::Array(items) => {
            let (place, rest) =
                path.split_once('.').map_or((path, None), |(place, rest)| (place, Some(rest)));
            let item = items.get(place.parse::<usize>().ok()?)?;
            rest.map_or(Some(item), |rest| below(item, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(text: &str) -> Option<String> {
        number_text(&serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}")))
    }

    /// Each pair was read off a PostgreSQL; `tests/it` asks one about others.
    #[test]
    fn numbers_keep_their_digits_and_lose_their_exponent() {
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.00", "0.00"),
            ("19.90", "19.90"),
            ("40028922250000000000123", "40028922250000000000123"),
            ("-1.50", "-1.50"),
            ("1e2", "100"),
            ("1E+2", "100"),
            ("1.5e1", "15"),
            ("1.50e1", "15.0"),
            ("1.234e2", "123.4"),
            ("12e-1", "1.2"),
            ("1e-3", "0.001"),
            ("1.5e-3", "0.0015"),
            ("0.05e1", "0.5"),
            ("0.005e3", "5"),
            ("0e5", "0"),
            ("0.00e1", "0.0"),
            ("0e-3", "0.000"),
            ("0.1e-2", "0.001"),
        ] {
            assert_eq!(written(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(written("1.7976931348623157e308").map(|it| it.len()), Some(309));
        assert_eq!(written("4.9406564584124654e-324").map(|it| it.len()), Some(342));
        assert_eq!(written(&"9".repeat(400)).map(|it| it.len()), Some(400));
    }

    #[test]
    fn what_would_flood_a_command_line_is_refused() {
        for text in
            ["1e400", "1e-400", "1e100000", "-1e99999999999999999999", "0e-500", "1e-9223372036854775808"]
        {
            assert_eq!(written(text), None, "{text}");
        }
        assert_eq!(written(&"9".repeat(401)), None);
    }

    #[test]
    fn a_value_is_as_the_database_gives_it_back() {
        let value: Value = serde_json::from_str(r#"{"zeta": [1e1, {"b": 1.0, "a": -0}], "a": "x"}"#).unwrap();
        assert_eq!(settled(value).unwrap().to_string(), r#"{"a":"x","zeta":[10,{"a":0,"b":1.0}]}"#);
        assert_eq!(settled(serde_json::from_str("[[1e400]]").unwrap()), None);
    }

    #[test]
    fn what_is_written_is_counted_to_the_byte() {
        let value =
            json!({"a\"b": "x\n\u{1}\u{7f}é\\", "list": [1, [], {}, null, 1.50], "o": {"p": true, "q": ""}});
        // As a PostgreSQL wrote it.
        let written =
            r#"{"o": {"p": true, "q": ""}, "a\"b": "x\n\u0001é\\", "list": [1, [], {}, null, 1.5]}"#;
        assert_eq!(written_bytes(value.as_object().unwrap()), written.len());
        assert_eq!(written_bytes(&Map::new()), 2);
    }

    #[test]
    fn paths_lead_into_objects_and_arrays() {
        let value = json!({"a": {"b": {"c": 1}, "b.c": 2, "list": [{"d": 3}, 4]}, "x.y": 5, "x": {"y": 6}});
        let at = |path: &str| at_path(value.as_object().unwrap(), path).map(ToString::to_string);
        for (path, expected) in [
            ("a.b.c", Some("2")),
            ("x.y", Some("5")),
            ("a.list.0.d", Some("3")),
            ("a.list.1", Some("4")),
            ("a.b", Some(r#"{"c":1}"#)),
            ("a.list.2", None),
            ("a.b.c.d", None),
            ("a.", None),
            (".", None),
        ] {
            assert_eq!(at(path).as_deref(), expected, "{path}");
        }
    }
}
