//! How a migration waits for whoever is in its way: in short tries, since everybody who comes meanwhile waits behind it,
//! with growing pauses, not for ever, and saying for whom.

use std::time::{Duration, Instant};

use log::warn;
use postgres::types::Type;

use crate::store::row::get;
use crate::store::{Store, StoreError};

/// A try to lock tables lasts no longer: whoever comes meanwhile waits behind it. Longer than `deadlock_timeout` (1 s), after
/// which the server has an autovacuum give way.
pub(in crate::store) const LOCK_TIMEOUT_MS: u32 = 1_500;
/// How long is waited in all, where nobody says otherwise.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(300);
/// The pause after the first try, doubled after each further one: between tries others go on.
const PAUSE_MS_MIN: u64 = 100;
/// The longest: what is free is found within it.
const PAUSE_MS_MAX: u64 = 5_000;
/// A wait of others' usual length is not worth a line.
const TELL_AFTER: Duration = Duration::from_secs(2);
/// The next lines.
const TELL_EVERY: Duration = Duration::from_secs(30);

const HOLDERS: &str = include_str!("../../../sql/schema/lock_holders.sql");

/// What a migration can't have.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum Wanted {
    /// The lock of those who migrate, by its class.
    Turn(i32),
    /// Locks on tables.
    Tables,
}

pub(in crate::store) struct Wait {
    most: Duration,
    began: Option<Instant>,
    told: Option<Instant>,
    tries: u32,
}

impl Wait {
    pub(in crate::store) fn new(most: Duration) -> Self {
        Self { most, began: None, told: None, tries: 0 }
    }

    /// Pauses before the next try for `migration`, or says that there is none.
    pub(in crate::store) fn pause(
        &mut self,
        store: &mut Store,
        migration: &'static str,
        wanted: Wanted,
    ) -> Result<(), StoreError> {
        let waited = self.began.get_or_insert_with(Instant::now).elapsed();
        if waited >= self.most {
            let (holder, pid) = holder(store, wanted)?;
            return Err(StoreError::MigrationBlocked { migration, waited_s: waited.as_secs(), holder, pid });
        }
        let is_time = self.told.map_or(waited >= TELL_AFTER, |at| at.elapsed() >= TELL_EVERY);
        if is_time {
            self.told = Some(Instant::now());
            let (waited_s, (holder, _)) = (waited.as_secs(), holder(store, wanted)?);
            let left_s = self.most.saturating_sub(waited).as_secs();
            warn!(
                "migration {migration} waits, for {waited_s} s so far, {left_s} s more at the most: {holder}"
            );
        }
        let pause = PAUSE_MS_MIN.saturating_mul(1 << self.tries.min(10)).min(PAUSE_MS_MAX);
        self.tries += 1;
        // Several that wait for the same should not try all at once.
        let pause = Duration::from_millis(pause / 2 + fastrand::u64(..=pause / 2));
        let pause = if self.told.is_none() { pause.min(TELL_AFTER.saturating_sub(waited)) } else { pause };
        std::thread::park_timeout(pause.min(self.most.saturating_sub(waited)));
        Ok(())
    }
}

/// Who is in the way, in words, and its process of the server.
fn holder(store: &mut Store, wanted: Wanted) -> Result<(String, Option<i32>), StoreError> {
    let failed = |source| StoreError::database("see who holds locks", source);
    let (class, what) = match wanted {
        Wanted::Turn(class) => (Some(class), "holds the advisory lock of those who migrate"),
        Wanted::Tables => (None, "has locks on the tables"),
    };
    let schema = store.schema.clone();
    let found = store
        .connection
        .query_typed_opt(HOLDERS, &[(&schema, Type::TEXT), (&class, Type::INT4)])
        .map_err(failed)?;
    let Some(row) = found else { return Ok(("nobody is seen in its way any more".to_owned(), None)) };
    let text =
        |column| get::<Option<String>>(&row, column, "a lock").map(|it| it.filter(|it| !it.is_empty()));
    let Some(pid) = get::<Option<i32>>(&row, "pid", "a lock")? else {
        return Ok((format!("a prepared transaction {what}, see pg_prepared_xacts"), None));
    };
    let application = text("application_name")?.unwrap_or_else(|| "no application name".to_owned());
    let role = text("role")?.unwrap_or_else(|| "unknown".to_owned());
    let since: Option<f64> = get(&row, "since_s", "a lock")?;
    let since = since.map_or(String::new(), |it| format!(", for {it:.0} s"));
    let query = text("query")?.map_or(String::new(), |it| format!(": {it}"));
    Ok((format!("server process {pid} ({application}, role {role:?}) {what}{since}{query}"), Some(pid)))
}
