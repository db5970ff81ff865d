//! What the faces and the library's users read.

pub(in crate::store) mod blockers;
mod candidates;
pub mod counts;
pub mod doctor;
pub mod explain;
mod list;
mod nodes;
pub mod notes;
mod pieces;
mod process;
pub mod progress;
mod trail;
mod values;

pub use super::row::Listed;
pub use list::{Cursor, PAGE_MAX, Page, PageRows, ProcessFilter, TextPage};
pub use pieces::{LongValue, OutputOf};
pub(super) use process::read_process;
pub use trail::{ExecutionFilter, PageSize, Part, TrailPage};
pub(super) use trail::{read_execution, read_task_data};
pub use values::{Include, ProcessText};
