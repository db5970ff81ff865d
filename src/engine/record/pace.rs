//! How many tasks run while a transaction of the recorder is under way: as many have to wait for an executor when it
//! begins, or executors would be idle before it has brought more.

use std::time::{Duration, Instant};

/// What is measured changes by this share with each transaction.
const WEIGHT: f64 = 0.2;
/// One transaction takes longer than another, and executors that were idle would have run more.
const MARGIN: f64 = 1.5;

#[derive(Debug, Default)]
pub(crate) struct Pace {
    last_ended: Option<Instant>,
    /// Results that came in the time that a transaction takes.
    while_recording: f64,
}

impl Pace {
    /// A transaction has recorded so many results.
    pub(super) fn note(&mut self, results: usize, began: Instant, ended: Instant) {
        let Some(last) = self.last_ended.replace(ended) else { return };
        let interval = ended.saturating_duration_since(last).max(Duration::from_micros(1));
        let share = ended.saturating_duration_since(began).as_secs_f64() / interval.as_secs_f64();
        self.while_recording += WEIGHT * (results as f64 * share.min(1.0) - self.while_recording);
    }

    /// How many tasks are to wait when a transaction begins, on a node with so many claims: half of them at the most, or
    /// batches would be small.
    pub(super) fn low_watermark(&self, claims: usize) -> usize {
        ((self.while_recording * MARGIN).round() as usize).min(claims / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_left_waiting_as_run_during_a_transaction() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        assert_eq!(pace.low_watermark(99), 0, "nothing is known yet");
        for _ in 0..50 {
            // 40 results every 20 ms, of which the transaction takes 5.
            now += Duration::from_millis(20);
            pace.note(40, now - Duration::from_millis(5), now);
        }
        assert_eq!((pace.low_watermark(99), pace.low_watermark(20)), (15, 10), "and half as many again");
        for _ in 0..50 {
            now += Duration::from_secs(1);
            pace.note(4, now - Duration::from_millis(5), now);
        }
        assert_eq!(pace.low_watermark(99), 0, "commands take long");
    }
}
