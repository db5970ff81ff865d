//! A look at one process, as `/proc` shows it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::time::Duration;

use crate::platform;

/// What a look at a process's environment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    Seen,
    /// It has ended, or is none of our business.
    Hidden,
    /// It is in the middle of `exec`.
    Unsettled,
}

/// Looks at one process after the other.
#[derive(Debug, Default)]
pub struct Eye {
    environment: Vec<u8>,
}

impl Eye {
    pub fn look(&mut self, pid: i32) -> Sight {
        self.environment.clear();
        let opened = File::open(format!("/proc/{pid}/environ"));
        let Ok(_) = opened.and_then(|mut file| file.read_to_end(&mut self.environment)) else {
            return Sight::Hidden;
        };
        if self.environment.is_empty() {
            let stat = fs::read(format!("/proc/{pid}/stat"));
            let is_unsettled = stat.is_ok_and(|stat| is_in_exec(&stat));
            return if is_unsettled { Sight::Unsettled } else { Sight::Hidden };
        }
        Sight::Seen
    }

    /// The first of these that the process that was looked at has in its environment: all of an entry, not part of it.
    pub fn first_entry<'a>(&self, marks: impl Iterator<Item = Option<&'a [u8]>> + Clone) -> Option<usize> {
        let entries = self.environment.split(|&byte| byte == 0);
        entries.into_iter().find_map(|entry| marks.clone().position(|mark| mark == Some(entry)))
    }
}

/// The numbers in a `/proc` of another pid namespace mean other processes than the same numbers mean to us.
pub fn check_proc() -> io::Result<()> {
    let own = fs::read_link("/proc/self").map_err(|error| {
        io::Error::new(error.kind(), format!("read /proc/self: {error}; mount /proc to have commands found"))
    })?;
    if own.to_str() == Some(std::process::id().to_string().as_str()) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "read /proc: it shows another pid namespace, where this process is {} and not {}; mount our own there",
        own.display(),
        std::process::id()
    )))
}

/// All processes, in the order of their ids.
pub fn all_processes() -> io::Result<impl Iterator<Item = io::Result<i32>>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| match entry {
        Ok(entry) => entry.file_name().to_str()?.parse().ok().map(Ok),
        Err(error) => Some(Err(error)),
    }))
}

/// Whether it is a process, not one of the threads of another, and has not ended.
pub fn is_live_process(pid: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    field("Tgid:").is_some_and(|id| id.parse() == Ok(pid))
        && field("State:").is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// When a process was started, since the boot; none if it has ended or the system does not tell.
pub fn started_at(pid: i32) -> Option<Duration> {
    let ticks = u64::try_from(platform::process_started(pid.try_into().ok()?)?).ok()?;
    (ticks > 0).then(|| Duration::from_millis(ticks * 1000 / platform::clock_ticks_per_second()))
}

/// Whether a process with nothing in its environment has no environment at all, from `/proc/<pid>/stat`: so are
/// those whose new program is being loaded, if they are neither ended nor threads of the kernel.
fn is_in_exec(stat: &[u8]) -> bool {
    /// `PF_KTHREAD` of the kernel's `sched.h`.
    const KERNEL_THREAD: u64 = 0x0020_0000;
    // The second field is the name in parentheses, which may contain anything, parentheses too.
    let Some(end_of_name) = stat.iter().rposition(|&byte| byte == b')') else { return false };
    let Ok(rest) = std::str::from_utf8(&stat[end_of_name + 1..]) else { return false };
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // By the manual's numbers, which count from 1, the name being number 2.
    let field = |number: usize| fields.get(number - 3).copied();
    let number = |at: usize| field(at).and_then(|text| text.parse::<u64>().ok());
    let (Some(state), Some(flags), Some(end_of_environment)) = (field(3), number(9), number(51)) else {
        return false;
    };
    !matches!(state, "Z" | "X" | "x") && flags & KERNEL_THREAD == 0 && end_of_environment == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_entry_counts() {
        let marks = [b"NODE=a-1-0f".to_vec(), b"NODE=b".to_vec()];
        let has = |environment: &[u8]| {
            let marks = marks.iter().map(|mark| Some(mark.as_slice()));
            Eye { environment: environment.to_vec() }.first_entry(marks).is_some()
        };
        let yes: [&[u8]; 4] = [b"NODE=a-1-0f\0", b"A=1\0NODE=a-1-0f\0B=2\0", b"A=1\0NODE=b\0", b"NODE=b"];
        let no: [&[u8]; 8] = [
            b"",
            b"\0",
            b"NODE=a-1-0f0\0",
            b"NODE=a-1-0\0",
            b"XNODE=a-1-0f\0",
            b"A=NODE=a-1-0f\0",
            b"A=x\nNODE=a-1-0f\nB=2\0",
            b"NODE=a-1-0f \0",
        ];
        for environment in yes {
            assert!(has(environment), "{}", String::from_utf8_lossy(environment));
        }
        for environment in no {
            assert!(!has(environment), "{}", String::from_utf8_lossy(environment));
        }
    }

    #[test]
    fn a_process_in_exec_is_told_from_one_with_an_empty_environment() {
        let stat = |state: &str, flags: u64, end: u64| {
            let between = |count| "1 ".repeat(count);
            let text = format!("42 (a) b) {state} {}{flags} {}{end} 0\n", between(5), between(41));
            text.into_bytes()
        };
        assert!(is_in_exec(&stat("R", 0x0040_0000, 0)));
        assert!(!is_in_exec(&stat("R", 0x0040_0000, 140_727_000_000_000)), "env -i");
        assert!(!is_in_exec(&stat("Z", 0x0040_0000, 0)), "it has ended");
        assert!(!is_in_exec(&stat("S", 0x0020_8040, 0)), "a thread of the kernel");
        assert!(!is_in_exec(b"42 (a) S 1 2"));
        let own = fs::read("/proc/self/stat").unwrap();
        assert!(!is_in_exec(&own), "{}", String::from_utf8_lossy(&own));
    }
}
