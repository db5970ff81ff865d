//! What is asked on a real terminal before many processes are touched, and what needs no question.

use crate::common::one_task;
use crate::program::Bench;
use crate::terminal::Terminal;

fn on_terminal(bench: &Bench, words: &[&str]) -> Terminal {
    Terminal::start(bench.command(words).env("TERM", "xterm"))
}

/// Asks, and answers as somebody types; the exit code and what was shown then.
fn answered(bench: &Bench, words: &[&str], question: &str, keys: &str) -> (Option<i32>, String) {
    let mut terminal = on_terminal(bench, words);
    terminal.until(&format!("{question} [y/N] "));
    terminal.type_in(keys);
    terminal.end()
}

fn in_status(bench: &Bench, status: &str) -> i64 {
    bench.database.count(&format!("processes WHERE status = '{status}'"))
}

#[test]
fn a_terminal_is_asked_before_many_are_touched() {
    let bench = Bench::with_tables("asking");
    bench.database.register(&one_task("true"));
    let ids = bench.database.start_many("one-task", 3);
    let cancel = ["cancel", "--type", "one-task"];
    let question = "Cancel 3 processes of type \"one-task\"?";
    for keys in ["n\r", "\r", "no way\r", "\u{4}"] {
        let (code, shown) = answered(&bench, &cancel, question, keys);
        assert_eq!(code, Some(1), "{shown}");
        assert!(shown.contains("error: the answer was no: nothing was cancelled"), "{shown}");
        assert_eq!(in_status(&bench, "CANCELLED"), 0);
    }
    // A key that ends the program is a no as well.
    assert_eq!(answered(&bench, &cancel, question, "\u{3}").0, None);
    // One that is named, and a plan, need no question.
    let (code, shown) = on_terminal(&bench, &["cancel", &ids[0]]).end();
    assert_eq!((code, shown.contains("[y/N]")), (Some(0), false), "{shown}");
    assert_eq!(on_terminal(&bench, &[&cancel[..], &["--dry-run"]].concat()).end().0, Some(0));
    let question = "Cancel 2 NOT_STARTED processes of type \"one-task\"?";
    let words = [&cancel[..], &["--status", "not_started"]].concat();
    assert_eq!(answered(&bench, &words, question, "y\r").0, Some(0));
    assert_eq!(in_status(&bench, "CANCELLED"), 3);
    // Nothing to do, nothing to ask.
    assert_eq!(on_terminal(&bench, &cancel).end().0, Some(0));

    let retry = ["retry", "--status", "cancelled", "--limit", "2"];
    assert_eq!(answered(&bench, &retry, "Retry 2 CANCELLED processes?", "No\r").0, Some(1));
    assert_eq!(answered(&bench, &retry, "Retry 2 CANCELLED processes?", "YES\r").0, Some(0));
    assert_eq!(in_status(&bench, "CANCELLED"), 1);
    let (code, shown) = on_terminal(&bench, &["cancel", "--status", "not_started", "--yes"]).end();
    assert_eq!((code, shown.contains("[y/N]")), (Some(0), false), "{shown}");

    let prune = ["prune", "--older-than", "0s", "--status", "cancelled"];
    let question = "Delete 3 CANCELLED processes, all that have ended, with all that is recorded of them?";
    assert_eq!(answered(&bench, &prune, question, "n\r").0, Some(1));
    assert_eq!(in_status(&bench, "CANCELLED"), 3);
    assert_eq!(answered(&bench, &prune, question, "y\r").0, Some(0));
    assert_eq!(bench.database.count("processes"), 0);
}

#[test]
fn a_script_says_yes_to_everything_only() {
    let bench = Bench::with_tables("asking_script");
    bench.database.register(&one_task("true"));
    bench.database.start_many("one-task", 2);
    assert_eq!(bench.run(&["cancel", "--type", "one-task"]).expect(0).err, "2 processes cancelled\n");
    let refused = bench.run(&["prune", "--older-than", "0s"]).expect(2);
    assert!(refused.err.contains("Delete 2 processes, all that have ended"), "{refused:?}");
    assert!(refused.err.contains("Add --yes if that is meant"), "{refused:?}");
    assert_eq!(bench.database.count("processes"), 2);
    bench.run(&["prune", "--older-than", "0s", "--dry-run"]).expect(0);
    assert_eq!(bench.run(&["prune", "--older-than", "0s", "-y"]).expect(0).out, "deleted 2 processes\n");
    bench.run(&["retry", "--type", "one-task", "--yes"]).expect(0);
}
