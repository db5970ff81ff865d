//! What is wrong with a text that is no JSON, in words for people: the parser's own are for those who know its inside.

/// What is wrong, and what to do.
pub fn malformed(error: &serde_json::Error) -> (String, &'static str) {
    let whole = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = whole.strip_suffix(&place).unwrap_or(&whole);
    let (what, remedy) = match what {
        _ if error.is_eof() => ("the text ends too early", "close what is still open"),
        "trailing comma" => (what, "remove the comma before the closing bracket"),
        "trailing characters" => (what, "one file holds one document: remove what follows it"),
        "key must be a string" => (what, "put the key in double quotes"),
        "expected value" => (what, "write a value: text in double quotes, a number, true, false, [ ] or { }"),
        "expected ident" => {
            ("an unknown word", "put text in double quotes; only true, false and null go without")
        }
        _ if what.starts_with("control character") => {
            ("a control character within a text", "write a line break in a text as \\n and a tab as \\t")
        }
        "invalid escape" => ("an unknown escape", "write a backslash in a text as \\\\"),
        "recursion limit exceeded" => ("brackets within brackets, too many", "write it less deeply nested"),
        "number out of range" => (what, "write a smaller number"),
        _ => (what, "correct the JSON there"),
    };
    (what.to_owned(), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_the_parser_itself_is_told() {
        let deep = "[".repeat(200);
        for (text, expected) in [
            ("{", "the text ends too early"),
            ("[1, ]", "trailing comma"),
            ("[tru]", "an unknown word"),
            ("{\"a\": \"b\nc\"}", "a control character within a text"),
            ("\"\\q\"", "an unknown escape"),
            (&deep, "brackets within brackets, too many"),
            ("x", "expected value"),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(text).expect_err(text);
            let (what, remedy) = malformed(&error);
            assert_eq!(what, expected, "{text}");
            assert!(!remedy.is_empty());
        }
    }
}
