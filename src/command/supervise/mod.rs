//! One running command, from just after its spawn to its end.
//!
//! ```text
//!  watch ── what was seen ──► state ── what to do next ──► watch ──► ending: notices the exit, sends signals
//! ```
//!
//! All decisions are in `state`, which does no I/O; `watch` carries them out, one at a time.

mod ending;
mod messages;
mod state;
mod watch;

pub use ending::ExitNotice;
pub use messages::Cause;
pub use watch::{Ended, Watch};
