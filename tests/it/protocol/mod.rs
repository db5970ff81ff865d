//! The coordination of nodes as rules, and what has happened held against them.

mod journal;
mod ledger;
mod replay;
#[allow(dead_code)] // the explorer uses the rest
mod rows;
