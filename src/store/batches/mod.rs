//! Batches: started, watched and controlled as one.
//!
//! | file | verbs |
//! |---|---|
//! | `start` | start processes of a batch |
//! | `control` | pause, resume, cancel, retry, change |
//! | `read` | what is shown |
//! | `export` | joblog and results, in pages |
//! | `keep` | add up what has changed, note ends and halts |

mod control;
mod export;
mod keep;
mod read;
mod start;

pub use control::BatchRetry;
pub use export::JoblogPlace;
pub use keep::Kept;
pub use read::{BatchFilter, BatchPage, BatchTally};
pub use start::BatchOptions;
