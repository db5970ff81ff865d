//! Waiting for what cannot wake us.

use std::time::{Duration, Instant};

/// Repeated looks at something that cannot wake us: another process's file, socket or end.
pub(super) struct Waiting {
    /// When it began.
    pub since: Instant,
    limit: Duration,
    next: Duration,
}

impl Waiting {
    const FIRST_PAUSE: Duration = Duration::from_millis(1);
    const PAUSE_MS_MAX: u64 = 20;

    /// For at most `limit_s` seconds.
    pub fn new(limit_s: u64) -> Self {
        Self { since: Instant::now(), limit: Duration::from_secs(limit_s), next: Self::FIRST_PAUSE }
    }

    /// Sleeps a little, longer each time; says no when the time is over.
    pub fn pause(&mut self) -> bool {
        if self.since.elapsed() >= self.limit {
            return false;
        }
        std::thread::sleep(self.next);
        self.next = (self.next * 3 / 2).min(Duration::from_millis(Self::PAUSE_MS_MAX));
        true
    }
}
