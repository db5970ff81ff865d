//! Times as people write them: when a process is to be due (`--at`), since when it has ended (`--finished-since`).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::model::duration::parse_duration;

/// A thousand years: who writes more has mistaken the unit.
const FROM_NOW_MAX: SignedDuration = SignedDuration::from_hours(1_000 * 365 * 24);

/// A time as somebody has written it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// This one.
    At(Timestamp),
    /// So long from now, by the clock of the database: ours may be wrong.
    FromNow(SignedDuration),
}

impl When {
    /// The time that is meant if it is `now`.
    pub fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::FromNow(length) => now.saturating_add(length).unwrap_or(Timestamp::MAX),
        }
    }
}

/// Reads RFC 3339 (`2026-12-01T08:00:00Z`), a date and time in the user's zone (`2026-12-01 08:00`), or a time
/// from now (`+10m`).
///
/// # Errors
/// A sentence that says what to write.
pub fn parse(text: &str) -> Result<When, String> {
    parse_in(text, TimeZone::system())
}

/// Reads a time that has been: as [`parse`] does, and a length of time before now (`2h`).
///
/// # Errors
/// A sentence that says what to write.
pub fn parse_past(text: &str) -> Result<When, String> {
    if let Ok(length) = parse_duration(text.strip_prefix('-').unwrap_or(text)) {
        let length = SignedDuration::try_from(length).ok().filter(|length| *length <= FROM_NOW_MAX);
        return length.map(|it| When::FromNow(-it)).ok_or_else(|| format!("{text:?} is too far in the past"));
    }
    match text.strip_prefix('+') {
        None => parse(text).map_err(|problem| problem.replace("or +10m", "or 2h, that is two hours ago")),
        Some(_) => Err(format!("{text:?} is in the future; write 2h for two hours ago, or a date and time")),
    }
}

fn parse_in(text: &str, zone: TimeZone) -> Result<When, String> {
    if let Some(length) = text.strip_prefix('+') {
        let length = parse_duration(length)?;
        return SignedDuration::try_from(length)
            .ok()
            .filter(|length| *length <= FROM_NOW_MAX)
            .map(When::FromNow)
            .ok_or_else(|| format!("{text:?} is too far in the future"));
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(When::At(timestamp));
    }
    if let Ok(zoned) = text.parse::<Zoned>() {
        return Ok(When::At(zoned.timestamp()));
    }
    // An hour that the change to summer time skips is taken as the hour after; of one that comes twice, the first.
    let local = text.parse::<DateTime>().and_then(|time| time.to_zoned(zone));
    local.map(|it| When::At(it.timestamp())).map_err(|_| {
        format!(
            "{text:?} is not a time; write 2026-12-01T08:00:00Z, \"2026-12-01 08:00\" (your zone) or +10m"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<String, String> {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().expect("a timestamp");
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
        parse_in(text, zone).map(|it| it.at(now).to_string())
    }

    #[test]
    fn every_form_is_read() {
        for (text, expected) in [
            ("2026-12-01T08:00:00Z", "2026-12-01T08:00:00Z"),
            ("2026-12-01T08:00:00+02:00", "2026-12-01T06:00:00Z"),
            ("2026-12-01 08:00", "2026-12-01T07:00:00Z"),
            ("2026-07-01 08:00:30", "2026-07-01T06:00:30Z"),
            ("2026-12-01", "2026-11-30T23:00:00Z"),
            ("2027-03-28 02:30", "2027-03-28T01:30:00Z"),
            ("2026-10-25 01:59", "2026-10-24T23:59:00Z"),
            ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),
            ("2026-10-25 03:00", "2026-10-25T02:00:00Z"),
            ("+10m", "2026-11-23T12:10:00Z"),
            ("+1.5h", "2026-11-23T13:30:00Z"),
        ] {
            assert_eq!(at(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_time_that_has_been_may_be_so_long_ago() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().expect("a timestamp");
        let at = |text: &str| parse_past(text).map(|it| it.at(now).to_string());
        for text in ["2h", "-2h", "2026-11-23T10:00:00Z"] {
            assert_eq!(at(text).as_deref(), Ok("2026-11-23T10:00:00Z"), "{text}");
        }
        assert!(at("yesterday").expect_err("a word").contains("2h, that is two hours ago"));
        assert!(at("+2h").expect_err("to come").contains("in the future"));
    }

    #[test]
    fn anything_else_says_what_to_write() {
        for text in ["", "tomorrow", "2026-13-01 08:00", "25:00", "10m"] {
            let message = at(text).expect_err(text);
            assert!(message.starts_with(&format!("{text:?} is not a time; write 2026-")), "{message}");
        }
        assert!(at("+10").expect_err("no unit").contains("a unit is missing: 10s?"));
        assert!(at("+999999999d").expect_err("far").contains("too far"));
    }
}
