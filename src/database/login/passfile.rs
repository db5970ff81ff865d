//! Passwords from libpq's password file: lines of `host:port:database:user:password`.

use std::path::Path;

/// What a password is looked up for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Host name, address, or the socket's directory.
    pub host: &'a str,
    /// Decimal.
    pub port: u16,
    /// Database name.
    pub database: &'a str,
    /// User name.
    pub user: &'a str,
}

/// Reads the password file, unless others may read it, in which case it is passed over with a warning
/// as libpq does. A file that isn't there is no fault; one that can't be read is worth a warning.
pub fn read(path: &Path) -> Option<String> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => {
            log::warn!("password file {} is not a plain file; it is ignored", path.display());
            return None;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            log::warn!("password file {} is ignored: {error}", path.display());
            return None;
        }
    };
    if readable_by_others(&metadata) {
        log::warn!(
            "password file {} is open to the group or to everybody and is ignored; chmod 600 it",
            path.display()
        );
        return None;
    }
    match std::fs::read(path) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => {
            log::warn!("password file {} is ignored: {error}", path.display());
            None
        }
    }
}

#[cfg(unix)]
fn readable_by_others(metadata: &std::fs::Metadata) -> bool {
    crate::platform::files::is_secret_exposed(metadata)
}

#[cfg(not(unix))]
fn readable_by_others(_: &std::fs::Metadata) -> bool {
    false
}

/// The password of the first line that fits.
pub fn find(text: &str, wanted: Wanted<'_>) -> Option<String> {
    let port = wanted.port.to_string();
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let [host, line_port, database, user, password] = fields(line)?;
        let fits = fits_host(&host, wanted.host)
            && fits(&line_port, &port)
            && fits(&database, wanted.database)
            && fits(&user, wanted.user);
        (fits && !password.text.is_empty()).then_some(password.text)
    })
}

struct Field {
    text: String,
    /// Written as a bare `*`; `\*` is the character.
    any: bool,
}

/// Splits at colons; a backslash makes the next character plain. The password is the fifth field, and
/// like libpq's it ends at a bare colon.
fn fields(line: &str) -> Option<[Field; 5]> {
    let mut all = Vec::with_capacity(5);
    let (mut text, mut escaped_any) = (String::new(), false);
    let mut characters = line.trim_end_matches('\r').chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                text.extend(characters.next());
                escaped_any = true;
            }
            ':' => all.push(Field { any: text == "*" && !escaped_any, text: std::mem::take(&mut text) }),
            plain => text.push(plain),
        }
        if character == ':' {
            escaped_any = false;
        }
    }
    all.push(Field { any: text == "*" && !escaped_any, text });
    all.truncate(5);
    all.try_into().ok()
}

fn fits(field: &Field, value: &str) -> bool {
    field.any || field.text == value
}

/// `localhost` in the file stands for the default sockets as well.
fn fits_host(field: &Field, host: &str) -> bool {
    const DEFAULT_SOCKET_DIRECTORIES: &[&str] = &["/var/run/postgresql", "/run/postgresql", "/tmp"];
    fits(field, host) || (field.text == "localhost" && DEFAULT_SOCKET_DIRECTORIES.contains(&host))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment:*:*:*:no\n\
        db:5432:app:u:one\n\
        db:*:*:u:two\r\n\
        a\\:b:5432:*:u\\\\v:it\\:s\n\
        localhost:*:*:*:local\n\
        short:line\n\
        *:*:\\*:star:literal\n\
        *:7777:*:*:any\n";

    fn found(host: &str, port: u16, database: &str, user: &str) -> Option<String> {
        find(FILE, Wanted { host, port, database, user })
    }

    #[test]
    fn the_first_line_that_fits_gives_the_password() {
        assert_eq!(found("db", 5432, "app", "u").as_deref(), Some("one"));
        assert_eq!(found("db", 5433, "app", "u").as_deref(), Some("two"));
        assert_eq!(found("db", 5432, "app", "other"), None);
        assert_eq!(found("x", 7777, "y", "z").as_deref(), Some("any"));
    }

    #[test]
    fn escapes_make_characters_plain() {
        assert_eq!(found("a:b", 5432, "d", "u\\v").as_deref(), Some("it:s"));
        assert_eq!(found("h", 1, "*", "star").as_deref(), Some("literal"));
        assert_eq!(found("h", 1, "d", "star"), None);
    }

    #[test]
    fn localhost_stands_for_the_default_sockets() {
        assert_eq!(found("/var/run/postgresql", 5432, "d", "u").as_deref(), Some("local"));
        assert_eq!(found("/srv/sockets", 5432, "d", "u"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_ignored() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("process-orchestrator-pgpass-{}", std::process::id()));
        std::fs::write(&path, FILE).unwrap();
        let mut seen = Vec::new();
        for mode in [0o600, 0o640, 0o604] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            seen.push(read(&path).is_some());
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(seen, [true, false, false]);
        assert_eq!(read(&path), None);
    }
}
