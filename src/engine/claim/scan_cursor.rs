//! Where in the queue a look for due processes begins.
//!
//! Each claim leaves dead entries in the queue's index, where the process was that it took. Vacuum removes them, and
//! scans do in passing, but neither may while a transaction anywhere in the server could still see them (a dump, a
//! report, a session forgotten): then a scan of the whole queue reads an entry for every claim there was since.
//!
//! So where such a scan takes long the next ones begin, in each priority, where the one before has ended. What they pass
//! over (a start whose transaction was committed late, rows that somebody else had locked) is found by the next scan of
//! the whole queue, which are so far apart that they take a hundredth of the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::store::claims::{Claim, Claimed, QueuePart, SharedPart};
use crate::store::promote::Promotion;

/// What one look scans. The default is the whole queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Only higher priorities than this.
    pub(crate) above: Option<i32>,
    /// Of these priorities, the lowest first, only what has been due for no longer than the time given here; `None`: all
    /// of it. Of priorities that are not named, all.
    within: Vec<(i32, Option<Duration>)>,
    /// A priority that types share.
    pub(super) shared: Option<SharedPart>,
}

impl Scan {
    pub(crate) fn is_whole(&self) -> bool {
        self.within.is_empty()
    }

    /// Of a type at a priority that types share, what was claimed of it until `claimed_to`: how far back is scanned now.
    pub(super) fn within_of(
        &self,
        priority: i32,
        claimed_to: Option<Instant>,
        now: Instant,
    ) -> Option<Duration> {
        if self.is_whole() {
            return None;
        }
        let of_all = || self.within.iter().find(|it| it.0 == priority).and_then(|it| it.1);
        claimed_to.map(|due| now.saturating_duration_since(due) + MARGIN).or_else(of_all)
    }

    /// The known priorities and the gaps between them, highest first. If one is shared, those above it: whether there is more
    /// of it than types that are known says a scan without it.
    pub(crate) fn parts(&self) -> Vec<QueuePart> {
        let above = self.shared.as_ref().map(|it| it.priority).max(self.above);
        let Some(floor) = above.map_or(Some(i32::MIN), |above| above.checked_add(1)) else {
            return Vec::new();
        };
        let mut known: Vec<_> =
            self.within.iter().map(|&(priority, within)| (priority, Some(within))).collect();
        if let Some(SharedPart { priority, .. }) = self.shared {
            known.retain(|it| it.0 != priority);
            known.insert(known.partition_point(|it| it.0 < priority), (priority, None));
        }
        let mut parts = Vec::with_capacity(2 * known.len() + 1);
        // Above what was dealt with last, in a type that holds one more than the highest priority.
        let mut below = i64::from(i32::MAX) + 1;
        let mut add = |lowest: i64, highest: i64, within| {
            if let (Ok(lowest), Ok(highest)) = (i32::try_from(lowest), i32::try_from(highest))
                && lowest <= highest
            {
                parts.push(QueuePart { lowest, highest, within });
            }
        };
        for &(priority, within) in self.within.iter().rev().filter(|(priority, _)| *priority >= floor) {
            let priority = i64::from(priority);
            add(priority + 1, below - 1, None);
            add(priority, priority, within);
            below = priority;
        }
        add(i64::from(floor), below - 1, None);
        parts
    }
}

/// How much earlier than the last claim the next one begins, where more waits: longer than a transaction that starts
/// processes usually takes from its begin, which is when they are due, to its commit.
const MARGIN: Duration = Duration::from_millis(100);
/// The same where nothing more was due: the queue is short, claims are few, and what is read again is little.
const MARGIN_AT_END: Duration = Duration::from_secs(2);
/// A scan of the whole queue that takes no longer than this is as good as one at a part of it.
const CHEAP: Duration = Duration::from_millis(2);
/// What of a look's time is that of its claims: a commit, and for each some rows. More would be a slow disk's.
const COMMIT_TAKES: Duration = Duration::from_millis(3);
const CLAIM_TAKES: Duration = Duration::from_micros(100);
/// After a scan of the whole queue others follow for this many times as long as it took.
const WHOLE_LOOKS_RARER_THAN: u32 = 100;
/// But for no longer than this many intervals: some process may wait for the next one.
const INTERVALS_MAX: u32 = 20;
/// Priorities that are remembered; where there are more, every look is at the whole queue.
const PRIORITIES_MAX: usize = 64;

/// How far each priority's part of the queue is claimed.
pub(crate) struct ScanCursor {
    /// Shortest time from one scan of the whole queue to the next while more is due than there is room for.
    interval: Duration,
    /// The priorities that were met. What was due before the time is claimed, by our clock, if anything too early;
    /// `None`: that is not known.
    claimed_to: BTreeMap<i32, Option<Instant>>,
    all: Pace,
    /// Of looks for what has precedence only.
    above: Pace,
    /// Of promotions, and until when everything was promoted by the last one.
    scheduled: Pace,
    promoted_to: Option<Instant>,
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
        Self {
            interval,
            claimed_to: BTreeMap::new(),
            all: Pace::default(),
            above: Pace::default(),
            scheduled: Pace::default(),
            promoted_to: None,
        }
    }

    /// What to scan now: all that is ready, or what has precedence over `above`.
    pub(crate) fn scan(&self, above: Option<i32>, now: Instant) -> Scan {
        self.scan_of(if above.is_some() { self.above } else { self.all }, above, now)
    }

    /// How far back a promotion looks; `None`: to the beginning.
    pub(crate) fn promote_within(&self, now: Instant) -> Option<Duration> {
        let to = self.promoted_to.filter(|_| !self.scheduled.is_due(now))?;
        Some(now.saturating_duration_since(to) + MARGIN_AT_END)
    }

    /// A promotion that looked back so far began then.
    pub(crate) fn note_promotion(&mut self, within: Option<Duration>, promotion: &Promotion, began: Instant) {
        let took = began.elapsed().saturating_sub(own_time(promotion.promoted));
        self.scheduled.note(within.is_none(), promotion.is_full, self.interval, (began, took));
        if !promotion.is_full {
            self.promoted_to = Some(began);
        }
    }

    fn scan_of(&self, pace: Pace, above: Option<i32>, now: Instant) -> Scan {
        if pace.is_due(now) || self.claimed_to.len() > PRIORITIES_MAX {
            return Scan { above, ..Scan::default() };
        }
        let ago = |due: &Instant| now.saturating_duration_since(*due) + MARGIN;
        let known =
            self.claimed_to.iter().filter(|(priority, _)| above.is_none_or(|floor| **priority > floor));
        let within = known.map(|(priority, due)| (*priority, due.as_ref().map(ago)));
        Scan { above, within: within.collect(), shared: None }
    }

    /// The next looks are at the whole queue.
    pub(crate) fn reset(&mut self) {
        (self.all, self.above, self.scheduled) = (Pace::default(), Pace::default(), Pace::default());
        self.claimed_to.values_mut().for_each(|claimed_to| *claimed_to = None);
    }

    fn meet(&mut self, priority: i32) {
        if self.claimed_to.len() <= PRIORITIES_MAX {
            self.claimed_to.entry(priority).or_default();
        }
    }

    /// Whether what `scan` is a part of is to be scanned as a whole now.
    pub(crate) fn is_whole_scan_due(&self, scan: &Scan) -> bool {
        if scan.above.is_some() { self.above.whole_at.is_none() } else { self.all.whole_at.is_none() }
    }

    /// A look at `scan` that began at `began` has claimed these; there may be more if it `is_full`.
    pub(crate) fn note(&mut self, claimed: &[Claimed], scan: &Scan, is_full: bool, began: Instant) {
        let claims: Vec<_> = claimed.iter().filter_map(ready).map(|it| (it.priority, it.due_ago)).collect();
        if is_full && claims.is_empty() {
            return; // Nothing that could be read: it says nothing of the rest.
        }
        self.note_claims(&claims, scan, is_full, began);
        self.plan(scan, is_full, (began, began.elapsed().saturating_sub(own_time(claimed.len()))));
    }

    /// A look at `scan` that claimed nothing, whatever it has found, began at `began`.
    pub(crate) fn note_time(&mut self, scan: &Scan, began: Instant) {
        self.plan(scan, false, (began, began.elapsed()));
    }

    /// Each with how long ago it was due.
    fn note_claims(&mut self, claims: &[(i32, Duration)], scan: &Scan, is_full: bool, began: Instant) {
        if self.claimed_to.len() > PRIORITIES_MAX {
            // Perhaps there are fewer now.
            self.claimed_to.clear();
        }
        claims.iter().for_each(|(priority, _)| self.meet(*priority));
        // Below it nothing was looked at if there was no more room.
        let lowest = claims.iter().map(|(priority, _)| *priority).min().filter(|_| is_full);
        let all_before = began.checked_sub(MARGIN_AT_END);
        // Of what is shared each type was claimed to a time of its own, of types that were not named nothing, nor of what
        // comes after them.
        let is_shared = |priority: i32| scan.shared.as_ref().is_some_and(|it| it.priority >= priority);
        for (priority, claimed_to) in &mut self.claimed_to {
            let is_above = scan.above.is_none_or(|floor| *priority > floor);
            if is_above && !is_shared(*priority) && lowest.is_none_or(|lowest| *priority > lowest) {
                *claimed_to = all_before;
            }
        }
        if let Some(lowest) = lowest.filter(|lowest| !is_shared(*lowest)) {
            // The database read its clock after `began`: a process was due no earlier than this. One that was not late
            // at all was due since ever, or the clock was put back.
            let due = |(priority, late): &(i32, Duration)| {
                (*priority == lowest && !late.is_zero()).then(|| began.checked_sub(*late))?
            };
            let last = claims.iter().filter_map(due).max();
            let began_at = scan.within.iter().find(|(priority, _)| *priority == lowest);
            // What a look at a part claims first may be from within the margin.
            self.claimed_to.entry(lowest).and_modify(|claimed_to| {
                *claimed_to = if began_at.is_some() { last.max(*claimed_to) } else { last };
            });
        }
    }

    /// `time` is when it began, and what reading took.
    fn plan(&mut self, scan: &Scan, is_full: bool, time: (Instant, Duration)) {
        let pace = if scan.above.is_some() { &mut self.above } else { &mut self.all };
        pace.note(scan.is_whole(), is_full, self.interval, time);
    }
}

#[cfg(test)]
impl ScanCursor {
    /// As after two looks that have taken long and claimed something of priority 0.
    pub(super) fn note_slow_looks(&mut self, now: Instant) {
        let second = Duration::from_secs(1);
        self.note_claims(&[(0, second)], &Scan::default(), true, now);
        (0..2).for_each(|_| self.plan(&Scan::default(), true, (now, second / 100)));
    }
}

/// What of a look's time is that of what it has changed.
fn own_time(rows: usize) -> Duration {
    if rows == 0 { Duration::ZERO } else { COMMIT_TAKES + CLAIM_TAKES * rows as u32 }
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

    fn whole() -> Scan {
        Scan::default()
    }

    fn within(cursor: &ScanCursor, now: Instant) -> Vec<(i32, Option<Duration>)> {
        cursor.scan(None, now).within
    }

    #[test]
    fn a_look_begins_where_the_last_one_has_ended_until_the_whole_queue_is_looked_at() {
        let (began, mut cursor) = (began(), ScanCursor::new(SECOND));
        assert_eq!(cursor.scan(None, began), whole(), "the first look");
        let claims =
            [(7, SECOND * 30), (7, SECOND * 20), (-1, SECOND * 25), (-1, SECOND * 9), (-1, SECOND * 11)];
        cursor.note_claims(&claims, &whole(), true, began);
        cursor.plan(&whole(), true, (began, SECOND / 1000));
        let half = began + SECOND / 2;
        let expected = [(-1, Some(SECOND * 19 / 2 + MARGIN)), (7, Some(SECOND * 5 / 2 + MARGIN))];
        assert_eq!(within(&cursor, half), expected);
        let scan = cursor.scan(None, half);
        cursor.note_claims(&[(-1, SECOND * 19 / 2)], &scan, true, half);
        cursor.plan(&scan, true, (half, SECOND / 1000));
        assert_eq!(within(&cursor, half)[0], expected[0], "one from within the margin says nothing new");
        assert_eq!(cursor.scan(None, began + SECOND), whole(), "its time is over");
        cursor.note_claims(&[(7, SECOND * 50)], &whole(), true, began + SECOND);
        cursor.plan(&whole(), true, (began + SECOND, SECOND / 1000));
        let expected = [(-1, Some(SECOND * 10 + MARGIN)), (7, Some(SECOND * 50 + MARGIN))];
        assert_eq!(within(&cursor, began + SECOND), expected, "what it met says where the next ones begin");
    }

    #[test]
    fn where_looks_at_the_whole_queue_take_long_they_are_rare_whether_more_waits_or_not() {
        let (began, mut cursor) = (began(), ScanCursor::new(SECOND));
        let whole_at = |cursor: &ScanCursor| cursor.all.whole_at;
        cursor.note_claims(&[(0, SECOND)], &whole(), false, began);
        cursor.plan(&whole(), false, (began, CHEAP));
        assert_eq!((cursor.scan(None, began), whole_at(&cursor)), (whole(), None), "a cheap one");
        cursor.plan(&whole(), false, (began, SECOND / 10));
        assert_eq!(cursor.scan(None, began), whole(), "one alone may have taken long for another reason");
        cursor.plan(&whole(), false, (began, SECOND / 10));
        let scan = cursor.scan(None, began + SECOND);
        assert_eq!(scan.within, [(0, Some(SECOND + MARGIN_AT_END + MARGIN))]);
        cursor.plan(&scan, false, (began + SECOND, SECOND / 1000));
        assert_eq!(whole_at(&cursor), Some(began + SECOND * 10));
        assert_eq!(cursor.scan(None, began + SECOND * 10), whole());
        cursor.plan(&whole(), true, (began, SECOND * 60));
        cursor.plan(&whole(), true, (began, SECOND * 60));
        assert_eq!(whole_at(&cursor), Some(began + SECOND * 20), "never rarer");
        cursor.plan(&whole(), true, (began, SECOND / 1000));
        assert_eq!(whole_at(&cursor), Some(began + SECOND), "while more waits it is no use");
        cursor.plan(&scan, false, (began, SECOND));
        assert_eq!(cursor.scan(None, began), whole(), "no more waits: what was passed over comes next");
    }

    #[test]
    fn a_look_above_a_priority_says_nothing_of_that_one_and_is_at_the_whole_of_it_in_its_turn() {
        let (began, mut cursor) = (began(), ScanCursor::new(SECOND));
        cursor.note_claims(&[(0, SECOND * 9), (5, SECOND)], &whole(), true, began);
        cursor.plan(&whole(), true, (began, SECOND));
        cursor.plan(&whole(), true, (began, SECOND));
        let above = cursor.scan(Some(0), began);
        assert_eq!(above, Scan { above: Some(0), ..whole() }, "the first one");
        cursor.note_claims(&[], &above, false, began + SECOND);
        cursor.plan(&above, false, (began, SECOND / 50));
        cursor.plan(&above, false, (began, SECOND / 50));
        let within_margin = Some(MARGIN_AT_END + MARGIN);
        assert_eq!(within(&cursor, began + SECOND), [(0, Some(SECOND * 10 + MARGIN)), (5, within_margin)]);
        assert_eq!(cursor.scan(Some(0), began + SECOND).within, [(5, within_margin)]);
        assert_eq!(cursor.scan(Some(0), began + SECOND * 2), above, "after a hundred times what it took");
        cursor.reset();
        assert_eq!((cursor.scan(None, began), cursor.scan(Some(0), began)), (whole(), above));
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
        assert_eq!(cursor.scan(None, began), whole());
        cursor.note_claims(&claims[..3], &whole(), false, began);
        assert_eq!(within(&cursor, began).len(), 3, "once there are fewer they are");
    }

    #[test]
    fn a_scan_consists_of_known_priorities_and_of_the_gaps_between_them() {
        let part = |lowest, highest, within| QueuePart { lowest, highest, within };
        assert_eq!(whole().parts(), [QueuePart::WHOLE]);
        let within = vec![(-1, Some(SECOND)), (0, None), (7, Some(SECOND))];
        let known = |above| Scan { above, within: within.clone(), shared: None };
        let high = [part(8, i32::MAX, None), part(7, 7, Some(SECOND)), part(1, 6, None)];
        let low = [part(0, 0, None), part(-1, -1, Some(SECOND)), part(i32::MIN, -2, None)];
        assert_eq!(known(None).parts(), [high, low].concat());
        assert_eq!(known(Some(0)).parts(), high);
        assert_eq!(known(Some(7)).parts(), high[..1]);
        let ends = Scan { within: vec![(i32::MIN, None), (i32::MAX, None)], ..whole() };
        let between = part(i32::MIN + 1, i32::MAX - 1, None);
        assert_eq!(ends.parts(), [part(i32::MAX, i32::MAX, None), between, part(i32::MIN, i32::MIN, None)]);
        assert_eq!(Scan { above: Some(i32::MAX), ..whole() }.parts(), []);
        let shared = |priority| Some(SharedPart { priority, shares: Vec::new() });
        assert_eq!(
            Scan { shared: shared(0), ..known(None) }.parts(),
            high,
            "what is shared comes after them"
        );
        assert_eq!(Scan { shared: shared(6), ..whole() }.parts(), [part(7, i32::MAX, None)]);
    }

    #[test]
    fn promotions_look_back_to_the_last_one_where_looks_at_all_take_long() {
        let (now, mut cursor) = (Instant::now(), ScanCursor::new(SECOND));
        assert_eq!(cursor.promote_within(now), None, "the first one");
        let none = Promotion { promoted: 0, highest_priority: None, is_full: false, next_due: None };
        cursor.note_promotion(None, &none, now);
        assert_eq!(cursor.promote_within(now + SECOND), None, "it was cheap");
        let long_ago = now - SECOND;
        (0..2).for_each(|_| cursor.note_promotion(None, &none, long_ago));
        assert_eq!(cursor.promote_within(now), Some(SECOND + MARGIN_AT_END));
        assert_eq!(cursor.promote_within(now + SECOND * 30), None, "in its turn");
        cursor.reset();
        assert_eq!(cursor.promote_within(now), None);
    }
}
