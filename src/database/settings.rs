//! Where to connect: the option, `DATABASE_URL`, libpq's `PG*`, or the private cluster.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::conninfo::{self, Parameters};
use super::environment::Environment;
use super::login::PasswordSource;
use super::login::require_auth::RequiredAuth;
use super::pooler::Pooler;
use super::reader::{self, CONNECT_TIMEOUT_S_DEFAULT, Place, Reader};
use super::server::Server;
use super::settings_error::SettingsError;
use super::tls::TlsSettings;
use super::{credential, data_dir, service_file};

/// Which PostgreSQL to use.
#[derive(Debug, Clone)]
pub enum Target {
    /// A server that the user names.
    Server(Box<ConnectionSettings>),
    /// A cluster of our own in this data directory.
    Private(PathBuf),
}

/// How to open connections to one server, or to the first that answers of several.
#[derive(Clone)]
pub struct ConnectionSettings {
    pub(super) config: postgres::Config,
    pub(super) tls: TlsSettings,
    pub(super) password_source: PasswordSource,
    pub(super) application_name: Option<String>,
    /// The node that the connections are for.
    pub(super) node: Option<String>,
    /// Keepalive settings that the user wrote, which then hold for every role.
    pub(super) own_keepalives: bool,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) servers: Vec<Server>,
    pub(super) required_auth: Option<RequiredAuth>,
    /// The place of the server that was reached last, which may spare the wait for one that is gone.
    pub(super) reached_last: Arc<AtomicUsize>,
    pub(super) pooler: Pooler,
    pub(super) gives_sessions_away: Arc<OnceLock<bool>>,
}

impl Target {
    /// Decides by the first that is there: `explicit` (the option `--database-url`), `DATABASE_URL`, systemd's credential `database-url`,
    /// `PGHOST` or `PGHOSTADDR`; else the private cluster in `data_dir` or, without one, in
    /// [`data_dir::default_data_dir`]. `PG*` supply what a URL leaves out, as with libpq.
    pub fn resolve(
        explicit: Option<&str>,
        data_dir: Option<&Path>,
        env: &Environment<'_>,
    ) -> Result<Target, SettingsError> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let url = match explicit {
            Some(url) => Some(("--database-url", url.to_string())),
            None => match set("DATABASE_URL") {
                Some(url) => Some(("DATABASE_URL", url)),
                None => credential::database_url(env)?.map(|url| ("credential database-url", url)),
            },
        };
        if let Some((origin, url)) = url {
            return ConnectionSettings::from_url(origin, &url, env).map(|it| Target::Server(Box::new(it)));
        }
        if set("PGHOST").is_some() || set("PGHOSTADDR").is_some() {
            let settings = ConnectionSettings::build("PG*", Parameters::new(), env)?;
            return Ok(Target::Server(Box::new(settings)));
        }
        if set("PGDATABASE").is_some_and(|it| conninfo::is_connection_string(&it)) {
            let settings = ConnectionSettings::build("PGDATABASE", Parameters::new(), env)?;
            return Ok(Target::Server(Box::new(settings)));
        }
        if set("PGSERVICE").is_some() {
            let settings = ConnectionSettings::build("PGSERVICE", Parameters::new(), env)?;
            return Ok(Target::Server(Box::new(settings)));
        }
        let data_dir = match data_dir {
            Some(chosen) => chosen.to_path_buf(),
            None => data_dir::default_data_dir(env)?,
        };
        for name in ["PGPORT", "PGDATABASE"].into_iter().filter(|name| set(name).is_some()) {
            log::warn!(
                "{name} is ignored without PGHOST: the private cluster in {} is used",
                data_dir.display()
            );
        }
        Ok(Target::Private(data_dir))
    }
}

impl ConnectionSettings {
    /// Reads a URL or `key=value` string. `origin` is the option or variable that holds it, for messages.
    pub fn from_url(origin: &'static str, url: &str, env: &Environment<'_>) -> Result<Self, SettingsError> {
        if url.trim().is_empty() {
            let remedy = "write postgresql://user@host/database, or leave it out";
            return Err(SettingsError::new(origin, "is empty", remedy));
        }
        let parameters =
            conninfo::parse(url).map_err(|problem| SettingsError::new(origin, problem, String::new()))?;
        Self::build(origin, parameters, env)
    }

    /// A server that listens on a Unix socket in `directory` and trusts whoever reaches it.
    #[cfg(unix)]
    pub fn for_socket(directory: &Path, port: u16, user: &str, database: &str) -> Self {
        let mut config = postgres::Config::new();
        config.host_path(directory).port(port).user(user).dbname(database);
        config.ssl_mode(postgres::config::SslMode::Disable);
        config.connect_timeout(Duration::from_secs(CONNECT_TIMEOUT_S_DEFAULT));
        Self {
            servers: vec![Server::new(
                config.clone(),
                reader::endpoint(&directory.to_string_lossy(), port),
                false,
            )],
            config,
            tls: TlsSettings::disabled(),
            password_source: PasswordSource::Nowhere,
            required_auth: None,
            application_name: None,
            node: None,
            own_keepalives: false,
            user: user.to_string(),
            database: database.to_string(),
            reached_last: Arc::default(),
            pooler: Pooler::None,
            gives_sessions_away: Arc::default(),
        }
    }

    fn build(
        origin: &'static str,
        mut parameters: Parameters,
        env: &Environment<'_>,
    ) -> Result<Self, SettingsError> {
        let (origin, is_expanded) = expand_database(origin, &mut parameters, env)?;
        let in_url = parameters.clone();
        parameters.retain(|_, value| !value.is_empty());
        add_service(origin, &mut parameters, env)?;
        reader::supply_from_environment(&mut parameters, &|name| {
            env(name).filter(|_| !(is_expanded && name == "PGDATABASE"))
        });
        let reader = Reader { parameters: &parameters, in_url: &in_url, origin };
        reader.refuse_unsupported()?;
        let user = match reader.get("user") {
            Some(user) => user.to_string(),
            None => system_user().ok_or_else(|| {
                SettingsError::new(
                    origin,
                    "no user is given and the system's has no name",
                    "give one: PGUSER or user@",
                )
            })?,
        };
        let database = reader.get("dbname").unwrap_or(&user).to_string();
        let places = reader.places()?;
        let (password, password_source) = reader.password(&places, &database, &user, env);
        let required_auth = reader.required_auth()?;
        // Who may not be asked for a password gives none away.
        let password = password.filter(|_| required_auth.as_ref().is_none_or(RequiredAuth::takes_password));

        let mut config = postgres::Config::new();
        config.user(&user).dbname(&database).ssl_mode(postgres::config::SslMode::Disable);
        if let Some(password) = password {
            config.password(password);
        }
        reader.apply_options(&mut config)?;
        let own_keepalives = reader.apply_keepalives(&mut config)?;
        let alone = |place: &Place| {
            let mut config = config.clone();
            place.add_to(&mut config);
            Server::new(config, place.shown(), place.is_name())
        };
        let servers = places.iter().map(alone).collect();
        places.iter().for_each(|place| place.add_to(&mut config));
        Ok(Self {
            tls: TlsSettings::read(&reader, &places, env)?,
            password_source,
            application_name: reader.get("application_name").map(str::to_string),
            node: None,
            own_keepalives,
            servers,
            required_auth,
            reached_last: Arc::default(),
            pooler: Pooler::Auto,
            gives_sessions_away: Arc::default(),
            config,
            user,
            database,
        })
    }

    /// What to connect with, for a pool of one's own. Holds the password, and asks for no TLS:
    /// [`ConnectionManager`](super::ConnectionManager) makes a pool's connections as the settings say.
    pub fn config(&self) -> &postgres::Config {
        &self.config
    }

    /// The same for the connections of a node, whose name then stands in `pg_stat_activity`.
    pub fn for_node(mut self, name: &str) -> Self {
        self.node = Some(name.to_string());
        self
    }

    /// The server, database and user, for messages: never the password.
    pub fn shown(&self) -> String {
        let endpoints: Vec<&str> = self.servers.iter().map(|it| it.endpoint.as_str()).collect();
        format!("database {:?} at {} as user {:?}", self.database, endpoints.join(" or "), self.user)
    }

    /// The same with what the user says of a pooler in front of the server.
    #[must_use]
    pub fn with_pooler(mut self, pooler: Pooler) -> Self {
        self.pooler = pooler;
        self
    }

    /// The name of the user that connects.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Where the password came from.
    pub fn password_source(&self) -> &PasswordSource {
        &self.password_source
    }
}

/// A database's name that is a connection string stands for what that says, as with libpq; it may hold a password, and must
/// not be shown as a name. Says where the parameters are from, and whether `PGDATABASE` was one.
fn expand_database(
    origin: &'static str,
    parameters: &mut Parameters,
    env: &Environment<'_>,
) -> Result<(&'static str, bool), SettingsError> {
    let (from, text) = match parameters.get("dbname").filter(|name| !name.is_empty()) {
        Some(name) => (origin, Some(name.clone())),
        None => ("PGDATABASE", env("PGDATABASE")),
    };
    let Some(text) = text.filter(|text| conninfo::is_connection_string(text)) else {
        return Ok((origin, false));
    };
    let inner = conninfo::parse(&text).map_err(|problem| SettingsError::new(from, problem, ""))?;
    if inner.get("dbname").is_some_and(|name| conninfo::is_connection_string(name)) {
        let remedy = "write the name of a database";
        return Err(SettingsError::new(from, "the dbname in a dbname is a connection string again", remedy));
    }
    parameters.remove("dbname");
    let origin = if parameters.is_empty() { from } else { origin };
    for (key, value) in inner {
        parameters.entry(key).or_insert(value);
    }
    Ok((origin, true))
}

/// A service's parameters go before the environment's and behind the URL's own.
fn add_service(
    origin: &'static str,
    parameters: &mut Parameters,
    env: &Environment<'_>,
) -> Result<(), SettingsError> {
    let (origin, name) = match parameters.remove("service") {
        Some(name) => (origin, name),
        None => match env("PGSERVICE").filter(|name| !name.is_empty()) {
            Some(name) => ("PGSERVICE", name),
            None => return Ok(()),
        },
    };
    let file = parameters.remove("servicefile");
    let env = |name: &str| match &file {
        Some(file) if name == "PGSERVICEFILE" => Some(file.clone()),
        _ => env(name),
    };
    for (key, value) in service_file::look_up(origin, &name, &env)? {
        parameters.entry(key).or_insert(value);
    }
    Ok(())
}

impl fmt::Debug for ConnectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionSettings({})", self.shown())
    }
}

#[cfg(unix)]
fn system_user() -> Option<String> {
    match crate::platform::files::current_user() {
        Ok(user) => user.map(|user| user.name),
        Err(error) => {
            log::warn!("the system's user list can't be read: {error}");
            None
        }
    }
}

#[cfg(not(unix))]
fn system_user() -> Option<String> {
    super::environment::process_environment("USERNAME")
}

#[cfg(test)]
mod tests {
    use super::*;
    use postgres::config::TargetSessionAttrs;
    use std::collections::HashMap;

    /// A home that has no password file.
    const HOME: (&str, &str) = ("HOME", "/nonexistent");

    fn resolve(explicit: Option<&str>, variables: &[(&str, &str)]) -> Result<Target, SettingsError> {
        let map: HashMap<&str, &str> = std::iter::once(&HOME).chain(variables).copied().collect();
        let env = |name: &str| map.get(name).map(|value| value.to_string());
        Target::resolve(explicit, Some(Path::new("/data")), &env)
    }

    fn server(explicit: Option<&str>, variables: &[(&str, &str)]) -> ConnectionSettings {
        match resolve(explicit, variables) {
            Ok(Target::Server(settings)) => *settings,
            other => panic!("{explicit:?} {variables:?} gave {other:?}"),
        }
    }

    #[test]
    fn the_option_goes_before_the_variable_before_pg_before_the_private_cluster() {
        let all = [("DATABASE_URL", "postgres://u@variable/d"), ("PGHOST", "pghost"), ("PGUSER", "pguser")];
        let shown = server(Some("postgres://u@option/d"), &all).shown();
        assert_eq!(shown, "database \"d\" at option:5432 as user \"u\"");
        assert_eq!(server(None, &all).shown(), "database \"d\" at variable:5432 as user \"u\"");
        assert_eq!(server(None, &all[1..]).shown(), "database \"pguser\" at pghost:5432 as user \"pguser\"");
        for none in [&[][..], &[("DATABASE_URL", ""), ("PGHOST", "")], &[("PGUSER", "u"), ("PGPORT", "1")]] {
            assert!(matches!(resolve(None, none), Ok(Target::Private(dir)) if dir == Path::new("/data")));
        }
    }

    #[test]
    fn the_environment_supplies_what_the_url_leaves_out() {
        let variables = [
            ("PGHOST", "other"),
            ("PGHOSTADDR", "10.0.0.1"),
            ("PGPORT", "6000"),
            ("PGUSER", "pguser"),
            ("PGDATABASE", "pgdb"),
            ("PGAPPNAME", "reports"),
            ("PGOPTIONS", "-c work_mem=8MB"),
            ("PGCONNECT_TIMEOUT", "3"),
        ];
        let settings = server(Some("postgres://host"), &variables);
        assert_eq!(settings.shown(), "database \"pgdb\" at host:6000 as user \"pguser\"");
        assert_eq!(settings.application_name.as_deref(), Some("reports"));
        assert_eq!(settings.config.get_options(), Some("-c work_mem=8MB"));
        assert_eq!(settings.config.get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert!(
            settings.config.get_hostaddrs().is_empty(),
            "PGHOSTADDR is not the address of the URL's host"
        );
    }

    #[test]
    fn a_database_that_is_a_connection_string_stands_for_what_that_says() {
        let url = ("PGDATABASE", "postgresql://me:canary@there:6000/orders?application_name=mine");
        for (explicit, variables) in [
            (None, vec![url]),
            (None, vec![url, ("PGHOST", "elsewhere"), ("PGUSER", "somebody")]),
            (Some("dbname='postgresql://me:canary@there:6000/orders'"), vec![("PGDATABASE", "other")]),
            (Some("postgresql://"), vec![url]),
        ] {
            let settings = server(explicit, &variables);
            assert_eq!(settings.shown(), "database \"orders\" at there:6000 as user \"me\"", "{variables:?}");
            assert_eq!(settings.config.get_password(), Some(&b"canary"[..]));
            let source = settings.password_source().to_string();
            assert!(source.contains("PGDATABASE") || source.contains("--database-url"), "{source}");
        }
        let named = server(Some("postgresql://me@here/mine"), &[url]);
        assert_eq!(named.shown(), "database \"mine\" at here:5432 as user \"me\"");
        assert_eq!(
            server(None, &[("PGDATABASE", "host=h user=u")]).shown(),
            "database \"u\" at h:5432 as user \"u\""
        );
    }

    #[test]
    fn the_words_of_newer_versions_of_libpq_are_known() {
        for text in [
            "require_auth=scram-sha-256",
            "require_auth=!password,!md5",
            "max_protocol_version=latest min_protocol_version=3.0",
            "gssencmode=prefer gssdelegation=1 krbsrvname=pg gsslib=gssapi sslcompression=0 sslsni=1",
            "sslcertmode=allow load_balance_hosts=random replication=false",
            "fallback_application_name=x client_encoding=LATIN1",
        ] {
            server(Some(&format!("host=h user=u {text}")), &[]);
        }
    }

    #[test]
    fn several_hosts_and_the_session_wanted_pass_through() {
        let settings = server(Some("postgres://u@h1:5433,h2,[::1]/d?target_session_attrs=read-write"), &[]);
        assert_eq!(settings.shown(), "database \"d\" at h1:5433 or h2:5432 or [::1]:5432 as user \"u\"");
        assert_eq!(settings.config.get_ports(), [5433, 5432, 5432]);
        assert_eq!(settings.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        let both = server(Some("host=a,b hostaddr=10.0.0.1,10.0.0.2 user=u"), &[]);
        assert_eq!(both.shown(), "database \"u\" at a:5432 (10.0.0.1) or b:5432 (10.0.0.2) as user \"u\"");
    }

    #[test]
    fn a_socket_is_shown_by_its_path() {
        let settings = server(Some("postgresql:///d?host=/srv/pg/&user=u"), &[]);
        assert_eq!(settings.shown(), "database \"d\" at /srv/pg/.s.PGSQL.5432 as user \"u\"");
    }

    #[test]
    fn the_password_and_where_it_came_from_are_known_but_never_shown() {
        let path = std::env::temp_dir().join(format!("process-orchestrator-settings-{}", std::process::id()));
        std::fs::write(&path, "h2:5432:d:u:canary-file\n").unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let file = path.to_str().unwrap();
        let cases = [
            ("postgres://u:canary-url@h1,h2/d", vec![("PGPASSWORD", "canary-env")], "canary-url"),
            ("postgres://u@h1,h2/d", vec![("PGPASSWORD", "canary-env"), ("PGPASSFILE", file)], "canary-env"),
            ("postgres://u:@h1,h2/d", vec![("PGPASSFILE", file)], "canary-file"),
            ("postgres://u@h1/d", vec![("PGPASSFILE", file)], ""),
        ];
        let mut sources = Vec::new();
        for (url, variables, expected) in cases {
            let settings = server(Some(url), &variables);
            assert_eq!(settings.config.get_password().unwrap_or_default(), expected.as_bytes(), "{url}");
            let everything = format!("{settings:?} {} {}", settings.shown(), settings.password_source());
            assert!(!everything.contains("canary"), "{everything}");
            sources.push(settings.password_source().clone());
        }
        std::fs::remove_file(&path).unwrap();
        let url = PasswordSource::Url("--database-url");
        let file = PasswordSource::Passfile(path);
        assert_eq!(sources, [url, PasswordSource::Environment, file, PasswordSource::Nowhere]);
    }

    #[test]
    fn faults_name_where_the_value_stands_and_the_remedy() {
        type Case<'a> = (Option<&'a str>, &'a [(&'a str, &'a str)], &'a str);
        let cases: &[Case<'_>] = &[
            (Some(""), &[], "--database-url: is empty"),
            (None, &[("DATABASE_URL", "mysql://h/d")], "DATABASE_URL: the URL's scheme"),
            (
                Some("postgres://u@h/d"),
                &[("PGPORT", "70000")],
                "PGPORT: port \"70000\" is not usable; write a port",
            ),
            (Some("postgres://u@h:0/d"), &[("PGPORT", "1")], "--database-url: port \"0\""),
            (Some("postgres://u@h,i/d?port=1,2,3"), &[], "one port for all hosts"),
            (
                Some("postgres://u@h/d?hostaddr=h"),
                &[],
                "hostaddr \"h\" is not usable; write a numeric address",
            ),
            (
                Some("postgres://u@h/d?sslmode=on"),
                &[],
                "write one of disable, allow, prefer, require, verify-ca",
            ),
            (
                Some("postgres://u@h/d?target_session_attrs=prefer-standby"),
                &[],
                "write one of any, read-write",
            ),
            (Some("postgres://u@h/d?connect_timeout=soon"), &[], "a whole number of seconds"),
            (Some("service=x"), &[], "--database-url: there is no service \"x\" in /nonexistent/.pg_service"),
            (None, &[("PGSERVICE", "x")], "PGSERVICE: there is no service \"x\" in /nonexistent/.pg_service"),
            (
                Some("service=x"),
                &[("PGSERVICEFILE", "/nonexistent/services")],
                "the service file /nonexistent/services cannot be read",
            ),
            (Some("host=h user=u sslpassword=canary"), &[], "sslpassword is not usable; encrypted"),
            (
                Some("host=h user=u"),
                &[("PGREQUIREAUTH", "scram")],
                "PGREQUIREAUTH: require_auth \"scram\" is not",
            ),
            (Some("host=h user=u require_auth=gss"), &[], "allow one of none, password, md5, scram-sha-256"),
            (Some("host=h user=u replication=database"), &[], "sessions for replication"),
            (
                Some("host=h user=u scram_client_key=canary"),
                &[],
                "scram_client_key is not usable; give the password",
            ),
            (
                Some("host=h user=u oauth_issuer=canary"),
                &[],
                "oauth_issuer is not usable; OAuth is not spoken",
            ),
            (Some("host=h user=u min_protocol_version=3.2"), &[], "3.0 is spoken"),
            (Some("host=h user=u max_protocol_version=2.0"), &[], "write one of 3.0, 3.2, latest"),
            (Some("host=h user=u sslkeylogfile=/x"), &[], "sslkeylogfile is not usable"),
            (Some("dbname='postgres://u:canary@h/d%ZZ'"), &[], "--database-url: a % is not followed"),
            (None, &[("PGDATABASE", "postgres://u:canary@h:x/d")], "PGDATABASE: the port after a host's :"),
            (
                Some("host=h user=u sslrootcert=system sslmode=require"),
                &[],
                "sslmode \"require\" is not usable; with sslrootcert=system write verify-full",
            ),
            (Some("host=h user=u sslnegotiation=direct"), &[], "write sslmode=require or a verify-"),
            (Some("host=h,/tmp user=u sslmode=require"), &[], "cannot be in one list"),
            (
                Some("host=h user=u ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2"),
                &[],
                "not below the least",
            ),
        ];
        for (explicit, variables, expected) in cases {
            let error = resolve(*explicit, variables).expect_err(expected).to_string();
            assert!(error.contains(expected), "{expected:?} is not in {error:?}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
