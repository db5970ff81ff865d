//! Failures by reason: messages that differ in numbers, ids and paths alone are one reason.

use std::collections::BTreeMap;

use serde::Serialize;

/// Reasons of a batch that are told apart; what comes beyond is counted together.
pub const REASONS_MAX: usize = 20;
/// The reason of those that come beyond.
pub const OTHER_REASONS: &str = "other reasons";
/// Characters of a message that are looked at.
const CHARS_MAX: usize = 300;

/// Failures that have one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureGroup {
    /// The message, with … in the place of what differs.
    pub reason: String,
    /// How many processes.
    pub count: u64,
    /// One of them.
    pub example_id: String,
    /// Its message.
    pub example: String,
}

/// What a message has in common with others of the same reason: its words, with … in the place of numbers, ids and paths. An
/// exit code or a signal is a reason of its own, and stays.
pub fn reason_of(message: &str) -> String {
    let line: String =
        message.chars().take(CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let keeps = match words.as_slice() {
            [.., before, last] => before == "exit" && last == "code",
            _ => false,
        } || words.last().is_some_and(|it| it == "signal");
        let word = if keeps { word.to_owned() } else { common(word) };
        // Two in a row are no more than one: lists of ids have no length.
        if !(word == "…" && words.last().is_some_and(|it| it == "…")) {
            words.push(word);
        }
    }
    words.join(" ")
}

/// A word without what differs, its punctuation kept.
fn common(word: &str) -> String {
    let is_edge = |c: char| !c.is_alphanumeric() && !"/~\\".contains(c);
    let core = word.trim_matches(is_edge);
    if core.is_empty() {
        return word.to_owned();
    }
    let at = word.find(core).unwrap_or_default();
    let (before, after) = (&word[..at], &word[at + core.len()..]);
    let middle = match core.split_once(['=', ':']).filter(|(key, value)| is_plain(key) && !value.is_empty()) {
        // A file with the number of a line, or a key with its value.
        Some((key, value)) => {
            let separator = &core[key.len()..=key.len()];
            format!("{key}{separator}{}", common(value))
        }
        None if differs(core) => "…".to_owned(),
        None => core.to_owned(),
    };
    format!("{before}{middle}{after}")
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphabetic() || "_-".contains(c))
}

/// Whether a word is a number, an id or a path.
fn differs(word: &str) -> bool {
    let has_digit = word.chars().any(|c| c.is_ascii_digit());
    let is_path = word.contains(['/', '\\']) || word.starts_with('~');
    let is_hex = word.len() >= 8 && word.bytes().all(|it| it.is_ascii_hexdigit());
    let is_file = word.rsplit_once('.').is_some_and(|(stem, ending)| {
        stem.len() >= 2
            && (1..=5).contains(&ending.len())
            && ending.bytes().all(|it| it.is_ascii_alphanumeric())
    });
    has_digit || is_path || is_hex || is_file
}

/// Adds failures to groups, or takes away (a retry) what was added: a bounded number of them, the largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups(BTreeMap<String, (i64, String, String)>);

impl Groups {
    /// Counts one more (or with −1 one less) of a message. The first that comes is the example.
    pub fn add(&mut self, times: i64, process_id: &str, message: &str) {
        let group = self.0.entry(reason_of(message)).or_default();
        group.0 += times;
        if group.1.is_empty() && times > 0 {
            (group.1, group.2) = (process_id.to_owned(), message.chars().take(CHARS_MAX).collect());
        }
    }

    /// What has been counted: reason, difference, and of an example id and message.
    pub fn into_changes(self) -> Vec<(String, i64, String, String)> {
        self.0.into_iter().map(|(reason, (count, id, message))| (reason, count, id, message)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ids_and_paths_that_differ_are_one_reason() {
        for (one, other, reason) in [
            (
                "task \"load\" (1 of 2) failed: exit code 2",
                "task \"load\" (1 of 3) failed: exit code 2",
                "task \"load\" (… of …) failed: exit code 2",
            ),
            (
                "task \"get\" failed: exit code 1: curl: (28) timed out after 30001 ms",
                "task \"get\" failed: exit code 1: curl: (28) timed out after 12 ms",
                "task \"get\" failed: exit code 1: curl: (…) timed out after … ms",
            ),
            (
                "cannot open /data/in/a.csv: no such file",
                "cannot open /other/b/b.csv: no such file",
                "cannot open …: no such file",
            ),
            ("cannot open alpha.csv", "cannot open beta.tar", "cannot open …"),
            ("customer=acme-17 is unknown", "customer=x9 is unknown", "customer=… is unknown"),
            (
                "order 9f1c2b7a-0000-4c3d-8a77-000000000001 is gone",
                "order 550e8400-e29b-41d4-a716-446655440000 is gone",
                "order … is gone",
            ),
            ("hash deadbeef differs", "hash cafebabe differs", "hash … differs"),
            ("lost: 'p-1', 'p-2'", "lost: 'q-11', 'q-12'", "lost: '…', '…'"),
            ("a 1 2 3 b", "a 7 b", "a … b"),
        ] {
            assert_eq!(reason_of(one), reason, "{one}");
            assert_eq!(reason_of(other), reason, "{other}");
        }
    }

    #[test]
    fn other_words_and_exit_codes_are_other_reasons() {
        let reasons = [
            "exit code 1",
            "exit code 2",
            "exit code 1: disk full",
            "ended by signal 9",
            "timed out after 5 s",
        ];
        let all: std::collections::BTreeSet<String> = reasons.iter().map(|it| reason_of(it)).collect();
        assert_eq!(all.len(), reasons.len(), "{all:?}");
        assert_eq!(reason_of("a\nb\u{1b}[31m"), "a b […");
    }

    #[test]
    fn groups_count_both_ways_and_keep_an_example() {
        let mut groups = Groups::default();
        groups.add(1, "p-1", "no file 1");
        groups.add(1, "p-2", "no file 2");
        groups.add(-1, "p-3", "other");
        let changes = groups.into_changes();
        assert_eq!(
            changes,
            [
                ("no file …".to_owned(), 2, "p-1".to_owned(), "no file 1".to_owned()),
                ("other".to_owned(), -1, String::new(), String::new()),
            ]
        );
    }
}
