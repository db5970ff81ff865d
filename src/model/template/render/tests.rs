use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Values of every kind, and a way to render with them.
struct Sample {
    input: ProcessInputData,
    context: Map<String, Value>,
}

impl Sample {
    fn new() -> Self {
        let input = ProcessInputData::new()
            .input_file("/data/in put.json")
            .output_dir("/out")
            .user_id("u1")
            .add_config("batch_size", "100")
            .add_config("batch-size", "200")
            .add_config("empty", "")
            .add_metadata("source", "legacy");
        let context = json!({
            "rows": 42, "score": 99.5, "ok": true, "nothing": null, "file": "a b", "list": [1, "x"],
            "object": {"k": 1}
        });
        Self { input, context: context.as_object().expect("an object").clone() }
    }

    fn with_input_file(value: &str) -> Self {
        Self { input: ProcessInputData::new().input_file(value), context: Map::new() }
    }

    fn scope(&self) -> Scope<'_> {
        Scope {
            process_id: "pipeline-7",
            process_type: "pipeline",
            task_name: "load",
            input: &self.input,
            context: &self.context,
            env: |name| (name == "HOME").then(|| "/home/user".to_owned()),
        }
    }
}

fn words(command: &str) -> Vec<String> {
    render_words(command, &Sample::new().scope()).expect(command)
}

fn message(command: &str) -> String {
    render_words(command, &Sample::new().scope()).expect_err(command).to_string()
}

#[test]
fn every_variable_has_its_value() {
    let command = "run ${input_file} ${output_dir}/x ${user_id} ${process_id} ${process_type} ${task_name} \
                   ${config.batch_size} ${metadata.source} ${processContext.rows}";
    assert_eq!(words("x ${env.HOME}/a ${env.NONE:-b}"), ["x", "/home/user/a", "b"]);
    assert_eq!(
        words(command),
        ["run", "/data/in put.json", "/out/x", "u1", "pipeline-7", "pipeline", "load", "100", "legacy", "42"]
    );
}

#[test]
fn context_values_are_text_or_their_json() {
    assert_eq!(
        words(
            "x ${processContext.score} ${processContext.ok} ${processContext.file} ${processContext.list} \
               ${processContext.object} ${processContext.nothing:-none}"
        ),
        ["x", "99.5", "true", "a b", "[1,\"x\"]", "{\"k\":1}", "none"]
    );
}

#[test]
fn defaults_stand_in_as_in_the_shell() {
    assert_eq!(words("x ${config.none:-7} '${config.none:-a b}' ${config.none:-}"), ["x", "7", "a b", ""]);
    assert_eq!(words("x ${config.batch_size:-7} ${config.empty:-7}"), ["x", "100", "7"]);
    // With a dash alone an empty value is one; a key that holds a dash goes first.
    assert_eq!(words("x ${config.none-7} ${config.none-} ${config.empty-7}"), ["x", "7", "", ""]);
    assert_eq!(
        words("x ${config.batch-size} ${config.batch_size-7} ${user_id-me} ${config.out-dir-10}"),
        ["x", "200", "100", "u1", "10"]
    );
    assert_eq!(words("x ${processContext.none-/a-b} ${processContext.nothing-7}"), ["x", "/a-b", "7"]);
    assert_eq!(words("x ${env.NONE-1} ${env.HOME-1} ${metadata.none--x}"), ["x", "1", "/home/user", "-x"]);
    // A dash before a letter is part of the key.
    for name in
        ["config.out-dir", "metadata.batch_size-_x", "config.a-über", "env.NONE-x", "processContext.rows-x"]
    {
        let told = message(&format!("rm -rf ${{{name}}}"));
        assert!(told.ends_with(&format!("give it a default in the command: ${{{name}:-VALUE}}")), "{told}");
    }
    let empty = Sample { input: ProcessInputData::new().user_id("").output_dir(""), context: Map::new() };
    let rendered = render_words("x ${user_id:-me} ${user_id-me} ${output_dir-/out}", &empty.scope());
    assert_eq!(rendered.expect("rendered"), ["x", "me", "me", "/out"]);
    assert_eq!(
        render_text("${output_dir}/x", &empty.scope()),
        Err(RenderError::Missing("output_dir".to_owned())),
        "an empty directory is none"
    );
}

#[test]
fn values_inside_objects_are_reached_by_paths() {
    let context =
        json!({"db": {"host": "h", "ports": [1, 2]}, "a.b": "dotted", "a": {"b": "inner", "c": null}});
    let sample =
        Sample { input: ProcessInputData::new(), context: context.as_object().expect("an object").clone() };
    let rendered = render_words(
        "x ${processContext.db.host} ${processContext.db.ports.1} ${processContext.a.b} ${processContext.a.x:-7}",
        &sample.scope(),
    );
    assert_eq!(rendered.expect("rendered"), ["x", "h", "2", "dotted", "7"]);
    let error = render_text("${processContext.a.c}", &sample.scope()).expect_err("null");
    assert_eq!(error, RenderError::Null("processContext.a.c".to_owned()));
}

#[test]
fn what_is_no_variable_stays() {
    assert_eq!(
        words("x $HOME '$(date)' $${input_file} $1 $"),
        ["x", "$HOME", "$(date)", "${input_file}", "$1", "$"]
    );
}

#[test]
fn values_are_not_substituted_again() {
    let sample = Sample::with_input_file("${user_id} $${ ${input_file}");
    let rendered = render_words("x ${input_file}", &sample.scope()).expect("rendered");
    assert_eq!(rendered, ["x", "${user_id} $${ ${input_file}"]);
}

#[test]
fn a_missing_value_says_how_to_supply_it() {
    for (command, expected) in [
        (
            "x ${config.none}",
            "the input has no config.none; start the process with --config none=VALUE, or give it a default in the \
             command: ${config.none:-VALUE}",
        ),
        (
            "x ${metadata.none}",
            "the input has no metadata.none; start the process with --metadata none=VALUE, or give it a default in \
             the command: ${metadata.none:-VALUE}",
        ),
        (
            "x ${processContext.total}",
            "no earlier task has written processContext.total; have one write the line total=VALUE to the file that \
             $PROCESS_CONTEXT_FILE names, or give it a default in the command: ${processContext.total:-VALUE}",
        ),
        (
            "x ${env.NONE}",
            "the node's environment has no NONE; set it where the node is started, or give it a default in the command: \
             ${env.NONE:-VALUE}",
        ),
    ] {
        assert_eq!(message(command), expected);
    }
    let empty = Sample { input: ProcessInputData::new(), context: Map::new() };
    assert_eq!(
        render_text("${input_file}", &empty.scope()).expect_err("missing").to_string(),
        "the input has no input_file; start the process with --input-file VALUE, or give it a default in the \
         command: ${input_file:-VALUE}"
    );
    assert!(message("x ${processContext.nothing}").starts_with(
        "an earlier task has passed on null as processContext.nothing, which is no value; have it write"
    ));
}

#[test]
fn a_command_that_cannot_be_run_is_refused_by_name() {
    assert_eq!(
        message("echo 'open"),
        "the command \"echo 'open\" has an unbalanced quote; close it, or escape it with \\"
    );
    assert_eq!(message("  # only a comment"), "the command is empty; write the program to run");
    assert!(message("x ${config.a:-b c}").contains("put that argument in quotes"));
    assert!(message("x ${nothing}").starts_with("unknown variable ${nothing}"));
}

#[test]
fn a_script_refers_to_its_values_by_environment() {
    let sample = Sample::new();
    let script = "cat \"${input_file}\" $HOME $1 $(date) $${HOME:-/} ${config.batch_size} ${config.batch-size} \
                  ${config.batch_size} ${config.none:-a} ${config.none:-b} ${processContext.rows} ${task_name}";
    let (rendered, environment) = render_script(script, &sample.scope()).expect("rendered");
    assert_eq!(
        rendered,
        "cat \"${PO_INPUT_FILE}\" $HOME $1 $(date) ${HOME:-/} ${PO_CONFIG_BATCH_SIZE} ${PO_CONFIG_BATCH_SIZE_2} \
         ${PO_CONFIG_BATCH_SIZE} ${PO_CONFIG_NONE} ${PO_CONFIG_NONE_2} ${PO_PROCESS_CONTEXT_ROWS} ${PO_TASK_NAME}"
    );
    let pairs: Vec<(&str, &str)> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        pairs,
        [
            ("PO_INPUT_FILE", "/data/in put.json"),
            ("PO_CONFIG_BATCH_SIZE", "100"),
            ("PO_CONFIG_BATCH_SIZE_2", "200"),
            ("PO_CONFIG_NONE", "a"),
            ("PO_CONFIG_NONE_2", "b"),
            ("PO_PROCESS_CONTEXT_ROWS", "42"),
            ("PO_TASK_NAME", "load"),
        ]
    );
}

#[test]
fn a_suffixed_name_does_not_take_the_name_of_another_key() {
    let input = ProcessInputData::new().add_config("a_2", "1").add_config("a", "2").add_config("A", "3");
    let sample = Sample { input, context: Map::new() };
    let (rendered, _) =
        render_script("${config.a_2}${config.a}${config.A}", &sample.scope()).expect("rendered");
    assert_eq!(rendered, "${PO_CONFIG_A_2}${PO_CONFIG_A}${PO_CONFIG_A_3}");
}

#[test]
fn a_scripts_unknown_variable_is_refused() {
    let error = render_script("echo ${HOME}", &Sample::new().scope()).expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "unknown variable ${HOME}; for the node's own variable write ${env.HOME}, for the shell's own variable write \
         $HOME or $${HOME}, with \"shell\": true"
    );
}

#[test]
fn required_input_is_what_has_no_default_anywhere() {
    let mut task = TaskDefinition::new("a", "run ${input_file} ${config.b} ${config.c:-1} ${process_id}");
    task.working_directory = Some("${output_dir}/${task_name}".to_owned());
    task.environment.insert("K".to_owned(), "${metadata.m} ${user_id:-x}".to_owned());
    let mut script = TaskDefinition::new("b", "echo '${config.c}' \"it's ${processContext.x}\"");
    script.shell = true;
    let dashes = TaskDefinition::new("c", "run ${config.out-dir} ${config.n-10} ${config.e-} ${user_id-me}");
    let process_type = ProcessType::new("t", "").add(task).add(script).add(dashes);
    assert_eq!(
        required_input(&process_type),
        ["config.b", "config.c", "config.out-dir", "input_file", "metadata.m", "output_dir"]
    );
}

/// Text that tries to break out of its argument, and any other.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        " ",
        "\"",
        "'",
        ";",
        "$(touch x)",
        "`id`",
        "\n",
        "-rf",
        "--",
        "|",
        "&&",
        ">",
        "*",
        "\\",
        "$HOME",
        "${user_id}",
        "$${",
        "}",
        "#",
        "\t",
        "ü",
        "a",
    ]);
    prop_oneof![prop::collection::vec(pieces, 0..12).prop_map(|it| it.concat()), "(?s).{0,40}"]
}

proptest! {
    #[test]
    fn a_value_is_one_argument_unchanged(value in hostile()) {
        prop_assume!(!value.is_empty()); // an empty file is none
        let sample = Sample::with_input_file(&value);
        for command in ["run ${input_file} end", "run \"${input_file}\" end", "run '${input_file}' end"] {
            let rendered = render_words(command, &sample.scope()).expect("rendered");
            prop_assert_eq!(rendered, vec!["run".to_owned(), value.clone(), "end".to_owned()]);
        }
        let text = render_text("<${input_file}>", &sample.scope()).expect("rendered");
        prop_assert_eq!(text, format!("<{value}>"));
    }

    #[test]
    fn a_value_never_enters_a_script(value in hostile()) {
        prop_assume!(!value.is_empty());
        let sample = Sample::with_input_file(&value);
        let (script, environment) = render_script("run \"${input_file}\"; x", &sample.scope()).expect("rendered");
        prop_assert_eq!(script, "run \"${PO_INPUT_FILE}\"; x");
        prop_assert_eq!(environment, vec![("PO_INPUT_FILE".to_owned(), value)]);
    }

    #[test]
    fn any_command_is_rendered_or_refused(command in "[${}:\\-.a-z_'\"\\\\# \n]{0,40}|(?s).{0,40}") {
        let sample = Sample::new();
        for error in [
            render_words(&command, &sample.scope()).err(),
            render_text(&command, &sample.scope()).err(),
            render_script(&command, &sample.scope()).err(),
        ].into_iter().flatten() {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn an_array_comes_back_from_its_joined_command(words in prop::collection::vec(hostile(), 1..6)) {
        prop_assert_eq!(shell_words::split(&shell_words::join(&words)).expect("split"), words);
    }
}
