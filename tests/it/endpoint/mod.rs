//! The status endpoint.

mod bounds;
mod doors;
#[cfg(target_os = "linux")]
mod flood;
pub mod http;
pub mod http_writes;
mod limits;
pub mod openapi;
pub mod page;
