//! Cron expressions as civil times: what a clock on the wall has to show. Zones are `rule`'s.

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{DateTime, date};

/// What an expression may be, as a remedy.
pub const CRON_REMEDY: &str = "write five fields, minute hour day month weekday, such as \"30 2 * * mon-fri\", six with seconds \
                               before them, or @hourly, @daily, @weekly, @monthly, @yearly";

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const FIELDS: [&str; 6] = ["second", "minute", "hour", "day", "month", "weekday"];

/// The days of four hundred years are those of every other four hundred: what does not match in them never does.
const NEVER_BEFORE: DateTime = date(2000, 1, 1).at(0, 0, 0, 0);

/// A cron expression that matches some day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronExpression {
    cron: croner::Cron,
    follows_real_time: bool,
}

impl CronExpression {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence that begins with the expression.
    pub fn parse(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let fields = match NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(trimmed)) {
            Some((_, fields)) => fields,
            None if trimmed.starts_with('@') => return Err("is no name of times".to_owned()),
            None => trimmed,
        };
        let words: Vec<&str> = fields.split_whitespace().collect();
        if !(5..=6).contains(&words.len()) {
            return Err(format!("has {} fields, not 5 or 6", words.len()));
        }
        // As cron has it: a day field that begins with `*` is no choice of its own, so that both have to match.
        let are_both_chosen =
            [words.len() - 3, words.len() - 1].iter().all(|&day| !words[day].starts_with('*'));
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .dom_and_dow(!are_both_chosen)
            .build();
        let cron = parser.parse(&words.join(" ")).map_err(|error| match wrong_field(&parser, &words) {
            Some((field, word)) => format!("is no cron expression: {field} {word:?}: {}", said(&error)),
            None => format!("is no cron expression: {}", said(&error)),
        })?;
        if cron.find_next_occurrence(&NEVER_BEFORE, true).is_err() {
            return Err("never comes: no year has such a day".to_owned());
        }
        // The fields of a day's time: minute and hour, after the second if there is one.
        let of_the_clock = &words[..words.len() - 3];
        let is_wild = |field: &&str| field.split(',').any(|item| item.starts_with('*'));
        Ok(Self { cron, follows_real_time: of_the_clock.iter().any(is_wild) })
    }

    /// Whether the time of day has a `*` or `*/n`: such an expression means steps of real time, in a repeated hour too. Others
    /// mean what the clock shows, once a day.
    pub fn follows_real_time(&self) -> bool {
        self.follows_real_time
    }

    /// The next civil time that matches, `from` itself included if `is_inclusive`; none before the year 5000 is none at all.
    pub fn next(&self, from: DateTime, is_inclusive: bool) -> Option<DateTime> {
        self.cron.find_next_occurrence(&from, is_inclusive).ok()
    }

    /// The last one before.
    pub fn previous(&self, from: DateTime) -> Option<DateTime> {
        self.cron.find_previous_occurrence(&from, false).ok()
    }
}

fn said(error: &CronError) -> String {
    let text = match error {
        CronError::InvalidPattern(text)
        | CronError::IllegalCharacters(text)
        | CronError::ComponentError(text) => text.clone(),
        other => other.to_string(),
    };
    text.trim_end_matches('.').to_owned()
}

/// The first field that can't be read, with its name; the crate does not say it.
fn wrong_field<'a>(parser: &CronParser, words: &[&'a str]) -> Option<(&'static str, &'a str)> {
    let names = &FIELDS[FIELDS.len() - words.len()..];
    names.iter().zip(words).enumerate().find_map(|(at, (name, word))| {
        let mut alone = vec!["*"; words.len()];
        alone[at] = word;
        parser.parse(&alone.join(" ")).is_err().then_some((*name, *word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(text: &str, from: &str, count: usize) -> Vec<String> {
        let cron = CronExpression::parse(text).expect(text);
        let first = from.parse().expect("a civil time");
        std::iter::successors(cron.next(first, false), |last| cron.next(*last, false))
            .take(count)
            .map(|it| it.to_string())
            .collect()
    }

    #[test]
    fn civil_times_of_each_kind_of_field() {
        assert_eq!(
            next("*/15 2 * * *", "2026-03-01T02:20", 2),
            ["2026-03-01T02:30:00", "2026-03-01T02:45:00"]
        );
        assert_eq!(next("0 9 * * MON-fri", "2026-11-27T09:00", 1), ["2026-11-30T09:00:00"]);
        assert_eq!(next("30 5 9 * * *", "2026-11-27T09:00", 1), ["2026-11-27T09:05:30"]);
        assert_eq!(next("0 0 29 2 *", "2026-01-01T00:00", 2), ["2028-02-29T00:00:00", "2032-02-29T00:00:00"]);
        assert_eq!(next("0 0 29 2 *", "2096-03-01T00:00", 1), ["2104-02-29T00:00:00"]);
        assert_eq!(next("0 0 L * *", "2026-02-01T00:00", 2), ["2026-02-28T00:00:00", "2026-03-31T00:00:00"]);
        assert_eq!(next("0 0 13 * 5", "2026-11-01T00:00", 2), ["2026-11-06T00:00:00", "2026-11-13T00:00:00"]);
        // A day that begins with `*` narrows the other one, as cron has it.
        assert_eq!(
            next("0 0 */2 * mon", "2026-01-01T00:00", 2),
            ["2026-01-05T00:00:00", "2026-01-19T00:00:00"]
        );
        assert_eq!(
            next("0 0 15 * */2", "2026-01-01T00:00", 2),
            ["2026-01-15T00:00:00", "2026-02-15T00:00:00"]
        );
        assert_eq!(next("@daily", "2026-02-28T00:00", 1), ["2026-03-01T00:00:00"]);
        assert_eq!(next(" @Midnight ", "2026-02-28T00:00", 1), ["2026-03-01T00:00:00"]);
        assert_eq!(next("0 12 * * 7", "2026-11-28T00:00", 1), ["2026-11-29T12:00:00"]);
    }

    #[test]
    fn what_follows_real_time() {
        for (text, expected) in [
            ("* * * * *", true),
            ("*/15 2 * * *", true),
            ("0 */2 * * *", true),
            ("@hourly", true),
            ("* 30 2 * * *", true),
            ("30 2 * * *", false),
            ("0,30 1-3 * * *", false),
            ("0 30 2 * * *", false),
            ("@daily", false),
        ] {
            assert_eq!(CronExpression::parse(text).expect(text).follows_real_time(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("", "has 0 fields"),
            ("* * * *", "has 4 fields"),
            ("0 0 0 1 1 * 2026", "has 7 fields"),
            ("61 * * * *", "is no cron expression: minute \"61\": "),
            ("0 5-1 * * *", "is no cron expression: hour \"5-1\": "),
            ("0 0 0 * * foo", "is no cron expression: weekday \"foo\": "),
            ("*/0 * * * *", "is no cron expression: "),
            ("0 0 30 2 *", "never comes"),
            ("0 0 31 4,6,9,11 *", "never comes"),
            ("@reboot", "is no name of times"),
        ] {
            let problem = CronExpression::parse(text).expect_err(text);
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }
}
