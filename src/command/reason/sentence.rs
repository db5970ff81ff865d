//! The line that tells most.

use super::line::{Line, Weight};
use super::lists::GLUED;
use super::screen;

/// Characters of a reason; of a longer one the begin and the end are shown, as either may name what is wrong.
const SHOWN_CHARS_MAX: usize = 300;

/// How far from the end a line that calls itself an error is looked for, among those that say anything: beyond it, it is
/// an older story.
const ERROR_LINES_MAX: usize = 100;

/// The same for lines that only sound like it …
const TELLING_LINES_MAX: usize = 12;

/// … and for lines that sum up.
const SUMMARY_LINES_MAX: usize = 5;

/// Lines that are taken along when one ends in a colon.
const CONTINUED_LINES_MAX: usize = 4;

/// What the end of an output says of a failure, on one line; none if it says nothing.
///
/// Of the last lines the last one counts that calls itself an error; else the last that tells of something that went
/// wrong; else one that says that something did; else the last. Lines that say nothing are passed over.
pub fn last_words(output: &str) -> Option<String> {
    let shown: Vec<_> = screen::lines(output).into_iter().map(without_progress).collect();
    let mut lines: Vec<Line> = shown.iter().map(|line| Line::of(line)).collect();
    play_npm_down(&mut lines);
    let words = gradle(&lines)
        .or_else(|| chosen(&lines).map(|at| with_causes(&lines, at)))
        .or_else(|| shown.iter().rev().map(|line| line.trim().to_owned()).find(|line| !line.is_empty()))?;
    Some(shortened(&words))
}

/// A message that follows its tool's progress on one line.
fn without_progress<S: AsRef<str>>(line: S) -> String {
    let line = line.as_ref();
    let begin = GLUED
        .iter()
        .find_map(|(progress, message)| line.find(message).filter(|&at| line[..at].contains(progress)));
    line[begin.unwrap_or(0)..].to_owned()
}

/// The question that the output ends with, if nothing follows it: a line without an end, as programs ask on a terminal. Of
/// a command that did not wait until its timeout, but ended, an error above it is the reason.
pub fn prompt(output: &str, has_waited: bool) -> Option<String> {
    const PROMPT_CHARS_MAX: usize = 200;
    /// What ends in `>` is more often markup or an arrow than a prompt such as `mysql> `.
    const ARROW_PROMPT_CHARS_MAX: usize = 40;
    if output.ends_with('\n') {
        return None;
    }
    let mut above = screen::lines(output);
    let line = above.pop()?.trim().to_owned();
    let is_error = |line: &str| Line::of(line).weight == Weight::Error;
    if !has_waited && above.iter().any(|line| is_error(line)) {
        return None;
    }
    let is_arrow = line.ends_with('>');
    if is_arrow && (line.contains('<') || line.chars().count() > ARROW_PROMPT_CHARS_MAX) {
        return None;
    }
    let lower = line.to_lowercase();
    let last_group =
        line.strip_suffix([')', ']']).and_then(|rest| rest.rsplit_once(['(', '['])).map(|it| it.1);
    let is_choice = last_group
        .is_some_and(|it| it.contains('/') && it.chars().all(|c| c.is_alphabetic() || "/ ,?".contains(c)));
    let asks = (is_arrow || line.ends_with([':', '?'])) && line.contains(char::is_alphabetic)
        || is_choice
        || lower.starts_with("press ")
        || lower.contains("press any key")
        || lower.contains("press enter");
    (asks && !is_error(&line) && line.chars().count() <= PROMPT_CHARS_MAX).then(|| shortened(&line))
}

/// The place of the line that tells most.
fn chosen(lines: &[Line]) -> Option<usize> {
    let says: Vec<usize> = (0..lines.len()).rev().filter(|&at| lines[at].weight > Weight::Nothing).collect();
    let last_of = |weight: Weight, within: usize| {
        says.iter().take(within).copied().find(|&at| lines[at].weight == weight)
    };
    let at = last_of(Weight::Error, ERROR_LINES_MAX)
        .or_else(|| last_of(Weight::Telling, TELLING_LINES_MAX))
        .or_else(|| last_of(Weight::Summary, SUMMARY_LINES_MAX).map(|at| before_summary(lines, at)))
        .or_else(|| last_of(Weight::Plain, usize::MAX))
        .or_else(|| says.first().copied())?;
    Some(first_of_block(lines, at))
}

/// What stands right above a line that sums up may be the reason in words that nobody knows. Above that of `make` stands
/// the command that failed.
fn before_summary(lines: &[Line], at: usize) -> usize {
    let above = lines[..at].iter().rposition(|line| line.weight > Weight::Nothing);
    let is_reason =
        |above: &usize| lines[*above].weight == Weight::Plain && !lines[at].text.contains(": *** [");
    above.filter(is_reason).unwrap_or(at)
}

/// npm writes its whole message as errors: the first of these lines says what it is.
fn first_of_block(lines: &[Line], at: usize) -> usize {
    let before = lines[..at].iter().rposition(|line| !line.is_npm).map_or(0, |it| it + 1);
    if !lines[at].is_npm {
        return at;
    }
    (before..at).find(|&it| lines[it].weight == Weight::Error).unwrap_or(at)
}

/// Of a script that has failed npm says no more than that: what the script said stands above.
fn play_npm_down(lines: &mut [Line]) {
    let is_of_script = |line: &Line| {
        ["ELIFECYCLE", "Lifecycle script", "command failed"].iter().any(|part| line.text.contains(part))
    };
    if lines.iter().any(|line| line.is_npm && is_of_script(line)) {
        lines
            .iter_mut()
            .filter(|line| line.is_npm)
            .for_each(|line| line.weight = line.weight.min(Weight::Remark));
    }
}

/// What it says with the lines that go on after a colon, and with the cause of causes.
fn with_causes(lines: &[Line], at: usize) -> String {
    let is_cause = |line: &Line| line.text.starts_with("Caused by:");
    let first_cause = (0..lines.len()).find(|&it| is_cause(&lines[it]) && lines[it..].len() <= 400);
    // The chosen line may be a cause itself: what it is a cause of stands before the first.
    let head = match first_cause {
        Some(first) if first <= at => (0..first)
            .rev()
            .find(|&it| lines[it].weight >= Weight::Telling && !is_cause(&lines[it]))
            .unwrap_or(at),
        _ => at,
    };
    let mut words = continued(lines, head);
    let last_cause = (head + 1..lines.len()).rev().find(|&it| is_cause(&lines[it]));
    if let Some(last) = last_cause {
        words = format!("{}; caused by: {}", words.trim_end_matches(['.', ' ']), root_cause(lines, last));
    }
    words
}

/// What stands behind the last "Caused by:", or below it: there a chain of causes is numbered, and the last one counts.
fn root_cause(lines: &[Line], at: usize) -> String {
    let number = |text: &str| {
        text.split_once(": ").and_then(|(number, cause)| number.parse::<u32>().ok().map(|_| cause.to_owned()))
    };
    let below = lines[at + 1..].iter().take_while(|line| !line.text.is_empty());
    below
        .filter_map(|line| number(&line.text))
        .last()
        .unwrap_or_else(|| continued(lines, at).trim_start_matches("Caused by:").trim_start().to_owned())
}

/// A line that ends in a colon, with what follows it.
fn continued(lines: &[Line], at: usize) -> String {
    let mut words = lines[at].text.clone();
    if !words.ends_with(':') {
        return words;
    }
    let after = &lines[at + 1..];
    let blank = after.iter().take_while(|line| line.text.is_empty()).count();
    let is_block = after.get(blank).is_some_and(|first| first.is_indented);
    let rest = if is_block { &after[blank..] } else { after };
    let is_part = |line: &&Line| {
        !line.text.is_empty() && (line.is_indented || !is_block && line.weight > Weight::Remark)
    };
    for line in rest.iter().take_while(is_part).take(CONTINUED_LINES_MAX) {
        words.push(' ');
        words.push_str(&line.text);
    }
    words
}

/// Gradle writes what went wrong under a heading of that name.
fn gradle(lines: &[Line]) -> Option<String> {
    let heading = lines.iter().rposition(|line| line.text == "* What went wrong:")?;
    let words: Vec<&str> = lines[heading + 1..]
        .iter()
        .take_while(|line| !line.text.is_empty())
        .map(|line| line.text.trim_start_matches(['>', ' ']))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn shortened(words: &str) -> String {
    const GAP: &str = " … ";
    let count = words.chars().count();
    if count <= SHOWN_CHARS_MAX {
        return words.to_owned();
    }
    let half = (SHOWN_CHARS_MAX - GAP.chars().count()) / 2;
    let begin: String = words.chars().take(half).collect();
    let end: String = words.chars().skip(count - half).collect();
    format!("{}{GAP}{}", begin.trim_end(), end.trim_start())
}
