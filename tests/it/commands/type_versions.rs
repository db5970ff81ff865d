//! A node with an old file does not put an old process type back.

use std::fs;

use process_orchestrator::{ProcessType, ProcessTypeRegistry};
use serde_json::Value;

use crate::common::{one_task, wait_until};
use crate::liveness::Served;
use crate::program::Bench;

fn command(bench: &Bench) -> Value {
    let shown = bench.run(&["types", "show", "one-task", "--json"]).expect(0).json();
    shown["definition"]["tasks"][0]["command"].clone()
}

fn write(bench: &Bench, text: &str) -> String {
    bench.file(&one_task(text))
}

#[test]
fn a_node_that_starts_with_an_old_file_leaves_the_later_type_in_place_and_says_so() {
    let bench = Bench::with_tables("old_types");
    let file = write(&bench, "echo one");
    let serve = |bench: &Bench, name: &str, words: &[&str]| {
        let mut node = Served::start(bench, name, &[&["--process-types", &file], words].concat(), &[]);
        node.stop();
        node.log()
    };
    serve(&bench, "a", &[]);
    write(&bench, "echo two");
    assert_eq!(bench.run(&["types", "register", &file]).expect(0).out, "one-task changed\n");
    write(&bench, "echo one");
    let log = serve(&bench, "a", &[]);
    assert_eq!(command(&bench), "echo two");
    for part in [
        "process type \"one-task\" stays as it is (version 2, registered 20",
        ", types register): what is offered was replaced by that (version 1, registered 20",
        " by node a)",
        "serve --replace-types",
    ] {
        assert!(log.contains(part), "no {part:?} in {log}");
    }
    // As often as it starts; what nobody has seen yet replaces.
    serve(&bench, "a", &[]);
    assert_eq!(command(&bench), "echo two");
    write(&bench, "echo three");
    assert!(!serve(&bench, "b", &[]).contains("stays as it is"));
    assert_eq!(command(&bench), "echo three");
    // Two nodes with different files: the second restart of either finds its own superseded.
    write(&bench, "echo two");
    assert!(serve(&bench, "a", &[]).contains("stays as it is (version 3, "));
    // Whoever says so replaces, by the option, the environment, or by hand.
    assert!(!serve(&bench, "a", &["--replace-types"]).contains("stays as it is"));
    assert_eq!(command(&bench), "echo two");
    write(&bench, "echo one");
    let told = bench.run(&["run", &file]).expect(0).err;
    assert!(told.contains("process type \"one-task\": the definition of version 1, registered 20"), "{told}");
    assert!(
        told.contains(" takes the place of version 4, registered 20") && told.contains(" by node a"),
        "{told}"
    );
    let shown = bench.run(&["types", "show", "one-task", "--json"]).expect(0).json();
    assert_eq!((&shown["version"], command(&bench)), (&5.into(), "echo one".into()));
    assert!(shown["registered_by"].as_str().unwrap().ends_with(", run"), "{shown}");
    let text = bench.run(&["types", "show", "one-task"]).expect(0).out;
    assert!(text.contains(", run, version 5"), "{text}");
    assert_eq!(bench.database.count("process_type_versions"), 5);
    bench.run(&["types", "register", &file]).expect(0);
    assert_eq!(bench.database.count("process_type_versions"), 5, "nothing has changed");
}

#[test]
fn a_reload_and_the_library_leave_the_later_type_in_place_too() {
    let bench = Bench::with_tables("old_types_reload");
    let file = write(&bench, "echo one");
    let mut node = Served::start(&bench, "a", &["--process-types", &file], &[]);
    bench.database.register(&one_task("echo two"));
    node.signal("-HUP");
    wait_until("it has read them again", || node.log().contains("\"one-task\" stays as it is").then_some(()));
    assert_eq!(command(&bench), "echo two");
    node.stop();

    let library = |text: &str| {
        let mut registry = ProcessTypeRegistry::new();
        registry.register(one_task(text)).unwrap();
        process_orchestrator::ProcessOrchestrator::new(bench.database.settings().clone(), registry)
            .with_config(bench.database.config())
    };
    let old = library("echo one");
    old.start().unwrap();
    old.stop().unwrap();
    assert_eq!(command(&bench), "echo two");
    let told = library("echo one").replacing_types();
    told.start().unwrap();
    told.stop().unwrap();
    assert_eq!(command(&bench), "echo one");
}

/// Programs of the release before, and people, write the table as they always did.
#[test]
fn every_version_is_kept_whoever_registers_it() {
    let bench = Bench::with_tables("type_versions");
    bench.database.register(&one_task("echo one"));
    let mut client = bench.database.sql();
    for (text, versions) in [("echo two", 2), ("echo two", 2), ("echo one", 3)] {
        let definition = ProcessType::to_value(&one_task(text));
        client
            .execute("UPDATE process_types SET definition = $1, updated_at = now()", &[&definition])
            .unwrap();
        assert_eq!(bench.database.count("process_type_versions"), versions, "{text}");
    }
    let by: String = client
        .query_one("SELECT registered_by FROM process_type_versions WHERE version = 3", &[])
        .unwrap()
        .get(0);
    assert!(by.starts_with("role "), "{by}");
    client.execute("DELETE FROM process_types", &[]).unwrap();
    let file = write(&bench, "echo two");
    let mut node = Served::start(&bench, "a", &["--process-types", &file], &[]);
    node.stop();
    assert_eq!(command(&bench), "echo two", "nothing was there that it could have replaced");
    fs::remove_file(bench.folder.join(&file)).unwrap();
}
