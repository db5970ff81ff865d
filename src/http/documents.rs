//! The JSON documents of lists.

use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
pub(super) struct ProcessPage<T> {
    pub processes: Vec<T>,
    pub next: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Tasks<T: Serialize> {
    pub tasks: Rows<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Executions<T: Serialize> {
    pub executions: Rows<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

/// Rows whose `output` was not asked for have no such key: null would say that there was no output.
pub(super) struct Rows<T> {
    pub rows: Vec<T>,
    pub output: bool,
}

impl<T: Serialize> Serialize for Rows<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.output {
            return self.rows.serialize(serializer);
        }
        let mut rows = serde_json::to_value(&self.rows).map_err(serde::ser::Error::custom)?;
        for row in rows.as_array_mut().into_iter().flatten() {
            if let Value::Object(row) = row {
                row.shift_remove("output");
            }
        }
        rows.serialize(serializer)
    }
}
