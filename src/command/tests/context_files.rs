//! What commands pass on through `$PROCESS_CONTEXT_FILE`.

use super::*;
use crate::model::lifecycle::Outcome;
use serde_json::{Value, json};

fn pass_on(runner: &mut Runner, script: &str) -> Report {
    run_on(runner, &["sh", "-c", script], |it| it.context_file = true)
}

#[test]
fn values_are_read_and_the_file_is_gone() {
    let mut runner = runner();
    let report = pass_on(&mut runner, "echo rows=12 > $PROCESS_CONTEXT_FILE; echo $PROCESS_CONTEXT_FILE");
    assert_eq!(Value::Object(report.context.clone()), json!({"rows": "12"}), "{report:?}");
    let path = report.output.unwrap().trim_end().to_owned();
    assert!(!Path::new(&path).exists(), "{path} is still there");

    let report =
        pass_on(&mut runner, "cat $PROCESS_CONTEXT_FILE; echo '{\"rows\": 12}' > $PROCESS_CONTEXT_FILE");
    assert_eq!(Value::Object(report.context.clone()), json!({"rows": 12}), "{report:?}");

    let directory = Path::new(&path).parent().unwrap().to_owned();
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = directory.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", directory.display());
    }
    drop(runner);
    assert!(!directory.exists(), "{} outlives the orchestrator", directory.display());
}

#[test]
fn nothing_written_is_nothing_passed_on() {
    let report = pass_on(&mut runner(), "true");
    assert_eq!((report.outcome, report.context.len()), (Outcome::Succeeded, 0), "{report:?}");
    let report = run_sh("echo ${PROCESS_CONTEXT_FILE-none}", |_| {});
    assert_eq!(report.output.as_deref(), Some("none\n"), "not asked for, not given");
}

#[test]
fn values_of_a_failed_command_do_not_count() {
    let mut runner = runner();
    let report =
        pass_on(&mut runner, "echo rows=12 > $PROCESS_CONTEXT_FILE; echo $PROCESS_CONTEXT_FILE; exit 4");
    assert_eq!((report.exit_code, report.context.len()), (Some(4), 0), "{report:?}");
    let path = report.output.unwrap().trim_end().to_owned();
    assert!(!Path::new(&path).exists(), "{path} is still there");
}

#[test]
fn a_bad_file_fails_the_task_for_good() {
    for (script, part) in [
        ("echo rows > $PROCESS_CONTEXT_FILE", "has neither `=` nor `<<` in line 1: \"rows\""),
        ("echo '{\"rows\"}' > $PROCESS_CONTEXT_FILE", "is no JSON object"),
        ("head -c 300000 /dev/zero > $PROCESS_CONTEXT_FILE", "is too big: more than the 256 KiB"),
        ("printf '\\377' > $PROCESS_CONTEXT_FILE", "is not UTF-8"),
        ("mkfifo $PROCESS_CONTEXT_FILE", "is not a regular file"),
        ("mkdir $PROCESS_CONTEXT_FILE", "is not a regular file"),
        ("ln -s /dev/zero $PROCESS_CONTEXT_FILE", "can't be read"),
    ] {
        let report = pass_on(&mut runner(), script);
        let message = report.error_message.clone().unwrap_or_default();
        assert_eq!(
            (report.outcome, report.fatal, report.exit_code),
            (Outcome::Failed, true, Some(0)),
            "{script}: {report:?}"
        );
        assert!(message.contains(part) && message.contains("$PROCESS_CONTEXT_FILE"), "{script}: {message}");
        assert!(report.context.is_empty(), "{script}");
    }
}

#[test]
fn a_late_child_of_one_command_can_not_write_into_the_file_of_another() {
    let folder = Folder::new();
    let (go, gone) = (folder.pipe("go"), folder.pipe("gone"));
    let mut runner = runner();
    let script = format!(
        "(read word < {}; echo late=1 > $PROCESS_CONTEXT_FILE; echo gone > {}) &",
        go.display(),
        gone.display()
    );
    let report = pass_on(&mut runner, &script);
    assert_eq!((report.outcome, report.context.len()), (Outcome::Succeeded, 0), "{report:?}");
    let script = format!("echo go > {}; read word < {}", go.display(), gone.display());
    let report = pass_on(&mut runner, &script);
    assert_eq!((report.outcome, report.context.len()), (Outcome::Succeeded, 0), "{report:?}");
}

#[test]
fn a_directory_that_somebody_has_removed_is_made_anew() {
    let mut runner = runner();
    let script = "echo rows=12 > $PROCESS_CONTEXT_FILE; echo $PROCESS_CONTEXT_FILE";
    let path = pass_on(&mut runner, script).output.unwrap();
    let directory = Path::new(path.trim_end()).parent().unwrap();
    std::fs::remove_dir(directory).unwrap();
    let report = pass_on(&mut runner, script);
    assert_eq!(Value::Object(report.context.clone()), json!({"rows": "12"}), "{report:?}");
    // And one that somebody has put in its place is not ours.
    let path = report.output.unwrap();
    let directory = Path::new(path.trim_end()).parent().unwrap();
    std::fs::remove_dir(directory).unwrap();
    std::fs::create_dir(directory).unwrap();
    let report = pass_on(&mut runner, script);
    assert_eq!(Value::Object(report.context.clone()), json!({"rows": "12"}), "{report:?}");
    assert_ne!(Path::new(report.output.unwrap().trim_end()).parent(), Some(directory));
    std::fs::remove_dir(directory).unwrap();
}
