//! The endings of real tools are in `tests/endings`: a line with the sentence, a line of three dashes, then what the tool
//! printed. Those of tools that are easily at hand are copied from a run.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// Every file of `tests/endings`: its name, the sentence, and the output.
fn endings() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/endings");
    let folders = fs::read_dir(root).unwrap().map(|it| it.unwrap().path());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()));
    files
        .map(|file| {
            let text = String::from_utf8(fs::read(&file).unwrap()).unwrap();
            let (sentence, output) =
                text.split_once("\n---\n").unwrap_or_else(|| panic!("{file:?} has no ---"));
            (file.display().to_string(), sentence.to_owned(), output.to_owned())
        })
        .collect()
}

#[test]
fn the_endings_of_real_tools() {
    let endings = endings();
    assert!(endings.len() > 80, "{} files", endings.len());
    let wrong: Vec<String> = endings
        .iter()
        .filter_map(|(file, sentence, output)| {
            let said = last_words(output).unwrap_or_default();
            (said != *sentence).then(|| format!("\n{file}\n  said  {said}\n  right {sentence}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:{}", wrong.len(), endings.len(), wrong.concat());
}

#[test]
fn colours_and_line_ends_of_other_systems_change_nothing() {
    for (file, sentence, output) in endings() {
        let coloured: String = output
            .split('\n')
            .map(|line| format!("\u{1b}[1;31m{line}\u{1b}(B\u{1b}[m\r\n\u{1b}[0m"))
            .collect();
        assert_eq!(last_words(&coloured).as_deref(), Some(&*sentence), "{file}");
    }
}

#[test]
fn what_a_terminal_would_show() {
    for (output, words) in [
        ("Traceback\nValueError: \u{1b}bad\n \n", Some("ValueError: ad")),
        ("\n \r\n", None),
        ("\u{1b}[0m", None),
        ("loading 10 %\rloading 90 %\rdisk is full\n", Some("disk is full")),
        ("loading 10 %\rdisk is full\r\u{1b}[K\n\u{1b}[0m", Some("disk is full")),
        ("\u{1b}]8;;http://example.com\u{7}error: link\u{1b}]8;;\u{1b}\\\n", Some("error: link")),
        ("\u{1b}]0;title\u{7}no rows\u{1b}[38;5;196m\u{1b}[39;49m", Some("no rows")),
        ("50%\u{8}\u{8}\u{8}no rows", Some("no rows")),
        ("waiting\u{1b}[2K\u{1b}[1Gerror: no rows\u{1b}[?25h\n", Some("error: no rows")),
        ("\u{202e}reversed\u{2066}", Some("reversed")),
        ("cut in a sequence\u{1b}[3", Some("cut in a sequence")),
        ("}\n)", Some(")")),
    ] {
        assert_eq!(last_words(output).as_deref(), words, "{output:?}");
    }
}

#[test]
fn a_long_line_keeps_its_end() {
    let said = last_words(&format!("error: {}: disk is full\n", "x".repeat(5_000))).unwrap();
    assert!(said.starts_with("error: xxx") && said.ends_with("xxx: disk is full"), "{said}");
    assert!(said.chars().count() <= 300, "{}", said.chars().count());
    let endless = format!("{}: disk is full", "ä".repeat(1_000_000));
    assert!(last_words(&endless).unwrap().ends_with(": disk is full"));
}

#[test]
fn an_old_error_does_not_hide_a_new_reason() {
    let progress = "read 1000 rows\n".repeat(150);
    assert_eq!(last_words(&format!("error: old\n{progress}gone")).as_deref(), Some("gone"));
    assert_eq!(last_words("error: late, retrying\nquota is over").as_deref(), Some("quota is over"));
    assert_eq!(last_words("12 passed, 0 errors\nquota is over").as_deref(), Some("quota is over"));
}

proptest! {
    #[test]
    fn any_output_gives_one_line_or_none(
        output in "([ -~]{0,30}|\\PC{0,10}|[\n\r\t\u{1b}\u{8}\u{9b}#:^|.]|Caused by:|npm error|\u{1b}\\[){0,40}",
    ) {
        for words in [last_words(&output), prompt(&output, true)].into_iter().flatten() {
            prop_assert!(!words.trim().is_empty() && !words.chars().any(char::is_control), "{words:?}");
            prop_assert!(words.chars().count() <= 300, "{words}");
        }
    }
}

#[test]
fn a_question_is_told_from_an_answer() {
    for question in [
        "Password: ",
        "ready\nEnter passphrase for key '/srv/key': ",
        "Are you sure you want to continue connecting (yes/no/[fingerprint])? ",
        "Overwrite? [y/N] ",
        "Do you want to continue? [Y/n]",
        "\u{1b}[1mProceed (y/n)\u{1b}[0m ",
        "Press any key to continue . . . ",
        "mysql> ",
    ] {
        assert!(prompt(question, false).is_some(), "{question:?}");
    }
    for none in [
        "Password: \n",
        "error: no rows in:",
        "loading 40 %",
        "[#####     ]",
        "",
        "12:",
        "read 1000 rows",
        "done (1/2)",
        "<html><body></html>",
        "copied 3 files from the first directory to the second ->",
    ] {
        assert_eq!(prompt(none, true), None, "{none:?}");
    }
    let below_an_error = "error: the disk is full\nrows so far: ";
    assert_eq!(prompt(below_an_error, false), None, "it has ended by itself");
    assert!(prompt(below_an_error, true).is_some(), "it has waited until its timeout");
}
