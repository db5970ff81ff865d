//! A node: the threads that claim, run and record.
//!
//! ```text
//!  listener ──wake──► poller ──claims──► jobs ──► executor 1..N, those with a turn ──results──► recorder
//!                        ▲                 ▲                                                       │
//!                        │                 └────────── next task of the same process ──────────────┤
//!                        └───────────────────────── free executors ────────────────────────────────┘
//!  keeper: renews the node's lease, takes over dead nodes' processes, ends commands whose claim was taken or whose
//!          process is cancelled
//! ```
//!
//! A claim takes one executor from its commit to its end, so no channel can overflow; its commands wait there until
//! the executor has a turn, see `run/permits.rs`. Threads end in one
//! order, see [`Node::stop`].

pub(crate) mod claim;
mod config;
mod control;
pub mod guard;
pub mod health;
mod live_output;
mod membership;
mod node;
mod record;
mod retention;
mod run;
mod session;
mod shared;
mod shutdown;
mod signal;
mod threads;

pub use config::{EXECUTORS_MAX, NodeConfig, Scope};
pub(crate) use config::{INTERVAL_MAX, INTERVAL_MIN};
pub use health::node_health::Vitals;
pub use health::thread_watchdog::Stall;
pub(crate) use node::check as check_settings;
pub use node::{Node, StartError, StopReport, Stopper, new_node_id};
pub use retention::Retention;
pub use run::runner::{CommandRunners, NoopRunners, RunReport, Runner, Runners, Work};
