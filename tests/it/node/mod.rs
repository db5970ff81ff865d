//! What nodes do with processes, alone and together.

mod again;
pub mod bad_commands;
pub mod bad_surroundings;
pub mod control;
mod documents;
mod drivers;
pub mod engine;
pub mod guard;
mod held_rows;
pub mod library;
pub mod live;
pub mod nodes;
mod one_order;
pub mod queue;
pub mod record;
mod sharing;
pub mod start;
mod values;
mod wakeups;
