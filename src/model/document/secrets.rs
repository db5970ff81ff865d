//! What a process type would have stored although it looks like a secret.

use super::reader::path;
use crate::model::faults::Fault;
use crate::model::process_type::{ProcessType, TaskDefinition};
use crate::model::template::variables;

/// Parts of names of what nobody else is to read.
const PARTS: [&str; 7] = ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "APIKEY"];
/// Words that stand alone in such names.
const WORDS: [&str; 4] = ["KEY", "KEYS", "PWD", "PASS"];

const READABLE: &str = "whoever reads the database or reaches the status endpoint can read it";

/// What looks like a secret and is stored, each with its place: no fault, but somebody may not have meant it.
///
/// ```
/// use process_orchestrator::model::document::secrets::stored_secrets;
/// use process_orchestrator::{ProcessType, TaskDefinition};
///
/// let mut task = TaskDefinition::new("load", "load-orders");
/// task.environment.insert("API_TOKEN".to_owned(), "abc".to_owned());
/// let notes = stored_secrets(&ProcessType::new("nightly", "").add(task));
/// assert_eq!(notes[0].path, "tasks[0].environment.API_TOKEN");
/// ```
pub fn stored_secrets(process_type: &ProcessType) -> Vec<Fault> {
    process_type
        .tasks
        .iter()
        .enumerate()
        .flat_map(|(index, task)| of_task(&format!("tasks[{index}]"), task))
        .collect()
}

fn of_task(at: &str, task: &TaskDefinition) -> Vec<Fault> {
    let mut notes = Vec::new();
    let mut note = |at: String, name: &str, what: &str, remedy: &str| {
        notes.push(Fault::new(at, format!("{name} looks like a secret, and {what}: {READABLE}"), remedy));
    };
    let command = variables(&task.command);
    for name in command.iter().filter(|name| name.starts_with("env.") && is_secret_like(name)) {
        let remedy =
            "put it into environment, whose values are not recorded, and have the command read it there";
        note(
            format!("{at}.command"),
            &format!("${{{name}}}"),
            "its value is recorded with the command",
            remedy,
        );
    }
    let of_input = |names: &[String], at: &str, note: &mut dyn FnMut(String, &str, &str, &str)| {
        for name in names.iter().filter(|it| it.starts_with("config.") || it.starts_with("metadata.")) {
            if is_secret_like(name) {
                let remedy = "have the command read a file, or write ${env.NAME} in environment for a variable of the node";
                note(at.to_owned(), &format!("${{{name}}}"), "the input is stored with each process", remedy);
            }
        }
    };
    of_input(&command, &format!("{at}.command"), &mut note);
    for (name, value) in &task.environment {
        let at = path(&format!("{at}.environment"), name);
        let names = variables(value);
        of_input(&names, &at, &mut note);
        if is_secret_like(name) && names.is_empty() && !value.is_empty() {
            let remedy =
                format!("write ${{env.{name}}} for the node's own variable, or have the command read a file");
            note(at, name, "its value is stored with the process type", &remedy);
        }
    }
    notes
}

/// Whether a name looks like that of a secret: `API_TOKEN`, `config.db.password`, `PGPASSWORD`, `ssh-key`.
fn is_secret_like(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    // PWD alone is a directory.
    PARTS.iter().any(|part| name.contains(part)) || name != "PWD" && words.any(|word| WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_and_looks_like_a_secret_is_noted_with_the_remedy() {
        let environment = [
            ("API_TOKEN", "abc"),
            ("PGPASSWORD", "${env.WAREHOUSE_PASSWORD}"),
            ("SSH_KEY", "${config.key:-none}"),
            ("PWD", "/x"),
            ("KEYBOARD", "de"),
            ("EMPTY_SECRET", ""),
        ];
        let task = TaskDefinition {
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..TaskDefinition::new(
                "a",
                "load ${config.db.password} ${env.API_KEY} ${config.day} ${processContext.token}",
            )
        };
        let notes =
            stored_secrets(&ProcessType::new("p", "").add(TaskDefinition::new("b", "true")).add(task));
        let shown: Vec<String> = notes.iter().map(ToString::to_string).collect();
        let expected = [
            "tasks[1].command: ${env.API_KEY} looks like a secret, and its value is recorded with the command: ",
            "tasks[1].command: ${config.db.password} looks like a secret, and the input is stored with each process: ",
            "tasks[1].environment.API_TOKEN: API_TOKEN looks like a secret, and its value is stored with the process type: \
             whoever reads the database or reaches the status endpoint can read it; write ${env.API_TOKEN} for the node's own \
             variable, or have the command read a file",
            "tasks[1].environment.SSH_KEY: ${config.key} looks like a secret, and the input is stored with each process: ",
        ];
        assert_eq!(shown.len(), expected.len(), "{shown:#?}");
        for (shown, expected) in shown.iter().zip(expected) {
            assert!(shown.starts_with(expected), "{shown}");
        }
    }
}
