//! SIGTERM, SIGINT and SIGHUP as messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, TrySendError, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, iterator};

use crate::cli::error::CliError;
use crate::platform;

/// Signals that may wait to be handled. Two are enough to say "now"; more say nothing new.
const WAITING_SIGNALS_MAX: usize = 4;

/// From its creation to its end, SIGTERM and SIGINT do not end the program but arrive here; so does SIGHUP, which
/// comes when a terminal is closed, unless the program was started to outlive its terminal.
pub struct Signals {
    receiver: Receiver<i32>,
    /// Asked to read again what it has read at its start; several times are one.
    reloads: Receiver<()>,
    handle: iterator::Handle,
    /// Once set, a signal ends the program again: its handler stays for good.
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// Begins to listen, on a thread of its own.
    pub fn listen() -> Result<Self, CliError> {
        Self::begin(false)
    }

    /// The same for what runs on: a SIGHUP that does not come of a terminal that was closed asks it to
    /// [reload](Self::reloads).
    pub fn listen_for_reloads() -> Result<Self, CliError> {
        Self::begin(true)
    }

    fn begin(can_reload: bool) -> Result<Self, CliError> {
        let had_terminal = platform::has_terminal();
        let failed =
            |cause: std::io::Error| CliError::Failed(format!("failed to listen for signals: {cause}"));
        let is_over = Arc::new(AtomicBool::new(false));
        let mut wanted = vec![SIGTERM, SIGINT];
        if !platform::ignores_hangup() {
            wanted.push(SIGHUP);
        }
        for &signal in &wanted {
            flag::register_conditional_default(signal, Arc::clone(&is_over)).map_err(failed)?;
        }
        let mut signals = iterator::Signals::new(wanted).map_err(failed)?;
        let handle = signals.handle();
        let (sender, receiver) = bounded(WAITING_SIGNALS_MAX);
        let (reload, reloads) = bounded(1);
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                // The kernel takes the terminal away before it says so.
                let is_hangup = had_terminal && !platform::has_terminal();
                if signal == SIGHUP && can_reload && !is_hangup {
                    // One that waits is enough, and nobody listens at the end.
                    _ = reload.try_send(());
                    continue;
                }
                if let Err(TrySendError::Disconnected(_)) = sender.try_send(signal) {
                    return;
                }
            }
        });
        Ok(Self { receiver, reloads, handle, is_over, thread: Some(thread.map_err(failed)?) })
    }

    /// Requests to read again what was read at the start.
    pub fn reloads(&self) -> &Receiver<()> {
        &self.reloads
    }

    /// The signals in the order in which they came.
    pub fn receiver(&self) -> &Receiver<i32> {
        &self.receiver
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.handle.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that listens for signals has panicked");
        }
    }
}

/// The name a person knows the signal by.
pub fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "SIGINT",
        SIGTERM => "SIGTERM",
        SIGHUP => "SIGHUP",
        _ => "a signal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_ends_with_its_owner() {
        let signals = Signals::listen().expect("signals");
        assert!(signals.receiver().is_empty());
        drop(signals);
    }

    #[test]
    fn signals_have_names() {
        assert_eq!((name(SIGINT), name(SIGTERM)), ("SIGINT", "SIGTERM"));
    }
}
