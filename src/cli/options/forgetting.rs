//! What `serve` forgets by itself, and when.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::archive::{Archive, ArchiveError};
use crate::cli::error::CliError;
use crate::engine::retention::policy::{Ages, Policy, Rules};
use crate::model::suggest::closest;
use crate::store::Store;

/// Where help lists these options.
const HEADING: &str = "History";

/// How long what has ended is kept.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)] // its name is the command's own already
pub struct Options {
    /// Delete finished processes this long after their end, such as 90d; those of one type by a rule of its own, such as
    /// nightly=7d or audit=never. May be repeated; several rules in one are separated by commas [default: keep them]
    #[arg(long, value_name = "[TYPE=]TIME", help_heading = HEADING, env = "PROCESS_ORCHESTRATOR_RETENTION",
        hide_env_values = true, allow_hyphen_values = true, value_parser = Rules::parse)]
    pub retention: Vec<Rules>,
    /// Delete the outputs of finished processes this long after their end, such as 7d, and keep all else of their record;
    /// rules as for --retention [default: keep them as long as their processes]
    #[arg(long, value_name = "[TYPE=]TIME", help_heading = HEADING, env = "PROCESS_ORCHESTRATOR_KEEP_OUTPUT",
        hide_env_values = true, allow_hyphen_values = true, value_parser = Rules::parse)]
    pub keep_output: Vec<Rules>,
    /// Before --retention deletes processes, write them to files in this directory: JSON lines, compressed with gzip,
    /// readable for this user alone
    #[arg(long, value_name = "DIR", help_heading = HEADING, env = "PROCESS_ORCHESTRATOR_ARCHIVE", hide_env_values = true)]
    pub archive: Option<PathBuf>,
}

impl Options {
    /// What is forgotten when.
    ///
    /// # Errors
    /// When two rules contradict each other, or there is an archive and nothing to put into it.
    pub fn policy(&self) -> Result<Policy, CliError> {
        let ages = |option: &str, rules: &[Rules]| {
            Ages::of(rules.iter().cloned()).map_err(|problem| CliError::Usage(format!("{option}: {problem}")))
        };
        let processes = ages("--retention", &self.retention)?;
        let policy = Policy { outputs: ages("--keep-output", &self.keep_output)?, processes };
        if let Some(directory) = self.archive.as_deref().filter(|_| policy.processes.is_nothing()) {
            return Err(CliError::Usage(format!(
                "--archive {}: no process is ever deleted, so none is archived; add --retention TIME, such as 90d, or \
                 leave --archive out",
                directory.display()
            )));
        }
        Ok(policy)
    }

    /// Whether the archive can be written, before a node starts that relies on it.
    ///
    /// # Errors
    /// When it can't.
    pub fn check_archive(&self) -> Result<(), CliError> {
        self.archive.as_deref().map_or(Ok(()), |directory| open_archive(directory).map(drop))
    }
}

/// Opens an archive, for `prune` too.
///
/// # Errors
/// When its directory can't be made or written.
pub fn open_archive(directory: &Path) -> Result<Archive, CliError> {
    Ok(Archive::open(directory)?)
}

/// Warns of rules for types that nobody has registered: they may be registered later, or misspelt.
///
/// # Errors
/// When the database fails.
pub fn warn_of_unknown(policy: &Policy, store: &mut Store) -> Result<(), CliError> {
    for (option, ages) in [("--retention", &policy.processes), ("--keep-output", &policy.outputs)] {
        for name in ages.named() {
            if store.process_type(name)?.is_some() {
                continue;
            }
            let known: Vec<String> =
                store.types_page(None, 0, u32::MAX)?.types.into_iter().map(|(it, _)| it.name).collect();
            let hint = closest(name, known.iter().map(String::as_str))
                .map(|meant| format!("; did you mean {meant:?}?"))
                .unwrap_or_default();
            log::warn!("{option} names process type {name:?}, which is not registered{hint}");
        }
    }
    Ok(())
}

impl From<ArchiveError> for CliError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Store(error) => error.into(),
            ArchiveError::File { .. } => Self::Failed(format!("failed to {error}")),
        }
    }
}
