//! What the system says of itself.

/// The host's name; `localhost` where the system does not tell.
pub fn host_name() -> String {
    // POSIX allows 255 bytes and a NUL.
    let mut buffer = [0_u8; 256];
    // SAFETY: the pointer and the length are those of one live buffer.
    let failed = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len()) } != 0;
    let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(buffer.len());
    match std::str::from_utf8(&buffer[..end]) {
        Ok(name) if !failed && !name.is_empty() => name.to_owned(),
        _ => "localhost".to_owned(),
    }
}

/// Where a process id means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PidSpace {
    /// Identifies one boot of one host.
    pub boot_id: String,
    /// Identifies the pid namespace.
    pub namespace: String,
}

/// The boot and the pid namespace that we live in; `None` where the system does not tell.
pub fn pid_space() -> Option<PidSpace> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(PidSpace { boot_id: boot_id.trim().to_owned(), namespace: namespace.to_string_lossy().into_owned() })
}

/// When a process began, in clock ticks since boot: with its id it names one process for good.
/// `None` when there is no such process, or the system does not tell.
pub fn process_started(pid: u32) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the start time is the 20th field after it.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The time since boot, suspended time included: a lease runs on while the machine sleeps.
pub fn time_since_boot() -> std::time::Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;
    // macOS counts sleep in this one.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to one live timespec. The call can't fail for a clock that the system has.
    unsafe { libc::clock_gettime(CLOCK, &mut now) };
    std::time::Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}
