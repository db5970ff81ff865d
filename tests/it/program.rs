//! The real binary as the tests run it: on a schema of the test's own, with a folder for its files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use process_orchestrator::ProcessType;
use process_orchestrator::database::private_cluster::POSTGRESQL_VARIABLE;
use process_orchestrator::platform::processes::kill;
use serde_json::Value;

use crate::common::{TestDatabase, data_dir};

/// The program, a database of its own, and a folder for its files.
pub struct Bench {
    pub database: TestDatabase,
    pub folder: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Bench {
    pub fn new(test: &str) -> Self {
        let database = TestDatabase::bare(test);
        let folder = std::env::temp_dir().join(format!("{}-files", database.schema));
        fs::create_dir(&folder).unwrap();
        // The private cluster has to be there: some commands do not make one.
        drop(database.store());
        Self { database, folder }
    }

    pub fn with_tables(test: &str) -> Self {
        let bench = Self::new(test);
        bench.database.store().migrate(false).unwrap();
        bench
    }

    /// A process type as a file; its name in the folder.
    pub fn file(&self, process_type: &ProcessType) -> String {
        let name = format!("{}.json", process_type.name);
        fs::write(self.folder.join(&name), process_type.to_value().to_string()).unwrap();
        name
    }

    pub fn command(&self, words: &[&str]) -> Command {
        self.started_by(&[], words)
    }

    /// The program as another one starts it, whose own words come first.
    pub fn started_by(&self, starter: &[&str], words: &[&str]) -> Command {
        self.started_by_alone(&[starter, &[env!("CARGO_BIN_EXE_process-orchestrator")]].concat(), words)
    }

    /// The same where the starter's own words name the program, as a copy of it that others may run.
    pub fn started_by_alone(&self, starter: &[&str], words: &[&str]) -> Command {
        let line = [starter, words].concat();
        let mut command = Command::new(line[0]);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name == POSTGRESQL_VARIABLE {
                continue;
            }
            if ["PG", "PROCESS_ORCHESTRATOR_", "DATABASE_URL", "RUST_LOG"]
                .iter()
                .any(|it| name.starts_with(it))
            {
                command.env_remove(name);
            }
        }
        command.args(&line[1..]).env("TZ", "UTC").current_dir(&self.folder).stdin(Stdio::null());
        command.env("PROCESS_ORCHESTRATOR_DATA_DIR", data_dir());
        command.env("PROCESS_ORCHESTRATOR_SCHEMA", &self.database.schema);
        command
    }

    pub fn run(&self, words: &[&str]) -> Ended {
        ended(&mut self.command(words))
    }

    pub fn spawn(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.folder).unwrap();
        }
    }
}

pub fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Ended {
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

pub fn signal(child: &Child, name: &str) {
    send(child.id(), name);
}

/// Sends a signal, such as `-TERM`, by the shell's own `kill`: a slim system has no program of that name.
pub fn send(pid: u32, name: &str) {
    let status = kill().args([name, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill {name} {pid}: {status}");
}

/// Reads standard error until a line that holds `part`; returns the rest to read.
pub fn until_line(child: &mut Child, part: &str) -> BufReader<std::process::ChildStderr> {
    until_line_kept(child, part).1
}

/// The same with what was read.
pub fn until_line_kept(child: &mut Child, part: &str) -> (String, BufReader<std::process::ChildStderr>) {
    let mut reader = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    while !seen.contains(part) {
        let read = reader.read_line(&mut seen).unwrap();
        assert!(read > 0, "no line with {part:?} in {seen:?}");
    }
    (seen, reader)
}
