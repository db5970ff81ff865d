//! What outputs that were recorded have left free, and when it goes back to the system.

use std::time::{Duration, Instant};

use crate::platform;

/// So much is worth a look at all free memory, which takes some milliseconds.
const BYTES_MIN: usize = 1024 * 1024;
/// A node that has recorded nothing for so long has the time for it.
const REST: Duration = Duration::from_secs(1);
/// One that never rests gives back after so much: the pieces of many threads lie between one another, and what is free
/// would grow.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes since memory was given back.
#[derive(Default)]
pub(crate) struct Freed {
    bytes: usize,
    last: Option<Instant>,
}

impl Freed {
    /// So much was recorded, and is free.
    pub(super) fn note(&mut self, bytes: usize, now: Instant) {
        self.bytes += bytes;
        self.last = Some(now);
        if self.bytes >= BYTES_MAX {
            self.give_back();
        }
    }

    /// When to give back.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.last.filter(|_| self.bytes >= BYTES_MIN).map(|last| last + REST)
    }

    /// Gives back if it is time.
    pub(super) fn look(&mut self, now: Instant) {
        if self.due_at().is_some_and(|at| now >= at) {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        self.bytes = 0;
        platform::return_free_memory();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_goes_back_after_a_rest_and_very_much_at_once() {
        let (mut freed, now) = (Freed::default(), Instant::now());
        freed.note(BYTES_MIN - 1, now);
        assert_eq!(freed.due_at(), None);
        freed.note(1, now);
        freed.look(now);
        assert_eq!(freed.due_at(), Some(now + REST));
        freed.look(now + REST);
        assert_eq!(freed.due_at(), None);
        freed.note(BYTES_MAX, now);
        assert_eq!(freed.due_at(), None);
    }
}
