//! Lengths of time as people write them: `500ms`, `2s`, `5m`, `1.5h`, `30d`.

use std::time::Duration;

/// Units and their seconds, the longest first.
const UNITS: [(&str, f64); 5] = [("d", 86_400.0), ("h", 3_600.0), ("m", 60.0), ("ms", 0.001), ("s", 1.0)];

/// What [`parse_duration`] accepts, as a regular expression.
pub const DURATION_PATTERN: &str = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$";

/// Reads a length of time: digits, perhaps a fraction, and one of the units ms, s, m, h, d.
///
/// # Errors
///
/// A sentence that names the text and says what to write.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        let unit = if is_decimal(text) { format!(" (a unit is missing: {text}s?)") } else { String::new() };
        format!(
            "{text:?} is not a length of time{unit}; write a number and ms, s, m, h or d, such as 500ms or 5m"
        )
    };
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, seconds)| *seconds);
    let number = Some(number).filter(|it| is_decimal(it)).and_then(|it| it.parse::<f64>().ok());
    match (number, seconds) {
        (Some(number), Some(seconds)) => Duration::try_from_secs_f64(number * seconds)
            .map_err(|_| format!("{text:?} is too long; write a shorter time")),
        _ => Err(wrong()),
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(text),
    }
}

/// Writes a length of time so that [`parse_duration`] reads it back, in the longest unit that
/// needs no fraction.
pub fn show_duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    match (seconds, nanos) {
        (_, 1..) if nanos % 1_000_000 == 0 => format!("{}ms", duration.as_millis()),
        (_, 1..) => format!("{}s", duration.as_secs_f64()),
        (0, 0) => "0s".to_owned(),
        _ if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        _ if seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
        _ if seconds % 60 == 0 => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_and_written() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("2s", 2_000),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("30d", 2_592_000_000),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
            assert_eq!(show_duration(duration), text);
        }
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5_400)));
        assert_eq!(show_duration(Duration::from_micros(1_500)), "0.0015s");
    }

    #[test]
    fn what_is_no_length_of_time_is_refused_by_name() {
        for text in ["", "5", "m", "5 m", "-5m", "5min", "1e3s", ".5s", "5.s", "1h30m", "５m", "inf s"] {
            let message = parse_duration(text).expect_err(text);
            assert!(message.starts_with(&format!("{text:?} is not a length of time")), "{message}");
        }
        assert_eq!(
            parse_duration("30"),
            Err("\"30\" is not a length of time (a unit is missing: 30s?); write a number and ms, s, m, h or d, \
                 such as 500ms or 5m"
                .to_owned())
        );
        let endless = format!("{}d", "9".repeat(30));
        assert!(parse_duration(&endless).expect_err("endless").contains("is too long"));
    }
}
