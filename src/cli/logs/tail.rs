//! The output of one execution, printed while it grows: what is new, what could not be seen, what is left to print
//! once it has ended. Pure.

use crate::command::{clean, continuation_bytes, head_and_tail, split_remark, unfinished_character};

/// How far the output of a running command has been printed.
#[derive(Debug)]
pub struct Tail {
    /// The task's place in its process.
    pub task_index: u32,
    /// Which execution of the task.
    pub attempt: u32,
    /// Bytes of the output that were taken, printed or told as not seen.
    taken: u64,
    /// The last of these, which wait for the rest of their character.
    held: Vec<u8>,
    /// Bytes of text printed from the beginning on; `None` once something could not be seen.
    printed: Option<usize>,
}

/// What is to be printed next.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Bytes before it that could not be seen.
    pub unseen: u64,
    /// The text.
    pub text: String,
}

impl Tail {
    /// Of an execution of which nothing was printed yet.
    pub const fn new(task_index: u32, attempt: u32) -> Self {
        Self { task_index, attempt, taken: 0, held: Vec::new(), printed: Some(0) }
    }

    /// Takes a look at the running command: it has printed `output_bytes`, the last of which are `shown`.
    pub fn take(&mut self, output_bytes: u64, shown: &[u8]) -> Piece {
        let new = output_bytes.saturating_sub(self.taken);
        if new == 0 {
            return Piece::default();
        }
        let visible = usize::try_from(new).unwrap_or(usize::MAX).min(shown.len());
        let mut bytes = &shown[shown.len() - visible..];
        let mut unseen = new - visible as u64;
        if unseen > 0 {
            let cut = continuation_bytes(bytes);
            unseen += (self.held.len() + cut) as u64;
            bytes = &bytes[cut..];
            self.held.clear();
            self.printed = None;
        }
        self.taken = output_bytes;
        let mut whole = std::mem::take(&mut self.held);
        whole.extend_from_slice(bytes);
        self.held = whole.split_off(whole.len() - unfinished(&whole));
        let text = clean(whole);
        self.printed = self.printed.map(|printed| printed + text.len());
        Piece { unseen, text }
    }

    /// What is left to print of an execution that has ended: its output had `output_bytes` and is recorded as `text`.
    pub fn rest(&self, output_bytes: u64, text: &str) -> Piece {
        let (text, remark) = split_remark(text);
        let mut piece = self.rest_printed(output_bytes, text);
        piece.text.push_str(remark);
        piece
    }

    fn rest_printed(&self, output_bytes: u64, text: &str) -> Piece {
        let left = (output_bytes + self.held.len() as u64).saturating_sub(self.taken);
        if left == 0 {
            return Piece::default();
        }
        let parts = head_and_tail(text, output_bytes);
        let (head, tail) = parts.unwrap_or((text, text));
        // What was printed so far is how the record begins.
        if let Some(rest) = self.printed.filter(|&it| it <= head.len()).and_then(|it| text.get(it..)) {
            return Piece { unseen: 0, text: rest.to_owned() };
        }
        let left_bytes = usize::try_from(left).unwrap_or(usize::MAX);
        let from = tail.len().saturating_sub(left_bytes);
        let from = (from..=tail.len()).find(|&at| tail.is_char_boundary(at)).unwrap_or(tail.len());
        Piece { unseen: left.saturating_sub(tail.len() as u64), text: tail[from..].to_owned() }
    }
}

/// Bytes at the end that have to wait for what follows: the begin of a character, or a carriage return that may belong
/// to the end of a line.
fn unfinished(bytes: &[u8]) -> usize {
    match bytes.last() {
        Some(b'\r') => 1,
        _ => unfinished_character(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Capture;
    use proptest::prelude::*;

    fn piece(unseen: u64, text: &str) -> Piece {
        Piece { unseen, text: text.to_owned() }
    }

    #[test]
    fn only_what_is_new_is_given() {
        let mut tail = Tail::new(0, 1);
        assert_eq!(tail.take(5, b"first"), piece(0, "first"));
        assert_eq!(tail.take(5, b"first"), piece(0, ""));
        assert_eq!(tail.take(9, b"firstmore"), piece(0, "more"));
        assert_eq!(tail.rest(9, "firstmore"), piece(0, ""));
        assert_eq!(tail.rest(13, "firstmore end"), piece(0, " end"));
    }

    #[test]
    fn a_character_that_is_cut_waits_for_its_rest() {
        let mut tail = Tail::new(0, 1);
        assert_eq!(tail.take(2, b"a\xc3"), piece(0, "a"));
        assert_eq!(tail.take(3, b"a\xc3\xa4"), piece(0, "ä"));
        assert_eq!(tail.take(5, b"a\xc3\xa4\xe6\xbc"), piece(0, ""));
        assert_eq!(tail.take(7, b"a\xc3\xa4\xe6\xbc\xa2b"), piece(0, "漢b"));
        assert_eq!(tail.take(8, b"a\xc3\xa4\xe6\xbc\xa2b\r"), piece(0, ""));
        assert_eq!(tail.rest(9, "aä漢b\r\n"), piece(0, "\r\n"));
    }

    #[test]
    fn what_could_not_be_seen_is_counted() {
        let mut tail = Tail::new(0, 1);
        // The tail that is shown begins within a character.
        assert_eq!(tail.take(100, b"\xa4bc"), piece(98, "bc"));
        assert_eq!(tail.take(104, b"d"), piece(3, "d"));
        // Of a record that is whole the end is printed; of one that is not, what of it was kept.
        assert_eq!(tail.rest(106, &("x".repeat(104) + "ef")), piece(0, "ef"));
        assert_eq!(tail.rest(200, "xx\n[... 190 bytes left out ...]\n12345678"), piece(88, "12345678"));
    }

    #[test]
    fn a_remark_at_the_end_of_a_record_is_printed_whatever_was_seen() {
        let remark =
            "[... cut here: something that the command has left running still holds its output ...]\n";
        let mut tail = Tail::new(0, 1);
        tail.take(3, b"ab\n");
        assert_eq!(tail.rest(3, &format!("ab\n{remark}")), piece(0, remark));
        assert_eq!(tail.rest(6, &format!("ab\ncd\n{remark}")), piece(0, &format!("cd\n{remark}")));
        tail.take(100, b"yz\n");
        assert_eq!(
            tail.rest(103, &format!("{}12\n{remark}", "x".repeat(100))),
            piece(0, &format!("12\n{remark}"))
        );
    }

    #[test]
    fn a_record_with_a_hole_is_printed_from_where_we_are() {
        let mut tail = Tail::new(0, 1);
        assert_eq!(tail.take(4, b"head"), piece(0, "head"));
        let text = "headmore\n[... 90 bytes left out ...]\ntail";
        assert_eq!(tail.rest(102, text), piece(0, "more\n[... 90 bytes left out ...]\ntail"));
        // More was printed than the record's head holds.
        assert_eq!(tail.take(20, b"headmore, and so on!"), piece(0, "more, and so on!"));
        assert_eq!(tail.rest(102, text), piece(78, "tail"));
    }

    #[test]
    fn an_execution_that_was_lost_leaves_nothing_to_print() {
        let mut tail = Tail::new(0, 1);
        tail.take(4, b"head");
        assert_eq!(tail.rest(0, ""), piece(0, ""));
    }

    proptest! {
        /// However the looks fall: if none of them came too late, what is printed is what is recorded.
        #[test]
        fn looks_and_rest_are_the_record(
            bytes in prop::collection::vec(prop_oneof![Just(b'a'), Just(0xC3), Just(0xA4), Just(b'\r'), Just(0), any::<u8>()], 0..60),
            mut looks in prop::collection::vec(0_usize..60, 0..5),
        ) {
            looks.sort_unstable();
            let mut tail = Tail::new(0, 1);
            let mut printed = String::new();
            for end in looks.into_iter().map(|it| it.min(bytes.len())) {
                let Piece { unseen, text } = tail.take(end as u64, &bytes[..end]);
                prop_assert_eq!(unseen, 0);
                printed.push_str(&text);
            }
            let mut capture = Capture::new(1_000);
            capture.push(&bytes);
            let record = capture.into_text().unwrap_or_default();
            let Piece { unseen, text } = tail.rest(bytes.len() as u64, &record);
            prop_assert_eq!((unseen, printed + &text), (0, record));
        }
    }
}
