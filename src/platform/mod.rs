//! What differs from one operating system to the next, and all `unsafe` code.
//!
//! Everything here is a thin, safe function; decisions are made by its callers.

#[cfg(unix)]
pub mod files;
#[cfg(unix)]
mod spawn;
#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub use spawn::*;
#[cfg(unix)]
pub use unix::*;
