//! What can go wrong while finished processes are archived.

use std::error::Error;
use std::path::PathBuf;
use std::{fmt, io};

use crate::store::StoreError;

/// Why nothing more is archived, and so nothing more deleted. Displayed, it completes the phrase "failed to …".
#[derive(Debug)]
pub enum ArchiveError {
    /// The directory or a file in it can't be written.
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The database failed.
    Store(StoreError),
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => {
                let remedy = match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room there",
                    io::ErrorKind::NotFound => "make its directory, or name another one",
                    _ => "let this user write there, or name another directory",
                };
                write!(
                    f,
                    "archive finished processes in {}: {source}; what is not archived is not deleted; {remedy}",
                    path.display()
                )
            }
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl Error for ArchiveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Store(error) => error.source(),
        }
    }
}

impl From<StoreError> for ArchiveError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
