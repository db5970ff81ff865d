//! What belongs to an execution beside its leader: how it is found, asked to end, and killed.
//!
//! ```text
//!  remnant ── who is left? ──► census ── which ids can it be? ──► ids
//!     │                           └──── one process ────────────► sight ◄──┐
//!     └────── kill what is left ─► last_resort ── all processes ► sweep ───┘
//! ```
//!
//! An execution is everything that carries its tag in its environment, and everything in the session of its leader,
//! whatever its environment. It is found by way of `/proc`, on Linux alone. A look costs some microseconds after a short
//! command, as only the ids that were given since its start are looked at; it is taken when a command has failed or was
//! ended, not after a success.

#[cfg(target_os = "linux")]
mod census;
#[cfg(target_os = "linux")]
mod ids;
#[cfg(target_os = "linux")]
mod last_resort;
mod remnant;
#[cfg(target_os = "linux")]
mod sight;
#[cfg(target_os = "linux")]
mod sweep;

pub(super) use remnant::Remnant;
#[cfg(target_os = "linux")]
pub(crate) use sweep::sweep;
