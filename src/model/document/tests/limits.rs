//! Limits in documents.

use super::{fault_of, faults};
use crate::model::limits::definition::{Concurrency, Holds};
use crate::model::process_type::{ProcessType, TaskDefinition};

fn with(concurrency: &str) -> String {
    format!(r#"{{"name": "p", "concurrency": {concurrency}, "tasks": [{{"name": "a", "command": "true"}}]}}"#)
}

#[test]
fn limits_are_read_as_a_list_or_alone_and_written_out_again() {
    let text = r#"{"name": "train", "concurrency": [{"max": 1, "key": "${config.customer}"}, {"group": "warehouse", "max": 2,
        "holds": "task"}], "tasks": [
        {"name": "a", "command": "true", "concurrency": {"group": "gpu", "max": 2}},
        {"name": "b", "command": "true", "concurrency": [{"group": "gpu"}, {"group": "licence", "key": "${user_id}"}]}]}"#;
    let read = ProcessType::from_json(text, "p.json").expect("valid");
    let no_max = |it: Concurrency| Concurrency { max: None, ..it };
    let built = ProcessType::new("train", "")
        .limit(Concurrency::max(1).key("${config.customer}"))
        .limit(Concurrency::max(2).group("warehouse").while_a_command_runs())
        .add(TaskDefinition::new("a", "true").limit(Concurrency::max(2).group("gpu")))
        .add(
            TaskDefinition::new("b", "true")
                .limit(no_max(Concurrency::max(1).group("gpu")))
                .limit(no_max(Concurrency::max(1).group("licence").key("${user_id}"))),
        );
    assert_eq!(read, built);
    assert_eq!(ProcessType::from_value(&read.to_value(), "again"), Ok(built));
    assert_eq!(read.to_value()["tasks"][0]["concurrency"], serde_json::json!([{"group": "gpu", "max": 2}]));
    assert_eq!(
        ProcessType::new("p", "").to_value().get("concurrency"),
        None,
        "types without limits are unchanged"
    );
    assert_eq!(
        ProcessType::from_json(&with("{\"max\": 3}"), "p").expect("one").concurrency,
        [Concurrency::max(3)]
    );
}

#[test]
fn each_fault_of_a_limit_is_told_with_its_remedy() {
    for (text, expected) in [
        (
            "7",
            "concurrency: 7 is not an array; write a list of limits, such as [{\"group\": \"gpu\", \"max\": 2}]",
        ),
        ("[3]", "concurrency[0]: 3 is not a limit; write an object such as"),
        (
            "{}",
            "concurrency.max: is missing; write how many may run at once, such as 1; only a group can leave it",
        ),
        (
            "{\"max\": 0}",
            "concurrency.max: 0 would let nothing start; write 1 or more; to hold everything back use",
        ),
        (
            "{\"max\": -1}",
            "concurrency.max: -1 is not an integer from 1 to 1000000; write how many may run at once",
        ),
        ("[{\"max\": 1.5}]", "concurrency[0].max: 1.5 is not an integer"),
        ("{\"max\": \"2\"}", "concurrency.max: \"2\" is not an integer from 1 to 1000000; remove the quotes"),
        ("{\"max\": 1, \"grup\": \"x\"}", "concurrency.grup: unknown key; did you mean \"group\"?"),
        (
            "{\"max\": 1, \"holds\": \"tasks\"}",
            "concurrency.holds: \"tasks\" is neither \"process\" nor \"task\"; did you mean \"task\"?",
        ),
        (
            "{\"max\": 1, \"group\": \"a b\"}",
            "concurrency.group: \"a b\" holds the character ' '; write 1 to 100 letters",
        ),
        ("{\"max\": 1, \"group\": \"\"}", "concurrency.group: is empty; write 1 to 100"),
        (
            "{\"max\": 1, \"key\": \"x\"}",
            "concurrency.key: \"x\" holds no variable, so that all would have the same key; write",
        ),
        (
            "{\"max\": 1, \"key\": \"${config.a}=b\"}",
            "concurrency.key: \"${config.a}=b\" holds a =; write another sign",
        ),
        (
            "{\"max\": 1, \"key\": \"${confg.a}\"}",
            "concurrency.key: unknown variable ${confg.a}; did you mean ${config.a}?",
        ),
        (
            "{\"max\": 1, \"key\": \"${processContext.a}\"}",
            "concurrency.key: ${processContext.a} is not known when a process starts; use",
        ),
        (
            "{\"max\": 1, \"key\": \"${env.SITE}\"}",
            "concurrency.key: ${env.SITE} is the node's own, and a limit counts on all nodes",
        ),
        (
            "{\"max\": 1, \"key\": \"${process_id}\"}",
            "concurrency.key: ${process_id} gives each process a limit of its own",
        ),
        (
            "{\"max\": 1, \"key\": \"${config.size-5}\"}",
            "concurrency.key: ${config.size-5} may mean a default; write ${config.size:-5}",
        ),
    ] {
        let found = faults(&with(text));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}: {found:#?}");
    }
}

#[test]
fn a_tasks_limit_is_a_group_held_while_it_runs() {
    let found = fault_of(r#""concurrency": {"max": 1}"#);
    assert!(found.starts_with("tasks[0].concurrency.group: is missing; write the group of which"), "{found}");
    let found = fault_of(r#""concurrency": [{"group": "gpu", "holds": "process"}]"#);
    let expected = "tasks[0].concurrency[0].holds: \"process\" is of no use on a task; leave the key out";
    assert!(found.starts_with(expected), "{found}");
    let built = TaskDefinition {
        concurrency: vec![Concurrency { holds: Holds::Process, ..Concurrency::max(1).group("gpu") }],
        ..TaskDefinition::new("a", "true")
    };
    let faults = ProcessType::new("p", "").add(built).validate("p").expect_err("held by the process");
    assert!(faults.to_string().contains("concurrency[0].holds"), "{faults}");
}

#[test]
fn the_limits_of_one_document_agree() {
    let text = r#"{"name": "p", "tasks": [
        {"name": "a", "command": "true", "concurrency": [{"group": "gpu", "max": 2}, {"group": "gpu"}]},
        {"name": "b", "command": "true", "concurrency": {"group": "gpu", "max": 3}},
        {"name": "c", "command": "true", "concurrency": {"group": "disk", "max": 0}},
        {"name": "d", "command": "true", "concurrency": {"group": "licence"}}],
        "concurrency": [{"group": "licence", "max": 1}, {"max": 2}, {"max": 2, "holds": "task"}]}"#;
    assert_eq!(
        faults(text)
            .iter()
            .map(|it| it.split("; ").next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>(),
        [
            "tasks[2].concurrency.max: 0 would let nothing start",
            "tasks[0].concurrency[1]: tasks[0].concurrency[0] makes the limit \"gpu\" already",
            "tasks[1].concurrency.max: 3 is another max of group \"gpu\" than the 2 of tasks[0].concurrency[0]",
            "tasks[3].concurrency: every command of the process has a slot of \"licence\" already, by concurrency[0]",
            "concurrency[2]: concurrency[1] makes the limit \"type:p\" already",
        ]
    );
}
