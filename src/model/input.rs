//! What a process is started with.

use std::collections::BTreeMap;

use serde::Serialize;

/// The input of one process. Configuration and metadata are pairs of text.
///
/// ```
/// use process_orchestrator::ProcessInputData;
///
/// let input = ProcessInputData::new()
///     .input_file("/data/sample_input.json")
///     .output_dir("/data/output")
///     .user_id("user123")
///     .add_config("batch_size", "100")
///     .add_metadata("source_system", "legacy_database");
/// assert_eq!(input.config["batch_size"], "100");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProcessInputData {
    /// `${input_file}` in commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_file: Option<String>,
    /// `${output_dir}` in commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_dir: Option<String>,
    /// `${user_id}` in commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// `${config.key}` in commands.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// `${metadata.key}` in commands.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl ProcessInputData {
    /// An empty input.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the source file's path.
    #[must_use]
    pub fn input_file(mut self, path: impl Into<String>) -> Self {
        self.input_file = Some(path.into());
        self
    }

    /// Sets the path of the directory for results.
    #[must_use]
    pub fn output_dir(mut self, path: impl Into<String>) -> Self {
        self.output_dir = Some(path.into());
        self
    }

    /// Sets the user the process runs for.
    #[must_use]
    pub fn user_id(mut self, id: impl Into<String>) -> Self {
        self.user_id = Some(id.into());
        self
    }

    /// Adds a configuration value.
    #[must_use]
    pub fn add_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Adds a metadata value.
    #[must_use]
    pub fn add_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }
}
