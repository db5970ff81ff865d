//! What other roles of the database than the schema's owner may do.

use postgres::Row;

use super::row::get;
use super::{Refusal, RefusalReason, Sql, Store, StoreError, quote_identifier};

/// The functions that start processes for those who have been granted that.
const START_GRANTS: Sql =
    Sql::new("see who may start processes", include_str!("../../sql/schema/start_grants.sql"));
const TYPE_KEY: Sql =
    Sql::new("look for a process type", "SELECT type_key(name) AS key FROM process_types WHERE name = $1");
/// Those of them that belong to another role than the tables, as a dump leaves them that was restored by somebody else.
const FOREIGN_DOORS: Sql = Sql::new(
    "see whose the functions are that start processes",
    "SELECT p.proname::text AS door FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
     WHERE n.nspname = $1 AND starts_with(p.proname, 'start_granted_') \
     AND p.proowner <> (SELECT relowner FROM pg_class WHERE oid = 'tasks'::regclass)",
);
const TABLE_OWNER: Sql = Sql::new(
    "see who owns the tables",
    "SELECT r.rolname::text AS owner FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = 'tasks'::regclass",
);
/// Whether a role has any right in the schema but USAGE.
const HAS_RIGHTS: Sql = Sql::new("see a role's rights", include_str!("../../sql/schema/has_rights.sql"));

/// The arguments of the functions that [`START_GRANTS`] finds.
const START_ARGUMENTS: &str = "(text, jsonb[], text[], timestamptz, integer, boolean)";

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

/// A role that was granted to start processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartGrant {
    /// Its name.
    pub role: String,
    /// Of every type, not of one.
    pub is_all: bool,
    /// It starts by its rights on the tables, whatever it was granted here.
    pub has_tables: bool,
    /// The function that does it.
    door: String,
}

impl Store {
    /// Grants `role` what it needs on the schema, all or nothing. May be repeated.
    ///
    /// # Errors
    /// When there is no such role, when we are not the schema's owner, or when the database fails.
    pub fn grant(&mut self, role: &str, kind: RoleKind) -> Result<(), StoreError> {
        let statements = kind
            .statements()
            .replace("${schema}", &quote_identifier(&self.schema))
            .replace("${role}", &quote_identifier(role));
        self.in_one("grant a role its rights", &statements)
    }

    /// Lets `role` start processes of a type, or of all with `None`, and nothing else. May be repeated.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the type is unknown; when there is no such role, when we are not the tables' owner, or
    /// when the database fails.
    pub fn grant_start(&mut self, role: &str, process_type: Option<&str>) -> Result<(), StoreError> {
        let key = match process_type {
            None => "all".to_owned(),
            Some(name) => {
                let row = self.query_opt(&TYPE_KEY, &[&name])?.ok_or_else(|| unknown_type(name))?;
                get(&row, "key", "a process type")?
            }
        };
        let owner = self.table_owner()?;
        let statements = include_str!("../../sql/schema/grant_start.sql")
            .replace("${key}", &key)
            .replace("${schema}", &quote_identifier(&self.schema))
            .replace("${owner}", &owner)
            .replace("${role}", &quote_identifier(role));
        let statements = self.take_doors(&owner)? + &statements;
        self.in_one("grant a role to start processes", &statements)
    }

    /// Takes [`Store::grant_start`] back, of one type or, with `None`, all that the role was granted; `false` if there was
    /// nothing to take. A function that nobody may call any more is dropped.
    ///
    /// # Errors
    /// When we are not the tables' owner, or when the database fails.
    pub fn revoke_start(&mut self, role: &str, process_type: Option<&str>) -> Result<bool, StoreError> {
        let all = self.start_grants(None)?;
        let wanted = self.start_grants(process_type)?.into_iter();
        // One type out of all can't be taken away.
        let wanted: Vec<StartGrant> =
            wanted.filter(|it| it.role == role && (process_type.is_none() || !it.is_all)).collect();
        if wanted.is_empty() {
            return Ok(false);
        }
        let (schema, quoted_role) = (quote_identifier(&self.schema), quote_identifier(role));
        let owner = self.table_owner()?;
        let mut statements = format!("{}SET LOCAL ROLE {owner};", self.take_doors(&owner)?);
        for StartGrant { door, .. } in &wanted {
            let function = format!("{schema}.{}{START_ARGUMENTS}", quote_identifier(door));
            statements.push_str(&match all
                .iter()
                .any(|it| it.door == *door && it.role != role && !it.has_tables)
            {
                true => format!("REVOKE EXECUTE ON FUNCTION {function} FROM {quoted_role};"),
                false => format!("DROP FUNCTION {function};"),
            });
        }
        self.in_one("take a role's right to start processes", &statements)?;
        let schema_name = self.schema.clone();
        let has_rights = self.query_one(&HAS_RIGHTS, &[&schema_name, &role], "a role's rights")?;
        if !get(&has_rights, "has_rights", "a role's rights")? {
            let statement = format!("REVOKE USAGE ON SCHEMA {schema} FROM {quoted_role}");
            self.in_one("take a role's right to the schema", &statement)?;
        }
        Ok(true)
    }

    /// Who was granted to start processes of a type, or of any with `None`.
    pub fn start_grants(&mut self, process_type: Option<&str>) -> Result<Vec<StartGrant>, StoreError> {
        let schema = self.schema.clone();
        self.query(&START_GRANTS, &[&schema, &process_type])?.iter().map(read_grant).collect()
    }

    /// The owner's name, quoted.
    fn table_owner(&mut self) -> Result<String, StoreError> {
        let what = "the tables' owner";
        let row = self.query_one(&TABLE_OWNER, &[], what)?;
        Ok(quote_identifier(&get::<String>(&row, "owner", what)?))
    }

    /// Statements that give the tables' owner all functions by which processes are started: another one could not take rights
    /// back, and what they do would be done with somebody else's.
    fn take_doors(&mut self, owner: &str) -> Result<String, StoreError> {
        let schema = self.schema.clone();
        let give = |row: &Row| -> Result<String, StoreError> {
            let door: String = get(row, "door", "a function")?;
            let (schema, door) = (quote_identifier(&schema), quote_identifier(&door));
            Ok(format!("ALTER FUNCTION {schema}.{door}{START_ARGUMENTS} OWNER TO {owner};"))
        };
        self.query(&FOREIGN_DOORS, &[&schema])?.iter().map(give).collect()
    }

    fn in_one(&mut self, action: &'static str, statements: &str) -> Result<(), StoreError> {
        let failed = |source| StoreError::database(action, source);
        let mut transaction = self.connection.transaction().map_err(failed)?;
        transaction.batch_execute(statements).map_err(failed)?;
        transaction.commit().map_err(failed)
    }
}

fn unknown_type(name: &str) -> StoreError {
    StoreError::Refused(Refusal {
        reason: RefusalReason::UnknownProcessType,
        message: format!("unknown process type \"{name}\""),
        remedy: "register it first: process-orchestrator types register FILE".to_owned(),
    })
}

fn read_grant(row: &Row) -> Result<StartGrant, StoreError> {
    let what = "a grant";
    Ok(StartGrant {
        role: get(row, "role", what)?,
        is_all: get(row, "is_all", what)?,
        has_tables: get(row, "has_tables", what)?,
        door: get(row, "door", what)?,
    })
}
