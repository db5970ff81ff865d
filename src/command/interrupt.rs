//! How other threads end a running command: they ask, the executor that runs it does the killing.
//!
//! Only the executor knows that its child has not been reaped yet, so only it may send a signal; a
//! process id taken from a list elsewhere could already belong to somebody else.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::lifecycle::Outcome;

/// Why a running command is to end before its time; later ones are stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The node stops: SIGTERM, grace, SIGKILL; the task is due again at once.
    Stop,
    /// Its process was cancelled: SIGTERM, grace, SIGKILL.
    Cancel,
    /// The claim is no longer ours and the command may already run elsewhere: SIGKILL at once.
    Fenced,
}

impl Reason {
    /// The outcome of a command that was ended for this reason.
    pub const fn outcome(self) -> Outcome {
        match self {
            // Of a fenced one nothing is recorded if the claim was taken; if it was not, the task is due again.
            Self::Stop | Self::Fenced => Outcome::Interrupted,
            Self::Cancel => Outcome::Cancelled,
        }
    }
}

/// Requests to one executor: made once, shared with those who may interrupt it.
///
/// A request stays until [`clear`](Self::clear), so one that comes just before the command is spawned
/// is not lost. Who clears it and who requests must agree, under a lock of their own, which command is
/// meant.
#[derive(Debug)]
pub struct Interrupt {
    requested: Mutex<Option<Reason>>,
    // Holds one byte exactly while `requested` is set: it makes the reader ready for poll.
    reader: PipeReader,
    writer: PipeWriter,
}

impl Interrupt {
    /// Fails only for want of file descriptors.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { requested: Mutex::new(None), reader, writer })
    }

    /// Asks for the end of the command that runs or is about to. Of several reasons the strongest stays.
    pub fn request(&self, reason: Reason) {
        let mut requested = self.lock();
        if requested.is_none()
            && let Err(e) = (&self.writer).write_all(&[1])
        {
            // Without the wake-up the executor still sees the request when its next wait ends.
            log::warn!("failed to wake an executor that is to be interrupted ({reason:?}): {e}");
        }
        *requested = (*requested).max(Some(reason));
    }

    /// Forgets the request, before the executor takes its next command.
    pub fn clear(&self) {
        let mut requested = self.lock();
        if requested.take().is_some() {
            // The byte is there: request wrote it under the same lock. Should that write have failed,
            // asking first keeps this from waiting for ever.
            let is_there = crate::platform::wait_readable([Some(self.wake_fd())], std::time::Duration::ZERO)
                .is_ok_and(|[ready]| ready);
            if is_there && let Err(e) = (&self.reader).read_exact(&mut [0]) {
                log::warn!("failed to clear an interrupt: {e}");
            }
        }
    }

    /// The request, if there is one.
    pub fn requested(&self) -> Option<Reason> {
        *self.lock()
    }

    /// Readable while a request stands.
    pub(super) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Reason>> {
        self.requested.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn is_awake(interrupt: &Interrupt) -> bool {
        crate::platform::wait_readable([Some(interrupt.wake_fd())], Duration::ZERO).unwrap()[0]
    }

    #[test]
    fn the_strongest_reason_stays_until_cleared() {
        let interrupt = Interrupt::new().unwrap();
        assert!(!is_awake(&interrupt));
        interrupt.request(Reason::Cancel);
        interrupt.request(Reason::Stop);
        assert_eq!(interrupt.requested(), Some(Reason::Cancel));
        interrupt.request(Reason::Fenced);
        assert_eq!(interrupt.requested(), Some(Reason::Fenced));
        assert!(is_awake(&interrupt));
        interrupt.clear();
        interrupt.clear();
        assert_eq!(interrupt.requested(), None);
        assert!(!is_awake(&interrupt), "nothing may be left in the pipe");
    }
}
