//! Which processes a list shows.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::cursor::Cursor;
use super::values::Include;
use crate::model::lifecycle::ProcessStatus;

/// Most processes on one page.
pub const PAGE_MAX: u32 = 1000;

/// Which processes a list shows. Conditions that are not given leave all through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFilter {
    /// Only those in one of these; empty is any status.
    pub statuses: Vec<ProcessStatus>,
    /// Only those of this type.
    pub process_type: Option<String>,
    /// Only those of this batch.
    pub batch: Option<String>,
    /// Only those that run or ran on this node: an id, or a name for all nodes that have borne it. One that is
    /// not known (any more, see [`Store::knows_node`]) has none.
    pub node: Option<String>,
    /// Only those whose first task was claimed at this time or later.
    pub started_since: Option<Timestamp>,
    /// And before this one.
    pub started_before: Option<Timestamp>,
    /// Only those that have ended, at this time or later.
    pub finished_since: Option<Timestamp>,
    /// And before this one.
    pub finished_before: Option<Timestamp>,
    /// Only those whose input holds all of this metadata.
    pub metadata: Map<String, Value>,
    /// Only those whose ids begin so.
    pub id_prefix: Option<String>,
    /// Only those whose ids hold this somewhere. Of a long history one page is what is found among some ten thousand,
    /// maybe nothing, and `next` is where the search goes on.
    pub search: Option<String>,
    /// Only those after this place, which the page before gave as `next`.
    pub after: Option<Cursor>,
    /// At most this many; no more than [`PAGE_MAX`] are given.
    pub limit: u32,
    /// What is read of each beside its row. A page that holds some megabytes of it ends earlier.
    pub include: Include,
}

impl Default for ProcessFilter {
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            process_type: None,
            batch: None,
            node: None,
            started_since: None,
            started_before: None,
            finished_since: None,
            finished_before: None,
            metadata: Map::new(),
            id_prefix: None,
            search: None,
            after: None,
            limit: 100,
            include: Include::default(),
        }
    }
}

/// The metadata as it is kept, and as the release before kept it of inputs with numbers and booleans: most processes that
/// were there at the eighth migration still have them. Of many such values only some are looked for in both forms.
/// Nothing for none.
pub(super) fn forms_of(metadata: &Map<String, Value>) -> Option<Vec<Value>> {
    const FORMS_MAX: usize = 16;
    let mut forms = vec![Map::new()];
    for (key, value) in metadata {
        let other = value.as_str().and_then(number_or_boolean).filter(|_| forms.len() < FORMS_MAX);
        let with = |value: &Value| {
            let with_it = |form: &Map<String, Value>| {
                let mut form = form.clone();
                form.insert(key.clone(), value.clone());
                form
            };
            forms.iter().map(with_it).collect::<Vec<_>>()
        };
        forms = [Some(value), other.as_ref()].into_iter().flatten().flat_map(with).collect();
    }
    (!metadata.is_empty()).then(|| forms.into_iter().map(Value::Object).collect())
}

/// What is written as `jsonb` writes it, so without an exponent.
fn number_or_boolean(text: &str) -> Option<Value> {
    const CHARS_MAX: usize = 400;
    let is_plain = text.len() <= CHARS_MAX && !text.contains(['e', 'E']) || text == "true" || text == "false";
    serde_json::from_str(text)
        .ok()
        .filter(|value: &Value| is_plain && (value.is_number() || value.is_boolean()))
}

/// A text as a pattern of LIKE that only it matches.
pub(super) fn literal(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_looked_for_in_each_of_its_forms() {
        let forms = |pairs: &[(&str, &str)]| {
            let metadata =
                pairs.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
            forms_of(&metadata).map(|forms| Value::Array(forms).to_string())
        };
        assert_eq!(forms(&[]), None);
        assert_eq!(forms(&[("a", "x"), ("b", "1e3")]).as_deref(), Some(r#"[{"a":"x","b":"1e3"}]"#));
        assert_eq!(
            forms(&[("a", "7"), ("b", "true")]).as_deref(),
            Some(r#"[{"a":"7","b":"true"},{"a":7,"b":"true"},{"a":"7","b":true},{"a":7,"b":true}]"#)
        );
        let many: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(|key| (key, "1")).into();
        assert_eq!(forms(&many).map(|it| it.matches('{').count()), Some(16));
    }
}
