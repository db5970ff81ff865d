//! Batches: many processes that were started as one, and are watched, halted and judged as one.

pub mod data;
pub mod document;
pub mod halt;
pub mod ids;
pub mod joblog;
pub mod name;
pub mod pace;
pub mod reason;
pub mod results;
pub mod step;
