//! From the report of a command to the result that is recorded: pure, so that every case can be tested.

use std::time::Duration;

use crate::command::{Report, context_problem};
use crate::engine::run::runner::{RunReport, Work};
use crate::model::lifecycle::{
    ClaimMove, Ending, Outcome, ProcessStatus, TaskPosition, Transition, Wait, after_execution,
};
use crate::platform::SHELL_SIGNAL_BASE;
use crate::store::record::{ExecutionResult, TaskResult};

/// What the node wants of the claim, apart from what the command's end asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handover {
    /// The next task is to run here.
    Keep,
    /// The claim is released if the process goes on.
    Yield,
}

/// Decides what a finished command moves. `chance` in `[0, 1)` is the jitter of a retry's wait.
pub(crate) fn decide(work: &Work, run: RunReport, handover: Handover, chance: f64) -> TaskResult {
    let RunReport { command, ended, mut report } = run;
    if let Some(problem) = context_problem(&work.claim.context, &report.context) {
        // What has been done is not to be done again, and would pass on as much.
        (report.outcome, report.fatal, report.error_message) = (Outcome::Failed, true, Some(problem));
    }
    let task = &work.task;
    let at = TaskPosition {
        has_next: !work.is_of_last_task(),
        retry_count: task.retry_count,
        max_retries: task.max_retries,
    };
    let fatal = report.fatal || task.retry.is_fatal(own_exit_code(&report));
    let transition = after_execution(at, Ending { outcome: report.outcome, fatal });
    let transition = match handover {
        Handover::Keep => transition,
        Handover::Yield => transition.yielding(),
    };
    let wait = wait_of(work, transition, chance);
    // Nothing, if nothing was written.
    let passes_on = report.outcome == Outcome::Succeeded && !report.context.is_empty();
    let context = passes_on.then(|| std::mem::take(&mut report.context));
    let error_message = report.error_message.take().map(without_nul);
    let process_error = (transition.claim == ClaimMove::End && !transition.advance)
        .then(|| process_error(work, transition, error_message.as_deref()));
    TaskResult {
        process_id: work.claim.process_id.clone(),
        version: work.claim.version,
        task_index: task.index,
        attempt: task.attempt,
        transition,
        wait,
        execution: ExecutionResult {
            command: command.map(without_nul),
            outcome: report.outcome,
            exit_code: report.exit_code,
            signal: report.signal,
            ended,
            duration: report.duration,
            cpu: report.cpu,
            peak_memory_bytes: report.peak_memory_bytes,
            output: report.output,
            output_bytes: report.output_bytes,
            error_message,
        },
        process_error,
        context,
    }
}

/// The exit code of a command that ended by itself, as a shell gives it: of one ended by a signal too. One that was made to
/// end by a stop has not chosen its code.
fn own_exit_code(report: &Report) -> Option<i32> {
    match report.outcome {
        Outcome::Failed => report.exit_code.or(report.signal.map(|signal| SHELL_SIGNAL_BASE + signal)),
        // 143 is what a JVM makes of our own SIGTERM.
        Outcome::TimedOut => report.exit_code.filter(|code| *code <= SHELL_SIGNAL_BASE),
        _ => None,
    }
}

fn wait_of(work: &Work, transition: Transition, chance: f64) -> Duration {
    match transition.claim {
        ClaimMove::Release(Wait::Backoff { retry }) => work.task.retry.delay(retry, chance),
        ClaimMove::Release(Wait::None) | ClaimMove::Keep | ClaimMove::End => Duration::ZERO,
    }
}

fn process_error(work: &Work, transition: Transition, message: Option<&str>) -> String {
    let task = &work.task;
    if transition.process == ProcessStatus::Cancelled {
        // The database puts who wanted it and why in its place.
        return format!("cancelled while task \"{}\" ran", task.name);
    }
    let attempts = match transition.retry_count {
        0 => String::new(),
        retries => format!(" after {} attempts", retries + 1),
    };
    format!(
        "task \"{}\" ({} of {}) failed{attempts}: {}",
        task.name,
        task.index + 1,
        work.claim.total_tasks,
        message.unwrap_or("no reason is known"),
    )
}

/// PostgreSQL's text holds no NUL.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// What takes the place of a result that the database refuses to hold: the task fails with the reason.
pub(crate) fn unrecordable(result: &TaskResult, reason: &str) -> TaskResult {
    let message = without_nul(format!("the command's result could not be recorded: {reason}"));
    let transition = after_execution(
        TaskPosition { has_next: false, retry_count: result.transition.retry_count, max_retries: 0 },
        Ending { outcome: Outcome::Failed, fatal: true },
    );
    TaskResult {
        transition,
        wait: Duration::ZERO,
        context: None,
        process_error: Some(message.clone()),
        execution: ExecutionResult {
            outcome: Outcome::Failed,
            command: None,
            output: None,
            // Bytes without an output would say that somebody has deleted it.
            output_bytes: 0,
            error_message: Some(message),
            ..result.execution.clone()
        },
        ..result.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::engine::run::runner::sample::work;
    use crate::model::lifecycle::TaskStatus;

    fn failed(exit_code: i32) -> RunReport {
        let report = Report {
            outcome: Outcome::Failed,
            exit_code: Some(exit_code),
            error_message: Some(format!("exit code {exit_code}")),
            ..Report::succeeded()
        };
        RunReport { command: Some("true".to_owned()), ended: Instant::now(), report }
    }

    fn succeeded() -> RunReport {
        RunReport { command: None, ended: Instant::now(), report: Report::succeeded() }
    }

    #[test]
    fn a_failure_waits_for_its_retry() {
        let result = decide(&work(0), failed(1), Handover::Keep, 0.5);
        assert_eq!(result.transition.task, TaskStatus::WaitingRetry);
        assert_eq!(result.wait, Duration::from_millis(900));
        assert_eq!(result.execution.error_message.as_deref(), Some("exit code 1"));
        assert_eq!(result.process_error, None);
    }

    #[test]
    fn a_fatal_exit_code_fails_the_process_and_names_the_task() {
        let result = decide(&work(0), failed(2), Handover::Keep, 0.0);
        assert_eq!(result.transition.process, ProcessStatus::Failed);
        let message = result.process_error.unwrap_or_default();
        assert_eq!(message, "task \"load\" (1 of 2) failed: exit code 2");
    }

    #[test]
    fn a_fatal_code_of_a_signal_is_one_that_came_from_elsewhere() {
        let killed = |outcome, signal, codes: &[i32]| {
            let mut work = work(0);
            work.task.retry.fatal_exit_codes = codes.to_vec();
            let mut run = failed(0);
            (run.report.outcome, run.report.exit_code, run.report.signal) = (outcome, None, Some(signal));
            decide(&work, run, Handover::Keep, 0.0).transition.process == ProcessStatus::Failed
        };
        assert!(killed(Outcome::Failed, 9, &[137]));
        assert!(!killed(Outcome::Failed, 9, &[9, 143]));
        assert!(!killed(Outcome::TimedOut, 15, &[143]), "the timeout's own signal");
        assert!(!killed(Outcome::Interrupted, 15, &[143]), "a stop's own signal");
        let timed_out_with = |code| {
            let mut work = work(0);
            work.task.retry.fatal_exit_codes = vec![3, 143];
            let mut run = failed(code);
            run.report.outcome = Outcome::TimedOut;
            decide(&work, run, Handover::Keep, 0.0).transition.process == ProcessStatus::Failed
        };
        assert!(timed_out_with(3) && !timed_out_with(143), "143 is the answer to the timeout's own signal");
        let mut run = failed(2);
        run.report.outcome = Outcome::Interrupted;
        let process = decide(&work(0), run, Handover::Keep, 0.0).transition.process;
        assert_eq!(process, ProcessStatus::InProgress, "what it says when the node stops is no result");
    }

    #[test]
    fn more_values_than_a_process_may_have_fail_it_for_good() {
        use serde_json::{Map, Value};
        let values = |key: &str, bytes: usize| -> Map<String, Value> {
            [(key.to_owned(), "x".repeat(bytes).into())].into_iter().collect()
        };
        let passing = |key: &str, bytes| {
            let mut work = work(0);
            let claim = std::sync::Arc::make_mut(&mut work.claim);
            claim.context = std::sync::Arc::new(values("a", 1_000_000));
            let mut run = succeeded();
            run.report.context = values(key, bytes);
            decide(&work, run, Handover::Keep, 0.0)
        };
        // {"a": "…", "b": "…"} of exactly 1 MiB, and one more.
        let result = passing("b", 48_558);
        assert_eq!(result.transition.task, TaskStatus::Completed);
        let result = passing("b", 48_559);
        assert_eq!((result.transition.process, result.context), (ProcessStatus::Failed, None));
        let message = result.process_error.unwrap_or_default();
        assert!(message.contains("1048577 bytes; at most 1048576 (1 MiB)"), "{message}");
        assert_eq!(
            passing("a", 1_048_000).transition.task,
            TaskStatus::Completed,
            "in the place of the old value"
        );
    }

    #[test]
    fn yielding_keeps_the_success_and_releases_the_claim() {
        let result = decide(&work(0), succeeded(), Handover::Yield, 0.0);
        assert_eq!(result.transition.task, TaskStatus::Completed);
        assert_eq!(result.transition.claim, ClaimMove::Release(Wait::None));
        assert!(result.transition.advance);
    }

    #[test]
    fn the_last_success_ends_the_process_even_when_yielding() {
        let result = decide(&work(1), succeeded(), Handover::Yield, 0.0);
        assert_eq!(result.transition.process, ProcessStatus::Completed);
        assert_eq!(result.transition.claim, ClaimMove::End);
    }

    #[test]
    fn what_cannot_be_recorded_fails_the_process_with_the_reason() {
        let mut run = succeeded();
        (run.report.output, run.report.output_bytes) = (Some("text".to_owned()), 4);
        let result = decide(&work(0), run, Handover::Keep, 0.0);
        let instead = unrecordable(&result, "bad value");
        let kept = (&instead.execution.output, instead.execution.output_bytes);
        assert_eq!(kept, (&None, 0), "nobody has deleted it");
        assert_eq!(instead.transition.claim, ClaimMove::End);
        assert!(instead.process_error.unwrap_or_default().contains("bad value"));
        assert_eq!((instead.version, instead.attempt), (7, 1));
    }
}
