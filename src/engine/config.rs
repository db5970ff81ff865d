//! What a node is told when it starts.

use std::path::PathBuf;
use std::time::Duration;

use crate::store::DEFAULT_SCHEMA;

/// A node polls and beats no more often than this: more is load without use.
pub(crate) const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// And no less often: a longer interval is a mistaken unit.
pub(crate) const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// Most commands a node runs at once: each holds a thread and three file descriptors.
pub const EXECUTORS_MAX: usize = 1024;

/// Which processes a node claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every one that is due.
    All,
    /// This one only.
    Process(String),
}

/// The settings of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// The schema that holds the tables.
    pub schema: String,
    /// The name the operator gives the node; the host's name by default.
    pub name: String,
    /// Its id where that has to be known before it starts, see [`super::new_node_id`]; usually it is made then.
    pub node_id: Option<String>,
    /// How many commands it runs at once, 1 to [`EXECUTORS_MAX`].
    pub executors: usize,
    /// How long it sleeps at the most before it looks for due processes; wake-ups make it look at once.
    pub poll_interval: Duration,
    /// How long [`super::Node::stop`] waits for running commands before it ends them.
    pub drain_timeout: Duration,
    /// Which processes it claims.
    pub scope: Scope,
    /// Whether processes of a paused type are left where they are; a node that claims all of them always does.
    pub heeds_pauses: bool,
    /// How often it renews its lease.
    pub heartbeat: Duration,
    /// Silence after which a node whose session lock is gone counts as dead.
    pub dead_after: Duration,
    /// Silence after which a node counts as dead whatever its lock says; it stops its own commands at two thirds.
    pub lease: Duration,
    /// After this the server ends a statement of the engine's, whatever the role's own limit; it is tried again.
    pub statement_timeout: Duration,
    /// The program (an absolute path) to run as the node's guard (see [`super::guard`]), one whose `main` calls
    /// [`super::guard::run_if_asked`]; without it commands outlive a node that is killed. Linux only.
    pub guard: Option<PathBuf>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            schema: DEFAULT_SCHEMA.to_owned(),
            name: crate::platform::host_name(),
            node_id: None,
            executors: default_executors(),
            poll_interval: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(30),
            scope: Scope::All,
            heeds_pauses: true,
            heartbeat: Duration::from_secs(2),
            dead_after: Duration::from_secs(10),
            lease: Duration::from_secs(300),
            // A batch at its largest takes a slow disk some seconds; a lock that blocks it may take minutes.
            statement_timeout: Duration::from_secs(60),
            guard: None,
        }
    }
}

/// Commands mostly wait: for a disk, a network, another program. Short ones, of which [`super::run::permits`] lets two run
/// for each processor, are recorded in batches, which grow with the number of executors: with 32 on two processors a
/// transaction holds some 14 results; with twice as many the rate of short commands is a few hundredths higher.
fn default_executors() -> usize {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    (processors * 16).clamp(16, EXECUTORS_MAX)
}
