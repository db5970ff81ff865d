//! What other roles of the database than the schema's owner may do.

use super::{Store, StoreError, quote_identifier};

/// What a role is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleKind {
    /// Runs nodes, starts and controls processes; makes no tables.
    Runtime,
    /// Looks at everything and changes nothing.
    Reader,
}

impl RoleKind {
    const fn statements(self) -> &'static str {
        match self {
            Self::Runtime => include_str!("../../sql/schema/grant_runtime.sql"),
            Self::Reader => include_str!("../../sql/schema/grant_reader.sql"),
        }
    }
}

impl Store {
    /// Grants `role` what it needs on the schema, all or nothing. May be repeated.
    ///
    /// # Errors
    /// When there is no such role, when we are not the schema's owner, or when the database fails.
    pub fn grant(&mut self, role: &str, kind: RoleKind) -> Result<(), StoreError> {
        let failed = |source| StoreError::database("grant a role its rights", source);
        let statements = kind
            .statements()
            .replace("${schema}", &quote_identifier(&self.schema))
            .replace("${role}", &quote_identifier(role));
        let mut transaction = self.connection.transaction().map_err(failed)?;
        transaction.batch_execute(&statements).map_err(failed)?;
        transaction.commit().map_err(failed)
    }
}
