//! Where commands leave the values that they pass on.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::context::{self, CONTEXT_BYTES_MAX};
use crate::platform;
use crate::platform::files::{self, Lock};

/// How the directories' names begin.
const PREFIX: &str = "process-orchestrator-";

/// A private directory of this orchestrator for the context files of its commands: made when the first
/// command needs it, removed with this value.
#[derive(Debug)]
pub struct ContextDirectory {
    parent: PathBuf,
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    path: PathBuf,
    /// Tells it from another one of its name.
    identity: (u64, u64),
    // Open and locked for as long as we live, so that cleaners of temporary directories leave it alone.
    _lock: File,
}

impl ContextDirectory {
    /// The directory will be made in `parent`, which must exist by then: the system's directory for temporary
    /// files, or the orchestrator's own for its state.
    pub fn in_parent(parent: impl Into<PathBuf>) -> Self {
        Self { parent: parent.into(), made: Mutex::new(None) }
    }

    /// The directory's path; makes it (mode 0700) the first time, and anew when somebody has removed it.
    pub(super) fn path(&self) -> io::Result<PathBuf> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*made {
            let is_there =
                fs::symlink_metadata(&made.path).is_ok_and(|it| files::identity(&it) == made.identity);
            if is_there {
                return Ok(made.path.clone());
            }
            log::warn!("the directory of context files {} was removed; another is made", made.path.display());
        }
        let name = format!("{PREFIX}{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::path::absolute(self.parent.join(name))?;
        platform::create_private_directory(&path)?;
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(error) => {
                // The next try makes another: this one would stay for good.
                fs::remove_dir(&path)?;
                return Err(error);
            }
        };
        // systemd-tmpfiles passes over locked directories; without the lock only its patience is missing.
        if let Err(e) = files::try_lock(&lock, Lock::Shared) {
            log::debug!("failed to lock {} against cleaners of temporary files: {e}", path.display());
        }
        let identity = files::identity(&lock.metadata()?);
        *made = Some(Made { path: path.clone(), identity, _lock: lock });
        if let Some(parent) = path.parent() {
            remove_left_behind(parent);
        }
        Ok(path)
    }

    /// The directory that new ones are made in.
    pub(super) fn parent(&self) -> &Path {
        &self.parent
    }
}

impl Drop for ContextDirectory {
    fn drop(&mut self) {
        let made = self.made.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.take()
            && let Err(e) = fs::remove_dir_all(&made.path)
        {
            log::warn!("failed to remove the directory of context files {}: {e}", made.path.display());
        }
    }
}

/// Removes the directories of orchestrators of this user that were killed: those that nobody has locked any more.
fn remove_left_behind(parent: &Path) {
    // Nothing depends on it; whoever makes the next directory tries again.
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|entry| is_our_name(&entry.file_name().to_string_lossy())) {
        let path = entry.path();
        match is_left_behind(&path).and_then(|is| if is { fs::remove_dir_all(&path) } else { Ok(()) }) {
            Ok(()) => {}
            Err(e) => log::debug!("{} of a killed orchestrator was not removed: {e}", path.display()),
        }
    }
}

/// As [`ContextDirectory::path`] names them: the process's id and eight digits.
fn is_our_name(name: &str) -> bool {
    name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).is_some_and(|(pid, random)| {
        pid.parse::<u32>().is_ok() && random.len() == 8 && random.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn is_left_behind(path: &Path) -> io::Result<bool> {
    /// One that was made just now may not be locked yet.
    const AGE_MIN: Duration = Duration::from_secs(60);
    let metadata = fs::symlink_metadata(path)?;
    let is_old = metadata.modified()?.elapsed().is_ok_and(|age| age >= AGE_MIN);
    if !metadata.is_dir() || !is_old || files::owner(&metadata) != files::effective_uid() {
        return Ok(false);
    }
    files::try_lock(&File::open(path)?, Lock::Exclusive)
}

/// Why a context file can't be used.
pub struct Unusable {
    /// Completes "the context file …".
    pub phrase: String,
    /// The machine is to blame, and may have what it lacks another time.
    pub may_heal: bool,
}

/// Reads and removes the context file that a successful command may have written; none if it has not.
pub fn take(path: &Path) -> Result<Option<Map<String, Value>>, Unusable> {
    let unreadable =
        |e: io::Error| Unusable { phrase: format!("can't be read: {e}"), may_heal: platform::may_heal(&e) };
    let values = match open_patiently(path) {
        Ok(file) => read(file).map_err(unreadable).and_then(|text| {
            match text {
                Some(text) => context::parse(&text).map(Some),
                None => Err("is not a regular file".to_owned()),
            }
            .map_err(|phrase| Unusable { phrase, may_heal: false })
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => Err(unreadable(e)),
    };
    discard(path);
    values
}

/// What a command has passed on must not be lost because the machine lacks descriptors or memory just now.
fn open_patiently(path: &Path) -> io::Result<File> {
    /// The command's own descriptors are free again by now, so few tries are needed.
    const PATIENCE: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_millis(20);
    let began = Instant::now();
    loop {
        match platform::open_foreign_file(path) {
            Err(error) if platform::may_heal(&error) && began.elapsed() < PATIENCE => {
                std::thread::park_timeout(PAUSE);
            }
            answer => return answer,
        }
    }
}

/// Removes the context file of a command whose values do not count.
pub fn discard(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        // Its name is never used again, so it only takes space until the directory goes.
        Err(e) => log::warn!("failed to remove the context file {}: {e}", path.display()),
    }
}

/// None if it is no file.
fn read(file: File) -> io::Result<Option<Vec<u8>>> {
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    // One byte more than allowed is enough to see that it is too big.
    file.take(CONTEXT_BYTES_MAX + 1).read_to_end(&mut text)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_killed_orchestrators_left_are_removed_and_no_others() {
        let parent =
            std::env::temp_dir().join(format!("po-left-{}-{:08x}", std::process::id(), fastrand::u32(..)));
        let make = |name: &str, is_old: bool| {
            let path = parent.join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("0-0"), "key=value").unwrap();
            let age = Duration::from_secs(if is_old { 3600 } else { 0 });
            File::open(&path).unwrap().set_modified(std::time::SystemTime::now() - age).unwrap();
            path
        };
        let dead = make("process-orchestrator-1-0123abcd", true);
        let locked = make("process-orchestrator-2-0123abcd", true);
        let lock = File::open(&locked).unwrap();
        assert!(files::try_lock(&lock, Lock::Shared).unwrap());
        let others = [
            make("process-orchestrator-3-0123abcd", false),
            make("process-orchestrator-data", true),
            make("process-orchestrator-4-nothexad", true),
        ];
        let own = ContextDirectory::in_parent(&parent).path().unwrap();
        assert!(!dead.exists() && locked.exists() && others.iter().all(|it| it.exists()));
        assert!(!own.exists(), "it goes with its owner");
        fs::remove_dir_all(parent).unwrap();
    }
}
