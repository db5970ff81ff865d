//! The coordination of nodes as rules, and what has happened held against them.

mod breaches;
mod edits;
mod frame;
mod journal;
mod ledger;
mod members;
mod replay;
#[allow(dead_code)] // the explorer uses the rest
mod rows;
