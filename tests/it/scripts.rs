//! What `scripts/lib.sh` does on machines that differ from this one, its installers replaced.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::program::ended;

/// Runs `steps` after `scripts/lib.sh`, as strictly as the scripts that source it, and gives what they printed.
fn with_lib(steps: &str) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-euc", &format!(". scripts/lib.sh\n{steps}")]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let ended = shell.output().unwrap();
    assert!(ended.status.success(), "{steps}\n{}\n{}", ended.status, String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

const REPLACED: &str = r#"
have() { true; }
has_test_tool() { false; }
id() { echo "$user"; }
sudo() { true; }
install_with_apt() { printf '%s|' "$root" "$@" >/dev/fd/3; }
"#;

/// Where nothing else was missing, no step before this one has looked for root.
#[test]
fn ci_installs_the_tools_of_the_tests_on_a_machine_that_has_all_else() {
    let install = |user: &str| with_lib(&format!("{REPLACED}\nuser={user} CI=true\nwant_test_tools 3>&1"));
    assert_eq!(install("0"), "|pgbouncer|iproute2|libfaketime|");
    assert_eq!(install("1000"), "sudo|pgbouncer|iproute2|libfaketime|");
}

#[test]
fn a_developers_machine_is_not_given_the_tools_of_the_tests() {
    assert_eq!(with_lib(&format!("{REPLACED}\nuser=0 CI=\nwant_test_tools 3>&1")), "");
}

/// Where a user cannot become root, what root has to run is what the script would have run.
#[test]
fn what_root_has_to_run_names_the_packages_of_the_script() {
    let replaced = "have() { [ \"$1\" = apt-get ]; }\nid() { echo 1000; }\nlist_missing() { missing='linker postgresql'; }\n\
                    ensure_rust() { :; }\nensure_apple_tools() { :; }\n(ensure_tools server) 2>&1 || true";
    let said = with_lib(replaced);
    let command = "apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev postgresql";
    assert!(said.lines().any(|line| line.trim() == command), "{said}");
}

/// The suite of `scripts/test`, imitated: one test leaves itself out with each version, another fails with the second.
const CARGO: &str = r#"#!/bin/sh
case $1 in
--version) echo cargo 1.95.0 ;;
metadata) echo '{"target_directory":"/nowhere"}' ;;
test)
    echo "a_test: no such thing" >>"$LEFT_OUT_TESTS"
    case $PROCESS_ORCHESTRATOR_POSTGRESQL in */second/bin) exit 1 ;; esac
    ;;
esac
"#;

#[test]
fn the_suite_runs_with_each_postgresql_and_names_what_was_left_out() {
    let folder = std::env::temp_dir().join(format!("po-scripts-{}", std::process::id()));
    let program = |path: &Path, text: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    program(&folder.join("cargo"), CARGO);
    program(
        &folder.join("python3"),
        "#!/bin/sh\n[ $1 = -c ] || echo 'other: why not' >>\"$LEFT_OUT_TESTS\"\n",
    );
    for version in ["first", "second"] {
        program(&folder.join(version).join("bin/initdb"), "#!/bin/sh\n");
        program(&folder.join(version).join("bin/postgres"), &format!("#!/bin/sh\necho postgres {version}\n"));
    }
    let test = |words: &[&str]| {
        let mut path = folder.as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test");
        ended(Command::new(script).args(words).env("PATH", path).env_remove("CI").current_dir(&folder))
    };
    let (first, second) = (folder.join("first"), folder.join("second/bin"));
    let versions = ["--postgresql", first.to_str().unwrap(), "--postgresql", second.to_str().unwrap()];
    let said = test(&versions).expect(1).err;
    for part in [
        "==> postgres first: passed\n==> 1 tests left themselves out with postgres first; cargo counts them as passed:\n    a_test: no such thing\n",
        "==> postgres second: failed\n==> 1 tests left themselves out with postgres second;",
        "==> 1 tests left themselves out among those of the example's scripts; cargo counts them as passed:\n    other: why not\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    test(&versions[..2]).expect(0);
    let said = test(&["--postgresql", "/nowhere"]).expect(1).err;
    assert!(said.contains("--postgresql /nowhere: there are no programs initdb and postgres"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

/// A slim system has no procps: no program `kill`, `ps` or `pkill`.
#[test]
fn nothing_needs_the_programs_of_procps() {
    let needs = |text: &str, name: &str| {
        let quoted = [format!("Command::new(\"{name}\")"), format!("/bin/{name} "), format!("/bin/{name}\"")];
        // The shell has a kill of its own.
        let in_script = name != "kill" && text.contains(&format!("\"{name} -"));
        in_script || quoted.iter().any(|it| text.contains(it))
    };
    let mut files = 0;
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|it| it.unwrap()) {
            let name = entry.file_name().into_string().unwrap();
            match entry.file_type().unwrap().is_dir() {
                true if ["target", ".git", "__pycache__"].contains(&&*name) => {}
                true => folders.push(entry.path()),
                false => {
                    let Ok(text) = fs::read_to_string(entry.path()) else { continue };
                    files += 1;
                    for program in ["kill", "pkill", "pgrep", "killall", "pidof", "ps", "free", "uptime"] {
                        // Where there is no /proc there is ps.
                        let is_needed =
                            needs(&text, program) && !entry.path().ends_with("platform/processes.rs");
                        assert!(!is_needed, "{} needs {program}", entry.path().display());
                    }
                }
            }
        }
    }
    assert!(files > 400, "only {files} files");
}
