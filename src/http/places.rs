//! Who may keep a place among the connections, and for how long. Pure.

use std::time::{Duration, Instant};

use super::rooms::Client;

/// From a connection's begin, or the end of an answer, to the first byte of a request.
const IDLE_MS_MAX: u64 = 30_000;
/// From the first byte of a request to its last.
const HEAD_MS_MAX: u64 = 5_000;
/// For the body of a call with the token.
const BODY_MS_MAX: u64 = 30_000;
/// From there to the answer; the reading from the database ends earlier by its own deadlines.
const ANSWERING_MS_MAX: u64 = 30_000;
/// For taking each part of an answer (64 KiB): a client that reads slower than 6.4 KiB a second is cut off.
const PART_MS_MAX: u64 = 10_000;
/// One whose answer has taken so long already gives way to others, for its place or for the room of its answer.
const SLOW_SENDING_MS: u64 = 2_000;

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

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub phase: Phase,
    /// When that began.
    pub since: Instant,
    /// When a part of the answer last went out, or the phase began.
    pub moved: Instant,
    pub client: Client,
}

/// Whether its time is up.
pub(super) fn is_late(place: &Place, now: Instant) -> bool {
    let patience = Duration::from_millis(match place.phase {
        Phase::Idle => IDLE_MS_MAX,
        Phase::Head => HEAD_MS_MAX,
        Phase::Body => BODY_MS_MAX,
        Phase::Answering => ANSWERING_MS_MAX,
        Phase::Sending => PART_MS_MAX,
    });
    now.saturating_duration_since(place.moved) > patience
}

/// Those that take their answers too slowly, for the longest time; not all at once.
pub(super) fn slowest(places: &[Place], now: Instant) -> Vec<usize> {
    const GIVE_WAY_MAX: usize = 4;
    let slow = Duration::from_millis(SLOW_SENDING_MS);
    let is_slow = |it: &Place| it.phase == Phase::Sending && now.saturating_duration_since(it.since) >= slow;
    let mut them: Vec<usize> = (0..places.len()).filter(|place| is_slow(&places[*place])).collect();
    them.sort_by_key(|place| places[*place].since);
    them.truncate(GIVE_WAY_MAX);
    them
}

/// The one that has been idle longest; else the one that has been sending its request longest; else the one that
/// takes its answer too slowly. One that waits for its answer never yields.
pub(super) fn yielding(places: &[Place], of: Option<Client>, now: Instant) -> Option<usize> {
    let longest_in = |phase, at_least| longest_in(places, of, phase, at_least, now);
    longest_in(Phase::Idle, Duration::ZERO)
        .or_else(|| longest_in(Phase::Head, Duration::ZERO))
        .or_else(|| longest_in(Phase::Sending, Duration::from_millis(SLOW_SENDING_MS)))
}

fn longest_in(
    places: &[Place],
    of: Option<Client>,
    phase: Phase,
    at_least: Duration,
    now: Instant,
) -> Option<usize> {
    let them = places.iter().enumerate();
    them.filter(|(_, it)| of.is_none_or(|client| it.client == client))
        .filter(|(_, it)| it.phase == phase && now.saturating_duration_since(it.since) >= at_least)
        .min_by_key(|(_, it)| it.since)
        .map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Client {
        Client::of(text.parse().expect("an address"))
    }

    #[test]
    fn those_that_ask_nothing_give_way_first_and_the_oldest_of_them() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let place = |phase, since| Place { phase, since, moved: since, client: client("127.0.0.1") };
        let mut places = vec![
            place(Phase::Answering, at(0)),
            place(Phase::Sending, at(2)),
            place(Phase::Head, at(3)),
            place(Phase::Idle, at(5)),
            place(Phase::Idle, at(4)),
            place(Phase::Head, at(2)),
        ];
        let now = at(7);
        for expected in
            [(Phase::Idle, at(4)), (Phase::Idle, at(5)), (Phase::Head, at(2)), (Phase::Head, at(3))]
        {
            assert_eq!(yielding(&places, Some(client("127.0.0.2")), now), None, "others' places");
            let found = places.remove(yielding(&places, None, now).expect("one yields"));
            assert_eq!((found.phase, found.since), expected);
        }
        assert_eq!(yielding(&places, None, at(3)), None, "sends for 1 s only");
        assert_eq!(
            (yielding(&places, None, now), slowest(&places, now)),
            (Some(1), vec![1]),
            "sends for 5 s"
        );
        places.remove(1);
        assert_eq!(yielding(&places, None, at(1000)), None, "one that is being answered keeps its place");
    }

    #[test]
    fn who_takes_its_answer_part_by_part_is_not_late() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut place = Place { phase: Phase::Sending, since: begin, moved: at(95), client: client("::1") };
        assert!(!is_late(&place, at(100)));
        assert!(is_late(&place, at(106)));
        place = Place { phase: Phase::Head, moved: begin, ..place };
        assert!(is_late(&place, at(6)));
    }
}
