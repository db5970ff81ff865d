//! Which times a schedule has, in real time.
//!
//! An expression's civil times are put into the zone in one of two ways. One whose time of day is fixed (`30 2 * * *`) means
//! what the clock shows, once a day: a time that the clock skips comes at the first instant after the gap, one that it shows
//! twice comes at the first. One with `*` or `*/n` in the time of day means steps of real time: it comes whenever the clock
//! shows it, in both halves of a repeated hour, and not in a gap, where no time is.

use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::cron::CronExpression;

const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);
/// Civil times that are passed over because they come together with one that was already: those of a skipped or repeated stretch.
const TOGETHER_MAX: u32 = 100_000;

/// How the times follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pace {
    /// As a clock on the wall shows them.
    Cron(Box<CronExpression>),
    /// Each so many seconds of real time, counted from `from` or, without it, from 1970-01-01T00:00:00Z.
    Every(u64),
}

/// The times of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// How they follow each other.
    pub pace: Pace,
    /// Whose clock shows the times of an expression.
    pub zone: TimeZone,
    /// None is before this.
    pub from: Option<Timestamp>,
    /// None is after this.
    pub until: Option<Timestamp>,
}

/// What a change of the clocks does to a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClockChange {
    /// The clock skips it: it comes right after the gap.
    Skipped {
        /// What the clock would have shown.
        civil: DateTime,
    },
    /// The clock shows it twice: this is the first of them, and the only one.
    FirstOfTwo,
    /// The clock shows it twice, and it comes both times: the first.
    Twice,
    /// The second.
    Again,
    /// The clock has changed since the time before.
    Since {
        /// What it was ahead of UTC.
        before: Offset,
        /// What it is now.
        after: Offset,
    },
}

impl fmt::Display for ClockChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped { civil } => {
                write!(f, "the clock skips {}: it comes right after the gap", civil.strftime("%H:%M:%S"))
            }
            Self::FirstOfTwo => f.write_str("the clock shows this time twice: it comes at the first"),
            Self::Twice => f.write_str("the clock shows this time twice: the first"),
            Self::Again => f.write_str("the clock shows this time twice: the second"),
            Self::Since { before, after } => {
                write!(f, "the clock has changed from {} to {}", shown(*before), shown(*after))
            }
        }
    }
}

fn shown(offset: Offset) -> String {
    let minutes = offset.seconds() / 60;
    format!("{}{:02}:{:02}", if minutes < 0 { '-' } else { '+' }, minutes.abs() / 60, minutes.abs() % 60)
}

impl Rule {
    /// The first time after `at`; `None`: there is no more.
    pub fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let at = match self.from {
            Some(from) if from > at => from.checked_sub(NANOSECOND).ok()?,
            _ => at,
        };
        let next = match &self.pace {
            Pace::Every(seconds) => self.step_after(at, *seconds),
            Pace::Cron(cron) if cron.follows_real_time() => self.shown_after(cron, at),
            Pace::Cron(cron) => self.meant_after(cron, at),
        };
        next.filter(|next| self.until.is_none_or(|until| *next <= until))
    }

    /// The last time before `at`, whatever `from` says: what came before the first.
    pub fn before(&self, at: Timestamp) -> Option<Timestamp> {
        let unbounded = Self { from: None, until: None, ..self.clone() };
        if let Pace::Every(seconds) = self.pace {
            let anchor = self.from.map_or(0, Timestamp::as_second);
            let seconds = i64::try_from(seconds).ok()?;
            let last = at.checked_sub(NANOSECOND).ok()?.as_second();
            return Timestamp::from_second(anchor + (last - anchor).div_euclid(seconds) * seconds).ok();
        }
        let Pace::Cron(cron) = &self.pace else { return None };
        // From the civil time before, at which the rule mostly has a time; earlier, and once more, if the clock has changed in
        // between.
        let mut civil = self.zone.to_datetime(at);
        for _ in 0..4 {
            civil = cron.previous(civil)?;
            let shown = self.zone.to_timestamp(civil).ok()?.min(at);
            for back in [NANOSECOND, SignedDuration::from_hours(3)] {
                let start = shown.checked_sub(back).ok()?;
                let times = std::iter::successors(unbounded.after(start), |last| unbounded.after(*last));
                if let Some(last) = times.take_while(|it| *it < at).last() {
                    return Some(last);
                }
            }
        }
        None
    }

    /// The times from `from` on, `from` included.
    pub fn times(&self, from: Timestamp) -> impl Iterator<Item = Timestamp> {
        let first = from.checked_sub(NANOSECOND).ok().and_then(|before| self.after(before));
        std::iter::successors(first, |last| self.after(*last))
    }

    fn step_after(&self, at: Timestamp, seconds: u64) -> Option<Timestamp> {
        let anchor = self.from.map_or(0, Timestamp::as_second);
        let seconds = i64::try_from(seconds).ok()?;
        // Nanoseconds count from the second before, of times before 1970 too.
        let whole = at.as_second() - i64::from(at.subsec_nanosecond() < 0);
        let steps = (whole - anchor).div_euclid(seconds).checked_add(1)?;
        Timestamp::from_second(anchor.checked_add(steps.checked_mul(seconds)?)?).ok()
    }

    /// Times by what the clock is meant to show: each once.
    fn meant_after(&self, cron: &CronExpression, at: Timestamp) -> Option<Timestamp> {
        let mut civil = self.zone.to_datetime(at);
        for _ in 0..TOGETHER_MAX {
            civil = cron.next(civil, false)?;
            let instant = self.instant(civil)?;
            if instant > at {
                return Some(instant);
            }
        }
        None
    }

    /// Times by what the clock does show.
    fn shown_after(&self, cron: &CronExpression, at: Timestamp) -> Option<Timestamp> {
        let (mut at, mut is_inclusive) = (at, false);
        loop {
            let offset = self.zone.to_offset(at);
            let civil = cron.next(offset.to_datetime(at), is_inclusive)?;
            let instant = offset.to_timestamp(civil).ok()?;
            match self.zone.following(at).next() {
                Some(change) if change.timestamp() <= instant => {
                    (at, is_inclusive) = (change.timestamp(), true);
                }
                _ => return Some(instant),
            }
        }
    }

    /// When the clock shows `civil` first, or has skipped it.
    fn instant(&self, civil: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(civil).ok(),
            AmbiguousOffset::Gap { before, .. } => {
                let in_gap = before.to_timestamp(civil).ok()?.checked_add(NANOSECOND).ok()?;
                Some(self.zone.preceding(in_gap).next()?.timestamp())
            }
        }
    }

    /// What a change of the clocks does to a time of the rule.
    pub fn change_at(&self, at: Timestamp) -> Option<ClockChange> {
        let Pace::Cron(cron) = &self.pace else { return None };
        let civil = self.zone.to_datetime(at);
        if !cron.follows_real_time() {
            // A gap ends here, and an expression's time lies in it.
            let change = self.zone.preceding(at.checked_add(NANOSECOND).ok()?).next();
            if change.is_some_and(|it| it.timestamp() == at) {
                let before = self.zone.to_offset(at.checked_sub(NANOSECOND).ok()?);
                let skipped = cron.next(before.to_datetime(at), true).filter(|it| *it < civil);
                if let Some(skipped) = skipped {
                    return Some(ClockChange::Skipped { civil: skipped });
                }
            }
        }
        if let AmbiguousOffset::Fold { before, .. } = self.zone.to_ambiguous_timestamp(civil).offset() {
            let is_first = before.to_timestamp(civil).ok() == Some(at);
            return Some(match (cron.follows_real_time(), is_first) {
                (false, _) => ClockChange::FirstOfTwo,
                (true, true) => ClockChange::Twice,
                (true, false) => ClockChange::Again,
            });
        }
        let (before, after) = (self.zone.to_offset(self.before(at)?), self.zone.to_offset(at));
        (before != after).then_some(ClockChange::Since { before, after })
    }
}

#[cfg(test)]
mod tests;
