//! What people ask for waits for somebody else's locks a bounded time, and is then told whose they are.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::statement::Sql;
use super::store::Store;
use crate::model::explain::blocker::{Blocker, named};
use crate::store::error::StoreError;
use crate::store::read::blockers::{of_kind, read};

const LOCKABLE: Sql =
    Sql::new("see which processes are locked", include_str!("../../../sql/control/lockable.sql"));
const HOLDERS: Sql = Sql::new("see who holds locks", include_str!("../../../sql/control/lock_holders.sql"));

/// How long a call waits for a lock: longer than any transaction of a node's takes, short enough for a person, and for the
/// endpoint, whose answers have five seconds.
pub(in crate::store) const LOCK_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long a call on many processes waits before it is made on those alone that nobody has locked.
const LOCK_WAIT_OF_MANY: Duration = Duration::from_millis(250);
/// The pause before those that were locked are tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(100);
/// A deadlock, which only a stranger's order of locks can bring about, is tried again this often.
const DEADLOCKS_MAX: u32 = 3;

/// What somebody may have locked.
#[derive(Clone, Copy)]
pub(in crate::store) enum Lockable<'a> {
    /// A process.
    Process(&'a str),
    /// A process type.
    Type(&'a str),
    /// So many processes that are being started.
    Starts(usize),
    /// Finished processes, whichever.
    Finished,
}

impl Store {
    /// Does `work` in one transaction that waits for a lock no longer than [`LOCK_WAIT_MAX`].
    ///
    /// # Errors
    /// [`StoreError::Locked`] after that time; otherwise as `work`.
    pub(in crate::store) fn while_lockable<T>(
        &mut self,
        action: &'static str,
        what: Lockable<'_>,
        mut work: impl FnMut(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        for _ in 0..DEADLOCKS_MAX {
            match self.in_bounded_transaction(action, LOCK_WAIT_MAX, &mut work) {
                Err(error) if error.is_deadlock() => {}
                Err(error) if error.is_lock_conflict() => return Err(self.locked(what)?),
                other => return other,
            }
        }
        self.in_bounded_transaction(action, LOCK_WAIT_MAX, work)
    }

    /// Does `work`, which takes ids and answers for each, in one transaction for all of them or, if somebody holds locks on
    /// some for long, for the others first. What comes back has the order of the ids; `of_locked` makes the answer for
    /// one that stays locked, from who has locked it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when the tables are locked; otherwise as `work`.
    pub(in crate::store) fn on_each_lockable<T>(
        &mut self,
        action: &'static str,
        ids: &[String],
        mut work: impl FnMut(&mut Self, &[String]) -> Result<Vec<T>, StoreError>,
        id_of: impl Fn(&T) -> &str,
        of_locked: impl Fn(&str, String) -> T,
    ) -> Result<Vec<T>, StoreError> {
        match self.in_bounded_transaction(action, LOCK_WAIT_OF_MANY, |store| work(store, ids)) {
            Err(error) if error.is_lock_conflict() => {}
            other => return other,
        }
        let began = Instant::now();
        let mut known = HashSet::new();
        let wanted: Vec<String> = ids.iter().filter(|id| known.insert(*id)).cloned().collect();
        let mut rest = wanted.clone();
        let mut done: HashMap<String, T> = HashMap::with_capacity(rest.len());
        loop {
            let tried = self.in_bounded_transaction(action, LOCK_WAIT_OF_MANY, |store| {
                let free = store.query_column::<String>(&LOCKABLE, &[&rest], "id", "a process")?;
                if free.is_empty() { Ok(Vec::new()) } else { work(store, &free) }
            });
            let is_over = began.elapsed() >= LOCK_WAIT_MAX;
            match tried {
                Ok(some) => done.extend(some.into_iter().map(|it| (id_of(&it).to_owned(), it))),
                Err(error) if error.is_lock_conflict() && !is_over => {}
                // The rows are free: it is the tables.
                Err(error) if error.is_lock_conflict() => {
                    return Err(self.locked(Lockable::Process(&rest[0]))?);
                }
                Err(error) => return Err(error),
            }
            rest.retain(|id| !done.contains_key(id));
            if rest.is_empty() || is_over {
                break;
            }
            std::thread::park_timeout(LOCK_PAUSE);
        }
        for (id, holder) in self.holders_of(&rest, LOCK_WAIT_MAX)? {
            let answer = of_locked(&id, holder);
            done.insert(id, answer);
        }
        Ok(wanted.iter().filter_map(|id| done.remove(id)).collect())
    }

    /// Who has locked rows of each of these processes, in words; where no row tells, whoever holds locks on tables for longer
    /// than was waited.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::store) fn holders_of(
        &mut self,
        ids: &[String],
        waited: Duration,
    ) -> Result<Vec<(String, String)>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let known = self.who_locks_all(&names)?;
        let others = if known.is_empty() { self.lock_holders(None, waited)? } else { Vec::new() };
        let of = |id: &String| {
            let own: Vec<Blocker> = known.iter().filter(|it| it.0 == *id).map(|it| it.1.clone()).collect();
            named(if own.is_empty() { &others } else { &own })
        };
        Ok(ids.iter().map(|id| (id.clone(), of(id))).collect())
    }

    /// Who has locked the row of a process type or, if nobody has or none is given, who holds locks on tables for longer
    /// than was waited.
    fn lock_holders(
        &mut self,
        process_type: Option<&str>,
        waited: Duration,
    ) -> Result<Vec<Blocker>, StoreError> {
        let rows = self.query(&HOLDERS, &[&process_type, &waited.as_secs_f64()])?;
        let found =
            ["type", "schema"].map(|kind| of_kind(&rows, kind).map(read).collect::<Result<Vec<_>, _>>());
        let [own, others] = found;
        let own = own?;
        if own.is_empty() { others } else { Ok(own) }
    }

    /// The error that says who has locked it.
    ///
    /// # Errors
    /// When the database fails.
    pub(in crate::store) fn locked(&mut self, what: Lockable<'_>) -> Result<StoreError, StoreError> {
        let (what, holder) = match what {
            Lockable::Process(id) => {
                let holder = self.holders_of(&[id.to_owned()], LOCK_WAIT_MAX)?.remove(0).1;
                (format!("process {id:?}"), holder)
            }
            Lockable::Type(name) => {
                (format!("process type {name:?}"), named(&self.lock_holders(Some(name), LOCK_WAIT_MAX)?))
            }
            Lockable::Finished => {
                ("a table of finished processes".to_owned(), named(&self.lock_holders(None, Duration::ZERO)?))
            }
            Lockable::Starts(count) => {
                (format!("one of {count} process ids"), named(&self.lock_holders(None, LOCK_WAIT_MAX)?))
            }
        };
        Ok(StoreError::Locked { what, holder })
    }
}
