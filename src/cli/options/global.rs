//! The options of every command.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use log::LevelFilter;

use crate::database::{Pooler, holds_password};
use crate::store::DEFAULT_SCHEMA;

/// PostgreSQL cuts longer names (its NAMEDATALEN, less one).
const SCHEMA_BYTES_MAX: usize = 63;

/// Tells a program that `--service` has started anew that it acts for the service.
pub const AS_SERVICE: &str = "PROCESS_ORCHESTRATOR_AS_SERVICE";
/// How a person has to type that.
pub const PROGRAM_AS_SERVICE: &str = "sudo process-orchestrator --service";

/// Where help lists these options.
const HEADING: &str = "Global options";

/// Where the database is, and how much is told.
#[derive(Debug, Clone, Args)]
pub struct GlobalOptions {
    // The variable is read where the settings are resolved, so that its value never shows up in help or errors.
    /// The database, such as postgresql://user@host/database [env: DATABASE_URL, or libpq's PGHOST and so on];
    /// without any of them a private PostgreSQL in the data directory
    #[arg(long, value_name = "URL", global = true, help_heading = HEADING, hide_env_values = true)]
    pub database_url: Option<String>,
    /// What sits in front of the server: auto (found out), none, or a pooler that gives sessions to others when we
    /// disconnect (session) or between transactions (transaction), as PgBouncer's pool_mode says
    #[arg(long, value_name = "MODE", global = true, help_heading = HEADING, env = "PROCESS_ORCHESTRATOR_POOLER", hide_env_values = true,
        default_value_t = Pooler::Auto, value_parser = poolers(), hide_possible_values = true)]
    pub pooler: Pooler,
    /// The schema that holds the tables
    #[arg(long, value_name = "NAME", global = true, help_heading = HEADING, env = "PROCESS_ORCHESTRATOR_SCHEMA", hide_env_values = true,
        default_value = DEFAULT_SCHEMA, value_parser = parse_schema)]
    pub schema: String,
    /// Where the private PostgreSQL is kept
    #[arg(
        long,
        value_name = "DIR",
        global = true, help_heading = HEADING,
        env = "PROCESS_ORCHESTRATOR_DATA_DIR",
        hide_env_values = true
    )]
    pub data_dir: Option<PathBuf>,
    /// Do it as the installed service would: on its database, as its user, with its settings; only root may
    #[arg(long, global = true, help_heading = HEADING, conflicts_with = "database_url")]
    pub service: bool,
    /// How much is logged to standard error: off, error, warn, info, debug or trace; RUST_LOG for single modules
    #[arg(long, value_name = "LEVEL", global = true, help_heading = HEADING, env = "PROCESS_ORCHESTRATOR_LOG_LEVEL", hide_env_values = true,
        value_parser = levels(), hide_possible_values = true)]
    pub log_level: Option<LevelFilter>,
}

fn levels() -> impl TypedValueParser<Value = LevelFilter> {
    PossibleValuesParser::new(["off", "error", "warn", "info", "debug", "trace"])
        .try_map(|word| word.parse::<LevelFilter>())
}

fn poolers() -> impl TypedValueParser<Value = Pooler> {
    PossibleValuesParser::new(Pooler::WORDS).try_map(|word| word.parse::<Pooler>())
}

fn parse_schema(name: &str) -> Result<String, String> {
    let problem = match name {
        "" => "it is empty".to_owned(),
        _ if name.len() > SCHEMA_BYTES_MAX => format!("it has more than {SCHEMA_BYTES_MAX} bytes"),
        _ if name.contains(|c: char| c.is_control()) => "it holds a control character".to_owned(),
        _ if name.starts_with("pg_") => "names that begin with pg_ are PostgreSQL's own".to_owned(),
        _ => return Ok(name.to_owned()),
    };
    Err(format!("{problem}; write a name such as {DEFAULT_SCHEMA}"))
}

impl GlobalOptions {
    /// The program with the options that somebody has to repeat to reach the same tables, for hints. A database's URL
    /// with a password stands there as three dots.
    pub fn program(&self) -> String {
        self.program_given(&|name| std::env::var(name).ok())
    }

    fn program_given(&self, env: &dyn Fn(&str) -> Option<String>) -> String {
        let program = if env(AS_SERVICE).is_some() { PROGRAM_AS_SERVICE } else { "process-orchestrator" };
        let mut words: Vec<String> = program.split(' ').map(str::to_owned).collect();
        if self.schema != env("PROCESS_ORCHESTRATOR_SCHEMA").unwrap_or_else(|| DEFAULT_SCHEMA.to_owned()) {
            words.extend(["--schema".to_owned(), self.schema.clone()]);
        }
        let data_dir = self.data_dir.as_ref().map(|it| it.display().to_string());
        if let Some(data_dir) =
            data_dir.filter(|it| Some(it) != env("PROCESS_ORCHESTRATOR_DATA_DIR").as_ref())
        {
            words.extend(["--data-dir".to_owned(), data_dir]);
        }
        let mut line = shell_words::join(words);
        match self.database_url.as_deref() {
            None => {}
            Some(url) if holds_password(url) => line.push_str(" --database-url …"),
            Some(url) => line.push_str(&format!(" --database-url {}", shell_words::quote(url))),
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_a_name_that_postgresql_keeps_as_it_is() {
        assert_eq!(parse_schema("Team A"), Ok("Team A".to_owned()));
        for (name, part) in
            [("", "empty"), ("pg_x", "pg_"), ("a\nb", "control"), (&"x".repeat(64), "63 bytes")]
        {
            let message = parse_schema(name).expect_err(name);
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn hints_repeat_what_is_needed_and_no_password() {
        let options = GlobalOptions {
            database_url: Some("postgresql://me:secret@there/db".to_owned()),
            pooler: Pooler::Auto,
            schema: "Team A".to_owned(),
            data_dir: Some("/data".into()),
            service: false,
            log_level: None,
        };
        assert_eq!(
            options.program_given(&|_| None),
            "process-orchestrator --schema 'Team A' --data-dir /data --database-url …"
        );
        let options = GlobalOptions {
            database_url: Some("postgresql://me@there/db?sslmode=prefer".to_owned()),
            ..options
        };
        let env = |name: &str| match name {
            "PROCESS_ORCHESTRATOR_SCHEMA" => Some("Team A".to_owned()),
            "PROCESS_ORCHESTRATOR_DATA_DIR" => Some("/data".to_owned()),
            _ => None,
        };
        let expected = "process-orchestrator --database-url 'postgresql://me@there/db?sslmode=prefer'";
        assert_eq!(options.program_given(&env), expected);
        let options = GlobalOptions { database_url: None, ..options };
        assert_eq!(options.program_given(&env), "process-orchestrator");
        let as_service = |_: &str| Some("/data".to_owned());
        let options = GlobalOptions { schema: "/data".to_owned(), ..options };
        assert_eq!(options.program_given(&as_service), "sudo process-orchestrator --service");
    }
}
