//! Threads that have a name, an owner, and no quiet death.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::Sender;
use log::error;

/// Starts a thread; if it panics, `failed` gets one message and the node's owner stops it.
pub(super) fn spawn(
    name: String,
    stack_bytes: usize,
    failed: &Sender<String>,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let failed = failed.clone();
    let own_name = name.clone();
    Builder::new().name(name).stack_size(stack_bytes).spawn(move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
            let what = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            let message = format!("thread {own_name} panicked: {what}");
            error!("{message}");
            // The channel holds one message; whoever reads it stops the node, so a second one says nothing new.
            let _ = failed.try_send(message);
        }
    })
}
