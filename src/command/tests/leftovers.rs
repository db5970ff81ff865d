//! What commands leave running: their last words, their grace, and that no attempt meets the one before.
#![cfg(target_os = "linux")]

use super::*;
use crate::Leftovers;
use crate::command::Reason;
use crate::model::lifecycle::Outcome;

/// A runner whose commands carry the tag of a node, as an executor's do.
fn tagging() -> Runner {
    let node = format!("leftovers-{}-{:08x}", std::process::id(), fastrand::u32(..));
    runner_with(BaseEnvironment::of_this_process().of_node(&node))
}

fn run_bash(runner: &mut Runner, script: &str, change: impl FnOnce(&mut Invocation<'_>)) -> Report {
    run_on(runner, &["bash", "-c", script], change)
}

fn message(report: &Report) -> &str {
    report.error_message.as_deref().unwrap_or("")
}

/// The ways to leave something running: in the group, in a group of its own, in a session of its own; forked twice.
const WAYS: [&str; 5] = [
    "WORKER >/dev/null 2>&1 &",
    "set -m; WORKER >/dev/null 2>&1 &",
    "timeout 600 WORKER >/dev/null 2>&1 &",
    "setsid WORKER </dev/null >/dev/null 2>&1 &",
    "(setsid WORKER </dev/null >/dev/null 2>&1 &)",
];

/// Writes its id to `pid` and waits; SIGTERM has it clean up for a while, and say so in `clean`.
fn worker(folder: &Folder) -> String {
    let text = format!(
        "#!/bin/bash\ntrap 'sleep 0.3; echo clean >> {0}/clean; exit 0' TERM\necho $$ > {0}/part; mv {0}/part {0}/pid\n\
         while :; do sleep 0.02; done\n",
        folder.0.display()
    );
    folder.file("worker", &text, 0o755).display().to_string()
}

fn leaving(way: &str, folder: &Folder) -> String {
    let started = format!("until [ -e {}/pid ]; do sleep 0.01; done", folder.0.display());
    format!("{}\n{started}\n", way.replace("WORKER", &worker(folder)))
}

fn pid(folder: &Folder) -> String {
    std::fs::read_to_string(folder.0.join("pid")).unwrap().trim().to_owned()
}

fn has_cleaned(folder: &Folder) -> bool {
    folder.0.join("clean").exists()
}

/// Until an attempt that failed is reported, all of it had its grace and has ended.
fn assert_ended_with_grace(way: &str, folder: &Folder, report: &Report) {
    assert!(!is_alive(&pid(folder)), "{way}: {report:?}");
    assert!(has_cleaned(folder), "{way}: {report:?}");
}

#[test]
fn a_filter_that_the_output_is_piped_through_says_its_last_words() {
    let script = |exit: u32| {
        format!(
            "exec > >(while read -r line; do printf '%s %s\\n' \"$SECONDS\" \"$line\"; done) 2>&1; \
             for i in $(seq 400); do echo \"line $i\"; done; echo 'the reason'; exit {exit}"
        )
    };
    for (exit, outcome) in [(3, Outcome::Failed), (0, Outcome::Succeeded)] {
        let report = run_bash(&mut tagging(), &script(exit), |_| {});
        let output = report.output.clone().unwrap();
        assert_eq!((report.outcome, output.lines().count()), (outcome, 401), "{}", message(&report));
        assert!(output.ends_with(" the reason\n"), "{output}");
    }
    // Slow ones and those that end with what they have read in one piece are heard too.
    for filter in
        ["while read -r line; do sleep 0.4; echo \"$line\"; done", "sleep 0.8; tac", "tee /dev/null"]
    {
        let script = format!("exec > >({filter}) 2>&1; echo one; echo two; exit 3");
        let report = run_bash(&mut tagging(), &script, |_| {});
        let output = report.output.clone().unwrap();
        let mut lines: Vec<&str> = output.lines().collect();
        lines.sort_unstable();
        assert_eq!((report.outcome, lines), (Outcome::Failed, vec!["one", "two"]), "{filter}: {output}");
    }
}

#[test]
fn what_is_cut_is_said() {
    let folder = Folder::new();
    let script = format!(
        "(i=0; while :; do echo \"server $i\"; i=$((i+1)); sleep 0.1; done) & echo $! > {}/pid; echo started",
        folder.0.display()
    );
    let interrupt = Interrupt::new().unwrap();
    let mut runner = tagging();
    let report = std::thread::scope(|scope| {
        // Until a stop needs the executor: it would be read for longer else.
        scope.spawn(|| {
            while is_leader_alive(&folder) {
                std::thread::yield_now();
            }
            interrupt.request(Reason::Stop);
        });
        runner.run(&invocation(&interrupt, &["bash", "-c", &script]))
    });
    let output = report.output.clone().unwrap();
    assert_eq!((report.outcome, message(&report)), (Outcome::Succeeded, ""), "{report:?}");
    assert!(output.starts_with("started\n") || output.starts_with("server 0\n"), "{output}");
    let remark = "\n[... cut here: something that the command has left running still holds its output ...]\n";
    assert!(output.ends_with(remark), "{output}");
    assert!(report.duration < Duration::from_secs(5), "{:?}", report.duration);
    assert_gone(&pid(&folder)); // of SIGPIPE, as the guide says
}

/// Whether the command that starts the process in `pid` still runs, or has not got that far.
fn is_leader_alive(folder: &Folder) -> bool {
    let pid = std::fs::read_to_string(folder.0.join("pid")).unwrap_or_default();
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) else { return true };
    let session = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(3));
    session.is_none_or(is_alive)
}

#[test]
fn an_attempt_that_fails_takes_along_what_it_has_left_with_grace() {
    for way in WAYS {
        for end in ["exit 1", "kill -9 $$"] {
            let folder = Folder::new();
            let mut runner = tagging();
            let report = run_bash(&mut runner, &(leaving(way, &folder) + end), |_| {});
            assert_eq!(report.outcome, Outcome::Failed, "{way} {end}: {report:?}");
            assert_ended_with_grace(way, &folder, &report);
            let text = "; what it had left running was ended (SIGTERM)";
            assert!(message(&report).ends_with(text), "{way} {end}: {}", message(&report));
        }
    }
}

#[test]
fn a_timeout_a_cancel_and_a_stop_give_everything_its_grace() {
    for way in WAYS {
        for reason in [None, Some(Reason::Cancel), Some(Reason::Stop)] {
            let folder = Folder::new();
            let mut runner = tagging();
            let interrupt = Interrupt::new().unwrap();
            let script = leaving(way, &folder) + "touch ready; exec sleep 600";
            let script = script.replace("ready", folder.0.join("ready").to_str().unwrap());
            let report = std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !folder.0.join("ready").exists() {
                        std::thread::yield_now();
                    }
                    reason.into_iter().for_each(|reason| interrupt.request(reason));
                });
                let mut invocation = invocation(&interrupt, &["bash", "-c", &script]);
                if reason.is_none() {
                    invocation.timeout = Duration::from_millis(1_500);
                }
                runner.run(&invocation)
            });
            assert_ended_with_grace(way, &folder, &report);
            assert!(message(&report).contains("was ended (SIGTERM)"), "{way}: {}", message(&report));
        }
    }
}

#[test]
fn a_lost_claim_gives_none() {
    for way in WAYS {
        let folder = Folder::new();
        let mut runner = tagging();
        let interrupt = Interrupt::new().unwrap();
        let script = leaving(way, &folder) + "exec sleep 600";
        let report = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !folder.0.join("pid").exists() {
                    std::thread::yield_now();
                }
                interrupt.request(Reason::Fenced);
            });
            runner.run(&invocation(&interrupt, &["bash", "-c", &script]))
        });
        assert!(!is_alive(&pid(&folder)) && !has_cleaned(&folder), "{way}: {report:?}");
    }
}

#[test]
fn what_does_not_heed_sigterm_is_killed_after_the_grace() {
    let folder = Folder::new();
    let script = format!(
        "setsid sh -c 'trap \"\" TERM; echo $$ > {0}/part; mv {0}/part {0}/pid; sleep 600' </dev/null >/dev/null 2>&1 & \
         until [ -e {0}/pid ]; do sleep 0.01; done; exit 1",
        folder.0.display()
    );
    let report = run_bash(&mut tagging(), &script, |it| it.grace = Duration::from_millis(300));
    assert!(!is_alive(&pid(&folder)), "{report:?}");
    let text = "`bash` ended with exit code 1; what it had left running was killed (SIGKILL)";
    assert_eq!(message(&report), text);
}

#[test]
fn the_daemon_of_a_success_lives_on_unless_it_is_told_otherwise() {
    for way in WAYS {
        for leftovers in [Leftovers::Keep, Leftovers::Kill] {
            let folder = Folder::new();
            let report = run_bash(&mut tagging(), &leaving(way, &folder), |it| it.leftovers = leftovers);
            let lived = is_alive(&pid(&folder));
            if lived {
                crate::platform::processes::kill().args(["-KILL", &pid(&folder)]).status().unwrap();
            }
            assert_eq!((report.outcome, message(&report)), (Outcome::Succeeded, ""), "{way}: {report:?}");
            assert_eq!(lived, leftovers == Leftovers::Keep, "{way}: {report:?}");
            assert_eq!(has_cleaned(&folder), leftovers == Leftovers::Kill, "{way}");
        }
    }
}

#[test]
fn a_success_whose_values_cannot_be_read_takes_along_what_it_has_left() {
    let folder = Folder::new();
    let script = leaving(WAYS[3], &folder) + "echo rows > $PROCESS_CONTEXT_FILE";
    let report = run_bash(&mut tagging(), &script, |it| it.context_file = true);
    assert_eq!(report.outcome, Outcome::Failed, "{report:?}");
    assert_ended_with_grace(WAYS[3], &folder, &report);
}

#[test]
fn without_an_environment_it_is_found_by_its_session_and_strangers_are_left_alone() {
    let folder = Folder::new();
    let mut stranger = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let way = "env -i PATH=\"$PATH\" WORKER >/dev/null 2>&1 &";
    let report = run_bash(&mut tagging(), &(leaving(way, &folder) + "exit 1"), |_| {});
    let is_well = is_alive(&stranger.id().to_string());
    stranger.kill().and_then(|()| stranger.wait()).unwrap();
    assert_ended_with_grace(way, &folder, &report);
    assert!(is_well);
}
