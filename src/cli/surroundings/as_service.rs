//! `--service`: the command is done as the installed service would do it, on its database and as its user. And the hint
//! at that option for who is about to look for the service's processes elsewhere.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::error::{self, CliError};
use crate::cli::options::global::{AS_SERVICE, PROGRAM_AS_SERVICE as PROGRAM};
use crate::cli::screen::terminal::message;
use crate::database::data_dir::OF_SERVICE;
use crate::platform::files::{self, User};

/// The service's user, as `scripts/install` makes it.
const USER: &str = "process-orchestrator";
/// The settings that its unit reads, and the database's URL, which it is handed as a credential.
const SETTINGS: &str = "/etc/process-orchestrator/process-orchestrator.env";
const DATABASE_URL: &str = "/etc/process-orchestrator/database-url";
/// Set when a private PostgreSQL is used that is not the one of the service on this machine.
static IS_ELSEWHERE: AtomicBool = AtomicBool::new(false);

/// Whether this program was started anew by [`begin`].
pub fn is_done() -> bool {
    std::env::var_os(AS_SERVICE).is_some()
}

/// Starts this program anew with the same arguments, as the service's user and with its settings. Returns only if that
/// fails.
pub fn begin(arguments: &[OsString]) -> CliError {
    match command(arguments) {
        Ok(mut command) => {
            let cause = command.exec();
            let program = command.get_program().to_string_lossy();
            CliError::Failed(format!(
                "failed to run {program} as the service's user: {cause}; every directory on its way has to be open to \
                 that user: run the installed program"
            ))
        }
        Err(error) => error,
    }
}

fn command(arguments: &[OsString]) -> Result<Command, CliError> {
    if !is_installed() {
        return Err(CliError::Failed(format!(
            "--service: there is no service on this machine ({DATABASE_URL} is not there); install it with scripts/install"
        )));
    }
    let user = service_user()?;
    let own = files::effective_uid();
    if own != 0 && own != user.uid {
        let rest: Vec<_> =
            arguments.iter().skip(1).map(|it| it.to_string_lossy()).filter(|it| it != "--service").collect();
        return Err(CliError::Failed(format!(
            "--service: only root can run a command as {}: {PROGRAM} {}",
            user.name,
            shell_words::join(rest)
        )));
    }
    let program = std::env::current_exe()
        .map_err(|cause| CliError::Failed(format!("failed to find this program's own file: {cause}")))?;
    let mut command = Command::new(program);
    command.args(arguments.iter().skip(1));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["PG", "DATABASE_URL", "PROCESS_ORCHESTRATOR_", "XDG_"].iter().any(|it| text.starts_with(it)) {
            command.env_remove(&name);
        }
    }
    command.env("PROCESS_ORCHESTRATOR_DATA_DIR", OF_SERVICE);
    command.envs(read(SETTINGS)?.map(|text| settings(&text)).unwrap_or_default());
    if let Some(url) = read(DATABASE_URL)?.filter(|url| !url.trim().is_empty()) {
        command.env("DATABASE_URL", url.trim());
    }
    command.env("HOME", &user.home).env("USER", &user.name).env("LOGNAME", &user.name).env(AS_SERVICE, "1");
    if own == 0 {
        command.uid(user.uid).gid(user.gid);
    }
    Ok(command)
}

/// The owner of the state directory, which a drop-in of the unit may have changed; else the one that was made for it.
fn service_user() -> Result<User, CliError> {
    let owner = fs::metadata(OF_SERVICE).map(|it| files::owner(&it)).ok().filter(|uid| *uid != 0);
    let found = match owner {
        Some(uid) => files::user_by_id(uid),
        None => files::user_by_name(USER),
    };
    found.ok().flatten().ok_or_else(|| {
        CliError::Failed(format!(
            "--service: there is no user {USER} on this machine; run scripts/install again"
        ))
    })
}

fn read(path: &str) -> Result<Option<String>, CliError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::Failed(format!(
            "--service: failed to read {path}: {error}; run it as root: {PROGRAM}"
        ))),
    }
}

/// The variables of an EnvironmentFile, as far as one is written by hand: a line for each, quoted or not.
fn settings(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let unquoted = |value: &str| {
        let within = |quote| value.strip_prefix(quote)?.strip_suffix(quote).map(str::to_owned);
        within('"').or_else(|| within('\'')).unwrap_or_else(|| value.to_owned())
    };
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim())))
        .collect()
}

fn is_installed() -> bool {
    Path::new(DATABASE_URL).exists()
}

/// Notes which private PostgreSQL is used.
pub fn note_private(data_dir: &Path) {
    IS_ELSEWHERE.store(is_installed() && !is_services(data_dir), Ordering::Relaxed);
}

/// What to add where the service's own private PostgreSQL can't be used directly.
pub fn hint_if_services(data_dir: &Path) -> String {
    match is_services(data_dir) && !is_done() {
        true => format!("; it is the service's own: {PROGRAM} COMMAND"),
        false => String::new(),
    }
}

fn is_services(data_dir: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    real(data_dir) == real(Path::new(OF_SERVICE))
}

/// What to add where a command has found nothing or makes a database: the service's may be the one that is meant.
pub fn hint_if_elsewhere() -> String {
    match IS_ELSEWHERE.load(Ordering::Relaxed) {
        true => format!(
            "; the service on this machine has a database of its own, and a command reaches that by: {PROGRAM} COMMAND"
        ),
        false => String::new(),
    }
}

/// Says where else to look for what was not found.
pub fn hint_at(error: &CliError) {
    if let (true, false, Some(hint)) =
        (error.is_not_found(), error::is_json(), hint_if_elsewhere().strip_prefix("; "))
    {
        message(hint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_systemd_reads_them() {
        let text =
            "# a comment\n\n ; another\nA=1\nB = two words \nC=\"quoted = #\"\nD='x'\nnothing\n#E=5\nF=\n";
        let expected = [("A", "1"), ("B", "two words"), ("C", "quoted = #"), ("D", "x"), ("F", "")];
        assert_eq!(settings(text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
