//! What only the operating system can do: signals, process groups, spawning and reaping, readiness of
//! descriptors, locks on files, users.
//!
//! The only module with `unsafe` code, and the only one that a port to another family of systems has to write
//! anew. Everything here is a thin, safe function; decisions are made by its callers.

#[cfg(unix)]
pub mod children;
#[cfg(unix)]
pub mod files;
#[cfg(target_os = "linux")]
pub mod guarding;
#[cfg(unix)]
mod host;
#[cfg(target_os = "linux")]
pub mod init;
#[cfg(unix)]
mod limits;
#[cfg(unix)]
mod memory;
#[cfg(unix)]
mod own_usage;
#[cfg(unix)]
mod process_times;
#[cfg(unix)]
pub mod processes;
#[cfg(unix)]
mod reaping;
pub mod secrecy;
#[cfg(unix)]
mod spawn;
#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub use host::*;
#[cfg(unix)]
pub use limits::*;
#[cfg(unix)]
pub use memory::*;
pub use own_usage::*;
#[cfg(unix)]
pub use process_times::*;
#[cfg(unix)]
pub use reaping::*;
#[cfg(unix)]
pub use spawn::*;
#[cfg(unix)]
pub use unix::*;
