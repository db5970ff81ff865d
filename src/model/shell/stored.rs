//! A script that another program than `sh -c` runs, as the tables have it.

use std::collections::{BTreeMap, HashMap};

use crate::model::process_type::TaskDefinition;
use crate::model::template::{Names, Part, pieces};

/// The command and the environment that run the task's script by its shell; nothing for a task that `sh -c` or no shell
/// runs. Nodes need not know of other shells than `sh`: to them, those of older releases included, it is an ordinary
/// command, whose variables stand in its environment.
///
/// ```
/// use process_orchestrator::{ProcessType, model::shell::words_of_script};
///
/// let document = r#"{"name": "p", "tasks": [
///     {"name": "a", "shell": ["bash", "-eu", "-c"], "command": "sort \"${input_file}\" | uniq"}]}"#;
/// let process_type = ProcessType::from_json(document, "p.json")?;
/// let (command, environment) = words_of_script(&process_type.tasks[0]).expect("another shell");
/// assert_eq!(command, r#"bash -eu -c 'sort "$${PO_INPUT_FILE}" | uniq'"#);
/// assert_eq!(environment["PO_INPUT_FILE"], "${input_file}");
/// # Ok::<(), process_orchestrator::Faults>(())
/// ```
pub fn words_of_script(task: &TaskDefinition) -> Option<(String, BTreeMap<String, String>)> {
    let (shell, arguments) = task.shell_command.split_first().filter(|_| task.shell)?;
    // As for `"shell": true`, it is the system's, whatever the task's PATH.
    let shell = if shell == "sh" { "/bin/sh" } else { shell };
    let (script, variables) = with_references(&task.command);
    let words = [shell].into_iter().chain(arguments.iter().map(String::as_str)).chain([script.as_str()]);
    let mut environment = task.environment.clone();
    environment.extend(variables);
    Some((shell_words::join(words), environment))
}

/// Whether [`words_of_script`] has put this variable into the environment of a task whose command ends in `script`, and
/// not whoever wrote the task: its name has the form, its value is one variable, and the script refers to it.
pub fn is_made_variable(name: &str, template: &str, script: &str) -> bool {
    const FORMS: [&str; 10] = [
        "PO_CONFIG_",
        "PO_METADATA_",
        "PO_PROCESS_CONTEXT_",
        "PO_ENV_",
        "PO_INPUT_FILE",
        "PO_OUTPUT_DIR",
        "PO_USER_ID",
        "PO_PROCESS_ID",
        "PO_PROCESS_TYPE",
        "PO_TASK_NAME",
    ];
    let mut parts = pieces(template);
    FORMS.iter().any(|form| name.starts_with(form))
        && matches!((parts.next(), parts.next()), (Some((_, Ok(Part::Variable { .. }))), None))
        && script.contains(&format!("${{{name}}}"))
}

/// The names of the environment variables that a script's variables become.
pub fn names_in_script(script: &str) -> Vec<String> {
    with_references(script).1.into_iter().map(|(name, _)| name).collect()
}

/// The script with references in the place of variables, and what those refer to. It is still to be read as a template.
fn with_references(script: &str) -> (String, Vec<(String, String)>) {
    let mut text = String::with_capacity(script.len());
    let mut variables: Vec<(String, String)> = Vec::new();
    let (mut names, mut known) = (Names::default(), HashMap::new());
    for (piece, part) in pieces(script) {
        let Ok(Part::Variable { variable, .. }) = part else {
            text.push_str(piece);
            continue;
        };
        let name = known.entry(piece).or_insert_with(|| {
            let name = names.free(variable);
            variables.push((name.clone(), piece.to_owned()));
            name
        });
        text.push_str(&format!("$${{{name}}}"));
    }
    (text, variables)
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::model::input::ProcessInputData;
    use crate::model::template::{Scope, render_script, render_text, render_words};

    #[test]
    fn what_is_stored_runs_as_a_script_of_sh_does() {
        let script = "echo \"${config.a}\" $HOME $${HOME:-/} x$$${HOME} '$1' ${config.a:-x} ${config.A:-y z} ${config.a}";
        let task = TaskDefinition {
            shell: true,
            shell_command: vec!["bash".to_owned(), "-c".to_owned()],
            environment: [("LANG".to_owned(), "C".to_owned())].into(),
            ..TaskDefinition::new("a", script)
        };
        let (command, environment) = words_of_script(&task).unwrap();
        let input = ProcessInputData::new().add_config("a", "${user_id} '\"; $(id)");
        let scope = Scope {
            process_id: "p-1",
            process_type: "p",
            task_name: "a",
            input: &input,
            context: &Map::new(),
            env: |_| None,
        };
        let words = render_words(&command, &scope).unwrap();
        assert_eq!(words[..2], ["bash", "-c"]);
        assert_eq!(
            words[2],
            "echo \"${PO_CONFIG_A}\" $HOME ${HOME:-/} x$${HOME} '$1' ${PO_CONFIG_A_2} ${PO_CONFIG_A_3} ${PO_CONFIG_A}"
        );
        let value = |name: &str| render_text(&environment[name], &scope).unwrap();
        let (_, expected) = render_script(script, &scope).unwrap();
        assert_eq!(value("PO_CONFIG_A"), expected[0].1);
        assert_eq!(
            (value("PO_CONFIG_A_2"), value("PO_CONFIG_A_3")),
            (expected[0].1.clone(), "y z".to_owned())
        );
        assert_eq!((value("LANG").as_str(), environment.len()), ("C", 4));
    }

    #[test]
    fn many_defaults_of_one_key_cost_no_time() {
        let begin = std::time::Instant::now();
        let script: String = (0..20_000).map(|n| format!("${{config.a:-{n}}}")).collect();
        let names = names_in_script(&script);
        assert_eq!((names.len(), names[19_999].as_str()), (20_000, "PO_CONFIG_A_20000"));
        let input = ProcessInputData::new();
        let context = Map::new();
        let scope = Scope {
            process_id: "p-1",
            process_type: "p",
            task_name: "a",
            input: &input,
            context: &context,
            env: |_| None,
        };
        assert_eq!(render_script(&script, &scope).unwrap().1.len(), 20_000);
        assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
    }

    #[test]
    fn only_another_shell_is_stored_otherwise() {
        let mut task = TaskDefinition::new("a", "echo");
        assert_eq!(words_of_script(&task), None);
        task.shell = true;
        assert_eq!(words_of_script(&task), None);
        task.shell_command = vec!["sh".to_owned(), "-eu".to_owned(), "-c".to_owned()];
        assert_eq!(words_of_script(&task).unwrap().0, "/bin/sh -eu -c echo");
    }
}
