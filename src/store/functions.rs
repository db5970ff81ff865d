//! Where the schema's functions look for names: in the schema, and in pg_temp last.
//!
//! Each carries its own search path, so that no caller's counts. A path without pg_temp has temporary tables go before all
//! others, which is how releases before the eleventh migration made some of them. And a path holds the name that the schema
//! had when the function was made: a schema that was renamed, or restored under another name, has functions that act on
//! the one of the old name.

use std::time::Duration;

use log::warn;
use postgres::Row;
use postgres::types::Type;
use serde::Serialize;

use super::migrate::wait::{LOCK_TIMEOUT_MS, Wait, Wanted};
use super::migrate::{AppliedMigration, LOCK_CLASS};
use super::row::get;
use super::{Sql, Store, StoreError, quote_identifier};

const STRAY: Sql =
    Sql::new("look at the schema's functions", include_str!("../../sql/schema/stray_functions.sql"));
/// Our functions by name and types, a line each.
const OURS: &str = include_str!("../../sql/schema/functions.txt");

/// A function of ours that looks for names elsewhere than it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StrayFunction {
    /// Its name.
    pub name: String,
    /// Where it looks; `None` is wherever its caller does.
    pub search_path: Option<String>,
    /// It acts on another schema; otherwise temporary tables merely go before this one's.
    pub is_elsewhere: bool,
    /// Anybody may call it, whom nobody has granted that, and it acts with its owner's rights.
    pub is_open: bool,
    /// It does not look in the schema, and in pg_temp last.
    #[serde(skip)]
    is_astray: bool,
    #[serde(skip)]
    signature: String,
    #[serde(skip)]
    may_alter: bool,
}

/// What [`Store::migrate_and_mend`] did, or with a dry run would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations, in their order.
    pub migrations: Vec<AppliedMigration>,
    /// The functions that looked for names elsewhere than in the schema.
    pub mended: Vec<StrayFunction>,
}

/// What a list of them says: a sentence for each path, such as `3 functions look in "old": a, b, c`.
pub fn told(stray: &[StrayFunction]) -> Vec<String> {
    let astray = || stray.iter().filter(|it| it.is_astray);
    let mut paths: Vec<&Option<String>> = astray().map(|it| &it.search_path).collect();
    paths.sort();
    paths.dedup();
    let sentence = |path: &Option<String>| {
        let mut names: Vec<&str> =
            astray().filter(|it| it.search_path == *path).map(|it| &*it.name).collect();
        names.dedup();
        let place = match path {
            Some(path) if path.contains("pg_temp") => path.clone(),
            Some(path) => format!("pg_temp, {path}"),
            None => "the path of their callers".to_owned(),
        };
        format!("functions that look for names in {place}: {}", names.join(", "))
    };
    let open: Vec<&str> = stray.iter().filter(|it| it.is_open).map(|it| &*it.name).collect();
    let open = (!open.is_empty())
        .then(|| format!("functions that act for anybody with their owner's rights: {}", open.join(", ")));
    paths.into_iter().map(sentence).chain(open).collect()
}

impl Store {
    /// As [`Store::migrate`], and says which functions were mended; waits so long at the most for others that migrate or
    /// have locks on the tables.
    ///
    /// # Errors
    /// As [`Store::migrate`], and when functions act on another schema that are not ours to alter.
    pub fn migrate_and_mend(&mut self, dry_run: bool, wait: Duration) -> Result<Migrated, StoreError> {
        let migrations = self.apply_pending(dry_run, wait)?;
        let mended = if dry_run { self.stray_functions()? } else { self.mend_functions(wait)? };
        Ok(Migrated { migrations, mended })
    }

    /// Our functions in the schema that look for names elsewhere than in it, and in pg_temp last.
    pub fn stray_functions(&mut self) -> Result<Vec<StrayFunction>, StoreError> {
        let (schema, ours) = (self.schema.clone(), OURS.lines().collect::<Vec<_>>());
        self.query(&STRAY, &[&schema, &ours])?.iter().map(read_stray).collect()
    }

    /// Fails if a function of ours acts on another schema: nothing is to be started or cancelled there.
    ///
    /// # Errors
    /// As said, and when the database fails.
    pub(super) fn check_functions(&mut self) -> Result<(), StoreError> {
        let mut stray = self.stray_functions()?;
        stray.retain(|it| it.is_elsewhere);
        if stray.is_empty() {
            return Ok(());
        }
        Err(StoreError::FunctionsElsewhere { schema: self.schema.clone(), told: told(&stray).join("; ") })
    }

    /// Has all functions of ours look in the schema, and in pg_temp last; gives those that did not. Who is not their owner
    /// is refused if they act on another schema, and otherwise told in the log.
    ///
    /// # Errors
    /// As said, and when the database fails.
    pub(super) fn mend_functions(&mut self, wait: Duration) -> Result<Vec<StrayFunction>, StoreError> {
        let stray = self.stray_functions()?;
        if stray.iter().any(|it| !it.may_alter) {
            self.check_functions()?;
            warn!(
                "schema {:?} has {}; have its owner run: process-orchestrator migrate",
                self.schema,
                told(&stray).join("; ")
            );
            return Ok(Vec::new());
        }
        if stray.is_empty() {
            return Ok(stray);
        }
        let mut wait = Wait::new(wait);
        loop {
            let wanted = match self.alter(&stray) {
                Ok(true) => break,
                Ok(false) => Wanted::Turn(LOCK_CLASS),
                Err(error) if error.is_lock_conflict() => Wanted::Tables,
                Err(error) => return Err(error),
            };
            wait.pause(self, "of the functions' search paths", wanted)?;
        }
        warn!("mended in schema {:?}: {}", self.schema, told(&stray).join("; "));
        Ok(stray)
    }

    /// Whether it was done: nobody else migrates. Two that alter the same function at once would fail.
    fn alter(&mut self, stray: &[StrayFunction]) -> Result<bool, StoreError> {
        let failed = |source| StoreError::database("mend the schema's functions", source);
        let (schema, quoted) = (self.schema.clone(), quote_identifier(&self.schema));
        let mut transaction = self.connection.transaction().map_err(failed)?;
        transaction.batch_execute(&format!("SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")).map_err(failed)?;
        let is_our_turn: bool = transaction
            .query_typed_one(
                "SELECT pg_try_advisory_xact_lock($1, hashtext($2))",
                &[(&LOCK_CLASS, Type::INT4), (&schema, Type::TEXT)],
            )
            .map_err(failed)?
            .get(0);
        if !is_our_turn {
            return Ok(false);
        }
        let alter = |it: &StrayFunction| {
            let signature = &it.signature;
            let closed = match it.is_open {
                true => format!("REVOKE EXECUTE ON FUNCTION {signature} FROM PUBLIC;"),
                false => String::new(),
            };
            format!("ALTER FUNCTION {signature} SET search_path = {quoted}, pg_temp; {closed}")
        };
        transaction.batch_execute(&stray.iter().map(alter).collect::<String>()).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(true)
    }
}

fn read_stray(row: &Row) -> Result<StrayFunction, StoreError> {
    let what = "a function";
    Ok(StrayFunction {
        name: get(row, "name", what)?,
        search_path: get(row, "search_path", what)?,
        is_elsewhere: get(row, "is_elsewhere", what)?,
        is_open: get(row, "is_open", what)?,
        is_astray: get(row, "is_astray", what)?,
        signature: get(row, "signature", what)?,
        may_alter: get(row, "may_alter", what)?,
    })
}
