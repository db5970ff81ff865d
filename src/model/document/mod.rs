//! Process types as JSON documents: the same in files, in the database and over HTTP.

mod name;
mod process_type;
pub(crate) mod reader;
pub(crate) mod rules;
mod task;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

pub use process_type::PROCESS_TYPE_KEYS;
pub use task::{RETRY_KEYS, TASK_KEYS};
