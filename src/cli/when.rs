//! `--at`: when a process is to be due.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::model::duration::parse_duration;

/// Reads RFC 3339 (`2026-12-01T08:00:00Z`), a date and time in the user's zone (`2026-12-01 08:00`), or a time
/// from now (`+10m`).
///
/// # Errors
/// A sentence that says what to write.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    parse_at(text, &Timestamp::now().to_zoned(TimeZone::system()))
}

fn parse_at(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    if let Some(length) = text.strip_prefix('+') {
        let length = parse_duration(length)?;
        return now.timestamp().checked_add(length).map_err(|_| format!("{text:?} is too far in the future"));
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp);
    }
    if let Ok(zoned) = text.parse::<Zoned>() {
        return Ok(zoned.timestamp());
    }
    // An hour that the change to summer time skips is taken as the hour after.
    let local = text.parse::<DateTime>().and_then(|time| time.to_zoned(now.time_zone().clone()));
    local.map(|it| it.timestamp()).map_err(|_| {
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
        parse_at(text, &now.to_zoned(zone)).map(|it| it.to_string())
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
            ("+10m", "2026-11-23T12:10:00Z"),
            ("+1.5h", "2026-11-23T13:30:00Z"),
        ] {
            assert_eq!(at(text).as_deref(), Ok(expected), "{text}");
        }
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
