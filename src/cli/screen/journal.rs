//! Priorities for the journal, where that is what standard error is.

use std::sync::OnceLock;

/// Syslog's number for an error that a person should see.
pub const ERROR: u8 = 3;

/// The text with its priority before every line, as journald reads it (sd-daemon(3)); elsewhere as it is.
pub fn marked(priority: u8, text: &str) -> String {
    match is_journal() {
        true => mark(priority, text),
        false => text.to_owned(),
    }
}

fn mark(priority: u8, text: &str) -> String {
    text.lines().map(|line| format!("<{priority}>{line}")).collect::<Vec<_>>().join("\n")
}

/// Whether standard error is the journal: `JOURNAL_STREAM` names its device and inode (systemd.exec(5)), and is
/// inherited by those whose standard error is something else.
pub fn is_journal() -> bool {
    static IS_JOURNAL: OnceLock<bool> = OnceLock::new();
    *IS_JOURNAL.get_or_init(look)
}

fn look() -> bool {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        use std::os::unix::fs::MetadataExt;
        let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
        let own = std::io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from);
        own.and_then(|file| file.metadata()).is_ok_and(|it| stream == format!("{}:{}", it.dev(), it.ino()))
    }
    #[cfg(not(unix))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_priority() {
        assert_eq!(mark(ERROR, "error: one\n  two"), "<3>error: one\n<3>  two");
    }
}
