//! How fast a batch goes, and when it will have ended.

use serde::{Deserialize, Serialize};

/// How many had ended at a time. Written now and then; the latest ones are kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tick(
    /// Seconds since 1970.
    pub f64,
    /// How many had ended.
    pub u64,
);

/// From one tick to the next.
pub const TICK_S: f64 = 2.0;
/// Ticks that are kept: the pace is that of the last minute.
pub const TICKS_MAX: usize = 30;

/// The ticks with one more, if it is time for one.
pub fn ticked(mut ticks: Vec<Tick>, now_s: f64, ended: u64) -> Vec<Tick> {
    // A retry has taken some back: what was before tells nothing of the pace.
    if ticks.last().is_some_and(|it| it.1 > ended) {
        ticks.clear();
    }
    if ticks.last().is_none_or(|it| now_s - it.0 >= TICK_S) {
        ticks.push(Tick(now_s, ended));
    }
    let excess = ticks.len().saturating_sub(TICKS_MAX);
    ticks.drain(..excess);
    ticks
}

/// Processes that end in a second, by the last minute; `None` as long as nothing can be said.
pub fn rate(ticks: &[Tick], now_s: f64, ended: u64) -> Option<f64> {
    // Beside a tick of this very moment the one before says more.
    let first = ticks.iter().find(|it| now_s - it.0 <= TICK_S * TICKS_MAX as f64 + TICK_S)?;
    let (seconds, count) = (now_s - first.0, ended.checked_sub(first.1)?);
    (seconds >= 0.5 && count > 0).then(|| count as f64 / seconds)
}

/// Seconds until the rest will have ended at this rate.
pub fn eta_s(rate: f64, left: u64) -> Option<f64> {
    (rate > 0.0 && left > 0).then(|| left as f64 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_minute() {
        let mut ticks = Vec::new();
        // An hour at 10 a second, then two minutes at 100.
        for second in 0..3_720_u64 {
            let ended = if second <= 3_600 { second * 10 } else { 36_000 + (second - 3_600) * 100 };
            ticks = ticked(ticks, second as f64, ended);
            assert!(ticks.len() <= TICKS_MAX);
        }
        let rate = rate(&ticks, 3_720.0, 48_000).expect("a rate");
        assert!((rate - 100.0).abs() < 1.0, "{rate}");
        assert_eq!(eta_s(100.0, 500), Some(5.0));
    }

    #[test]
    fn without_two_times_there_is_no_pace() {
        assert_eq!(rate(&[], 10.0, 5), None);
        let ticks = ticked(Vec::new(), 10.0, 5);
        assert_eq!(rate(&ticks, 10.0, 5), None);
        assert_eq!(rate(&ticks, 20.0, 5), None, "nothing ends");
        assert_eq!(rate(&ticks, 500.0, 50), None, "too long ago");
        assert_eq!(eta_s(0.0, 5), None);
    }

    #[test]
    fn a_retry_begins_anew() {
        let ticks = ticked(vec![Tick(0.0, 100)], 10.0, 60);
        assert_eq!(ticks, [Tick(10.0, 60)]);
    }
}
