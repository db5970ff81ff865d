//! Batches: started as one, halted, paused, cancelled, retried, followed and told as one, by the real binary.

mod doors;
mod halts;
mod life;
mod starts;
mod then;

use std::fs;
use std::process::{Child, Stdio};

use process_orchestrator::model::batch::data::BatchData;
use process_orchestrator::{ProcessType, TaskDefinition};

use crate::common::{script, wait_until};
use crate::program::{Bench, Ended, until_line};

/// A node of the real program; killed when it goes.
struct Served(Child);

impl Served {
    fn new(bench: &Bench, executors: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = bench.command(&["serve", "--no-http", "--executors", executors]);
        let mut child = command
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut rest = until_line(&mut child, "ready: node");
        // Somebody has to read what it says.
        std::thread::spawn(move || std::io::copy(&mut rest, &mut std::io::sink()));
        Self(child)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// A task without retries.
fn task(name: &str, text: &str) -> TaskDefinition {
    TaskDefinition { max_retries: 0, ..script(name, text) }
}

/// A type of one task: each process does what its input's `do` says, to a shell.
fn of_words(bench: &Bench) {
    let environment = [("DO".to_owned(), "${config.do}".to_owned())].into();
    let kind =
        ProcessType::new("words", "").add(TaskDefinition { environment, ..task("do", "eval \"$DO\"") });
    bench.database.register(&kind);
}

/// Writes a file of inputs, one for each of these words.
fn inputs<'w>(bench: &Bench, name: &str, words: impl IntoIterator<Item = &'w str>) {
    let lines: String = words
        .into_iter()
        .enumerate()
        .map(|(n, word)| format!("{}\n", serde_json::json!({ "config": { "do": word, "n": n } })))
        .collect();
    fs::write(bench.folder.join(name), lines).unwrap();
}

fn start(bench: &Bench, name: &str, more: &[&str]) -> Ended {
    let words = [&["start", "words", "--inputs", "in.jsonl", "--batch", name], more].concat();
    bench.run(&words)
}

fn batch(bench: &Bench, name: &str) -> BatchData {
    bench.database.store().batch(name).unwrap().unwrap()
}

fn until(bench: &Bench, name: &str, what: &str, holds: impl Fn(&BatchData) -> bool) -> BatchData {
    let mut store = bench.database.store();
    wait_until(what, || store.batch(name).unwrap().filter(|it| holds(it)))
}
