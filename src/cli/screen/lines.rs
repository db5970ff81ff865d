//! What a command has printed, as a terminal would leave it: a carriage return goes over the line again, colours are
//! colours, and every other escape sequence has no effect. Pure.

use std::borrow::Cow;

use super::text;

/// A sequence that has no end by then is none.
const SEQUENCE_CHARS_MAX: usize = 256;
/// No command goes further to the right on purpose.
const COLUMNS_MAX: usize = 10_000;

/// Of a longer line the begin is let go: it can't be gone over again. A cell takes 32 bytes.
const CELLS_MAX: usize = 64 * 1024;

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// A terminal: what could disturb it is shown as an escape, such as `\x07`.
    pub is_terminal: bool,
    /// Colours are shown.
    pub has_color: bool,
    /// How wide the terminal is on which a line can be drawn again while it changes; `None` where it can't.
    pub redraws: Option<usize>,
}

/// Text that comes in pieces, line by line.
pub struct Lines {
    way: Way,
    /// The line that has not ended, a cell for each character.
    cells: Vec<Cell>,
    column: usize,
    /// The colours in effect: sequences since the last reset.
    style: String,
    /// A sequence that has not ended.
    sequence: Option<String>,
    /// What of the line was given out.
    given: String,
    /// The line has a begin that was let go.
    is_long: bool,
}

#[derive(Clone)]
struct Cell {
    c: char,
    style: String,
}

impl Lines {
    /// Nothing yet.
    pub fn new(way: Way) -> Self {
        let (cells, style, given) = (Vec::new(), String::new(), String::new());
        Self { way, cells, column: 0, style, sequence: None, given, is_long: false }
    }

    /// Takes what has come, and gives what is to be printed now.
    pub fn take(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        loop {
            // Most lines are plain, and need no cells.
            while let Some(end) = rest.find('\n').filter(|_| self.is_at_begin()) {
                if !self.is_plain(&rest[..end]) {
                    break;
                }
                out.push_str(&rest[..=end]);
                rest = &rest[end + 1..];
            }
            let line = rest.find('\n').map_or(rest, |end| &rest[..=end]);
            self.take_line(line, &mut out);
            rest = &rest[line.len()..];
            if rest.is_empty() {
                break;
            }
        }
        self.give_unfinished(&mut out);
        out
    }

    fn is_at_begin(&self) -> bool {
        let is_fresh = self.cells.is_empty() && self.given.is_empty() && self.column == 0 && !self.is_long;
        is_fresh && self.style.is_empty() && self.sequence.is_none()
    }

    /// Whether this is shown as it is.
    fn is_plain(&self, line: &str) -> bool {
        let is_ascii = line.bytes().all(|it| matches!(it, b' '..=b'~' | b'\t'));
        is_ascii
            || !line.chars().any(|c| c.is_control() && c != '\t')
                && (!self.way.is_terminal || matches!(text::escape_lines(line), Cow::Borrowed(_)))
    }

    /// Text with no new line but at its end.
    fn take_line(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            match c {
                '\n' => self.end_line(out),
                _ if self.sequence.is_some() => self.go_on_with_sequence(c),
                '\x1b' => self.sequence = Some(String::new()),
                // The same sequences in one character.
                '\u{9b}' => self.sequence = Some("[".to_owned()),
                '\u{9d}' | '\u{90}' | '\u{98}' | '\u{9e}' | '\u{9f}' => self.sequence = Some("]".to_owned()),
                '\r' => self.column = 0,
                '\u{8}' => self.column = self.column.saturating_sub(1),
                _ => self.put(c),
            }
            if self.cells.len() > CELLS_MAX {
                let line = self.shown(usize::MAX);
                self.give(&line, out);
                self.begin_anew();
                self.is_long = true;
            }
        }
    }

    /// The end of the text: what is left of its last line, and whether that did not end.
    pub fn finish(&mut self) -> (String, bool) {
        let mut out = String::new();
        let is_open = !self.cells.is_empty() || !self.given.is_empty() || self.is_long;
        if is_open {
            self.end_line(&mut out);
            out.pop();
        }
        (self.sequence, self.style) = (None, String::new());
        (out, is_open)
    }

    fn put(&mut self, c: char) {
        let cell = Cell { c, style: self.style.clone() };
        if self.column >= self.cells.len() {
            let blank = Cell { c: ' ', style: String::new() };
            self.cells.resize(self.column, blank);
            self.cells.push(cell);
        } else {
            self.cells[self.column] = cell;
        }
        self.column += 1;
    }

    fn end_line(&mut self, out: &mut String) {
        let line = self.shown(usize::MAX);
        self.give(&line, out);
        out.push('\n');
        self.begin_anew();
        (self.sequence, self.is_long) = (None, false);
    }

    fn begin_anew(&mut self) {
        self.cells.clear();
        self.given.clear();
        self.column = 0;
    }

    /// What is there of a line is given while nothing of it is taken back; then again where it can be drawn again, else at
    /// its end.
    fn give_unfinished(&mut self, out: &mut String) {
        let line = self.shown(usize::MAX);
        if line.starts_with(&self.given) {
            self.give(&line, out);
        } else if let Some(columns) = self.way.redraws {
            let line = self.shown(columns.saturating_sub(1));
            self.give(&line, out);
        }
    }

    /// Brings what was given of the line to `line`.
    fn give(&mut self, line: &str, out: &mut String) {
        match line.strip_prefix(&self.given) {
            Some(rest) => out.push_str(rest),
            None => {
                // A line that the terminal has broken can't be gone over.
                let can_redraw = self.way.redraws.is_some_and(|columns| plain_width(&self.given) < columns);
                out.push_str(if can_redraw { "\r\x1b[K" } else { "\n" });
                out.push_str(line);
            }
        }
        line.clone_into(&mut self.given);
    }

    /// The line as it is now, its colours ended with it.
    fn shown(&self, columns: usize) -> String {
        let mut line = String::with_capacity(self.cells.len());
        let mut style = "";
        for cell in self.cells.iter().take(columns) {
            if cell.style != style {
                line.push_str(if style.is_empty() { "" } else { RESET });
                line.push_str(&cell.style);
                style = &cell.style;
            }
            match (self.way.is_terminal, cell.c) {
                (true, c) if c != '\t' => line.push_str(&text::escape(c.encode_utf8(&mut [0; 4]))),
                (_, c) => line.push(c),
            }
        }
        line.push_str(if style.is_empty() { "" } else { RESET });
        line
    }

    /// `ESC [ … letter`, `ESC ] … BEL` or `ESC \`, `ESC letter`.
    fn go_on_with_sequence(&mut self, c: char) {
        let Some(mut sequence) = self.sequence.take() else { return };
        if c == '\x1b' && (sequence.is_empty() || sequence.starts_with('[')) {
            self.sequence = Some(String::new());
            return;
        }
        let is_over = match sequence.chars().next() {
            None => !matches!(c, '[' | ']' | 'P' | 'X' | '^' | '_' | ' '..='/'),
            Some('[') => matches!(c, '@'..='~'),
            Some(']' | 'P' | 'X' | '^' | '_') => {
                matches!(c, '\x07' | '\u{9c}') || (c == '\\' && sequence.ends_with('\x1b'))
            }
            Some(_) => !matches!(c, ' '..='/'),
        };
        sequence.push(c);
        if is_over {
            self.apply(&sequence);
        } else if sequence.len() < SEQUENCE_CHARS_MAX {
            self.sequence = Some(sequence);
        } else if !sequence.starts_with('[') {
            // Nothing counts of such a text but how it begins and ends.
            self.sequence = sequence.chars().next().map(|first| String::from_iter([first, c]));
        }
    }

    /// Colours, and what goes over the same line again; nothing else has an effect.
    fn apply(&mut self, sequence: &str) {
        let Some(sequence) = sequence.strip_prefix('[') else { return };
        let Some(last) = sequence.chars().next_back() else { return };
        let parameters = &sequence[..sequence.len() - last.len_utf8()];
        let number = parameters.parse::<usize>().ok();
        match (last, number) {
            ('m', _) => self.set_style(parameters),
            ('K', Some(2)) => self.cells.clear(),
            ('K', Some(1)) => {
                for cell in self.cells.iter_mut().take(self.column + 1) {
                    *cell = Cell { c: ' ', style: String::new() };
                }
            }
            ('K', _) => self.cells.truncate(self.column),
            ('G', to) => self.column = to.unwrap_or(1).clamp(1, COLUMNS_MAX) - 1,
            ('C', by) => self.column = (self.column + by.unwrap_or(1).max(1)).min(COLUMNS_MAX),
            ('D', by) => self.column = self.column.saturating_sub(by.unwrap_or(1).max(1)),
            _ => {}
        }
    }

    fn set_style(&mut self, parameters: &str) {
        let numbers =
            parameters.split([';', ':']).map(|it| if it.is_empty() { Some(0) } else { it.parse().ok() });
        let numbers: Option<Vec<u32>> = numbers.collect();
        let Some(numbers) = numbers.filter(|it| self.way.has_color && is_color(it)) else { return };
        // One that is never reset need not be remembered in all its changes.
        if numbers[0] == 0 || self.style.len() > SEQUENCE_CHARS_MAX {
            self.style.clear();
        }
        if numbers != [0] {
            self.style.push_str(&format!("\x1b[{parameters}m"));
        }
    }
}

/// Colours and weights; text that hides or blinks is none of them.
fn is_color(mut numbers: &[u32]) -> bool {
    while let [first, rest @ ..] = numbers {
        numbers = match (first, rest) {
            (38 | 48, [5, _, rest @ ..] | [2, _, _, _, rest @ ..]) => rest,
            (38 | 48, _) | (5 | 6 | 8, _) => return false,
            (0..=107, rest) => rest,
            _ => return false,
        };
    }
    true
}

const RESET: &str = "\x1b[0m";

fn plain_width(line: &str) -> usize {
    text::width(&plain(line))
}

/// Text without any escape sequence, its lines as a terminal would leave them.
pub fn plain(text: &str) -> String {
    let mut lines = Lines::new(Way { is_terminal: false, has_color: false, redraws: None });
    let out = lines.take(text);
    out + &lines.finish().0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PIPE: Way = Way { is_terminal: false, has_color: false, redraws: None };
    const SCREEN: Way = Way { is_terminal: true, has_color: true, redraws: Some(20) };

    fn whole(way: Way, text: &str) -> String {
        let mut lines = Lines::new(way);
        let out = lines.take(text);
        out + &lines.finish().0
    }

    #[test]
    fn a_line_is_what_a_terminal_would_have_left_of_it() {
        for (text, left) in [
            ("one\ntwo", "one\ntwo"),
            ("dos\r\nend\r\n", "dos\nend\n"),
            ("  1 %\r 50 %\r100 %\ndone\n", "100 %\ndone\n"),
            ("downloading\rdone\n", "doneloading\n"),
            ("downloading\r\x1b[Kdone\n", "done\n"),
            ("downloading\x1b[2K\rdone\n", "done\n"),
            ("abc\x1b[1K\n", "   \n"),
            ("|\x08/\x08-\n", "-\n"),
            ("a\x1b[5Gb\x1b[1Dc\x1b[Cd\n", "a   c d\n"),
            ("a\tb\n", "a\tb\n"),
            ("\r\r\n\n", "\n\n"),
            ("\x1b[?25lhidden cursor\x1b[?25h\n", "hidden cursor\n"),
            ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", "alink\n"),
            ("\x1b[2J\x1b[H\x1b(Ba\x1bcb\x1b=\n", "ab\n"),
            ("\u{9b}31mred\u{9b}0m\n", "red\n"),
            ("never ends \x1b]0;title\nnext\n", "never ends \nnext\n"),
            ("\x1b[31mred\x1b[0m\n", "red\n"),
        ] {
            assert_eq!(whole(PIPE, text), left, "{text:?}");
        }
    }

    #[test]
    fn a_line_of_a_megabyte_is_not_kept_whole() {
        let text = "é".repeat(1_000_000);
        let mut lines = Lines::new(PIPE);
        assert_eq!(
            lines.take(&text) + &lines.take("\n\x1b]0;") + &lines.take(&text) + &lines.take("\x07.\n"),
            text + "\n.\n"
        );
        assert!(lines.cells.capacity() <= 2 * CELLS_MAX, "{}", lines.cells.capacity());
        assert_eq!(
            (lines.take(&"y".repeat(CELLS_MAX + 1)).len(), lines.finish()),
            (CELLS_MAX + 1, (String::new(), true))
        );
    }

    proptest! {
        #[test]
        fn plain_lines_are_shown_as_all_others_are(text in "([ -~\t\n]|\\PC|[\u{7f}-\u{9f}\r]){0,40}") {
            for way in [PIPE, SCREEN] {
                // A sequence that changes nothing has each line of the text looked at by its characters.
                let marked = text.replace('\n', "\n\x1b[m");
                prop_assert_eq!(whole(way, &text), whole(way, &format!("\x1b[m{marked}")));
            }
        }
    }

    #[test]
    fn colours_are_for_a_terminal_and_end_with_their_line() {
        for (text, left) in [
            ("\x1b[31mred\x1b[0m plain\n", "\x1b[31mred\x1b[0m plain\n"),
            ("\x1b[1;38;5;208mbold\x1b[m.\n", "\x1b[1;38;5;208mbold\x1b[0m.\n"),
            ("\x1b[32mtwo\nlines\n", "\x1b[32mtwo\x1b[0m\n\x1b[32mlines\x1b[0m\n"),
            ("\x1b[8mhidden\x1b[5mblinking\n", "hiddenblinking\n"),
            ("\x1b[31mno end", "\x1b[31mno end\x1b[0m"),
            ("\x1b[2Jbell\x07 \u{202e}turned\x1b[3A\n", "bell\\x07 \\u{202e}turned\n"),
            ("\x1b[>4;1m\x1b[?1mno colour\n", "no colour\n"),
        ] {
            assert_eq!(whole(SCREEN, text), left, "{text:?}");
        }
    }

    #[test]
    fn a_bar_is_drawn_again_on_a_terminal_and_once_in_a_pipe() {
        let pieces = ["load: 1", "0 %", "\rload: 20 %", "\rload: 30 %\nend"];
        let told = |way| {
            let mut lines = Lines::new(way);
            pieces.map(|it| lines.take(it))
        };
        assert_eq!(told(SCREEN), ["load: 1", "0 %", "\r\x1b[Kload: 20 %", "\r\x1b[Kload: 30 %\nend"]);
        assert_eq!(told(PIPE), ["load: 1", "0 %", "", "\nload: 30 %\nend"]);
    }

    #[test]
    fn what_is_drawn_again_stays_within_the_line() {
        let mut lines = Lines::new(SCREEN);
        lines.take("short");
        assert_eq!(lines.take(&format!("\r{}", "x".repeat(40))), format!("\r\x1b[K{}", "x".repeat(19)));
        let mut lines = Lines::new(SCREEN);
        lines.take(&"y".repeat(30));
        assert_eq!(lines.take("\rz\n"), format!("\nz{}\n", "y".repeat(29)), "it was broken already");
    }

    proptest! {
        /// However it is cut into pieces, nothing but colours and our own drawing reaches the terminal.
        #[test]
        fn no_other_escape_gets_through(
            pieces in prop::collection::vec("(\x1b|\\[|\\]|[0-9;?]{0,3}|[mKHJAhcP]|\x07|\r|\n|\u{9b}|a| ){0,8}", 0..6)
        ) {
            let mut lines = Lines::new(SCREEN);
            let mut out: String = pieces.iter().map(|it| lines.take(it)).collect();
            out.push_str(&lines.finish().0);
            let out = out.replace("\r\x1b[K", "");
            for after in out.split('\x1b').skip(1) {
                let end = after.find(|c: char| !matches!(c, '[' | '0'..='9' | ';' | ':'));
                prop_assert_eq!(end.map(|at| &after[at..=at]), Some("m"), "{:?}", out);
            }
            prop_assert!(!out.contains(['\r', '\x07', '\u{9b}']), "{:?}", out);
        }
    }
}
