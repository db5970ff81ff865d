//! `logs` for a person on a terminal, for a pipe, and as it is stored.

use process_orchestrator::ProcessType;

use crate::common::{one_task, script};
use crate::program::{Bench, ended};
use crate::terminal::Terminal;

#[test]
fn what_is_stored_is_given_as_it_is_only_where_that_is_asked_for() {
    let bench = Bench::new("logs_raw");
    let output = "a\\033[1mb\\033[0m\\r\\n 10 %%\\r100 %%\\n\\033]0;title\\007\\033[2Jno end";
    let file = bench.file(&one_task(&format!("printf '{output}'")));
    bench.run(&["run", &file]).expect(0);
    let stored = "a\x1b[1mb\x1b[0m\r\n 10 %\r100 %\n\x1b]0;title\x07\x1b[2Jno end";
    assert_eq!(bench.run(&["logs", "one-task-1", "only", "--raw"]).expect(0).out, stored);
    assert_eq!(bench.run(&["logs", "one-task-1"]).expect(0).out, "ab\n100 %\nno end");
    let document = bench.run(&["logs", "one-task-1", "--attempt", "1", "--json"]).expect(0).json();
    assert_eq!(document["executions"][0]["output"], stored);
    assert_eq!(document["executions"][0]["outcome"], "SUCCEEDED");
    bench.run(&["logs", "one-task-1", "--raw", "--json"]).expect(2);

    let shown = |term: &str, more: &[&str]| {
        let mut command = bench.command(&[&["logs", "one-task-1"], more].concat());
        Terminal::start(command.env("TERM", term)).end().1
    };
    let on_screen = shown("xterm", &[]);
    assert!(on_screen.ends_with("ms\r\na\x1b[1mb\x1b[0m\r\n100 %\r\nno end\r\n"), "{on_screen:?}");
    assert!(shown("dumb", &[]).ends_with("ms\r\nab\r\n100 %\r\nno end\r\n"), "no colours");
    assert!(
        shown("xterm", &["--raw"]).contains("\x1b]0;title\x07\x1b[2Jno end"),
        "what is asked for is given"
    );
    let run = Terminal::start(bench.command(&["run", &file]).env("TERM", "dumb")).end();
    assert_eq!(run.0, Some(0), "{run:?}");
}

#[test]
fn headings_and_outputs_of_several_tasks_each_begin_a_line() {
    let bench = Bench::new("logs_several");
    let several = ProcessType::new("several", "")
        .add(script("one", "printf first"))
        .add(script("none", "true"))
        .add(script("two", "printf second"));
    let file = bench.file(&several);
    bench.run(&["run", &file]).expect(0);
    assert_eq!(bench.run(&["logs", "several-1"]).expect(0).out, "first\nsecond");
    assert_eq!(bench.run(&["logs", "several-1", "--raw"]).expect(0).out, "firstsecond");
    // Both streams into one, as a terminal or a file has them.
    let both = bench.started_by(&["sh", "-c", "exec \"$0\" \"$@\" 2>&1"], &["logs", "several-1"]);
    let lines = ended(&mut { both }).expect(0).out;
    let kinds: Vec<&str> = lines.lines().map(|it| it.split(',').next().unwrap()).collect();
    assert_eq!(kinds, ["==> one", "first", "==> none", "==> two", "second"], "{lines}");
}

#[test]
fn an_attempt_or_a_task_that_is_not_there_is_not_found() {
    let bench = Bench::new("logs_none");
    let file = bench.file(&one_task("echo a"));
    bench.run(&["run", &file]).expect(0);
    let unknown = bench.run(&["logs", "one-task-1", "second"]).expect(3);
    assert!(unknown.err.contains("has no task \"second\"; it has only"), "{unknown:#?}");
    for more in [&[][..], &["--json"], &["--follow"], &["--raw"]] {
        let none = bench.run(&[&["logs", "one-task-1", "--attempt", "9"], more].concat()).expect(3);
        assert!(none.out.is_empty(), "{none:?}");
        assert!(
            none.err.contains("has no attempt 9 of any task; the last one of task only is 1"),
            "{none:?}"
        );
    }
    bench.run(&["start", "one-task"]).expect(0);
    let early = bench.run(&["logs", "one-task-2"]).expect(0);
    assert!(early.err.contains("no command of process one-task-2 has begun yet"), "{early:?}");
    assert!(early.err.contains("explain one-task-2"), "{early:?}");
}
