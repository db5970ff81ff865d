//! "Did you mean": the known word that is nearest to an unknown one.

/// The one of `known` that somebody who wrote `word` most likely meant. Letter case, hyphens and
/// underscores don't count, so `timeoutMinutes` finds `timeout_minutes`; a clear abbreviation
/// (`timeout`, `env`) finds the whole word.
pub fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = plain(word);
    let rank = |candidate: &'k str| {
        let other = plain(candidate);
        let distance = distance(&word, &other);
        let is_typing_error = distance <= word.len().max(other.len()) / 3;
        let is_short_form = word.len() >= 3 && is_subsequence(&word, &other);
        (is_typing_error || is_short_form).then_some((!is_typing_error, distance, candidate))
    };
    known.into_iter().filter_map(rank).min().map(|(_, _, candidate)| candidate)
}

/// Longest word that is compared; what is longer is no typing error of a key.
const CHARS_MAX: usize = 64;

fn plain(word: &str) -> Vec<char> {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).take(CHARS_MAX).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let mut least = (last[j] + usize::from(ca != cb)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *ca == b[j - 1] && a[i - 1] == *cb {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

fn is_subsequence(short: &[char], long: &[char]) -> bool {
    let mut rest = long.iter();
    short.iter().all(|c| rest.any(|other| other == c))
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn what_was_meant_is_found() {
        let keys = ["name", "command", "working_directory", "timeout_minutes", "max_retries", "environment"];
        for (word, meant) in [
            ("timeoutMinutes", Some("timeout_minutes")),
            ("timeout", Some("timeout_minutes")),
            ("Name", Some("name")),
            ("comand", Some("command")),
            ("nmae", Some("name")),
            ("env", Some("environment")),
            ("retries", Some("max_retries")),
            ("workdir", Some("working_directory")),
            ("max-retrys", Some("max_retries")),
            ("colour", None),
            ("", None),
            ("me", None),
        ] {
            assert_eq!(closest(word, keys), meant, "{word}");
        }
    }
}
