//! Where a reader's commands run, and what they print is compared.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::NoTls;
use postgres::config::Host;
use serde_json::Value;

use super::pages::Block;
use crate::common::{PATIENCE, settings};

/// Stands for anything in a shown line, and alone on one for any number of lines.
const ANYTHING: &str = "…";

/// A command of a console block, and what is shown below it.
struct Shown<'b> {
    /// File and line.
    place: String,
    command: String,
    output: Vec<&'b str>,
}

fn commands(block: &Block) -> Vec<Shown<'_>> {
    let mut commands: Vec<Shown<'_>> = Vec::new();
    for (line, text) in (block.line..).zip(block.text.lines()) {
        match (text.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => {
                let (place, command) = (format!("{}:{line}", block.file), command.to_owned());
                commands.push(Shown { place, command, output: Vec::new() });
            }
            (None, Some(last)) if last.command.ends_with('\\') => {
                last.command.push('\n');
                last.command.push_str(text);
            }
            (None, Some(last)) => last.output.push(text),
            (None, None) => panic!("{}:{line}: a console block begins with a command: {text:?}", block.file),
        }
    }
    commands
}

/// What a reader has in front of him: a folder, a database of his own, and nodes that run.
pub(super) struct Stage {
    pub(super) database: OwnDatabase,
    folder: PathBuf,
    pub(super) nodes: Vec<Serving>,
    last_code: Option<i32>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let database = OwnDatabase::new();
        let folder = std::env::temp_dir().join(&database.name);
        fs::create_dir(&folder).unwrap();
        Self { database, folder, nodes: Vec::new(), last_code: None }
    }

    pub(super) fn run_console(&mut self, block: &Block) {
        let commands = commands(block);
        for (index, shown) in commands.iter().enumerate() {
            let Shown { place, command, output } = shown;
            let words: Vec<&str> = command.split_whitespace().collect();
            match words.as_slice() {
                // These build and install, or run this very test.
                ["scripts/demo" | "scripts/test" | "cargo" | "sudo", ..] => {}
                ["echo", "$?"] => assert_eq!(
                    self.last_code.map(|code| code.to_string()).as_deref(),
                    output.first().copied(),
                    "{place}"
                ),
                ["process-orchestrator", "serve", ..] => self.serve(shown),
                ["process-orchestrator" | "printf", ..] => {
                    self.run(shown, commands.get(index + 1).is_some_and(|next| next.command == "echo $?"));
                }
                ["curl", "-s", url] => {
                    let path = url.strip_prefix("http://127.0.0.1:8710").unwrap();
                    compare(shown, &get(self.nodes.first().unwrap().address, path));
                }
                _ => panic!("{place}: this test does not know how to run {command:?}"),
            }
        }
    }

    fn run(&mut self, shown: &Shown<'_>, is_code_asked: bool) {
        let ended = self.shell(&format!("exec 2>&1\n{}", shown.command)).output().unwrap();
        let output = String::from_utf8(ended.stdout).unwrap();
        self.last_code = ended.status.code();
        assert!(
            is_code_asked || ended.status.success(),
            "{}: {:?} {}:\n{output}",
            shown.place,
            shown.command,
            ended.status
        );
        compare(shown, &output);
    }

    fn serve(&mut self, shown: &Shown<'_>) {
        let mut shell = self.shell(&format!("exec {} 2>&1", shown.command));
        let mut node = shell.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(node.stdout.take().unwrap());
        let mut seen = String::new();
        while !seen.contains(" ready: ") {
            assert!(output.read_line(&mut seen).unwrap() > 0, "{}: it ended: {seen}", shown.place);
        }
        let address = seen.split("http://").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        self.nodes.push(Serving { address: address.parse().unwrap(), node, output });
        compare(shown, &seen);
    }

    /// A shell in the reader's folder that finds the program and the database.
    fn shell(&self, script: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_process-orchestrator"));
        let mut path = program.parent().unwrap().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["PG", "PROCESS_ORCHESTRATOR_", "RUST_LOG"].iter().any(|it| text.starts_with(it)) {
                shell.env_remove(&name);
            }
        }
        shell.args(["-c", script]).current_dir(&self.folder).stdin(Stdio::null()).env("PATH", path);
        shell.env("LC_ALL", "C").env("TZ", "UTC").env("DATABASE_URL", self.database.url());
        // The port of the README may be another's on this machine.
        shell.env("PROCESS_ORCHESTRATOR_LISTEN", "127.0.0.1:0");
        shell
    }

    /// Each process type lies in the file that is named for it.
    pub(super) fn save(&self, block: &Block) {
        let document: Value = serde_json::from_str(&block.text).unwrap();
        let is_one = document["tasks"].is_array() || document["process_type"].is_string();
        if let (Some(name), true) = (document["name"].as_str(), is_one) {
            fs::write(self.folder.join(format!("{name}.json")), &block.text).unwrap();
        }
    }

    /// Stops the nodes as a reader would, and leaves nothing.
    pub(super) fn end(mut self) {
        for Serving { mut node, mut output, .. } in self.nodes.drain(..) {
            crate::program::signal(&node, "-TERM");
            let mut said = String::new();
            output.read_to_string(&mut said).unwrap();
            assert_eq!(node.wait().unwrap().code(), Some(0), "{said}");
            assert!(said.ends_with("stopped\n"), "{said}");
        }
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Only a failed test has any left.
        for serving in &mut self.nodes {
            _ = serving.node.kill();
            _ = serving.node.wait();
        }
    }
}

pub(super) struct Serving {
    pub(super) address: SocketAddr,
    node: Child,
    output: BufReader<ChildStdout>,
}

/// A database beside those of the other tests, so that the schema may have its usual name.
pub(super) struct OwnDatabase {
    pub(super) name: String,
}

impl OwnDatabase {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("readme_{}_{number}", std::process::id());
        let mut client = settings().config().connect(NoTls).unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        Self { name }
    }

    pub(super) fn url(&self) -> String {
        let config = settings().config();
        let [Host::Unix(directory)] = config.get_hosts() else { panic!("{:?}", config.get_hosts()) };
        let directory = directory.to_str().unwrap().replace('\\', "\\\\").replace('\'', "\\'");
        let (port, user) = (config.get_ports()[0], config.get_user().unwrap());
        format!("host='{directory}' port={port} user={user} dbname={}", self.name)
    }

    pub(super) fn client(&self) -> postgres::Client {
        postgres::Client::connect(&self.url(), NoTls).unwrap()
    }

    pub(super) fn texts(&self, query: &str) -> Vec<String> {
        self.client().query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    }
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let mut client = settings().config().connect(NoTls).unwrap();
            client.batch_execute(&format!("DROP DATABASE {}", self.name)).unwrap();
        }
    }
}

/// The body of an answer. HTTP/1.0, so that it ends with the connection.
pub(super) fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}")).1.to_owned()
}

/// Holds what a command printed against what is shown: every line, in its order, but for numbers, units of time and
/// spacing, and for tasks that were seen IN_PROGRESS, which is a matter of luck.
fn compare(shown: &Shown<'_>, actual: &str) {
    let lines: Vec<String> =
        actual.lines().filter(|line| !line.ends_with(" IN_PROGRESS")).map(plain).collect();
    let mut rest = lines.as_slice();
    let mut may_skip = false;
    for line in &shown.output {
        if *line == ANYTHING {
            may_skip = true;
            continue;
        }
        let pattern = plain(line);
        let at = rest.iter().position(|it| fits(&pattern, it)).filter(|at| may_skip || *at == 0);
        let at = at.unwrap_or_else(|| {
            panic!(
                "{}: {:?} does not print {pattern:?} where it is shown, but:\n{actual}",
                shown.place, shown.command
            )
        });
        rest = &rest[at + 1..];
        may_skip = false;
    }
    assert!(
        may_skip || rest.is_empty(),
        "{}: {:?} prints more than is shown: {rest:?} in\n{actual}",
        shown.place,
        shown.command
    );
}

/// Numbers, times and dates become `#`, with their unit of time; white space is one space.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if !character.is_ascii_digit() {
            plain.push(character);
            continue;
        }
        plain.push('#');
        let mut last = character;
        while let Some(&next) = characters.peek() {
            let is_inside = next.is_ascii_digit() || (".:-".contains(next) && last.is_ascii_digit());
            if !is_inside {
                break;
            }
            last = next;
            characters.next();
        }
        // What ended the number and did not go on belongs to the text.
        if !last.is_ascii_digit() {
            plain.push(last);
        }
    }
    let mut words: Vec<&str> = Vec::new();
    for word in plain.split_whitespace() {
        let is_after_number = words.last().is_some_and(|it| it.ends_with('#'));
        let unit = ["ms", "s"].iter().find_map(|unit| word.strip_prefix(unit));
        match unit.filter(|rest| is_after_number && !rest.starts_with(char::is_alphanumeric)) {
            Some("") => {}
            Some(rest) => words.push(rest),
            None => words.push(word),
        }
    }
    words.join(" ")
}

fn fits(pattern: &str, line: &str) -> bool {
    let Some((first, others)) = pattern.split_once(ANYTHING) else { return pattern == line };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = others.split(ANYTHING).collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}
