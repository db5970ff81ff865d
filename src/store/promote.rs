//! The queue's moves that no claim makes: what was scheduled and is due, what a pause holds, and what it lets go.

use std::time::Duration;

use super::claims::read_wait;
use super::row::{get, unreadable};
use super::{Sql, Store, StoreError};

const PROMOTE: Sql = Sql::new("make scheduled processes ready", include_str!("../../sql/queue/promote.sql"));
const HOLD_PAUSED: Sql =
    Sql::new("hold processes of paused types", include_str!("../../sql/queue/hold_paused.sql"));
const RELEASE_HELD: Sql =
    Sql::new("release processes of resumed types", include_str!("../../sql/queue/release_held.sql"));
const HOLD_BLOCKED: Sql =
    Sql::new("hold processes that limits have no room for", "SELECT hold_blocked($1) AS moved");
/// Null where nothing is held for a limit; nothing is done while another node does it.
const RELEASE_WHERE_ROOM: Sql = Sql::new(
    "release processes that limits have room for",
    include_str!("../../sql/limits/release_where_room.sql"),
);
/// Rows moved by one statement: some 30 ms, and the next one follows at once.
const MOVED_MAX: i64 = 2000;

/// What a promotion has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promotion {
    /// How many are ready now.
    pub promoted: usize,
    /// The highest priority among them.
    pub highest_priority: Option<i32>,
    /// There may be more that are due.
    pub is_full: bool,
    /// The time until the next one is due; `None` when nothing is scheduled.
    pub next_due: Option<Duration>,
}

impl Store {
    /// Makes scheduled processes ready whose time has come, those that have been due for no longer than `within` if that
    /// is given.
    ///
    /// # Errors
    /// When the database fails.
    pub fn promote_due(&mut self, within: Option<Duration>) -> Result<Promotion, StoreError> {
        let row = self
            .query_opt(&PROMOTE, &[&within.map(|time| time.as_secs_f64()), &MOVED_MAX])?
            .ok_or_else(|| unreadable("a promotion", "no row"))?;
        let promoted: i64 = get(&row, "promoted", "a promotion")?;
        Ok(Promotion {
            promoted: usize::try_from(promoted).unwrap_or_default(),
            highest_priority: get(&row, "highest_priority", "a promotion")?,
            is_full: promoted >= MOVED_MAX,
            next_due: read_wait(&row)?,
        })
    }

    /// Holds processes of paused types that are ready, those at the front of the queue; gives whether most of what is
    /// there was such.
    ///
    /// # Errors
    /// When the database fails.
    pub fn hold_paused(&mut self) -> Result<bool, StoreError> {
        let held = self.execute(&HOLD_PAUSED, &[&MOVED_MAX])?;
        Ok(i64::try_from(held).unwrap_or(i64::MAX) >= MOVED_MAX / 2)
    }

    /// Holds processes that limits have no room for, those at the front of the queue; gives whether most of what is there
    /// was such.
    ///
    /// # Errors
    /// When the database fails.
    pub fn hold_blocked(&mut self) -> Result<bool, StoreError> {
        let most = i32::try_from(MOVED_MAX).unwrap_or(i32::MAX);
        let row = self.query_one(&HOLD_BLOCKED, &[&most], "limits")?;
        Ok(get::<i64>(&row, "moved", "limits")? >= MOVED_MAX / 2)
    }

    /// Lets processes go that are held for limits which have room; gives how many, `None` if none is held for a limit.
    ///
    /// # Errors
    /// When the database fails.
    pub fn release_where_room(&mut self) -> Result<Option<usize>, StoreError> {
        let most = i32::try_from(MOVED_MAX).unwrap_or(i32::MAX);
        let row = self.query_one(&RELEASE_WHERE_ROOM, &[&most], "limits")?;
        let released: Option<i32> = get(&row, "released", "limits")?;
        Ok(released.map(|it| usize::try_from(it).unwrap_or_default()))
    }

    /// Lets processes go that were held for a pause which is over; gives whether there may be more.
    ///
    /// # Errors
    /// When the database fails.
    pub fn release_held(&mut self) -> Result<Released, StoreError> {
        let released = self.execute(&RELEASE_HELD, &[&MOVED_MAX])?;
        Ok(match i64::try_from(released) {
            Ok(0) => Released::Nothing,
            Ok(count) if count < MOVED_MAX => Released::All,
            _ => Released::Some,
        })
    }
}

/// What [`Store::release_held`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// Nothing was held without a reason.
    Nothing,
    /// All that was.
    All,
    /// There may be more.
    Some,
}
