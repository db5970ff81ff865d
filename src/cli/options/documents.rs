//! Process types from files and directories, with the faults of all of them at once.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cli::error::CliError;
use crate::model::faults::{Fault, Faults};
use crate::model::process_type::ProcessType;

/// A process type of a thousand tasks has some hundred kilobytes; beyond this it is some other file.
const DOCUMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One file and what came of it.
#[derive(Debug)]
pub struct Document {
    /// The file, as messages name it.
    pub source: String,
    /// The process type, or everything that is wrong with it.
    pub result: Result<ProcessType, Faults>,
    /// What it was to releases that did not ask whether it can mean what it says, where that is all that is wrong.
    pub formerly: Option<ProcessType>,
}

/// Reads process types: a file is one, a directory holds them as `*.json`.
///
/// # Errors
/// All faults of all files.
pub fn load(paths: &[PathBuf]) -> Result<Vec<ProcessType>, CliError> {
    all_or_faults(read(paths))
}

/// The process types of these documents.
///
/// # Errors
/// All faults of all of them.
pub fn all_or_faults(documents: Vec<Document>) -> Result<Vec<ProcessType>, CliError> {
    let (types, faults): (Vec<_>, Vec<_>) =
        documents.into_iter().map(|it| it.result).partition(Result::is_ok);
    if faults.is_empty() {
        return Ok(types.into_iter().filter_map(Result::ok).collect());
    }
    Err(CliError::Faults(faults.into_iter().filter_map(Result::err).collect()))
}

/// Reads them one by one; two of the same name are a fault of the later one.
pub fn read(paths: &[PathBuf]) -> Vec<Document> {
    let mut documents: Vec<Document> = Vec::new();
    for path in paths {
        for found in files(path) {
            let (source, (mut result, formerly)) = match found {
                Ok(file) => (file.display().to_string(), read_file(&file)),
                Err(faults) => (faults.source.clone(), (Err(faults), None)),
            };
            let name = result.as_ref().map(|it| it.name.clone()).unwrap_or_default();
            let earlier =
                documents.iter().find(|it| it.result.as_ref().is_ok_and(|other| other.name == name));
            if let (Ok(_), Some(earlier)) = (&result, earlier) {
                let problem = format!("{} holds a process type named {name:?} already", earlier.source);
                result = Err(fault(&source, "name", problem, "give each process type its own name"));
            }
            documents.push(Document { source, result, formerly });
        }
    }
    documents
}

/// Whether an argument means a file rather than the name of a process type.
pub fn is_file_like(argument: &str) -> bool {
    argument.ends_with(".json")
        || (argument.contains(std::path::MAIN_SEPARATOR) && Path::new(argument).exists())
}

fn files(path: &Path) -> Vec<Result<PathBuf, Faults>> {
    if !path.is_dir() {
        return vec![Ok(path.to_owned())];
    }
    let source = path.display().to_string();
    let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut files: Vec<PathBuf> = match entries {
        Ok(entries) => entries.iter().map(fs::DirEntry::path).collect(),
        Err(cause) => {
            return vec![Err(fault(
                &source,
                "",
                format!("can't be listed: {cause}"),
                "check its permissions",
            ))];
        }
    };
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    if files.is_empty() {
        let remedy = "name a file, or a directory that holds process types";
        return vec![Err(fault(&source, "", "holds no file named *.json", remedy))];
    }
    files.sort();
    files.into_iter().map(Ok).collect()
}

fn read_file(path: &Path) -> (Result<ProcessType, Faults>, Option<ProcessType>) {
    let source = path.display().to_string();
    let text = match read_text(path) {
        Ok(text) => text,
        Err((problem, remedy)) => return (Err(fault(&source, "", problem, remedy)), None),
    };
    let result = ProcessType::from_json(&text, &source);
    let formerly = || ProcessType::from_stored(&serde_json::from_str(&text).ok()?, &source).ok();
    let formerly = if result.is_err() { formerly() } else { None };
    (result, formerly)
}

/// The text of a file, or what is wrong with it and what to do.
fn read_text(path: &Path) -> Result<String, (String, &'static str)> {
    let unreadable =
        |cause: std::io::Error| (format!("can't be read: {cause}"), "check the path and its permissions");
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    file.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        let problem = format!("has more than {} MiB", DOCUMENT_BYTES_MAX / (1024 * 1024));
        return Err((problem, "name the JSON document of a process type"));
    }
    String::from_utf8(bytes).map_err(|cause| {
        let at = cause.utf8_error().valid_up_to();
        let line = cause.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
        (format!("is not UTF-8 at line {line}"), "save it as UTF-8")
    })
}

fn fault(source: &str, path: &str, problem: impl Into<String>, remedy: &str) -> Faults {
    Faults { source: source.to_owned(), faults: vec![Fault::new(path, problem, remedy)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(files: &[(&str, &[u8])]) -> Self {
            let path =
                std::env::temp_dir().join(format!("process-orchestrator-documents-{:x}", fastrand::u64(..)));
            fs::create_dir(&path).expect("a folder");
            for (name, content) in files {
                fs::write(path.join(name), content).expect("a file");
            }
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).expect("removed");
        }
    }

    fn messages(paths: &[PathBuf], folder: &Folder) -> Vec<String> {
        let error = load(paths).expect_err("faults");
        assert_eq!(error.exit_code(), 2);
        let folder = format!("{}/", folder.0.display());
        error.lines().iter().map(|line| line.replace(&folder, "")).collect()
    }

    #[test]
    fn a_directory_is_all_its_json_files_in_the_order_of_their_names() {
        let folder = Folder::new(&[
            ("b.json", br#"{"name": "two", "tasks": [{"name": "t", "command": "true"}]}"#),
            ("a.json", br#"{"name": "one", "tasks": [{"name": "t", "command": "true"}]}"#),
            ("notes.txt", b"no process type"),
        ]);
        let types = load(std::slice::from_ref(&folder.0)).expect("valid");
        assert_eq!(types.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn the_faults_of_all_files_are_told_at_once() {
        let valid = br#"{"name": "one", "tasks": [{"name": "t", "command": "true"}]}"#;
        let folder = Folder::new(&[
            ("a.json", valid),
            ("b.json", valid),
            ("c.json", b"{}"),
            ("d.json", b"{\n\"name\": \"\xff\"}"),
            ("e.json", b"{\"name\": }"),
        ]);
        let lines = messages(&[folder.0.clone(), folder.0.join("none.json")], &folder);
        assert_eq!(
            lines[0],
            "b.json: name: a.json holds a process type named \"one\" already; give each process type its own name"
        );
        assert!(lines[1].starts_with("c.json: name: is missing"), "{lines:#?}");
        assert!(lines[2].starts_with("c.json: tasks: is missing"), "{lines:#?}");
        assert_eq!(lines[3], "d.json: is not UTF-8 at line 2; save it as UTF-8");
        assert!(lines[4].starts_with("e.json: malformed JSON at line 1, column 10"), "{lines:#?}");
        assert!(lines[5].starts_with("none.json: can't be read: No such file"), "{lines:#?}");
    }

    #[test]
    fn an_empty_directory_is_a_fault() {
        let folder = Folder::new(&[]);
        let lines = messages(std::slice::from_ref(&folder.0), &folder);
        assert!(
            lines[0].ends_with(
                "holds no file named *.json; name a file, or a directory that holds process types"
            ),
            "{lines:?}"
        );
    }

    #[test]
    fn files_are_told_from_names() {
        assert!(is_file_like("pipeline.json"));
        assert!(is_file_like("./src"));
        assert!(!is_file_like("data-processing-pipeline"));
        assert!(!is_file_like("team/nightly"));
    }
}
