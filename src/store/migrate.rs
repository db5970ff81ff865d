//! Numbered migrations, applied once, in order, under an advisory lock, each in a transaction of its own.
//!
//! # Rolling upgrades: expand, then contract
//!
//! A migration may be applied while nodes of the release before run on. So that these can also be started again, a
//! migration that only *expands* (adds columns with defaults, tables, indexes, functions that nobody of old calls) says
//! so in a line of its header:
//!
//! ```sql
//! -- works from: 2
//! ```
//!
//! the oldest schema version whose programs work with the tables as it leaves them. It is recorded with the migration,
//! and a program accepts a newer schema if every migration that it does not know works from its own version or an older
//! one. Without the line it is refused, which is what a migration needs that *contracts* (drops or renames what the
//! release before reads, or makes it write otherwise). What is to be dropped goes in two releases: the first stops using
//! it, the second drops it and says `works from` the first.

mod indexes;
pub(super) mod wait;

use std::time::Duration;

use log::info;
use postgres::Row;
use postgres::types::Type;
use serde::Serialize;

pub use self::wait::WAIT_DEFAULT;
use self::wait::{LOCK_TIMEOUT_MS, Wait, Wanted};
use super::row::{get, unreadable};
use super::{Store, StoreError, quote_identifier};
use crate::database::unsuitable;
use crate::failpoint::{self, Point};

/// One numbered file of `sql/migrations`.
struct Migration {
    version: i32,
    name: &'static str,
    text: &'static str,
}

macro_rules! migrations {
    ($($version:literal $name:literal),+ $(,)?) => {
        &[$(Migration {
            version: $version,
            name: $name,
            text: include_str!(concat!("../../sql/migrations/", $name, ".sql")),
        }),+]
    };
}

const MIGRATIONS: &[Migration] = migrations![1 "0001_tables", 2 "0002_start_process", 3 "0003_control", 4 "0004_filters", 5 "0005_live_output", 6 "0006_hot_tables", 7 "0007_queue_states", 8 "0008_values", 9 "0009_waiting", 10 "0010_id_prefix", 11 "0011_doors", 12 "0012_retry_and_types", 13 "0013_node_sessions", 14 "0014_era_columns", 15 "0015_era_checks", 16 "0016_eras", 17 "0017_forgotten_outputs", 18 "0018_looks", 19 "0019_sharing", 20 "0020_limits", 21 "0021_schedules", 22 "0022_batches"];

/// Makes or completes the table in which migrations are recorded.
const TABLE: &str = include_str!("../../sql/schema/migrations_table.sql");

/// Asked before the schema is made, so that a refusal can name the remedy.
const MAY_CREATE: &str = "SELECT has_database_privilege(current_database(), 'CREATE') AS may_create, \
    current_database()::text AS database, current_user::text AS role";

/// For whom a migration is made: a superuser's, or a member's of the owning role, is to leave nothing that the owner can't use.
const ACTS_FOR: &str = include_str!("../../sql/schema/acts_for.sql");

/// The header line that names the oldest schema version whose programs work with a migration.
const WORKS_FROM: &str = "-- works from:";

/// Advisory lock of everybody who migrates; the second key is the schema's hash.
pub(super) const LOCK_CLASS: i32 = 0x504f_4d31_u32 as i32;

/// A migration that was, or with a dry run would be, applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppliedMigration {
    /// Its number.
    pub version: i32,
    /// Its file's name without the ending.
    pub name: &'static str,
}

/// How a try to apply a migration came out.
enum Tried {
    Applied,
    /// Somebody has done so while we waited.
    Was,
    /// Somebody else migrates.
    Busy,
}

/// A migration as the database has it.
struct Found {
    version: i32,
    checksum: String,
    works_from: Option<i32>,
}

/// The migrations of this binary.
fn known() -> &'static [Migration] {
    let most = failpoint::known_schema().unwrap_or(i32::MAX);
    let count = MIGRATIONS.iter().take_while(|it| it.version <= most).count();
    &MIGRATIONS[..count]
}

/// The schema version that this binary brings a schema to; it also works with newer ones that say so.
pub fn known_version() -> i32 {
    known().last().map_or(0, |migration| migration.version)
}

impl Store {
    /// Brings the schema to this binary's version and says what was done; with `dry_run` only says it. A newer one that
    /// this binary works with stays as it is.
    ///
    /// # Errors
    /// When the schema is newer than this binary works with, when an applied migration differs from ours, when functions act
    /// on another schema that are not ours to alter, or when the database fails; a migration that fails leaves nothing behind.
    pub fn migrate(&mut self, dry_run: bool) -> Result<Vec<AppliedMigration>, StoreError> {
        Ok(self.migrate_and_mend(dry_run, WAIT_DEFAULT)?.migrations)
    }

    /// The migrations alone, waiting so long at the most for others that migrate or have locks on the tables.
    pub(super) fn apply_pending(
        &mut self,
        dry_run: bool,
        wait: Duration,
    ) -> Result<Vec<AppliedMigration>, StoreError> {
        self.check_suitability()?;
        let found = self.applied()?;
        let pending = pending(&found, &self.schema)?;
        if newest(&found) > known_version() {
            info!(
                "schema {:?} is at version {}, which also works with this program's {}",
                self.schema,
                newest(&found),
                known_version()
            );
        }
        if dry_run || pending.is_empty() {
            return Ok(pending.iter().map(|it| it.applied()).collect());
        }
        let (mut done, mut wait) = (Vec::new(), Wait::new(wait));
        for migration in known() {
            if self.apply_when_free(migration, &mut wait)? {
                done.push(migration.applied());
            }
        }
        Ok(done)
    }

    /// Drops the schema with everything in it.
    pub fn drop_schema(&mut self) -> Result<(), StoreError> {
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", quote_identifier(&self.schema));
        self.connection.batch_execute(&drop).map_err(|source| StoreError::database("drop the schema", source))
    }

    /// The version the schema is at; 0 where there is none.
    pub fn schema_version(&mut self) -> Result<i32, StoreError> {
        Ok(newest(&self.applied()?))
    }

    /// Fails unless the schema is at this binary's version, or at a newer one that works with it.
    ///
    /// # Errors
    /// When it is missing, older or too new, with both versions named; when its functions act on another schema.
    pub fn check_schema(&mut self) -> Result<(), StoreError> {
        let found = self.applied()?;
        if pending(&found, &self.schema)?.is_empty() {
            return self.check_functions();
        }
        Err(StoreError::SchemaMissing {
            schema: self.schema.clone(),
            found: newest(&found),
            needed: known_version(),
        })
    }

    /// Fails where the database can't hold what we keep.
    fn check_suitability(&mut self) -> Result<(), StoreError> {
        const QUESTION: &str = "SELECT current_setting('server_encoding') AS encoding, \
                                current_setting('session_replication_role') <> 'replica' AS fires_triggers";
        let row = self
            .connection
            .query_typed_one(QUESTION, &[])
            .map_err(|source| StoreError::database("look at the database's settings", source))?;
        let encoding: String = get(&row, "encoding", "the database's settings")?;
        match unsuitable(&encoding, get(&row, "fires_triggers", "the database's settings")?) {
            Some(failure) => Err(StoreError::Unsuitable(failure)),
            None => Ok(()),
        }
    }

    /// Applies one migration; while somebody else is in the way, again and again.
    fn apply_when_free(
        &mut self,
        migration: &'static Migration,
        wait: &mut Wait,
    ) -> Result<bool, StoreError> {
        loop {
            let wanted = match self.apply(migration) {
                Ok(Tried::Applied) => return Ok(true),
                Ok(Tried::Was) => return Ok(false),
                Ok(Tried::Busy) => Wanted::Turn(LOCK_CLASS),
                Err(error) if error.is_lock_conflict() => Wanted::Tables,
                Err(error) => return Err(error),
            };
            wait.pause(self, migration.name, wanted)?;
        }
    }

    /// Applies one migration unless somebody has done so while we waited for the lock of those who migrate.
    fn apply(&mut self, migration: &'static Migration) -> Result<Tried, StoreError> {
        let failed = |source| StoreError::Migration { migration: migration.name, source };
        let schema = self.schema.clone();
        let mut transaction = self.connection.transaction().map_err(failed)?;
        // Not for ever on anybody's account: any role that may connect can hold this lock. Statements with types are sent
        // unnamed and leave nothing prepared on a session that may be a pooler's.
        let is_our_turn: bool = transaction
            .query_typed_one(
                "SELECT pg_try_advisory_xact_lock($1, hashtext($2))",
                &[(&LOCK_CLASS, Type::INT4), (&schema, Type::TEXT)],
            )
            .map_err(failed)?
            .get(0);
        if !is_our_turn {
            return Ok(Tried::Busy);
        }
        let quoted = quote_identifier(&schema);
        let exists: bool = transaction
            .query_typed_one(
                "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)",
                &[(&schema, Type::TEXT)],
            )
            .map_err(failed)?
            .get(0);
        if !exists {
            let row = transaction.query_typed_one(MAY_CREATE, &[]).map_err(failed)?;
            if !row.get::<_, bool>("may_create") {
                return Err(StoreError::MayNotCreate {
                    schema,
                    database: row.get("database"),
                    role: row.get("role"),
                });
            }
        }
        let owner: Option<String> = transaction
            .query_typed_opt(ACTS_FOR, &[(&schema, Type::TEXT)])
            .map_err(failed)?
            .map(|row| row.get("owner"));
        let first = match owner {
            _ if !exists => format!("CREATE SCHEMA {quoted};"),
            Some(owner) => format!("SET LOCAL ROLE {};", quote_identifier(&owner)),
            None => String::new(),
        };
        transaction
            .batch_execute(&format!(
                "{first} SET LOCAL search_path = {quoted}, pg_temp; \
                 SET LOCAL client_min_messages = warning; SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; \
                 SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
                 SET LOCAL standard_conforming_strings = on; SET LOCAL default_table_access_method = heap; {TABLE}"
            ))
            .map_err(failed)?;
        let is_applied = transaction
            .query_typed_opt(
                "SELECT FROM schema_migrations WHERE version = $1",
                &[(&migration.version, Type::INT4)],
            )
            .map_err(failed)?
            .is_some();
        if is_applied {
            return Ok(Tried::Was);
        }
        transaction.batch_execute(migration.text).map_err(failed)?;
        transaction
            .execute_typed(
                "INSERT INTO schema_migrations (version, name, checksum, works_from) VALUES ($1, $2, $3, $4)",
                &[
                    (&migration.version, Type::INT4),
                    (&migration.name, Type::TEXT),
                    (&migration.checksum(), Type::TEXT),
                    (&migration.works_from(), Type::INT4),
                ],
            )
            .map_err(failed)?;
        failpoint::hit(Point::InMigration);
        transaction.commit().map_err(failed)?;
        Ok(Tried::Applied)
    }

    /// What was applied; nothing where there is no schema yet.
    fn applied(&mut self) -> Result<Vec<Found>, StoreError> {
        let failed = |source| StoreError::database("read the schema's version", source);
        let table = format!("{}.schema_migrations", quote_identifier(&self.schema));
        let exists: bool = self
            .connection
            .query_typed_one("SELECT to_regclass($1) IS NOT NULL", &[(&table, Type::TEXT)])
            .map_err(failed)?
            .get(0);
        if !exists {
            return Ok(Vec::new());
        }
        // Releases that knew no works_from have left a table without it.
        let select = format!(
            "SELECT version, checksum, to_jsonb(m) ->> 'works_from' AS works_from FROM {table} AS m ORDER BY version"
        );
        self.connection.query_typed(&select, &[]).map_err(failed)?.iter().map(read_found).collect()
    }
}

fn read_found(row: &Row) -> Result<Found, StoreError> {
    let version: i32 = get(row, "version", "schema_migrations")?;
    let what = format!("migration {version} in schema_migrations");
    let works_from: Option<String> = get(row, "works_from", &what)?;
    let works_from = works_from
        .map(|text| text.parse().map_err(|_| unreadable(&what, format!("column works_from is {text:?}"))));
    Ok(Found { version, checksum: get(row, "checksum", &what)?, works_from: works_from.transpose()? })
}

fn newest(found: &[Found]) -> i32 {
    found.iter().map(|it| it.version).max().unwrap_or(0)
}

/// What is left to apply, given what was.
fn pending(found: &[Found], schema: &str) -> Result<Vec<&'static Migration>, StoreError> {
    let known_version = known_version();
    // A migration that we do not know leaves us out unless it says otherwise.
    let is_refused =
        |it: &Found| it.version > known_version && it.works_from.is_none_or(|from| from > known_version);
    if found.iter().any(is_refused) {
        return Err(StoreError::SchemaNewer {
            schema: schema.to_owned(),
            found: newest(found),
            known: known_version,
        });
    }
    let mut pending = Vec::new();
    for migration in known() {
        match found.iter().find(|it| it.version == migration.version) {
            None => pending.push(migration),
            Some(it) if it.checksum == migration.checksum() => {}
            Some(_) => {
                return Err(StoreError::MigrationChanged {
                    version: migration.version,
                    name: migration.name.to_owned(),
                });
            }
        }
    }
    Ok(pending)
}

impl Migration {
    const fn applied(&self) -> AppliedMigration {
        AppliedMigration { version: self.version, name: self.name }
    }

    /// What the header says: the comment lines at its top.
    fn works_from(&self) -> Option<i32> {
        let header = self.text.lines().take_while(|line| line.starts_with("--"));
        header
            .filter_map(|line| line.strip_prefix(WORKS_FROM))
            .find_map(|version| version.trim().parse().ok())
    }

    /// FNV-1a of the text, 64 bits: it tells an edited file from the one applied, it is no defence.
    fn checksum(&self) -> String {
        let hash = self.text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_gaps_and_named_after_their_number() {
        for (migration, number) in MIGRATIONS.iter().zip(1..) {
            assert_eq!(migration.version, number);
            assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
        }
    }

    fn found(version: i32, checksum: &str, works_from: Option<i32>) -> Found {
        Found { version, checksum: checksum.to_owned(), works_from }
    }

    #[test]
    fn a_header_that_names_a_version_is_understood() {
        for migration in MIGRATIONS {
            let line = migration.text.lines().find(|line| line.to_lowercase().contains("works from"));
            assert_eq!(line.is_some(), migration.works_from().is_some(), "{}: {line:?}", migration.name);
            assert!(migration.works_from().is_none_or(|from| from < migration.version), "{}", migration.name);
        }
        let migration = Migration { version: 9, name: "", text: "-- Adds.\n-- works from: 7\n\nSELECT 1" };
        assert_eq!(migration.works_from(), Some(7));
    }

    #[test]
    fn a_newer_schema_is_accepted_if_every_newer_migration_works_with_ours() {
        let ours = known_version();
        let applied = MIGRATIONS.iter().map(|it| found(it.version, &it.checksum(), it.works_from()));
        let with = |newer: &[(i32, Option<i32>)]| {
            let newer = newer.iter().map(|&(version, from)| found(version, "x", from));
            let all: Vec<_> = applied.clone().chain(newer).collect();
            pending(&all, "s").is_ok_and(|pending| pending.is_empty())
        };
        assert!(with(&[]));
        assert!(with(&[(ours + 1, Some(ours))]));
        assert!(with(&[(ours + 1, Some(1)), (ours + 2, Some(ours))]));
        assert!(!with(&[(ours + 1, None)]), "it does not say");
        assert!(!with(&[(ours + 1, Some(ours + 1))]), "it contracts");
        assert!(!with(&[(ours + 1, None), (ours + 2, Some(1))]), "one of them contracts");
    }

    #[test]
    fn a_newer_schema_and_an_edited_migration_are_refused() {
        let newer = [found(known_version() + 1, "", None)];
        let message = pending(&newer, "s").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains(&format!("at version {}", known_version() + 1)), "{message}");
        assert!(message.contains(&format!("up to {} only", known_version())), "{message}");
        let edited = [found(1, "0", None)];
        let message = pending(&edited, "s").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains("migration 1 (0001_tables)"), "{message}");
    }
}
