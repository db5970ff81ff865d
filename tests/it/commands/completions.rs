//! Completions in real shells: what the keys of a person lead to.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use process_orchestrator::{ProcessInputData, ProcessType};

use crate::common::{one_task, tool};
use crate::program::{Bench, ended};
use crate::terminal::Terminal;

/// Two types, a process with an id that has to be quoted, a folder with a document.
fn bench(test: &str) -> Bench {
    let bench = Bench::with_tables(test);
    let pipeline = ProcessType::new("order-report", "").add_task("fetch", "true", "/", 1.0, 0).add_task(
        "count orders",
        "true",
        "/",
        1.0,
        0,
    );
    bench.database.register(&pipeline);
    bench.database.register(&ProcessType { name: "other".to_owned(), ..one_task("true") });
    for id in ["report:2026-11", "it's one"] {
        bench.run(&["start", "order-report", "--process-id", id]).expect(0);
    }
    bench.database.start("other", ProcessInputData::new());
    fs::create_dir(bench.folder.join("documents")).unwrap();
    fs::write(bench.folder.join("documents/input.json"), "{}").unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = bench.run(&["completions", shell]).expect(0).out;
        assert!(script.contains("process-orchestrator"));
        fs::write(bench.folder.join(shell), script).unwrap();
    }
    bench
}

/// A shell that finds the program by its name.
fn shell(bench: &Bench, words: &[&str]) -> Command {
    let mut command = bench.started_by_alone(words, &[]);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_process-orchestrator"));
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", program.parent().unwrap().display()));
    command.env("HOME", &bench.folder).env("TERM", "dumb").env("LC_ALL", "C.UTF-8").env("PS1", "> ");
    command
}

/// What is typed (a tab stands for the key), and the words that the line has then.
const TYPED: &[(&str, &[&str])] = &[
    ("expl\trep\t", &["explain", "report:2026-11"]),
    ("show it\t", &["show", "it's one"]),
    ("start ord\t", &["start", "order-report"]),
    ("list --ty\toth\t", &["list", "--type", "other"]),
    ("list --status=fai\t", &["list", "--status=failed"]),
    ("list --status failed,canc\t", &["list", "--status", "failed,cancelled"]),
    ("logs rep\tcou\t", &["logs", "report:2026-11", "count orders"]),
    ("retry --type order-report --from fe\t", &["retry", "--type", "order-report", "--from", "fetch"]),
    ("types reg\tdoc\tin\t", &["types", "register", "documents/input.json"]),
    ("start other --input @doc\tin\t", &["start", "other", "--input", "@documents/input.json"]),
    ("help perf\t", &["help", "performance"]),
];

/// Types each line into an interactive shell and has it print the words in place of running them.
fn hold(terminal: &mut Terminal, lines: &[(&str, &[&str])]) {
    for (typed, words) in lines {
        terminal.type_in(&format!("process-orchestrator {typed}"));
        // The line goes to another program: its words are what the shell would have passed on.
        terminal.type_in("\x01printf '<%s>' \x05; echo .\r");
        let expected: String =
            [&["process-orchestrator"], *words].concat().iter().map(|word| format!("<{word}>")).collect();
        let shown = terminal.until("\n<process-orchestrator");
        let shown = shown + &terminal.until(">.\r\n");
        assert!(shown.contains(&format!("{expected}.\r\n")), "{typed:?}: {shown:?}, not {expected:?}");
    }
}

#[test]
fn bash_completes_commands_options_values_ids_tasks_and_files() {
    if tool("bash").is_none() {
        return;
    }
    let bench = bench("completions_bash");
    let mut terminal = Terminal::start(&mut shell(&bench, &["bash", "--norc", "--noprofile", "-i"]));
    terminal.type_in(
        "bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; source ./bash; echo so'urced'\r",
    );
    terminal.until("sourced\r\n");
    hold(&mut terminal, TYPED);
    terminal.type_in("exit\r");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn zsh_completes_commands_options_values_ids_tasks_and_files() {
    if tool("zsh").is_none() {
        return;
    }
    let bench = bench("completions_zsh");
    let mut terminal = Terminal::start(&mut shell(&bench, &["zsh", "-f", "-i"]));
    terminal.type_in("unsetopt zle_bracketed_paste beep; autoload -Uz compinit; compinit -u -D; source ./zsh; bindkey -e; echo so'urced'\r");
    terminal.until("sourced\r\n");
    hold(&mut terminal, TYPED);
    terminal.type_in("exit\r");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn fish_completes_commands_options_values_ids_tasks_and_files() {
    if tool("fish").is_none() {
        return;
    }
    let bench = bench("completions_fish");
    for (typed, words) in TYPED {
        // The word at the last tab; those before are as they would be once completed.
        let (before, last) = words.split_at(words.len() - 1);
        let part = typed.trim_end_matches('\t').rsplit([' ', '\t']).next().unwrap();
        let part = match last[0].rfind('/') {
            Some(at) => format!("{}{part}", &last[0][..=at]),
            None => part.to_owned(),
        };
        let line = [before, &[part.as_str()]].concat().join(" ");
        let script = format!("source ./fish; complete -C 'process-orchestrator {line}'");
        let told = ended(&mut shell(&bench, &["fish", "--no-config", "-c", &script])).expect(0);
        let values: Vec<&str> = told.out.lines().map(|it| it.split('\t').next().unwrap()).collect();
        assert_eq!(values, last, "{line}: {told:?}");
    }
}

/// Asks as the scripts do.
pub fn asked(bench: &Bench, line: &str) -> Vec<String> {
    let told = bench.run(&["complete", "zsh", line]).expect(0);
    assert_eq!(told.err, "", "{line}");
    told.out.lines().skip(1).map(|it| it.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn candidates_fit_the_command_and_never_disturb() {
    let bench = bench("completions");
    bench.run(&["cancel", "it's one"]).expect(0);
    assert_eq!(asked(&bench, "po cancel "), ["other-1", "report:2026-11"]);
    assert_eq!(asked(&bench, "po cancel other-1 "), ["report:2026-11"]);
    assert_eq!(asked(&bench, "po retry "), ["it's one"]);
    assert_eq!(asked(&bench, "po list --status F"), ["FAILED"]);
    assert_eq!(asked(&bench, "po list --type other --ty"), [""; 0]);
    assert_eq!(asked(&bench, "po list --limit "), [""; 0]);
    assert!(asked(&bench, "po --schema nowhere show ").is_empty());
    assert!(!asked(&bench, "po ").contains(&"complete".to_owned()));
    // A database that is away: an address that nobody answers at, a server that refuses, settings that make no sense.
    for url in ["postgresql://10.255.255.1/db", "postgresql://127.0.0.1:1/db", "nonsense"] {
        for line in ["po show ", &format!("po --database-url {url} start ")] {
            let began = Instant::now();
            let mut command = bench.command(&["complete", "bash", line, ""]);
            let told = ended(command.env("DATABASE_URL", url).env("RUST_LOG", "trace").stdin(Stdio::null()));
            assert!(["", "words\n"].contains(&&*told.out) && told.err.is_empty(), "{line}: {told:?}");
            assert_eq!(told.code, Some(0));
            assert!(began.elapsed() < Duration::from_secs(5), "{line} took {:?}", began.elapsed());
        }
    }
    // No private server is started for a key press.
    let nowhere = bench.folder.join("no-cluster");
    let mut command = bench.command(&["complete", "fish", "po show "]);
    assert_eq!(ended(command.env("PROCESS_ORCHESTRATOR_DATA_DIR", &nowhere)).out, "words\n");
    assert!(!nowhere.exists());
}
