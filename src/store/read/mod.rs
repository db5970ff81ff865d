//! What the faces and the library's users read.

pub(in crate::store) mod blockers;
pub mod bulk;
mod candidates;
pub mod counts;
mod cursor;
pub mod doctor;
pub mod explain;
mod filter;
mod list;
mod look;
mod nodes;
pub mod notes;
mod pieces;
mod process;
pub mod progress;
mod trail;
mod values;

pub use super::row::Listed;
pub use cursor::Cursor;
pub use filter::{PAGE_MAX, ProcessFilter};
pub use list::{Page, TextPage};
pub use look::PageRows;
pub use pieces::{LongValue, OutputOf};
pub(super) use process::read_process;
pub use trail::{ExecutionFilter, PageSize, Part, TrailPage};
pub(super) use trail::{read_execution, read_task_data};
pub use values::{Include, ProcessText};
