//! What README and guide show is so: their commands and queries run in their order and print what stands there, their
//! documents are valid, the example in Rust is the one that is run here. Every page is found, by links and by `help`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::NoTls;
use postgres::config::Host;
use process_orchestrator::engine::NodeConfig;
use process_orchestrator::{ProcessInputData, ProcessType};
use serde_json::{Value, json};

use crate::common::{PATIENCE, settings, wait_until};
use crate::readme_example::run_pipeline;

const README: &str = include_str!("../../README.md");
/// Stands for anything in a shown line, and alone on one for any number of lines.
const ANYTHING: &str = "…";

/// A page of the guide. Its name is the topic that `help` knows.
struct Page {
    name: String,
    text: String,
}

/// The guide, by name.
fn guide() -> Vec<Page> {
    let files = fs::read_dir(checkout().join("src/guide")).unwrap().map(|file| file.unwrap().path());
    let mut pages: Vec<Page> = files
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .map(|path| Page {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            text: fs::read_to_string(&path).unwrap(),
        })
        .collect();
    assert!(pages.len() >= 12, "{}", pages.len());
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    pages
}

fn page(name: &str) -> String {
    guide().into_iter().find(|page| page.name == name).unwrap_or_else(|| panic!("no page {name}")).text
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn program(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_process-orchestrator")).args(words).output().unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// A fenced block.
#[derive(Debug)]
struct Block {
    language: String,
    file: String,
    /// Of its first line inside.
    line: usize,
    text: String,
}

/// Those of the README, then those of the guide.
fn blocks() -> Vec<Block> {
    let mut all = Vec::new();
    blocks_of("README.md", README, &mut all);
    for page in guide() {
        blocks_of(&format!("{}.md", page.name), &page.text, &mut all);
    }
    all
}

fn blocks_of(file: &str, text: &str, blocks: &mut Vec<Block>) {
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                let (language, file) = (language.to_owned(), file.to_owned());
                open = Some(Block { language, file, line: number + 1, text: String::new() });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "not closed: {open:?}");
}

fn blocks_in(language: &str) -> Vec<Block> {
    blocks().into_iter().filter(|block| block.language == language).collect()
}

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
struct Stage {
    database: OwnDatabase,
    folder: PathBuf,
    nodes: Vec<Serving>,
    last_code: Option<i32>,
}

impl Stage {
    fn new() -> Self {
        let database = OwnDatabase::new();
        let folder = std::env::temp_dir().join(&database.name);
        fs::create_dir(&folder).unwrap();
        Self { database, folder, nodes: Vec::new(), last_code: None }
    }

    fn run_console(&mut self, block: &Block) {
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
    fn save(&self, block: &Block) {
        let document: Value = serde_json::from_str(&block.text).unwrap();
        if let (Some(name), true) = (document["name"].as_str(), document["tasks"].is_array()) {
            fs::write(self.folder.join(format!("{name}.json")), &block.text).unwrap();
        }
    }

    /// Stops the nodes as a reader would, and leaves nothing.
    fn end(mut self) {
        for Serving { mut node, mut output, .. } in self.nodes.drain(..) {
            let is_sent = Command::new("kill").args(["-TERM", &node.id().to_string()]).status().unwrap();
            assert!(is_sent.success());
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

struct Serving {
    address: SocketAddr,
    node: Child,
    output: BufReader<ChildStdout>,
}

/// A database beside those of the other tests, so that the schema may have its usual name.
struct OwnDatabase {
    name: String,
}

impl OwnDatabase {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("readme_{}_{number}", std::process::id());
        let mut client = settings().config().connect(NoTls).unwrap();
        client.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
        Self { name }
    }

    fn url(&self) -> String {
        let config = settings().config();
        let [Host::Unix(directory)] = config.get_hosts() else { panic!("{:?}", config.get_hosts()) };
        let directory = directory.to_str().unwrap().replace('\\', "\\\\").replace('\'', "\\'");
        let (port, user) = (config.get_ports()[0], config.get_user().unwrap());
        format!("host='{directory}' port={port} user={user} dbname={}", self.name)
    }

    fn client(&self) -> postgres::Client {
        postgres::Client::connect(&self.url(), NoTls).unwrap()
    }

    fn texts(&self, query: &str) -> Vec<String> {
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
fn get(address: SocketAddr, path: &str) -> String {
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

#[test]
fn its_commands_and_queries_run_and_print_what_it_shows() {
    let mut stage = Stage::new();
    for block in blocks() {
        match block.language.as_str() {
            "console" => stage.run_console(&block),
            "json" => stage.save(&block),
            "sql" => stage
                .database
                .client()
                .batch_execute(&block.text)
                .unwrap_or_else(|error| panic!("{}:{}: {error:?}", block.file, block.line)),
            _ => {}
        }
    }
    let database = &stage.database;
    let open = "SELECT task_instance FROM process_orchestrator.scheduled_tasks ORDER BY 1";
    wait_until("what SQL has started has ended, but for what is due in a year", || {
        (database.texts(open) == ["orders-later"]).then_some(())
    });
    let failed = "SELECT process_id FROM process_orchestrator.processes WHERE status = 'FAILED'";
    assert_eq!(database.texts(failed), ["orders-report-1"]);

    let tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'process_orchestrator'";
    let told = page("database");
    for table in database.texts(tables) {
        assert!(told.contains(&format!("| `{table}` |")), "database.md does not tell of table {table}");
    }
    let states = "SELECT DISTINCT match[1] FROM pg_proc, regexp_matches(prosrc, 'PO[0-9]{3}', 'g') AS match";
    let told = page("starting");
    for state in database.texts(states) {
        assert!(told.contains(&format!("| `{state}` |")), "starting.md does not tell of SQLSTATE {state}");
    }
    let index: Value = serde_json::from_str(&get(stage.nodes[0].address, "/")).unwrap();
    let told = page("http");
    for path in index["paths"].as_array().unwrap() {
        let path = path["path"].as_str().unwrap();
        assert!(told.contains(&format!("`{path}`")), "http.md does not tell of path {path}");
    }
    stage.end();
}

#[test]
fn it_tells_of_every_command() {
    let help = text(program(&["help"]).stdout);
    let commands = help.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    // Further in stands what of a sentence did not fit on its line.
    let names = commands.lines().filter_map(|line| line.strip_prefix("  ")).filter(|it| !it.starts_with(' '));
    for name in names.filter_map(|it| it.split(' ').next()) {
        let is_told = README.lines().any(|line| {
            line.starts_with("| `") && line.split('`').any(|it| it.split(' ').next() == Some(name))
        });
        assert!(is_told, "README.md does not tell of the command {name}");
    }
}

/// Ten minutes are enough for it, and it leads to every page; so does `help`.
#[test]
fn it_is_short_and_every_page_is_linked_and_printed_by_help() {
    assert!(README.lines().count() <= 300, "README.md has {} lines", README.lines().count());
    let list = text(program(&["help"]).stdout);
    let refused = program(&["help", "nothing"]);
    assert_eq!(refused.status.code(), Some(2));
    let refusal = text(refused.stderr);
    for Page { name, text: page } in guide() {
        let link = format!("[{name}](src/guide/{name}.md)");
        assert!(README.contains(&format!("| {link} |")), "README.md does not link {name}.md");
        let title = page.lines().next().and_then(|line| line.strip_prefix("# ")?.split_once(": ")).unwrap().1;
        assert!(list.contains(&format!("{name:<15}{title}\n")), "{name} is not in\n{list}");
        assert!(refusal.contains(&name), "{name} is not in {refusal}");
        for topic in [&name, &name.replace('_', "-")] {
            let printed = program(&["help", topic]);
            assert_eq!(printed.status.code(), Some(0), "{topic}");
            let printed = text(printed.stdout);
            let shown: Vec<&str> = page.lines().filter(|line| !line.contains("]: ")).collect();
            assert!(printed.ends_with(&format!("{}\n", shown.join("\n").trim_end())), "{topic}: {printed}");
        }
    }
    assert_eq!(refusal.lines().next(), Some("error: invalid value 'nothing' for '[TOPIC]'"));
}

#[test]
fn help_prints_what_a_command_prints_of_itself() {
    for words in [&["start"][..], &["nodes"], &["types"], &["types", "register"], &["help"], &[]] {
        let printed = text(program(&[&["help"], words].concat()).stdout);
        let own = text(program(&[words, &["--help"]].concat()).stdout);
        assert!(own.contains("Usage: process-orchestrator"), "{words:?}: {own}");
        assert!(printed.starts_with(&own), "{words:?}: {printed}");
    }
    let own = text(program(&["types", "register", "--help"]).stdout);
    assert_eq!(text(program(&["types", "help", "register"]).stdout), own);
    for words in
        [&["help", "types", "nothing"][..], &["help", "flow", "nothing"], &["types", "help", "nothing"]]
    {
        let refused = program(words);
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{words:?}");
        assert!(text(refused.stderr).starts_with("error: "), "{words:?}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(program(&["completions", shell]).stdout);
        assert!(script.contains("process_types") && script.contains("performance"), "{shell}: {script}");
    }
}

/// A link leads to a file of the checkout. On a page it is written `[flow]`, so that `help` prints a topic's name.
#[test]
fn their_links_lead_somewhere() {
    for target in README.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        let is_heading = target
            .strip_prefix('#')
            .is_some_and(|it| README.to_lowercase().contains(&format!("\n## {it}\n")));
        assert!(is_heading || checkout().join(target).is_file(), "README.md links {target}");
    }
    let pages = guide();
    for Page { name, text } in &pages {
        assert!(!text.contains("]("), "{name}.md has a link of another form");
        for topic in pages.iter().map(|page| &page.name) {
            let is_used = text.replace(&format!("\n[{topic}]: "), "").contains(&format!("[{topic}]"));
            let is_defined = text.contains(&format!("\n[{topic}]: {topic}.md\n"));
            assert_eq!(
                is_used, is_defined,
                "{name}.md: [{topic}] needs a definition below, and only if it is there"
            );
        }
    }
}

/// Every row of the faults names tests that there are, and no row is without.
#[test]
fn its_faults_are_tests() {
    let page = page("faults");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let mut count = 0;
    for row in rows.iter().filter(|row| !row.starts_with("| **") && !row.starts_with("|---")) {
        let tests: Vec<&str> = row.split('`').filter(|it| it.contains("::") && !it.contains(' ')).collect();
        assert!(!tests.is_empty(), "no test in {row}");
        for test in tests {
            let mut parts: Vec<&str> = test.split("::").collect();
            let name = parts.pop().unwrap();
            let file = checkout().join("tests/it").join(parts.join("/"));
            let places = [file.with_extension("rs"), file.join("mod.rs")];
            let text = places.iter().find_map(|it| fs::read_to_string(it).ok());
            let text = text.unwrap_or_else(|| panic!("{test}: neither of {places:?} is there"));
            let is_there = text
                .split("#[test]")
                .skip(1)
                .any(|it| it.split("fn ").nth(1).is_some_and(|it| it.split('(').next() == Some(name)));
            assert!(is_there, "faults.md names the test {test}, which is not there");
            count += 1;
        }
    }
    assert!(count > 70, "only {count} tests");
}

#[test]
fn its_documents_are_valid() {
    let documents = blocks_in("json");
    assert!(documents.len() >= 4, "{documents:?}");
    for Block { file, line, text, .. } in documents {
        let source = format!("{file}:{line}");
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{source}: {error}"));
        let checked = if document.get("tasks").is_some() {
            ProcessType::from_json(&text, &source).map(drop)
        } else if document.get("command").is_some() {
            ProcessType::from_value(&json!({ "name": "one", "tasks": [document] }), &source).map(drop)
        } else {
            ProcessInputData::from_json(&text, &source).map(drop)
        };
        checked.unwrap_or_else(|faults| panic!("{faults}"));
    }
}

/// Rust's documentation takes a block without a language for Rust, and GitHub shows it without colours.
#[test]
fn its_blocks_say_what_they_are() {
    for Block { language, file, line, .. } in blocks() {
        let known = ["console", "json", "sql", "text", "rust,no_run"];
        assert!(known.contains(&language.as_str()), "{file}:{line}: {language:?}");
    }
}

/// The cells of a table's rows, without the two of its head.
fn cells(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn section<'t>(page: &'t str, heading: &str) -> &'t str {
    page.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap()
}

/// The page's figures are rows of what `scripts/performance` prints, and the README's are among them.
#[test]
fn its_figures_are_those_that_are_measured() {
    let listed = Command::new(checkout().join("scripts/performance")).arg("--names").output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed = format!("\n\n{}", text(listed.stdout)).replace("\n\n|", "|head|\n|---|\n|");
    // Mode, figure and limit of each row, and the figure's name in full.
    let mut known: Vec<([&str; 3], String)> = Vec::new();
    let mut first = "";
    for row in cells(&listed) {
        let [mode, figure, limit] = row[..] else { panic!("{row:?}") };
        let full = match figure.strip_prefix("… ") {
            Some(rest) => format!("{first}, {rest}"),
            None => figure.to_owned(),
        };
        first = if figure.starts_with('…') { first } else { figure };
        known.push(([mode, figure, limit], full));
    }
    let page = page("performance");
    let mut measured = Vec::new();
    for row in cells(section(&page, "Figures")) {
        let [mode, figure, limit, value, _] = row[..] else { panic!("{row:?}") };
        let full = known.iter().find(|it| it.0 == [mode, figure, limit]).map(|it| &it.1);
        measured
            .push((full.unwrap_or_else(|| panic!("scripts/performance prints no {row:?}")).as_str(), value));
    }
    let shown = cells(section(README, "Figures"));
    assert_eq!(shown.len(), 8);
    for row in shown {
        let [figure, value] = row[..] else { panic!("{row:?}") };
        assert!(measured.contains(&(figure, value)), "{row:?} is not in performance.md");
    }
}

#[test]
fn its_defaults_and_requirements_are_those_of_the_program() {
    let NodeConfig { heartbeat, dead_after, lease, drain_timeout, poll_interval, .. } = NodeConfig::default();
    let nodes = page("nodes");
    for (option, default) in [
        ("heartbeat", heartbeat),
        ("dead-after", dead_after),
        ("lease", lease),
        ("drain-timeout", drain_timeout),
        ("poll-interval", poll_interval),
    ] {
        let row = format!("| `--{option}` | {} s |", default.as_secs());
        assert!(nodes.contains(&row), "nodes.md has no row {row}");
    }
    assert!(README.contains(concat!("Rust ", env!("CARGO_PKG_RUST_VERSION"), " or newer")));
    let oldest = format!("PostgreSQL {} or newer", process_orchestrator::database::OLDEST_SERVER);
    assert!(README.contains(&oldest) && page("database").contains(&oldest));
}

#[test]
fn its_example_in_rust_is_this_one_and_runs() {
    let (_, example) = include_str!("readme_example.rs").split_once("// --- starting.md ---\n").unwrap();
    let shown = blocks_in("rust,no_run");
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].text, example, "starting.md and tests/it/readme_example.rs have to say the same");

    let database = OwnDatabase::new();
    let folder = std::env::temp_dir().join(format!("{}-output", database.name));
    run_pipeline(&database.url(), folder.to_str().unwrap()).unwrap();
    let tasks = database.texts(
        "SELECT p.status || ' ' || t.name || ' ' || t.exit_code FROM process_orchestrator.processes p \
         JOIN process_orchestrator.tasks t USING (process_id) ORDER BY t.task_index",
    );
    let expected = ["load", "process", "generate", "analyze"].map(|name| format!("COMPLETED {name} 0"));
    assert_eq!(tasks, expected);
    assert!(folder.join("report.html").is_file());
    fs::remove_dir_all(&folder).unwrap();
}
