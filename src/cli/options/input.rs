//! What processes are started with: single options, a JSON document, or many documents line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use clap::Args;

use crate::cli::error::CliError;
use crate::model::document::tree::Node;
use crate::model::faults::{Fault, Faults};
use crate::model::input::ProcessInputData;
use crate::model::malformed::malformed;
use crate::model::names::{PROCESS_ID_REMEDY, process_id_problem};
use crate::store::start::StartRequest;

/// PostgreSQL takes no statement beyond 1 GiB; all inputs of one call are one statement.
const INPUTS_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Faulty lines that are told in full; a file in the wrong format has as many as it has lines.
const FAULTY_LINES_MAX: usize = 20;

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
    fn on_top_of(&self, mut base: ProcessInputData) -> ProcessInputData {
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

    /// The inputs of many processes: each line of `path` (`-` is standard input) is the JSON object of one, with
    /// its `process_id` beside the input's own keys if it has one. `required` is what the process type needs.
    ///
    /// # Errors
    /// The faults of the lines, each with file and line.
    pub fn read_lines(&self, path: &str, required: &[String]) -> Result<Vec<StartRequest>, CliError> {
        let (source, reader) = open(path)?;
        self.read_lines_from(reader, &source, required)
    }

    fn read_lines_from(
        &self,
        reader: impl Read,
        source: &str,
        required: &[String],
    ) -> Result<Vec<StartRequest>, CliError> {
        let mut requests = Vec::new();
        let mut faulty: Vec<Faults> = Vec::new();
        let mut reader = BufReader::new(reader.take(INPUTS_BYTES_MAX + 1));
        let (mut line, mut bytes, mut number) = (Vec::new(), 0, 0_usize);
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(|cause| unreadable(source, &cause))?;
            if read == 0 {
                break;
            }
            (bytes, number) = (bytes + read as u64, number + 1);
            if bytes > INPUTS_BYTES_MAX {
                let problem = format!("has more than {} MiB", INPUTS_BYTES_MAX / (1024 * 1024));
                return Err(whole_fault(source, problem, "split it into several files"));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match self.read_line(&line, &format!("{source}:{number}"), required) {
                Ok(request) => requests.push(request),
                Err(faults) => faulty.push(faults),
            }
        }
        if !faulty.is_empty() {
            return Err(CliError::Faults(at_most(faulty, source)));
        }
        if requests.is_empty() {
            return Err(whole_fault(
                source,
                "holds no input",
                "write one JSON object a line, {} for an empty input",
            ));
        }
        Ok(requests)
    }

    fn read_line(&self, line: &[u8], source: &str, required: &[String]) -> Result<StartRequest, Faults> {
        let fault = |path: &str, problem: String, remedy: &str| Faults {
            source: source.to_owned(),
            faults: vec![Fault::new(path, problem, remedy)],
        };
        let line = std::str::from_utf8(line.trim_ascii_end())
            .map_err(|_| fault("", "is not UTF-8".to_owned(), "save the file as UTF-8"))?;
        let mut document: Node = serde_json::from_str(line)
            // The line is the file's, which the message names.
            .map_err(|cause| {
                let (what, remedy) = malformed(&cause);
                let problem = format!("malformed JSON at column {}: {what}", cause.column());
                fault("", problem, &format!("{remedy}; each line is one JSON object"))
            })?;
        let mut ids = Vec::new();
        if let Node::Object(entries) = &mut document {
            ids.extend(entries.extract_if(.., |(key, _)| key == "process_id").map(|(_, id)| id));
        }
        if ids.len() > 1 {
            let problem = "the key \"process_id\" is given twice".to_owned();
            return Err(fault("process_id", problem, "keep one of them"));
        }
        let process_id = match ids.pop() {
            None | Some(Node::Null) => None,
            Some(Node::Text(id)) => Some(id),
            Some(other) => {
                return Err(fault(
                    "process_id",
                    format!("{} is not a text", other.shown()),
                    "quote it, or leave the key out",
                ));
            }
        };
        if let Some(problem) = process_id.as_deref().and_then(process_id_problem) {
            return Err(fault("process_id", problem, PROCESS_ID_REMEDY));
        }
        let input = self.on_top_of(ProcessInputData::from_node(&document, source)?);
        input.validate(source)?;
        let missing: Vec<Fault> = required
            .iter()
            .filter(|name| !has(&input, name))
            .map(|name| {
                Fault::new(name.as_str(), "is missing", format!("add it: the process type needs ${{{name}}}"))
            })
            .collect();
        if missing.is_empty() {
            Ok(StartRequest { input, process_id })
        } else {
            Err(Faults { source: source.to_owned(), faults: missing })
        }
    }
}

/// Whether an input supplies what a process type names as required, such as `config.batch_size`.
fn has(input: &ProcessInputData, name: &str) -> bool {
    let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    match (name, name.split_once('.')) {
        ("input_file", _) => is_given(&input.input_file),
        ("output_dir", _) => is_given(&input.output_dir),
        ("user_id", _) => is_given(&input.user_id),
        (_, Some(("config", key))) => input.config.contains_key(key),
        (_, Some(("metadata", key))) => input.metadata.contains_key(key),
        // A kind of variable that this function does not know is left to the database to judge.
        _ => true,
    }
}

/// The first faulty lines, and how many more there are.
fn at_most(mut faulty: Vec<Faults>, source: &str) -> Vec<Faults> {
    let more = faulty.len().saturating_sub(FAULTY_LINES_MAX);
    if more > 0 {
        faulty.truncate(FAULTY_LINES_MAX);
        let problem = format!("{more} more lines have faults");
        let fault = Fault::new("", problem, "mend these first");
        faulty.push(Faults { source: source.to_owned(), faults: vec![fault] });
    }
    faulty
}

/// The text of a file, or of standard input for `-`, with its name for messages.
fn read_whole(path: &str) -> Result<(String, String), CliError> {
    let (source, reader) = open(path)?;
    let mut bytes = Vec::new();
    reader.take(INPUTS_BYTES_MAX).read_to_end(&mut bytes).map_err(|cause| unreadable(&source, &cause))?;
    let text =
        String::from_utf8(bytes).map_err(|_| whole_fault(&source, "is not UTF-8", "save it as UTF-8"))?;
    Ok((source, text))
}

fn open(path: &str) -> Result<(String, Box<dyn Read>), CliError> {
    if path == "-" {
        return Ok(("standard input".to_owned(), Box::new(std::io::stdin())));
    }
    let file = File::open(Path::new(path)).map_err(|cause| unreadable(path, &cause))?;
    Ok((path.to_owned(), Box::new(file)))
}

fn unreadable(source: &str, cause: &std::io::Error) -> CliError {
    whole_fault(source, format!("can't be read: {cause}"), "check the path and its permissions")
}

fn whole_fault(source: &str, problem: impl Into<String>, remedy: &str) -> CliError {
    CliError::faults(Faults { source: source.to_owned(), faults: vec![Fault::new("", problem, remedy)] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(
        options: &InputOptions,
        text: &str,
        required: &[&str],
    ) -> Result<Vec<StartRequest>, Vec<String>> {
        let required: Vec<String> = required.iter().map(|&name| name.to_owned()).collect();
        options.read_lines_from(text.as_bytes(), "in.jsonl", &required).map_err(|error| {
            assert_eq!(error.exit_code(), 2);
            error.lines()
        })
    }

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
    fn every_line_is_a_process_and_may_name_its_id() {
        let options = InputOptions { user_id: Some("me".to_owned()), ..InputOptions::default() };
        let text = "{\"process_id\": \"p-1\", \"input_file\": \"/a\"}\n\n{\"user_id\": \"you\"}\r\n{}";
        let requests = lines(&options, text, &[]).expect("valid");
        let me = ProcessInputData::new().user_id("me");
        assert_eq!(
            requests,
            [
                StartRequest { input: me.clone().input_file("/a"), process_id: Some("p-1".to_owned()) },
                StartRequest { input: me.clone(), process_id: None },
                StartRequest { input: me, process_id: None },
            ]
        );
    }

    #[test]
    fn faults_name_file_and_line() {
        let text = "{}\n\n{\"input_file\": 7, \"x\": 1}\n{\"process_id\": 5}\nnonsense\n[]\n{\"input_file\": \"a\", \"config\": {\"size\": 1, \"size\": 2}}\n\
            {\"process_id\": \"a\", \"process_id\": \"b\"}\n";
        let faults =
            lines(&InputOptions::default(), text, &["input_file", "config.size"]).expect_err("faulty");
        for (fault, expected) in faults.iter().zip([
            "in.jsonl:1: input_file: is missing; add it: the process type needs ${input_file}",
            "in.jsonl:1: config.size: is missing; add it: the process type needs ${config.size}",
            "in.jsonl:3: input_file: 7 is not a text",
            "in.jsonl:3: x: unknown key",
            "in.jsonl:4: process_id: 5 is not a text; quote it",
            "in.jsonl:5: malformed JSON at column 2: an unknown word; put text in double quotes; only true, false and null \
             go without; each line is one JSON object",
            "in.jsonl:6: an array is not an input",
            "in.jsonl:7: config.size: the key \"size\" is given twice; keep one of them",
            "in.jsonl:8: process_id: the key \"process_id\" is given twice; keep one of them",
        ]) {
            assert!(fault.starts_with(expected), "{fault:?} does not start with {expected:?}");
        }
        assert_eq!(faults.len(), 9);
    }

    #[test]
    fn a_file_in_the_wrong_format_does_not_flood_the_terminal() {
        let faults = lines(&InputOptions::default(), &"x\n".repeat(1_000), &[]).expect_err("faulty");
        assert_eq!(faults.len(), FAULTY_LINES_MAX + 1);
        assert_eq!(faults[FAULTY_LINES_MAX], "in.jsonl: 980 more lines have faults; mend these first");
        let empty = lines(&InputOptions::default(), "\n\n", &[]).expect_err("empty");
        assert_eq!(empty, ["in.jsonl: holds no input; write one JSON object a line, {} for an empty input"]);
    }

    #[test]
    fn pairs_are_split_at_the_first_equals_sign() {
        assert_eq!(parse_pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(parse_pair("a="), Ok(("a".to_owned(), String::new())));
        assert!(parse_pair("=b").is_err());
        assert!(parse_pair("ab").is_err());
    }
}
