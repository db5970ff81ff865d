//! A node: the threads that claim, run and record.
//!
//! ```text
//!  listener ──wake──► poller ──claims──► job queue ──► executor 1..N, with a permit ──results──► recorder
//!                        ▲                   ▲                                                      │
//!                        │                   └────────── next task of the same process ─────────────┤
//!                        └───────────────────────── free slots ─────────────────────────────────────┘
//!  heartbeat: renews the node's lease, takes over dead nodes' processes, ends commands whose claim was revoked or whose
//!             process is cancelled
//! ```
//!
//! A claim takes one slot from its commit to its end, so no channel can overflow; its commands wait in the queue until
//! an executor has a run permit. Threads end in one order, see [`Node::stop`].

mod batches;
mod bookkeeper;
pub(crate) mod claim;
mod config;
mod control;
mod eras;
pub mod guard;
pub mod health;
mod holdings;
mod live_output;
mod locked;
mod membership;
mod node;
mod record;
pub mod retention;
mod run;
mod schedules;
mod session;
mod shutdown;
mod signal;
mod threads;

pub use batches::BatchKeeper;
pub use bookkeeper::Bookkeeper;
pub use config::{EXECUTORS_MAX, NodeConfig, Scope};
pub(crate) use config::{INTERVAL_MAX, INTERVAL_MIN};
pub use eras::EraKeeper;
pub use health::node_health::Health;
pub use health::thread_watchdog::StalledThread;
pub(crate) use node::check as check_settings;
pub use node::{Node, StartError, StopReport, Stopper, new_node_id};
pub use retention::Retention;
pub use run::command_runner::CommandRunners;
pub use run::runner::{NoopRunners, RunReport, Runner, Runners, Work};
pub use schedules::Scheduler;
