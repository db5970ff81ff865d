//! What `scripts/lib.sh` does on machines that differ from this one, its installers replaced.

use std::process::Command;

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
