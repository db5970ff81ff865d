//! Who may keep a place among the connections, for how long, and how much may be under way. Pure.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// From a connection's begin, or the end of an answer, to the first byte of a request.
const IDLE_MS_MAX: u64 = 30_000;
/// From the first byte of a request to its last.
const HEAD_MS_MAX: u64 = 5_000;
/// For the body of a call with the token.
const BODY_MS_MAX: u64 = 30_000;
/// From there to the answer; the reading from the database ends earlier by its own deadlines.
const ANSWERING_MS_MAX: u64 = 30_000;
/// For sending an answer, whatever its size.
const SENDING_MS_MAX: u64 = 60_000;
/// One that has been sending for so long may lose its place.
const SLOW_SENDING_MS: u64 = 5_000;
/// Bytes of all answers that are being sent; memory stays bounded when slow clients ask for large outputs.
const SENDING_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Head,
    /// The body of one who has shown the token.
    Body,
    Answering,
    Sending,
}

/// How long a phase may last.
pub(super) const fn patience(phase: Phase) -> Duration {
    Duration::from_millis(match phase {
        Phase::Idle => IDLE_MS_MAX,
        Phase::Head => HEAD_MS_MAX,
        Phase::Body => BODY_MS_MAX,
        Phase::Answering => ANSWERING_MS_MAX,
        Phase::Sending => SENDING_MS_MAX,
    })
}

/// The one that has been idle longest; else the one that has been sending its request longest; else the one that
/// takes its answer too slowly. One that waits for its answer never yields.
pub(super) fn yielding(places: &[(Phase, Instant)], now: Instant) -> Option<usize> {
    let longest_in = |phase: Phase, at_least: Duration| {
        let them = places.iter().enumerate();
        them.filter(|(_, it)| it.0 == phase && now.saturating_duration_since(it.1) >= at_least)
            .min_by_key(|(_, it)| it.1)
            .map(|(place, _)| place)
    };
    longest_in(Phase::Idle, Duration::ZERO)
        .or_else(|| longest_in(Phase::Head, Duration::ZERO))
        .or_else(|| longest_in(Phase::Sending, Duration::from_millis(SLOW_SENDING_MS)))
}

/// Bytes of an answer, counted while it is being sent.
pub(super) struct Room<'a> {
    sending: &'a AtomicUsize,
    bytes: usize,
}

impl<'a> Room<'a> {
    /// A single answer always has room.
    pub fn take(sending: &'a AtomicUsize, bytes: usize) -> Option<Self> {
        let add = |now: usize| (now == 0 || now + bytes <= SENDING_BYTES_MAX).then_some(now + bytes);
        sending.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).ok().map(|_| Self { sending, bytes })
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.sending.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_ask_nothing_give_way_first_and_the_oldest_of_them() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut places = vec![
            (Phase::Answering, at(0)),
            (Phase::Sending, at(1)),
            (Phase::Head, at(3)),
            (Phase::Idle, at(5)),
            (Phase::Idle, at(4)),
            (Phase::Head, at(2)),
        ];
        let now = at(7);
        for expected in
            [(Phase::Idle, at(4)), (Phase::Idle, at(5)), (Phase::Head, at(2)), (Phase::Head, at(3))]
        {
            let place = yielding(&places, now).expect("one yields");
            assert_eq!(places.remove(place), expected);
        }
        assert_eq!(yielding(&places, at(5)), None, "sends for 4 s only");
        assert_eq!(yielding(&places, now), Some(1), "sends for 6 s");
        places.remove(1);
        assert_eq!(yielding(&places, at(1000)), None, "one that is being answered keeps its place");
    }

    #[test]
    fn room_for_answers_is_bounded_and_given_back() {
        let sending = AtomicUsize::new(0);
        let huge = Room::take(&sending, 2 * SENDING_BYTES_MAX);
        assert!(huge.is_some(), "a single one always has room");
        assert!(Room::take(&sending, 1).is_none());
        drop(huge);
        let first = Room::take(&sending, SENDING_BYTES_MAX - 1);
        assert!(first.is_some() && Room::take(&sending, 1).is_some() && Room::take(&sending, 2).is_none());
        drop(first);
        assert_eq!(sending.load(Ordering::SeqCst), 0);
    }
}
