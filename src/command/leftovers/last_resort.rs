//! The killing of what does not end, by a look at all processes for what carries a tag.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::sweep::sweep;

/// No executor waits longer for what was killed and does not go.
const SWEEP_MAX: Duration = Duration::from_secs(5);

/// Tags that wait to be looked for. A look through all processes takes milliseconds; commands that end together, as when
/// a node is fenced, share one.
static LAST_RESORT: LazyLock<LastResort> = LazyLock::new(LastResort::default);

#[derive(Default)]
struct LastResort {
    waiting: Mutex<HashSet<String>>,
    /// Held while one looks: of tags that it looked for on behalf of others, why that failed.
    failures: Mutex<HashMap<String, String>>,
}

/// Kills every process that has `tag` in its environment, and returns when it is gone, or does not go.
pub fn kill(tag: &str) -> io::Result<()> {
    LAST_RESORT.kill(tag, |tags| {
        let (killed, left) = sweep(tags, SWEEP_MAX, &|| false)?;
        if left > 0 {
            log::warn!("processes of ended commands are still there killed={killed} left={left}");
        }
        Ok(())
    })
}

impl LastResort {
    fn kill(&self, tag: &str, sweep: impl FnOnce(&[String]) -> io::Result<()>) -> io::Result<()> {
        lock(&self.waiting).insert(tag.to_owned());
        let mut failures = lock(&self.failures);
        let tags: Vec<String> = {
            let mut waiting = lock(&self.waiting);
            if !waiting.contains(tag) {
                // The thread that looked while we waited has looked for ours too.
                return failures.remove(tag).map_or(Ok(()), |failure| Err(io::Error::other(failure)));
            }
            waiting.drain().collect()
        };
        sweep(&tags).inspect_err(|error| {
            let others = tags.iter().filter(|other| *other != tag);
            failures.extend(others.map(|other| (other.clone(), error.to_string())));
        })
    }
}

/// What these hold is complete at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn whoever_waits_hears_of_the_failure_too() {
        let last_resort = LastResort::default();
        thread::scope(|scope| {
            let turn = lock(&last_resort.failures);
            let callers = ["a", "b"].map(|tag| {
                let last_resort = &last_resort;
                scope.spawn(move || last_resort.kill(tag, |_| Err(io::Error::other("no /proc"))))
            });
            while lock(&last_resort.waiting).len() < callers.len() {
                thread::yield_now();
            }
            drop(turn);
            for caller in callers {
                let result = caller.join().unwrap();
                assert_eq!(result.map_err(|error| error.to_string()), Err("no /proc".to_owned()));
            }
        });
        assert!(lock(&last_resort.failures).is_empty(), "nothing is kept of what was told");
    }
}
