//! Where in the queue a look for due processes begins.
//!
//! Each claim leaves dead entries in the queue's index, where the process was that it took. Vacuum takes them away, and
//! scans do in passing, but neither may while a transaction anywhere in the server could still see them (a dump, a
//! report, a session forgotten): then a look at the whole queue reads an entry for every claim there was since.
//!
//! So where such a look takes long the next ones begin, in each priority, where the one before has ended. What they skip
//! (a start whose transaction was committed late, rows that were locked) is found by the next look at the whole queue; such
//! looks are so far apart that they take a hundredth of the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::store::claims::{Claim, Claimed, QueuePart};

/// How much earlier than the last claim the next one begins, where more waits: longer than a transaction that starts
/// processes usually takes from its begin, which is when they are due, to its commit.
const MARGIN: Duration = Duration::from_millis(100);
/// The same where nothing more was due: the queue is short, claims are few, and what is read again is little.
const MARGIN_AT_END: Duration = Duration::from_secs(2);
/// A look at the whole queue that takes no longer than this is as good as one at a part of it.
const CHEAP: Duration = Duration::from_millis(2);
/// What of a look's time is that of its claims: a commit, and for each some rows. More would be a slow disk's.
const COMMIT_TAKES: Duration = Duration::from_millis(3);
const CLAIM_TAKES: Duration = Duration::from_micros(100);
/// After a look at the whole queue others follow for this many times as long as it took.
const WHOLE_LOOKS_RARER_THAN: u32 = 100;
/// But for no longer than this many intervals: some process may wait for the next one.
const INTERVALS_MAX: u32 = 20;
/// Priorities that are remembered; where there are more, every look is at the whole queue.
const PRIORITIES_MAX: usize = 64;

/// How far each priority's part of the queue is claimed.
pub(crate) struct ScanCursor {
    /// Shortest time from one look at the whole queue to the next while more is due than there is room for.
    interval: Duration,
    /// The priorities that were met. What was due before the time is claimed, by our clock, if anything too early;
    /// `None`: that is not known.
    claimed_to: BTreeMap<i32, Option<Instant>>,
    all: Pace,
    /// Of looks for higher priorities only.
    above: Pace,
}

/// When to look at the whole of something.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    /// `None`: now.
    whole_at: Option<Instant>,
    /// Whether the last look at the whole says nothing against another one.
    is_cheap: bool,
    /// What reading took at the last look at the whole.
    last_took: Duration,
}

impl Pace {
    fn is_due(self, now: Instant) -> bool {
        self.whole_at.is_none_or(|at| at <= now)
    }

    fn note(
        &mut self,
        was_whole: bool,
        is_full: bool,
        interval: Duration,
        (began, took): (Instant, Duration),
    ) {
        if was_whole {
            // One alone may have taken long for another reason: a lock, the disk, a connection that had to be made.
            let (this, last) = (took, std::mem::replace(&mut self.last_took, took));
            let takes = this.min(last);
            // After a long queue another one is due in any case.
            self.is_cheap = is_full || takes <= CHEAP;
            let pause = (takes * WHOLE_LOOKS_RARER_THAN).min(interval * INTERVALS_MAX);
            self.whole_at = Some(began + if is_full { pause.max(interval) } else { pause });
        }
        if !is_full && self.is_cheap {
            self.whole_at = None;
        }
    }
}

impl ScanCursor {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, claimed_to: BTreeMap::new(), all: Pace::default(), above: Pace::default() }
    }

    /// Where to look now.
    pub(crate) fn part(&self, now: Instant) -> QueuePart {
        self.part_of(self.all, None, now)
    }

    /// Where to look for priorities above `floor`.
    pub(crate) fn part_above(&self, floor: i32, now: Instant) -> QueuePart {
        self.part_of(self.above, Some(floor), now)
    }

    fn part_of(&self, pace: Pace, above: Option<i32>, now: Instant) -> QueuePart {
        if pace.is_due(now) || self.claimed_to.len() > PRIORITIES_MAX {
            return QueuePart { above, within: Vec::new() };
        }
        let ago = |due: &Instant| now.saturating_duration_since(*due) + MARGIN;
        let known =
            self.claimed_to.iter().filter(|(priority, _)| above.is_none_or(|floor| **priority > floor));
        let within = known.map(|(priority, due)| (*priority, due.as_ref().map(ago)));
        QueuePart { above, within: within.collect() }
    }

    /// The next looks are at the whole queue.
    pub(crate) fn reset(&mut self) {
        (self.all, self.above) = (Pace::default(), Pace::default());
        self.claimed_to.values_mut().for_each(|claimed_to| *claimed_to = None);
    }

    fn meet(&mut self, priority: i32) {
        if self.claimed_to.len() <= PRIORITIES_MAX {
            self.claimed_to.entry(priority).or_default();
        }
    }

    /// When to look at the whole of what `part` is of, although no wake-up says that anything is due there. `None`: at the
    /// next look, which is to come at once if the last one was at a part only.
    pub(crate) fn whole_at(&self, part: &QueuePart) -> Option<Instant> {
        if part.above.is_some() { self.above.whole_at } else { self.all.whole_at }
    }

    /// A look at `part` that began at `began` has claimed these; there may be more if it `is_full`.
    pub(crate) fn note(&mut self, claimed: &[Claimed], part: &QueuePart, is_full: bool, began: Instant) {
        let claims: Vec<_> = claimed.iter().filter_map(ready).map(|it| (it.priority, it.late)).collect();
        if is_full && claims.is_empty() {
            return; // Nothing that could be read: it says nothing of the rest.
        }
        self.note_claims(&claims, part, is_full, began);
        let own = if claimed.is_empty() {
            Duration::ZERO
        } else {
            COMMIT_TAKES + CLAIM_TAKES * claims.len() as u32
        };
        self.plan(part, is_full, (began, began.elapsed().saturating_sub(own)));
    }

    /// A look at `part` that claimed nothing, whatever it has found, began at `began`.
    pub(crate) fn note_time(&mut self, part: &QueuePart, began: Instant) {
        self.plan(part, false, (began, began.elapsed()));
    }

    /// Each with how late it was claimed.
    fn note_claims(&mut self, claims: &[(i32, Duration)], part: &QueuePart, is_full: bool, began: Instant) {
        if self.claimed_to.len() > PRIORITIES_MAX {
            // Perhaps there are fewer now.
            self.claimed_to.clear();
        }
        claims.iter().for_each(|(priority, _)| self.meet(*priority));
        // Below it nothing was looked at if there was no more room.
        let lowest = claims.iter().map(|(priority, _)| *priority).min().filter(|_| is_full);
        let all_before = began.checked_sub(MARGIN_AT_END);
        for (priority, claimed_to) in &mut self.claimed_to {
            let is_above = part.above.is_none_or(|floor| *priority > floor);
            if is_above && lowest.is_none_or(|lowest| *priority > lowest) {
                *claimed_to = all_before;
            }
        }
        if let Some(lowest) = lowest {
            // The database read its clock after `began`: a process was due no earlier than this. One that was not late
            // at all was due since ever, or the clock was put back.
            let due = |(priority, late): &(i32, Duration)| {
                (*priority == lowest && !late.is_zero()).then(|| began.checked_sub(*late))?
            };
            let last = claims.iter().filter_map(due).max();
            let began_at = part.within.iter().find(|(priority, _)| *priority == lowest);
            // What a look at a part claims first may be from within the margin.
            self.claimed_to.entry(lowest).and_modify(|claimed_to| {
                *claimed_to = if began_at.is_some() { last.max(*claimed_to) } else { last };
            });
        }
    }

    /// `time` is when it began, and what reading took.
    fn plan(&mut self, part: &QueuePart, is_full: bool, time: (Instant, Duration)) {
        let pace = if part.above.is_some() { &mut self.above } else { &mut self.all };
        pace.note(part.within.is_empty(), is_full, self.interval, time);
    }
}

fn ready(claimed: &Claimed) -> Option<&Claim> {
    match claimed {
        Claimed::Ready(claim, _) => Some(claim),
        Claimed::Unreadable { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn began() -> Instant {
        Instant::now() + SECOND * 100
    }

    fn whole() -> QueuePart {
        QueuePart::default()
    }

    fn within(cursor: &ScanCursor, now: Instant) -> Vec<(i32, Option<Duration>)> {
        cursor.part(now).within
    }

    #[test]
    fn a_look_begins_where_the_last_one_has_ended_until_the_whole_queue_is_looked_at() {
        let (began, mut cursor) = (began(), ScanCursor::new(SECOND));
        assert_eq!(cursor.part(began), whole(), "the first look");
        let claims =
            [(7, SECOND * 30), (7, SECOND * 20), (-1, SECOND * 25), (-1, SECOND * 9), (-1, SECOND * 11)];
        cursor.note_claims(&claims, &whole(), true, began);
        cursor.plan(&whole(), true, (began, SECOND / 1000));
        let half = began + SECOND / 2;
        let expected = [(-1, Some(SECOND * 19 / 2 + MARGIN)), (7, Some(SECOND * 5 / 2 + MARGIN))];
        assert_eq!(within(&cursor, half), expected);
        let part = cursor.part(half);
        cursor.note_claims(&[(-1, SECOND * 19 / 2)], &part, true, half);
        cursor.plan(&part, true, (half, SECOND / 1000));
        assert_eq!(within(&cursor, half)[0], expected[0], "one from within the margin says nothing new");
        assert_eq!(cursor.part(began + SECOND), whole(), "its time is over");
        cursor.note_claims(&[(7, SECOND * 50)], &whole(), true, began + SECOND);
        cursor.plan(&whole(), true, (began + SECOND, SECOND / 1000));
        let expected = [(-1, Some(SECOND * 10 + MARGIN)), (7, Some(SECOND * 50 + MARGIN))];
        assert_eq!(within(&cursor, began + SECOND), expected, "what it met says where the next ones begin");
    }

    #[test]
    fn where_looks_at_the_whole_queue_take_long_they_are_rare_whether_more_waits_or_not() {
        let (began, mut cursor) = (began(), ScanCursor::new(SECOND));
        let whole_at = |cursor: &ScanCursor| cursor.whole_at(&whole());
        cursor.note_claims(&[(0, SECOND)], &whole(), false, began);
        cursor.plan(&whole(), false, (began, CHEAP));
        assert_eq!((cursor.part(began), whole_at(&cursor)), (whole(), None), "a cheap one");
        cursor.plan(&whole(), false, (began, SECOND / 10));
        assert_eq!(cursor.part(began), whole(), "one alone may have taken long for another reason");
        cursor.plan(&whole(), false, (began, SECOND / 10));
        let part = cursor.part(began + SECOND);
        assert_eq!(part.within, [(0, Some(SECOND + MARGIN_AT_END + MARGIN))]);
        cursor.plan(&part, false, (began + SECOND, SECOND / 1000));
        assert_eq!(whole_at(&cursor), Some(began + SECOND * 10));
        assert_eq!(cursor.part(began + SECOND * 10), whole());
        cursor.plan(&whole(), true, (began, SECOND * 60));
        cursor.plan(&whole(), true, (began, SECOND * 60));
        assert_eq!(whole_at(&cursor), Some(began + SECOND * 20), "never rarer");
        cursor.plan(&whole(), true, (began, SECOND / 1000));
        assert_eq!(whole_at(&cursor), Some(began + SECOND), "while more waits it is no use");
        cursor.plan(&part, false, (began, SECOND));
        assert_eq!(cursor.part(began), whole(), "no more waits: what was passed over comes next");
    }

    #[test]
    fn a_look_above_a_priority_says_nothing_of_that_one_and_is_at_the_whole_of_it_in_its_turn() {
        let (began, mut cursor) = (began(), ScanCursor::new(SECOND));
        cursor.note_claims(&[(0, SECOND * 9), (5, SECOND)], &whole(), true, began);
        cursor.plan(&whole(), true, (began, SECOND));
        cursor.plan(&whole(), true, (began, SECOND));
        let above = cursor.part_above(0, began);
        assert_eq!(above, QueuePart { above: Some(0), within: vec![] }, "the first one");
        cursor.note_claims(&[], &above, false, began + SECOND);
        cursor.plan(&above, false, (began, SECOND / 50));
        cursor.plan(&above, false, (began, SECOND / 50));
        let within_margin = Some(MARGIN_AT_END + MARGIN);
        assert_eq!(within(&cursor, began + SECOND), [(0, Some(SECOND * 10 + MARGIN)), (5, within_margin)]);
        assert_eq!(cursor.part_above(0, began + SECOND).within, [(5, within_margin)]);
        assert_eq!(cursor.part_above(0, began + SECOND * 2), above, "after a hundred times what it took");
        cursor.reset();
        assert_eq!((cursor.part(began), cursor.part_above(0, began)), (whole(), above));
    }

    #[test]
    fn what_was_due_since_ever_says_nothing_of_the_rest() {
        let (began, mut cursor) = (began(), ScanCursor::new(SECOND));
        cursor.note_claims(&[(0, Duration::ZERO)], &whole(), true, began);
        cursor.plan(&whole(), true, (began, SECOND));
        assert_eq!(within(&cursor, began), [(0, None)]);
    }

    #[test]
    fn of_very_many_priorities_none_is_remembered() {
        let (began, mut cursor) = (began(), ScanCursor::new(SECOND));
        let claims: Vec<_> = (0..100).map(|priority| (priority, SECOND)).collect();
        cursor.note_claims(&claims, &whole(), true, began);
        cursor.plan(&whole(), true, (began, SECOND));
        assert_eq!(cursor.part(began), whole());
        cursor.note_claims(&claims[..3], &whole(), false, began);
        assert_eq!(within(&cursor, began).len(), 3, "once there are fewer they are");
    }
}
