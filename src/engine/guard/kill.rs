//! Kills the processes of a node, or of one command, wherever they are.

use std::io;
use std::time::Duration;

use crate::command::NODE_VARIABLE;

/// At its start a node waits no longer than this for the end of its predecessors' commands.
pub(super) const START_SWEEP_MAX: Duration = Duration::from_secs(5);

/// What came of ending the commands of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Processes that were killed.
    pub killed: usize,
    /// Processes that are still there: killed and slow to go, or not ours to kill.
    pub left: usize,
}

/// Kills every process on this host that is tagged with the id of one of these nodes, all of which are dead, and waits a
/// few seconds at most until they are gone. It never kills the process that calls it.
///
/// # Errors
/// When `/proc` can't be read, or this system shows no environments of processes (`Unsupported`).
pub fn kill_commands_of(node_ids: &[String]) -> io::Result<Swept> {
    kill_nodes(node_ids, START_SWEEP_MAX, &never)
}

/// What is dead stays dead.
pub(super) fn never() -> bool {
    false
}

/// The same for nodes that may live: what has begun once `is_over` is left alone.
pub(super) fn kill_nodes(
    node_ids: &[String],
    patience: Duration,
    is_over: &dyn Fn() -> bool,
) -> io::Result<Swept> {
    // An empty id would be a tag that any process may have.
    let ids = node_ids.iter().filter(|id| !id.is_empty());
    let tags: Vec<String> = ids.map(|id| format!("{NODE_VARIABLE}={id}")).collect();
    sweep(&tags, patience, is_over)
}

#[cfg(target_os = "linux")]
fn sweep(tags: &[String], patience: Duration, is_over: &dyn Fn() -> bool) -> io::Result<Swept> {
    if tags.is_empty() {
        return Ok(Swept::default());
    }
    crate::command::sweep(tags, patience, is_over).map(|(killed, left)| Swept { killed, left })
}

#[cfg(not(target_os = "linux"))]
fn sweep(_tags: &[String], _patience: Duration, _is_over: &dyn Fn() -> bool) -> io::Result<Swept> {
    let why = format!("find processes by {NODE_VARIABLE}: only Linux shows the environments of processes");
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}
