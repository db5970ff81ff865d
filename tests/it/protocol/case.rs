//! What may happen in a case of the model, and what is left out of the protocol there.

use super::rows::Rules;

/// Something that goes wrong, or that somebody wants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Fault {
    /// The network between the node and the database.
    Cut,
    /// Only the heartbeat's session is lost and refused.
    CutKeeper,
    /// The server ends the heartbeat's session.
    DropSession,
    /// The database restarts: every session and lock is gone.
    Restart,
    Kill,
    /// With its guard.
    KillBoth,
    Freeze,
    /// With its guard and its commands.
    Contain,
    /// Between the look whether a command may begin and its spawn.
    FreezeAtSpawn,
    /// Another node is started.
    Start,
    Stop,
    LoseClaim,
    LoseRecord,
    LoseRelease,
    LoseBeat,
    LoseLost,
    LoseDeclaration,
    LoseRejoin,
    DelayClaim,
    DelayRecord,
    DelayBeat,
    /// The node is frozen when it has sent a heartbeat and has not read the answer.
    FreezeAtBeat,
    ClockForward,
    ClockBack,
    /// A command fails.
    Fail,
    Cancel,
    Retry,
    Pause,
}

pub const FAULTS: usize = Fault::Pause as usize + 1;

/// What is left out or done wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Broken {
    #[default]
    Nothing,
    NoFence,
    NoVersionAtClaim,
    NoVersionAtRelease,
    /// A node is declared dead by its silence alone.
    NoLook,
    /// The lock is held and nobody sees it.
    InvisibleLock,
    /// A node that has just connected judges others.
    NoSettling,
    /// The server ends the session of a node that is cut off before its lease is over.
    ShortKeepalives,
    NoGuard,
    /// The guard counts from when the heartbeat's answer was read.
    GuardFromReading,
    /// A node that stops beats no more while its commands run.
    NoBeatInDrain,
    NoSelfFencing,
    /// What was in doubt is recorded again without a look at the trail, which has no key.
    BlindRepetition,
    /// A node is declared dead although it has beaten since it was looked at.
    NoComparison,
    /// Silence is told by the database's clock.
    DatabaseClock,
    /// What was claimed before the node was declared dead is begun after it goes on.
    NoRevocation,
    /// The heartbeat can't reach the database while others of the node do, and the node goes on.
    KeeperAlone,
    /// What could not be recorded is dropped, and its claim with it.
    DropsUnrecorded,
    /// Nobody looks for abandoned claims but when a node was declared dead.
    NoSweep,
    /// A lock that has just gone is as good as one that is gone for a while.
    HastyDeath,
    /// A node is declared dead first, and its commands are ended then.
    DeclaredFirst,
    /// A pause of the observer counts as silence of the others.
    PausesCount,
    /// A claim whose answer is late is taken for one that was lost sight of.
    ClaimForgotten,
}

/// One case: who takes part, and what may happen how often.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub nodes: usize,
    pub processes: usize,
    pub tasks: u8,
    pub retries: u8,
    pub has_pooler: bool,
    /// All nodes run on one host and see each other's processes.
    pub is_one_host: bool,
    /// The node, and those after it, to whom faults happen.
    pub victims: usize,
    pub faults: &'static [(Fault, u8)],
    pub broken: Broken,
}

impl Case {
    pub const fn of(faults: &'static [(Fault, u8)]) -> Self {
        Self {
            nodes: 2,
            processes: 1,
            tasks: 2,
            retries: 0,
            has_pooler: false,
            is_one_host: false,
            victims: 1,
            faults,
            broken: Broken::Nothing,
        }
    }

    pub fn budget(&self) -> [u8; FAULTS] {
        let mut budget = [0; FAULTS];
        self.faults.iter().for_each(|&(fault, times)| budget[fault as usize] = times);
        budget
    }

    pub fn rules(&self) -> Rules {
        Rules {
            no_fence: self.broken == Broken::NoFence,
            no_version_at_claim: self.broken == Broken::NoVersionAtClaim,
            no_version_at_release: self.broken == Broken::NoVersionAtRelease,
            no_key_in_trail: self.broken == Broken::BlindRepetition,
        }
    }
}
