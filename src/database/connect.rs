//! Opens connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use postgres::config::{LoadBalanceHosts, TargetSessionAttrs};
use postgres::error::SqlState;
use postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::diagnose::{Attempt, diagnose};
use super::error::{ConnectError, ConnectFailure};
use super::login::require_auth::Question;
use super::server::Server;
use super::settings::ConnectionSettings;
use super::tls::Way;

/// The first part of every session's name in `pg_stat_activity`.
const APPLICATION_NAME: &str = "process-orchestrator";

/// PostgreSQL cuts longer ones (its NAMEDATALEN, less one), and with them the role.
const SESSION_NAME_BYTES_MAX: usize = 63;

/// How long a silent network is believed before a TCP connection counts as dead. Unix sockets know at
/// once and ignore it, and so do connections whose settings name keepalives themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Unanswered probes after which the connection is dead.
    pub probes: u32,
    /// How long sent data may stay unacknowledged (Linux).
    pub unacknowledged: Duration,
}

impl Patience {
    /// Finds a dead connection within about a minute: firewalls drop idle ones after some minutes, and
    /// the engine must not wait out the system's two hours.
    pub const DEFAULT: Self = Self {
        idle: Duration::from_secs(30),
        interval: Duration::from_secs(10),
        probes: 3,
        unacknowledged: Duration::from_secs(30),
    };

    /// Keeps a session through `time` without network, so that what it holds outlasts the cut.
    pub fn outlasting(time: Duration) -> Self {
        const PROBES: u32 = 10;
        let interval = Duration::from_secs((time.as_secs() / u64::from(PROBES)).max(1) + 1);
        Self { idle: interval, interval, probes: PROBES, unacknowledged: interval * (PROBES + 1) }
    }
}

impl ConnectionSettings {
    /// Opens a connection for `role`, which becomes part of the session's name in `pg_stat_activity`.
    pub fn open(&self, role: &str, patience: &Patience) -> Result<Client, ConnectError> {
        let failed = |failure| ConnectError { target: self.shown(), failure };
        let name = self.session_name(role);
        let mut last = None;
        for at in self.dialling_order() {
            let Some(server) = self.servers.get(at) else { continue };
            let mut config = server.config.clone();
            config.application_name(&name);
            if !self.own_keepalives {
                config
                    .keepalives(true)
                    .keepalives_idle(patience.idle)
                    .keepalives_interval(patience.interval)
                    .keepalives_retries(patience.probes)
                    .tcp_user_timeout(patience.unacknowledged);
            }
            match self.dial(&config, server) {
                Ok(client) => {
                    self.reached_last.store(at, Ordering::Relaxed);
                    return Ok(client);
                }
                Err(failure) => last = Some(more_telling(last, failure)),
            }
        }
        let nowhere = || ConnectFailure::Other { message: "there is no host to connect to".into() };
        Err(failed(last.unwrap_or_else(nowhere)))
    }

    /// The servers by their place in the list. The one that served last goes first where only one of them can be
    /// the right one: after a failover the others need not cost their whole timeout each time.
    fn dialling_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            fastrand::shuffle(&mut order);
        }
        if self.config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite {
            let last = self.reached_last.load(Ordering::Relaxed);
            order.sort_by_key(|at| *at != last);
        }
        order
    }

    /// Such as `process-orchestrator worker-1 recorder`; of a long node's name only a part has room.
    fn session_name(&self, role: &str) -> String {
        let own = self.application_name.as_deref().unwrap_or(APPLICATION_NAME);
        let Some(node) = &self.node else { return format!("{own} {role}") };
        let room = SESSION_NAME_BYTES_MAX.saturating_sub(own.len() + role.len() + 2);
        let cut = (0..=room.min(node.len())).rev().find(|&at| node.is_char_boundary(at)).unwrap_or(0);
        let node = &node[..cut];
        format!("{own} {node} {role}")
    }

    /// The one place that picks between plain and encrypted connections. `config` has one host.
    fn dial(&self, config: &postgres::Config, server: &Server) -> Result<Client, ConnectFailure> {
        let (first, other) = self.tls.mode.ways();
        let (failure, is_about_encryption) = match self.dial_so(first, config, server) {
            Err(failed) => failed,
            Ok(client) => return Ok(client),
        };
        let Some(other) = other.filter(|_| is_about_encryption) else { return Err(failure) };
        if other == Way::Plain {
            log::warn!("no TLS with {}, as sslmode=prefer allows: {failure}", self.shown());
        }
        self.dial_so(other, config, server).map_err(|(second, _)| match &second {
            // Both ways are closed: why TLS failed is what has to be mended.
            ConnectFailure::Tls { .. } if other == Way::Plain => failure,
            _ => second,
        })
    }

    /// With a failure comes whether it has to do with TLS, so that the other way may end better.
    fn dial_so(
        &self,
        way: Way,
        config: &postgres::Config,
        server: &Server,
    ) -> Result<Client, (ConnectFailure, bool)> {
        let told = |failure| {
            let is_about_encryption = matches!(failure, ConnectFailure::Tls { .. });
            (failure, is_about_encryption)
        };
        let mut config = config.clone();
        config.ssl_mode(way.ssl_mode());
        if self.tls.is_direct {
            config.ssl_negotiation(postgres::config::SslNegotiation::Direct);
        }
        // The library's own limit is for the socket of each of a host's addresses, not for the words after that.
        let limit = config.get_connect_timeout().map(|each| *each * (1 + u32::from(server.is_name)));
        let tls = match way {
            Way::Plain => None,
            Way::Encrypted | Way::EncryptedIfOffered => Some(self.tls.client_config().map_err(told)?),
        };
        if let Some(required) = &self.required_auth {
            let (user, database) = (self.user(), self.database());
            let (may_be_plain, is_direct) = (way == Way::EncryptedIfOffered, self.tls.is_direct);
            required
                .ask(&Question { config: &config, user, database, tls: tls.clone(), may_be_plain, is_direct })
                .map_err(told)?;
        }
        let connect = move || match tls {
            None => config.connect(NoTls),
            Some(tls) => config.connect(MakeRustlsConnect::new(Arc::unwrap_or_clone(tls))),
        };
        let outcome = match limit {
            Some(limit) => within(limit, &server.abandoned, connect).map_err(told)?,
            None => connect(),
        };
        outcome.map_err(|error| {
            let attempt = Attempt {
                way,
                ssl_mode: self.tls.mode,
                user: self.user(),
                database: self.database(),
                password: self.password_source(),
            };
            let failure = diagnose(&error, &attempt);
            // As libpq: no line of pg_hba.conf for such connections, for one. A wrong password has another code, and is
            // not sent again. The server's words are in its own language.
            let is_refused = error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
            let (failure, is_about_encryption) = told(failure);
            (failure, is_about_encryption || is_refused)
        })
    }
}

/// Of several servers' failures the one to show: that there is no primary among those that answer says more than
/// that another one is away, and any word of a server more than silence.
fn more_telling(before: Option<ConnectFailure>, now: ConnectFailure) -> ConnectFailure {
    match before {
        Some(said) if matches!(now, ConnectFailure::Unreachable { .. }) => said,
        _ => now,
    }
}

/// Attempts that a server keeps waiting; more are not made until one of them ends.
const ABANDONED_MAX: usize = 8;

/// Does `work` on a thread of its own and gives it up after `limit`: the library waits for ever for a
/// server that takes the connection and then says nothing, as a stopped one does, or a web server.
fn within<T: Send + 'static>(
    limit: Duration,
    abandoned: &Arc<AtomicUsize>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ConnectFailure> {
    if abandoned.load(Ordering::Relaxed) >= ABANDONED_MAX {
        let cause = format!("the server keeps {ABANDONED_MAX} earlier attempts waiting");
        return Err(ConnectFailure::Unreachable { cause });
    }
    let (give, take) = mpsc::sync_channel(0);
    let count = Arc::clone(abandoned);
    let attempt = move || {
        // Nobody takes the outcome of an attempt that was given up.
        if give.send(work()).is_err() {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    };
    thread::Builder::new().name("connect".into()).spawn(attempt).map_err(|error| ConnectFailure::Other {
        message: format!("no thread for the attempt: {error}; raise the limit on processes (ulimit -u)"),
    })?;
    match take.recv_timeout(limit) {
        Ok(outcome) => Ok(outcome),
        Err(mpsc::RecvTimeoutError::Timeout) => {
            abandoned.fetch_add(1, Ordering::Relaxed);
            Err(ConnectFailure::Unreachable {
                cause: format!("the server did not answer in {} s", limit.as_secs_f32()),
            })
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Err(ConnectFailure::Other { message: "the client library panicked; see the log".into() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_outlasts_what_it_is_asked_to() {
        for seconds in [0, 1, 9, 300, 3_601] {
            let time = Duration::from_secs(seconds);
            let patience = Patience::outlasting(time);
            assert!(patience.idle + patience.interval * (patience.probes - 1) > time, "{seconds}");
            assert!(patience.unacknowledged > time, "{seconds}");
        }
    }
}
