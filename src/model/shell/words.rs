//! What only a shell would understand, in a command that none runs.

use std::collections::HashSet;

use super::code::code_words;
use super::vocabulary::{is_assignment, is_name_start, is_shell_word};

/// Something that only a shell understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// How it stands there.
    pub text: String,
}

/// What only a shell understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `|`, `&&`, `;`, `>`, `2>&1`, `(`, `` ` ``, `$(`.
    Operator,
    /// A new command on a new line.
    Lines,
    /// `*`, `?`, `[…]`.
    Glob,
    /// `$NAME`.
    Variable,
    /// `~`, `~/x`, `~user/x`.
    Tilde,
    /// `{a,b}`, `$'…'`: not even every shell.
    Bash,
    /// A builtin or a keyword as the first word.
    Builtin,
    /// `NAME=VALUE` as the first word.
    Assignment,
}

/// What is opened is looked for no further: a longer list is none, and a text of nothing but brackets costs no time.
const CLOSED_WITHIN_CHARS: usize = 1_000;
/// As many braces of a word are looked at.
const BRACES_MAX: usize = 100;
/// As much of a word is told: a copy for each of its characters would fill the memory.
const TOLD_CHARS: usize = 40;
/// As many operators of a word are told, and variables.
const TOLD_OF_WORD: usize = 4;

/// How a character is protected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    Bare,
    Double,
    /// In single quotes, behind a backslash, or part of a variable of ours.
    Literal,
    /// The `$` of `$'…'`, which is a quote of its own in bash.
    Opening,
}

type Glyph = (char, Quote);

struct Word {
    glyphs: Vec<Glyph>,
    /// Counted by line breaks that a shell would heed.
    line: usize,
}

/// What only a shell understands in a command that is split by the shell's word rules. A quote that is not closed ends
/// with the text.
pub fn in_words(command: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let words = split(command);
    if let Some(first) = words.first()
        && first.glyphs.iter().all(|(_, quote)| *quote == Quote::Bare)
        && is_shell_word(&first.text())
    {
        found.push(Finding { kind: Kind::Builtin, text: first.text() });
    } else if let Some(first) = words.first()
        && is_assignment(&first.text()).is_some_and(|(name, _)| first.is_bare_up_to(name.len() + 1))
    {
        found.push(Finding { kind: Kind::Assignment, text: first.text() });
    }
    // In code that another program reads, `$NAME` in double quotes is that program's.
    let texts: Vec<String> = words.iter().map(Word::text).collect();
    let codes: HashSet<usize> = code_words(&texts, false).into_iter().map(|code| code.index).collect();
    for (index, word) in words.iter().enumerate() {
        judge(word, codes.contains(&index), &mut found);
    }
    if words.last().map(|word| word.line) != words.first().map(|word| word.line) {
        found.push(Finding { kind: Kind::Lines, text: "several lines".to_owned() });
    }
    found
}

/// What only a shell understands in a text that is no command, such as a directory: it has no quotes.
pub fn in_text(text: &str) -> Vec<Finding> {
    let glyphs = glyphs_of_text(text);
    let word = Word { glyphs, line: 0 };
    let mut found = Vec::new();
    let at = |i: usize| word.at(i);
    for i in 0..word.glyphs.len() {
        match at(i) {
            Some('$') => _ = dollar(&word, i, "", &mut found),
            Some('`') if !found.iter().any(|it| it.text == "`") => {
                let is_closed = (i + 1..word.glyphs.len()).any(|later| at(later) == Some('`'));
                if is_closed {
                    note(&mut found, Kind::Operator, std::iter::once('`'));
                }
            }
            // As in the value of PATH: what follows a colon is a directory of its own.
            Some('~') if i == 0 || at(i - 1) == Some(':') => {
                let name = (i + 1..)
                    .map_while(at)
                    .take_while(|c| c.is_ascii_alphanumeric() || "_-".contains(*c))
                    .count();
                if at(i + 1 + name) == Some('/') || name == 0 && matches!(at(i + 1), None | Some(':')) {
                    note(&mut found, Kind::Tilde, std::iter::once('~'));
                }
            }
            _ => {}
        }
    }
    found
}

/// What only a shell understands in the value of an environment variable. Such values are passwords, hashes and patterns
/// of other programs as well, so it is only what can hardly be anything else: `$NAME` in capitals, `$(`, and `~/` at the
/// beginning.
pub fn in_value(text: &str) -> Option<Finding> {
    let word = Word { glyphs: glyphs_of_text(text), line: 0 };
    let at = |i: usize| word.at(i);
    if at(0) == Some('~') && at(1) == Some('/') {
        return Some(Finding { kind: Kind::Tilde, text: "~/".to_owned() });
    }
    // `$2y$10$…`, `$argon2id$v=19$…`
    let is_hash = text.strip_prefix('$').and_then(|rest| rest.split_once('$')).is_some_and(|(method, _)| {
        !method.is_empty() && method.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    });
    let mut found = Vec::new();
    for i in (0..word.glyphs.len()).filter(|_| !is_hash) {
        let is_single = at(i) == Some('$') && i.checked_sub(1).and_then(at) != Some('$');
        if is_single && dollar(&word, i, "", &mut found) > 0 {
            let told = found.pop().filter(|it| {
                it.kind == Kind::Operator
                    || it.text.len() > 2 && !it.text.contains(|c: char| c.is_ascii_lowercase())
            });
            if told.is_some() {
                return told;
            }
        }
    }
    None
}

/// Our variables are literal: what stands in them is ours to read.
fn glyphs_of_text(text: &str) -> Vec<Glyph> {
    let mut glyphs: Vec<Glyph> = Vec::new();
    let mut ours = false;
    for c in text.chars() {
        open_ours(&mut glyphs, c, &mut ours);
        glyphs.push((c, if ours { Quote::Literal } else { Quote::Bare }));
        ours &= c != '}';
    }
    glyphs
}

/// `c` is about to follow: with it a variable of ours may begin, or the text `${`.
fn open_ours(glyphs: &mut [Glyph], c: char, ours: &mut bool) {
    if c == '{'
        && let Some(dollar) = glyphs.last_mut().filter(|it| it.0 == '$' && it.1 != Quote::Literal)
    {
        dollar.1 = Quote::Literal;
        *ours = true;
        // `$${`
        if let [.., escape, _] = glyphs
            && escape.0 == '$'
        {
            escape.1 = Quote::Literal;
        }
    }
}

/// Splits as shells do, and as the crate does that splits for running.
fn split(command: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut current: Option<Vec<Glyph>> = None;
    let (mut line, mut ours) = (0, false);
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => {
                words.extend(current.take().map(|glyphs| Word { glyphs, line }));
                line += usize::from(c == '\n');
                ours = false;
            }
            '#' if current.is_none() => while chars.next_if(|&c| c != '\n').is_some() {},
            '\\' => match chars.next() {
                Some('\n') => {}
                c => current.get_or_insert_default().push((c.unwrap_or('\\'), Quote::Literal)),
            },
            '\'' | '"' => {
                let glyphs = current.get_or_insert_default();
                if let Some(dollar) = glyphs.last_mut().filter(|it| **it == ('$', Quote::Bare)) {
                    dollar.1 = Quote::Opening;
                }
                quoted(&mut chars, c, glyphs, &mut ours);
            }
            c => {
                let glyphs = current.get_or_insert_default();
                open_ours(glyphs, c, &mut ours);
                glyphs.push((c, if ours { Quote::Literal } else { Quote::Bare }));
                ours &= c != '}';
            }
        }
    }
    words.extend(current.take().map(|glyphs| Word { glyphs, line }));
    words
}

/// Reads up to the closing quote.
fn quoted(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    quote: char,
    glyphs: &mut Vec<Glyph>,
    ours: &mut bool,
) {
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return,
            '\\' if quote == '"' => match chars.next() {
                Some(c @ ('$' | '`' | '"' | '\\')) => glyphs.push((c, Quote::Literal)),
                Some('\n') | None => {}
                Some(c) => glyphs.extend([('\\', Quote::Double), (c, Quote::Double)]),
            },
            c => {
                open_ours(glyphs, c, ours);
                let is_literal = *ours || quote == '\'';
                glyphs.push((c, if is_literal { Quote::Literal } else { Quote::Double }));
                *ours &= c != '}';
            }
        }
    }
}

impl Word {
    fn text(&self) -> String {
        self.glyphs.iter().map(|(c, _)| c).collect()
    }

    /// The character there if nothing quotes it.
    fn at(&self, i: usize) -> Option<char> {
        self.glyphs.get(i).filter(|(_, quote)| *quote == Quote::Bare).map(|(c, _)| *c)
    }

    fn is_bare_up_to(&self, end: usize) -> bool {
        (0..end).all(|i| self.at(i).is_some())
    }

    /// Where the part of an address begins in which most characters mean nothing to us and little to a shell: there
    /// are `?` and `&` in most of them, and they work as they stand.
    fn address(&self) -> usize {
        let text: Vec<char> = self.glyphs.iter().map(|(c, _)| *c).collect();
        let found =
            text.windows(4).position(|it| it[0].is_ascii_alphanumeric() && it[1..] == [':', '/', '/']);
        found.map_or(usize::MAX, |at| at + 4)
    }

    /// The `?` of an address without `http://`: of `localhost:8080/x?y=1&z=2`, `db.example.com/x?y=1`.
    fn query(&self) -> usize {
        let is_mark = |it: &Glyph| *it == ('?', Quote::Bare);
        let Some(mark) = self.glyphs.iter().position(is_mark) else { return usize::MAX };
        let before: String = self.glyphs[..mark].iter().map(|(c, _)| c).collect();
        let before = before.rsplit('=').next().unwrap_or_default();
        let Some((host, _)) = before.split_once('/') else { return usize::MAX };
        let is_host = match host.rsplit_once(':') {
            Some((_, port)) => !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()),
            None => host.rsplit_once('.').is_some_and(|(name, domain)| {
                !name.is_empty() && domain.len() > 1 && domain.chars().all(|c| c.is_ascii_alphabetic())
            }),
        };
        let has_value = self.glyphs[mark..].iter().any(|(c, _)| *c == '=');
        if is_host && has_value { mark } else { usize::MAX }
    }
}

/// Notes a finding of a word, unless there are enough of its kind.
fn note(told: &mut Vec<Finding>, kind: Kind, text: impl Iterator<Item = char>) {
    let most = if matches!(kind, Kind::Operator | Kind::Variable) { TOLD_OF_WORD } else { 1 };
    if told.iter().filter(|it| it.kind == kind).count() < most {
        told.push(Finding { kind, text: text.take(TOLD_CHARS).collect() });
    }
}

fn judge(word: &Word, is_code: bool, found: &mut Vec<Finding>) {
    let (address, query) = (word.address(), word.query());
    let last = word.glyphs.len() - usize::from(!word.glyphs.is_empty());
    let mut brackets = Brackets::new(word);
    let mut braces = 0;
    let mut told = Vec::new();
    let mut i = 0;
    while let Some(&(c, quote)) = word.glyphs.get(i) {
        let is_whole = match (c, quote) {
            ('$' | '`', Quote::Double) if is_code => None,
            ('|' | '<' | '>', Quote::Bare) | ('`', Quote::Bare | Quote::Double) => {
                i = operator(word, i, &mut told);
                continue;
            }
            ('&', Quote::Bare) if word.at(i + 1) == Some('&') => {
                i = operator(word, i, &mut told);
                continue;
            }
            ('&', Quote::Bare) if i > query && i != last => None,
            ('&' | ';' | '(' | ')', Quote::Bare) if i < address || (i == last && c != ')') => {
                i = operator(word, i, &mut told);
                continue;
            }
            ('$', Quote::Bare | Quote::Double) => {
                i += dollar(word, i, "?@#!$", &mut told);
                None
            }
            ('*', Quote::Bare) if i < address && brackets.are_for_files(i) => Some(Kind::Glob),
            ('?', Quote::Bare)
                if i < address && (i != last || last == 0) && i != query && brackets.are_for_files(i) =>
            {
                Some(Kind::Glob)
            }
            ('[', Quote::Bare) if i < address && brackets.is_glob(i) => Some(Kind::Glob),
            ('~', Quote::Bare) if is_home(word, i) => Some(Kind::Tilde),
            (_, Quote::Opening) => Some(Kind::Bash),
            ('{', Quote::Bare) if i < address && braces < BRACES_MAX => {
                braces += 1;
                is_brace_expansion(word, i).then_some(Kind::Bash)
            }
            _ => None,
        };
        if let Some(kind) = is_whole {
            note(&mut told, kind, word.glyphs.iter().map(|(c, _)| *c));
        }
        i += 1;
    }
    found.append(&mut told);
}

/// Tells the patterns of file names from what looks like them, and what a shell passes on unchanged as no file has such a
/// name: lists such as `lib/*:app.jar`, `HOST:*.csv`, `--include=*.rs`, `list[0]`, `name[extra]`.
struct Brackets<'w> {
    word: &'w Word,
    has_colon: bool,
    has_slash: bool,
    /// Where the `=` of an option is.
    equals: usize,
    /// The next `]`.
    close: usize,
}

impl<'w> Brackets<'w> {
    fn new(word: &'w Word) -> Self {
        let place = |wanted| (0..word.glyphs.len()).find(|&i| word.at(i) == Some(wanted));
        let equals = place('=').filter(|_| word.at(0) == Some('-')).unwrap_or(usize::MAX);
        Self { word, has_colon: place(':').is_some(), has_slash: place('/').is_some(), equals, close: 0 }
    }

    /// Whether a pattern at `i` can be one for files.
    fn are_for_files(&self, i: usize) -> bool {
        !self.has_colon && i < self.equals
    }

    /// Whether the `[` at `open` begins such a pattern. It is asked from the left to the right.
    fn is_glob(&mut self, open: usize) -> bool {
        let (word, end) = (self.word, self.word.glyphs.len());
        if self.close < open + 2 {
            self.close = (open + 2..end).find(|&i| word.at(i) == Some(']')).unwrap_or(end);
        }
        if self.close == end || !self.are_for_files(open) {
            return false;
        }
        let is_index = (open + 1..self.close).all(|i| word.at(i).is_some_and(|c| c.is_ascii_digit()));
        // `file[0-9]`, but not `t.py::test_sum[x-y]`.
        let is_range = word.at(open + 2) == Some('-') && (self.close - open) % 3 == 1;
        !is_index && (self.has_slash || is_range)
    }
}

/// Notes an operator of several characters and returns the place behind it.
fn operator(word: &Word, start: usize, found: &mut Vec<Finding>) -> usize {
    let is_operator = |i: usize| matches!(word.glyphs.get(i), Some((c, quote)) if "|&;<>()`".contains(*c) && *quote != Quote::Literal);
    let end = (start..).find(|&i| !is_operator(i)).unwrap_or(start);
    let text = |range: std::ops::Range<usize>| word.glyphs[range].iter().map(|(c, _)| *c).collect::<String>();
    // `2>&1` reads better as a whole.
    let digits =
        |mut range: std::ops::Range<usize>| range.all(|i| word.at(i).is_some_and(|c| c.is_ascii_digit()));
    let is_whole =
        matches!(word.at(start), Some('<' | '>')) && digits(0..start) && digits(end..word.glyphs.len());
    let text = if is_whole { text(0..word.glyphs.len()) } else { text(start..end) };
    note(found, Kind::Operator, text.chars());
    end.max(start + 1)
}

/// `~`, `~/x`, `~user` at the start of a word, and what stands for a directory behind `=`.
fn is_home(word: &Word, i: usize) -> bool {
    match i.checked_sub(1).map(|before| word.at(before)) {
        None => {
            let end = (1..).find(|&i| word.at(i).is_none_or(|c| c == '/')).unwrap_or(1);
            let is_ended = end >= word.glyphs.len() || word.at(end) == Some('/');
            is_ended && (end == 1 || word.at(1).is_some_and(is_name_start))
        }
        Some(Some('=')) => word.at(i + 1) == Some('/'),
        Some(_) => false,
    }
}

/// `{a,b}` or `{1..9}`.
fn is_brace_expansion(word: &Word, open: usize) -> bool {
    let mut depth = 0;
    let mut is_list = false;
    for i in open..word.glyphs.len().min(open + CLOSED_WITHIN_CHARS) {
        match word.at(i) {
            Some('{') => depth += 1,
            Some('}') => depth -= 1,
            Some(',') => is_list |= depth == 1,
            Some('.') => is_list |= depth == 1 && word.at(i + 1) == Some('.') && i > open + 1,
            _ => {}
        }
        if depth == 0 {
            return is_list && i > open + 2;
        }
    }
    false
}

/// `$NAME`, `$(`, and, where nothing quotes it, one of `specials`. Not `$5`, which is a price more often. Returns how
/// many characters behind the `$` are told of with it.
fn dollar(word: &Word, i: usize, specials: &str, found: &mut Vec<Finding>) -> usize {
    let next =
        |n: usize| word.glyphs.get(i + n).filter(|(_, quote)| *quote != Quote::Literal).map(|(c, _)| *c);
    let (kind, text) = match next(1) {
        Some(c) if is_name_start(c) => {
            let is_of_name = |c: &char| is_name_start(*c) || c.is_ascii_digit();
            let name: String = (1..).map_while(next).take_while(is_of_name).collect();
            // In double quotes, where texts of other languages have theirs, only what looks like the environment's.
            let is_capital = name.len() > 1 && !name.contains(|c: char| c.is_ascii_lowercase());
            if word.at(i).is_none() && !is_capital {
                return 0;
            }
            (Kind::Variable, name)
        }
        Some('(') => (Kind::Operator, "(".to_owned()),
        Some(c) if specials.contains(c) && word.at(i).is_some() && word.at(i + 1).is_some() => {
            (Kind::Operator, c.to_string())
        }
        _ => return 0,
    };
    let length = text.chars().count();
    note(found, kind, std::iter::once('$').chain(text.chars()));
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_of_a_mebibyte_costs_neither_time_nor_memory() {
        let begin = std::time::Instant::now();
        for piece in [
            "*", "?*", "~", "=~", "[", "[1", "{", "{,}", "$A", "`", "$(", "|x", "a>", "$a$B", "x:~",
            "\"$A\"", "a* ",
        ] {
            let bytes = if piece.len() == 1 { 1 << 20 } else { 1 << 17 };
            let text = piece.repeat(bytes / piece.len());
            let found = [in_words(&text), in_text(&text), in_value(&text).into_iter().collect()].concat();
            let words = text.split(' ').count();
            assert!(found.len() <= 30 + 5 * words, "{piece}: {}", found.len());
            assert!(found.iter().all(|it| it.text.chars().count() <= TOLD_CHARS), "{piece}");
        }
        // Before, a single one of them took minutes; what is left is mostly the building without optimization.
        assert!(begin.elapsed() < std::time::Duration::from_secs(60), "{:?}", begin.elapsed());
    }

    proptest! {
        // What it judges are the words that are run.
        #[test]
        fn it_splits_as_the_crate_does_that_splits_for_running(command in "[ \t\n'\"\\\\#$`{}a~=*]{0,30}|(?s).{0,30}") {
            if let Ok(words) = shell_words::split(&command) {
                let ours: Vec<String> = split(&command).iter().map(Word::text).collect();
                prop_assert_eq!(ours, words);
            }
            in_words(&command);
            in_text(&command);
        }
    }
}
