//! What to do next about a running command, as a function of what was seen of it. No I/O, and no clock of its own.
//!
//! ```text
//!  Running ──timeout, interrupt──► Asked ──still runs──► Terminating ──grace over, fenced──► Killed
//!     │                              │ fenced                ▲                                ▲
//!     │                              └───────────────────────┼────────────────────────────────┘
//!     │                                                      │ something that must not live on
//!     └─ exits by itself, before the question or at it: stays Running, and is asked what it has left
//! ```
//!
//! Beside this phase stand the output, the exit, and the rest: what else belongs to the execution. The order between the
//! first two matters: first the output is read to its end, then the exit is waited for. Waiting first would fill the pipe
//! of a command that prints much; and it would cost every short command what only the few need that close their output
//! early. When the command has exited by itself and something that it has left holds its output, that is read on for as
//! long as data comes, and a patience longer. It is over when the output has ended or was given up, and nothing is left
//! that must not live on. What has to end is given its grace for as long as any of it lives.

use std::time::{Duration, Instant};

use super::messages::{Action, Cause, Event};
use crate::command::interrupt::Reason;

/// A command that still runs after this long is no longer taken for one of the shortest: on a busy machine these take
/// about 2 ms from the spawn to the end.
const LASTING_AFTER: Duration = Duration::from_millis(3);

/// The usage of a command that still runs after this long is sampled: later than most short commands end (they cost
/// nothing extra), early enough to see the memory of all others.
const SAMPLE_FIRST: Duration = Duration::from_millis(20);

/// Intervals between samples double up to this; each costs one read of a file in /proc.
const SAMPLE_INTERVAL_MAX: Duration = Duration::from_millis(500);

/// Without a descriptor to wait on, the exit of a command that has closed its output or was told to end is polled at
/// intervals that double from the one to the other.
const POLL_MIN: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(50);

/// A command has ended by itself but something that it left behind holds the pipe: we stop reading after this silence.
/// A filter that the command has piped its own output through takes seconds at the most to print what it holds …
const DRAIN_SILENCE: Duration = Duration::from_secs(2);

/// … and a server that goes on and on keeps the executor no longer than this.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The same when somebody waits for the command's end, or has brought it about: what is in the pipe is read.
const HURRIED_SILENCE: Duration = Duration::from_millis(50);
const HURRIED_MAX: Duration = Duration::from_millis(200);

/// What was asked to end is looked for at intervals that double from the one to the other.
const LOOK_MIN: Duration = Duration::from_millis(2);
const LOOK_MAX: Duration = Duration::from_millis(100);

/// After SIGKILL a command ends at once, unless it hangs in the kernel or runs as another user; after this long the
/// log says so.
pub const KILL_WARNING: Duration = Duration::from_secs(10);

/// What is left of a command after its killing is waited for no longer: an executor is worth more.
const REST_MAX: Duration = Duration::from_secs(5);

/// No grace is longer; and clocks can express this one.
const GRACE_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody wants it to end, or it has ended by itself.
    Running,
    /// It is to end. One that has just ended by itself has met its timeout, so that is asked first.
    Asked(Cause),
    /// Without a cause it has exited by itself, and what it has left is being ended.
    Terminating {
        cause: Option<Cause>,
        kill_at: Instant,
    },
    Killed {
        cause: Option<Cause>,
        warn_at: Option<Instant>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Open,
    Readable,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// Nobody has had to care yet.
    Unwatched,
    /// It has to be noticed from now on.
    ToWatch,
    /// By a descriptor.
    Watched,
    /// By asking.
    Polled,
    Zombie,
    Reaped,
}

/// When reading stops after the exit, and when at the latest.
#[derive(Debug, Clone, Copy)]
struct Drain {
    silence: Duration,
    until: Instant,
    at_latest: Instant,
}

impl Drain {
    fn new(now: Instant, is_hurried: bool) -> Self {
        let (silence, max) =
            if is_hurried { (HURRIED_SILENCE, HURRIED_MAX) } else { (DRAIN_SILENCE, DRAIN_MAX) };
        Self { silence, until: now + silence, at_latest: now + max }
    }

    fn is_hurried(self) -> bool {
        self.silence == HURRIED_SILENCE
    }
}

/// What belongs to the execution beside its leader, as far as it must not live on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// It is asked after at this time; none while the leader runs.
    Unknown(Option<Instant>),
    Gone,
}

/// All that decides what is done next.
#[derive(Debug)]
pub struct State {
    phase: Phase,
    output: Output,
    exit: Exit,
    check_exit: bool,
    // None: a timeout so far away that clocks can't express it.
    deadline: Option<Instant>,
    grace: Duration,
    // When to say that it lasts, until that is said.
    lasting_at: Option<Instant>,
    next_sample: Instant,
    sample_interval: Duration,
    poll_interval: Duration,
    // Whether the platform can wait for the exit alone.
    can_wait_for_exit: bool,
    drain: Option<Drain>,
    rest: Rest,
    look_interval: Duration,
    // When what is left after the killing is given up, from the first look on.
    rest_until: Option<Instant>,
}

impl State {
    /// A command that was spawned at `began`.
    pub fn new(
        began: Instant,
        timeout: Duration,
        grace: Duration,
        notes_lasting: bool,
        can_wait_for_exit: bool,
    ) -> Self {
        Self {
            phase: Phase::Running,
            output: Output::Open,
            exit: Exit::Unwatched,
            check_exit: false,
            deadline: began.checked_add(timeout),
            grace: grace.min(GRACE_MAX),
            lasting_at: notes_lasting.then(|| began + LASTING_AFTER),
            next_sample: began + SAMPLE_FIRST,
            sample_interval: SAMPLE_FIRST,
            poll_interval: POLL_MIN,
            can_wait_for_exit,
            drain: None,
            rest: Rest::Unknown(None),
            look_interval: LOOK_MIN,
            rest_until: None,
        }
    }

    /// Why it was made to end, if it was.
    pub fn cause(&self) -> Option<Cause> {
        match self.phase {
            Phase::Running | Phase::Asked(_) => None,
            Phase::Terminating { cause, .. } | Phase::Killed { cause, .. } => cause,
        }
    }

    /// Whether it has left something that had to be ended, having exited by itself.
    pub fn ended_rest(&self) -> bool {
        matches!(self.phase, Phase::Terminating { cause: None, .. } | Phase::Killed { cause: None, .. })
    }

    /// Whether SIGTERM was not enough, or not even tried.
    pub fn was_killed(&self) -> bool {
        matches!(self.phase, Phase::Killed { .. })
    }

    /// What to do after `event`, the answer to what was done last ([`Event::Nothing`] at first). `asked` is the
    /// interrupt that stands.
    pub fn next(&mut self, event: Event, asked: Option<Reason>, now: Instant) -> Action {
        match event {
            Event::Nothing => {}
            Event::Ready { output, exit } => {
                if output {
                    self.output = Output::Readable;
                }
                if exit {
                    self.exit = Exit::Zombie;
                }
            }
            Event::Printed => {
                if let Some(drain) = &mut self.drain {
                    drain.until = (now + drain.silence).min(drain.at_latest);
                }
            }
            Event::OutputEnded => {
                self.output = Output::Ended;
                self.check_exit = self.exit == Exit::Polled;
                if let Rest::Unknown(Some(at)) = &mut self.rest {
                    *at = now; // who held it is gone
                }
            }
            Event::Watched => self.exit = Exit::Watched,
            Event::Unwatchable => {
                self.exit = Exit::Polled;
                self.check_exit = true;
            }
            Event::Exited => self.exit = Exit::Zombie,
            Event::Reaped => self.exit = Exit::Reaped,
            Event::RestGone => self.rest = Rest::Gone,
            Event::RestLeft => {
                self.rest = Rest::Unknown(Some(now + self.look_interval));
                self.look_interval = (self.look_interval * 2).min(LOOK_MAX);
                if let Some(action) = self.end_rest(asked, now) {
                    return action;
                }
            }
            Event::Failed => return Action::Finish { kill_rest: true },
        }
        self.look_after_streams()
            .or_else(|| self.heed_clock(now))
            .or_else(|| self.bring_to_end(asked, now))
            .or_else(|| self.conclude(asked, now))
            .unwrap_or_else(|| self.wait(now))
    }

    /// Output that is there, and an exit that somebody has to notice.
    fn look_after_streams(&mut self) -> Option<Action> {
        if self.output == Output::Readable {
            self.output = Output::Open;
            return Some(Action::Read);
        }
        match self.exit {
            Exit::Unwatched if self.output == Output::Ended => {
                self.exit = Exit::ToWatch;
                Some(Action::TryReap)
            }
            Exit::ToWatch => Some(Action::WatchExit),
            _ if self.check_exit && !self.has_exited() => {
                self.check_exit = false;
                Some(Action::CheckExit)
            }
            _ => None,
        }
    }

    fn heed_clock(&mut self, now: Instant) -> Option<Action> {
        if self.lasting_at.is_some_and(|at| now >= at) {
            self.lasting_at = None;
            return Some(Action::NoteLasting);
        }
        if !self.has_exited() && now >= self.next_sample {
            self.sample_interval = (self.sample_interval * 2).min(SAMPLE_INTERVAL_MAX);
            self.next_sample = now + self.sample_interval;
            self.notice_exit();
            return Some(Action::SampleUsage);
        }
        None
    }

    /// By its timeout or an interrupt, with grace and without.
    fn bring_to_end(&mut self, asked: Option<Reason>, now: Instant) -> Option<Action> {
        const FENCED: Cause = Cause::Interrupt(Reason::Fenced);
        match self.phase {
            Phase::Running if !self.has_exited() => {
                let is_late = self.deadline.is_some_and(|at| now >= at);
                let cause = asked.map(Cause::Interrupt).or(is_late.then_some(Cause::Timeout))?;
                self.phase = Phase::Asked(cause);
                Some(Action::CheckExit)
            }
            Phase::Asked(_) if self.has_exited() => {
                self.phase = Phase::Running;
                None
            }
            Phase::Asked(FENCED) => Some(self.kill(Some(FENCED), now)),
            Phase::Asked(cause) => {
                self.phase = Phase::Terminating { cause: Some(cause), kill_at: now + self.grace };
                self.notice_exit();
                Some(Action::Terminate)
            }
            Phase::Terminating { cause, .. } if asked == Some(Reason::Fenced) => {
                Some(self.kill(cause.and(Some(FENCED)), now))
            }
            Phase::Terminating { cause, kill_at } if now >= kill_at && !self.is_all_gone() => {
                Some(self.kill(cause, now))
            }
            Phase::Killed { cause, warn_at: Some(at) } if now >= at && !self.has_exited() => {
                self.phase = Phase::Killed { cause, warn_at: None };
                Some(Action::WarnOfSurvivor)
            }
            Phase::Killed { .. } if self.rest_until.is_some_and(|at| now >= at) && !self.is_all_gone() => {
                self.rest = Rest::Gone;
                Some(Action::GiveRestUp)
            }
            Phase::Running | Phase::Terminating { .. } | Phase::Killed { .. } => None,
        }
    }

    fn kill(&mut self, cause: Option<Cause>, now: Instant) -> Action {
        self.phase = Phase::Killed { cause, warn_at: Some(now + KILL_WARNING) };
        if self.has_exited() {
            self.rest = Rest::Unknown(Some(now));
        }
        self.look_interval = LOOK_MIN;
        self.notice_exit();
        Action::Kill
    }

    /// From now on the exit has to be noticed, and at once if it has happened.
    fn notice_exit(&mut self) {
        match self.exit {
            Exit::Unwatched => self.exit = Exit::ToWatch,
            Exit::Polled => self.check_exit = true,
            _ => {}
        }
    }

    fn has_exited(&self) -> bool {
        matches!(self.exit, Exit::Zombie | Exit::Reaped)
    }

    fn is_all_gone(&self) -> bool {
        self.has_exited() && self.rest == Rest::Gone
    }

    /// It has exited: what is left to read, and what is left of it.
    fn conclude(&mut self, asked: Option<Reason>, now: Instant) -> Option<Action> {
        if !self.has_exited() {
            return None;
        }
        let is_by_itself = matches!(self.phase, Phase::Running | Phase::Asked(_));
        // What it left and must not live on may have much to say as long as it has not been asked to end.
        if is_by_itself && !self.is_drained(asked.is_some(), now) {
            return None;
        }
        match self.rest {
            Rest::Unknown(at) if at.is_none_or(|at| now >= at) => {
                if matches!(self.phase, Phase::Killed { .. }) {
                    self.rest_until.get_or_insert(now + REST_MAX);
                }
                Some(Action::LookForRest)
            }
            Rest::Unknown(_) => None,
            Rest::Gone if is_by_itself => Some(Action::Finish { kill_rest: false }),
            Rest::Gone => {
                let kill_rest = self.cause().is_some();
                self.is_drained(true, now).then_some(Action::Finish { kill_rest })
            }
        }
    }

    /// Something is left that must not live on: asks it to end, if that is not done.
    fn end_rest(&mut self, asked: Option<Reason>, now: Instant) -> Option<Action> {
        if !matches!(self.phase, Phase::Running | Phase::Asked(_)) {
            return None;
        }
        if asked == Some(Reason::Fenced) {
            return Some(self.kill(None, now));
        }
        self.phase = Phase::Terminating { cause: None, kill_at: now + self.grace };
        self.drain = None;
        Some(Action::TerminateRest)
    }

    /// Whether the output has ended, or is given up.
    fn is_drained(&mut self, is_hurried: bool, now: Instant) -> bool {
        if self.output == Output::Ended {
            return true;
        }
        let drain = self.drain.get_or_insert(Drain::new(now, is_hurried));
        if is_hurried && !drain.is_hurried() {
            *drain = Drain::new(now, true);
        }
        now >= drain.until
    }

    fn wait(&mut self, now: Instant) -> Action {
        let is_running = self.phase == Phase::Running && !self.has_exited();
        let is_exit_next = self.output == Output::Ended || self.phase != Phase::Running;
        let must_poll = self.exit == Exit::Polled && is_exit_next;
        if must_poll && is_running && self.can_wait_for_exit {
            let until = [self.deadline, self.lasting_at].into_iter().flatten().min();
            let at_latest = now + POLL_MAX;
            return Action::WaitForExit { until: until.map_or(at_latest, |at| at.min(at_latest)) };
        }
        let by_phase = match self.phase {
            Phase::Running | Phase::Asked(_) if self.has_exited() => None,
            Phase::Running | Phase::Asked(_) => self.deadline,
            Phase::Terminating { .. } | Phase::Killed { .. } if self.is_all_gone() => None,
            Phase::Terminating { kill_at, .. } => Some(kill_at),
            Phase::Killed { .. } if self.has_exited() => self.rest_until,
            Phase::Killed { warn_at, .. } => warn_at,
        };
        let look = match self.rest {
            Rest::Unknown(at) => at,
            Rest::Gone => None,
        };
        let sample = (!self.has_exited()).then_some(self.next_sample);
        let poll = must_poll.then(|| now + self.poll_interval);
        if must_poll {
            self.poll_interval = (self.poll_interval * 2).min(POLL_MAX);
            self.check_exit = true;
        }
        let drain = self.drain.map(|drain| drain.until);
        let next = [by_phase, look, sample, poll, drain, self.lasting_at].into_iter().flatten().min();
        let until = next.unwrap_or(now + SAMPLE_INTERVAL_MAX);
        // A request stays readable, so once heeded it must not be waited for again.
        let is_patient = self.drain.is_some_and(|drain| !drain.is_hurried());
        Action::Wait { until, exit: self.exit == Exit::Watched, interrupt: is_running || is_patient }
    }
}

#[cfg(test)]
mod tests;
