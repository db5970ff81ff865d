//! Indexes of large tables are made beside the work: no migration keeps everybody waiting for them.

use log::{info, warn};

use crate::store::row::get;
use crate::store::{Sql, Store, StoreError, quote_identifier};

const IS_THERE: Sql = Sql::new(
    "see which indexes are to be made",
    "SELECT to_regclass(quote_ident(current_schema()) || '.pending_indexes') IS NOT NULL AS is_there",
);
const PENDING: Sql = Sql::new(
    "see which indexes are to be made",
    "SELECT name, definition, replaces, to_regclass(quote_ident(current_schema()) || '.' || quote_ident(name)) IS NOT NULL AS is_there, \
     coalesce((SELECT i.indisvalid FROM pg_index i WHERE i.indexrelid = to_regclass(quote_ident(current_schema()) || '.' || quote_ident(name))), false) AS is_valid \
     , pg_has_role((SELECT relowner FROM pg_class WHERE oid = to_regclass(place)), 'USAGE') AS is_owner \
     FROM pending_indexes WHERE to_regclass(place) IS NOT NULL ORDER BY name LIMIT 1",
);
const MADE: Sql = Sql::new("note that an index is made", "DELETE FROM pending_indexes WHERE name = $1");
const TURN: Sql = Sql::new(
    "see whether somebody else makes indexes",
    "SELECT pg_try_advisory_lock($1, hashtext(current_schema())) AS is_ours",
);
const END_OF_TURN: Sql =
    Sql::new("let others make indexes", "SELECT pg_advisory_unlock($1, hashtext(current_schema()))");

/// Advisory lock of whoever makes indexes; the second key is the schema's hash.
const LOCK_CLASS: i32 = 0x504f_4931;

impl Store {
    /// Makes the indexes that a migration has left to be made, while nodes work on; gives their names. Nothing is done while
    /// somebody else is at it. `None`: this role may not, or not over sessions that are lent for one transaction each, which
    /// is told. One whose making was broken off is begun anew.
    ///
    /// # Errors
    /// When the database fails.
    pub fn make_indexes(&mut self) -> Result<Option<Vec<String>>, StoreError> {
        // A schema that stays older for a while has no such table.
        let is_there: bool = get(&self.query_one(&IS_THERE, &[], "a table")?, "is_there", "a table")?;
        if !is_there {
            return Ok(Some(Vec::new()));
        }
        let Some(pending) = self.query_opt(&PENDING, &[])? else { return Ok(Some(Vec::new())) };
        if self.borrows_sessions() {
            warn!(
                "lists may be slow: indexes are still to be made, which goes over no session that a pooler lends; run \
                 process-orchestrator migrate with --database-url of the server itself"
            );
            return Ok(None);
        }
        if !get::<bool>(&pending, "is_owner", "a pending index")? {
            warn!(
                "lists may be slow: indexes are still to be made; have the tables' owner run: process-orchestrator migrate"
            );
            return Ok(None);
        }
        let row = self.query_one(&TURN, &[&LOCK_CLASS], "a lock")?;
        if !get::<bool>(&row, "is_ours", "a lock")? {
            return Ok(Some(Vec::new()));
        }
        let made = self.make_pending();
        // A connection that is lost has lost the lock as well.
        if made.is_ok() {
            self.execute(&END_OF_TURN, &[&LOCK_CLASS])?;
        }
        made.map(Some)
    }

    fn make_pending(&mut self) -> Result<Vec<String>, StoreError> {
        const WHAT: &str = "a pending index";
        let mut made = Vec::new();
        while let Some(row) = self.query_opt(&PENDING, &[])? {
            let (name, definition): (String, String) =
                (get(&row, "name", WHAT)?, get(&row, "definition", WHAT)?);
            let replaces: Option<String> = get(&row, "replaces", WHAT)?;
            let quoted = quote_identifier(&name);
            if !get::<bool>(&row, "is_valid", WHAT)? {
                if get::<bool>(&row, "is_there", WHAT)? {
                    self.run("drop half an index", &format!("DROP INDEX CONCURRENTLY {quoted}"))?;
                }
                info!("making index {name:?} beside the work");
                self.run("make an index", &format!("CREATE INDEX CONCURRENTLY {quoted} {definition}"))?;
            }
            if let Some(old) = replaces {
                let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", quote_identifier(&old));
                self.run("drop an index that is no longer used", &drop)?;
            }
            self.execute(&MADE, &[&name])?;
            made.push(name);
        }
        Ok(made)
    }

    /// Not in a transaction.
    fn run(&mut self, action: &'static str, text: &str) -> Result<(), StoreError> {
        self.connection.batch_execute(text).map_err(|source| StoreError::database(action, source))
    }
}
