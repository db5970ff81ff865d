//! Rust source as words: comments, literals and what is compiled for tests alone are left out.

/// A name, `::`, or any other character that is not blank.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    pub text: String,
    pub line: usize,
}

/// The words of `source` that a build without tests has.
pub fn words(source: &str) -> Vec<Word> {
    without_tests(&all_words(source))
}

fn all_words(source: &str) -> Vec<Word> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or(' ');
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let (mut words, mut i) = (Vec::new(), 0);
    // Words are pushed in order, so lines are counted once.
    let (mut line, mut counted) = (1, 0);
    while i < chars.len() {
        line += chars[counted..i].iter().filter(|&&c| c == '\n').count();
        counted = i;
        let start = i;
        match at(i) {
            '/' if at(i + 1) == '/' => i = end_of(&chars, i, "\n"),
            '/' if at(i + 1) == '*' => i = end_of(&chars, i + 2, "*/"),
            '"' => i = end_of_string(&chars, i + 1),
            'r' if at(i + 1) == '"' || at(i + 1) == '#' && matches!(at(i + 2), '"' | '#') => {
                let hashes = chars[i + 1..].iter().take_while(|&&c| c == '#').count();
                i = end_of(&chars, i + 2 + hashes, &format!("\"{}", "#".repeat(hashes)));
            }
            '\'' if at(i + 1) == '\\' => i = end_of(&chars, i + 3, "'"),
            '\'' if at(i + 2) == '\'' => i += 3,
            c if is_name(c) => {
                while is_name(at(i)) {
                    i += 1;
                }
                words.push(Word { text: chars[start..i].iter().collect(), line });
            }
            ':' if at(i + 1) == ':' => {
                words.push(Word { text: "::".into(), line });
                i += 2;
            }
            c => {
                if !c.is_whitespace() {
                    words.push(Word { text: c.into(), line });
                }
                i += 1;
            }
        }
    }
    words
}

/// The place behind the next `end`.
fn end_of(chars: &[char], from: usize, end: &str) -> usize {
    let end: Vec<char> = end.chars().collect();
    let found = (from..chars.len()).find(|&i| chars[i..].starts_with(&end));
    found.map_or(chars.len(), |i| i + end.len())
}

fn end_of_string(chars: &[char], mut i: usize) -> usize {
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// Leaves out each item behind `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn without_tests(words: &[Word]) -> Vec<Word> {
    let starts = |i: usize, texts: &[&str]| {
        texts.iter().enumerate().all(|(n, text)| words.get(i + n).is_some_and(|word| word.text == *text))
    };
    let (mut kept, mut i) = (Vec::new(), 0);
    while i < words.len() {
        if starts(i, &["#", "[", "cfg", "(", "test", ")"])
            || starts(i, &["#", "[", "cfg", "(", "all", "(", "test"])
        {
            i = end_of_item(words, i);
        } else {
            kept.push(words[i].clone());
            i += 1;
        }
    }
    kept
}

/// The place behind the item that begins at `i`: behind its `;`, or behind the brace that closes its body.
fn end_of_item(words: &[Word], mut i: usize) -> usize {
    let mut depth = 0_i32;
    while let Some(word) = words.get(i) {
        match word.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        i += 1;
        if depth < 0 || depth == 0 && matches!(word.text.as_str(), ";" | "}") {
            break;
        }
    }
    i
}

#[test]
fn comments_literals_and_tests_are_left_out() {
    let source = r##"
        // use crate::a;
        /* use crate::b; */ use crate::c; const Q: &str = "\" use crate::d;"; const R: &str = r#"use "crate::e"#;
        fn f<'a>(c: char) -> bool { c == '"' || c == '\'' || c == 'x' }
        #[cfg(test)]
        #[allow(dead_code)]
        mod tests { use crate::f; fn g() {} }
        #[cfg(all(test, unix))] mod more;
        #[cfg(feature = "x")] mod kept;
    "##;
    let names: Vec<_> = words(source).into_iter().map(|word| word.text).filter(|it| it.len() > 2).collect();
    let expected = "use crate const str const str char bool cfg feature mod kept";
    assert_eq!(names.join(" "), expected);
    assert_eq!(all_words("a\n\n\"\n\" b").last(), Some(&Word { text: "b".into(), line: 4 }));
}
