//! Threads that have a name, an owner, and no quiet death.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use log::error;

/// Starts a thread; if it panics, that is logged and `on_panic` gets the message.
pub(super) fn spawn(
    name: String,
    stack_bytes: usize,
    on_panic: impl FnOnce(String) + Send + 'static,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
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
            on_panic(message);
        }
    })
}
