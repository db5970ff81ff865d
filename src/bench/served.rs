//! A node as a user runs it: this very program as `serve`, a process of its own, with its defaults.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::args::ServeExecutors;
use super::child::own_program;
use super::error::BenchError;
use super::stage::Stage;
use crate::platform::children;

/// What the line holds that says that it runs.
const READY: &str = " ready: node ";
/// A node that is not ready by then will not be.
const READY_MAX: Duration = Duration::from_secs(60);
/// What it has said last, to be told when it fails.
const LINES_MAX: usize = 20;

type Said = Arc<Mutex<VecDeque<String>>>;

/// It ends when this is dropped.
pub struct Served {
    process: std::process::Child,
    said: Said,
    listener: Option<JoinHandle<()>>,
}

impl Served {
    /// Starts it and waits until it is ready. Its endpoint listens at any port that is free: the usual one may be taken.
    pub fn start(stage: &Stage<'_>, schema: &str, executors: ServeExecutors) -> Result<Self, BenchError> {
        let mut command = own_program(stage, schema)?;
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        if let ServeExecutors::Number(number) = executors {
            command.args(["--executors", &number.to_string()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        children::end_with_us(&mut command);
        let process = command.spawn().map_err(|it| BenchError::system("start serve", &it))?;
        let mut served = Self { process, said: Said::default(), listener: None };
        match served.listen()?.recv_timeout(READY_MAX) {
            Ok(()) => Ok(served),
            Err(_) => Err(served.failed("has not become ready")),
        }
    }

    fn listen(&mut self) -> Result<Receiver<()>, BenchError> {
        let (tell_ready, ready) = bounded(1);
        let (output, said) = (self.process.stderr.take(), Arc::clone(&self.said));
        let listen = move || {
            let lines = output.map(|it| BufReader::new(it).lines()).into_iter().flatten();
            for line in lines.map_while(Result::ok) {
                if line.contains(READY) {
                    // Nobody may wait any more.
                    let _ = tell_ready.try_send(());
                }
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                if said.len() == LINES_MAX {
                    said.pop_front();
                }
                said.push_back(line);
            }
        };
        let builder = std::thread::Builder::new().name("bench-serve".to_owned());
        let listener = builder.spawn(listen).map_err(|it| BenchError::system("start a thread", &it))?;
        self.listener = Some(listener);
        Ok(ready)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Fails once it has ended.
    pub fn check(&mut self) -> Result<(), BenchError> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failed(&format!("has ended with {status}"))),
            Err(error) => Err(BenchError::system("look at serve", &error)),
        }
    }

    /// Stops it in order.
    pub fn stop(mut self) -> Result<(), BenchError> {
        self.end().map_err(|it| BenchError::system("stop serve", &it))
    }

    fn failed(&self, what: &str) -> BenchError {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said: String = said.iter().map(|line| format!("\n  {line}")).collect();
        BenchError::System(format!("serve {what}; it has said:{said}"))
    }

    fn end(&mut self) -> std::io::Result<()> {
        children::terminate(&mut self.process)?;
        self.process.wait()?;
        if let Some(listener) = self.listener.take() {
            listener.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
        }
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.listener.is_some()
            && let Err(error) = self.end()
        {
            eprintln!("failed to stop serve: {error}");
        }
    }
}
