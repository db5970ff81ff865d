//! Turns connection parameters into what the client library takes.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgres::config::{ChannelBinding, LoadBalanceHosts, TargetSessionAttrs};

use super::conninfo::Parameters;
use super::data_dir;
use super::environment::Environment;
use super::login::PasswordSource;
use super::login::passfile;
use super::login::require_auth::RequiredAuth;
use super::settings_error::SettingsError;

/// Port of PostgreSQL where none is said.
const DEFAULT_PORT: u16 = 5432;

/// Longer than any healthy server takes, shorter than a person's patience.
pub(super) const CONNECT_TIMEOUT_S_DEFAULT: u64 = 10;

/// The parameters that the environment may supply, by libpq's names.
const FROM_ENVIRONMENT: &[(&str, &str)] = &[
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGUSER", "user"),
    ("PGDATABASE", "dbname"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLCERTMODE", "sslcertmode"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLSNI", "sslsni"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGMINPROTOCOLVERSION", "min_protocol_version"),
    ("PGMAXPROTOCOLVERSION", "max_protocol_version"),
    ("PGAPPNAME", "application_name"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGOPTIONS", "options"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
];

const OAUTH: &str = "OAuth is not spoken: leave it out, and use a password or a client certificate";

/// One server of the list.
pub(super) struct Place {
    /// Name, address, or the socket's directory.
    pub host: String,
    pub address: Option<IpAddr>,
    pub port: u16,
}

impl Place {
    pub fn add_to(&self, config: &mut postgres::Config) {
        config.host(&self.host).port(self.port);
        if let Some(address) = self.address {
            config.hostaddr(address);
        }
    }

    /// Whether it has to be looked up: neither an address nor a socket's directory.
    pub fn is_name(&self) -> bool {
        self.address.is_none() && !self.host.starts_with('/') && self.host.parse::<IpAddr>().is_err()
    }

    pub fn is_socket(&self) -> bool {
        self.address.is_none() && self.host.starts_with('/')
    }

    pub fn shown(&self) -> String {
        match self.address {
            Some(address) if address.to_string() != self.host => {
                format!("{} ({address})", endpoint(&self.host, self.port))
            }
            _ => endpoint(&self.host, self.port),
        }
    }
}

pub(super) fn endpoint(host: &str, port: u16) -> String {
    match host {
        socket if socket.starts_with('/') => format!("{}/.s.PGSQL.{port}", socket.trim_end_matches('/')),
        v6 if v6.contains(':') => format!("[{v6}]:{port}"),
        name => format!("{name}:{port}"),
    }
}

pub(super) fn supply_from_environment(parameters: &mut Parameters, env: &Environment<'_>) {
    let named_host = parameters.contains_key("host") || parameters.contains_key("hostaddr");
    for (variable, key) in FROM_ENVIRONMENT {
        // A PGHOSTADDR beside a URL's host would send the connection somewhere else than it says.
        if named_host && matches!(*key, "host" | "hostaddr") {
            continue;
        }
        if let Some(value) = env(variable).filter(|value| !value.is_empty()) {
            parameters.entry(key.to_string()).or_insert(value);
        }
    }
}

/// Turns parameters into what the client library takes.
pub(super) struct Reader<'a> {
    /// Of the URL and the environment together.
    pub parameters: &'a Parameters,
    /// Of the URL alone.
    pub in_url: &'a Parameters,
    /// The option or variable that holds the URL.
    pub origin: &'static str,
}

impl Reader<'_> {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.parameters.get(key).map(String::as_str)
    }

    /// An error about `key`, which names the variable when it came from there.
    pub fn fault(&self, key: &str, remedy: &str) -> SettingsError {
        let variable = FROM_ENVIRONMENT.iter().find(|(_, known)| *known == key).map(|(name, _)| *name);
        let origin = match variable {
            Some(variable) if !self.in_url.contains_key(key) => variable,
            _ => self.origin,
        };
        let value = self.get(key).unwrap_or("");
        SettingsError::new(origin, format!("{key} {value:?} is not usable"), remedy)
    }

    /// The same without the value.
    fn withheld(&self, key: &str, remedy: &str) -> SettingsError {
        let mut error = self.fault(key, remedy);
        error.problem = format!("{key} is not usable");
        error
    }

    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>, SettingsError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match choices.iter().find(|(name, _)| *name == value) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                Err(self.fault(key, &format!("write one of {}", names.join(", "))))
            }
        }
    }

    /// A whole number; negative ones and 0 mean "the default" to libpq.
    fn number(&self, key: &str, unit: &str) -> Result<Option<u32>, SettingsError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.trim().parse::<i32>() {
            Ok(number) => Ok(u32::try_from(number).ok().filter(|number| *number > 0)),
            Err(_) => Err(self.fault(key, &format!("write a whole number{unit}"))),
        }
    }

    pub fn refuse_unsupported(&self) -> Result<(), SettingsError> {
        // Passing over what was written for safety would be worse than not to connect.
        for (key, remedy) in [
            ("sslpassword", "encrypted private keys are not read: decrypt it (openssl pkey -in … -out …)"),
            ("requirepeer", "the server's user is not asked for: leave it out"),
            ("sslkeylogfile", "the secrets of TLS are written nowhere: leave it out"),
            ("scram_client_key", "give the password: keys in its place are not taken"),
            ("scram_server_key", "give the password: keys in its place are not taken"),
            ("oauth_issuer", OAUTH),
            ("oauth_client_id", OAUTH),
            ("oauth_client_secret", OAUTH),
            ("oauth_scope", OAUTH),
            ("oauth_ca_file", OAUTH),
        ] {
            if self.get(key).is_some() {
                return Err(self.withheld(key, remedy));
            }
        }
        if self.get("replication").is_some_and(|it| !["false", "off", "no", "0"].contains(&it)) {
            return Err(
                self.fault("replication", "sessions for replication run no statements of ours: leave it out")
            );
        }
        // What nobody asks for by these is the same in both versions.
        let versions = [("3.0", false), ("3.2", true), ("latest", true)];
        if self.choice("min_protocol_version", &versions)? == Some(true) {
            return Err(self.fault("min_protocol_version", "version 3.0 is spoken: leave it out"));
        }
        self.choice("max_protocol_version", &versions)?;
        if self.get("gssencmode") == Some("require") {
            return Err(self.fault("gssencmode", "GSSAPI encryption is not supported: leave it out"));
        }
        Ok(())
    }

    pub fn required_auth(&self) -> Result<Option<RequiredAuth>, SettingsError> {
        let parsed = self.get("require_auth").map(RequiredAuth::parse).transpose();
        parsed.map_err(|remedy| self.fault("require_auth", &remedy))
    }

    /// The servers to try, in order. One port serves all hosts, or each has its own.
    pub fn places(&self) -> Result<Vec<Place>, SettingsError> {
        let list = |key| self.get(key).map(|text| text.split(',').map(str::trim).collect::<Vec<_>>());
        let ports = list("port").unwrap_or_else(|| vec![""]);
        let ports: Option<Vec<u16>> = ports.iter().map(|text| to_port(text)).collect();
        let ports = ports.ok_or_else(|| self.fault("port", "write a port from 1 to 65535"))?;
        let addresses: Option<Vec<IpAddr>> =
            list("hostaddr").unwrap_or_default().iter().map(|text| text.parse().ok()).collect();
        let addresses = addresses
            .ok_or_else(|| self.fault("hostaddr", "write a numeric address, or use host for a name"))?;
        let hosts: Vec<String> = match list("host") {
            Some(hosts) => hosts.into_iter().map(str::to_string).collect(),
            None if addresses.is_empty() => vec![String::new()],
            None => addresses.iter().map(IpAddr::to_string).collect(),
        };
        if !addresses.is_empty() && addresses.len() != hosts.len() {
            return Err(self.fault("hostaddr", "write as many addresses as hosts"));
        }
        if ports.len() != 1 && ports.len() != hosts.len() {
            return Err(self.fault("port", "write one port for all hosts, or one for each"));
        }
        Ok(hosts
            .into_iter()
            .enumerate()
            .map(|(at, host)| {
                let port = ports.get(at).copied().unwrap_or(ports[0]);
                let host = if host.is_empty() { default_host(port) } else { host };
                Place { host, address: addresses.get(at).copied(), port }
            })
            .collect())
    }

    pub fn password(
        &self,
        places: &[Place],
        database: &str,
        user: &str,
        env: &Environment<'_>,
    ) -> (Option<String>, PasswordSource) {
        if let Some(password) = self.get("password") {
            let in_url = self.in_url.get("password").is_some_and(|password| !password.is_empty());
            let source = if in_url { PasswordSource::Url(self.origin) } else { PasswordSource::Environment };
            return (Some(password.to_string()), source);
        }
        let file = self.get("passfile").map(PathBuf::from);
        let Some(path) = file.or_else(|| Some(data_dir::home(env)?.join(".pgpass"))) else {
            return (None, PasswordSource::Nowhere);
        };
        let text = passfile::read(&path).unwrap_or_default();
        // The client library takes one password for all servers: the first that is found.
        let password = places.iter().find_map(|place| {
            passfile::find(&text, passfile::Wanted { host: &place.host, port: place.port, database, user })
        });
        match password {
            Some(password) => (Some(password), PasswordSource::Passfile(path)),
            None => (None, PasswordSource::Nowhere),
        }
    }

    pub fn apply_options(&self, config: &mut postgres::Config) -> Result<(), SettingsError> {
        let timeout = match self.get("connect_timeout") {
            None => Some(CONNECT_TIMEOUT_S_DEFAULT.try_into().unwrap_or(u32::MAX)),
            Some(_) => self.number("connect_timeout", " of seconds, 0 for no limit")?,
        };
        if let Some(seconds) = timeout {
            config.connect_timeout(Duration::from_secs(seconds.into()));
        }
        if let Some(options) = self.get("options") {
            config.options(options);
        }
        let sessions = [
            ("any", TargetSessionAttrs::Any),
            ("read-write", TargetSessionAttrs::ReadWrite),
            ("primary", TargetSessionAttrs::ReadWrite),
            ("read-only", TargetSessionAttrs::ReadOnly),
            ("standby", TargetSessionAttrs::ReadOnly),
        ];
        if let Some(wanted) = self.choice("target_session_attrs", &sessions)? {
            config.target_session_attrs(wanted);
        }
        let bindings = [
            ("disable", ChannelBinding::Disable),
            ("prefer", ChannelBinding::Prefer),
            ("require", ChannelBinding::Require),
        ];
        if let Some(wanted) = self.choice("channel_binding", &bindings)? {
            config.channel_binding(wanted);
        }
        let orders = [("disable", LoadBalanceHosts::Disable), ("random", LoadBalanceHosts::Random)];
        if let Some(wanted) = self.choice("load_balance_hosts", &orders)? {
            config.load_balance_hosts(wanted);
        }
        Ok(())
    }

    /// Sets the keepalives that the user wrote; says whether there were any.
    pub fn apply_keepalives(&self, config: &mut postgres::Config) -> Result<bool, SettingsError> {
        let seconds = |count: u32| Duration::from_secs(count.into());
        let mut any = false;
        if let Some(value) = self.get("keepalives") {
            config.keepalives(value != "0");
            any = true;
        }
        if let Some(idle) = self.number("keepalives_idle", " of seconds")? {
            config.keepalives_idle(seconds(idle));
            any = true;
        }
        if let Some(interval) = self.number("keepalives_interval", " of seconds")? {
            config.keepalives_interval(seconds(interval));
            any = true;
        }
        for key in ["keepalives_count", "keepalives_retries"] {
            if let Some(count) = self.number(key, "")? {
                config.keepalives_retries(count);
                any = true;
            }
        }
        if let Some(ms) = self.number("tcp_user_timeout", " of milliseconds")? {
            config.tcp_user_timeout(Duration::from_millis(ms.into()));
            any = true;
        }
        Ok(any)
    }
}

fn to_port(text: &str) -> Option<u16> {
    if text.is_empty() { Some(DEFAULT_PORT) } else { text.parse().ok().filter(|port| *port != 0) }
}

/// Where libpq looks when no host is given: the default socket, which is in one of two places
/// depending on who built PostgreSQL; without one, this machine over TCP.
fn default_host(port: u16) -> String {
    let directories = ["/var/run/postgresql", "/tmp"];
    let found = directories
        .iter()
        .find(|directory| cfg!(unix) && Path::new(directory).join(format!(".s.PGSQL.{port}")).exists());
    found.copied().unwrap_or("localhost").to_string()
}
