//! What somebody's locks do to a node: when it writes beside them, and what it tells of them.

pub(super) mod caution;
pub(super) mod stories;
