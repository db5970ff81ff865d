//! What a running command uses, as `/proc` shows it; nothing on systems without it.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::platform;

/// The largest resident size of the process so far, in bytes.
pub fn peak_memory(pid: i32) -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    parse_peak_memory(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// CPU time of the process so far, with that of its children that it has waited for.
pub fn cpu(pid: i32) -> Option<Duration> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let ticks = parse_cpu_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    Some(Duration::from_nanos(ticks * (1_000_000_000 / platform::clock_ticks_per_second())))
}

/// The peak of an ended child whose accounting gives `max_rss`, having been seen at `sampled` while it ran.
///
/// A child starts in its parent's memory, and on Linux the kernel counts that as its first peak. So the
/// accounting says something only where it is well above what the parent has ever used itself; then it is
/// better than any sample.
pub fn peak_of_ended(sampled: Option<u64>, max_rss: Option<u64>) -> Option<u64> {
    /// The kernel's counters of the parent are read without being summed up over all CPUs.
    const COUNTER_SLACK_BYTES: u64 = 8 * 1024 * 1024;
    let exact = if platform::CHILD_RSS_INCLUDES_PARENT {
        max_rss.filter(|&bytes| exceeds_own_peak(bytes.saturating_sub(COUNTER_SLACK_BYTES)))
    } else {
        max_rss
    };
    exact.max(sampled)
}

/// Whether it is more than this process has ever used. Asking the kernel means a visit to every thread, and the answer
/// only ever grows: most children are ruled out by an earlier one.
fn exceeds_own_peak(bytes: u64) -> bool {
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    if bytes <= KNOWN.load(Ordering::Relaxed) {
        return false;
    }
    let now = platform::own_peak_memory();
    KNOWN.fetch_max(now, Ordering::Relaxed);
    bytes > now
}

fn parse_peak_memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib * 1024)
}

/// Fields 14 to 17: utime, stime, cutime, cstime.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    // The second field is the name in parentheses, which may contain anything, parentheses too.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).take(4).map(str::parse::<u64>);
    let first = times.next()?.ok()?;
    times.try_fold(first, |sum, ticks| Some(sum + ticks.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_is_read_from_status() {
        assert_eq!(parse_peak_memory("Name:\tsh\nVmHWM:\t    1808 kB\nVmRSS:\t 1 kB\n"), Some(1808 * 1024));
        assert_eq!(parse_peak_memory("Name:\tkthreadd\n"), None, "a zombie has no memory");
    }

    #[test]
    fn cpu_is_read_from_stat_whatever_the_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 95 0 0 0 10 20 3 4 20 0 1 0 9 2 3";
        assert_eq!(parse_cpu_ticks(stat), Some(37));
        assert_eq!(parse_cpu_ticks("42 (a) S 1"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_both() {
        let pid = std::process::id() as i32;
        assert!(peak_memory(pid).unwrap() > 100_000);
        assert!(cpu(pid).is_some());
    }
}
