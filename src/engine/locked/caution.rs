//! When statements are made beside others' locks from the start, instead of waiting for one first.

use std::time::{Duration, Instant};

/// After a lock was in the way: most come with others.
const TIME_MIN: Duration = Duration::from_secs(2);
/// A wait in vain takes the lock timeout, a hundredth of this.
const TIME_MAX: Duration = Duration::from_secs(30);

/// On for some time after a lock was in the way, and longer each time that one is as soon as it is over.
#[derive(Debug, Default)]
pub(crate) struct Caution {
    until: Option<Instant>,
    time: Duration,
}

impl Caution {
    pub(crate) fn is_on(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// What was in the way was no row.
    pub(crate) fn forget(&mut self) {
        self.until = None;
    }

    /// A statement has waited for a lock in vain.
    pub(crate) fn met_lock(&mut self, now: Instant) {
        let is_again = self.until.is_some_and(|until| now < until + self.time);
        self.time = if is_again { (self.time * 2).min(TIME_MAX) } else { TIME_MIN };
        self.until = Some(now + self.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_that_stay_are_waited_for_ever_less_often() {
        let (mut caution, mut now, mut met) = (Caution::default(), Instant::now(), 0);
        assert!(!caution.is_on(now));
        for _ in 0..3000 {
            if !caution.is_on(now) {
                caution.met_lock(now);
                met += 1;
            }
            now += Duration::from_millis(100);
        }
        assert_eq!(met, 13, "of 300 s: after 2, 4, 8, 16 and each 30");
        now += TIME_MAX * 3;
        caution.met_lock(now);
        assert!(!caution.is_on(now + TIME_MIN), "another lock");
    }
}
