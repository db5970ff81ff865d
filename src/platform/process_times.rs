//! What processes have used so far, as `/proc` shows it; nothing on systems without it.

use std::fs;

use super::unix::clock_ticks_per_second;

/// What a process has used.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessTimes {
    /// Its name, cut to 15 bytes.
    pub name: String,
    /// The process that has started it, or has taken it in.
    pub parent: u32,
    /// Its own processor seconds.
    pub cpu_seconds: f64,
    /// Those of its children that have ended and were waited for, with theirs.
    pub reaped_cpu_seconds: f64,
}

/// Resident memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResidentMemory {
    /// Now.
    pub bytes: u64,
    /// At the most so far.
    pub peak_bytes: u64,
}

/// Reads it; `None` where there is no such process or the system does not tell.
pub fn process_times(pid: u32) -> Option<ProcessTimes> {
    parse_times(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, clock_ticks_per_second())
}

/// The processes that this one has started and that have not been waited for.
pub fn children_of(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&child| process_times(child).is_some_and(|it| it.parent == pid)).collect()
}

/// Reads it; `None` where there is no such process or the system does not tell.
pub fn resident_memory(pid: u32) -> Option<ResidentMemory> {
    parse_memory(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// The name stands in parentheses and may hold anything; the fields after it are counted from the state, the third.
fn parse_times(stat: &str, ticks_per_second: u64) -> Option<ProcessTimes> {
    let (before, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    let seconds = |at: usize| Some(fields.get(at)?.parse::<u64>().ok()? as f64 / ticks_per_second as f64);
    Some(ProcessTimes {
        name: before.split_once('(')?.1.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        cpu_seconds: seconds(11)? + seconds(12)?,
        reaped_cpu_seconds: seconds(13)? + seconds(14)?,
    })
}

fn parse_memory(status: &str) -> Option<ResidentMemory> {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
        Some(kib * 1024)
    };
    Some(ResidentMemory { bytes: bytes("VmRSS:")?, peak_bytes: bytes("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_whatever_the_name() {
        let stat = "7 (a) b) S 3 7 7 0 -1 4194304 1 2 3 4 150 50 300 100 20 0 5 0 100";
        let expected =
            ProcessTimes { name: "a) b".to_owned(), parent: 3, cpu_seconds: 2.0, reaped_cpu_seconds: 4.0 };
        assert_eq!(parse_times(stat, 100), Some(expected));
        assert_eq!(parse_times("", 100), None);
    }

    #[test]
    fn memory_is_read_by_the_lines_names() {
        let status = "Name:\ta\nVmHWM:\t  900 kB\nVmRSS:\t  800 kB\n";
        let expected = ResidentMemory { bytes: 800 * 1024, peak_bytes: 900 * 1024 };
        assert_eq!(parse_memory(status), Some(expected));
        assert_eq!(parse_memory("Name:\ta\n"), None);
    }

    #[test]
    fn a_child_is_found_below_its_parent() {
        if cfg!(target_os = "linux") {
            let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            assert!(children_of(std::process::id()).contains(&child.id()));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
