//! Takes ids of finished processes and fills one file after the other with them.

use std::io;
use std::path::{Path, PathBuf};

use super::error::ArchiveError;
use super::file::{ArchiveFile, prepare};
use super::line::{self, Broken};
use crate::failpoint::{self, Point};
use crate::platform::create_private_directory;
use crate::store::Store;
use crate::store::forget::whole::{Looked, Seen};

/// Processes in a file: what is remembered of each takes some hundred bytes until the file is whole.
const FILE_PROCESSES_MAX: usize = 50_000;
/// A file ends after so many bytes; its last process may go beyond.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// A process of more bytes is read in pieces, page by page.
const WHOLE_BYTES_MAX: u64 = 256 * 1024;
/// Smaller ones are read together up to so many bytes. In memory they take up some times as much.
const GROUP_BYTES_MAX: u64 = 1024 * 1024;

/// A directory to which finished processes are archived.
pub struct Archive {
    directory: PathBuf,
    file: Option<ArchiveFile>,
    /// What is in the file.
    seen: Vec<Seen>,
    finished: Vec<Finished>,
}

/// A file that is on the disk under its name. What is in it may be deleted, if it is as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Where it is.
    pub path: PathBuf,
    /// The processes in it.
    pub seen: Vec<Seen>,
}

impl Archive {
    /// Makes the directory, for this user alone, if only that is missing; removes what killed writers have left there.
    ///
    /// # Errors
    /// When it can't be made or written.
    pub fn open(directory: &Path) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::File { path: directory.to_owned(), source };
        match create_private_directory(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        prepare(directory).map_err(failed)?;
        Ok(Self { directory: directory.to_owned(), file: None, seen: Vec::new(), finished: Vec::new() })
    }

    /// Writes those of these processes that are there and have ended, however large they are. Some hundred ids at a time. Of
    /// those that can't be read it says why: they are not to be deleted.
    ///
    /// # Errors
    /// When a file can't be written, or the database fails. What is not in a finished file then is in none.
    pub fn add(&mut self, store: &mut Store, ids: &[String]) -> Result<Vec<String>, ArchiveError> {
        let looked = store.look_at_processes(ids)?;
        let (mut unreadable, mut group, mut bytes) = (Vec::new(), Vec::new(), 0);
        for Looked { seen, has_ended, bytes: own } in looked {
            if !has_ended {
                continue;
            }
            if own > WHOLE_BYTES_MAX {
                self.add_large(store, seen, &mut unreadable)?;
                continue;
            }
            if bytes + own > GROUP_BYTES_MAX {
                self.add_group(store, std::mem::take(&mut group), &mut unreadable)?;
                bytes = 0;
            }
            bytes += own;
            group.push(seen);
        }
        self.add_group(store, group, &mut unreadable)?;
        Ok(unreadable)
    }

    /// The files that were finished since this was asked last.
    pub fn take_finished(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.finished)
    }

    /// Finishes the file that is being written.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn finish(&mut self) -> Result<(), ArchiveError> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let path = file.path().to_owned();
        let seen = std::mem::take(&mut self.seen);
        let path = file.finish().map_err(|source| ArchiveError::File { path, source })?;
        self.finished.push(Finished { path, seen });
        failpoint::hit(Point::Archived);
        Ok(())
    }

    fn add_group(
        &mut self,
        store: &mut Store,
        group: Vec<Seen>,
        unreadable: &mut Vec<String>,
    ) -> Result<(), ArchiveError> {
        if group.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = group.iter().map(|it| it.process_id.clone()).collect();
        let mut versions: std::collections::HashMap<String, i64> =
            group.into_iter().map(|it| (it.process_id, it.version)).collect();
        for found in store.whole_processes(&ids)? {
            match found {
                Err(problem) => unreadable.push(problem),
                Ok(whole) => {
                    let process_id = whole.text.process.process_id.clone();
                    let Some(version) = versions.remove(&process_id) else { continue };
                    self.write(|file| line::whole(file, whole))?;
                    self.note(Seen { process_id, version })?;
                }
            }
        }
        Ok(())
    }

    fn add_large(
        &mut self,
        store: &mut Store,
        seen: Seen,
        unreadable: &mut Vec<String>,
    ) -> Result<(), ArchiveError> {
        match self.write(|file| line::in_pieces(file, store, &seen.process_id))? {
            None => Ok(()),
            Some(problems) if problems.is_empty() => self.note(seen),
            Some(problems) => {
                unreadable.extend(problems);
                Ok(())
            }
        }
    }

    fn write<T>(
        &mut self,
        line: impl FnOnce(&mut ArchiveFile) -> Result<T, Broken>,
    ) -> Result<T, ArchiveError> {
        let directory = &self.directory;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(
                ArchiveFile::create(directory)
                    .map_err(|source| ArchiveError::File { path: directory.clone(), source })?,
            ),
        };
        line(file).map_err(|broken| match broken {
            Broken::File(source) => ArchiveError::File { path: file.path().to_owned(), source },
            Broken::Store(error) => ArchiveError::Store(error),
        })
    }

    fn note(&mut self, seen: Seen) -> Result<(), ArchiveError> {
        self.seen.push(seen);
        let is_full = self.seen.len() >= FILE_PROCESSES_MAX
            || self.file.as_ref().is_some_and(|file| file.bytes() >= FILE_BYTES_MAX);
        if is_full { self.finish() } else { Ok(()) }
    }
}
