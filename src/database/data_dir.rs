//! Where this program keeps its own files.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::settings_error::SettingsError;

/// Where the service keeps its own: the unit's StateDirectory.
pub const OF_SERVICE: &str = "/var/lib/process-orchestrator";
/// Where root keeps such things by the Filesystem Hierarchy Standard, beside the service's: systemd hands all that is in
/// the service's to its user.
const OF_ROOT: &str = "/var/lib/process-orchestrator-root";

/// The data directory where none is named: `$PROCESS_ORCHESTRATOR_DATA_DIR`; the one that systemd made
/// for the service (`$STATE_DIRECTORY`); for root `/var/lib/process-orchestrator-root`, or the service's where root's
/// cluster was made by an older program; else `$XDG_DATA_HOME/process-orchestrator` or `~/.local/share/process-orchestrator`.
pub fn default_data_dir(env: &Environment<'_>) -> Result<PathBuf, SettingsError> {
    let root = || of_root(Path::new(OF_SERVICE), Path::new(OF_ROOT));
    choose(env, if is_root() { Some(&root) } else { None })
}

/// Root's own directory, or `old` as long as a cluster of root's lies there.
fn of_root(old: &Path, own: &Path) -> PathBuf {
    if own.exists() || !holds_cluster(old) || !std::fs::metadata(old).is_ok_and(|it| is_mine(&it)) {
        return own.to_owned();
    }
    log::warn!(
        "root's private PostgreSQL is still in {}, which the service takes over when it starts; move it while nothing \
         uses it: mv {0} {}",
        old.display(),
        own.display()
    );
    old.to_owned()
}

/// Whether a private cluster was made in `data_dir` before.
pub fn holds_cluster(data_dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(data_dir) else { return false };
    entries.flatten().any(|entry| {
        entry.file_name().to_string_lossy().starts_with("postgresql-")
            && entry.path().join("PG_VERSION").is_file()
    })
}

fn choose(env: &Environment<'_>, of_root: Option<&dyn Fn() -> PathBuf>) -> Result<PathBuf, SettingsError> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    if let Some(chosen) = set("PROCESS_ORCHESTRATOR_DATA_DIR") {
        return Ok(PathBuf::from(chosen));
    }
    // systemd lists several with colons; the first is the service's own.
    if let Some(first) = set("STATE_DIRECTORY").as_deref().and_then(|list| list.split(':').next()) {
        return Ok(PathBuf::from(first));
    }
    if let Some(own) = of_root {
        return Ok(own());
    }
    // The XDG specification has relative paths ignored.
    let xdg = set("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    match xdg.or_else(|| Some(home(env)?.join(".local/share"))) {
        Some(base) => Ok(base.join("process-orchestrator")),
        None => Err(SettingsError::new(
            "the data directory",
            "neither HOME nor the user list tells the home directory",
            "set PROCESS_ORCHESTRATOR_DATA_DIR to a directory that you may write to, or DATABASE_URL",
        )),
    }
}

/// The home directory: `$HOME`, else that of the user list.
pub(super) fn home(env: &Environment<'_>) -> Option<PathBuf> {
    let named = env("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    named.or_else(listed_home)
}

#[cfg(unix)]
fn listed_home() -> Option<PathBuf> {
    match crate::platform::files::current_user() {
        Ok(user) => user.map(|user| user.home).filter(|home| home.is_absolute()),
        Err(error) => {
            log::warn!("the system's user list can't be read: {error}");
            None
        }
    }
}

#[cfg(unix)]
fn is_root() -> bool {
    crate::platform::files::effective_uid() == 0
}

#[cfg(unix)]
fn is_mine(directory: &std::fs::Metadata) -> bool {
    crate::platform::files::owner(directory) == crate::platform::files::effective_uid()
}

#[cfg(not(unix))]
fn is_mine(_: &std::fs::Metadata) -> bool {
    true
}

#[cfg(not(unix))]
fn listed_home() -> Option<PathBuf> {
    None
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(root: bool, variables: &[(&str, &str)]) -> String {
        let env = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        let of_root = || PathBuf::from(OF_ROOT);
        choose(&env, if root { Some(&of_root) } else { None }).unwrap().display().to_string()
    }

    #[test]
    fn the_directory_follows_the_variables_in_order() {
        let all = [
            ("PROCESS_ORCHESTRATOR_DATA_DIR", "/own"),
            ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"),
            ("XDG_DATA_HOME", "/xdg"),
            ("HOME", "/home/u"),
        ];
        assert_eq!(chosen(true, &all), "/own");
        assert_eq!(chosen(true, &all[1..]), "/var/lib/a");
        assert_eq!(chosen(true, &all[2..]), "/var/lib/process-orchestrator-root");
        assert_eq!(chosen(false, &all[2..]), "/xdg/process-orchestrator");
        assert_eq!(chosen(false, &all[3..]), "/home/u/.local/share/process-orchestrator");
        let relative = [("XDG_DATA_HOME", "xdg"), ("HOME", "/home/u")];
        assert_eq!(chosen(false, &relative), "/home/u/.local/share/process-orchestrator");
    }

    #[test]
    fn root_keeps_off_the_services_directory_unless_its_own_cluster_lies_there() {
        let place = std::env::temp_dir().join(format!("po-data-dir-{}", std::process::id()));
        let (old, own) = (place.join("old"), place.join("own"));
        std::fs::create_dir_all(old.join("postgresql-15")).unwrap();
        assert_eq!(of_root(&old, &own), own, "nothing lies there");
        std::fs::write(old.join("postgresql-15/PG_VERSION"), "15").unwrap();
        assert_eq!(of_root(&old, &own), old, "an older program's");
        std::fs::create_dir(&own).unwrap();
        assert_eq!(of_root(&old, &own), own, "there is one of the new place");
        std::fs::remove_dir_all(place).unwrap();
    }
}
