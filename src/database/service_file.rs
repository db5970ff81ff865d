//! libpq's service files: sections of `key=value` under a name.

use std::path::{Path, PathBuf};

use super::conninfo::{self, Parameters};
use super::data_dir;
use super::environment::Environment;
use super::settings_error::SettingsError;

/// Where Debian keeps the file for everybody; elsewhere `PGSYSCONFDIR` says.
const SYSTEM_DIRECTORY: &str = "/etc/postgresql-common";

/// The parameters of the service `name`, from `PGSERVICEFILE` or `~/.pg_service.conf`, else from
/// `pg_service.conf` in `PGSYSCONFDIR`. `origin` is where the name was said.
pub(super) fn look_up(origin: &str, name: &str, env: &Environment<'_>) -> Result<Parameters, SettingsError> {
    let set = |variable: &str| env(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let explicit = set("PGSERVICEFILE");
    let own = explicit.clone().or_else(|| Some(data_dir::home(env)?.join(".pg_service.conf")));
    let system =
        set("PGSYSCONFDIR").unwrap_or_else(|| PathBuf::from(SYSTEM_DIRECTORY)).join("pg_service.conf");
    let files: Vec<PathBuf> = own.into_iter().chain([system]).collect();
    for path in &files {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && explicit.as_ref() != Some(path) => {
                continue;
            }
            Err(error) => {
                let problem = format!("the service file {} cannot be read: {error}", path.display());
                return Err(SettingsError::new(origin, problem, "correct PGSERVICEFILE or the file"));
            }
        };
        let problem = |(line, problem)| {
            SettingsError::new(origin, format!("{}, line {line}: {problem}", path.display()), "")
        };
        if let Some(parameters) = find(&text, name).map_err(problem)? {
            return Ok(parameters);
        }
    }
    let looked: Vec<_> = files.iter().map(|path| Path::display(path).to_string()).collect();
    let problem = format!("there is no service {name:?} in {}", looked.join(" or "));
    Err(SettingsError::new(origin, problem, "correct the name, or add the section"))
}

/// The first section of that name; a fault comes with the number of its line. No value is in a message.
fn find(text: &str, name: &str) -> Result<Option<Parameters>, (usize, String)> {
    let mut found: Option<Parameters> = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            if found.is_some() {
                break;
            }
            found = (section == name).then(Parameters::new);
            continue;
        }
        let Some(parameters) = &mut found else { continue };
        let fault = |problem: &str| (at + 1, problem.to_string());
        if line.starts_with("ldap") {
            return Err(fault("services from LDAP are not looked up; write the parameters here"));
        }
        let (key, value) = line.split_once('=').ok_or_else(|| fault("has no =; write key=value"))?;
        if key.trim() == "service" {
            return Err(fault("a service cannot name another; write the parameters here"));
        }
        let (key, value) = conninfo::parameter(key.trim().to_string(), value.trim().to_string())
            .map_err(|problem| (at + 1, problem))?;
        parameters.entry(key).or_insert(value);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "# comment\n[one]\nhost=h1\nport = 5433\n\n[two]\nhost=h2\npassword=canary=x\nhots=1\n";

    #[test]
    fn a_section_is_found_by_its_name() {
        let one = find(FILE, "one").unwrap().unwrap();
        assert_eq!(
            one.into_iter().collect::<Vec<_>>(),
            [("host".to_string(), "h1".to_string()), ("port".to_string(), "5433".to_string())]
        );
        assert_eq!(find(FILE, "three"), Ok(None));
    }

    #[test]
    fn faults_name_the_line_and_no_value() {
        for (text, line, part) in [
            (FILE, 9, "\"hots\" is unknown"),
            ("[two]\ncanary", 2, "has no ="),
            ("[two]\nservice=canary", 2, "cannot name another"),
            ("[two]\nldap://canary", 2, "LDAP"),
        ] {
            let (at, problem) = find(text, "two").unwrap_err();
            assert!(at == line && problem.contains(part) && !problem.contains("canary"), "{at} {problem}");
        }
    }
}
