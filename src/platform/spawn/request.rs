//! What a child is to be.

use std::ffi::{CString, OsStr, OsString};
use std::path::Path;

/// What a child is to be. It leads a session of its own, in which there is no terminal, and the process group of it; it
/// reads /dev/null, and prints into one pipe.
#[derive(Debug, Clone, Copy)]
pub struct SpawnRequest<'a> {
    /// The file to execute; a relative one is seen from `directory`.
    pub program: &'a Path,
    /// Its arguments, from the name that it has for itself on.
    pub argv: &'a [String],
    /// Its working directory; none means ours.
    pub directory: Option<&'a Path>,
    /// The variables that every child has.
    pub base: &'a PreparedVariables,
    /// Its own variables, which override those.
    pub variables: &'a [(&'a OsStr, &'a OsStr)],
}

/// Variables in the form that a child is given them, made once for many children.
#[derive(Debug, Clone)]
pub struct PreparedVariables {
    pairs: Vec<(OsString, OsString)>,
    pub(super) entries: Vec<CString>,
}

impl PreparedVariables {
    /// Prepares these variables. One with a NUL, which no environment can hold, is left out.
    pub fn new(pairs: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        use std::os::unix::ffi::OsStringExt;
        let mut prepared = Self { pairs: Vec::new(), entries: Vec::new() };
        for (name, value) in pairs {
            let entry = [name.clone().into_vec(), b"=".to_vec(), value.clone().into_vec()].concat();
            if let Ok(entry) = CString::new(entry) {
                prepared.pairs.push((name, value));
                prepared.entries.push(entry);
            }
        }
        prepared
    }

    /// Name and value of each.
    pub fn pairs(&self) -> &[(OsString, OsString)] {
        &self.pairs
    }

    /// What they take of the space that the system has for arguments and environment together.
    pub fn size_bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.as_bytes_with_nul().len()).sum()
    }
}
