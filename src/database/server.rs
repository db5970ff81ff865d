//! One server of the settings.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// One server of the list, to be dialled on its own: the client library would spend its patience on the first one
/// that takes the connection and says nothing, and never get to the next.
#[derive(Clone)]
pub(super) struct Server {
    /// Everything of the settings, with this host alone.
    pub(super) config: postgres::Config,
    /// Host and port, for messages.
    pub(super) endpoint: String,
    /// A name, which may have several addresses that are tried in turn.
    pub(super) is_name: bool,
    /// Attempts that were given up while this server kept them waiting; each holds a thread and a socket.
    pub(super) abandoned: Arc<AtomicUsize>,
}

impl Server {
    pub(super) fn new(config: postgres::Config, endpoint: String, is_name: bool) -> Self {
        Self { config, endpoint, is_name, abandoned: Arc::default() }
    }
}
