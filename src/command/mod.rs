//! Runs one command to its end, on the thread that asks for it.
//!
//! ```text
//!  Runner::run ─► program   finds the program            ─► spawn (posix_spawn, own session)
//!              ─► supervise reads the output, heeds timeout, interrupt and exit, samples the usage, ends leftovers
//!              ─► report    says in words how it ended (reason: in its own), with what the context file passes on
//! ```
//!
//! Knows the model and the platform, no database. Whoever runs a [`Runner`] owns a thread for it.

mod bare;
mod context;
mod context_file;
mod environment;
mod interrupt;
mod invocation;
mod leftovers;
mod live;
mod oom;
mod output;
mod program;
mod reason;
mod report;
mod runner;
mod supervise;
#[cfg(test)]
mod tests;
mod usage;

pub use bare::bare_spawn_and_capture;
pub use context::{CONTEXT_BYTES_MAX, context_problem};
pub use context_file::ContextDirectory;
pub use environment::{BaseEnvironment, NODE_VARIABLE, variable_of_node};
pub use interrupt::{Interrupt, Reason};
pub use invocation::{GRACE, Invocation, Lasting};
#[cfg(target_os = "linux")]
pub(crate) use leftovers::sweep;
pub use live::{LIVE_BYTES_MAX, Live, LiveView};
#[cfg(test)]
pub(crate) use output::Capture;
pub use output::tail_text;
pub(crate) use output::{clean, continuation_bytes, head_and_tail, split_remark, unfinished_character};
pub use program::is_found;
pub use report::Report;
pub use runner::Runner;
