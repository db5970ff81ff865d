//! What the user sees: standard output, standard error, colours, tables.

pub mod background;
pub mod journal;
pub mod json;
pub mod lines;
pub mod message_queue;
pub mod records;
pub mod style;
pub mod table;
pub mod terminal;
pub mod text;
