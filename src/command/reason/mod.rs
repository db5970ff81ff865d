//! Why a command failed, in its own words: from the end of its output to one sentence. Pure.
//!
//! ```text
//!  output ─► screen  lines as a terminal shows them ─► line  how much each says ─► sentence  the one that tells most
//! ```

mod line;
mod lists;
mod screen;
mod sentence;
#[cfg(test)]
mod tests;

pub use sentence::{last_words, prompt};
