//! Has this program's messages, those of a panic among them, go through the message queue.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use super::message_queue;
use super::terminal::fatal;

/// From now on messages do not wait for their reader. Without a thread for it they do.
pub fn begin() {
    match message_queue::begin() {
        Ok(()) => std::panic::set_hook(Box::new(tell_panic)),
        Err(error) => log::warn!("messages are written by whoever has them, for want of a thread: {error}"),
    }
}

/// A thread that panics must not be kept from its end either: that is what stops the node.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let trace = if backtrace.status() == BacktraceStatus::Captured {
        format!("\n{backtrace}")
    } else {
        String::new()
    };
    fatal(format!("thread {:?} {panic}{trace}", thread.name().unwrap_or("unnamed")));
}
