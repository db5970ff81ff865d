//! What the system lets one process and one user have, for messages that say what to raise.

use std::io;
use std::mem::MaybeUninit;

/// How many files this process may have open at once; `None` where there is no limit or the system does not tell.
pub fn open_files_max() -> Option<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: getrlimit fills the value when it returns 0, and only then it is read.
    let limit = unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) != 0 {
            return None;
        }
        limit.assume_init().rlim_cur
    };
    (limit != libc::RLIM_INFINITY).then_some(limit)
}

/// What to do about a limit of the system that `error` speaks of: a phrase, or nothing for other errors.
pub fn remedy_of_limit(error: &io::Error) -> Option<String> {
    match error.raw_os_error()? {
        libc::EMFILE => {
            let limit = open_files_max().map_or(String::new(), |limit| format!(" of {limit} open files"));
            Some(format!(
                "raise this process's limit{limit} (ulimit -n, LimitNOFILE= in a systemd unit) or lower --executors"
            ))
        }
        libc::ENFILE => Some("raise the machine's limit on open files (sysctl fs.file-max)".to_owned()),
        libc::EAGAIN => Some(
            "raise the limit on processes and threads (ulimit -u, TasksMax= in a systemd unit, a container's pids \
             limit) or lower --executors"
                .to_owned(),
        ),
        libc::ENOMEM => Some("free memory, or lower --executors".to_owned()),
        libc::ENOSPC | libc::EDQUOT => Some("make space there".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_that_was_met_is_named() {
        let remedy = remedy_of_limit(&io::Error::from_raw_os_error(libc::EMFILE)).unwrap();
        assert!(remedy.contains("ulimit -n"), "{remedy}");
        if let Some(limit) = open_files_max() {
            assert!(remedy.contains(&format!(" of {limit} open files")), "{remedy}");
        }
        let remedy = remedy_of_limit(&io::Error::from_raw_os_error(libc::EAGAIN)).unwrap();
        assert!(remedy.contains("ulimit -u"), "{remedy}");
        assert_eq!(remedy_of_limit(&io::Error::from_raw_os_error(libc::EACCES)), None);
    }
}
