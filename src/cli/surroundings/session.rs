//! The way from the options to a database that can be worked with: the same for every command.

use std::path::Path;
use std::sync::Arc;

use super::as_service;
use crate::cli::error::CliError;
use crate::cli::options::global::GlobalOptions;
use crate::cli::screen::terminal::message;
use crate::database::data_dir::holds_cluster;
use crate::database::private_cluster::PrivateCluster;
use crate::database::{
    Access, ConnectionSettings, ConnectionSource, Target, check_server, process_environment,
};
use crate::platform::processes;
use crate::store::{Store, StoreError};

/// What a command needs to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The tables, to read them.
    Tables,
    /// The tables in this binary's version; they are made or brought there.
    Migrated,
    /// Nothing but a database that can be written to.
    Database,
    /// A database to look at.
    DatabaseToRead,
}

/// A database in use.
pub struct Session {
    source: Arc<dyn ConnectionSource>,
    schema: String,
    /// Stops the private server when its last user is gone. The last field: it goes after all connections.
    cluster: Option<PrivateCluster>,
}

impl Session {
    /// Finds the database, starting the private one if that is what is wanted, and makes sure that `need` is met.
    ///
    /// # Errors
    /// When the settings are wrong, the database can't be reached or used, or the tables are not there.
    pub fn open(global: &GlobalOptions, need: Need) -> Result<(Self, Store), CliError> {
        Self::open_as(global, need, None)
    }

    /// The same for a command that runs a node of this name.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_as(
        global: &GlobalOptions,
        need: Need,
        node: Option<&str>,
    ) -> Result<(Self, Store), CliError> {
        let explicit = global.database_url.as_deref();
        let target = Target::resolve(explicit, global.data_dir.as_deref(), &process_environment)?;
        let session = match target {
            Target::Server(settings) => Self::new(settings.with_pooler(global.pooler), global, node, None),
            Target::Private(data_dir) => Self::open_private(&data_dir, global, need, node)?,
        };
        let mut store = session.checked_store(need)?;
        match need {
            Need::Tables => session.expect_tables(&mut store, global)?,
            Need::Migrated => drop(store.migrate(false)?),
            Need::Database | Need::DatabaseToRead => {}
        }
        Ok((session, store))
    }

    fn new(
        settings: ConnectionSettings,
        global: &GlobalOptions,
        node: Option<&str>,
        cluster: Option<PrivateCluster>,
    ) -> Self {
        let source = match node {
            Some(node) => settings.for_node(node),
            None => settings,
        };
        Self { source: Arc::new(source), schema: global.schema.clone(), cluster }
    }

    fn open_private(
        data_dir: &Path,
        global: &GlobalOptions,
        need: Need,
        node: Option<&str>,
    ) -> Result<Self, CliError> {
        as_service::note_private(data_dir);
        let hint = as_service::hint_if_elsewhere();
        if !holds_cluster(data_dir) {
            if need == Need::Tables {
                return Err(nothing_yet(&format!("{} holds no database{hint}", data_dir.display()), global));
            }
            message(format!(
                "no DATABASE_URL or PGHOST is set: making a private PostgreSQL in {}, where everything is kept{hint}",
                data_dir.display()
            ));
        }
        let mut cluster = PrivateCluster::open(data_dir).map_err(|cause| {
            CliError::Unreachable(format!("{cause}{}", as_service::hint_if_services(data_dir)))
        })?;
        if node.is_some() {
            let stop = |change| {
                log::error!("{change}; the node stops");
                processes::ask_to_end();
            };
            cluster.watch_owner(stop).map_err(|cause| {
                CliError::Failed(format!("failed to watch the private PostgreSQL: {cause}"))
            })?;
        }
        Ok(Self::new(cluster.settings(), global, node, Some(cluster)))
    }

    /// Connects once to see what server it is, then for the command's own work.
    fn checked_store(&self, need: Need) -> Result<Store, CliError> {
        let access = match need {
            Need::Tables | Need::DatabaseToRead => Access::Read,
            Need::Migrated | Need::Database => Access::Write,
        };
        let mut connection = self.source.connect("check")?;
        check_server(&mut connection, &self.source.shown(), access)?;
        drop(connection);
        Ok(self.open_store("command")?)
    }

    fn expect_tables(&self, store: &mut Store, global: &GlobalOptions) -> Result<(), CliError> {
        match store.check_schema() {
            Err(StoreError::SchemaMissing { found: 0, schema, .. }) => Err(nothing_yet(
                &format!(
                    "schema {schema:?} of {} holds no tables{}",
                    self.shown(),
                    as_service::hint_if_elsewhere()
                ),
                global,
            )),
            other => Ok(other?),
        }
    }

    /// Another connection with its own statements.
    ///
    /// # Errors
    /// When there is no connection to be had.
    pub fn open_store(&self, role: &str) -> Result<Store, StoreError> {
        Store::open(&*self.source, role, &self.schema)
    }

    /// Where the engine and the endpoint get their connections from.
    pub fn source(&self) -> Arc<dyn ConnectionSource> {
        Arc::clone(&self.source)
    }

    /// The schema that holds the tables.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Whether it is a private cluster.
    pub fn is_private(&self) -> bool {
        self.cluster.is_some()
    }

    /// The database, without a password.
    pub fn shown(&self) -> String {
        self.source.shown()
    }
}

fn nothing_yet(what: &str, global: &GlobalOptions) -> CliError {
    let program = global.program();
    CliError::Failed(format!(
        "nothing here yet: {what}; run a first process ({program} run FILE) or make the tables ({program} migrate)"
    ))
}
