//! How much output waits to be recorded: executors that bring more wait themselves, and begin nothing meanwhile. Commands
//! print faster than a database writes; whatever is between the two would lie in memory.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that wait at the most, one output of more aside: as many as the recorder takes at a time, so that the next lot is
/// there when it has recorded one.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Between executors and the recorder.
#[derive(Default)]
pub(crate) struct OutputRoom {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting_bytes: usize,
    is_closed: bool,
}

impl OutputRoom {
    /// Waits until this much may wait.
    pub(super) fn take(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        // Not by what it brings: an output that is larger than the room would wait until nothing else does, for as long as
        // executors with small ones come before it.
        let is_full = |it: &mut State| it.waiting_bytes >= WAITING_BYTES_MAX && !it.is_closed;
        let state = self.changed.wait_while(self.lock(), is_full);
        state.unwrap_or_else(PoisonError::into_inner).waiting_bytes += bytes;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The recorder's end: without it nobody waits any more.
#[derive(Default)]
pub(crate) struct RoomOwner(pub(crate) Arc<OutputRoom>);

impl RoomOwner {
    /// This much has been taken out.
    pub(crate) fn free(&self, bytes: usize) {
        if bytes > 0 {
            let mut state = self.0.lock();
            state.waiting_bytes = state.waiting_bytes.saturating_sub(bytes);
            drop(state);
            self.0.changed.notify_all();
        }
    }
}

impl Drop for RoomOwner {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::{RecvTimeoutError, bounded};

    use super::*;

    #[test]
    fn what_is_too_much_waits_until_something_was_taken_out_or_nobody_takes_any_more() {
        let owner = RoomOwner::default();
        let room = Arc::clone(&owner.0);
        room.take(2 * WAITING_BYTES_MAX); // alone it has to go through
        let (tell, told) = bounded(9);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for bytes in [0, WAITING_BYTES_MAX, 1] {
                    room.take(bytes);
                    tell.send(bytes).unwrap();
                }
            });
            let soon = Duration::from_millis(20);
            assert_eq!(told.recv(), Ok(0), "nothing takes no room");
            assert_eq!(told.recv_timeout(soon), Err(RecvTimeoutError::Timeout));
            owner.free(2 * WAITING_BYTES_MAX);
            assert_eq!(told.recv(), Ok(WAITING_BYTES_MAX));
            assert_eq!(told.recv_timeout(soon), Err(RecvTimeoutError::Timeout));
            drop(owner);
            assert_eq!(told.recv(), Ok(1));
        });
    }

    #[test]
    fn what_is_larger_than_the_room_waits_for_no_moment_without_small_outputs() {
        let owner = RoomOwner::default();
        let room = Arc::clone(&owner.0);
        room.take(1);
        let (tell, told) = bounded(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                room.take(2 * WAITING_BYTES_MAX);
                tell.send(()).unwrap();
            });
            let is_let_in = told.recv_timeout(Duration::from_secs(5)).is_ok();
            drop(owner);
            assert!(is_let_in);
        });
    }
}
