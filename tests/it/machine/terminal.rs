//! A terminal: commands have none, and its Ctrl-C ends them by way of the node.

use std::fs;

use process_orchestrator::platform::processes::is_alive;
use process_orchestrator::{Outcome, ProcessType, TaskDefinition};

use crate::common::{script, tool};
use crate::program::{Bench, Ended, ended};

/// Runs a program on a terminal of its own. For each `TEXT=KEYS;` of the steps it types the keys once
/// the text has appeared (`file:PATH`: once there is such a file). What was shown goes to standard output.
const ON_TERMINAL: &str = r#"
import os, pty, select, sys
steps = [step.split("=") for step in sys.argv[1].split(";") if step]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
shown = b""
while True:
    if steps:
        text, keys = steps[0]
        is_there = os.path.exists(text[5:]) if text.startswith("file:") else text.encode() in shown
        if is_there:
            os.write(terminal, keys.encode().decode("unicode_escape").encode())
            steps.pop(0)
    if select.select([terminal], [], [], 0.02)[0]:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
sys.stdout.buffer.write(shown)
status = os.waitpid(pid, 0)[1]
sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 255)
"#;

fn on_terminal(bench: &Bench, steps: &str, words: &[&str]) -> Ended {
    ended(&mut bench.started_by(&["python3", "-c", ON_TERMINAL, steps], words))
}

#[test]
fn a_command_that_opens_the_terminal_fails_at_once() {
    if tool("python3").is_none() {
        return;
    }
    let bench = Bench::with_tables("no_terminal");
    let asks = |name: &str, text: &str| TaskDefinition { max_retries: 0, ..script(name, text) };
    for (name, text) in [
        ("reads", "read answer < /dev/tty"),
        ("writes", "echo 'Password: ' > /dev/tty"),
        ("asks", "python3 -c 'import os; os.open(\"/dev/tty\", os.O_RDWR)'"),
        ("sets", "stty -F /dev/tty -echo"),
    ] {
        let file = bench.file(&ProcessType::new(name, "").add(asks(name, text)));
        on_terminal(&bench, "", &["run", &file, "--process-id", name]).expect(1);
        let execution = bench.database.store().executions(name).unwrap().remove(0);
        let message = execution.error_message.unwrap();
        assert_eq!((execution.outcome, execution.signal), (Outcome::Failed, None), "{name}: {message}");
        assert!(message.contains("No such device or address"), "{name}: {message}");
    }
    let file = bench.file(&ProcessType::new("shows", "").add(asks("shows", "cut -d ' ' -f 7 /proc/$$/stat")));
    on_terminal(&bench, "", &["run", &file, "--process-id", "shows"]).expect(0);
    let output = bench.database.store().tasks("shows").unwrap().remove(0).output;
    assert_eq!(output.as_deref().map(str::trim), Some("0"), "the number of its terminal");
}

#[test]
fn a_terminals_interrupt_ends_the_commands_by_way_of_the_node() {
    if tool("python3").is_none() {
        return;
    }
    let bench = Bench::with_tables("interrupted");
    let pids = bench.folder.join("pids");
    let text = format!(
        "trap 'echo cleaned; exit 0' TERM; sleep 600 & echo $$ $! > {0}.part; mv {0}.part {0}; wait",
        pids.display()
    );
    let file = bench.file(&ProcessType::new("sleeps", "").add(script("sleep", &text)));
    let steps = format!("file:{}=\\x03;send the signal again=\\x03", pids.display());
    let run = on_terminal(&bench, &steps, &["run", &file, "--process-id", "sleeps"]);
    assert_eq!(run.code, Some(130), "{run:#?}");
    let pids = fs::read_to_string(pids).unwrap();
    assert!(!pids.split_whitespace().any(|pid| is_alive(pid.parse().unwrap())), "{pids}: {run:#?}");
    let execution = bench.database.store().executions("sleeps").unwrap().remove(0);
    assert_eq!((execution.outcome, execution.exit_code), (Outcome::Interrupted, Some(0)));
    assert_eq!(execution.output.as_deref(), Some("cleaned\n"));
}
