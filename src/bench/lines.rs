//! What the modes print for people, line by line.

use std::collections::BTreeMap;

/// Lines for people: a label and a text each.
#[derive(Debug, Default)]
pub struct Lines(Vec<(String, String)>);

/// Columns of the labels.
const LABEL_COLUMNS: usize = 34;

impl Lines {
    /// Adds one.
    pub fn add(&mut self, label: &str, text: impl Into<String>) {
        self.0.push((label.to_owned(), text.into()));
    }

    /// Adds one if there is a figure.
    pub fn add_some<T>(&mut self, label: &str, figure: Option<T>, show: impl FnOnce(T) -> String) {
        if let Some(figure) = figure {
            self.add(label, show(figure));
        }
    }

    /// As they are printed.
    pub fn into_text(self) -> Vec<String> {
        self.0.into_iter().map(|(label, text)| format!("{label:<LABEL_COLUMNS$} {text}")).collect()
    }
}

/// How many connections, and who holds them.
pub fn shown_connections(connections: &BTreeMap<String, usize>) -> String {
    let each = |(role, count): (&String, &usize)| match count {
        1 => role.clone(),
        _ => format!("{role} x {count}"),
    };
    let total: usize = connections.values().sum();
    format!("{total}: {}", connections.iter().map(each).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_told_by_who_holds_them() {
        let held = BTreeMap::from([("keeper".to_owned(), 2), ("poller".to_owned(), 1)]);
        assert_eq!(shown_connections(&held), "3: keeper x 2, poller");
    }
}
