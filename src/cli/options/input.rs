//! What a process is started with: single options, or a JSON document.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;

use clap::Args;

use crate::cli::error::CliError;
use crate::model::faults::{Fault, Faults};
use crate::model::input::{INPUT_BYTES_MAX, ProcessInputData};

/// Where help lists the options of this file.
const HEADING: &str = "Input";

/// The input of one process, as options. Their values may begin with a dash, as everything that commands take.
#[derive(Debug, Default, Args)]
pub struct InputOptions {
    /// The source file: ${input_file} in commands
    #[arg(long, value_name = "FILE", help_heading = HEADING, allow_hyphen_values = true)]
    pub input_file: Option<String>,
    /// The directory for results: ${output_dir} in commands
    #[arg(long, value_name = "DIR", help_heading = HEADING, allow_hyphen_values = true)]
    pub output_dir: Option<String>,
    /// Whom the process runs for: ${user_id} in commands
    #[arg(long, value_name = "ID", help_heading = HEADING, allow_hyphen_values = true)]
    pub user_id: Option<String>,
    /// A configuration value: ${config.KEY} in commands; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = HEADING, value_parser = parse_pair, allow_hyphen_values = true)]
    pub config: Vec<(String, String)>,
    /// A metadata value: ${metadata.KEY} in commands; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = HEADING, value_parser = parse_pair, allow_hyphen_values = true)]
    pub metadata: Vec<(String, String)>,
    /// The whole input as JSON, as @FILE, or as @- for standard input; the single options win over it
    #[arg(long, value_name = "JSON|@FILE|@-", help_heading = HEADING)]
    pub input: Option<String>,
}

/// Reads `KEY=VALUE`.
pub fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

impl InputOptions {
    /// The input of one process: the document of `--input` with the single options on top.
    ///
    /// # Errors
    /// All faults of the input.
    pub fn read(&self) -> Result<ProcessInputData, CliError> {
        let base = match self.input.as_deref() {
            None => ProcessInputData::new(),
            Some(text) => {
                let (source, text) = match text.strip_prefix('@') {
                    None => ("--input".to_owned(), text.to_owned()),
                    Some(path) => read_whole(path)?,
                };
                ProcessInputData::from_json(&text, &source).map_err(CliError::faults)?
            }
        };
        let input = self.on_top_of(base);
        input.validate("input").map_err(CliError::faults)?;
        Ok(input)
    }

    /// `base` with the single options in the place of what it says.
    pub(super) fn on_top_of(&self, mut base: ProcessInputData) -> ProcessInputData {
        for (option, field) in [
            (&self.input_file, &mut base.input_file),
            (&self.output_dir, &mut base.output_dir),
            (&self.user_id, &mut base.user_id),
        ] {
            if option.is_some() {
                field.clone_from(option);
            }
        }
        base.config.extend(self.config.iter().cloned());
        base.metadata.extend(self.metadata.iter().cloned());
        base
    }
}

/// The text of a file, or of standard input for `-`, with its name for messages.
pub(in crate::cli) fn read_whole(path: &str) -> Result<(String, String), CliError> {
    let (source, reader) = open(path)?;
    let mut bytes = Vec::new();
    let most = INPUT_BYTES_MAX as u64 + 1;
    reader.take(most).read_to_end(&mut bytes).map_err(|cause| unreadable(&source, &cause))?;
    if bytes.len() > INPUT_BYTES_MAX {
        let problem =
            format!("has more than {INPUT_BYTES_MAX} bytes (1 MiB), the most that an input may have");
        return Err(whole_fault(&source, problem, "put the data in a file and pass its path"));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| whole_fault(&source, "is not UTF-8", "save it as UTF-8"))?;
    Ok((source, text))
}

/// A file, or standard input for `-`, with its name for messages.
pub(super) fn open(path: &str) -> Result<(String, File), CliError> {
    if path == "-" {
        let source = "standard input".to_owned();
        let file = std::io::stdin().as_fd().try_clone_to_owned().map(File::from);
        return file.map_err(|cause| unreadable(&source, &cause)).map(|file| (source, file));
    }
    let file = File::open(Path::new(path)).map_err(|cause| unreadable(path, &cause))?;
    Ok((path.to_owned(), file))
}

pub(super) fn unreadable(source: &str, cause: &std::io::Error) -> CliError {
    whole_fault(source, format!("can't be read: {cause}"), "check the path and its permissions")
}

pub(super) fn whole_fault(source: &str, problem: impl Into<String>, remedy: &str) -> CliError {
    CliError::faults(Faults { source: source.to_owned(), faults: vec![Fault::new("", problem, remedy)] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_options_win_over_the_document() {
        let options = InputOptions {
            input_file: Some("/mine".to_owned()),
            config: vec![("a".to_owned(), "1".to_owned())],
            input: Some(
                r#"{"input_file": "/theirs", "user_id": "u", "config": {"a": 0, "b": 2}}"#.to_owned(),
            ),
            ..InputOptions::default()
        };
        let expected = ProcessInputData::new()
            .input_file("/mine")
            .user_id("u")
            .add_config("a", "1")
            .add_config("b", "2");
        assert_eq!(options.read().expect("valid"), expected);
    }

    #[test]
    fn a_faulty_document_and_a_faulty_option_are_told() {
        let read = |options: InputOptions| options.read().expect_err("faulty").lines();
        let document = InputOptions { input: Some("{\"colour\": 1}".to_owned()), ..InputOptions::default() };
        assert!(read(document)[0].starts_with("--input: colour: unknown key"));
        let option = InputOptions { user_id: Some("a\0b".to_owned()), ..InputOptions::default() };
        assert!(read(option)[0].starts_with("input: user_id: \"a\\0b\" holds a NUL"));
        let file = InputOptions { input: Some("@/no/such/file".to_owned()), ..InputOptions::default() };
        assert!(read(file)[0].starts_with("/no/such/file: can't be read: No such file"));
    }

    #[test]
    fn a_file_of_more_than_an_input_may_have_is_not_read_whole() {
        let endless = InputOptions { input: Some("@/dev/zero".to_owned()), ..InputOptions::default() };
        let told = endless.read().expect_err("too large").lines();
        let expected = "/dev/zero: has more than 1048576 bytes (1 MiB), the most that an input may have; put the data in a \
                        file and pass its path";
        assert_eq!(told, [expected]);
    }

    #[test]
    fn pairs_are_split_at_the_first_equals_sign() {
        assert_eq!(parse_pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(parse_pair("a="), Ok(("a".to_owned(), String::new())));
        assert!(parse_pair("=b").is_err());
        assert!(parse_pair("ab").is_err());
    }
}
