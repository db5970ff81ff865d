//! What differs from one operating system to the next, and all `unsafe` code.

#[cfg(unix)]
pub mod files;
#[cfg(unix)]
pub mod processes;
