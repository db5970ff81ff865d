//! Where this program keeps its own files.

use std::path::PathBuf;

use super::environment::Environment;
use super::settings_error::SettingsError;

/// Where root keeps such things by the Filesystem Hierarchy Standard.
const FOR_ROOT: &str = "/var/lib/process-orchestrator";

/// The data directory where none is named: `$PROCESS_ORCHESTRATOR_DATA_DIR`; the one that systemd made
/// for the service (`$STATE_DIRECTORY`); for root `/var/lib/process-orchestrator`; else
/// `$XDG_DATA_HOME/process-orchestrator` or `~/.local/share/process-orchestrator`.
pub fn default_data_dir(env: &Environment<'_>) -> Result<PathBuf, SettingsError> {
    choose(env, is_root())
}

fn choose(env: &Environment<'_>, root: bool) -> Result<PathBuf, SettingsError> {
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    if let Some(chosen) = set("PROCESS_ORCHESTRATOR_DATA_DIR") {
        return Ok(PathBuf::from(chosen));
    }
    // systemd lists several with colons; the first is the service's own.
    if let Some(first) = set("STATE_DIRECTORY").as_deref().and_then(|list| list.split(':').next()) {
        return Ok(PathBuf::from(first));
    }
    if root {
        return Ok(PathBuf::from(FOR_ROOT));
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
        choose(&env, root).unwrap().display().to_string()
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
        assert_eq!(chosen(true, &all[2..]), "/var/lib/process-orchestrator");
        assert_eq!(chosen(false, &all[2..]), "/xdg/process-orchestrator");
        assert_eq!(chosen(false, &all[3..]), "/home/u/.local/share/process-orchestrator");
        let relative = [("XDG_DATA_HOME", "xdg"), ("HOME", "/home/u")];
        assert_eq!(chosen(false, &relative), "/home/u/.local/share/process-orchestrator");
    }
}
