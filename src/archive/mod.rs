//! Finished processes as files, before they are deleted: JSON lines, compressed with gzip.
//!
//! A line is one process with all that is recorded of it: the document of `show --json`, and its executions. What is in a
//! file is deleted only after the file is on the disk and has its name: a crash in between leaves a process in the
//! database, and it is in two files in the end. Of several lines of one process the last one is the record that was
//! deleted.
//!
//! ```text
//!  ids ──► Archive::add ──► .NAME.part ──sync, rename, sync──► NAME ──► what was in it, as it was seen ──► Store::prune_exactly
//! ```
//!
//! | file | role |
//! |---|---|
//! | `archiver` | takes ids, fills one file after the other |
//! | `sweep` | archives what is old enough, then deletes exactly that |
//! | `file` | one file: its name, its bounds, what is left of dead writers |
//! | `line` | one process as a line, long values in pieces |

mod archiver;
mod error;
mod file;
mod line;
mod sweep;

pub use archiver::{Archive, Finished};
pub use error::ArchiveError;
pub use sweep::{Step, Sweep, sweep};
