//! The coordination of nodes as rules, and what has happened held against them.

mod journal;
mod ledger;
mod replay;
