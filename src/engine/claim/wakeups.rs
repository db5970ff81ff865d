//! What other threads tell the poller.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::engine::signal::Signal;

#[derive(Default)]
pub(crate) struct Wakeups {
    /// Something may be due that was not when the poller looked last.
    is_pending: AtomicBool,
    /// Something may be due that partial scans of the queue skip.
    is_full_scan_requested: AtomicBool,
    /// Something was scheduled that the poller does not know of.
    is_scheduled: AtomicBool,
    /// Processes wait for limits, as the poller has seen last.
    is_limit_awaited: AtomicBool,
    signal: Signal,
    /// Something of a batch was claimed or has ended: its keeper looks soon.
    batches: Signal,
}

impl Wakeups {
    /// There may be something due: the poller looks at once.
    pub(crate) fn wake(&self) {
        self.is_pending.store(true, Ordering::SeqCst);
        self.signal.notify();
    }

    /// Something that has been due for long may be free now: the poller scans the whole queue.
    pub(crate) fn request_full_scan(&self) {
        self.is_full_scan_requested.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// A process waits for a retry: the poller asks when what is scheduled is due.
    pub(crate) fn note_scheduled(&self) {
        self.is_scheduled.store(true, Ordering::SeqCst);
        self.signal.notify();
    }

    /// Whether any process waits for a limit.
    pub(crate) fn set_limit_awaited(&self, is_awaited: bool) {
        self.is_limit_awaited.store(is_awaited, Ordering::SeqCst);
    }

    /// Whether any process waited for a limit at the poller's last look.
    pub(crate) fn is_limit_awaited(&self) -> bool {
        self.is_limit_awaited.load(Ordering::SeqCst)
    }

    /// Whether that was noted since this was asked last.
    pub(crate) fn take_scheduled(&self) -> bool {
        self.is_scheduled.swap(false, Ordering::SeqCst)
    }

    /// Something of a batch was claimed or has ended, by the limits of the claim.
    pub(crate) fn note_limits(&self, limits: Option<&[String]>) {
        if limits.is_some_and(|it| it.iter().any(|entry| entry.starts_with("batch:"))) {
            self.batches.notify();
        }
    }

    /// Gets a message once that was noted.
    pub(crate) fn of_batches(&self) -> Receiver<()> {
        self.batches.receiver().clone()
    }

    /// A claim has ended: the poller may fill its slot, and need not do so at once.
    pub(crate) fn notify_slot_freed(&self) {
        self.signal.notify();
    }

    /// Whether there may be something due since this was asked last.
    pub(crate) fn take_pending(&self) -> bool {
        self.is_pending.swap(false, Ordering::SeqCst)
    }

    /// Whether a full scan was requested since this was asked last.
    pub(crate) fn take_full_scan_request(&self) -> bool {
        self.is_full_scan_requested.swap(false, Ordering::SeqCst)
    }

    /// Waits for a wake-up until `deadline`; `false` when none came.
    pub(crate) fn wait_until(&self, deadline: Instant) -> bool {
        self.signal.wait_until(deadline)
    }
}
