//! What is wrong with a document: every fault at once, each with its place, value and remedy.

use std::fmt;

/// One fault of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands, such as `tasks[2].timeout_minutes`; empty for the document as a whole.
    pub path: String,
    /// What is wrong and the value that is there, such as `-5 is not a positive number`.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

/// All the faults of one document, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// The file or other place the document came from.
    pub source: String,
    /// In the order of the document.
    pub faults: Vec<Fault>,
}

impl Fault {
    /// A fault at `path`.
    pub fn new(path: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}: {fault}", self.source)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
