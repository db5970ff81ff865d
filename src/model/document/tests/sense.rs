use super::*;

/// The faults of a document whose only task has these keys beside its name, without their place.
fn faults_of(task: &Value) -> Vec<String> {
    let mut task = task.clone();
    task["name"] = json!("a");
    let document = json!({"name": "p", "tasks": [task]});
    let read = ProcessType::from_value(&document, "p");
    // Whoever registers it in Rust, or has registered it with an older release, meets the same rules.
    let stored = ProcessType::from_stored(&document, "p").expect("it can be read");
    assert_eq!(stored.validate("p").is_ok(), read.is_ok(), "{document}");
    let Err(faults) = read else { return Vec::new() };
    faults.faults.iter().map(ToString::to_string).collect()
}

fn command(command: &str) -> Vec<String> {
    faults_of(&json!({ "command": command }))
}

fn script(command: &str) -> Vec<String> {
    faults_of(&json!({ "command": command, "shell": true }))
}

#[test]
fn what_only_a_shell_understands_is_refused_with_the_remedy() {
    for (text, held) in [
        ("cp *.csv backup && ls > list.txt", "*.csv, && and >"),
        ("a | b", "|"),
        ("a || b", "||"),
        ("ls|wc -l", "|"),
        ("echo a;ls", ";"),
        ("echo a ; ls", ";"),
        ("work &", "&"),
        ("work&", "&"),
        ("echo hi>out.txt", ">"),
        ("work 2>&1", "2>&1"),
        ("work >> log 2> errors", ">> and 2>"),
        ("sort < in", "<"),
        ("cat << EOF", "<<"),
        ("(ls)", "( and )"),
        ("diff <(a) <(b)", "<( and )"),
        ("echo `date`", "`"),
        ("echo \"`date`\"", "`"),
        ("echo $(date)", "$( and )"),
        ("echo \"$(date)\"", "$("),
        ("echo $HOME", "$HOME"),
        ("echo \"$HOME/x\"", "$HOME"),
        ("cp $SRC/a ${input_file}", "$SRC"),
        ("echo $?", "$?"),
        ("echo $$", "$$"),
        ("ls *", "*"),
        ("ls file?.csv", "file?.csv"),
        ("ls file[0-9].csv", "file[0-9].csv"),
        ("ls ${output_dir}/*.csv", "${output_dir}/*.csv"),
        ("cp *.csv backup", "*.csv"),
        ("rm /tmp/x/*", "/tmp/x/*"),
        ("cat file?.txt", "file?.txt"),
        ("cat /data/part[ab]", "/data/part[ab]"),
        ("cat ${output_dir:-/x}/*", "${output_dir:-/x}/*"),
        ("curl localhost:8080/x?y=1&z=2&", "&"),
        ("make a.sh/x&ls", "&"),
        ("curl -d {\"a\":1,\"b\":2} x", "{a:1,b:2}"),
        ("find . -name *.csv", "*.csv"),
        ("cat ~/x", "~/x"),
        ("ls ~", "~"),
        ("ls ~user/x", "~user/x"),
        ("tool --dir=~/x", "--dir=~/x"),
        ("cp a.{csv,bak} b", "a.{csv,bak}"),
        ("mkdir d{1..9}", "d{1..9}"),
        ("printf $'a\\tb'", "$a\\\\tb"),
        ("cd x", "cd"),
        ("source env.sh", "source"),
        (". env.sh", "."),
        ("export A=1", "export"),
        ("ulimit -n 5", "ulimit"),
        ("time ls", "time"),
        ("exec ls", "exec"),
        ("! true", "!"),
        ("A=1 env", "A=1"),
        ("A='x y' env", "A=x y"),
        ("PATH+=:/x env", "PATH+=:/x"),
        ("for i in a b; do echo; done", "for and ;"),
        ("if true; then ls; fi", "if and ;"),
        ("echo a\necho b", "several lines"),
        ("echo a # and so on\necho b", "several lines"),
        ("cd x\nmake\nls | wc\n", "cd, | and several lines"),
        ("[[ -f x ]]", "[["),
        ("curl http://x/?a=b | sort", "|"),
        ("curl http://x/a&", "&"),
        ("curl http://x/a&&ls", "&&"),
        ("curl http://x/a;", ";"),
        ("curl http://x/a>out", ">"),
        ("sed s/a.*/b/ file", "s/a.*/b/"),
        ("echo a && b | c > d", "&&, | and >"),
        ("echo a && b | c > d & e", "&&, |, > and more"),
    ] {
        let found = command(text);
        let shown = crate::model::document::tree::shown_text(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        let start = format!("tasks[0].command: {shown} holds {held}, which only a shell understands; ");
        assert!(found[0].starts_with(&start), "{text}: {found:#?}\n{start}");
        for part in [
            "add \"shell\": ",
            "if it is meant literally, put it in single quotes or write the command as an array",
        ] {
            assert!(found[0].contains(part), "{found:#?}");
        }
        assert_eq!(script(text), Vec::<String>::new(), "as a script");
        if let Ok(words) = shell_words::split(text) {
            assert_eq!(faults_of(&json!({ "command": words })), Vec::<String>::new(), "as an array");
        }
    }
    for (text, remedy) in [
        ("ls *", "as an array; add \"shell\": true to have a shell expand it"),
        ("ls {a,b}", "as an array; add \"shell\": \"bash\" to have a shell expand it"),
        ("ls * | wc", "add \"shell\": true to have a shell run it; if"),
        ("A=1 env", "write a variable as \"environment\": {\"A\": \"1\"}; if"),
        ("echo $HOME", "for the node's own variable write ${env.HOME}; if"),
        ("ls ~/x", "for the home directory of the node's user write ${env.HOME}; if"),
        ("cd x", "name the directory in \"working_directory\"; if"),
    ] {
        assert!(command(text)[0].contains(remedy), "{:#?}", command(text));
    }
}

#[test]
fn what_means_itself_is_left_alone() {
    for text in [
        "echo 'a | b' \"c && d\" 'e > f' \\; \\| '*' \\* \"x?\" '~' '$HOME' \\$HOME '`x`' \"\\$x\"",
        "'cd' x",
        "'A=1' env",
        "env A=1 B=2 printenv A",
        "echo ${input_file} ${config.a:-b} '${config.c:-d | e}' $${HOME}",
        "echo ${config.a:-*} ${config.a:-~}",
        "test -f ${input_file}",
        "[ -f ${input_file} ]",
        "find . ! -name x -exec ls {} + -o -name y -exec ls {} \\;",
        "find . \\( -name 'a*' \\)",
        "xargs -I {} echo {}",
        "curl -o x http://host:80/a?b=c&d=e;f=(g)#h",
        "curl --url=https://x/?a=[1]&b=* -s",
        "ffmpeg -i a -map [v] -map 0:a:0? b",
        "jq .[0] f",
        "jq .a[] f",
        "kubectl get pods -o jsonpath={.items[0].x}",
        "tar --exclude=*.o -cf a.tar .",
        "grep --include=*.rs --include=?[ab]/*.rs x .",
        "java -cp lib/*:app.jar Main",
        "scp host:*.csv .",
        "mvn -Dtest=Foo* test",
        "pytest t.py::test_b[x-y]",
        "pip install a[b]",
        "tr [:lower:] [:upper:]",
        "curl localhost:8080/x?y=1&z=2",
        "curl --url=db.example.com/x?y=1&z=2 -s",
        "curl ${config.host}:80/x?y=1&z=2",
        "echo What?",
        "aws s3 ls s3://bucket/*.csv",
        "git show HEAD~1 stash@{1} a^b",
        "docker ps --format={{.ID}},{{.Names}}",
        "echo price $5 100% a#b # a comment | with > all $OF it",
        "grep ^total$ file",
        "echo \"total$\" a$ $",
        "echo a \\\n  b",
        "\n echo a\n",
        "# what it does\necho a",
        "tool --a=1 --b=c=d -- -x @file +y : . !",
        "echo if then cd export",
        "./cd x",
        "tool ~5 a~ x=~",
        "echo {} {a} {a b} a.b..c } {",
        "tool [ ] [x",
        "time.sh",
        "python3 scripts/load_data.py ${input_file} ${output_dir}/loaded_data.json",
        "sort -t, -k2 -o ${output_dir}/sorted.csv ${input_file}",
        "psql -c 'SELECT count(*) FROM t WHERE a > 1;'",
        "awk '{ print $1 }' file",
        "sh -c 'cd x && ls | wc -l'",
        "printf '%s\\n' a",
        "ls \"it's\"",
        "bash -c \"cd /x && echo $HOME `date`\"",
        "awk \"{ print $NF }\" file",
        "mongosh --eval \"db.a.update({}, {$set: {b: 1}})\"",
        "perl -ne \"print $_\"",
    ] {
        assert_eq!(command(text), Vec::<String>::new(), "{text}");
    }
    for words in [
        json!(["cd", "x"]),
        json!(["echo", "$HOME", "~", "~/x", "*", "{a,b}", "a && b", "`x`", "a\nb", "it's"]),
        json!(["A=1", "env"]),
        json!(["{a,b}", "if"]),
    ] {
        assert_eq!(faults_of(&json!({ "command": words })), Vec::<String>::new(), "{words}");
        let document = json!({"name": "p", "tasks": [{"name": "a", "command": words}]});
        let command = ProcessType::from_value(&document, "p").expect("valid").tasks[0].command.clone();
        assert_eq!(json!(shell_words::split(&command).expect("words")), words, "{command}");
    }
}

proptest::proptest! {
    #[test]
    fn an_array_is_left_alone_and_comes_back(
        words in proptest::collection::vec("[a&;|<>()$`*?~{},.=!' \"\\\\\n\\[\\]#-]{1,12}|cd|if|A=1|.{1,5}", 1..5)
    ) {
        proptest::prop_assume!(!words.iter().any(|word| word.contains("${") || word.contains('\0')));
        let document = json!({"name": "p", "tasks": [{"name": "a", "command": words}]});
        let read = ProcessType::from_value(&document, "p").expect("valid");
        assert_eq!(shell_words::split(&read.tasks[0].command).as_ref(), Ok(&words));
        assert_eq!(ProcessType::from_value(&read.to_value(), "p"), Ok(read));
    }
}

#[test]
fn a_quote_that_is_not_closed_may_be_a_scripts() {
    assert_eq!(
        [fault_of_command("\"echo it's | wc\"")],
        [
            "tasks[0].command: \"echo it's | wc\" has an unbalanced quote; close it, or escape it with \\ (in JSON \\\\)"
        ]
    );
    assert!(
        fault_of_command("\"ls | grep it's\"")
            .ends_with("(in JSON \\\\); add \"shell\": true if it is a shell's script")
    );
}

#[test]
fn a_variable_where_a_shell_puts_no_value_is_refused() {
    for (text, expected) in [
        (
            "echo '${config.x}'",
            "${config.x} stands in single quotes, where a shell puts no value in its place; put it in double quotes: \
             \"${config.x}\", or end the single quotes before it: '…'\"${config.x}\"'…'",
        ),
        (
            "awk '{ print \"${config.x}\" }' file",
            "${config.x} stands in single quotes, where a shell puts no value in its place; pass the value as an argument of \
             its own, \"${config.x}\", and have the code that awk reads take it from there",
        ),
        (
            "cat <<'EOF'\n${config.x}\nEOF",
            "${config.x} stands in a here-document whose word is quoted, where a shell puts no value in its place; write the \
             word without quotes: <<EOF",
        ),
        (
            "echo \\${config.x}",
            "${config.x} stands behind a backslash, and a shell puts no value in its place; remove the backslash, or write \
             $${…} for the text itself, in single quotes",
        ),
    ] {
        assert_eq!(script(text), [format!("tasks[0].command: {expected}")]);
        let bash = json!({"command": text, "shell": ["bash", "-eu", "-c"], "unsafe_interpolation": true});
        assert_eq!(faults_of(&bash), [format!("tasks[0].command: {expected}")]);
    }
    assert_eq!(script("echo \"it's ${config.x}\" # '${config.x}'"), Vec::<String>::new());
}

#[test]
fn a_variable_in_code_is_refused_unless_it_is_trusted() {
    let trusted = "or write \"unsafe_interpolation\": true if whoever gives the value may run any command";
    for (words, place, program, remedy) in [
        (
            json!(["bash", "-c", "rm ${config.x}"]),
            "[2]",
            "bash",
            "write the script alone, with \"shell\": \"bash\"",
        ),
        (json!(["env", "bash", "-lc", "rm ${config.x}"]), "[3]", "bash", "write the script alone"),
        (json!(["/bin/sh", "-ec", "${config.x}"]), "[2]", "sh", "write the script alone"),
        (json!(["sudo", "-u", "x", "bash", "-lc", "a ${config.x}"]), "[5]", "bash", "write the script alone"),
        (json!(["python3", "-c", "print('${config.x}')"]), "[2]", "python3", "pass the value as an argument"),
        (json!(["perl", "-ne", "print '${config.x}'"]), "[2]", "perl", "pass the value as an argument"),
        (json!(["node", "--eval=${config.x}"]), "[1]", "node", "pass the value as an argument"),
        (json!(["awk", "-F,", "/${config.x}/"]), "[2]", "awk", "pass the value as an argument"),
        (json!(["ssh", "host", "rm", "${config.x}"]), "[3]", "ssh", "pass the value as an argument"),
        (json!("bash -c 'rm ${config.x}'"), "", "bash", "write the script alone"),
        (json!("ruby -e \"puts '${config.x}'\""), "", "ruby", "pass the value as an argument"),
        (json!("php -r 'echo ${config.x};'"), "", "php", "pass the value as an argument"),
    ] {
        let found = faults_of(&json!({ "command": words }));
        let start = format!(
            "tasks[0].command{place}: ${{config.x}} stands in code that {program} reads, and its value would be read as \
             code too; {remedy}"
        );
        assert!(
            found.len() == 1 && found[0].starts_with(&start) && found[0].ends_with(trusted),
            "{found:#?}\n{start}"
        );
        assert_eq!(faults_of(&json!({"command": words, "unsafe_interpolation": true})), Vec::<String>::new());
    }
    for (text, remedy) in [
        (
            "bash -c \"rm ${config.x}\"",
            "put that code in single quotes, and the variable in double quotes within; ",
        ),
        (
            "eval \"rm ${config.x}\"",
            "put that code in single quotes, and the variable in double quotes within; ",
        ),
        ("python3 -c \"print('${config.x}')\"", "pass the value as an argument of its own, "),
    ] {
        let found = script(text);
        assert!(found.len() == 1 && found[0].contains(remedy) && found[0].ends_with(trusted), "{found:#?}");
        let task = json!({"command": text, "shell": true, "unsafe_interpolation": true});
        assert_eq!(faults_of(&task), Vec::<String>::new());
    }
    for text in [
        "bash script.sh -c ${config.x}",
        "python3 tool.py -c ${config.x}",
        "bash -c 'echo \"$1\"' bash ${config.x}",
        "awk -v 'x=${config.x}' '{ print x }' ${input_file}",
        "bash ${config.script}",
        "ssh ${config.host} uptime",
    ] {
        assert_eq!(command(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_shell_is_true_a_name_or_words() {
    let shell_of = |shell: Value| {
        let document =
            json!({"name": "p", "tasks": [{"name": "a", "command": "echo \"${config.x}\"", "shell": shell}]});
        let read = ProcessType::from_value(&document, "p").expect("valid");
        assert_eq!(ProcessType::from_value(&read.to_value(), "p").as_ref(), Ok(&read));
        let task = read.tasks[0].clone();
        (task.shell, task.shell_command.join(" "), read.to_value()["tasks"][0]["shell"].clone())
    };
    for (shell, words, said) in [
        (json!(true), "", json!(true)),
        (json!("sh"), "", json!(true)),
        (json!("bash"), "bash -c", json!("bash")),
        (json!("/opt/bin/zsh"), "/opt/bin/zsh -c", json!("/opt/bin/zsh")),
        (json!(["bash", "-c"]), "bash -c", json!("bash")),
        (
            json!(["bash", "-euo", "pipefail", "-c"]),
            "bash -euo pipefail -c",
            json!(["bash", "-euo", "pipefail", "-c"]),
        ),
        (json!(["sh", "-eu", "-c"]), "sh -eu -c", json!(["sh", "-eu", "-c"])),
        (json!(["nice", "bash", "-c"]), "nice bash -c", json!(["nice", "bash", "-c"])),
    ] {
        assert_eq!(shell_of(shell), (true, words.to_owned(), said));
    }
    let remedy = "write true for sh, a shell's name such as \"bash\", or its words, such as [\"bash\", \"-euo\", \
                  \"pipefail\", \"-c\"]";
    for (shell, expected) in [
        (json!("yes"), "shell: \"yes\" is neither true nor false; write true or false, unquoted".to_owned()),
        (json!(""), format!("shell: \"\" names no program; {remedy}")),
        (json!("bash -eu"), format!("shell: \"bash -eu\" names no program; {remedy}")),
        (json!([]), format!("shell: names no program; {remedy}")),
        (json!(["", "-c"]), format!("shell: names no program; {remedy}")),
        (json!(7), format!("shell: 7 names no shell; {remedy}")),
        (json!(["bash", 7]), "shell[1]: 7 is not a text; quote it: \"7\"".to_owned()),
        (
            json!(["bash", "-eu"]),
            "shell: bash -eu would not take the script that follows; write [\"bash\", …, \"-c\"], with -c at the end".to_owned(),
        ),
        (
            json!("perl"),
            "shell: perl -c would not take the script that follows; write [\"perl\", …, \"-e\"], with -e at the end".to_owned(),
        ),
        (
            json!(["${config.shell}", "-c"]),
            "shell: \"${config.shell}\" holds a variable; name the shell itself; variables belong into the script".to_owned(),
        ),
    ] {
        let document = json!({"name": "p", "tasks": [{"name": "a", "command": "echo \"${config.x}\" | x", "shell": shell}]});
        assert_eq!(faults(&document.to_string()), [format!("tasks[0].{expected}")]);
    }
    let array = r#"{"name": "p", "tasks": [{"name": "a", "command": ["x"], "shell": "bash"}]}"#;
    assert_eq!(
        faults(array),
        [
            "tasks[0].command: an array is no script, and \"shell\" is a shell; write the script as one text, or leave \
          \"shell\" out"
        ]
    );
}

#[test]
fn variables_are_for_shells_that_read_them() {
    for (shell, text) in [
        (json!("python3"), "print('x')"),
        (json!("fish"), "echo $HOME"),
        (json!(["perl", "-e"]), "print 1"),
        (json!("unheard-of"), "x | y"),
        (json!(["env", "A=1", "bash", "-c"]), "echo ${config.x}"),
    ] {
        assert_eq!(faults_of(&json!({"command": text, "shell": shell})), Vec::<String>::new(), "{text}");
    }
    for (shell, why) in [
        (json!("python3"), "python3 does not read ${NAME} as a variable of its environment"),
        (json!("fish"), "fish does not read ${NAME} as a variable of its environment"),
        (json!("unheard-of"), "unheard-of does not read ${NAME} as a variable of its environment"),
        (json!(["sudo", "bash", "-c"]), "bash is run in another environment than the command's"),
    ] {
        assert_eq!(
            faults_of(&json!({"command": "x ${config.x}", "shell": shell})),
            [format!(
                "tasks[0].command: ${{config.x}} has no value in this script: {why}; put the value into \"environment\" and \
                 have the script read it from there, or name a shell such as \"bash\""
            )]
        );
    }
}

#[test]
fn surroundings_that_only_a_shell_would_understand_are_refused() {
    for (task, expected) in [
        (
            json!({"environment": {"PATH": "/opt/x:$PATH"}}),
            "environment.PATH: holds $PATH, which only a shell understands; write ${env.PATH} for the node's own variable; a text \
             that is meant literally can be set where the node is started, as commands have its environment",
        ),
        (
            json!({"working_directory": "~/data"}),
            "working_directory: \"~/data\" holds ~, which only a shell understands; write ${env.HOME} for the home directory \
             of the node's user, or the directory in full",
        ),
        (
            json!({"working_directory": "$HOME/data"}),
            "working_directory: \"$HOME/data\" holds $HOME, which only a shell understands; write ${env.HOME} for the node's \
             own variable; if it is meant literally, write ${config.text:-$HOME}",
        ),
        (
            json!({"environment": {"DAY": "$(date +%F)"}}),
            "environment.DAY: holds $(, which only a shell understands; have a command with \"shell\": true find the value",
        ),
        (
            json!({"environment": {"PROCESS_ID": "7"}}),
            "environment.PROCESS_ID: PROCESS_ID is set for every command by the orchestrator; choose another name",
        ),
        (
            json!({"environment": {"PROCESS_ORCHESTRATOR_NODE": "7"}}),
            "environment.PROCESS_ORCHESTRATOR_NODE: PROCESS_ORCHESTRATOR_NODE is set for every command by the orchestrator; \
             choose another name",
        ),
        (
            json!({"environment": {"PROCESS_ORCHESTRATOR_SCHEMA": "x"}}),
            "environment.PROCESS_ORCHESTRATOR_SCHEMA: PROCESS_ORCHESTRATOR_SCHEMA is a setting of the orchestrator's own, which \
             no task is to have; choose another name; a command that is this program takes an option for each, such as \
             --schema",
        ),
        (
            json!({"environment": {"NOTIFY_SOCKET": "/run/x"}}),
            "environment.NOTIFY_SOCKET: NOTIFY_SOCKET is what systemd tells the service it has started, which no command is; \
             choose another name; where a command has to see just this one, set it there: env NAME=VALUE PROGRAM",
        ),
    ] {
        let mut task = task;
        task["command"] = json!("true");
        assert_eq!(faults_of(&task), [format!("tasks[0].{expected}")]);
    }
    for name in [
        "PROCESS_ID",
        "PROCESS_TYPE",
        "TASK_NAME",
        "TASK_INDEX",
        "TASK_ATTEMPT",
        "PROCESS_CONTEXT_FILE",
        "PROCESS_ORCHESTRATOR_EXECUTION",
        "PROCESS_ORCHESTRATOR_HTTP_TOKEN_FILE",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "CREDENTIALS_DIRECTORY",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "MEMORY_PRESSURE_WATCH",
    ] {
        let faults = faults_of(&json!({"command": "true", "environment": {name: "x"}}));
        let begin = format!("tasks[0].environment.{name}: {name} is ");
        assert!(faults.len() == 1 && faults[0].starts_with(&begin), "{name}: {faults:?}");
    }
    let clash = json!({"command": "echo \"${config.x}\"", "shell": "bash", "environment": {"PO_CONFIG_X": "1", "PO_CONFIG_Y": "2"}});
    assert_eq!(
        faults_of(&clash),
        [
            "tasks[0].environment.PO_CONFIG_X: PO_CONFIG_X holds the value of a variable in the script; choose another name"
        ]
    );
    for environment in [
        json!({"PATH": "/opt/x:${env.PATH}", "PRICE": "$5", "PASSWORD": "a$ $", "TEXT": "a ~ b `", "D": "${config.x:-$PATH}"}),
        json!({"PGHOST": "db", "DATABASE_URL": "postgresql://x", "TILDE": "a~b", "X": "$${HOME}", "HOME": "/x", "TASK_OF_MINE": "x", "LD_LIBRARY_PATH": "/x"}),
    ] {
        let task =
            json!({"command": "true", "environment": environment, "working_directory": "${env.HOME}/a~/$5"});
        assert_eq!(faults_of(&task), Vec::<String>::new(), "{environment}");
    }
    for value in ["~", "~bob/x", "a:~/b", "~:a", "`id`", "$_x"] {
        assert_eq!(faults_of(&json!({"command": "true", "working_directory": value})).len(), 1, "{value}");
    }
    // Passwords, hashes and patterns of other programs.
    for value in [
        "pa$word",
        "a$$b",
        "pa$$WORD",
        "$2y$10$abc",
        "$2y$10$AB/cd",
        "$apr1$abc",
        "$argon2id$v=19",
        "$argon2id$v=19$AB+",
        "$time $msg",
        "`id`",
        "~",
        "a:~/b",
        "$A",
    ] {
        assert_eq!(
            faults_of(&json!({"command": "true", "environment": {"A": value}})),
            Vec::<String>::new(),
            "{value}"
        );
    }
    for value in json!(["s3cret$HOME", "~/s3cret", "s3cret$(x)", "s3cret $a $b $c $d $e $PATH"])
        .as_array()
        .expect("list")
    {
        let found = faults_of(&json!({"command": "true", "environment": {"A": value}}));
        assert_eq!(found.len(), 1, "{value}");
        assert!(!found[0].contains("s3cret") && !found[0].contains("config.text"), "{found:?}");
    }
    for value in [json!("s3cret\0"), json!("${s3cret x"), json!(5309337)] {
        let document =
            json!({"name": "p", "tasks": [{"name": "a", "command": "true", "environment": {"A": value}}]});
        let found = faults(&document.to_string());
        assert_eq!(found.len(), 1, "{value}");
        assert!(!found[0].contains("s3cret") && !found[0].contains("5309337"), "{found:?}");
    }
}

#[test]
fn what_no_program_can_be_passed_is_refused() {
    let long = "x".repeat(131_072);
    let passed = "x".repeat(131_071);
    for (task, expected) in [
        (
            json!({"command": long, "shell": true}),
            "command: a script of 131072 bytes can't be passed to a program; Linux takes 131071; write the script into a file \
             and run that, such as [\"bash\", \"/opt/scripts/load.sh\"]",
        ),
        (
            json!({"command": ["echo", "a", long]}),
            "command[2]: an argument of 131072 bytes can't be passed to a program; Linux takes 131071; write it into a file \
             and pass the file's name",
        ),
        (
            json!({"command": format!("echo {long}")}),
            "command: an argument of 131072 bytes can't be passed to a program; Linux takes 131071; write it into a file and \
             pass the file's name",
        ),
        (
            json!({"command": "true", "environment": {"A": long}}),
            "environment.A: a value of 131072 bytes can't be passed to a program; Linux takes 131071; write it into a file and \
             pass the file's name",
        ),
    ] {
        assert_eq!(faults_of(&task), [format!("tasks[0].{expected}")]);
    }
    assert_eq!(faults_of(&json!({"command": passed, "shell": true})), Vec::<String>::new());
    assert_eq!(faults_of(&json!({"command": ["echo", passed]})), Vec::<String>::new());
}

#[test]
fn what_was_registered_once_is_still_read() {
    let document = json!({"name": "p", "tasks": [
        {"name": "a", "command": "cp *.csv backup && ls > list.txt", "working_directory": "~/x"},
        {"name": "b", "command": "echo '${config.x}'", "shell": true, "environment": {"PROCESS_ID": "$PATH"}},
        {"name": "c", "command": ["bash", "-c", "${config.x}"]},
    ]});
    assert_eq!(ProcessType::from_value(&document, "p").expect_err("refused").faults.len(), 6);
    let stored = ProcessType::from_stored(&document, "p").expect("read");
    assert_eq!(ProcessType::from_stored(&stored.to_value(), "p"), Ok(stored));
}
