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
//! the executor has a turn, see [`turns`]. Threads end in one
//! order, see [`Node::stop`].

pub(crate) mod backlog;
mod claims;
mod config;
mod control;
mod decide;
mod escapees;
mod executor;
pub mod guard;
mod heir;
mod keeper;
mod lease;
mod link;
mod listener;
pub mod measures;
mod node;
mod poller;
mod pulse;
mod recorder;
mod retention;
mod runner;
mod running;
mod shared;
mod silence;
mod takeover;
mod threads;
mod turns;
mod window;

pub use config::{EXECUTORS_MAX, NodeConfig, Scope};
pub(crate) use config::{INTERVAL_MAX, INTERVAL_MIN};
pub(crate) use node::check as check_settings;
pub use node::{Node, StartError, StopReport, Stopper, new_node_id};
pub use pulse::Stall;
pub use retention::Retention;
pub use runner::{CommandRunners, NoopRunners, RunReport, Runner, Runners, Work};
pub use shared::Vitals;
