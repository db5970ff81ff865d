//! How much a line says.

use super::lists::{
    ADVICE_STARTS, FRAME_STARTS, FRAME_STARTS_INDENTED, NPM_KEYS, SUMMARIES, SUMMARY_LINES, TELLING,
};

/// From nothing to everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Blank, drawn, or a frame of a stack trace.
    Nothing,
    /// Advice, a warning, a message of a lower level.
    Remark,
    /// It may be anything.
    Plain,
    /// Only that something has failed.
    Summary,
    /// What went wrong, by its words.
    Telling,
    /// It calls itself an error.
    Error,
}

/// A line without what is drawn around it, and how much it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub weight: Weight,
    pub is_indented: bool,
    /// One of the lines in which `npm` says what it has to say.
    pub is_npm: bool,
}

impl Line {
    /// Weighs a line as [`super::screen::lines`] gives it.
    pub fn of(shown: &str) -> Self {
        let undrawn = shown.trim_end().trim_start_matches(['│', '┃', '╷', '╵', '╭', '╰', '├', '└', '─', '>']);
        let (level, rest) = tagged(undrawn);
        let is_indented = rest.starts_with(' ') || (level.is_none() && shown.starts_with(' '));
        let text = rest.trim().trim_end_matches("-> [Help 1]").trim_end().to_owned();
        let weight = match level {
            Some(Level::Low) => Weight::Remark.min(weigh(&text, is_indented)),
            Some(Level::Npm) => weigh_npm(&text, is_indented),
            Some(Level::Error) => match weigh(&text, is_indented) {
                Weight::Plain | Weight::Telling if !is_indented => Weight::Error,
                other => other,
            },
            None => weigh(&text, is_indented),
        };
        Self { text, weight, is_indented, is_npm: level == Some(Level::Npm) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Low,
    Error,
    Npm,
}

/// The level that a build tool writes before each line, and what follows it.
fn tagged(line: &str) -> (Option<Level>, &str) {
    const TAGS: [(&str, Level); 14] = [
        ("npm ERR!", Level::Npm),
        ("npm error", Level::Npm),
        ("npm warn", Level::Low),
        ("npm notice", Level::Low),
        ("[ERROR]", Level::Error),
        ("[error]", Level::Error),
        ("[FATAL]", Level::Error),
        ("##[error]", Level::Error),
        ("::error::", Level::Error),
        ("E  ", Level::Error),
        ("[WARNING]", Level::Low),
        ("[warn]", Level::Low),
        ("[INFO]", Level::Low),
        ("[info]", Level::Low),
    ];
    let found = TAGS.iter().find_map(|(tag, level)| Some((*level, line.strip_prefix(tag)?)));
    match found {
        // pytest indents its "E" to where the line that failed stands.
        Some((level, rest)) if line.starts_with("E  ") => (Some(level), rest.trim_start()),
        Some((level, rest)) => (Some(level), rest.strip_prefix(' ').unwrap_or(rest)),
        None => (None, line),
    }
}

/// Among npm's lines are keys and advice.
fn weigh_npm(text: &str, is_indented: bool) -> Weight {
    let first = text.split(' ').next().unwrap_or_default();
    match weigh(text, false) {
        Weight::Nothing => Weight::Nothing,
        _ if is_indented || NPM_KEYS.contains(&first) || text.ends_with(':') => Weight::Remark,
        weight @ (Weight::Remark | Weight::Summary) => weight,
        _ => Weight::Error,
    }
}

fn weigh(text: &str, is_indented: bool) -> Weight {
    if is_drawn(text) || is_frame(text, is_indented) || is_excerpt(text) {
        return Weight::Nothing;
    }
    let lower = text.to_lowercase();
    let trimmed = without_time(&lower).trim_start_matches(['-', '*', '=', '×', '✖', '✗', ' ']);
    if is_summary(text, trimmed) {
        Weight::Summary
    } else if is_remark(text, trimmed) {
        Weight::Remark
    } else if is_error(text, trimmed) {
        Weight::Error
    } else if counts_none(trimmed) {
        Weight::Plain
    } else if !is_indented && TELLING.iter().any(|part| trimmed.contains(part)) {
        Weight::Telling
    } else {
        Weight::Plain
    }
}

/// A line of a log without the time that it begins with.
fn without_time(text: &str) -> &str {
    let is_time = |word: &str| {
        let is_part = |it: char| it.is_ascii_digit() || "[]-+:/.,tz".contains(it);
        word.len() >= 8 && word.chars().all(is_part) && word.contains([':', '-', '/'])
    };
    match text.split_once([' ', '\u{a0}']) {
        Some((first, rest)) if is_time(first) => without_time(rest.trim_start()),
        _ => text,
    }
}

/// Lines, carets and brackets; titles between equals signs.
fn is_drawn(text: &str) -> bool {
    let is_title = text.starts_with("====") || text.starts_with("----") || text.starts_with("####");
    !text.chars().any(char::is_alphanumeric) || is_title || text.starts_with(['^', '~'])
}

/// A place in a program, such as stack traces list them; a host in Ansible's recap.
fn is_frame(text: &str, is_indented: bool) -> bool {
    let starts = |list: &[&str]| list.iter().any(|start| text.starts_with(start));
    let after_digits = text.trim_start_matches(|it: char| it.is_ascii_digit());
    let is_numbered = after_digits.len() < text.len();
    let is_call = text.ends_with(')') && !text.contains(' ') && text.contains('.') && text.contains('(');
    (starts(FRAME_STARTS) && !text.starts_with("... ") || text.starts_with("... ") && text.ends_with(" more"))
        || is_indented && starts(FRAME_STARTS_INDENTED)
        || is_indented && is_numbered && after_digits.starts_with(": ")
        || text.starts_with('#') && text[1..].starts_with(|it: char| it.is_ascii_digit())
        || is_call && !text.starts_with(|it: char| it.is_uppercase())
        || text.contains(": in main chunk")
        || text.contains(": in function <")
        || text.contains(" +0x")
        || text.starts_with("node:internal/")
        || text.contains(": ok=") && text.contains("changed=")
        || text.strip_prefix("Ran ").is_some_and(|rest| rest.starts_with(|it: char| it.is_ascii_digit()))
}

/// A line of source with its number, or what points at it; a place in Rust's way.
fn is_excerpt(text: &str) -> bool {
    let after = text.trim_start_matches(|it: char| it.is_ascii_digit()).trim_start();
    after.starts_with("| ") || after == "|" || text.starts_with("--> ") || text.starts_with("::: ")
}

fn is_summary(text: &str, lower: &str) -> bool {
    let is_make = text.contains(": *** [") && text.contains("] Error ");
    let words: Vec<&str> = lower.split_whitespace().collect();
    let is_number = |word: &str| word == "one" || word.parse::<u32>().is_ok();
    // "2 errors generated.", "one error found", "Found 3 errors in 2 files", "compiled with 1 error"
    let counts_errors = words.windows(2).enumerate().any(|(at, pair)| {
        let is_count = is_number(pair[0]) && (pair[1].starts_with("error") || pair[1].starts_with("problem"));
        is_count && (at == 0 || at == 1 && words[0] == "found" || words[at - 1] == "with")
    });
    is_make
        || counts_errors && !lower.starts_with('0')
        || SUMMARY_LINES.contains(&text)
        || text.starts_with("FAIL\t")
        || text.starts_with("FAIL ")
        || text.starts_with("FAILED (")
        || ["tests:", "test suites:", "tests run:", "failures:"].iter().any(|start| lower.starts_with(start))
        || lower.starts_with("exit status ")
        || SUMMARIES.iter().any(|part| lower.contains(part))
}

fn is_remark(text: &str, lower: &str) -> bool {
    let level = level_word(text);
    ADVICE_STARTS.iter().any(|start| lower.starts_with(start))
        || matches!(level, Some(false))
        || [
            ": warning",
            ": note: ",
            ": info: ",
            "(ignored)",
            "retrying",
            "will retry",
            "in function ‘",
            "in function '",
        ]
        .iter()
        .any(|part| lower.contains(part))
            && !lower.contains("undefined reference")
        || text.starts_with("+ ")
        || text.contains(": Entering directory")
        || text.contains(": Leaving directory")
}

/// Whether one of the first words, of a line of a log, is the name of a level: of an error's or of a lower one.
fn level_word(text: &str) -> Option<bool> {
    const WORDS_MAX: usize = 9;
    let words = text.split(|it: char| !it.is_alphanumeric()).filter(|it| !it.is_empty());
    let named = words.take(WORDS_MAX).find_map(|word| match word {
        "ERROR" | "FATAL" | "CRITICAL" | "SEVERE" | "PANIC" | "EMERG" | "ALERT" => Some(true),
        "INFO" | "DEBUG" | "TRACE" | "WARN" | "WARNING" | "NOTICE" => Some(false),
        _ => None,
    });
    let has = |list: &[&str]| list.iter().any(|part| text.contains(part));
    if has(&[
        "level=error",
        "level=fatal",
        "\"level\":\"error\"",
        "\"level\":\"fatal\"",
        "\"level\": \"error\"",
    ]) {
        return Some(true);
    }
    if has(&[
        "level=info",
        "level=warn",
        "level=debug",
        "\"level\":\"info\"",
        "\"level\":\"warn",
        "\"level\": \"info\"",
    ]) {
        return Some(false);
    }
    named
}

fn is_error(text: &str, lower: &str) -> bool {
    const STARTS: [&str; 9] = [
        "error",
        "fatal",
        "panic:",
        "uncaught",
        "unhandled",
        "exception in",
        "failed:",
        "an error occurred",
        "what():",
    ];
    const PARTS: [&str; 13] = [
        "error:",
        "error :",
        "fatal:",
        "fatal error",
        "exception:",
        "] error",
        "undefined reference to",
        "panicked at",
        "parse error",
        "syntax error",
        "an error occurred (",
        "*** no rule",
        "*** missing",
    ];
    if counts_none(lower) {
        return false;
    }
    let begins = STARTS.iter().any(|start| {
        lower.strip_prefix(start).is_some_and(|rest| !rest.starts_with(|it: char| it.is_alphabetic()))
    });
    // "CMake Error at …", "Parse error near …", "dpkg: error processing …"
    let mut words = lower.split_whitespace().skip(1);
    let is_second = !lower.starts_with("the ")
        && words.by_ref().take(2).any(|word| word == "error")
        && words.next().is_some();
    begins
        || is_second
        || PARTS.iter().any(|part| lower.contains(part))
        || matches!(level_word(text), Some(true))
        || ["E: ", "FAILED ", "FAIL: ", "ERR ", "** ("].iter().any(|start| text.starts_with(start))
        || has_error_code(lower)
        || has_exception_name(text)
        || has_place(text)
}

/// "error TS2322: ", "error CS0103: "
fn has_error_code(lower: &str) -> bool {
    lower.match_indices("error ").any(|(at, word)| {
        let code = lower[at + word.len()..].split(':').next().unwrap_or_default();
        lower[at + word.len()..].len() > code.len()
            && !code.is_empty()
            && !code.contains(' ')
            && code.ends_with(|it: char| it.is_ascii_digit())
    })
}

/// `ValueError: …`, `java.io.IOException: …`, `(RuntimeError)`: a name that ends like those of errors.
fn has_exception_name(text: &str) -> bool {
    let is_name = |word: &str| {
        let name = word.rsplit(['.', ':', '\\', '(']).next().unwrap_or_default();
        let is_kind =
            ["Error", "Exception", "Fault"].iter().any(|end| name.len() > end.len() && name.ends_with(end));
        is_kind
            && name.starts_with(char::is_uppercase)
            && name.chars().all(|it| it.is_alphanumeric() || it == '_')
    };
    let first = text.split([' ', '=']).next().unwrap_or_default();
    is_name(first.trim_end_matches(':'))
        || text
            .strip_suffix(')')
            .is_some_and(|rest| rest.rsplit_once('(').is_some_and(|(_, name)| is_name(name)))
}

/// `main.c:3:5: …`, `./a.sh: line 3: …`, `App.java:[5,9] …`, `a.ts(3,5): …`: a place in a file, then what is wrong there.
fn has_place(text: &str) -> bool {
    let Some(end) = text.find([' ', '\u{a0}']) else { return false };
    let (place, rest) = text.split_at(end);
    let is_file = place.trim_start_matches("./").contains(['.', '/']) && !place.contains("://");
    let digit_after = |separator: &str| {
        place
            .match_indices(separator)
            .any(|(at, it)| place[at + it.len()..].starts_with(|c: char| c.is_ascii_digit()))
    };
    let is_place = place.ends_with(':') && (digit_after(":") || digit_after("("))
        || place.ends_with(']') && digit_after(":[")
        || place.ends_with(':') && rest.trim_start().starts_with("line ") && rest.contains(": ");
    is_file
        && is_place
        && rest.len() > 3
        && !rest.trim_start().starts_with('(')
        && !place.starts_with(|it: char| it.is_ascii_digit() && place.contains('-'))
}

/// "0 errors", "no errors", "Failed: 0", "failures=0"
fn counts_none(lower: &str) -> bool {
    let words: Vec<&str> =
        lower.split(|it: char| !it.is_alphanumeric()).filter(|it| !it.is_empty()).collect();
    let is_bad =
        |word: &str| ["error", "fail", "fatal", "exception"].iter().any(|start| word.starts_with(start));
    let is_none = |word: &str| matches!(word, "0" | "no" | "without");
    let bad = words.iter().filter(|word| is_bad(word)).count();
    // Not "a.c:3:0: error: …".
    let stand_together = |it: &[&str]| lower.contains(&format!("{} {}", it[0], it[1]));
    let says_none =
        |it: &&[&str]| is_none(it[0]) && is_bad(it[1]) && stand_together(it) || is_bad(it[0]) && it[1] == "0";
    let none = words.windows(2).filter(says_none).count();
    bad > 0 && none >= bad
}
