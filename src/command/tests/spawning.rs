//! What a command is started with, and why it can't be started.

use std::ffi::OsString;

use super::*;
use crate::model::lifecycle::Outcome;

fn assert_refused(report: &Report, message_parts: &[&str]) {
    let message = report.error_message.as_deref().unwrap_or("");
    assert_eq!((report.outcome, report.fatal), (Outcome::SpawnFailed, true), "{report:?}");
    for part in message_parts {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
    assert_eq!((report.exit_code, report.signal, &report.output), (None, None, &None));
}

fn is_root() -> bool {
    let output = std::process::Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

#[test]
fn hostile_arguments_arrive_unchanged() {
    let hostile = [
        "a b",
        "",
        "\"'`",
        "; rm -rf /",
        "$(id)",
        "${HOME}",
        "line\nbreak",
        "-rf",
        "--",
        "*",
        "~",
        "\\",
        "%s",
        "ä\u{1F600}",
    ];
    for (way, mut runner) in all_ways() {
        // printf repeats its format for every argument; the brackets show where each ends.
        let argv = [&["printf", "[%s]", "first"][..], &hostile].concat();
        let report = run_on(&mut runner, &argv, |_| {});
        let expected: String = ["first"].iter().chain(&hostile).map(|word| format!("[{word}]")).collect();
        assert_eq!(report.output.as_deref(), Some(expected.as_str()), "{way}: {report:?}");
    }
}

#[test]
fn the_environment_is_the_base_without_secrets_plus_the_commands_own() {
    let pairs = [("PATH", "/usr/bin:/bin"), ("KEPT", "1"), ("OVER", "old"), ("PGPASSWORD", "secret")];
    let pairs = pairs.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    for (way, mut runner) in all_ways() {
        runner.base = Arc::new(BaseEnvironment::from_variables(pairs.clone()));
        let report = run_on(&mut runner, &["env"], |it| {
            it.environment =
                [("OVER", "first"), ("OVER", "last"), ("PROCESS_ORCHESTRATOR_MARK", "m"), ("TEXT", "a=b\nc")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .to_vec();
        });
        let output = report.output.clone().unwrap_or_default();
        let mut lines: Vec<&str> = output.lines().collect();
        lines.sort_unstable();
        let expected =
            ["KEPT=1", "OVER=last", "PATH=/usr/bin:/bin", "PROCESS_ORCHESTRATOR_MARK=m", "TEXT=a=b", "c"];
        assert_eq!(lines, expected, "{way}: {report:?}");
    }
}

#[test]
fn a_command_starts_clean() {
    // Who started the tests may have left descriptors open to all, as the standard library's child shows. On Linux none of
    // them gets to a command: it has the standard three, and the list its own.
    let count = "ls /dev/fd | wc -l";
    let inherited = std::process::Command::new("sh").args(["-c", count]).output().unwrap();
    let inherited = String::from_utf8(inherited.stdout).unwrap();
    let expected = if cfg!(target_os = "linux") { "4\n" } else { inherited.as_str() };
    let ours = std::fs::File::open("/dev/null").unwrap();
    for (way, mut runner) in all_ways() {
        // Standard input is empty, and SIGPIPE, which Rust ignores, ends the shell.
        let report = run_on(&mut runner, &["sh", "-c", "cat; kill -PIPE $$; echo ignored"], |_| {});
        assert_eq!(report.signal, Some(13), "{way}: {report:?}");
        let report = run_on(&mut runner, &["sh", "-c", count], |_| {});
        assert_eq!(report.output.as_deref(), Some(expected), "{way}: a descriptor of ours leaks");
        // A slim system has no ps, and macOS no /proc.
        let seen = "cut -d ' ' -f 5,6 /proc/$$/stat 2>/dev/null || ps -o pgid=,sid= -p $$; echo $$";
        let report = run_on(&mut runner, &["sh", "-c", seen], |_| {});
        let output = report.output.clone().unwrap_or_default();
        let words: Vec<&str> = output.split_ascii_whitespace().collect();
        assert_eq!(words[..2], [words[2]; 2], "{way}: it must lead its own group and session: {report:?}");
    }
    drop(ours);
}

#[test]
#[cfg(target_os = "linux")]
fn no_signal_is_blocked_or_ignored() {
    // The two above the standard ones, which glibc keeps to itself, do not count.
    const STANDARD: u64 = (1 << 31) - 1;
    let report = run(&["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"], |_| {});
    let output = report.output.clone().unwrap_or_default();
    let masks: Vec<u64> = output
        .split_ascii_whitespace()
        .skip(1)
        .step_by(2)
        .map(|mask| u64::from_str_radix(mask, 16).unwrap() & STANDARD)
        .collect();
    assert_eq!(masks, [0, 0], "{report:?}");
}

#[test]
fn it_runs_in_its_working_directory() {
    let folder = Folder::new();
    folder.file("tool", "#!/bin/sh\necho \"$0 in $(pwd -P)\"\n", 0o755);
    let folder_path = folder.0.canonicalize().unwrap();
    for (way, mut runner) in all_ways() {
        for program in ["./tool", "tool"] {
            let report = run_on(&mut runner, &[program], |it| {
                it.working_directory = Some(folder.0.clone());
                it.environment = vec![("PATH".to_owned(), ":/usr/bin:/bin".to_owned())];
            });
            let expected = format!("./tool in {}\n", folder_path.display());
            assert_eq!(report.output.as_deref(), Some(expected.as_str()), "{way}: {report:?}");
        }
    }
}

#[test]
fn its_own_path_is_looked_through() {
    let folder = Folder::new();
    let other = Folder::new();
    folder.file("a-tool-of-the-test", "not executable", 0o644);
    other.file("a-tool-of-the-test", "#!/bin/sh\necho found\n", 0o755);
    let report = run(&["a-tool-of-the-test"], |it| {
        let path = format!("{}:{}", folder.0.display(), other.0.display());
        it.environment = vec![("PATH".to_owned(), path)];
    });
    assert_eq!(
        report.output.as_deref(),
        Some("found\n"),
        "a file that can't be executed is passed over: {report:?}"
    );
}

#[test]
fn no_such_program() {
    let report = run(&["no-such-program-anywhere"], |it| {
        it.environment = vec![("PATH".to_owned(), "/usr/bin:/nowhere".to_owned())];
    });
    assert_refused(
        &report,
        &[
            "no such program: `no-such-program-anywhere` is in none of",
            "PATH (`/usr/bin:/nowhere`)",
            "install it",
        ],
    );
    for (way, mut runner) in all_ways() {
        let report = run_on(&mut runner, &["/nowhere/program"], |_| {});
        assert_refused(&report, &["no such program: `/nowhere/program` does not exist"]);
        assert!(report.output_bytes == 0, "{way}");
    }
    for (word, part) in [
        ("cd", "it is a shell's own word: write the command as one text and give its task \"shell\": true"),
        ("ulimit", "it is a shell's own word: write"),
        ("ls -l", "all of it is taken for the program's name: write each argument as a text of its own"),
        ("ls;", "only a shell understands it: write"),
        ("*.sh", "only a shell understands it: write"),
        (
            "A=1",
            "a shell would set A with it: write it into the task's environment, or give the task \"shell\": true",
        ),
    ] {
        let nowhere =
            |it: &mut Invocation<'_>| it.environment = vec![("PATH".to_owned(), "/nowhere".to_owned())];
        assert_refused(
            &run(&[word, "x"], nowhere),
            &[&format!("no such program: `{word}` is in none of"), part],
        );
    }
    let report = run(&[&"*".repeat(100_000), "x"], |_| {});
    assert_refused(&report, &["install it, or give its full path"]);
    let folder = Folder::new();
    let report = run(&["./configure"], |it| it.working_directory = Some(folder.0.clone()));
    let place = format!("`./configure` does not exist in the working directory `{}`", folder.0.display());
    assert_refused(&report, &[&place]);
    let own = std::env::current_dir().unwrap();
    let place = format!(
        "`./nowhere/x` does not exist in the node's own directory `{}`; give the task a",
        own.display()
    );
    assert_refused(&run(&["./nowhere/x"], |_| {}), &[&place]);
    assert_refused(&run(&[""], |_| {}), &["no such program: ``"]);
    assert_refused(&run(&[], |_| {}), &["the command is empty"]);
}

#[test]
fn no_such_working_directory_is_told_from_no_such_program() {
    for (_, mut runner) in all_ways() {
        for program in ["true", "/bin/true", "./true"] {
            let report =
                run_on(&mut runner, &[program], |it| it.working_directory = Some("/nowhere/data".into()));
            assert_refused(&report, &["no such working directory: `/nowhere/data`", "create it"]);
        }
        let report = run_on(&mut runner, &["true"], |it| it.working_directory = Some("~/data".into()));
        assert_refused(&report, &["no such working directory: `~/data`", "(write ${env.HOME} for ~)"]);
        let report = run_on(&mut runner, &["true"], |it| it.working_directory = Some("/dev/null".into()));
        assert_refused(&report, &["the working directory `/dev/null` is not a directory"]);
    }
}

#[test]
fn not_executable() {
    let folder = Folder::new();
    let script = folder.file("script", "#!/bin/sh\n", 0o644);
    let script = script.to_str().unwrap();
    assert_refused(&run(&[script], |_| {}), &[script, "is not executable", "chmod +x"]);
    let report = run(&["script"], |it| {
        it.environment = vec![("PATH".to_owned(), folder.0.to_str().unwrap().to_owned())];
    });
    assert_refused(&report, &[script, "is not executable", "chmod +x"]);
    assert_refused(&run(&[folder.0.to_str().unwrap()], |_| {}), &["is a directory, not a program"]);
    if !is_root() {
        assert_refused(
            &run(&["true"], |it| it.working_directory = Some("/root".into())),
            &["can't be entered"],
        );
    }
}

#[test]
fn bad_interpreter() {
    let folder = Folder::new();
    let missing = folder.file("missing", "#!/nowhere/python3 -u\n", 0o755);
    assert_refused(&run(&[missing.to_str().unwrap()], |_| {}), &["its interpreter `/nowhere/python3`"]);
    let from_windows = folder.file("from_windows", "#!/bin/sh\r\n", 0o755);
    assert_refused(&run(&[from_windows.to_str().unwrap()], |_| {}), &["its interpreter `/bin/sh\\r`"]);
    let none = folder.file("none", "echo hello\n", 0o755);
    assert_refused(&run(&[none.to_str().unwrap()], |_| {}), &["no program for this machine", "#!/bin/sh"]);
}

#[test]
fn argument_list_too_long() {
    let long = "x".repeat(4 * 1024 * 1024);
    for (_, mut runner) in all_ways() {
        let report = run_on(&mut runner, &["/bin/echo", "short", &long], |_| {});
        assert_refused(
            &report,
            &[
                "`/bin/echo`",
                "the argument list is too long: 3 arguments",
                "4194304",
                "pass large values in a file",
            ],
        );
    }
}

#[test]
fn nul_in_what_is_asked() {
    for (_, mut runner) in all_ways() {
        let report = run_on(&mut runner, &["/bin/echo", "a\0b"], |_| {});
        assert_refused(&report, &["`/bin/echo`: argument 1 contains a NUL"]);
        let report = run_on(&mut runner, &["/bin/ec\0ho"], |_| {});
        assert_refused(&report, &["its name contains a NUL"]);
        assert!(!report.error_message.unwrap().contains('\0'), "PostgreSQL could not store it");
        let report = run_on(&mut runner, &["/bin/echo"], |it| {
            it.environment = vec![("NAME".to_owned(), "a\0b".to_owned())];
        });
        assert_refused(&report, &["the environment variable `NAME` contains a NUL"]);
        let report = run_on(&mut runner, &["/bin/echo"], |it| it.working_directory = Some("/tmp/\0".into()));
        assert_refused(&report, &["the working directory contains a NUL"]);
    }
}
