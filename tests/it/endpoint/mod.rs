//! The status endpoint.

pub mod http;
pub mod http_writes;
pub mod openapi;
pub mod page;
