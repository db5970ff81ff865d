//! From bytes to what is asked for, and whether it may be.

pub(super) mod guard;
pub(super) mod query;
pub(super) mod route;
pub(super) mod router;
pub(super) mod token;
pub(super) mod wire;
