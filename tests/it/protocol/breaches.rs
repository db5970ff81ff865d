//! What a journal can break, in the words in which it is refused: finer than the model's properties.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    DeadClaims,
    TwoHolders,
    SameVersion,
    StaleWrite,
    TooEarly,
    CancelIgnored,
    OutOfOrder,
    BegunTwice,
    BegunWithoutClaim,
    GivenBackBegun,
    TwoAlive,
    OtherwiseEnded,
    RecordedTwice,
    NotInTrail,
    LivingLost,
    LivingDeclared,
    RejoinedHolding,
    NotAsDecided,
    NoStatement,
    Stuck,
}

impl Breach {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeadClaims => "a node claims that does not live",
            Self::TwoHolders => "a claim is taken while another node holds it",
            Self::SameVersion => "a claim changes without a new version",
            Self::StaleWrite => "a stale claim is written for",
            Self::TooEarly => "a process is claimed before its time",
            Self::CancelIgnored => "a cancelled process is claimed",
            Self::OutOfOrder => "a task begins before its predecessor is committed",
            Self::BegunTwice => "an attempt begins twice",
            Self::BegunWithoutClaim => "a command begins without its claim",
            Self::GivenBackBegun => "a claim is given back whose command has begun",
            Self::TwoAlive => "two commands of one process are alive",
            Self::OtherwiseEnded => "an execution is recorded otherwise than it ended",
            Self::RecordedTwice => "an execution is in the trail twice",
            Self::NotInTrail => "a begun execution is not in the trail",
            Self::LivingLost => "an execution of a living node is lost",
            Self::LivingDeclared => "a living node is declared dead",
            Self::RejoinedHolding => "a node rejoins while claims of its death are left",
            Self::NotAsDecided => "a row is not what the rule makes of it",
            Self::NoStatement => "a change that no statement makes",
            Self::Stuck => "something is stuck at the end",
        }
    }
}

/// One step that is allowed, or what it breaks.
pub type Step = Result<(), Breach>;
