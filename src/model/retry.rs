//! When a failed task is tried again.

use std::time::Duration;

/// Exponential backoff with a cap, and the exit codes after which no attempt follows.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Wait before the first retry.
    pub initial_delay: Duration,
    /// Factor from one wait to the next.
    pub multiplier: f64,
    /// No wait is longer.
    pub max_delay: Duration,
    /// Exit codes that fail the task at once.
    pub fatal_exit_codes: Vec<i32>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial_delay: Duration::from_secs(1),
            multiplier: 2.0,
            max_delay: Duration::from_secs(300),
            fatal_exit_codes: Vec::new(),
        }
    }
}

/// The share of a wait that chance may take away, so that tasks that failed together
/// do not come back together.
const JITTER: f64 = 0.2;

impl RetryPolicy {
    /// The wait before retry number `retry` (1 is the first). `chance` is in `[0, 1)` and shortens
    /// the wait by up to a fifth; it never lengthens it, so `max_delay` holds.
    pub fn delay(&self, retry: u32, chance: f64) -> Duration {
        let exponent = i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX);
        if self.initial_delay.is_zero() {
            return Duration::ZERO; // nothing times a factor that has grown infinite is no number
        }
        let full = self.initial_delay.as_secs_f64() * self.multiplier.powi(exponent);
        let capped = full.min(self.max_delay.as_secs_f64());
        Duration::from_secs_f64(capped * (1.0 - JITTER * chance))
    }

    /// Whether `exit_code` ends all attempts; of a command ended by a signal it is the shell's, 128 and the signal.
    pub fn is_fatal(&self, exit_code: Option<i32>) -> bool {
        exit_code.is_some_and(|code| self.fatal_exit_codes.contains(&code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let policy = RetryPolicy { max_delay: Duration::from_secs(5), ..RetryPolicy::default() };
        let waits: Vec<f64> = (1..=5).map(|n| policy.delay(n, 0.0).as_secs_f64()).collect();
        assert_eq!(waits, [1.0, 2.0, 4.0, 5.0, 5.0]);
    }

    #[test]
    fn chance_takes_away_at_most_a_fifth() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay(1, 0.5), Duration::from_millis(900));
        assert!(policy.delay(2, 0.999_999) > Duration::from_millis(1_599));
    }

    #[test]
    fn a_late_retry_of_a_steep_policy_is_finite() {
        let policy = RetryPolicy { multiplier: 1000.0, ..RetryPolicy::default() };
        assert_eq!(policy.delay(u32::MAX, 0.0), policy.max_delay);
    }

    #[test]
    fn no_wait_stays_no_wait() {
        let policy =
            RetryPolicy { initial_delay: Duration::ZERO, multiplier: 100.0, ..RetryPolicy::default() };
        assert_eq!(policy.delay(1_000, 0.5), Duration::ZERO);
    }
}
