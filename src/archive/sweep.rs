//! Archives finished processes that are old enough, then deletes exactly these.

use std::path::Path;
use std::time::{Duration, Instant};

use super::archiver::{Archive, Finished};
use super::error::ArchiveError;
use crate::store::Store;
use crate::store::forget::finished::FinishedPage;
use crate::store::prune::{PRUNE_BATCH, PruneFilter, PrunePlace, Pruned};

/// What has just been done.
#[derive(Debug)]
pub enum Step<'a> {
    /// A page of processes was written, in this time.
    Written(Duration),
    /// A file is whole: where, and how many processes are in it.
    Archived(&'a Path, usize),
    /// Some of these were deleted, in this time.
    Deleted(&'a Pruned, Duration),
    /// These can't be read and stay, for these reasons.
    Unreadable(&'a [String]),
}

/// How a sweep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Nothing that is old enough is left, but what was told.
    Done,
    /// It was told to end.
    Stopped,
}

/// Archives and deletes what the filter names behind `after`, the oldest first. `go_on` hears each step, may rest, and says
/// whether to go on: a file that is not whole then is given up, and nothing of it deleted.
///
/// # Errors
/// When a file can't be written, or the database fails: nothing that was not archived is deleted.
pub fn sweep(
    archive: &mut Archive,
    store: &mut Store,
    filter: &PruneFilter,
    after: Option<PrunePlace>,
    go_on: &mut dyn FnMut(&mut Store, Step<'_>) -> Result<bool, ArchiveError>,
) -> Result<Sweep, ArchiveError> {
    let mut place = after;
    loop {
        let began = Instant::now();
        let FinishedPage { ids, next } = store.finished_page(filter, place.as_ref())?;
        let unreadable = archive.add(store, &ids)?;
        if !unreadable.is_empty() && !go_on(store, Step::Unreadable(&unreadable))? {
            return Ok(Sweep::Stopped);
        }
        if next.is_none() {
            archive.finish()?;
        } else if !go_on(store, Step::Written(began.elapsed()))? {
            return Ok(Sweep::Stopped);
        }
        for Finished { path, seen } in archive.take_finished() {
            let mut is_going = go_on(store, Step::Archived(&path, seen.len()))?;
            for batch in seen.chunks(PRUNE_BATCH as usize) {
                if !is_going {
                    return Ok(Sweep::Stopped);
                }
                let began = Instant::now();
                let pruned = store.prune_exactly(batch)?;
                is_going = go_on(store, Step::Deleted(&pruned, began.elapsed()))?;
            }
        }
        match next {
            None => return Ok(Sweep::Done),
            next => place = next,
        }
    }
}
