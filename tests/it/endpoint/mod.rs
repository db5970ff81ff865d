//! The status endpoint.

mod doors;
pub mod http;
pub mod http_writes;
pub mod openapi;
pub mod page;
