//! Process Orchestrator runs *processes*, ordered sequences of command-line tasks, durably on PostgreSQL.

pub mod database;
pub mod model;
pub mod platform;

pub use model::input::ProcessInputData;
pub use model::process_type::{OnCrash, ProcessType, TaskDefinition};
pub use model::records::{ProcessData, TaskData, TaskExecution};
