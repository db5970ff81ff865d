//! Watches one running command: carries out what `state` decides, and tells it what comes of that.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::time::Instant;

use super::ending::{ExitNotice, Leader};
use super::messages::{Action, Cause, Event};
use super::state::{KILL_WARNING, State};
use crate::command::interrupt::Reason;
use crate::command::invocation::Invocation;
use crate::command::leftovers::Remnant;
use crate::command::output::Capture;
use crate::command::usage;
use crate::model::process_type::Leftovers;
use crate::platform::{self, Child, GroupSignal, Reaped};

/// The read buffer of the many commands that print little, and that of those that fill it: executors keep
/// the small one, so that hundreds of them cost next to nothing.
const BUFFER_BYTES_MIN: usize = 4 * 1024;
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// All that is known of a command at its end.
pub struct Ended {
    pub reaped: io::Result<Reaped>,
    pub cause: Option<Cause>,
    pub was_killed: bool,
    pub capture: Capture,
    pub peak_memory: Option<u64>,
    /// Something that it has left running holds its output still, which is read no more.
    pub is_output_held: bool,
    /// It exited by itself, and what it had left running was ended.
    pub ended_rest: bool,
}

/// One command from just after its spawn to its end.
pub struct Watch<'a> {
    leader: Leader,
    rest: Remnant,
    pipe: Option<PipeReader>,
    invocation: &'a Invocation<'a>,
    buffer: &'a mut Vec<u8>,
    capture: Capture,
    peak_memory: Option<u64>,
    state: State,
}

impl<'a> Watch<'a> {
    pub fn new(
        child: Child,
        pipe: PipeReader,
        invocation: &'a Invocation<'a>,
        began: Instant,
        tag: Option<&str>,
        buffer: &'a mut Vec<u8>,
        exit_notice: ExitNotice,
    ) -> Self {
        buffer.resize(BUFFER_BYTES_MIN, 0);
        let rest = Remnant::new(child.pid(), began, tag);
        let leader = Leader::new(child, exit_notice);
        let notes_lasting = invocation.lasting.is_some();
        Self {
            state: State::new(
                // The timeout is the command's: what the node took to start it (frozen, or short of memory) does not count.
                Instant::now(),
                invocation.timeout,
                invocation.grace,
                notes_lasting,
                leader.can_wait_timeout(),
            ),
            leader,
            rest,
            pipe: Some(pipe),
            invocation,
            buffer,
            capture: Capture::new(invocation.max_output_bytes),
            peak_memory: None,
        }
    }

    /// Blocks until the command has ended and what it printed is read.
    pub fn run_to_end(mut self) -> Ended {
        let mut fault = None;
        let mut event = Event::Nothing;
        loop {
            let now = Instant::now();
            let action = self.state.next(event, self.invocation.interrupt.requested(), now);
            if let Action::Finish { kill_rest } = action {
                if kill_rest {
                    self.signal(GroupSignal::Kill);
                }
                if event == Event::Failed {
                    self.rest.kill();
                }
                break;
            }
            event = self.carry_out(action, now).unwrap_or_else(|error| {
                fault = Some(error);
                Event::Failed
            });
        }
        self.buffer.truncate(BUFFER_BYTES_MIN);
        self.buffer.shrink_to(BUFFER_BYTES_MIN);
        let reaped = self.leader.reap();
        Ended {
            reaped: fault.map_or(reaped, Err),
            cause: self.state.cause(),
            was_killed: self.state.was_killed(),
            capture: self.capture,
            peak_memory: self.peak_memory,
            is_output_held: self.pipe.is_some(),
            ended_rest: self.state.ended_rest(),
        }
    }

    fn carry_out(&mut self, action: Action, now: Instant) -> io::Result<Event> {
        match action {
            Action::Wait { until, exit, interrupt } => {
                let pipe = self.pipe.as_ref().map(AsFd::as_fd);
                let exit = if exit { self.leader.exit_fd() } else { None };
                let wake = interrupt.then(|| self.invocation.interrupt.wake_fd());
                let timeout = until.saturating_duration_since(now);
                let [output, exit, _] = platform::wait_readable([pipe, exit, wake], timeout)?;
                return Ok(Event::Ready { output, exit });
            }
            Action::WaitForExit { until } => {
                self.sample_usage();
                if self.leader.wait_timeout(until.saturating_duration_since(Instant::now()))? {
                    return Ok(Event::Reaped);
                }
            }
            Action::Read => return self.read(),
            Action::TryReap if self.leader.ends_now(self.invocation.leftovers == Leftovers::Keep)? => {
                return Ok(if self.leader.is_reaped() { Event::Reaped } else { Event::Exited });
            }
            Action::WatchExit if self.leader.watch_exit() => return Ok(Event::Watched),
            Action::WatchExit => return Ok(Event::Unwatchable),
            Action::CheckExit if self.leader.has_exited()? => return Ok(Event::Exited),
            Action::SampleUsage => self.sample_usage(),
            Action::NoteLasting => self.invocation.note_lasting(),
            Action::Terminate => {
                self.signal(GroupSignal::Terminate);
                self.rest.terminate(true);
            }
            Action::Kill => {
                self.signal(GroupSignal::Kill);
                self.rest.kill();
            }
            Action::LookForRest => return self.look_for_rest(),
            Action::TerminateRest => self.rest.terminate(false),
            Action::GiveRestUp => log::warn!(
                "what process {} ({:?}) has left is still there after SIGKILL; it is waited for no longer",
                self.leader.pid(),
                self.invocation.program()
            ),
            Action::WarnOfSurvivor => log::warn!(
                "process {} ({:?}) has not ended {KILL_WARNING:?} after SIGKILL; its executor waits for it",
                self.leader.pid(),
                self.invocation.program()
            ),
            Action::TryReap | Action::CheckExit | Action::Finish { .. } => {}
        }
        Ok(Event::Nothing)
    }

    /// Takes what is in the pipe, or notices its end.
    fn read(&mut self) -> io::Result<Event> {
        let Some(pipe) = &mut self.pipe else { return Ok(Event::OutputEnded) };
        let count = match pipe.read(self.buffer) {
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(Event::Nothing),
            Err(e) => return Err(e),
        };
        if count == 0 {
            self.pipe = None;
            return Ok(Event::OutputEnded);
        }
        self.capture.push(&self.buffer[..count]);
        if let Some(live) = self.invocation.live {
            live.push(&self.buffer[..count]);
        }
        if count == self.buffer.len() {
            self.buffer.resize(BUFFER_BYTES_MAX, 0);
        }
        Ok(Event::Printed)
    }

    /// Whether something is left that must not live on: after a success what it has left may, unless the process was
    /// cancelled or runs elsewhere.
    fn look_for_rest(&mut self) -> io::Result<Event> {
        if self.leader.is_reaped() {
            self.rest.forget_leader();
        }
        let was_ended = self.state.cause().is_some() || self.state.ended_rest();
        let has_to_end = || {
            let asked = self.invocation.interrupt.requested();
            was_ended
                || self.invocation.leftovers == Leftovers::Kill
                || matches!(asked, Some(Reason::Cancel | Reason::Fenced))
        };
        if !has_to_end() && self.leader.has_succeeded()? {
            return Ok(Event::RestGone);
        }
        let is_left = if Remnant::CAN_BE_FOUND {
            self.rest.is_left()
        } else {
            // Only what holds the output shows itself: it is given its grace too.
            was_ended && !self.state.was_killed() && self.pipe.is_some()
        };
        Ok(if is_left { Event::RestLeft } else { Event::RestGone })
    }

    fn sample_usage(&mut self) {
        self.peak_memory = self.peak_memory.max(usage::peak_memory(self.leader.pid()));
    }

    fn signal(&self, signal: GroupSignal) {
        if let Err(e) = self.leader.signal_group(signal) {
            log::warn!(
                "failed to send {signal:?} to the group of process {} ({:?}): {e}",
                self.leader.pid(),
                self.invocation.program()
            );
        }
    }
}
