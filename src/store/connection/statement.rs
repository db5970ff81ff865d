//! Statements.

/// A statement: its text from `sql/`, and what it does, for messages.
pub(crate) struct Sql {
    pub(in crate::store) action: &'static str,
    pub(in crate::store) text: &'static str,
}

impl Sql {
    /// `action` completes the phrase "failed to …".
    pub(crate) const fn new(action: &'static str, text: &'static str) -> Self {
        Self { action, text }
    }
}

/// Quotes a name for use in SQL text.
pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
