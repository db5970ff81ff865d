//! The coordination's counterexamples: what a search through its model found, tried on the real program.

mod clock;
mod freeze;
mod keeper;
mod stage;
mod stale;
mod trail;
