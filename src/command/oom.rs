//! Whether the kernel has killed for lack of memory: its counters, read only after a SIGKILL.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// What was counted when somebody looked last.
static SEEN: Mutex<Option<u64>> = Mutex::new(None);

/// Takes down what was killed before this node's first command.
pub fn note_start() {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.is_none() {
        *seen = count();
    }
}

/// How many processes the kernel has killed for lack of memory since somebody looked last; none where it can't be told.
/// Of several commands that are killed at the same moment only one is told.
pub fn killed_since_last_look() -> Option<u64> {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let now = count()?;
    let before = seen.replace(now)?;
    Some(now.saturating_sub(before))
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
    fn the_kernels_counter_is_read_from_both_files() {
        assert_eq!(parse("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(parse("pgfault 1\noom_kill 17\nnuma_hit 4\n"), Some(17));
        assert_eq!(parse("low 0\nhigh 0\n"), None, "kernels before 4.13");
    }
}
