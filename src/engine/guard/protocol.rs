//! What a node and its guard say to each other.

/// Whether this system shows what is needed to find a dead node's commands.
pub const IS_AVAILABLE: bool = cfg!(target_os = "linux");

/// The first argument of a guard; the node's id is the second, its lease in milliseconds the third.
pub(super) const ARGUMENT: &str = "__guard";
/// What a node that ends in order writes into the pipe.
pub(super) const FAREWELL: u8 = b'.';
/// What a node writes when it has renewed its lease.
pub(super) const RENEWED: u8 = b'+';
