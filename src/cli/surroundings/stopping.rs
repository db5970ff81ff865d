//! Ending a node in order, with a second signal for those who can't wait.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{bounded, select};

use super::signals::{self, Signals};
use crate::cli::error::CliError;
use crate::cli::screen::terminal::message;
use crate::engine::Node;
use crate::model::duration::show_duration;

/// Stops the node: it claims nothing more and its commands have until `drain_timeout`, unless another signal
/// comes. Returns once all its threads have ended.
///
/// # Errors
/// When results could not be recorded.
pub fn stop(node: Node, signals: &Signals, drain_timeout: Duration) -> Result<(), CliError> {
    let stopper = node.stopper();
    stopper.stop_claiming();
    let busy = node.health().busy();
    if busy > 0 {
        let commands = counted(busy, "command");
        message(format!(
            "stopping: waiting up to {} for {commands} to end; send the signal again to end them now",
            show_duration(drain_timeout)
        ));
    }
    // Dropping the sender ends the thread.
    let (stopped, is_stopped) = bounded::<()>(0);
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            select! {
                recv(signals.receiver()) -> signal => if let Ok(signal) = signal {
                    message(format!("{}: ending the commands that run now", signals::name(signal)));
                    stopper.interrupt();
                },
                recv(is_stopped) -> _ => {}
            }
        });
        let report = node.stop();
        drop(stopped);
        report
    });
    if report.interrupted > 0 {
        message(format!(
            "{} ended before their time; they are due again",
            counted(report.interrupted, "command")
        ));
    }
    if report.unrecorded > 0 {
        return Err(CliError::Failed(format!(
            "the database did not take the last result of {}; the next node finds them lost and runs their tasks again",
            counted(report.unrecorded, "process")
        )));
    }
    Ok(())
}

/// Stops a node one of whose threads has panicked: what it runs is ended at once.
///
/// # Errors
/// Always: with the reason.
pub fn stop_failed<T>(node: Node, problem: &str) -> Result<T, CliError> {
    node.stopper().interrupt();
    node.stop();
    Err(CliError::Failed(format!(
        "the node has failed: {problem}; this is a fault of this program: report it with the log's last lines. \
         Its processes are due again"
    )))
}

/// A number with its noun.
pub fn counted(count: usize, noun: &str) -> String {
    match (count, noun) {
        (1, _) => format!("1 {noun}"),
        (_, "process") => format!("{count} processes"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn numbers_agree_with_their_nouns() {
        assert_eq!(counted(1, "process"), "1 process");
        assert_eq!(counted(2, "process"), "2 processes");
        assert_eq!(counted(0, "command"), "0 commands");
    }
}
