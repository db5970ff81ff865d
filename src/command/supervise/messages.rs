//! What can be seen of a running command, and what can be done about it.

use std::time::Instant;

use crate::command::interrupt::Reason;
use crate::model::lifecycle::Outcome;

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

/// What was seen: the answer to the last action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is done, or nothing has changed but the time.
    Nothing,
    /// The wait is over: the pipe can be read, the descriptor tells of the exit, or neither.
    Ready { output: bool, exit: bool },
    /// A piece of output was read.
    Printed,
    /// Nobody holds the other end of the pipe any more.
    OutputEnded,
    /// A descriptor will tell of the exit.
    Watched,
    /// There is no such descriptor: an old kernel, another system, or none is left.
    Unwatchable,
    /// The command has exited, and is a zombie until it is reaped.
    Exited,
    /// It has exited and is reaped: its id means nothing any more.
    Reaped,
    /// Something of the execution is left beside its leader, and is to end.
    RestLeft,
    /// Nothing is left, or it may live on.
    RestGone,
    /// The action failed, so that the command can't be watched any further.
    Failed,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Wait until the pipe can be read, or one of these others happens, or this time has come.
    Wait { until: Instant, exit: bool, interrupt: bool },
    /// Wait for the exit alone, as systems without a descriptor can, and reap.
    WaitForExit { until: Instant },
    /// Read a piece of output.
    Read,
    /// Most commands close their output by exiting: notice that, if it happens in a moment, and reap it if it may be.
    TryReap,
    /// Get a descriptor that tells of the exit.
    WatchExit,
    /// Ask whether it has exited.
    CheckExit,
    /// See what it uses.
    SampleUsage,
    /// Say that it is none of the shortest.
    NoteLasting,
    /// Ask all of it to end.
    Terminate,
    /// Kill all of it.
    Kill,
    /// It has exited: see whether something of it is left that has to end.
    LookForRest,
    /// Ask that to end.
    TerminateRest,
    /// Say that it has outlived its killing.
    WarnOfSurvivor,
    /// Say that what it has left has outlived its killing.
    GiveRestUp,
    /// It is over; whoever of its group is left after an end that we brought about is killed, as nobody else would.
    Finish { kill_rest: bool },
}
