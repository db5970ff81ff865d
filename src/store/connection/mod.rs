//! How statements reach the server: over a session of our own, or over those that a pooler lends.

mod borrowed;
mod locks;
mod session;
mod settings;
mod statement;
mod store;

pub(in crate::store) use locks::{LOCK_WAIT_MAX, Lockable};
pub use session::Backend;
pub(crate) use session::Session;
pub(crate) use statement::{Sql, quote_identifier};
pub use store::Store;
