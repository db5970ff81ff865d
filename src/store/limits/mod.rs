//! Limits: what is taken of them and what waits, and changing them by hand.

pub mod usage;
