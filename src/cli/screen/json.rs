//! One JSON document on standard output, written while it is read: as `print_json` would print it, with a piece of it in
//! memory at a time.

use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::PrettyFormatter;

use super::message_queue;
use crate::cli::error::CliError;

/// Written at once: a reader's pipe holds as much.
const BUFFER_BYTES: usize = 64 * 1024;

/// Writes the document. One that is not ended was cut by an error, and is no JSON: a program that reads it can't take it
/// for the whole.
pub struct JsonWriter<W: Write = Stdout> {
    out: BufWriter<W>,
    /// The brackets that are open: which closes each, and whether something is in it.
    open: Vec<(&'static str, bool)>,
    /// A key was written, and its value is to follow.
    has_key: bool,
}

impl JsonWriter {
    /// On standard output.
    pub fn stdout() -> Self {
        // What was said before has to stand before.
        message_queue::finish();
        Self::new(io::stdout())
    }
}

impl<W: Write> JsonWriter<W> {
    fn new(out: W) -> Self {
        Self { out: BufWriter::with_capacity(BUFFER_BYTES, out), open: Vec::new(), has_key: false }
    }

    /// Begins an object, to be closed by [`JsonWriter::end`].
    ///
    /// # Errors
    /// As all of these: when standard output can't be written.
    pub fn object(&mut self) -> Result<(), CliError> {
        self.begin("{", "}")
    }

    /// Begins a list.
    pub fn list(&mut self) -> Result<(), CliError> {
        self.begin("[", "]")
    }

    /// Ends what was begun last; the outermost ends the document.
    pub fn end(&mut self) -> Result<(), CliError> {
        let Some((bracket, has_content)) = self.open.pop() else { return Ok(()) };
        if has_content {
            self.new_line()?;
        }
        self.raw(bracket)?;
        if self.open.is_empty() {
            self.raw("\n")?;
            return self.out.flush().map_err(CliError::Output);
        }
        Ok(())
    }

    /// A key of the object; its value follows.
    pub fn key(&mut self, key: &str) -> Result<(), CliError> {
        self.place()?;
        self.serialized(&key)?;
        self.has_key = true;
        self.raw(": ")
    }

    /// A value of the list, or of the key before.
    pub fn value(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), CliError> {
        self.place()?;
        self.serialized(value)
    }

    /// A key and its value.
    pub fn entry(&mut self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), CliError> {
        self.key(key)?;
        self.value(value)
    }

    /// A key and its list.
    pub fn entries<T: Serialize>(
        &mut self,
        key: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Result<(), CliError> {
        self.key(key)?;
        self.list()?;
        values.into_iter().try_for_each(|value| self.value(&value))?;
        self.end()
    }

    /// A text that `write` gives in pieces to the function it is handed; or null, if it says that there is none.
    pub fn text<E: From<CliError>>(
        &mut self,
        write: impl FnOnce(&mut dyn FnMut(&str) -> Result<(), E>) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.place()?;
        let mut has_begun = false;
        let is_there = write(&mut |piece| {
            if !std::mem::replace(&mut has_begun, true) {
                self.raw("\"")?;
            }
            let quoted = serde_json::to_string(piece).map_err(failed)?;
            Ok(self.raw(&quoted[1..quoted.len() - 1])?)
        })?;
        Ok(self.raw(match (is_there, has_begun) {
            (true, true) => "\"",
            (true, false) => "\"\"",
            (false, _) => "null",
        })?)
    }

    /// A value that `write` gives as JSON text in pieces; or null.
    pub fn document<E: From<CliError>>(
        &mut self,
        write: impl FnOnce(&mut dyn FnMut(&str) -> Result<(), E>) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.place()?;
        let mut layout = Layout { depth: self.open.len(), ..Layout::default() };
        let is_there = write(&mut |piece| Ok(self.raw(&layout.lay_out(piece))?))?;
        if !is_there {
            self.raw("null")?;
        }
        Ok(())
    }

    fn begin(&mut self, bracket: &str, closing: &'static str) -> Result<(), CliError> {
        self.place()?;
        self.open.push((closing, false));
        self.raw(bracket)
    }

    /// What stands before a key or a value.
    fn place(&mut self) -> Result<(), CliError> {
        if std::mem::take(&mut self.has_key) {
            return Ok(());
        }
        let Some((_, has_content)) = self.open.last_mut() else { return Ok(()) };
        if std::mem::replace(has_content, true) {
            self.raw(",")?;
        }
        self.new_line()
    }

    fn new_line(&mut self) -> Result<(), CliError> {
        self.raw(&line_begin(self.open.len()))
    }

    fn raw(&mut self, text: &str) -> Result<(), CliError> {
        self.out.write_all(text.as_bytes()).map_err(CliError::Output)
    }

    fn serialized(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), CliError> {
        let indent = line_begin(self.open.len());
        let mut out = Indented { out: &mut self.out, line_begin: indent.as_bytes() };
        let mut serializer = Serializer::with_formatter(&mut out, PrettyFormatter::new());
        value.serialize(&mut serializer).map_err(failed)
    }
}

fn failed(cause: serde_json::Error) -> CliError {
    match cause.io_error_kind() {
        Some(_) => CliError::Output(cause.into()),
        None => CliError::Failed(format!("failed to write JSON: {cause}")),
    }
}

fn line_begin(depth: usize) -> String {
    format!("\n{}", "  ".repeat(depth))
}

/// Begins each new line where the value stands. Within a text there are none: JSON escapes them.
struct Indented<'o, W> {
    out: W,
    line_begin: &'o [u8],
}

impl<W: Write> Write for Indented<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if at > 0 {
                self.out.write_all(self.line_begin)?;
            }
            self.out.write_all(line)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Lays JSON text out, whatever blanks it has, piece by piece.
#[derive(Debug, Default)]
struct Layout {
    depth: usize,
    in_text: bool,
    is_escaped: bool,
    /// A bracket was opened, and nothing was in it so far.
    is_fresh: bool,
}

impl Layout {
    fn lay_out(&mut self, piece: &str) -> String {
        let mut laid = String::with_capacity(piece.len() + piece.len() / 4);
        let mut rest = piece;
        while let Some(c) = rest.chars().next() {
            if self.in_text && !self.is_escaped {
                let plain = rest.find(['"', '\\']).unwrap_or(rest.len());
                laid.push_str(&rest[..plain]);
                rest = &rest[plain..];
                let Some(c) = rest.chars().next() else { break };
                (self.in_text, self.is_escaped) = (c != '"', c == '\\');
                laid.push(c);
                rest = &rest[1..];
                continue;
            }
            rest = &rest[c.len_utf8()..];
            match std::mem::take(&mut self.is_escaped) {
                true => laid.push(c),
                false => self.lay_out_outside(c, &mut laid),
            }
        }
        laid
    }

    fn lay_out_outside(&mut self, c: char, laid: &mut String) {
        if c.is_ascii_whitespace() {
            return;
        }
        let closes = matches!(c, '}' | ']');
        self.depth -= usize::from(closes && self.depth > 0);
        if closes != std::mem::take(&mut self.is_fresh) {
            laid.push_str(&line_begin(self.depth));
        }
        laid.push(c);
        match c {
            '{' | '[' => (self.depth, self.is_fresh) = (self.depth + 1, true),
            ',' => laid.push_str(&line_begin(self.depth)),
            ':' => laid.push(' '),
            '"' => self.in_text = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn written(write: impl FnOnce(&mut JsonWriter<Vec<u8>>) -> Result<(), CliError>) -> String {
        let mut writer = JsonWriter::new(Vec::new());
        write(&mut writer).expect("written");
        String::from_utf8(writer.out.into_inner().expect("flushed")).expect("UTF-8")
    }

    fn pretty(value: &Value) -> String {
        serde_json::to_string_pretty(value).expect("JSON") + "\n"
    }

    #[test]
    fn what_is_written_in_pieces_is_what_is_printed_whole() {
        let inner = json!({"a": [1, {"b": []}], "c": {}, "text": "x\ny\"{,"});
        let text = written(|writer| {
            writer.object()?;
            writer.entry("first", &inner)?;
            writer.key("list")?;
            writer.list()?;
            writer.value(&inner)?;
            writer.object()?;
            writer.key("output")?;
            writer.text::<CliError>(|take| {
                ["ab\n", "", "c\u{1}\"ä"].iter().try_for_each(|piece| take(piece)).map(|()| true)
            })?;
            writer.key("none")?;
            writer.text::<CliError>(|_| Ok(false))?;
            writer.key("empty")?;
            writer.text::<CliError>(|_| Ok(true))?;
            writer.end()?;
            writer.end()?;
            writer.entries("nothing", [0; 0])?;
            writer.end()
        });
        let whole = json!({
            "first": inner,
            "list": [inner, {"output": "ab\nc\u{1}\"ä", "none": null, "empty": ""}],
            "nothing": [],
        });
        assert_eq!(text, pretty(&whole));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            "[\\\\\"{}\\[\\]:, ]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..5).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_text_is_laid_out_as_it_is_printed(value in any_json(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
            // As the database writes it: with a blank after each colon and comma.
            let compact = value.to_string();
            let chars: Vec<char> = compact.chars().collect();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(chars.len() + 1)).collect();
            places.extend([0, chars.len()]);
            places.sort_unstable();
            let text = written(|writer| {
                writer.object()?;
                writer.key("v")?;
                writer.document::<CliError>(|take| {
                    for pair in places.windows(2) {
                        take(&chars[pair[0]..pair[1]].iter().collect::<String>())?;
                    }
                    Ok(true)
                })?;
                writer.end()
            });
            prop_assert_eq!(text, pretty(&json!({"v": value})));
        }
    }
}
