//! A batch until it ends: how far it is, how fast, when it will have ended, and why what has failed did so.

use std::time::{Duration, Instant};

use super::wait::{self, Alarms, Seen, Wake};
use crate::cli::error::{CliError, Verdict};
use crate::cli::options::bulk::has_running_node;
use crate::cli::options::global::GlobalOptions;
use crate::cli::screen::terminal::{Canvas, Face, Size, message, print_json};
use crate::cli::screen::text::{self, Clock};
use crate::cli::surroundings::session::Session;
use crate::cli::surroundings::signals::{self, Signals};
use crate::model::batch::data::{BatchData, BatchState};
use crate::model::batch::halt::{Halt, Why};

/// Reasons of failures that are shown while it runs.
const REASONS_SHOWN: usize = 5;
/// Where nothing can be redrawn: how often it is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Waits until a batch has ended, or is halted and nothing of it runs any more.
///
/// # Errors
/// When it has not completed, there is no such batch, a signal comes, or the database fails for good.
pub fn wait_for_batch(
    session: &Session,
    name: &str,
    signals: &Signals,
    json: bool,
    global: &GlobalOptions,
) -> Result<(), CliError> {
    let alarms = Alarms::signals(signals);
    let program = global.program();
    match until_batch_ends(session, name, &alarms)? {
        Wake::Ended(batch) => {
            if json {
                print_json(&batch)?;
            }
            if batch.state == BatchState::Halted {
                let quoted = shell_words::quote(name);
                message(format!(
                    "go on with: {program} batch resume {quoted}; or end it: {program} batch cancel {quoted}"
                ));
            }
            verdict(&batch)
        }
        Wake::Signal(signal) => {
            let is_running = has_running_node(&mut session.open_store("result")?)?;
            let fate = if is_running { "goes on" } else { "stays due, no node is running" };
            message(format!(
                "{}: no longer waiting; the batch {fate}: {program} batch show {}",
                signals::name(signal),
                shell_words::quote(name)
            ));
            Err(CliError::Interrupted(signal))
        }
        Wake::NodeFailed(problem) => Err(CliError::Failed(problem)),
    }
}

/// All of it has completed, or enough of it for what was wanted.
fn verdict(batch: &BatchData) -> Result<(), CliError> {
    let halt = batch.halt.as_deref().and_then(|it| Halt::parse(it).ok().flatten());
    let is_enough = batch.state == BatchState::Halted && halt.is_some_and(|it| it.why == Why::Success);
    match batch.state {
        BatchState::Completed => Ok(()),
        _ if is_enough => Ok(()),
        _ => Err(CliError::Reported(Verdict::Failed)),
    }
}

fn until_batch_ends(session: &Session, name: &str, alarms: &Alarms) -> Result<Wake<BatchData>, CliError> {
    let mut canvas = Face::stderr().can_redraw.then(Canvas::begin);
    let mut told: Option<(BatchState, Instant)> = None;
    let mut ended = 0;
    wait::watch(session, alarms, None, |store| {
        let Some(store) = store else { return Ok(Seen::Same) };
        let Some(batch) = store.batch(name)? else {
            return Err(CliError::NotFound(format!("batch {name:?} is not there any more")).into());
        };
        let is_over =
            batch.state.is_final() || batch.state == BatchState::Halted && batch.counts.in_progress == 0;
        match &mut canvas {
            Some(canvas) => canvas.draw(&picture(&batch, Size::of_stderr().columns.saturating_sub(1))),
            None if is_over => picture(&batch, usize::MAX).iter().for_each(message),
            None if told.is_none_or(|(state, at)| state != batch.state || at.elapsed() >= TELL_EVERY) => {
                let time = Clock::system().time_of_day(jiff::Timestamp::now());
                message(format!("{time} {}", line(&batch)));
                told = Some((batch.state, Instant::now()));
            }
            None => {}
        }
        let has_news = std::mem::replace(&mut ended, batch.ended) != batch.ended;
        Ok(match (is_over, has_news) {
            (true, _) => Seen::Ended(batch),
            (false, true) => Seen::Changed,
            (false, false) => Seen::Same,
        })
    })
}

/// The lines that show it: how far it is, and why what has failed did so.
pub fn picture(batch: &BatchData, columns: usize) -> Vec<String> {
    let mut lines = vec![line(batch)];
    lines.extend(batch.failures.iter().take(REASONS_SHOWN).map(|it| {
        format!("  {:>7}  {}  ({})", it.count, text::escape(&it.reason), text::escape(&it.example_id))
    }));
    if batch.failures.len() > REASONS_SHOWN {
        lines.push(format!("  … and {} more reasons", batch.failures.len() - REASONS_SHOWN));
    }
    lines.iter().map(|it| text::cut(it, columns).into_owned()).collect()
}

/// How far it is, in one line.
pub fn line(batch: &BatchData) -> String {
    let mut line = format!(
        "{} {}: {} of {} ({:.1} %) have ended",
        text::escape(&batch.name),
        batch.state,
        batch.ended,
        batch.total,
        // Not all of it before it is.
        if batch.ended < batch.total { batch.percent().min(99.9) } else { batch.percent() }
    );
    let counts = batch.counts;
    for (count, word) in [
        (counts.in_progress, "IN_PROGRESS"),
        (counts.completed, "COMPLETED"),
        (counts.failed, "FAILED"),
        (counts.cancelled, "CANCELLED"),
    ] {
        if count > 0 {
            line.push_str(&format!("  {count} {word}"));
        }
    }
    if let Some(rate) = batch.rate_per_s {
        line.push_str(&if rate >= 10.0 { format!("  {rate:.0}/s") } else { format!("  {rate:.1}/s") });
    }
    if let Some(eta) = batch.eta_s {
        // Whole seconds: they tick, tenths would flicker.
        let eta = Duration::from_secs(eta.clamp(1.0, 1e9) as u64);
        line.push_str(&format!("  {} left", text::duration(eta)));
    }
    if let Some(reason) = &batch.reason {
        line.push_str(&format!("  ({})", text::escape(reason)));
    }
    line
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::model::batch::data::Counts;
    use crate::model::batch::reason::FailureGroup;

    /// A batch of a hundred thousand, 30 of which have failed.
    pub fn sample() -> BatchData {
        let counts =
            Counts { not_started: 60_000, in_progress: 8, completed: 39_962, failed: 30, cancelled: 0 };
        BatchData {
            name: "nightly".to_owned(),
            process_type: "t".to_owned(),
            state: BatchState::Running,
            reason: None,
            total: counts.total(),
            counts,
            ended: counts.ended(),
            rate_per_s: Some(412.4),
            eta_s: Some(145.5),
            halt: Some("soon,fail=5%".to_owned()),
            max: None,
            then_type: None,
            then_id: None,
            then_problem: None,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            held_at: None,
            ended_at: None,
            failures: vec![FailureGroup {
                reason: "exit code 2: no file …".to_owned(),
                count: 30,
                example_id: "nightly-0a".to_owned(),
                example: "exit code 2: no file 7".to_owned(),
            }],
        }
    }

    #[test]
    fn a_picture_tells_pace_and_reasons() {
        assert_eq!(
            picture(&sample(), 200),
            [
                "nightly RUNNING: 39992 of 100000 (40.0 %) have ended  8 IN_PROGRESS  39962 COMPLETED  30 FAILED  412/s  2 min 25 s left",
                "       30  exit code 2: no file …  (nightly-0a)",
            ]
        );
        assert!(picture(&sample(), 40).iter().all(|it| text::width(it) <= 40));
    }

    #[test]
    fn only_what_was_wanted_is_a_success() {
        let of = |state, halt: &str| BatchData { state, halt: Some(halt.to_owned()), ..sample() };
        for (batch, is_good) in [
            (of(BatchState::Completed, "now,fail=1"), true),
            (of(BatchState::Failed, "now,fail=100%"), false),
            (of(BatchState::Cancelled, "now,fail=1"), false),
            (of(BatchState::Halted, "now,fail=1"), false),
            (of(BatchState::Halted, "soon,done=1"), false),
            (of(BatchState::Halted, "soon,success=1"), true),
        ] {
            assert_eq!(verdict(&batch).is_ok(), is_good, "{batch:?}");
        }
    }
}
