//! Finds an installed PostgreSQL server.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::{ClusterFailure, Outcome};
use crate::database::server_version::OLDEST_SERVER;
use crate::platform::files;

/// Names the directory of the programs, where the newest is not what is meant.
pub const POSTGRESQL_VARIABLE: &str = "PROCESS_ORCHESTRATOR_POSTGRESQL";

/// A directory that holds `initdb` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The directory.
    pub directory: PathBuf,
    /// Major version, such as 15.
    pub major: u32,
}

impl Binaries {
    /// The one that is named by a variable, else the newest that is installed; for an existing cluster one of the major
    /// version that made it.
    pub(super) fn find(cluster: Option<(u32, &Path)>) -> Outcome<Self> {
        let named = named();
        let directories = match (&named, cluster) {
            (Some(named), None) => vec![named.join("bin"), named.clone()],
            (Some(named), Some(_)) => [vec![named.join("bin"), named.clone()], search_path()].concat(),
            (None, _) => search_path(),
        };
        let installed = installed_in(&directories, cluster.map(|(major, _)| major));
        if let (Some(directory), None, []) = (named, cluster, &*installed) {
            return Err(ClusterFailure::NoBinariesIn { variable: POSTGRESQL_VARIABLE, directory });
        }
        choose(installed, cluster, &directories)
    }

    /// One of the programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn shown(&self) -> String {
        format!("{} in {}", self.major, self.directory.display())
    }
}

fn choose(
    installed: Vec<Binaries>,
    cluster: Option<(u32, &Path)>,
    searched: &[PathBuf],
) -> Outcome<Binaries> {
    let found = || installed.iter().map(Binaries::shown).collect::<Vec<_>>();
    if let Some((major, cluster)) = cluster {
        let fits = installed.iter().find(|binaries| binaries.major == major).cloned();
        return fits.ok_or_else(|| ClusterFailure::NoBinariesFor {
            major,
            cluster: cluster.to_path_buf(),
            found: found(),
        });
    }
    // Of equals the first: what stands in PATH is what the user means.
    let newest = installed.iter().rev().max_by_key(|binaries| binaries.major);
    match newest {
        None => Err(ClusterFailure::NoBinaries { searched: searched.to_vec(), install: install_hint() }),
        Some(newest) if newest.major < OLDEST_SERVER => {
            Err(ClusterFailure::BinariesTooOld { found: found(), install: install_hint() })
        }
        Some(newest) => Ok(newest.clone()),
    }
}

/// Asks each directory's server for its version; asks no further than `wanted`, since each costs a spawn.
fn installed_in(directories: &[PathBuf], wanted: Option<u32>) -> Vec<Binaries> {
    let names_it = |directory: &Path| {
        wanted.is_some_and(|major| directory.to_string_lossy().contains(&major.to_string()))
    };
    let mut ordered: Vec<&PathBuf> = directories.iter().collect();
    ordered.sort_by_key(|directory| !names_it(directory));
    let mut installed = Vec::new();
    for directory in ordered {
        if !directory.join("initdb").is_file() || !directory.join("postgres").is_file() {
            continue;
        }
        let Some(major) = ask_version(&directory.join("postgres")) else { continue };
        installed.push(Binaries { directory: directory.clone(), major });
        if wanted == Some(major) {
            break;
        }
    }
    installed
}

fn ask_version(postgres: &Path) -> Option<u32> {
    match Command::new(postgres).arg("--version").env("LC_ALL", "C").output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let major = major_of(&text);
            if major.is_none() {
                log::debug!("{} --version says {text:?}", postgres.display());
            }
            major
        }
        Err(error) => {
            log::debug!("{} does not run: {error}", postgres.display());
            None
        }
    }
}

/// The major version in `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` or `… 18beta1`.
fn major_of(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Where the variable says that the programs are: there, or in the installation's `bin`.
fn named() -> Option<PathBuf> {
    std::env::var_os(POSTGRESQL_VARIABLE).map(PathBuf::from).filter(|it| !it.as_os_str().is_empty())
}

/// Every place where a server may be, each once: `PATH` first, then those of the packagers.
fn search_path() -> Vec<PathBuf> {
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> =
        std::env::split_paths(&in_path).filter(|directory| directory.is_absolute()).collect();
    // A star stands for one part of the path that begins and ends as written.
    for pattern in [
        "/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
        "/usr/pgsql-*/bin",                  // the RPMs of postgresql.org
        "/usr/lib64/pgsql/bin",              // RPM distributions that keep it out of PATH
        "/usr/lib/postgresql*/bin",          // SUSE
        "/usr/libexec/postgresql*",          // Alpine
        "/opt/homebrew/opt/postgresql*/bin", // Homebrew on Apple silicon
        "/usr/local/opt/postgresql*/bin",    // Homebrew on Intel
        "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
        "/Library/PostgreSQL/*/bin", // the installer of EDB
        "/Applications/Postgres.app/Contents/Versions/*/bin",
        "/opt/local/lib/postgresql*/bin", // MacPorts
        "/usr/local/pgsql/bin",           // built from source
    ] {
        directories.extend(expand(pattern));
    }
    directories.extend(ask_pg_config());
    let mut seen = Vec::new();
    directories.retain(|directory| {
        // Links such as /bin → /usr/bin make one directory appear twice.
        let real = std::fs::canonicalize(directory).unwrap_or_else(|_| directory.clone());
        let new = !seen.contains(&real);
        seen.push(real);
        new
    });
    directories
}

/// The paths that fit a pattern with at most one `*`, the highest first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![PathBuf::from(pattern)] };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    // No such directory is the usual case: it belongs to another system.
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name());
    let fitting = names.filter(|name| name.to_string_lossy().starts_with(prefix));
    let mut paths: Vec<PathBuf> =
        fitting.map(|name| Path::new(parent).join(name).join(after.trim_start_matches('/'))).collect();
    paths.sort();
    paths.reverse();
    paths
}

fn ask_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let directory = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    (output.status.success() && directory.is_absolute()).then_some(directory)
}

/// The command that installs a server, by the package manager that is here.
fn install_hint() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_here = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    hint_for(is_here, files::effective_uid() == 0)
}

fn hint_for(is_here: impl Fn(&str) -> bool, root: bool) -> String {
    const COMMANDS: &[(&str, &str)] = &[
        ("apt-get", "apt-get install postgresql"),
        ("dnf", "dnf install postgresql-server"),
        ("yum", "yum install postgresql-server"),
        ("zypper", "zypper install postgresql-server"),
        ("apk", "apk add postgresql"),
        ("pacman", "pacman -S postgresql"),
        ("brew", "brew install postgresql"),
    ];
    match COMMANDS.iter().find(|(manager, _)| is_here(manager)) {
        Some(("brew", command)) => format!("install it: {command}"),
        Some((_, command)) if root => format!("install it: {command}"),
        Some((_, command)) => format!("install it: sudo {command}"),
        None => "install it from https://www.postgresql.org/download/".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(major: u32, directory: &str) -> Binaries {
        Binaries { directory: directory.into(), major }
    }

    #[test]
    fn versions_are_read_in_every_form() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_of("postgres (PostgreSQL) 9.6.24\n"), Some(9));
        assert_eq!(major_of("something else 15\n"), None);
    }

    #[test]
    fn the_newest_is_taken_and_path_wins_among_equals() {
        let all = vec![binaries(15, "/path"), binaries(17, "/a"), binaries(17, "/b"), binaries(9, "/c")];
        assert_eq!(choose(all, None, &[]).unwrap(), binaries(17, "/a"));
    }

    #[test]
    fn an_existing_cluster_wants_its_own_version() {
        let all = vec![binaries(17, "/a"), binaries(15, "/b")];
        let cluster = Path::new("/data/postgresql-15");
        assert_eq!(choose(all.clone(), Some((15, cluster)), &[]).unwrap(), binaries(15, "/b"));
        let error = choose(all, Some((16, Path::new("/data/postgresql-16"))), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/data/postgresql-16 was made by PostgreSQL 16, installed is 17 in /a, 15 in /b; install \
             PostgreSQL 16, or move the directory away to begin anew without its processes"
        );
    }

    #[test]
    fn nothing_found_says_what_to_install() {
        let error = choose(Vec::new(), None, &["/usr/bin".into(), "/opt".into()]).unwrap_err().to_string();
        assert!(
            error.starts_with("no PostgreSQL server is installed (") && error.contains("; install it"),
            "{error}"
        );
        let error = choose(vec![binaries(11, "/old")], None, &[]).unwrap_err().to_string();
        assert!(
            error.starts_with("PostgreSQL 12 or newer is needed, installed is 11 in /old; install"),
            "{error}"
        );
    }

    #[test]
    fn the_hint_fits_the_system() {
        assert_eq!(hint_for(|name| name == "apk", true), "install it: apk add postgresql");
        assert_eq!(hint_for(|name| name == "dnf", false), "install it: sudo dnf install postgresql-server");
        assert_eq!(hint_for(|name| name == "brew", false), "install it: brew install postgresql");
        assert!(hint_for(|_| false, false).contains("https://"));
    }
}
