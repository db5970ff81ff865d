//! What an era is, as its row says, and what was done to one.

use jiff::Timestamp;
use postgres::Row;

use crate::store::StoreError;
use crate::store::row::{get, unreadable};

/// Processes moved in one transaction: tenths of a second.
pub const MOVE_BATCH: i64 = 500;

/// How many processes an era holds at the least before the next one begins.
pub const ERA_SIZE: u32 = 10_000;

/// What one step has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Something was done, and more may be left.
    Did(Done),
    /// There is nothing to do for now.
    Idle,
    /// Somebody else is at it, or holds a lock that is in the way.
    Busy,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// What starts from now on belongs to this era.
    Began(i32),
    /// Nothing of this era runs or waits any more.
    Closed(i32),
    /// The tables of this era are dropped.
    Dropped(i32),
    /// So many processes were moved from one era to another.
    Moved {
        /// How many.
        processes: u64,
        /// From where.
        from: i32,
    },
}

/// Which processes it is for: see the sixteenth migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Started,
    Long,
    Ended,
    Earlier,
}

/// A row of `eras`.
#[derive(Debug, Clone)]
pub struct Era {
    pub number: i32,
    pub kind: Kind,
    pub is_closed: bool,
    pub is_full: bool,
    pub is_newest: bool,
    pub is_emptied: bool,
    pub is_without_outputs: bool,
    pub processes: i64,
    pub ended_from: Option<Timestamp>,
    pub ended_to: Option<Timestamp>,
    pub moved_to: Option<Timestamp>,
    pub age_s: f64,
    pub size: i64,
}

/// How far the history of before eras has been moved into them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// Processes that were moved: all that ended before `until`, and `left` that ended later are to be.
    pub moved: u64,
    /// Finished processes that are to be moved.
    pub left: u64,
    /// Since when what is left has ended.
    pub until: Option<Timestamp>,
}

impl std::fmt::Display for Earlier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "moved={} left={}", self.moved, self.left)
    }
}

pub fn read_era(row: &Row) -> Result<Era, StoreError> {
    let what = "an era";
    let kind: String = get(row, "kind", what)?;
    Ok(Era {
        number: get(row, "era", what)?,
        kind: match &*kind {
            "STARTED" => Kind::Started,
            "LONG" => Kind::Long,
            "ENDED" => Kind::Ended,
            "EARLIER" => Kind::Earlier,
            _ => return Err(unreadable(what, format!("its kind is {kind:?}"))),
        },
        is_closed: get(row, "is_closed", what)?,
        is_full: get(row, "is_full", what)?,
        is_newest: get(row, "is_newest", what)?,
        is_emptied: get(row, "is_emptied", what)?,
        is_without_outputs: get(row, "is_without_outputs", what)?,
        processes: get(row, "processes", what)?,
        ended_from: get(row, "ended_from", what)?,
        ended_to: get(row, "ended_to", what)?,
        moved_to: get(row, "moved_to", what)?,
        age_s: get(row, "age_s", what)?,
        size: get(row, "size", what)?,
    })
}
