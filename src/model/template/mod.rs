//! Variables such as `${input_file}` in commands, working directories and environment values.
//!
//! A command is split into words first; each word's variables are then substituted, once, and the
//! result is never split again: whatever a value holds, it stays inside its argument. A script
//! (`"shell": true`) never receives a value as text, only as environment.

mod parse;
mod render;

pub use parse::{Part, Template, TemplateError, Variable, pieces, problems, word_problems};
pub use render::{
    Names, RenderError, Scope, render_script, render_text, render_words, required_input, variables,
};
