//! The end of an output as a terminal shows it: without escape sequences, and of a line that was written several times
//! what was written last.

/// Bytes of an output's end that are looked at; reasons stand in the last lines.
const TAIL_BYTES_MAX: usize = 64 * 1024;

const ESCAPE: char = '\u{1b}';

/// The lines of the end of `output`.
pub fn lines(output: &str) -> Vec<String> {
    let mut start = output.len().saturating_sub(TAIL_BYTES_MAX);
    while !output.is_char_boundary(start) {
        start += 1;
    }
    // A line of which the begin is missing is as good as none, unless it is the only one.
    let tail = &output[start..];
    let tail = match tail.split_once('\n') {
        Some((_, rest)) if start > 0 && !rest.trim().is_empty() => rest,
        _ => tail,
    };
    tail.split('\n').map(shown).collect()
}

/// A line as it looks in the end.
fn shown(line: &str) -> String {
    let plain = without_escapes(line);
    let last = plain.rsplit('\r').find(|it| !it.trim().is_empty()).unwrap_or_default();
    let mut shown = String::with_capacity(last.len());
    for character in last.chars() {
        match character {
            '\u{8}' => drop(shown.pop()),
            '\t' => shown.push(' '),
            it if it.is_control() || is_invisible(it) => {}
            it => shown.push(it),
        }
    }
    shown
}

/// Direction marks and the like, which would turn the sentence around them.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Leaves whole sequences out. One that moves to the line's begin becomes a carriage return.
fn without_escapes(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        match character {
            ESCAPE => match rest.next() {
                Some('[') => plain.extend(control_sequence(&mut rest)),
                Some(']' | 'P' | 'X' | '^' | '_') => string_sequence(&mut rest),
                // Such as a change of the character set, ESC ( B: bytes in between, then the last.
                Some(' '..='/') => drop(rest.find(|it| !matches!(it, ' '..='/'))),
                _ => {}
            },
            '\u{9b}' => plain.extend(control_sequence(&mut rest)),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => string_sequence(&mut rest),
            other => plain.push(other),
        }
    }
    plain
}

/// Reads a CSI sequence to its last character.
fn control_sequence(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let mut parameters = String::new();
    let last = rest.find(|it| {
        let is_last = matches!(it, '@'..='~');
        if !is_last {
            parameters.push(*it);
        }
        is_last
    });
    (last == Some('G') && matches!(&*parameters, "" | "0" | "1")).then_some('\r')
}

/// Reads an OSC, DCS, SOS, PM or APC sequence to its terminator: BEL, or ESC and a backslash.
fn string_sequence(rest: &mut std::str::Chars<'_>) {
    while let Some(character) = rest.next() {
        match character {
            '\u{7}' | '\u{9c}' => return,
            ESCAPE => {
                rest.next();
                return;
            }
            _ => {}
        }
    }
}
