//! How commands end, by themselves and otherwise.

use super::*;
use crate::command::{Reason, bare_spawn_and_capture};
use crate::model::lifecycle::Outcome;

fn message(report: &Report) -> &str {
    report.error_message.as_deref().unwrap_or("")
}

#[test]
fn success_with_both_streams_in_order() {
    for (way, mut runner) in all_ways() {
        let report = run_on(&mut runner, &["sh", "-c", "echo out; echo err >&2; echo end"], |_| {});
        assert_eq!(report.outcome, Outcome::Succeeded, "{way}: {report:?}");
        assert_eq!(report.output.as_deref(), Some("out\nerr\nend\n"), "{way}");
        assert_eq!((report.exit_code, report.signal, report.error_message), (Some(0), None, None), "{way}");
        assert_eq!(report.output_bytes, 12, "{way}");
        assert!(report.duration > Duration::ZERO && report.duration < FAR, "{way}");
        assert!(run_on(&mut runner, &["true"], |_| {}).output.is_none(), "{way}: nothing printed");
    }
}

#[test]
fn an_exit_code_and_the_last_line_are_told() {
    for (way, mut runner) in all_ways() {
        let report =
            run_on(&mut runner, &["sh", "-c", "echo start; echo 'no such column: age' >&2; exit 3"], |_| {});
        assert_eq!(
            (report.outcome, report.fatal, report.exit_code),
            (Outcome::Failed, false, Some(3)),
            "{way}"
        );
        assert_eq!(message(&report), "`sh` ended with exit code 3: no such column: age", "{way}");
    }
}

#[test]
fn a_signal_is_told_by_name() {
    for (way, mut runner) in all_ways() {
        let report = run_on(&mut runner, &["sh", "-c", "kill -SEGV $$"], |_| {});
        assert_eq!(
            (report.outcome, report.exit_code, report.signal),
            (Outcome::Failed, None, Some(11)),
            "{way}"
        );
        assert_eq!(message(&report), "`sh` was ended by signal 11 (SIGSEGV)", "{way}");
    }
}

#[test]
fn output_that_is_no_text_becomes_text() {
    let report = run_sh(r"printf 'a\000b\377c\303\244'", |_| {});
    assert_eq!(report.output.as_deref(), Some("a\u{FFFD}b\u{FFFD}c\u{e4}"), "{report:?}");
    assert_eq!(report.output_bytes, 7);
}

#[test]
fn endless_output_is_cut_in_the_middle() {
    const PRINTED: u64 = 200 * 1000 * 1000;
    let script = format!("echo first; head -c {} /dev/zero | tr '\\0' x; echo; echo last", PRINTED - 12);
    let report = run_sh(&script, |it| it.max_output_bytes = 10_000);
    let output = report.output.clone().unwrap_or_default();
    assert_eq!(report.output_bytes, PRINTED, "{}", message(&report));
    assert!(output.starts_with("first\nxxx") && output.ends_with("xxx\nlast\n"), "{output}");
    let marker = format!("\n[... {} bytes left out ...]\n", PRINTED - 10_000);
    assert!(output.contains(&marker), "{output}");
    assert_eq!(output.len(), 10_000 + marker.len());
}

#[test]
fn it_is_waited_for_after_it_closed_its_output() {
    for (way, mut runner) in all_ways() {
        let folder = Folder::new();
        let (closed, go) = (folder.pipe("closed"), folder.pipe("go"));
        let script = format!(
            "echo out; exec >/dev/null 2>&1; echo closed > {}; read word < {}; exit 7",
            closed.display(),
            go.display()
        );
        let report = std::thread::scope(|scope| {
            let running = scope.spawn(|| run_on(&mut runner, &["sh", "-c", &script], |_| {}));
            assert_eq!(line_from(&closed), "closed");
            std::fs::write(&go, "go\n").unwrap();
            running.join().unwrap()
        });
        assert_eq!(
            (report.exit_code, report.output.as_deref()),
            (Some(7), Some("out\n")),
            "{way}: {report:?}"
        );
    }
}

#[test]
fn a_timeout_is_heeded_after_it_closed_its_output() {
    for (way, mut runner) in all_ways() {
        let report = run_on(&mut runner, &["sh", "-c", "exec >/dev/null 2>&1; exec sleep 60"], |it| {
            it.timeout = Duration::from_millis(150);
        });
        assert_eq!((report.outcome, report.signal), (Outcome::TimedOut, Some(15)), "{way}: {report:?}");
    }
}

#[test]
fn a_grandchild_that_keeps_the_output_delays_nobody() {
    for (way, mut runner) in all_ways() {
        let began = Instant::now();
        let report = run_on(&mut runner, &["sh", "-c", "sleep 60 & echo $!"], |_| {});
        assert!(began.elapsed() < FAR / 2, "{way}: took {:?}", began.elapsed());
        assert_eq!(report.outcome, Outcome::Succeeded, "{way}: {report:?}");
        let output = report.output.unwrap();
        let (grandchild, remark) = output.split_once('\n').unwrap();
        let expected =
            "[... cut here: something that the command has left running still holds its output ...]\n";
        assert_eq!(remark, expected, "{way}");
        assert!(is_alive(grandchild), "{way}: a command that succeeds may leave children behind");
        crate::platform::processes::kill().arg(grandchild).status().unwrap();
    }
}

#[test]
fn a_grandchild_that_prints_without_end_delays_nobody() {
    let began = Instant::now();
    let report = run_sh("yes & echo $!", |_| {});
    assert!(began.elapsed() < FAR / 2, "took {:?}", began.elapsed());
    assert_eq!(report.outcome, Outcome::Succeeded, "{:?}", report.error_message);
    // Its pipe is closed: it ends by SIGPIPE.
    let output = report.output.unwrap();
    let grandchild =
        output.lines().find(|line| *line != "y").unwrap_or_else(|| panic!("no process id")).to_owned();
    assert_gone(&grandchild);
}

/// Runs `script` into its timeout: one that grows until the script has got as far as to print "ready".
fn timed_out_when_ready(runner: &mut Runner, script: &str, grace: Duration) -> Report {
    let mut timeout = Duration::from_millis(150);
    loop {
        let report = run_on(runner, &["sh", "-c", script], |it| (it.timeout, it.grace) = (timeout, grace));
        assert_eq!((report.outcome, report.fatal), (Outcome::TimedOut, false), "{report:?}");
        assert!(report.duration >= timeout, "ended before its timeout of {timeout:?}: {report:?}");
        if report.output.as_deref().is_some_and(|output| output.contains("ready\n")) {
            return report;
        }
        timeout *= 4;
        assert!(timeout < FAR, "it is never ready: {report:?}");
    }
}

#[test]
fn a_timeout_ends_the_whole_group() {
    for (way, mut runner) in all_ways() {
        // One child with our pipe, one without, one that does not heed SIGTERM.
        let script = "sleep 60 & echo $!; sleep 60 >/dev/null 2>&1 & echo $!; \
                      (trap '' TERM; exec sleep 60) >/dev/null 2>&1 & echo $!; echo ready; wait";
        let report = timed_out_when_ready(&mut runner, script, Duration::from_millis(300));
        assert!(
            message(&report).starts_with("`sh` exceeded its timeout of 0."),
            "{way}: {}",
            message(&report)
        );
        let how = " s and was killed (SIGKILL) as not all of it had ended 0.3 s after SIGTERM: ready";
        assert!(message(&report).ends_with(how), "{way}: {}", message(&report));
        let output = report.output.unwrap();
        let children: Vec<&str> = output.lines().filter(|line| *line != "ready").collect();
        assert_eq!(children.len(), 3, "{way}: {output}");
        children.into_iter().for_each(assert_gone);
    }
}

#[test]
fn a_timeout_of_a_question_says_so() {
    let script = "echo ready; printf 'Password: '; exec sleep 60";
    let report = timed_out_when_ready(&mut runner(), script, FAR);
    let expected = "was ended (SIGTERM); it probably waited for an answer to \"Password:\", but commands have no terminal";
    assert!(message(&report).contains(expected), "{}", message(&report));
}

#[test]
fn a_kill_is_told_with_memory_and_last_words() {
    for script in ["echo loading; kill -KILL $$", "echo loading; sh -c 'kill -KILL $$'; exit $?"] {
        let report = run_sh(script, |_| {});
        let text = message(&report);
        assert!(text.contains("SIGKILL") && text.contains(", often for lack of memory"), "{script}: {text}");
        assert!(text.ends_with(": loading"), "{script}: {text}");
    }
}

#[test]
fn who_ignores_sigterm_is_killed_after_the_grace() {
    for (way, mut runner) in all_ways() {
        let script = "trap '' TERM; echo ready; sleep 60";
        let report = timed_out_when_ready(&mut runner, script, Duration::from_millis(100));
        assert_eq!(report.signal, Some(9), "{way}: {report:?}");
        assert!(message(&report).contains("was killed (SIGKILL)"), "{way}: {}", message(&report));
        assert!(message(&report).contains("0.1 s after SIGTERM"), "{way}: {}", message(&report));
    }
}

#[test]
fn who_heeds_sigterm_has_time_to_clean_up() {
    let folder = Folder::new();
    let cleaned = folder.0.join("cleaned");
    // The grandchild does the cleaning, after the command itself has gone.
    let script = format!(
        "(exec 2>/dev/null; trap 'sleep 0.1; echo cleaned; touch {}; exit' TERM; echo ready; \
         while :; do sleep 0.01; done) & wait",
        cleaned.display()
    );
    let report = timed_out_when_ready(&mut runner(), &script, FAR);
    assert_eq!(report.output.as_deref(), Some("ready\ncleaned\n"), "{report:?}");
    assert!(cleaned.exists());
}

#[test]
fn a_stopped_command_can_be_ended() {
    let report = run_sh("kill -STOP $$", |it| it.timeout = Duration::from_millis(100));
    assert_eq!((report.outcome, report.signal), (Outcome::TimedOut, Some(15)), "{report:?}");
}

#[test]
fn an_exit_code_after_sigterm_is_still_a_timeout() {
    let script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let report = timed_out_when_ready(&mut runner(), script, FAR);
    assert_eq!(report.exit_code, Some(0), "{report:?}");
}

/// Runs `script`, which writes to the named pipe `$1` once it is ready; then interrupts it.
fn interrupted(runner: &mut Runner, script: &str, reasons: &[Reason]) -> Report {
    let folder = Folder::new();
    let ready = folder.pipe("ready");
    let interrupt = Interrupt::new().unwrap();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            runner.run(&invocation(&interrupt, &["sh", "-c", script, "sh", ready.to_str().unwrap()]))
        });
        assert_eq!(line_from(&ready), "ready");
        reasons.iter().for_each(|&reason| interrupt.request(reason));
        running.join().unwrap()
    })
}

#[test]
fn an_interrupt_ends_it() {
    for (way, mut runner) in all_ways() {
        for script in
            ["echo ready > $1; exec sleep 60", "exec 2>/dev/null >$1; echo ready; exec sleep 60 >/dev/null"]
        {
            for (reason, outcome, signal, text) in [
                (Reason::Stop, Outcome::Interrupted, 15, "`sh` was ended (SIGTERM): the node stops"),
                (
                    Reason::Cancel,
                    Outcome::Cancelled,
                    15,
                    "`sh` was ended (SIGTERM): its process was cancelled",
                ),
                (
                    Reason::Fenced,
                    Outcome::Interrupted,
                    9,
                    "`sh` was killed (SIGKILL): the claim of its process",
                ),
            ] {
                let report = interrupted(&mut runner, script, &[reason]);
                let seen = (report.outcome, report.signal, report.fatal);
                assert_eq!(seen, (outcome, Some(signal), false), "{way}, {reason:?}: {report:?}");
                assert!(message(&report).starts_with(text), "{way}: {}", message(&report));
            }
        }
    }
}

#[test]
fn a_lost_claim_does_not_wait_for_the_grace() {
    for (way, mut runner) in all_ways() {
        let script = "trap '' TERM; echo ready > $1; sleep 60";
        let report = interrupted(&mut runner, script, &[Reason::Stop, Reason::Fenced]);
        assert_eq!((report.outcome, report.signal), (Outcome::Interrupted, Some(9)), "{way}: {report:?}");
    }
}

#[test]
fn a_request_before_the_start_is_not_lost() {
    let interrupt = Interrupt::new().unwrap();
    interrupt.request(Reason::Stop);
    let mut runner = runner();
    let report = runner.run(&invocation(&interrupt, &["true"]));
    assert_eq!(
        (report.outcome, message(&report)),
        (Outcome::Interrupted, "`true` was not started: the node stops")
    );
    interrupt.clear();
    assert_eq!(runner.run(&invocation(&interrupt, &["true"])).outcome, Outcome::Succeeded);
}

#[test]
fn an_endless_timeout_is_none() {
    assert_eq!(run(&["true"], |it| it.timeout = Duration::MAX).outcome, Outcome::Succeeded);
}

#[test]
#[cfg(target_os = "linux")]
fn usage_is_seen() {
    // Spins until it has used some tens of milliseconds of CPU time itself, so it lives beyond the first look.
    let report = run_sh("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done", |_| {});
    let cpu = report.cpu.unwrap_or_else(|| panic!("no CPU time: {report:?}"));
    assert!(cpu > Duration::from_millis(10) && cpu <= report.duration * 2, "{report:?}");
    let peak = report.peak_memory_bytes.unwrap_or_else(|| panic!("no peak memory: {report:?}"));
    assert!((100_000..1_000_000_000).contains(&peak), "{report:?}");
    assert!(run(&["true"], |_| {}).cpu.is_some());
}

#[test]
fn the_yardstick_does_the_same() {
    let argv = ["sh", "-c", "echo out; exit 3"].map(str::to_owned);
    let (status, output) = bare_spawn_and_capture(&argv).unwrap();
    let report = run(&["sh", "-c", "echo out; exit 3"], |_| {});
    assert_eq!((status.code(), String::from_utf8(output).ok()), (report.exit_code, report.output));
}
