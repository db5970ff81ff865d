//! The killing of what does not end, by a look at all processes for what carries a tag.

use std::collections::HashSet;
use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::sweep::sweep;

/// No executor waits longer for what was killed and does not go.
const SWEEP_MAX: Duration = Duration::from_secs(5);

/// Tags that wait to be looked for. A look through all processes takes milliseconds; commands that end together, as when
/// a node is fenced, share one.
static WAITING: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
static SWEEPING: Mutex<()> = Mutex::new(());

/// Kills every process that has `tag` in its environment, and returns when it is gone, or does not go.
pub fn kill(tag: &str) -> io::Result<()> {
    lock(&WAITING).insert(tag.to_owned());
    let _turn = lock(&SWEEPING);
    let tags: Vec<String> = {
        let mut waiting = lock(&WAITING);
        if !waiting.contains(tag) {
            return Ok(()); // the thread that looked while we waited has looked for ours too
        }
        waiting.drain().collect()
    };
    let (killed, left) = sweep(&tags, SWEEP_MAX, &|| false)?;
    if left > 0 {
        log::warn!("processes of ended commands are still there killed={killed} left={left}");
    }
    Ok(())
}

/// What these hold is complete at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
