//! What this process itself uses: its peak of memory, and what `/proc` shows, where there is one.

use std::fs;
use std::mem::MaybeUninit;

use super::reaping::max_rss_bytes;
use super::unix::clock_ticks_per_second;

/// What this process uses, without the commands it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OwnUsage {
    /// Processor seconds so far.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
}

/// Reads it; `None` where the system does not tell.
pub fn own_usage() -> Option<OwnUsage> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    parse(&stat, &status, clock_ticks_per_second())
}

/// The largest resident size of this process so far, in bytes.
pub fn own_peak_memory() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid; zeroes are a valid rusage should the call fail.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    max_rss_bytes(&usage)
}

/// Of `stat` the fields 14 and 15, utime and stime; its second field is a name that may hold anything.
fn parse(stat: &str, status: &str, ticks_per_second: u64) -> Option<OwnUsage> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let kib: u64 = line("VmRSS:")?.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(OwnUsage {
        cpu_seconds: ticks as f64 / ticks_per_second as f64,
        resident_bytes: kib * 1024,
        threads: line("Threads:")?.trim().parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_whatever_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 150 50 9 9 20 0 5 0 100";
        let status = "Name:\ta\nVmHWM:\t  900 kB\nVmRSS:\t  800 kB\nThreads:\t5\n";
        let expected = OwnUsage { cpu_seconds: 2.0, resident_bytes: 800 * 1024, threads: 5 };
        assert_eq!(parse(stat, status, 100), Some(expected));
        assert_eq!(parse("", "", 100), None);
    }

    #[test]
    fn this_process_has_one() {
        if cfg!(target_os = "linux") {
            assert!(own_usage().is_some_and(|it| it.resident_bytes > 0 && it.threads > 0));
        }
    }
}
