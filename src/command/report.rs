//! What is known of a command after its end, and the sentence that tells people.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::context_file::Unusable;
use super::interrupt::Reason;
use super::invocation::Invocation;
use super::oom;
use super::output;
use super::program::{SpawnFault, shown};
use super::reason;
use super::supervise::{Cause, Ended};
use super::usage;
use crate::model::lifecycle::Outcome;
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
        let last_words = || report.output.as_deref().map_or(String::new(), last_words);
        match ended.reaped {
            Ok(reaped) => {
                report.exit_code = reaped.exit_code;
                report.signal = reaped.signal;
                report.cpu = reaped.cpu;
                report.peak_memory_bytes = usage::peak_of_ended(ended.peak_memory, reaped.max_rss_bytes);
                if reaped.exit_code == Some(0) {
                    report.outcome = Outcome::Succeeded;
                } else {
                    let how = describe_end(&reaped);
                    let memory = match killing(&reaped) {
                        true => lack_of_memory(report.peak_memory_bytes, oom::killed_since_last_look()),
                        false => String::new(),
                    };
                    report.error_message = Some(format!("{name} {how}{memory}{}", last_words()));
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
            let last_words = if cause == Cause::Timeout { last_words() } else { String::new() };
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

fn describe_end(ended: &Reaped) -> String {
    match (ended.exit_code, ended.signal) {
        (Some(code), _) => match platform::signal_name(code - platform::SHELL_SIGNAL_BASE) {
            Some(name) => {
                format!("ended with exit code {code} (a shell's code for a command ended by {name})")
            }
            None => format!("ended with exit code {code}"),
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
fn lack_of_memory(peak_bytes: Option<u64>, killed_by_kernel: Option<u64>) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    let peak = peak_bytes.map(|bytes| format!("it used up to {:.0} MiB", bytes as f64 / MIB));
    let kernel = match killed_by_kernel {
        Some(1) => Some("the kernel has just killed a process for lack of memory".to_owned()),
        Some(0) => Some("the kernel has counted none among the node's processes".to_owned()),
        Some(many) => Some(format!("the kernel has just killed {many} processes for lack of memory")),
        None => None,
    };
    let known: Vec<String> = kernel.into_iter().chain(peak).collect();
    let known = if known.is_empty() { String::new() } else { format!(" ({})", known.join("; ")) };
    format!(", often for lack of memory{known}")
}

/// What its output says in the end, and whether that is a question.
fn last_words(output: &str) -> String {
    match (reason::prompt(output), reason::last_words(output)) {
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
            describe_end(&Reaped { exit_code, signal, core_dumped, cpu: None, max_rss_bytes: None })
        };
        assert_eq!(end(Some(3), None, false), "ended with exit code 3");
        assert_eq!(
            end(Some(137), None, false),
            "ended with exit code 137 (a shell's code for a command ended by SIGKILL)"
        );
        assert_eq!(end(None, Some(11), false), "was ended by signal 11 (SIGSEGV)");
        assert_eq!(end(None, Some(11), true), "was ended by signal 11 (SIGSEGV), core dumped");
        assert_eq!(end(None, Some(40), false), "was ended by signal 40");
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
        assert_eq!(lack_of_memory(None, None), ", often for lack of memory");
        assert_eq!(
            lack_of_memory(Some(3 * GIB), Some(1)),
            ", often for lack of memory (the kernel has just killed a process for lack of memory; it used up to 3072 MiB)"
        );
        assert_eq!(
            lack_of_memory(None, Some(0)),
            ", often for lack of memory (the kernel has counted none among the node's processes)"
        );
    }

    #[test]
    fn last_words_are_an_error_or_a_question() {
        assert_eq!(last_words("start\nno rows\n"), ": no rows");
        assert_eq!(last_words("\n"), "");
        let asked = last_words("start\nPassword: ");
        assert!(asked.starts_with("; it probably waited for an answer to \"Password:\", but"), "{asked}");
    }
}
