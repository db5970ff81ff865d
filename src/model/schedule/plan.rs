//! What is to be done for a schedule at a moment: which of its times are due, which of them start a process, what comes next.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::definition::{CatchUp, Schedule};
use super::rule::Rule;

/// A time that is later than this was missed.
pub const LATE_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// Missed times that are counted one by one: a day of every second. What comes to more is not counted further, since the
/// transaction that fires waits for it.
const COUNTED_MAX: u64 = 100_000;

/// A time that starts a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firing {
    /// The time itself, without jitter.
    pub at: Timestamp,
    /// The time before, of the process before if there is one.
    pub previous: Timestamp,
    /// It was missed, and is made up for.
    pub is_made_up: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In their order.
    pub firings: Vec<Firing>,
    /// Times that were missed and are not made up for.
    pub missed: u64,
    /// The last of them.
    pub missed_until: Option<Timestamp>,
    /// The next time; `None`: there is no more.
    pub next: Option<Timestamp>,
}

/// When a time of a schedule is due: later by a jitter that depends on the name and the time alone, so that every node finds
/// the same. It is before the next time: a jitter that is larger than their distance would have them come all at once, and
/// `catch_up` take them for missed.
pub fn due_at(schedule: &Schedule, rule: &Rule, at: Timestamp) -> Timestamp {
    let most = u64::try_from(schedule.jitter.as_millis()).unwrap_or(0);
    if most == 0 {
        return at;
    }
    let distance = rule.after(at).and_then(|next| u64::try_from(next.duration_since(at).as_millis()).ok());
    let most = distance.map_or(most, |distance| most.min(distance.saturating_sub(1)));
    let hash = Sha256::digest(format!("{}@{at}", schedule.name));
    let number = hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    at.saturating_add(Duration::from_millis(number % (most + 1))).unwrap_or(Timestamp::MAX)
}

/// The id of the process that a time starts: there can't be two.
pub fn process_id(schedule: &str, at: Timestamp) -> String {
    format!("{schedule}@{at}")
}

/// What is to be done at `now` for a schedule whose next time is `next`, and the last that started a process was `last`.
pub fn plan(
    schedule: &Schedule,
    rule: &Rule,
    next: Timestamp,
    last: Option<Timestamp>,
    now: Timestamp,
) -> Plan {
    let is_due = |at: &Timestamp| due_at(schedule, rule, *at) <= now;
    let is_late = |at: Timestamp| now.duration_since(due_at(schedule, rule, at)) > LATE_AFTER;
    let kept_max = match schedule.catch_up {
        CatchUp::Last => 1,
        CatchUp::All => usize::try_from(schedule.catch_up_max).unwrap_or(usize::MAX),
        CatchUp::None => usize::MAX,
    };
    let (mut kept, mut missed, mut missed_until, mut coming) = (VecDeque::new(), 0, None, Some(next));
    while let Some(at) = coming.filter(is_due) {
        if schedule.catch_up == CatchUp::None && is_late(at) {
            (missed, missed_until) = (missed + 1, Some(at));
        } else {
            kept.push_back(at);
        }
        if kept.len() > kept_max {
            missed_until = kept.pop_front();
            missed += 1;
        }
        coming = rule.after(at);
        if missed == COUNTED_MAX {
            // No later than the last times that are due, so that they are found.
            let near = now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(at);
            coming = if near > at { rule.after(near) } else { coming };
        }
    }
    // Where the first was missed all of them are made up for.
    let is_made_up = kept.front().is_some_and(|first| is_late(*first));
    let mut previous = last;
    let firing = |at| {
        let before = previous.replace(at).filter(|it| *it < at).or_else(|| rule.before(at)).unwrap_or(at);
        Firing { at, previous: before, is_made_up }
    };
    Plan { firings: kept.into_iter().map(firing).collect(), missed, missed_until, next: coming }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::super::definition::Timing;
    use super::*;

    fn hourly(catch_up: CatchUp, most: u32) -> (Schedule, Rule) {
        let mut schedule = Schedule::new("s", "t", Timing::Every(Duration::from_secs(3_600)));
        (schedule.catch_up, schedule.catch_up_max) = (catch_up, most);
        let rule = schedule.rule().expect("a rule");
        (schedule, rule)
    }

    fn at(hour: i64, second: i64) -> Timestamp {
        Timestamp::from_second(1_796_000_400 / 3_600 * 3_600 + hour * 3_600 + second).expect("in range")
    }

    fn hours(plan: &Plan) -> Vec<i64> {
        plan.firings.iter().map(|it| it.at.duration_since(at(0, 0)).as_hours()).collect()
    }

    #[test]
    fn what_is_due_fires_and_what_was_missed_goes_by_the_word_of_catch_up() {
        // (catch_up, most, now, fires, missed, next)
        let table = [
            (CatchUp::Last, 9, at(0, -1), vec![], 0, 0),
            (CatchUp::Last, 9, at(0, 0), vec![0], 0, 1),
            (CatchUp::Last, 9, at(4, 59), vec![4], 4, 5),
            (CatchUp::All, 9, at(4, 59), vec![0, 1, 2, 3, 4], 0, 5),
            (CatchUp::All, 2, at(4, 59), vec![3, 4], 3, 5),
            (CatchUp::None, 9, at(4, 59), vec![4], 4, 5),
            (CatchUp::None, 9, at(4, 60), vec![4], 4, 5),
            (CatchUp::None, 9, at(4, 61), vec![], 5, 5),
        ];
        for (catch_up, most, now, fires, missed, next) in table {
            let (schedule, rule) = hourly(catch_up, most);
            let plan = plan(&schedule, &rule, at(0, 0), None, now);
            assert_eq!(
                (hours(&plan), plan.missed, plan.next),
                (fires, missed, Some(at(next, 0))),
                "{catch_up:?} {now}"
            );
        }
    }

    #[test]
    fn a_jitter_that_is_larger_than_the_distance_loses_no_time() {
        let (mut schedule, rule) = hourly(CatchUp::Last, 9);
        schedule.jitter = Duration::from_secs(86_400);
        let mut next = at(0, 0);
        for hour in 0..48 {
            assert_eq!(due_at(&schedule, &rule, next), due_at(&schedule, &rule, at(hour, 0)));
            let plan = plan(&schedule, &rule, next, None, due_at(&schedule, &rule, next));
            assert_eq!((hours(&plan), plan.missed), (vec![hour], 0));
            next = plan.next.expect("it has no end");
        }
    }

    #[test]
    fn the_time_before_is_that_of_the_process_before_or_of_the_rule() {
        let (schedule, rule) = hourly(CatchUp::All, 9);
        let previous = |last, now| {
            let plan = plan(&schedule, &rule, at(0, 0), last, now);
            plan.firings.iter().map(|it| it.previous.duration_since(at(0, 0)).as_hours()).collect::<Vec<_>>()
        };
        assert_eq!(previous(None, at(1, 0)), [-1, 0]);
        assert_eq!(previous(Some(at(-5, 0)), at(1, 0)), [-5, 0]);
    }

    #[test]
    fn a_schedule_that_ends_has_no_next_time() {
        let (schedule, mut rule) = hourly(CatchUp::All, 9);
        rule.until = Some(at(1, 0));
        let plan = plan(&schedule, &rule, at(0, 0), None, at(5, 0));
        assert_eq!((hours(&plan), plan.next), (vec![0, 1], None));
    }

    #[test]
    fn a_year_of_seconds_is_bounded() {
        let mut schedule = Schedule::new("s", "t", Timing::Every(Duration::from_secs(1)));
        schedule.time_zone = "UTC".to_owned();
        let rule = schedule.rule().expect("a rule");
        assert_eq!(rule.zone, TimeZone::UTC);
        let plan = plan(&schedule, &rule, at(0, 0), None, at(24 * 365, 0));
        assert_eq!(
            (plan.firings.len(), plan.firings[0].at, plan.next),
            (1, at(24 * 365, 0), Some(at(24 * 365, 1)))
        );
        assert!(plan.missed >= COUNTED_MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However the looks fall, with an `all` that is large enough each time fires once, in order, and never before it is due.
        #[test]
        fn no_time_is_lost_or_fired_twice(
            looks in prop::collection::vec(1_i64..20_000, 1..30),
            jitter in 0_u64..3_000,
            catch_up in prop::sample::select(vec![CatchUp::All, CatchUp::Last, CatchUp::None]),
        ) {
            let (mut schedule, rule) = hourly(catch_up, 1_000);
            schedule.jitter = Duration::from_secs(jitter);
            let (mut next, mut last, mut fired, mut missed, mut now) = (at(0, 0), None, Vec::new(), 0, at(0, 0));
            for look in looks {
                now += SignedDuration::from_secs(look);
                let plan = plan(&schedule, &rule, next, last, now);
                prop_assert!(plan.firings.iter().all(|it| due_at(&schedule, &rule, it.at) <= now));
                prop_assert!(plan.firings.iter().all(|it| it.previous < it.at));
                fired.extend(plan.firings.iter().map(|it| it.at));
                last = fired.last().copied();
                missed += plan.missed;
                next = plan.next.expect("it has no end");
                prop_assert!(due_at(&schedule, &rule, next) > now);
            }
            prop_assert!(fired.windows(2).all(|pair| pair[0] < pair[1]));
            let all = rule.times(at(0, 0)).take_while(|it| *it < next).count() as u64;
            prop_assert_eq!(fired.len() as u64 + missed, all);
            prop_assert!(catch_up != CatchUp::All || missed == 0);
        }
    }
}
