//! The guard: a small process beside the node that ends the node's commands when the node is killed.
//!
//! ```text
//!  node ──pipe, of which only the node has the writing end──► guard
//!    '+', time:   the lease was renewed by a heartbeat sent then; when the next does not come in time, the guard kills the
//!                 node's commands
//!    '.', end:    the node's commands are gone, the guard leaves
//!    end alone:   the node is dead, the guard kills every process that is tagged with the node's id
//! ```
//!
//! The kernel closes the pipe however the node dies. A command that is being spawned at that moment holds a copy of
//! it until its program is loaded, and then it has the id in its environment
//! (`NODE_VARIABLE`), so none slips through.
//!
//! A node ends its own commands when it can't renew its lease. One that is frozen can't: then the guard does it, before
//! the lease is over and others run the same tasks.
//!
//! The guard is this same program, started with an argument that [`run_if_asked`] knows. It runs in a session of its
//! own and heeds no signal but SIGKILL, so that a Ctrl-C or a service manager's SIGTERM does not end it before the
//! node. It is started with an empty environment: a node that is a command of another node's is ended with that
//! one, and then its guard must live to end the commands of its own.

mod kill;
mod program;
mod protocol;
mod sentry;
#[cfg(target_os = "linux")]
mod sweep;

pub(super) use kill::kill_tagged;
pub use kill::{Swept, kill_commands_of};
pub use program::run_if_asked;
pub use protocol::IS_AVAILABLE;
pub use sentry::{Guard, own_program};
