//! The database's URL as a systemd credential (`LoadCredential=database-url:…`): a file that only this service
//! can read, and that no environment or command line shows.

use std::io::ErrorKind;
use std::path::Path;

use super::environment::Environment;
use super::settings_error::SettingsError;

/// The credential's name in the unit.
const NAME: &str = "database-url";

/// The URL, if the service manager has passed one on. An empty file counts as none.
pub(super) fn database_url(env: &Environment<'_>) -> Result<Option<String>, SettingsError> {
    let Some(directory) = env("CREDENTIALS_DIRECTORY").filter(|it| !it.is_empty()) else { return Ok(None) };
    let path = Path::new(&directory).join(NAME);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|url| !url.is_empty())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SettingsError::new(
            "credential database-url",
            format!("{} can't be read: {error}", path.display()),
            "let LoadCredential= name a text file with one URL",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_where_there_is_one() {
        let directory = std::env::temp_dir().join(format!("po-credential-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let place = directory.display().to_string();
        let env = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| place.clone());
        assert_eq!(database_url(&|_| None).unwrap(), None);
        assert_eq!(database_url(&env).unwrap(), None);
        std::fs::write(directory.join(NAME), "\n").unwrap();
        assert_eq!(database_url(&env).unwrap(), None);
        std::fs::write(directory.join(NAME), "postgresql://me@there/db\n").unwrap();
        assert_eq!(database_url(&env).unwrap().as_deref(), Some("postgresql://me@there/db"));
        std::fs::write(directory.join(NAME), [0xff]).unwrap();
        let message = database_url(&env).unwrap_err().to_string();
        assert!(message.contains("database-url can't be read"), "{message}");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
