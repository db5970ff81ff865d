//! The guard's side: what the small process does.

use std::ffi::OsStr;
use std::time::Duration;

use super::protocol::ARGUMENT;

#[cfg(target_os = "linux")]
use linux::guard;

/// Runs as a guard and ends the program, if its arguments ask for that; else returns. To be called first of all in
/// `main`, while there is one thread and nothing is open.
pub fn run_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(ARGUMENT)) {
        return;
    }
    let code = match arguments.next().and_then(|id| id.into_string().ok()) {
        Some(node_id) => {
            // Without it the guard waits for the node's end only.
            let mut millis = || Some(Duration::from_millis(arguments.next()?.to_str()?.parse().ok()?));
            let lease = millis();
            guard(&node_id, lease, millis())
        }
        None => {
            eprintln!("process-orchestrator {ARGUMENT} is started by a node, with the node's id");
            2
        }
    };
    std::process::exit(code);
}

#[cfg(not(target_os = "linux"))]
fn guard(_node_id: &str, _lease: Option<Duration>, _renewed: Option<Duration>) -> i32 {
    eprintln!("process-orchestrator guard: not available on this system");
    1
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io::{self, Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::super::kill::{Swept, kill_nodes, never};
    use super::super::protocol::Word;
    use crate::command::NODE_VARIABLE;
    use crate::model::lease::guard_patience;
    use crate::platform::{self, time_since_boot};

    /// Dead processes can take long to go (memory, a hanging file system), but then they can't do anything any more.
    const SWEEP_MAX: Duration = Duration::from_secs(60);

    pub(super) fn guard(node_id: &str, lease: Option<Duration>, renewed: Option<Duration>) -> i32 {
        platform::guarding::keep_to_oneself(c"orchestr-guard");
        let (code, message) = match wait_for_end_of_node(node_id, lease.map(guard_patience), renewed) {
            Ok(EndOfNode::Farewell) => return 0,
            Ok(EndOfNode::Death) => match kill_nodes(&[node_id.to_owned()], SWEEP_MAX, &never) {
                Ok(Swept { killed: 0, left: 0 }) => return 0,
                Ok(swept) => (i32::from(swept.left > 0), told(node_id, swept)),
                Err(error) => (1, untold(node_id, &error)),
            },
            Err(error) => (1, format!("failed to wait for the end of node {node_id}: {error}")),
        };
        say(format!("process-orchestrator guard: {message}\n"));
        code
    }

    fn told(node_id: &str, Swept { killed, left }: Swept) -> String {
        let mut text = format!("node {node_id} is dead; processes of its commands killed: {killed}");
        if left > 0 {
            text.push_str(&format!(", still there: {left}"));
        }
        text
    }

    fn untold(node_id: &str, error: &io::Error) -> String {
        format!(
            "node {node_id} is dead, and its commands may run on: failed to {error}; \
             `grep -lz {NODE_VARIABLE}={node_id} /proc/*/environ` shows them"
        )
    }

    enum EndOfNode {
        Farewell,
        Death,
    }

    /// `renewed` is when the last heartbeat that arrived was sent.
    fn wait_for_end_of_node(
        node_id: &str,
        patience: Option<Duration>,
        renewed: Option<Duration>,
    ) -> io::Result<EndOfNode> {
        let mut pipe = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        // A guard that somebody starts by hand would take the end of a terminal's input for a node's death.
        if !pipe.metadata()?.file_type().is_fifo() {
            return Err(io::Error::other("its standard input is no pipe; a guard is started by its node"));
        }
        let until = |sent: Duration| patience.map(|time| sent + time);
        // None: there is no lease, or its commands were ended and it has not been renewed since.
        let mut deadline = until(renewed.unwrap_or_else(time_since_boot));
        loop {
            if let Some(at) = deadline {
                let left = at.saturating_sub(time_since_boot());
                let [has_word] = platform::wait_readable([Some(pipe.as_fd())], left)?;
                if !has_word {
                    if time_since_boot() >= at {
                        end_commands_of_silent(node_id, &pipe);
                        deadline = None;
                    }
                    continue;
                }
            }
            let mut word = [0; Word::BYTES];
            match pipe.read_exact(&mut word) {
                Ok(()) => match Word::from_bytes(word) {
                    Word::Farewell => return Ok(EndOfNode::Farewell),
                    Word::Renewed(sent) => deadline = until(sent),
                },
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(EndOfNode::Death),
                Err(error) => return Err(error),
            }
        }
    }

    /// The node lives and has not renewed its lease: it is frozen, or else it has ended its commands itself.
    /// Once it is heard again it begins commands that are none of ours to end.
    fn end_commands_of_silent(node_id: &str, pipe: &File) {
        let is_heard =
            || platform::wait_readable([Some(pipe.as_fd())], Duration::ZERO).is_ok_and(|[has_word]| has_word);
        let message = match kill_nodes(&[node_id.to_owned()], SWEEP_MAX, &is_heard) {
            Ok(Swept { killed: 0, left: 0 }) => return,
            Ok(Swept { killed, left }) => format!(
                "node {node_id} has not renewed its lease; processes of its commands killed: {killed}, still there: {left}"
            ),
            Err(error) => untold(node_id, &error),
        };
        say(format!("process-orchestrator guard: {message}\n"));
    }

    /// If nobody reads where the node printed, that must not hold up the guard.
    fn say(message: String) {
        const MESSAGE_MS_MAX: u64 = 1_000;
        let (said, is_said) = mpsc::channel();
        let told = thread::Builder::new().spawn(move || {
            // There is nobody else to tell.
            let _ = io::stderr().write_all(message.as_bytes());
            let _ = said.send(());
        });
        if told.is_err() {
            return; // no thread left on this machine
        }
        // It was said, or takes too long.
        let _ = is_said.recv_timeout(Duration::from_millis(MESSAGE_MS_MAX));
    }
}
