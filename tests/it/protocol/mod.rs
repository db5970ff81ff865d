//! The coordination of nodes as rules, and what has happened held against them.

mod edits;
mod frame;
mod journal;
mod ledger;
mod members;
mod properties;
mod replay;
#[allow(dead_code)] // the explorer uses the rest
mod rows;
