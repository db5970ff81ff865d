//! What the user says: global options, inputs, process types, times, which processes are meant.

pub mod bulk;
pub mod consent;
pub mod documents;
pub mod endpoint;
pub mod forgetting;
pub mod global;
pub mod input;
pub mod inputs;
pub mod roles;
pub mod when;
