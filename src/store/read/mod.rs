//! What the faces and the library's users read.

pub(in crate::store) mod blockers;
mod candidates;
pub mod counts;
pub mod doctor;
pub mod explain;
mod list;
mod nodes;
pub mod notes;
mod process;
pub mod progress;

pub use super::row::Listed;
pub use list::{Cursor, PAGE_MAX, Page, ProcessFilter};
pub use process::ExecutionFilter;
