//! From a task and its variables to the command that is run.

use std::path::PathBuf;

use super::runner::Work;
use crate::command::{self, Interrupt, Invocation, Lasting, Live};
use crate::model::shell::is_made_variable;
use crate::model::template::{RenderError, Scope, render_script, render_text, render_words};

/// Bytes of a resolved command that the audit trail keeps.
const COMMAND_BYTES_MAX: usize = 64 * 1024;

/// A task's command with its variables substituted.
pub(super) struct Resolved {
    argv: Vec<String>,
    working_directory: Option<PathBuf>,
    /// The task's own environment.
    environment: Vec<(String, String)>,
    /// What a script's variables stand for.
    script_variables: Vec<(String, String)>,
    /// Those names in `environment` that stand for the variables of another shell's script.
    made_names: Vec<String>,
}

pub(super) fn resolve(work: &Work) -> Result<Resolved, RenderError> {
    let Work { claim, task, .. } = work;
    let scope = Scope {
        process_id: &claim.process_id,
        process_type: &claim.process_type,
        task_name: &task.name,
        input: &claim.input,
        context: &claim.context,
        env: command::variable_of_node,
    };
    let (argv, script_variables) = if task.shell {
        let (script, variables) = render_script(&task.command, &scope)?;
        // The system's, whatever is in the task's PATH.
        (vec!["/bin/sh".to_owned(), "-c".to_owned(), script], variables)
    } else {
        (render_words(&task.command, &scope)?, Vec::new())
    };
    let environment = task
        .environment
        .iter()
        .map(|(name, value)| Ok((name.clone(), render_text(value, &scope)?)))
        .collect::<Result<_, RenderError>>()?;
    let script = argv.last().filter(|_| !task.shell);
    let is_made = |(name, template): &(&String, &String)| {
        script.is_some_and(|script| is_made_variable(name, template, script))
    };
    let made_names = task.environment.iter().filter(is_made).map(|(name, _)| name.clone()).collect();
    let working_directory = match &task.working_directory {
        Some(text) => Some(PathBuf::from(render_text(text, &scope)?)),
        None => None,
    };
    Ok(Resolved { argv, working_directory, environment, script_variables, made_names })
}

impl Resolved {
    pub(super) fn invocation<'a>(
        self,
        work: &Work,
        interrupt: &'a Interrupt,
        live: &'a Live,
        lasting: Lasting<'a>,
    ) -> Invocation<'a> {
        let Work { claim, task, .. } = work;
        let mut environment = self.environment;
        environment.extend([
            ("PROCESS_ID".to_owned(), claim.process_id.to_string()),
            ("PROCESS_TYPE".to_owned(), claim.process_type.to_string()),
            ("TASK_NAME".to_owned(), task.name.clone()),
            ("TASK_INDEX".to_owned(), task.index.to_string()),
            ("TASK_ATTEMPT".to_owned(), task.attempt.to_string()),
        ]);
        // Last, so that no setting of the task's takes the place of what the script refers to.
        environment.extend(self.script_variables);
        Invocation {
            argv: self.argv,
            working_directory: self.working_directory,
            environment,
            timeout: task.timeout,
            grace: command::GRACE,
            max_output_bytes: task.max_output_bytes,
            leftovers: task.leftovers,
            context_file: true,
            interrupt,
            live: Some(live),
            lasting: Some(lasting),
        }
    }
}

/// A line that a shell would run just so: the variables of a script come first, which for other shells than sh stand in
/// the environment. The rest of the environment may hold secrets, whatever its names begin with, and is not shown.
pub(super) fn shown_command(resolved: &Resolved) -> String {
    let mut line = String::new();
    let of_other_shells = resolved.environment.iter().filter(|(name, _)| resolved.made_names.contains(name));
    for (name, value) in of_other_shells.chain(&resolved.script_variables) {
        line.push_str(name);
        line.push('=');
        line.push_str(&shell_words::quote(value));
        line.push(' ');
    }
    line.push_str(&shell_words::join(&resolved.argv));
    if line.len() > COMMAND_BYTES_MAX {
        let end = (0..=COMMAND_BYTES_MAX).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
        let left_out = line.len() - end;
        line.truncate(end);
        line.push_str(&format!(" … ({left_out} bytes left out)"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::run::runner::sample;
    use crate::model::process_type::TaskDefinition;
    use crate::model::shell::words_of_script;

    #[test]
    fn only_what_a_script_refers_to_is_shown_with_it() {
        let own = [
            ("PO_API_KEY", "s3cret-1"),
            ("PO_ENV_TOKEN", "s3cret-2"),
            ("PO_CONFIG_KEY", "s3cret-3 ${process_id}"),
            ("PO_TASK_NAME", "${task_name}"),
            ("PO_USER_KEY", "${process_type}"),
        ];
        let definition = TaskDefinition {
            shell: true,
            shell_command: vec!["bash".to_owned(), "-c".to_owned()],
            environment: own.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..TaskDefinition::new(
                "a",
                "curl -H $PO_API_KEY $${PO_ENV_TOKEN} $${PO_CONFIG_KEY} ${process_id} $${PO_USER_KEY}",
            )
        };
        let mut work = sample::work(0);
        (work.task.command, work.task.environment) = words_of_script(&definition).unwrap();
        let shown = shown_command(&resolve(&work).unwrap());
        assert!(shown.starts_with("PO_PROCESS_ID=p-1 bash -c "), "{shown}");
        assert!(!shown.contains("s3cret") && !shown.contains("PO_USER_KEY="), "{shown}");
    }
}
