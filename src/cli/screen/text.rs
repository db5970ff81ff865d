//! Text for people: control characters made visible, widths, lengths of time, points in time.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Makes text safe for one line of a terminal: nothing in it moves the cursor, changes colours, or turns the
/// direction of writing. New lines and tabs count too.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_except(text, &[])
}

/// The same for text of several lines: new lines and tabs stay.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    // A carriage return before a new line is how some programs end lines; it moves nothing there.
    match text.contains("\r\n") {
        true => Cow::Owned(escape_except(&text.replace("\r\n", "\n"), &['\n', '\t']).into_owned()),
        false => escape_except(text, &['\n', '\t']),
    }
}

fn escape_except<'t>(text: &'t str, kept: &[char]) -> Cow<'t, str> {
    let is_bad = |c: char| is_unsafe(c) && !kept.contains(&c);
    if !text.chars().any(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            _ if !is_bad(c) => safe.push(c),
            '\n' | '\r' | '\t' => safe.extend(c.escape_default()),
            // Writing to a string cannot fail.
            _ if (c as u32) < 0x100 => _ = write!(safe, "\\x{:02x}", c as u32),
            _ => _ = write!(safe, "\\u{{{:x}}}", c as u32),
        }
    }
    Cow::Owned(safe)
}

/// Control characters, line separators, and the marks that reorder what stands beside them.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Columns that `text` takes up on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// `text` in at most `columns` columns; an ellipsis stands for what was cut.
pub fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    if columns == 0 {
        return Cow::Borrowed("");
    }
    let mut taken = 0;
    let mut short = String::new();
    for c in text.chars() {
        taken += c.width().unwrap_or(0);
        if taken > columns - 1 {
            break;
        }
        short.push(c);
    }
    short.push('…');
    Cow::Owned(short)
}

/// `text` in lines of at most `columns` columns, broken at blanks where there are any.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split_inclusive(' ') {
        let bare = width(word.trim_end_matches(' '));
        if used > 0 && used + bare > columns {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
            used = 0;
        }
        for c in word.chars() {
            let columns_of_c = c.width().unwrap_or(0);
            // Only a word that is longer than a line, and a blank at its end, get here.
            if used + columns_of_c > columns && c != ' ' {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += columns_of_c;
        }
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// A line that goes on, if it has to, with blanks at its begin.
pub fn hanging(line: &str, columns: usize, indent: usize) -> Vec<String> {
    if width(line) <= columns {
        return vec![line.trim_end().to_owned()];
    }
    let (head, rest) = line.split_at(line.char_indices().nth(indent).map_or(line.len(), |(at, _)| at));
    let mut lines = wrap(rest, columns.saturating_sub(width(head)));
    for (at, line) in lines.iter_mut().enumerate() {
        *line = if at == 0 { format!("{head}{line}") } else { format!("{}{line}", " ".repeat(indent)) };
    }
    lines
}

/// A length of time at the precision that its size deserves: `12 ms`, `0.8 s`, `2 min 05 s`, `3 h 07 min`.
pub fn duration(time: Duration) -> String {
    const SECONDS_MIN: Duration = Duration::from_millis(100);
    let tenths = (time.as_secs_f64() * 10.0).round();
    // What rounds to a minute counts as one.
    let seconds = if tenths >= 600.0 { time.as_secs().max(60) } else { time.as_secs() };
    match seconds {
        _ if time < SECONDS_MIN => format!("{} ms", time.as_millis()),
        _ if tenths < 600.0 => format!("{:.1} s", tenths / 10.0),
        0..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A number of bytes: `999 bytes`, `1.2 KB`, `34.0 MB`.
pub fn size<N: TryInto<u64>>(bytes: N) -> String {
    let bytes = bytes.try_into().unwrap_or(0);
    match bytes {
        1 => "1 byte".to_owned(),
        0..1_000 => format!("{bytes} bytes"),
        _ => {
            let (mut number, mut units) =
                (bytes as f64 / 1000.0, ["KB", "MB", "GB", "TB"].into_iter().peekable());
            // What rounds to a thousand is one of the next unit.
            while number >= 999.95 && units.len() > 1 {
                (number, _) = (number / 1000.0, units.next());
            }
            format!("{number:.1} {}", units.next().unwrap_or_default())
        }
    }
}

/// The length of time between two points; nothing if they are the wrong way round, as clocks may have them.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// Shows points in time in the user's zone.
pub struct Clock {
    zone: TimeZone,
    now: Timestamp,
}

impl Clock {
    /// The system's zone (`TZ` or the machine's) and time.
    pub fn system() -> Self {
        Self { zone: TimeZone::system(), now: Timestamp::now() }
    }

    /// Date and time: `2026-11-23 14:02:11`.
    pub fn full(&self, at: Timestamp) -> String {
        self.show(at, "%Y-%m-%d %H:%M:%S")
    }

    /// The time of day: `14:02:11`.
    pub fn time_of_day(&self, at: Timestamp) -> String {
        self.show(at, "%H:%M:%S")
    }

    /// As short as it can be told: today's time, this year's day and time, or the date.
    pub fn short(&self, at: Timestamp) -> String {
        let (then, now) = (at.to_zoned(self.zone.clone()), self.now.to_zoned(self.zone.clone()));
        let format = match () {
            () if then.date() == now.date() => "%H:%M:%S",
            () if then.year() == now.year() => "%m-%d %H:%M",
            () => "%Y-%m-%d",
        };
        self.show(at, format)
    }

    fn show(&self, at: Timestamp, format: &str) -> String {
        at.to_zoned(self.zone.clone()).strftime(format).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_the_cursor_is_shown_instead() {
        for (text, shown) in [
            ("plain – Ünïcode 漢", "plain – Ünïcode 漢"),
            ("a\x1b[31mred\x07", "a\\x1b[31mred\\x07"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\u{9b}2J \u{7f}", "\\x9b2J \\x7f"),
            ("x\u{202e}y\u{2028}", "x\\u{202e}y\\u{2028}"),
        ] {
            assert_eq!(escape(text), shown);
        }
        assert_eq!(escape_lines("one\r\ntwo\n\tthree\rfour\x1b"), "one\ntwo\n\tthree\\rfour\\x1b");
    }

    #[test]
    fn sizes_have_the_unit_that_fits() {
        for (bytes, shown) in [
            (1_u64, "1 byte"),
            (999, "999 bytes"),
            (1_250, "1.2 KB"),
            (999_949, "999.9 KB"),
            (999_950, "1.0 MB"),
            (7_000_000_000_000_000, "7000.0 TB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
        assert_eq!(size(-1_i64), "0 bytes");
    }

    #[test]
    fn text_is_cut_by_columns_not_by_bytes() {
        for (text, columns, expected) in [
            ("short", 5, "short"),
            ("longer", 5, "long…"),
            ("漢字漢字", 8, "漢字漢字"),
            ("漢字漢字", 6, "漢字…"),
            ("ääää", 3, "ää…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            let short = cut(text, columns);
            assert_eq!(short, expected, "{text:?} in {columns}");
            assert!(width(&short) <= columns, "{short:?}");
        }
    }

    #[test]
    fn lines_are_broken_at_blanks_or_where_they_must() {
        for (text, columns, lines) in [
            ("", 10, &[""][..]),
            ("one two three", 7, &["one two", "three"]),
            ("one two three", 8, &["one two", "three"]),
            ("one two three", usize::MAX, &["one two three"]),
            ("abcdefghij kl", 4, &["abcd", "efgh", "ij", "kl"]),
            ("漢字漢字", 5, &["漢字", "漢字"]),
        ] {
            assert_eq!(wrap(text, columns), lines, "{text:?} in {columns}");
        }
    }

    #[test]
    fn lengths_of_time_read_as_people_say_them() {
        for (millis, shown) in [
            (0, "0 ms"),
            (12, "12 ms"),
            (99, "99 ms"),
            (100, "0.1 s"),
            (849, "0.8 s"),
            (59_940, "59.9 s"),
            (59_970, "1 min 00 s"),
            (125_000, "2 min 05 s"),
            (3_599_900, "59 min 59 s"),
            (11_220_000, "3 h 07 min"),
            (97_200_000, "1 d 03 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), shown, "{millis}");
        }
    }

    #[test]
    fn times_are_in_the_zone_and_as_short_as_they_can_be() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a timestamp");
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let clock = Clock { zone, now: at("2026-11-23T12:00:00Z") };
        assert_eq!(clock.full(at("2026-11-23T12:02:11.5Z")), "2026-11-23 14:02:11");
        assert_eq!(clock.time_of_day(at("2026-11-23T22:30:00Z")), "00:30:00");
        assert_eq!(clock.short(at("2026-11-22T22:30:00Z")), "00:30:00");
        assert_eq!(clock.short(at("2026-11-22T21:30:00Z")), "11-22 23:30");
        assert_eq!(clock.short(at("2025-12-31T22:30:00Z")), "01-01 00:30");
        assert_eq!(clock.short(at("2025-12-31T21:30:00Z")), "2025-12-31");
    }

    #[test]
    fn a_clock_that_goes_backwards_gives_no_time() {
        let at = |second| Timestamp::from_second(second).expect("a timestamp");
        assert_eq!(between(at(5), at(3)), Duration::ZERO);
        assert_eq!(between(at(3), at(5)), Duration::from_secs(2));
    }
}
