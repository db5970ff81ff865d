//! Watches one running command: reads what it prints, and ends it if its time is over.
//!
//! The order matters: first the pipe is read to its end, then the exit is waited for. Waiting first would
//! fill the pipe of a command that prints much; and it would cost every short command what only the few
//! need that close their output early.

mod ending;

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::interrupt::Reason;
use super::output::Capture;
use super::{Invocation, usage};
use crate::model::lifecycle::Outcome;
use crate::platform::{self, Child, GroupSignal, Reaped};

/// A command that still runs after this long is no longer taken for one of the shortest: on a busy machine these take
/// about 2 ms from the spawn to the end.
const LASTING_AFTER: Duration = Duration::from_millis(3);

/// A command that still runs after this long is looked at: later than most short commands end (they cost
/// nothing extra), early enough to see the memory of all others.
const LOOK_FIRST: Duration = Duration::from_millis(20);

/// Intervals between looks double up to this; each costs one read of a file in /proc.
const LOOK_INTERVAL_MAX: Duration = Duration::from_millis(500);

/// The kernel closes a command's output a moment before it lets it be reaped. Of `/bin/true`s run by 8 threads
/// on 2 cores 55 % can be reaped at once and 99.7 % after yielding the CPU once; the others are waited for.
const REAP_TRIES: usize = 2;

/// Without a descriptor to wait on, the end of a command that has closed its output or was told to end is
/// looked for at intervals that double from the one to the other.
const SLICE_MIN: Duration = Duration::from_millis(1);
const SLICE_MAX: Duration = Duration::from_millis(50);

/// A command has ended but something it left behind holds the pipe: we stop reading after this silence …
const DRAIN_SILENCE: Duration = Duration::from_millis(50);

/// … and after this time however much is printed.
const DRAIN_MAX: Duration = Duration::from_millis(200);

/// The read buffer of the many commands that print little, and that of those that fill it: executors keep
/// the small one, so that hundreds of them cost next to nothing.
const BUFFER_BYTES_MIN: usize = 4 * 1024;
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Why we ended a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Timeout,
    Interrupt(Reason),
}

impl Cause {
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Timeout => Outcome::TimedOut,
            Self::Interrupt(reason) => reason.outcome(),
        }
    }
}

/// How the exit of a command becomes known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitNotice {
    /// By a descriptor of the kernel's, polled together with the pipe, if there is one (else by looking).
    Descriptor,
    /// By looking at intervals and by the crate `wait-timeout`, as on systems without such descriptors.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests ask for what other systems have to do"))]
    Looking,
}

/// All that is known of a command at its end.
pub struct Ended {
    pub reaped: io::Result<Reaped>,
    pub cause: Option<Cause>,
    pub was_killed: bool,
    pub capture: Capture,
    pub peak_memory: Option<u64>,
    /// Something that it started holds its output still.
    pub left_children: bool,
}

enum Phase {
    Running,
    Terminating { kill_at: Instant },
    Killed { warn_at: Option<Instant> },
}

enum Exit {
    /// Nobody has had to care yet.
    Unwatched,
    Descriptor(OwnedFd),
    Looking,
    /// It is over, and a zombie until we reap it.
    Seen,
    /// It is over and reaped: its id must not be used any more.
    Reaped(Reaped),
}

/// One command from just after its spawn to its end.
pub struct Watch<'a> {
    child: Child,
    pid: i32,
    pipe: Option<PipeReader>,
    invocation: &'a Invocation<'a>,
    buffer: &'a mut Vec<u8>,
    capture: Capture,
    exit: Exit,
    exit_notice: ExitNotice,
    phase: Phase,
    cause: Option<Cause>,
    // None: a timeout so far away that clocks can't express it.
    deadline: Option<Instant>,
    // When to say that it lasts, until that is said.
    lasting_at: Option<Instant>,
    next_look: Instant,
    look_interval: Duration,
    slice: Duration,
    // When we stop reading after the exit, and when at the latest.
    drain: Option<(Instant, Instant)>,
    peak_memory: Option<u64>,
}

impl<'a> Watch<'a> {
    pub fn new(
        child: Child,
        pipe: PipeReader,
        invocation: &'a Invocation<'a>,
        began: Instant,
        buffer: &'a mut Vec<u8>,
        exit_notice: ExitNotice,
    ) -> Self {
        buffer.resize(BUFFER_BYTES_MIN, 0);
        Self {
            pid: child.pid(),
            child,
            pipe: Some(pipe),
            invocation,
            buffer,
            capture: Capture::new(invocation.max_output_bytes),
            exit: Exit::Unwatched,
            exit_notice,
            phase: Phase::Running,
            cause: None,
            deadline: began.checked_add(invocation.timeout),
            lasting_at: invocation.lasting.map(|_| began + LASTING_AFTER),
            next_look: began + LOOK_FIRST,
            look_interval: LOOK_FIRST,
            slice: SLICE_MIN,
            drain: None,
            peak_memory: None,
        }
    }

    /// Blocks until the command has ended and what it printed is read.
    pub fn run_to_end(mut self) -> Ended {
        let mut fault = None;
        while fault.is_none() && !self.is_over() {
            fault = self.turn().err();
        }
        if fault.is_some() || self.cause.is_some() {
            // Whatever of the group is left: nobody would ever end it otherwise.
            self.signal(GroupSignal::Kill);
        }
        let reaped = match self.exit {
            Exit::Reaped(reaped) => Ok(reaped),
            _ => platform::reap(self.pid),
        };
        self.buffer.truncate(BUFFER_BYTES_MIN);
        self.buffer.shrink_to(BUFFER_BYTES_MIN);
        Ended {
            reaped: fault.map_or(reaped, Err),
            cause: self.cause,
            was_killed: matches!(self.phase, Phase::Killed { .. }),
            capture: self.capture,
            peak_memory: self.peak_memory,
            left_children: self.pipe.is_some(),
        }
    }

    fn is_over(&self) -> bool {
        self.has_ended()
            && (self.pipe.is_none() || self.drain.is_some_and(|(until, _)| Instant::now() >= until))
    }

    fn has_ended(&self) -> bool {
        matches!(self.exit, Exit::Seen | Exit::Reaped(_))
    }

    fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running) && !self.has_ended()
    }

    /// Waits for whatever comes next, and heeds it.
    fn turn(&mut self) -> io::Result<()> {
        let only_exit_is_left =
            self.pipe.is_none() && matches!(self.exit, Exit::Looking) && self.is_running();
        if only_exit_is_left && self.child.has_wait_timeout() {
            self.wait_for_exit_alone()?;
        } else {
            let pipe = self.pipe.as_ref().map(AsFd::as_fd);
            let exit = if let Exit::Descriptor(fd) = &self.exit { Some(fd.as_fd()) } else { None };
            // A request stays readable, so once heeded it must not be asked for again.
            let wake = self.is_running().then(|| self.invocation.interrupt.wake_fd());
            let timeout = self.next_event().saturating_duration_since(Instant::now());
            let [has_data, has_exited, is_wanted] = platform::wait_readable([pipe, exit, wake], timeout)?;
            if has_data {
                self.read()?;
            }
            if has_exited {
                self.exit = Exit::Seen;
            }
            if is_wanted {
                self.heed_interrupt()?;
            }
        }
        self.heed_clock(Instant::now())
    }

    /// Its exit is what comes next, and only looking shows it.
    fn must_look_often(&self) -> bool {
        matches!(self.exit, Exit::Looking) && (self.pipe.is_none() || self.cause.is_some())
    }

    /// When there is something to do even if nothing happens.
    fn next_event(&self) -> Instant {
        let now = Instant::now();
        let by_phase = match self.phase {
            Phase::Running if self.has_ended() => None,
            Phase::Running => self.deadline,
            Phase::Terminating { kill_at } => Some(kill_at),
            Phase::Killed { warn_at } => warn_at,
        };
        let look = (!self.has_ended()).then_some(self.next_look);
        let slice = self.must_look_often().then(|| now + self.slice);
        let drain = self.drain.map(|(until, _)| until);
        [by_phase, look, slice, drain, self.lasting_at]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now + LOOK_INTERVAL_MAX)
    }

    /// Takes what is in the pipe, or notices its end.
    fn read(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        let count = match pipe.read(self.buffer) {
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e),
        };
        if count == 0 {
            self.pipe = None;
            return self.heed_end_of_output();
        }
        self.capture.push(&self.buffer[..count]);
        if let Some(live) = self.invocation.live {
            live.push(&self.buffer[..count]);
        }
        if count == self.buffer.len() {
            self.buffer.resize(BUFFER_BYTES_MAX, 0);
        }
        if let Some((until, at_latest)) = &mut self.drain {
            *until = (Instant::now() + DRAIN_SILENCE).min(*at_latest);
        }
        Ok(())
    }

    /// Most commands close their output by exiting.
    fn heed_end_of_output(&mut self) -> io::Result<()> {
        if matches!(self.exit, Exit::Unwatched) {
            for _ in 0..REAP_TRIES {
                if let Some(reaped) = platform::reap_if_exited(self.pid)? {
                    self.exit = Exit::Reaped(reaped);
                    return Ok(());
                }
                std::thread::yield_now();
            }
        }
        self.watch_exit()
    }

    /// From now on the command's exit has to be noticed.
    fn watch_exit(&mut self) -> io::Result<()> {
        if matches!(self.exit, Exit::Unwatched) {
            let descriptor = match self.exit_notice {
                ExitNotice::Descriptor => platform::exit_descriptor(self.pid),
                ExitNotice::Looking => Err(io::ErrorKind::Unsupported.into()),
            };
            // For want of it (an old kernel, another system, no descriptors left) looking does as well.
            self.exit = descriptor.map_or(Exit::Looking, Exit::Descriptor);
        }
        if matches!(self.exit, Exit::Looking) {
            self.look_for_exit()?;
        }
        Ok(())
    }

    fn look_for_exit(&mut self) -> io::Result<()> {
        if !self.has_ended() && platform::has_exited(self.pid)? {
            self.exit = Exit::Seen;
        }
        Ok(())
    }

    /// The output is closed, the command goes on, and there is no descriptor to wait on.
    fn wait_for_exit_alone(&mut self) -> io::Result<()> {
        self.look_at_usage();
        // The crate reaps it, after which its times can't be asked for any more.
        let cpu = usage::cpu(self.pid);
        let next = [self.deadline, self.lasting_at].into_iter().flatten().min();
        let left = next.map_or(SLICE_MAX, |at| at.saturating_duration_since(Instant::now()));
        if let Some(reaped) = self.child.wait_timeout(left.min(SLICE_MAX))? {
            self.exit = Exit::Reaped(Reaped { cpu, ..reaped });
            return Ok(());
        }
        self.heed_interrupt()
    }

    fn look_at_usage(&mut self) {
        self.peak_memory = self.peak_memory.max(usage::peak_memory(self.pid));
    }
}
