//! How far claims are made ahead of the executors.
//!
//! An executor is free once its result is with the recorder, and would stand idle until the transaction that brings its
//! next task. So a node holds more claims than it has executors, but only as many as begin soon by the rate at which its
//! commands have ended lately. Where commands turn out long, what waits here is given back: another node may begin it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is claimed ahead begins within this time by the measured rate: several transactions of the recorder, too short for
/// anybody to notice.
const AHEAD: Duration = Duration::from_millis(20);
/// The most claims ahead, whatever the rate. It bounds the channels of tasks and of results.
pub(super) const AHEAD_MAX: usize = 1024;
/// The rate is that of this time.
const WINDOW: Duration = Duration::from_millis(100);
/// Where it has fallen, it is that of the last part of it; and what waits longer than this by that rate is given back.
const RECENT: Duration = Duration::from_millis(40);
/// Samples are no closer than this.
const SAMPLE_EVERY: Duration = Duration::from_millis(4);

/// Measures how many commands end.
pub(super) struct EndRate {
    /// When, and how many had ended by then; the oldest first.
    samples: VecDeque<(Instant, usize)>,
}

impl EndRate {
    pub(super) fn new(now: Instant) -> Self {
        Self { samples: VecDeque::from([(now, 0)]) }
    }

    /// `ended` commands have ended so far.
    pub(super) fn note(&mut self, now: Instant, ended: usize) {
        if self.samples.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= SAMPLE_EVERY) {
            self.samples.push_back((now, ended));
        }
        // One that is older than the window stays: rates begin there.
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// How many claims may wait for an executor.
    pub(super) fn ahead(&self, now: Instant) -> usize {
        let rate = self.rate(now, WINDOW).min(self.rate(now, RECENT));
        ((rate * AHEAD.as_secs_f64()) as usize).min(AHEAD_MAX)
    }

    /// The same for processes of a higher priority, which need not wait until a rate that has fallen is one again: others
    /// were claimed at the higher one.
    pub(super) fn urgent_ahead(&self, now: Instant) -> usize {
        let rate = self.rate(now, WINDOW).max(self.rate(now, RECENT));
        ((rate * AHEAD.as_secs_f64()) as usize).min(AHEAD_MAX)
    }

    /// How many of the tasks that wait here are to be given back.
    pub(super) fn excess(&self, now: Instant, waiting: usize) -> usize {
        let is_measured =
            self.samples.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= RECENT);
        let soon = self.rate(now, RECENT) * RECENT.as_secs_f64();
        if is_measured { waiting.saturating_sub(soon.ceil() as usize) } else { 0 }
    }

    /// A second's, by the time since the last sample that is at least `time` old, or the oldest.
    fn rate(&self, now: Instant, time: Duration) -> f64 {
        let is_old = |(at, _): &&(Instant, usize)| now.saturating_duration_since(*at) >= time;
        let Some((from, before)) = self.samples.iter().rev().find(is_old).or(self.samples.front()) else {
            return 0.0;
        };
        let ended = self.samples.back().map_or(0, |(_, ended)| ended.saturating_sub(*before));
        let took = now.saturating_duration_since(*from).max(SAMPLE_EVERY);
        ended as f64 / took.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A rate of `per_ms` commands for `ms` milliseconds.
    fn run(rate: &mut EndRate, from: Instant, ms: u32, per_ms: usize, ended: &mut usize) -> Instant {
        for n in 1..=ms {
            *ended += per_ms;
            rate.note(from + MS * n, *ended);
        }
        from + MS * ms
    }

    #[test]
    fn as_many_are_claimed_ahead_as_end_within_20_ms() {
        let start = Instant::now();
        let (mut rate, mut ended) = (EndRate::new(start), 0);
        assert_eq!(rate.ahead(start), 0, "nothing is known yet");
        let now = run(&mut rate, start, 8, 2, &mut ended);
        assert_eq!(rate.ahead(now), 40, "soon it is");
        let now = run(&mut rate, now, 300, 2, &mut ended);
        assert_eq!(rate.ahead(now), 40);
        let now = run(&mut rate, now, 300, 900, &mut ended);
        assert_eq!(rate.ahead(now), AHEAD_MAX);
    }

    #[test]
    fn a_burst_is_not_a_rate_yet() {
        let start = Instant::now();
        let (mut rate, mut ended) = (EndRate::new(start), 0);
        let now = run(&mut rate, start, 100, 0, &mut ended);
        let now = run(&mut rate, now, 40, 2, &mut ended);
        assert!((10..20).contains(&rate.ahead(now)), "{}", rate.ahead(now));
    }

    #[test]
    fn nothing_is_given_back_before_it_is_known_how_long_commands_take() {
        let start = Instant::now();
        let (mut rate, mut ended) = (EndRate::new(start), 0);
        let now = run(&mut rate, start, 39, 0, &mut ended);
        assert_eq!(rate.excess(now, 5), 0);
        assert_eq!(rate.excess(now + MS, 5), 5);
    }

    #[test]
    fn where_commands_turn_out_long_nothing_waits_for_them() {
        let start = Instant::now();
        let (mut rate, mut ended) = (EndRate::new(start), 0);
        let now = run(&mut rate, start, 200, 2, &mut ended);
        assert_eq!(rate.excess(now, 60), 0, "it begins within 40 ms");
        assert_eq!(rate.excess(now, 100), 20);
        let now = run(&mut rate, now, 20, 0, &mut ended);
        assert!(rate.ahead(now) <= 20 && rate.excess(now, 40) <= 1, "half of it has gone by");
        let now = run(&mut rate, now, 24, 0, &mut ended);
        assert_eq!((rate.ahead(now), rate.excess(now, 40)), (0, 40));
        let now = run(&mut rate, now, 1000, 0, &mut ended);
        assert_eq!((rate.ahead(now), rate.excess(now, 3)), (0, 3));
        assert!(rate.samples.len() <= 27, "{}", rate.samples.len());
    }
}
