//! Whether the kernel has killed for lack of memory: its counters, read only after a SIGKILL.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

static SEEN: Mutex<Option<Seen>> = Mutex::new(None);

/// What was counted last, and until when it was still so.
#[derive(Debug, Clone, Copy)]
struct Seen {
    count: u64,
    at: Instant,
}

/// What the kernel has killed for lack of memory since somebody looked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Killed {
    /// How many processes.
    pub count: u64,
    /// How long ago the look before was: it may have happened at any time since.
    pub within: Duration,
}

/// Takes down what was killed before this node's first command.
pub fn note_start() {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.is_none() {
        *seen = count().map(Seen::now);
    }
}

/// How many processes the kernel has killed for lack of memory since somebody looked last; none where it can't be told.
/// Of several commands that are killed at the same moment only one is told.
pub fn killed_since_last_look() -> Option<Killed> {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Seen::now(count()?);
    let before = seen.replace(now)?;
    Some(Killed { count: now.count.saturating_sub(before.count), within: now.at - before.at })
}

/// A command has failed of something else: where nothing was killed since the last look, what is killed later will have
/// been so since now. What was killed is left for the command that it was.
pub fn note_other_failure() {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let (Some(before), Some(now)) = (seen.as_mut(), count()) {
        before.pass(now);
    }
}

impl Seen {
    fn now(count: u64) -> Self {
        Self { count, at: Instant::now() }
    }

    fn pass(&mut self, count: u64) {
        if self.count == count {
            self.at = Instant::now();
        }
    }
}

/// Those of this process's own control group, else (version 1, or none) those of the whole machine.
fn count() -> Option<u64> {
    let counter = |path: PathBuf| parse(&fs::read_to_string(path).ok()?);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    own.and_then(|group| counter(PathBuf::from("/sys/fs/cgroup").join(group).join("memory.events")))
        .or_else(|| counter(PathBuf::from("/proc/vmstat")))
}

fn parse(counters: &str) -> Option<u64> {
    counters.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_without_news_moves_the_time_and_one_with_news_leaves_it() {
        let began = Instant::now() - Duration::from_secs(3);
        let mut seen = Seen { count: 2, at: began };
        seen.pass(3);
        assert_eq!(seen.at, began, "what was killed in between may have been at any time since then");
        seen.pass(2);
        assert!(seen.at > began);
    }

    #[test]
    fn the_kernels_counter_is_read_from_both_files() {
        assert_eq!(parse("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(parse("pgfault 1\noom_kill 17\nnuma_hit 4\n"), Some(17));
        assert_eq!(parse("low 0\nhigh 0\n"), None, "kernels before 4.13");
    }
}
