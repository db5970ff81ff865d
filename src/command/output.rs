//! Keeps the head and the tail of what a command prints, in bounded memory.

/// The largest number of bytes of a UTF-8 character after its first.
const UTF8_CONTINUATION_BYTES_MAX: usize = 3;

/// U+FFFD, the replacement character.
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// What stands around the number of bytes that were left out.
const MARKER_START: &str = "[... ";
const MARKER_END: &str = " bytes left out ...]\n";

/// What ends an output that was not read to its end.
const REMARK: &str =
    "[... cut here: something that the command has left running still holds its output ...]\n";

/// Collects output piece by piece: all of it in one place for as long as it is within the allowance; of more, the first half
/// of the allowance as head, then a ring for the tail.
#[derive(Debug)]
pub struct Capture {
    head: Vec<u8>,
    max: usize,
    head_max: usize,
    tail: Vec<u8>,
    tail_max: usize,
    // Where the next byte of a full tail goes; its oldest byte.
    tail_at: usize,
    total: u64,
}

impl Capture {
    /// Keeps at most `max_bytes` of what was printed (and a line that says what was left out).
    pub fn new(max_bytes: u64) -> Self {
        let max = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let head_max = usize::try_from(max_bytes.div_ceil(2)).unwrap_or(usize::MAX);
        Self {
            head: Vec::new(),
            max,
            head_max,
            tail: Vec::new(),
            tail_max: max - head_max,
            tail_at: 0,
            total: 0,
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        let was_cut = self.is_cut();
        self.total += piece.len() as u64;
        if was_cut {
            return self.push_tail(piece);
        }
        if !self.is_cut() {
            return self.head.extend_from_slice(piece);
        }
        let (head, rest) = piece.split_at(piece.len().min(self.head_max.saturating_sub(self.head.len())));
        self.head.extend_from_slice(head);
        self.tail = self.head.split_off(self.head_max);
        self.head.shrink_to_fit();
        self.push_tail(rest);
    }

    /// More was printed than is kept.
    fn is_cut(&self) -> bool {
        self.total > self.max as u64
    }

    fn push_tail(&mut self, piece: &[u8]) {
        // Of a piece larger than the ring only its end can stay.
        let piece = &piece[piece.len().saturating_sub(self.tail_max)..];
        let (grow, wrap) = piece.split_at(piece.len().min(self.tail_max - self.tail.len()));
        self.tail.extend_from_slice(grow);
        let (first, second) = wrap.split_at(wrap.len().min(self.tail_max - self.tail_at));
        self.tail[self.tail_at..self.tail_at + first.len()].copy_from_slice(first);
        self.tail[..second.len()].copy_from_slice(second);
        if !wrap.is_empty() {
            self.tail_at = (self.tail_at + wrap.len()) % self.tail_max;
        }
    }

    /// Bytes printed, kept or not.
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    /// The output as text: NUL and what is not UTF-8 become U+FFFD, a marker line stands for what was left
    /// out. None if nothing was printed.
    pub fn into_text(mut self) -> Option<String> {
        if self.total == 0 {
            return None;
        }
        if !self.is_cut() {
            return Some(clean(self.head));
        }
        self.tail.rotate_left(self.tail_at);
        let head_end = self.head.len() - unfinished_character(&self.head);
        let tail_start = continuation_bytes(&self.tail);
        let kept = head_end + self.tail.len() - tail_start;
        self.head.truncate(head_end);
        let mut text = clean(self.head);
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("{MARKER_START}{}{MARKER_END}", self.total - kept as u64));
        self.tail.drain(..tail_start);
        text.push_str(&clean(self.tail));
        Some(text)
    }
}

/// Says at the end of an output that it was not read to its end.
pub fn remark_cut(output: &mut Option<String>) {
    let text = output.get_or_insert_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(REMARK);
}

/// A recorded text, and what was remarked at its end.
pub(crate) fn split_remark(text: &str) -> (&str, &str) {
    text.split_at(text.strip_suffix(REMARK).map_or(text.len(), str::len))
}

/// The head and the tail of a recorded text of which bytes were left out; `None` if it is whole.
pub(crate) fn head_and_tail(text: &str, output_bytes: u64) -> Option<(&str, &str)> {
    if text.len() as u64 == output_bytes {
        return None;
    }
    text.match_indices(MARKER_START).filter(|(at, _)| *at == 0 || text[..*at].ends_with('\n')).find_map(
        |(at, _)| {
            let (head, rest) = text.split_at(at);
            let (number, tail) = rest[MARKER_START.len()..].split_once(MARKER_END)?;
            let left_out: u64 = number.parse().ok()?;
            // A command may print such a line too. What was replaced only ever takes up more bytes than before.
            let is_ours = left_out.saturating_add((head.len() + tail.len()) as u64) >= output_bytes;
            is_ours.then_some((head, tail))
        },
    )
}

/// The end of an output as text, cleaned like the whole. A character that has not been printed to its end is left
/// out, and so is one that was begun before the tail when there was something before it.
pub fn tail_text(tail: &[u8], is_cut: bool) -> String {
    let start = if is_cut { continuation_bytes(tail) } else { 0 };
    let tail = &tail[start..];
    clean(tail[..tail.len() - unfinished_character(tail)].to_vec())
}

/// How many bytes at the end of `bytes` begin a character that was cut off.
pub(crate) fn unfinished_character(bytes: &[u8]) -> usize {
    let tail_len = bytes.len().min(UTF8_CONTINUATION_BYTES_MAX);
    for back in 1..=tail_len {
        let length = match bytes[bytes.len() - back] {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => 1,
        };
        return if length > back { back } else { 0 };
    }
    0
}

/// How many bytes at the start of `bytes` end a character whose begin was cut off.
pub(crate) fn continuation_bytes(bytes: &[u8]) -> usize {
    bytes.iter().take(UTF8_CONTINUATION_BYTES_MAX).take_while(|byte| matches!(byte, 0x80..=0xBF)).count()
}

/// PostgreSQL's text knows neither NUL nor invalid UTF-8.
pub(crate) fn clean(bytes: Vec<u8>) -> String {
    let bytes = if bytes.contains(&0) { without_nul(&bytes) } else { bytes };
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
    }
}

/// Where a NUL was is U+FFFD. Byte by byte: what is printed may be nothing but NULs, for which the standard library's
/// `replace` takes a tenth of a millisecond for 10 KB.
fn without_nul(bytes: &[u8]) -> Vec<u8> {
    let nuls = bytes.iter().filter(|byte| **byte == 0).count();
    let mut clean = Vec::with_capacity(bytes.len() + nuls * (REPLACEMENT.len() - 1));
    for &byte in bytes {
        match byte {
            0 => clean.extend_from_slice(REPLACEMENT),
            byte => clean.push(byte),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(max_bytes: u64, pieces: &[&[u8]]) -> Option<String> {
        let mut capture = Capture::new(max_bytes);
        pieces.iter().for_each(|piece| capture.push(piece));
        capture.into_text()
    }

    #[test]
    fn nothing_printed_is_none_and_little_is_kept_whole() {
        assert_eq!(text(10, &[]), None);
        assert_eq!(text(10, &[b"01234", b"56789"]).as_deref(), Some("0123456789"));
        assert_eq!(text(0, &[b"abc"]).as_deref(), Some("[... 3 bytes left out ...]\n"));
    }

    #[test]
    fn a_tail_holds_no_halves_of_characters() {
        let text = "aé€😀".as_bytes();
        for start in 0..text.len() {
            for end in start..=text.len() {
                let tail = tail_text(&text[start..end], start > 0);
                assert!("aé€😀".contains(&tail), "{start}..{end}: {tail:?}");
            }
        }
        assert_eq!(tail_text(text, false), "aé€😀");
        assert_eq!(tail_text(b"\xa9 a\0\xffb", false), "\u{FFFD} a\u{FFFD}\u{FFFD}b");
    }

    #[test]
    fn the_middle_is_left_out_and_counted() {
        assert_eq!(
            text(8, &[b"head", b"the middle", b"tail"]).as_deref(),
            Some("head\n[... 10 bytes left out ...]\ntail")
        );
        assert_eq!(text(9, &[b"headsMtail"]).as_deref(), Some("heads\n[... 1 bytes left out ...]\ntail"));
    }

    #[test]
    fn nul_and_invalid_bytes_are_replaced() {
        assert_eq!(
            text(99, &[b"a\0b\xffc\xc3", b"\xa4"]).as_deref(),
            Some("a\u{FFFD}b\u{FFFD}c\u{e4}"),
            "a character split between two pieces stays whole"
        );
    }

    #[test]
    fn no_character_is_cut_in_two() {
        // 'ä' is two bytes; five bytes of head and five of tail both end inside one.
        assert_eq!(
            text(10, &["ää".repeat(10).as_bytes()]).as_deref(),
            Some("ää\n[... 32 bytes left out ...]\nää")
        );
    }

    #[test]
    fn memory_stays_bounded_whatever_is_printed() {
        let mut capture = Capture::new(100_000);
        let piece = vec![b'x'; 64 * 1024];
        (0..200_000_000 / piece.len()).for_each(|_| capture.push(&piece));
        let held = capture.head.capacity() + capture.tail.capacity();
        assert!(held <= 200_000, "{held} bytes for 100000 that are kept");
    }

    proptest! {
        #[test]
        fn head_and_tail_are_those_of_the_whole(
            pieces in prop::collection::vec(prop::collection::vec(b'a'..=b'z', 0..40), 0..12),
            max_bytes in 0u64..60,
        ) {
            let whole = pieces.concat();
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let kept = text(max_bytes, &pieces);
            let max = max_bytes as usize;
            if whole.is_empty() {
                prop_assert_eq!(kept, None);
            } else if whole.len() <= max {
                prop_assert_eq!(kept.unwrap().into_bytes(), whole);
            } else {
                let (head, tail) = (max.div_ceil(2), max / 2);
                let kept = kept.unwrap();
                prop_assert!(kept.as_bytes().starts_with(&whole[..head]));
                prop_assert!(kept.as_bytes().ends_with(&whole[whole.len() - tail..]));
                let marker = format!("[... {} bytes left out ...]\n", whole.len() - max);
                prop_assert!(kept.contains(&marker));
            }
        }
    }
}
