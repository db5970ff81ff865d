//! What is known of a command after its end, and the sentence that tells people.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::context_file::Unusable;
use super::interrupt::Reason;
use super::invocation::Invocation;
use super::oom;
use super::output;
use super::program::{self, SpawnFault, shown};
use super::reason;
use super::supervise::{Cause, Ended};
use super::usage;
use crate::model::lifecycle::Outcome;
use crate::model::shell;
use crate::platform::{self, Reaped};

/// How a command went.
#[derive(Debug)]
pub struct Report {
    /// What is recorded of it. Never `Lost`.
    pub outcome: Outcome,
    /// A failure that no further attempt can heal: the command can't be started as it is written, or it has done its work
    /// and can't say what it passes on.
    pub fatal: bool,
    /// Its exit code, if it exited by itself.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// When it was about to be spawned.
    pub began: Instant,
    /// From there to its end.
    pub duration: Duration,
    /// CPU time of the command and of those of its children that it waited for.
    pub cpu: Option<Duration>,
    /// Peak resident memory; none where it ended before it could be seen.
    pub peak_memory_bytes: Option<u64>,
    /// What it printed (stdout and stderr), without NUL and as UTF-8, cut in the middle if it was too long;
    /// none if it printed nothing.
    pub output: Option<String>,
    /// Bytes that it printed in all.
    pub output_bytes: u64,
    /// Why it did not succeed: one sentence without control characters.
    pub error_message: Option<String>,
    /// What it wrote to its context file; empty unless it succeeded.
    pub context: Map<String, Value>,
}

impl Report {
    fn blank(outcome: Outcome, began: Instant) -> Self {
        Self {
            outcome,
            fatal: false,
            exit_code: None,
            signal: None,
            began,
            duration: began.elapsed(),
            cpu: None,
            peak_memory_bytes: None,
            output: None,
            output_bytes: 0,
            error_message: None,
            context: Map::new(),
        }
    }

    /// Its words could not be made of the task's command: no attempt can heal that.
    pub fn unresolved(message: String) -> Self {
        Self {
            fatal: true,
            error_message: Some(message),
            ..Self::blank(Outcome::SpawnFailed, Instant::now())
        }
    }

    /// It has succeeded and left nothing to tell.
    pub fn succeeded() -> Self {
        Self { exit_code: Some(0), ..Self::blank(Outcome::Succeeded, Instant::now()) }
    }

    /// It could not be started.
    pub(super) fn not_started(fault: SpawnFault, began: Instant) -> Self {
        Self {
            fatal: fault.fatal,
            error_message: Some(fault.message),
            ..Self::blank(Outcome::SpawnFailed, began)
        }
    }

    /// It was not started, because of a request that came before.
    pub(super) fn interrupted_before(reason: Reason, invocation: &Invocation<'_>, began: Instant) -> Self {
        let message = format!("{} was not started: {}", shown(invocation.program()), because(reason));
        Self { error_message: Some(message), ..Self::blank(reason.outcome(), began) }
    }

    /// It has run and ended.
    pub(super) fn of_ended(ended: Ended, invocation: &Invocation<'_>, began: Instant) -> Self {
        let output_bytes = ended.capture.total_bytes();
        let mut report = Self { output_bytes, ..Self::blank(Outcome::Failed, began) };
        report.output = ended.capture.into_text();
        let name = shown(invocation.program());
        let last_words =
            |end| report.output.as_deref().map_or(String::new(), |output| last_words(output, end));
        match ended.reaped {
            Ok(reaped) => {
                report.exit_code = reaped.exit_code;
                report.signal = reaped.signal;
                report.cpu = reaped.cpu;
                report.peak_memory_bytes = usage::peak_of_ended(ended.peak_memory, reaped.max_rss_bytes);
                if reaped.exit_code == Some(0) {
                    report.outcome = Outcome::Succeeded;
                } else {
                    let how = describe_end(&reaped, || runs_script(invocation));
                    let memory = match killing(&reaped) {
                        true => lack_of_memory(report.peak_memory_bytes, oom::killed_since_last_look()),
                        false => {
                            oom::note_other_failure();
                            String::new()
                        }
                    };
                    let last_words = last_words(End::of(&reaped));
                    report.error_message = Some(format!("{name} {how}{memory}{last_words}"));
                }
            }
            Err(e) => report.error_message = Some(format!("failed to watch {name} to its end: {e}")),
        }
        if ended.ended_rest
            && let Some(message) = &mut report.error_message
        {
            let how = if ended.was_killed { "killed (SIGKILL)" } else { "ended (SIGTERM)" };
            message.push_str(&format!("; what it had left running was {how}"));
        }
        if let Some(cause) = ended.cause {
            let how = describe_cause(cause, &name, ended.was_killed, invocation);
            let last_words = if cause == Cause::Timeout { last_words(End::Timeout) } else { String::new() };
            report.outcome = cause.outcome();
            report.error_message = Some(format!("{how}{last_words}"));
        }
        if ended.is_output_held {
            output::remark_cut(&mut report.output);
        }
        report
    }

    /// Whether something killed it that was not asked to by whoever watched it.
    pub fn was_killed_by_others(&self) -> bool {
        self.outcome == Outcome::Failed && self.signal == Some(platform::SIGNAL_KILL)
    }

    /// It was killed because the node had lost its lease.
    pub fn mark_fenced(&mut self) {
        self.outcome = Reason::Fenced.outcome();
        self.error_message = Some(format!("the command was killed (SIGKILL): {}", because(Reason::Fenced)));
    }

    /// It succeeded, but what it wants to pass on can't be used: what has been done
    /// is not to be done again, and would be told as badly.
    pub(super) fn spoil_by_context(&mut self, fault: &Unusable, invocation: &Invocation<'_>) {
        let name = shown(invocation.program());
        self.outcome = Outcome::Failed;
        self.fatal = !fault.may_heal;
        self.error_message = Some(format!(
            "{name} ended with exit code 0, but its context file ($PROCESS_CONTEXT_FILE) {}",
            fault.phrase
        ));
    }
}

/// What ended a command, as far as it tells what its last words are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Timeout,
    Signal,
    ExitCode,
}

impl End {
    /// That of a command whose shell waited for what a signal has ended is a signal's too.
    fn of(ended: &Reaped) -> Self {
        let is_of_signal = |code: i32| platform::signal_name(code - platform::SHELL_SIGNAL_BASE).is_some();
        if ended.exit_code.is_none_or(is_of_signal) { Self::Signal } else { Self::ExitCode }
    }
}

/// Whether a shell is at work somewhere in it. Others have codes above 128 of their own: git's 129 is wrong usage.
fn runs_script(invocation: &Invocation<'_>) -> bool {
    let names_shell = |word: &String| shell::is_posix_shell(shell::base_name(word));
    invocation.argv.iter().any(names_shell)
        || program::is_script(invocation.program(), invocation.working_directory.as_deref())
}

fn describe_end(ended: &Reaped, runs_script: impl FnOnce() -> bool) -> String {
    match (ended.exit_code, ended.signal) {
        // Whatever hands on SIGKILL's code does so as shells do.
        (Some(code), _) => match platform::signal_name(code - platform::SHELL_SIGNAL_BASE) {
            Some(name) if killing(ended) || runs_script() => {
                format!("ended with exit code {code} (a shell's code for a command ended by {name})")
            }
            _ => format!("ended with exit code {code}"),
        },
        (None, Some(signal)) => {
            let name = platform::signal_name(signal).map_or(String::new(), |name| format!(" ({name})"));
            let core = if ended.core_dumped { ", core dumped" } else { "" };
            format!("was ended by signal {signal}{name}{core}")
        }
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

fn describe_cause(cause: Cause, name: &str, was_killed: bool, invocation: &Invocation<'_>) -> String {
    let how = if was_killed {
        format!("was killed (SIGKILL) as not all of it had ended {} after SIGTERM", human(invocation.grace))
    } else {
        "was ended (SIGTERM)".to_owned()
    };
    match cause {
        Cause::Timeout => format!("{name} exceeded its timeout of {} and {how}", human(invocation.timeout)),
        Cause::Interrupt(Reason::Fenced) => {
            format!("{name} was killed (SIGKILL): {}", because(Reason::Fenced))
        }
        Cause::Interrupt(reason) => format!("{name} {how}: {}", because(reason)),
    }
}

fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::Stop => "the node stops",
        Reason::Cancel => "its process was cancelled",
        Reason::Fenced => "the claim of its process is no longer this node's",
    }
}

/// Whether SIGKILL has ended the command, or one that its shell waited for.
fn killing(ended: &Reaped) -> bool {
    ended.signal == Some(platform::SIGNAL_KILL)
        || ended.exit_code == Some(platform::SHELL_SIGNAL_BASE + platform::SIGNAL_KILL)
}

/// What SIGKILL from nobody known often means, with what is known for it.
fn lack_of_memory(peak_bytes: Option<u64>, killed_by_kernel: Option<oom::Killed>) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    /// Longer ago, it may have been another command's.
    const JUST_MAX: Duration = Duration::from_secs(60);
    let peak = peak_bytes.map(|bytes| format!("it used up to {:.0} MiB", bytes as f64 / MIB));
    let kernel = killed_by_kernel.map(|killed| {
        let is_just = killed.within <= JUST_MAX;
        let (just, since) = match is_just {
            true => ("just ", String::new()),
            false => ("", format!(" in the last {}", human(Duration::from_secs(killed.within.as_secs())))),
        };
        match killed.count {
            0 => "the kernel has counted none among the node's processes".to_owned(),
            1 => format!("the kernel has {just}killed a process for lack of memory{since}"),
            many => format!("the kernel has {just}killed {many} processes for lack of memory{since}"),
        }
    });
    let known: Vec<String> = kernel.into_iter().chain(peak).collect();
    let known = if known.is_empty() { String::new() } else { format!(" ({})", known.join("; ")) };
    format!(", often for lack of memory{known}")
}

/// What its output says in the end, and whether that is a question.
fn last_words(output: &str, end: End) -> String {
    // What a signal has ended may have been in the middle of a line.
    let prompt = if end == End::Signal { None } else { reason::prompt(output, end == End::Timeout) };
    match (prompt, reason::last_words(output)) {
        (Some(question), _) => format!(
            "; it probably waited for an answer to {question:?}, but commands have no terminal and an empty standard \
             input"
        ),
        (None, Some(words)) => format!(": {words}"),
        (None, None) => String::new(),
    }
}

/// A duration as people say it: `90 s`, `1.5 s`, `30 min`.
fn human(duration: Duration) -> String {
    const SECONDS_SHOWN_MAX: u64 = 120;
    if duration.as_secs() < SECONDS_SHOWN_MAX {
        format!("{} s", (duration.as_secs_f64() * 1000.0).round() / 1000.0)
    } else {
        format!("{} min", (duration.as_secs_f64() / 60.0 * 100.0).round() / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_in_words() {
        let end = |exit_code, signal, core_dumped| {
            describe_end(&Reaped { exit_code, signal, core_dumped, cpu: None, max_rss_bytes: None }, || true)
        };
        assert_eq!(end(Some(3), None, false), "ended with exit code 3");
        assert_eq!(
            end(Some(137), None, false),
            "ended with exit code 137 (a shell's code for a command ended by SIGKILL)"
        );
        assert_eq!(end(None, Some(11), false), "was ended by signal 11 (SIGSEGV)");
        assert_eq!(end(None, Some(11), true), "was ended by signal 11 (SIGSEGV), core dumped");
        assert_eq!(end(None, Some(40), false), "was ended by signal 40");
        let of_program = |code| {
            let (exit_code, signal) = (Some(code), None);
            describe_end(
                &Reaped { exit_code, signal, core_dumped: false, cpu: None, max_rss_bytes: None },
                || false,
            )
        };
        assert_eq!(of_program(129), "ended with exit code 129", "git's code for wrong usage");
        assert!(of_program(137).contains("SIGKILL"));
    }

    #[test]
    fn durations_in_words() {
        assert_eq!(human(Duration::from_millis(1500)), "1.5 s");
        assert_eq!(human(Duration::from_secs(90)), "90 s");
        assert_eq!(human(Duration::from_secs(1800)), "30 min");
    }

    #[test]
    fn a_kill_from_nobody_known_is_told_with_what_is_known_of_memory() {
        const GIB: u64 = 1024 * 1024 * 1024;
        let killed = |count, seconds| Some(oom::Killed { count, within: Duration::from_secs(seconds) });
        assert_eq!(
            lack_of_memory(None, killed(2, 7200)),
            ", often for lack of memory (the kernel has killed 2 processes for lack of memory in the last 120 min)"
        );
        assert_eq!(lack_of_memory(None, None), ", often for lack of memory");
        assert_eq!(
            lack_of_memory(Some(3 * GIB), killed(1, 59)),
            ", often for lack of memory (the kernel has just killed a process for lack of memory; it used up to 3072 MiB)"
        );
        assert_eq!(
            lack_of_memory(None, killed(0, 5)),
            ", often for lack of memory (the kernel has counted none among the node's processes)"
        );
    }

    #[test]
    fn last_words_are_an_error_or_a_question() {
        assert_eq!(last_words("start\nno rows\n", End::ExitCode), ": no rows");
        assert_eq!(last_words("\n", End::ExitCode), "");
        let asked = last_words("start\nPassword: ", End::ExitCode);
        assert!(asked.starts_with("; it probably waited for an answer to \"Password:\", but"), "{asked}");
        assert_eq!(last_words("start\nPassword: ", End::Signal), ": Password:");
        let ended = |exit_code, signal| {
            End::of(&Reaped { exit_code, signal, core_dumped: false, cpu: None, max_rss_bytes: None })
        };
        assert_eq!((ended(None, Some(11)), ended(Some(139), None)), (End::Signal, End::Signal));
        assert_eq!((ended(Some(1), None), ended(Some(255), None)), (End::ExitCode, End::ExitCode));
    }
}
