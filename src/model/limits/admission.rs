//! Who of those that are due may run: the one rule of all limits. The database's `admit_processes` decides by it.
//!
//! * All or nothing: who may not run takes no slot, so that nobody waits for one limit with a slot of another that he has
//!   not begun with.
//! * What a process holds already (those of its first claim, through all waits for retries) it does not need again, even
//!   after `max` was lowered.
//! * All but one thing: who has waited for long and finds one of his limits with room and another without keeps a slot of the
//!   first for a moment. Others that need only the one or the other would go before him for ever. Of each entry one slot is
//!   kept so at a time, and then none for ten times as long.
//! * Whoever comes first in the order of precedence is served first; one that is blocked keeps nobody else out.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of an entry: a limit, or one key of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// How many at the most; `None`: as many as there are.
    pub max: Option<u32>,
    /// Nobody goes on, not even who holds a slot.
    pub is_paused: bool,
    /// Slots that are taken; more than `max` after that was lowered.
    pub taken: u32,
    /// One of them is kept for somebody who waits for another limit as well, or was a moment ago.
    pub is_reserved: bool,
}

impl Room {
    /// Whether one more may have a slot.
    pub fn is_free(&self) -> bool {
        !self.is_paused && self.max.is_none_or(|max| self.taken < max)
    }
}

/// A process that is due, and the entries that its next command needs.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The entries, in the order in which they are asked.
    pub needs: &'a [String],
    /// Those of them of which it holds a slot.
    pub holds: &'a [String],
    /// It has waited for so long that it may keep a slot of one limit while it waits for another.
    pub has_waited_long: bool,
}

/// What is decided of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It may run, and takes a slot of each of these.
    Admitted(Vec<&'a str>),
    /// It takes nothing and waits for this entry, the first that has no room for it.
    Blocked(&'a str),
    /// The same, but it keeps a slot of each of these.
    Reserving(&'a str, Vec<&'a str>),
}

/// Decides of all requests, the one that has precedence first. An entry without a room has no bound.
pub fn admit<'a>(rooms: &BTreeMap<String, Room>, requests: &[Request<'a>]) -> Vec<Verdict<'a>> {
    let (mut taken_now, mut reserved_now) = (BTreeMap::<&str, u32>::new(), BTreeSet::<&str>::new());
    let decide = |request: &Request<'a>| {
        let is_held = |entry: &String| request.holds.contains(entry);
        let has_room = |entry: &String| {
            let Some(room) = rooms.get(entry) else { return true };
            let now = Room { taken: room.taken + taken_now.get(&**entry).unwrap_or(&0), ..*room };
            if is_held(entry) { !room.is_paused } else { now.is_free() }
        };
        if let Some(blocking) = request.needs.iter().find(|entry| !has_room(entry)) {
            let is_stopped =
                |entry: &String| rooms.get(entry).is_some_and(|room| room.is_paused || room.max == Some(0));
            if !request.has_waited_long || request.needs.len() < 2 || request.needs.iter().any(is_stopped) {
                return Verdict::Blocked(blocking);
            }
            let is_kept = |entry: &&String| {
                let is_bounded = rooms.get(*entry).is_some_and(|it| it.max.is_some() && !it.is_reserved);
                is_bounded && !is_held(entry) && has_room(entry) && !reserved_now.contains(&***entry)
            };
            let kept: Vec<&str> = request.needs.iter().filter(is_kept).map(String::as_str).collect();
            if kept.is_empty() {
                return Verdict::Blocked(blocking);
            }
            kept.iter().for_each(|entry| *taken_now.entry(entry).or_default() += 1);
            reserved_now.extend(&kept);
            return Verdict::Reserving(blocking, kept);
        }
        let takes: Vec<&str> =
            request.needs.iter().filter(|entry| !is_held(entry)).map(String::as_str).collect();
        takes.iter().for_each(|entry| *taken_now.entry(entry).or_default() += 1);
        Verdict::Admitted(takes)
    };
    requests.iter().map(decide).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    fn rooms(list: &[(&str, u32, u32)]) -> BTreeMap<String, Room> {
        let room = |&(name, max, taken): &(&str, u32, u32)| {
            (name.to_owned(), Room { max: Some(max), taken, ..Room::default() })
        };
        list.iter().map(room).collect()
    }

    #[test]
    fn who_lacks_one_of_two_takes_neither() {
        let both = names(&["a", "b"]);
        let only_a = names(&["a"]);
        let request = |needs| Request { needs, holds: &[], has_waited_long: false };
        let verdicts = admit(&rooms(&[("a", 1, 0), ("b", 1, 1)]), &[request(&both), request(&only_a)]);
        assert_eq!(verdicts, [Verdict::Blocked("b"), Verdict::Admitted(vec!["a"])]);
    }

    #[test]
    fn who_holds_a_slot_goes_on_though_max_was_lowered_but_not_through_a_pause() {
        let needs = names(&["a", "b"]);
        let holds = names(&["a"]);
        let request = Request { needs: &needs, holds: &holds, has_waited_long: false };
        let mut rooms = rooms(&[("a", 1, 3), ("b", 1, 0)]);
        assert_eq!(admit(&rooms, &[request]), [Verdict::Admitted(vec!["b"])]);
        rooms.get_mut("a").unwrap().is_paused = true;
        assert_eq!(admit(&rooms, &[request]), [Verdict::Blocked("a")]);
    }

    const ENTRIES: [&str; 4] = ["a", "b", "c", "c=1"];

    fn some_entries() -> impl Strategy<Value = Vec<String>> {
        proptest::sample::subsequence(names(&ENTRIES), 0..=3)
    }

    fn some_room() -> impl Strategy<Value = Room> {
        (proptest::option::of(0..4_u32), proptest::bool::weighted(0.1), 0..4_u32)
            .prop_map(|(max, is_paused, taken)| Room { max, is_paused, taken, ..Room::default() })
    }

    proptest! {
        #[test]
        fn never_more_than_max_and_nobody_is_blocked_while_there_is_room(
            all in proptest::collection::vec(some_room(), ENTRIES.len()),
            requests in proptest::collection::vec((some_entries(), some_entries(), proptest::bool::ANY), 0..12),
        ) {
            let rooms: BTreeMap<String, Room> = names(&ENTRIES).into_iter().zip(all).collect();
            let requests: Vec<Request<'_>> = requests
                .iter()
                .map(|(needs, holds, has_waited_long)| Request { needs, holds, has_waited_long: *has_waited_long })
                .collect();
            let mut now = rooms.clone();
            for (request, verdict) in requests.iter().zip(admit(&rooms, &requests)) {
                let lacks: Vec<&String> =
                    request.needs.iter().filter(|it| !request.holds.contains(it)).collect();
                let paused = request.needs.iter().any(|it| now[it].is_paused);
                match verdict {
                    Verdict::Admitted(takes) => {
                        prop_assert!(!paused && takes.iter().eq(lacks.iter()));
                        for entry in takes {
                            let room = now.get_mut(entry).unwrap();
                            room.taken += 1;
                            prop_assert!(room.max.is_none_or(|max| room.taken <= max));
                        }
                    }
                    Verdict::Reserving(by, kept) => {
                        prop_assert!(request.has_waited_long && !paused && !now[by].is_free());
                        prop_assert!(!kept.is_empty() && !kept.contains(&by));
                        for entry in kept {
                            let room = now.get_mut(entry).unwrap();
                            prop_assert!(!room.is_reserved, "one at a time");
                            (room.taken, room.is_reserved) = (room.taken + 1, true);
                            prop_assert!(room.max.is_some_and(|max| room.taken <= max));
                        }
                    }
                    // In order: what those before it have taken is taken, what those after it would take is not.
                    Verdict::Blocked(by) => {
                        prop_assert!(request.needs.iter().any(|it| it == by));
                        prop_assert!(paused || lacks.iter().any(|it| !now[*it].is_free()));
                        prop_assert!(now[by].is_paused || !now[by].is_free());
                    }
                }
            }
        }
    }
}
