//! How PostgreSQL's programs are run: with which settings, as whom, in which environment.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::{Command, Stdio};

use super::binaries::Binaries;
use super::error::{ClusterFailure, Outcome, cannot};
use super::layout::PORT;
use crate::platform::files::User;
use crate::platform::processes;

/// How much of a log or of initdb's output stands in a message.
pub(super) const TAIL_BYTES_MAX: usize = 2_000;
const TAIL_LINES_MAX: usize = 12;
/// The superuser and database of every private cluster.
pub(super) const USER: &str = "postgres";

/// What serves a queue of small durable transactions on one machine. Not to be reached by network,
/// not copied to a standby; everything that makes commits durable stays on.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    ("cluster_name", "process-orchestrator"),
    ("max_connections", "100"),
    ("shared_buffers", "128MB"),
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "1GB"),
    ("checkpoint_completion_target", "0.9"),
    ("autovacuum", "on"),
    // Short statements never earn back the compilation.
    ("jit", "off"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_checkpoints", "off"),
    ("log_line_prefix", "%m [%p] "),
];

/// The command that serves a cluster. `options` go before our own settings.
pub(super) fn postgres(
    binaries: &Binaries,
    cluster: &Path,
    sockets: &Path,
    options: &[(String, String)],
) -> Command {
    let mut command = Command::new(binaries.program("postgres"));
    command.arg("-D").arg(cluster).args(["-p", &PORT.to_string(), "-c"]).arg(in_socket_setting(sockets));
    let given = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    // Of two settings of the same name the later one holds.
    for (name, value) in SETTINGS.iter().copied().chain(given) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command
}

/// Makes a new cluster in `directory`, which is empty and belongs to `user`.
pub(super) fn initdb(binaries: &Binaries, directory: &Path, user: &User, durable: bool) -> Outcome<()> {
    let program = binaries.program("initdb");
    let mut command = Command::new(&program);
    command.arg("-D").arg(directory);
    // Whoever gets through the socket's directory is its owner, so no password is asked. The plain
    // locale is everywhere, and sorts the same everywhere.
    command.args(["-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C"]);
    if !durable {
        command.arg("--no-sync");
    }
    as_server(&mut command, user);
    let output =
        command.stdin(Stdio::null()).output().map_err(cannot(format!("run {}", program.display())))?;
    if output.status.success() {
        return Ok(());
    }
    // On success stdout tells of progress; on failure only stderr has the reason.
    let said = tail(&String::from_utf8_lossy(&output.stderr));
    let output = if said.is_empty() { output.status.to_string() } else { said };
    Err(ClusterFailure::InitdbFailed { output })
}

/// A clean environment, so that no `PG*` of the user's bends the server, and the server's user.
pub(super) fn as_server(command: &mut Command, user: &User) {
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    // Messages that we can tell apart, and no search through all time zones.
    command.env("LC_ALL", "C").env("TZ", "UTC");
    processes::run_as(command, user);
}

/// The setting is a list, in which a comma, a quote or a space needs quotes.
fn in_socket_setting(directory: &Path) -> OsString {
    let mut setting = b"unix_socket_directories=\"".to_vec();
    for byte in directory.as_os_str().as_bytes() {
        setting.push(*byte);
        if *byte == b'"' {
            setting.push(b'"');
        }
    }
    setting.push(b'"');
    OsString::from_vec(setting)
}

/// The last lines of a text that are not empty.
pub(super) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES_MAX)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_setting_survives_odd_directories() {
        let setting = in_socket_setting(Path::new("/a, \"b\"/run"));
        assert_eq!(setting, "unix_socket_directories=\"/a, \"\"b\"\"/run\"");
    }

    #[test]
    fn a_tail_has_few_lines_and_no_empty_ones() {
        let text: String = (0..40).map(|n| format!("line {n}\n\n")).collect();
        let tail = tail(&text);
        assert_eq!(tail.lines().count(), TAIL_LINES_MAX);
        assert!(tail.starts_with("line 28") && tail.ends_with("line 39"), "{tail}");
    }
}
