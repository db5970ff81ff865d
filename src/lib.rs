//! Process Orchestrator runs *processes*, ordered sequences of command-line tasks, durably on PostgreSQL.

#![cfg_attr(test, allow(clippy::unwrap_used))] // a failed unwrap is a failed test

#[doc(hidden)]
pub mod cli;
pub mod command;
pub mod database;
pub mod engine;
pub mod http;
pub mod model;
pub mod orchestrator;
pub mod platform;
pub mod store;

pub use model::faults::{Fault, Faults};
pub use model::input::ProcessInputData;
pub use model::lifecycle::{Outcome, ProcessStatus, TaskStatus};
pub use model::process_type::{OnCrash, ProcessType, TaskDefinition};
pub use model::records::{ProcessData, TaskData, TaskExecution};
pub use model::registry::ProcessTypeRegistry;
pub use orchestrator::{OrchestratorError, ProcessOrchestrator};
