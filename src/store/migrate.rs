//! Numbered migrations, applied once, in order, under an advisory lock, each in a transaction of its own.

use postgres::types::Type;
use serde::Serialize;

use super::{Store, StoreError, quote_identifier};
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

const MIGRATIONS: &[Migration] = migrations![1 "0001_tables", 2 "0002_start_process"];

/// Advisory lock of everybody who migrates; the second key is the schema's hash.
const LOCK_CLASS: i32 = 0x504f_4d31_u32 as i32;

/// A migration that was, or with a dry run would be, applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppliedMigration {
    /// Its number.
    pub version: i32,
    /// Its file's name without the ending.
    pub name: &'static str,
}

/// The schema version that this binary works with.
pub fn known_version() -> i32 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

impl Store {
    /// Brings the schema to this binary's version and says what was done; with `dry_run` only says it.
    ///
    /// # Errors
    /// When the schema is newer than this binary, when an applied migration differs from ours, or when the
    /// database fails; a migration that fails leaves nothing behind.
    pub fn migrate(&mut self, dry_run: bool) -> Result<Vec<AppliedMigration>, StoreError> {
        let found = self.applied_checksums()?;
        let pending = pending(&found, &self.schema)?;
        if dry_run || pending.is_empty() {
            return Ok(pending.iter().map(|it| it.applied()).collect());
        }
        let mut done = Vec::new();
        for migration in MIGRATIONS {
            if self.apply(migration)? {
                done.push(migration.applied());
            }
        }
        Ok(done)
    }

    /// Drops the schema with everything in it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn drop_schema(&mut self) -> Result<(), StoreError> {
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", quote_identifier(&self.schema));
        self.connection.batch_execute(&drop).map_err(|source| StoreError::database("drop the schema", source))
    }

    /// Fails unless the schema is at this binary's version.
    ///
    /// # Errors
    /// When it is missing, older or newer, with both versions named.
    pub fn check_schema(&mut self) -> Result<(), StoreError> {
        let found = self.applied_checksums()?;
        if pending(&found, &self.schema)?.is_empty() {
            return Ok(());
        }
        Err(StoreError::SchemaMissing {
            schema: self.schema.clone(),
            found: found.iter().map(|it| it.0).max().unwrap_or(0),
            needed: known_version(),
        })
    }

    /// Applies one migration unless somebody has done so while we waited for the lock.
    fn apply(&mut self, migration: &Migration) -> Result<bool, StoreError> {
        let failed = |source| StoreError::database("migrate the schema", source);
        let schema = self.schema.clone();
        let mut transaction = self.connection.transaction().map_err(failed)?;
        // Statements with types are sent unnamed and leave nothing prepared on a session that may be a pooler's.
        transaction
            .execute_typed(
                "SELECT pg_advisory_xact_lock($1, hashtext($2))",
                &[(&LOCK_CLASS, Type::INT4), (&schema, Type::TEXT)],
            )
            .map_err(failed)?;
        let quoted = quote_identifier(&schema);
        let exists: bool = transaction
            .query_typed_one(
                "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)",
                &[(&schema, Type::TEXT)],
            )
            .map_err(failed)?
            .get(0);
        let create_schema = if exists { String::new() } else { format!("CREATE SCHEMA {quoted};") };
        transaction
            .batch_execute(&format!(
                "{create_schema} SET LOCAL search_path = {quoted}; \
                 SET LOCAL client_min_messages = warning; \
                 CREATE TABLE IF NOT EXISTS schema_migrations (version integer PRIMARY KEY, name text NOT NULL, \
                 checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
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
            return Ok(false);
        }
        transaction.batch_execute(migration.text).map_err(failed)?;
        transaction
            .execute_typed(
                "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                &[
                    (&migration.version, Type::INT4),
                    (&migration.name, Type::TEXT),
                    (&migration.checksum(), Type::TEXT),
                ],
            )
            .map_err(failed)?;
        failpoint::hit(Point::InMigration);
        transaction.commit().map_err(failed)?;
        Ok(true)
    }

    /// Version and checksum of what was applied; nothing where there is no schema yet.
    fn applied_checksums(&mut self) -> Result<Vec<(i32, String)>, StoreError> {
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
        let rows = self
            .connection
            .query_typed(&format!("SELECT version, checksum FROM {table} ORDER BY version"), &[])
            .map_err(failed)?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}

/// What is left to apply, given what was.
fn pending(found: &[(i32, String)], schema: &str) -> Result<Vec<&'static Migration>, StoreError> {
    let newest = found.iter().map(|it| it.0).max().unwrap_or(0);
    if newest > known_version() {
        return Err(StoreError::SchemaNewer {
            schema: schema.to_owned(),
            found: newest,
            known: known_version(),
        });
    }
    let mut pending = Vec::new();
    for migration in MIGRATIONS {
        match found.iter().find(|it| it.0 == migration.version) {
            None => pending.push(migration),
            Some((_, checksum)) if *checksum == migration.checksum() => {}
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
        for (i, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version as usize, i + 1);
            assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
        }
    }

    #[test]
    fn a_newer_schema_and_an_edited_migration_are_refused() {
        let newer = [(known_version() + 1, String::new())];
        let message = pending(&newer, "s").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains(&format!("at version {}", known_version() + 1)), "{message}");
        assert!(message.contains(&format!("up to {} only", known_version())), "{message}");
        let edited = [(1, "0".to_owned())];
        let message = pending(&edited, "s").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains("migration 1 (0001_tables)"), "{message}");
    }
}
