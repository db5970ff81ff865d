//! How a watched command is made to end: by its timeout or an interrupt, with grace and without.

use std::io;
use std::time::{Duration, Instant};

use super::{Cause, DRAIN_MAX, DRAIN_SILENCE, LOOK_INTERVAL_MAX, Phase, SLICE_MAX, Watch};
use super::{Exit, Reason};
use crate::platform::{self, GroupSignal};

/// After SIGKILL a command ends at once, unless it hangs in the kernel or runs as another user; after this
/// long the log says so.
const KILL_WARNING: Duration = Duration::from_secs(10);

/// No grace is longer; and clocks can express this one.
const GRACE_MAX: Duration = Duration::from_secs(24 * 3600);

impl Watch<'_> {
    /// Does what the time asks for; to be called after everything that may have happened.
    pub(super) fn heed_clock(&mut self, now: Instant) -> io::Result<()> {
        if self.lasting_at.is_some_and(|at| now >= at) {
            self.lasting_at = None;
            self.invocation.note_lasting();
        }
        if !self.has_ended() && now >= self.next_look {
            self.look_at_usage();
            self.watch_exit()?;
            self.heed_interrupt()?; // should its wake-up have failed
            self.look_interval = (self.look_interval * 2).min(LOOK_INTERVAL_MAX);
            self.next_look = now + self.look_interval;
        }
        if self.must_look_often() {
            self.look_for_exit()?;
            self.slice = (self.slice * 2).min(SLICE_MAX);
        }
        match self.phase {
            Phase::Running if self.is_running() && self.deadline.is_some_and(|at| now >= at) => {
                self.end_because(Cause::Timeout)?;
            }
            Phase::Running => {}
            Phase::Terminating { kill_at } => {
                if self.invocation.interrupt.requested() == Some(Reason::Fenced) {
                    self.cause = Some(Cause::Interrupt(Reason::Fenced));
                    self.kill();
                } else if now >= kill_at {
                    self.kill();
                }
            }
            Phase::Killed { warn_at } => {
                if warn_at.is_some_and(|at| now >= at) && !self.has_ended() {
                    self.phase = Phase::Killed { warn_at: None };
                    self.warn_of_survivor();
                }
            }
        }
        // While the command is given time to end, so are its children that still hold the pipe.
        let may_drain = !matches!(self.phase, Phase::Terminating { .. });
        if self.has_ended() && may_drain && self.drain.is_none() {
            self.drain = Some((now + DRAIN_SILENCE, now + DRAIN_MAX));
        }
        Ok(())
    }

    fn warn_of_survivor(&self) {
        log::warn!(
            "process {} ({:?}) has not ended {KILL_WARNING:?} after SIGKILL; its executor waits for it",
            self.pid,
            self.invocation.program()
        );
    }

    /// Ends the command if somebody has asked for it.
    pub(super) fn heed_interrupt(&mut self) -> io::Result<()> {
        match self.invocation.interrupt.requested() {
            Some(reason) if self.is_running() => self.end_because(Cause::Interrupt(reason)),
            _ => Ok(()),
        }
    }

    fn end_because(&mut self, cause: Cause) -> io::Result<()> {
        // One that has just ended by itself has met its timeout.
        self.look_for_exit()?;
        if self.has_ended() {
            return Ok(());
        }
        self.cause = Some(cause);
        if cause == Cause::Interrupt(Reason::Fenced) {
            self.kill();
        } else {
            self.signal(GroupSignal::Terminate);
            self.phase =
                Phase::Terminating { kill_at: Instant::now() + self.invocation.grace.min(GRACE_MAX) };
        }
        self.watch_exit()
    }

    fn kill(&mut self) {
        self.signal(GroupSignal::Kill);
        self.phase = Phase::Killed { warn_at: Some(Instant::now() + KILL_WARNING) };
    }

    /// Signals the command's group, provided that its leader is still ours to wait for.
    pub(super) fn signal(&self, signal: GroupSignal) {
        if matches!(self.exit, Exit::Reaped(_)) {
            return;
        }
        let result = platform::has_exited(self.pid).and_then(|_| platform::signal_group(self.pid, signal));
        if let Err(e) = result
            && !self.has_ended()
        {
            log::warn!(
                "failed to send {signal:?} to the group of process {} ({:?}): {e}",
                self.pid,
                self.invocation.program()
            );
        }
    }
}
