//! Process Orchestrator runs *processes*, ordered sequences of command-line tasks, durably on PostgreSQL.
//!
//! A [`ProcessType`] is a template of tasks. A process is one run of it with its [`ProcessInputData`]. A node (a
//! started [`ProcessOrchestrator`], or the binary's `serve`) claims processes that are due and runs their tasks, one
//! after the other; several nodes share one database. Everything is recorded: [`ProcessData`], its [`TaskData`], and
//! a [`TaskExecution`] for every attempt to run a command, those included whose node has died.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use process_orchestrator::database::{ConnectionSettings, process_environment};
//! use process_orchestrator::{ProcessInputData, ProcessOrchestrator, ProcessType, ProcessTypeRegistry};
//!
//! let mut registry = ProcessTypeRegistry::new();
//! registry.register(
//!     ProcessType::new("nightly", "Fetches orders and counts them")
//!         .add_task("fetch", "fetch-orders --to ${output_dir}/orders.csv", "/data", 30.0, 2)
//!         .add_task("count", "wc -l ${output_dir}/orders.csv", "/data", 5.0, 0),
//! )?;
//! let url = "postgresql://user@localhost/orders";
//! let settings = ConnectionSettings::from_url("the database's URL", url, &process_environment)?;
//! let orchestrator = ProcessOrchestrator::new(settings, registry); // or an r2d2 pool of one's own
//! orchestrator.start()?;
//! let id = orchestrator.start_process("nightly", ProcessInputData::new().output_dir("/data/out"))?;
//! println!("{}", orchestrator.wait_for_process(&id, Duration::from_secs(3600))?.status);
//! orchestrator.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Threads and messages of a node
//!
//! ```text
//!  listener ──wake──► poller ──claims──► channel ──► executor 1..N ──results──► recorder
//!                        ▲                 ▲                                      │
//!                        │                 └─── next task of the same process ────┤ one transaction
//!                        └───────────── free executors ───────────────────────────┘ for all waiting results
//!  heartbeat: lease, takeover of dead nodes' processes                 http: the status endpoint
//! ```
//!
//! A command's result, the process's new place and the claim on it change in one transaction, under the condition
//! that the claim is still the node's own. What changes is decided by one function,
//! [`after_execution`](model::lifecycle::after_execution): the whole lifecycle is there.
//!
//! # Where things are
//!
//! Imports run one way: faces (`cli`, [`http`], [`orchestrator`]) → `bench` → [`engine`] → [`archive`] → [`store`] and [`command`] →
//! [`model`]. The model knows nobody.
//!
//! | module | what it is for |
//! |---|---|
//! | [`model`] | process types, inputs, records, variables, the lifecycle: no I/O |
//! | [`command`] | one command from its words to its report: spawn, output, timeout, context file |
//! | [`database`] | which PostgreSQL, and how to connect; the private cluster |
//! | [`store`] | what is asked of the tables, one function for each; the statements are in `sql/` |
//! | [`archive`] | finished processes as files, before they are deleted |
//! | [`engine`] | a [`Node`](engine::Node) and its threads; takeover; the guard |
//! | [`http`] | the status endpoint |
//! | [`orchestrator`] | the library's front door |
//! | `bench` | how fast a node is, and what it costs |
//! | [`guide`] | the reference; `process-orchestrator help TOPIC` prints its pages |
//! | `failpoint` | places where tests hold or kill the program; nothing without the feature of that name |
//! | [`platform`] | what the operating system has to be asked for: the only unsafe code |

#![cfg_attr(test, allow(clippy::unwrap_used))] // a failed unwrap is a failed test

pub mod archive;
mod bench;
#[doc(hidden)]
pub mod cli;
pub mod command;
pub mod database;
pub mod engine;
mod failpoint;
pub mod guide;
pub mod http;
pub mod model;
pub mod orchestrator;
pub mod platform;
pub mod store;

pub use model::faults::{Fault, Faults};
pub use model::input::ProcessInputData;
pub use model::lifecycle::{Outcome, ProcessStatus, TaskStatus};
pub use model::limits::definition::{Concurrency, Holds};
pub use model::limits::usage::LimitUsage;
pub use model::process_type::{Leftovers, OnCrash, ProcessType, TaskDefinition};
pub use model::records::{ProcessData, TaskData, TaskExecution};
pub use model::registry::ProcessTypeRegistry;
pub use model::schedule::definition::{CatchUp, Overlap, Schedule, Timing};
pub use orchestrator::{OrchestratorError, ProcessOrchestrator};
