//! The cases, and what is expected of each. The guide's page on the protocol has the same table.

use super::case::{Broken, Case, Fault};
use super::rows::Property;

/// What a case must come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// No rule is broken in any state.
    Holds,
    /// One rule is, as the guarantees say, and no other.
    Except(Property),
    /// Something is left out of the protocol, and this rule is broken.
    Breaks(Property),
}

pub struct Row {
    pub name: &'static str,
    pub case: Case,
    pub expected: Expected,
    /// Too large for every run of the suite.
    pub is_large: bool,
}

const fn holds(name: &'static str, case: Case) -> Row {
    Row { name, case, expected: Expected::Holds, is_large: false }
}

const fn large(name: &'static str, case: Case) -> Row {
    Row { is_large: true, ..holds(name, case) }
}

const fn except(name: &'static str, case: Case) -> Row {
    Row { name, case, expected: Expected::Except(Property::OneCommand), is_large: false }
}

const fn breaks(name: &'static str, broken: Broken, property: Property, case: Case) -> Row {
    Row { name, case: Case { broken, ..case }, expected: Expected::Breaks(property), is_large: false }
}

use Fault::*;
use Property::{Fence, OneCommand, Order, Progress, Trail, Version};

const THREE: Case = Case { nodes: 3, tasks: 1, ..Case::of(&[]) };
const POOLER: Case = Case { has_pooler: true, ..Case::of(&[]) };
const ONE_HOST: Case = Case { is_one_host: true, ..Case::of(&[]) };

pub const TABLE: &[Row] = &[
    holds("calm", Case::of(&[])),
    holds("calm, two processes", Case { processes: 2, ..Case::of(&[]) }),
    holds("calm, three nodes", Case { nodes: 3, ..Case::of(&[]) }),
    holds("a command fails and is tried again", Case { retries: 1, ..Case::of(&[(Fail, 2)]) }),
    holds("cancel while cut off", Case::of(&[(Cancel, 1), (Cut, 1)])),
    holds("cancel, retry, kill", Case::of(&[(Cancel, 1), (Retry, 1), (Kill, 1)])),
    holds("pause and resume", Case { processes: 2, ..Case::of(&[(Pause, 1)]) }),
    holds("pause, and the node is killed", Case::of(&[(Pause, 1), (Kill, 1)])),
    holds("stop", Case::of(&[(Stop, 1)])),
    holds("stop, two processes", Case { processes: 2, tasks: 1, ..Case::of(&[(Stop, 1)]) }),
    holds("stop while cut off", Case { tasks: 1, ..Case::of(&[(Stop, 1), (Cut, 1)]) }),
    holds("kill", Case::of(&[(Kill, 1)])),
    holds("kill, three nodes", Case { faults: &[(Kill, 1)], ..THREE }),
    holds("kill, two processes", Case { processes: 2, tasks: 1, ..Case::of(&[(Kill, 1)]) }),
    holds(
        "killed, and whoever declares it cut off",
        Case { victims: 2, tasks: 1, ..Case::of(&[(Kill, 1), (Cut, 1)]) },
    ),
    holds("kill while cut off", Case::of(&[(Kill, 1), (Cut, 1)])),
    holds(
        "both killed, one started again",
        Case { victims: 2, tasks: 1, ..Case::of(&[(Kill, 2), (Start, 1)]) },
    ),
    holds(
        "two of three killed, also while they take over",
        Case { victims: 2, faults: &[(Kill, 2)], ..THREE },
    ),
    holds("killed with its guard, one host", Case { faults: &[(KillBoth, 1)], ..ONE_HOST }),
    holds(
        "killed with its guard, and whoever finds that, one host",
        Case { victims: 2, tasks: 1, faults: &[(KillBoth, 1), (Kill, 1), (Start, 1)], ..ONE_HOST },
    ),
    except("killed with its guard, another host", Case::of(&[(KillBoth, 1)])),
    holds("cut", Case::of(&[(Cut, 1)])),
    large("cut, three nodes", Case { faults: &[(Cut, 1)], ..THREE }),
    large("both cut", Case { victims: 2, tasks: 1, ..Case::of(&[(Cut, 2)]) }),
    holds("cut, pooler without locks", Case { faults: &[(Cut, 1)], ..POOLER }),
    holds("kill, pooler without locks", Case { faults: &[(Kill, 1)], ..POOLER }),
    holds("freeze", Case::of(&[(Freeze, 1)])),
    holds("freeze, pooler without locks", Case { tasks: 1, faults: &[(Freeze, 1)], ..POOLER }),
    large("freeze while cut off", Case { tasks: 1, ..Case::of(&[(Freeze, 1), (Cut, 1)]) }),
    except("freeze between the look and the spawn", Case::of(&[(FreezeAtSpawn, 1)])),
    except("freeze with guard and commands", Case::of(&[(Contain, 1)])),
    holds("session dropped", Case::of(&[(DropSession, 1)])),
    holds("heartbeat alone cut off", Case::of(&[(CutKeeper, 1)])),
    large("heartbeat alone cut off, three nodes", Case { faults: &[(CutKeeper, 1)], ..THREE }),
    except(
        "session dropped and the node cut off",
        Case { tasks: 1, ..Case::of(&[(DropSession, 1), (Cut, 1)]) },
    ),
    except(
        "heartbeat cut off, then all of the node",
        Case { tasks: 1, ..Case::of(&[(CutKeeper, 1), (Cut, 1)]) },
    ),
    holds("database restarted", Case { tasks: 1, ..Case::of(&[(Restart, 1)]) }),
    holds("answer to a claim lost", Case::of(&[(LoseClaim, 1)])),
    large("answer to a claim lost, then cut", Case { tasks: 1, ..Case::of(&[(LoseClaim, 1), (Cut, 1)]) }),
    holds("answer to a record lost", Case::of(&[(LoseRecord, 1)])),
    large("answer to a record lost, then cut", Case::of(&[(LoseRecord, 1), (Cut, 1)])),
    holds("answer to a record lost, then killed", Case::of(&[(LoseRecord, 1), (Kill, 1)])),
    holds("answer to a release lost", Case::of(&[(LoseRelease, 1), (Stop, 1)])),
    holds("answer to a heartbeat lost, then killed", Case::of(&[(LoseBeat, 1), (Kill, 1)])),
    holds("answer to a takeover lost", Case::of(&[(LoseLost, 1), (Kill, 1)])),
    holds(
        "answer to a declaration lost",
        Case { tasks: 1, victims: 2, ..Case::of(&[(LoseDeclaration, 1), (Kill, 1)]) },
    ),
    holds("answer to a rejoin lost", Case { tasks: 1, ..Case::of(&[(LoseRejoin, 1), (Cut, 1)]) }),
    holds("answer to a claim late, cut off", Case { tasks: 1, ..Case::of(&[(DelayClaim, 1), (Cut, 1)]) }),
    holds("answer to a claim late, frozen", Case { tasks: 1, ..Case::of(&[(DelayClaim, 1), (Freeze, 1)]) }),
    holds("answer to a record late, cut off", Case::of(&[(DelayRecord, 1), (Cut, 1)])),
    holds("answer to a heartbeat late", Case::of(&[(DelayBeat, 1)])),
    holds(
        "frozen before the answer to a heartbeat and after",
        Case { tasks: 1, ..Case::of(&[(FreezeAtBeat, 1), (Freeze, 1)]) },
    ),
    holds("database's clock forward", Case::of(&[(ClockForward, 1)])),
    holds(
        "database's clock forward and back, then killed",
        Case::of(&[(ClockForward, 1), (ClockBack, 1), (Kill, 1)]),
    ),
    breaks("no fence", Broken::NoFence, Fence, Case::of(&[(Cut, 1)])),
    breaks("no new version at a claim", Broken::NoVersionAtClaim, Version, Case::of(&[])),
    breaks("no new version at a release", Broken::NoVersionAtRelease, Version, Case::of(&[(Kill, 1)])),
    breaks("death without a look at the lock", Broken::NoLook, OneCommand, Case::of(&[(Cut, 1)])),
    breaks("a lock that nobody sees", Broken::InvisibleLock, OneCommand, Case::of(&[(Cut, 1)])),
    breaks("no settling", Broken::NoSettling, OneCommand, Case { tasks: 1, ..Case::of(&[(Restart, 1)]) }),
    breaks("a lock just gone is enough", Broken::HastyDeath, OneCommand, Case::of(&[(Kill, 1), (Cut, 1)])),
    breaks("keepalives shorter than the lease", Broken::ShortKeepalives, OneCommand, Case::of(&[(Cut, 1)])),
    breaks("no guard", Broken::NoGuard, OneCommand, Case::of(&[(Freeze, 1)])),
    breaks(
        "guard counts from the reading",
        Broken::GuardFromReading,
        OneCommand,
        Case { tasks: 1, ..Case::of(&[(FreezeAtBeat, 1), (Freeze, 1)]) },
    ),
    breaks("heartbeat stopped before the drain", Broken::NoBeatInDrain, OneCommand, Case::of(&[(Stop, 1)])),
    breaks("no self-fencing", Broken::NoSelfFencing, OneCommand, Case::of(&[(CutKeeper, 1)])),
    breaks(
        "blind repetition after a commit in doubt",
        Broken::BlindRepetition,
        Order,
        Case { tasks: 3, ..Case::of(&[(LoseRecord, 1)]) },
    ),
    breaks("death without comparing heartbeats", Broken::NoComparison, OneCommand, Case::of(&[(Cut, 1)])),
    breaks(
        "death by the database's clock",
        Broken::DatabaseClock,
        OneCommand,
        Case::of(&[(ClockForward, 1), (DropSession, 1)]),
    ),
    breaks(
        "claims outlive a declaration",
        Broken::NoRevocation,
        OneCommand,
        Case::of(&[(DelayRecord, 1), (Cut, 1)]),
    ),
    breaks("a node without its lock goes on", Broken::KeeperAlone, OneCommand, Case::of(&[(CutKeeper, 1)])),
    breaks(
        "declared dead, and its commands ended then",
        Broken::DeclaredFirst,
        OneCommand,
        Case { faults: &[(KillBoth, 1)], ..ONE_HOST },
    ),
    breaks(
        "pauses of the observer count",
        Broken::PausesCount,
        OneCommand,
        Case { victims: 2, ..Case::of(&[(Contain, 2)]) },
    ),
    breaks(
        "a late claim is taken for a lost one",
        Broken::ClaimForgotten,
        OneCommand,
        Case { tasks: 1, ..Case::of(&[(DelayClaim, 1)]) },
    ),
    breaks(
        "what could not be recorded is dropped",
        Broken::DropsUnrecorded,
        Trail,
        Case { processes: 2, tasks: 1, ..Case::of(&[(LoseRecord, 1), (LoseClaim, 1)]) },
    ),
    breaks(
        "no sweep",
        Broken::NoSweep,
        Progress,
        Case { victims: 2, tasks: 1, ..Case::of(&[(Kill, 1), (Cut, 1)]) },
    ),
];
